"""A convex critic as the penalty of a scan of few views, beside filtered back-projection, TV and a learned potential.

    python tests/benchmarks/convex_critic.py CRITIC [--json] [--slices DIR] [--tuned 4] [--images 10]

CRITIC is a folder that `recon train` made with a `ct:` operator; the scan, the noise and the scale of the images are
those that it was trained with. Slices are averaged as in the training, measured with noise of fixed seeds, and
reconstructed by `recon.reconstruct` with the weights of the rules, and with these times the power of two that is best
for the first slices (`--tuned`). Printed is the mean PSNR of the other slices, in dB with -1000 to 3071 HU as the
range, and the root mean square error in HU. The factor of the critic's own rule was found by its training on validation
images: the same first ones, if `--slices` names the same folder.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import recon
from recon.priors.networks import load_convex_critic
from recon.specs.grammar import parse_spec
from recon.training import Recipe, parse_recipe
from recon.training.convex_critic import highest
from recon.training.data import read_validation

WATER, HIGH = 0.02, 3071.0
WIDTH = WATER * (HIGH + 1000) / 1000
"""The attenuation in 1/mm that becomes 1."""

ITERATIONS = 1000
"""The budget of a reconstruction, that of `recon solve`."""

BUNDLED = Path(__file__).resolve().parents[2] / "data" / "ct"
CRITIC = "convex critic"
PRIORS = {"TV": "tv:low=0", CRITIC: "folder:{critic},low=0", "proved-ct": "model:proved-ct,low=0"}


Row = dict[str, float]


def run(critic: Path, slices: Path, tuned: int, images: int) -> Iterator[tuple[str, Row]]:
    """The figures of each way, on the slices that no weight was tuned on, as they are found."""
    recipe = parse_recipe((critic / "config.toml").read_text("utf-8"), str(critic))
    load_convex_critic(critic)  # refuses another network now
    scan = Scan(recipe, sorted(slices.glob("*.dcm")), images)
    yield "FBP", scan.figures([scan.reconstruct(index, None, "fbp") for index in range(scan.count)], tuned)
    for name, prior in PRIORS.items():
        yield from scan.by_rule_and_tuned(name, prior.format(critic=critic), tuned)


class Scan:
    """Slices, and their measurements."""

    def __init__(self, recipe: Recipe, files: list[Path], images: int) -> None:
        side = recipe.data.patch
        self.clean = read_validation(files, recipe.data, 1, images, side, lambda line: None)
        self.count, self.noise = len(self.clean), recipe.training.noise[0] * WIDTH
        geometry = parse_spec(recipe.equilibrium.operator, "operator").value
        assert geometry is not None
        self.operator = recon.ct(geometry)
        projector = self.operator.on((side, side))
        self.measured = []
        for index, image in enumerate(self.clean):
            exact = projector.A(image)[0, 0] * WIDTH
            white = torch.randn(exact.shape, generator=torch.Generator().manual_seed(1000 + index))
            self.measured.append((exact + self.noise * white).numpy())
        self.weight = math.nan

    def reconstruct(self, index: int, prior: str | None, method: str | None = None) -> Tensor:
        """The slice in HU; ``weight`` is then the one that was used."""
        done = recon.reconstruct(
            self.measured[index], self.operator, prior, noise=self.noise, water=WATER, method=method,
            range=(-1000, HIGH), iterations=ITERATIONS,
        )  # fmt: skip
        assert done.result is not None
        print(f"slice {index}, {prior or method}: {done.steps} steps", file=sys.stderr, flush=True)
        self.weight = done.result.plan.problem.prior.weight or math.nan
        return torch.as_tensor(done.image)

    def by_rule_and_tuned(self, name: str, prior: str, tuned: int) -> Iterator[tuple[str, Row]]:
        """Both rows of a prior; every slice has its own weight by the rule, which the tuned one is a multiple of."""
        by_rule, weights = [], []
        for index in range(self.count):
            by_rule.append(self.reconstruct(index, prior))
            weights.append(self.weight)
        yield f"{name}, rule", self.figures(by_rule, tuned)
        spec = parse_spec(prior, "prior")

        def restored(index: int, factor: float) -> Tensor:
            if factor == 1:
                return by_rule[index]
            options = {**spec.options, "weight": repr(factor * weights[index])}
            return self.reconstruct(index, str(replace(spec, options=options)))

        multiple = highest(lambda factor: sum(self.psnr(restored(index, factor), index) for index in range(tuned)))
        rest = range(tuned, self.count)
        best = [restored(index, multiple) for index in rest]
        yield f"{name}, tuned", {**self.figures([*by_rule[:tuned], *best], tuned), "multiple": multiple}

    def psnr(self, x: Tensor, index: int) -> float:
        return 20 * math.log10((HIGH + 1000) / self.error(x, index))

    def error(self, x: Tensor, index: int) -> float:
        """The root mean square in HU."""
        truth = self.clean[index][0, 0] * (HIGH + 1000) - 1000
        return float((x.squeeze() - truth).double().square().mean().sqrt())

    def figures(self, found: list[Tensor], tuned: int) -> Row:
        """Means over the slices that nothing was tuned on."""
        rest = range(tuned, self.count)
        return {
            "psnr": sum(self.psnr(found[index], index) for index in rest) / len(rest),
            "hu": sum(self.error(found[index], index) for index in rest) / len(rest),
        }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("critic", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--slices", type=Path, default=BUNDLED)
    parser.add_argument("--tuned", type=int, default=4)
    parser.add_argument("--images", type=int, default=10)
    given = parser.parse_args()
    found: dict[str, Row] = {}
    for name, each in run(given.critic, given.slices, given.tuned, given.images):
        found[name] = each
        multiple = f", weight times {each['multiple']:g}" if "multiple" in each else ""
        if not given.json:
            print(f"{name}: {each['psnr']:.2f} dB, {each['hu']:.1f} HU{multiple}", flush=True)
    if given.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
