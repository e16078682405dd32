"""Seconds to an effective sample size of 100 beside deepinv's ULA and SK-ROCK, of one density.

    python tests/benchmarks/uncertainty.py [--json]

The density is that of deblurring, and of CT from 60 views, with the packaged potential at temperature 1; the peers take
its gradient step x - grad R(x) as their denoiser, a step of 1 / L, or for SK-ROCK of ten stages half of the longest
stable one, and the same four starts. Of every run the first half is the warm-up. The seconds are those of the whole
run, times 100 over the least effective sample size of pixels, regions and their squares: of a chain of few it is an
estimate in the peers' favour. Coverage and width are of mean +- 1.645 standard deviations, without calibration.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from deepinv.optim import L2, ScorePrior
from deepinv.sampling import SKRockIterator, ULAIterator
from timing import report
from torch import Tensor, nn

from recon import io
from recon.certificates.mixing import Mixing, mixing
from recon.evaluation.evaluate import UNIT, as_image, simulated
from recon.operators import to_deepinv
from recon.reconstruction.plan import Plan, make_plan
from recon.reconstruction.run import Result, execute
from recon.solvers.sk_rock import longest_step
from recon.specs.operators import read_operator
from recon.specs.solve_config import config_from
from recon.uncertainty.posterior import posterior
from recon.uncertainty.potential import Potential, potential_of
from recon.uncertainty.settings import Settings

DATA = Path(__file__).resolve().parents[2] / "data"
SIDE, CHAINS, STAGES = 32, 4, 10
GRADIENTS = {"blur": 600, "ct": 600}
"""Of each chain of a peer; half of them are the warm-up."""
OUR_BUDGET = 6400
TARGETS = {"blur": 1 / 1.5, "ct": 1 / 3}
NORMAL = 1.645


@dataclass(frozen=True)
class Seen:
    """A run: its time, what its traces say, and its maps."""

    seconds: float
    mixing: Mixing
    mean: Tensor
    std: Tensor

    @property
    def to_100(self) -> float:
        return self.seconds * 100 / max(self.mixing.ess, 1e-9)


class GradientStep(nn.Module):
    """The denoiser x - grad R(x)."""

    def __init__(self, gradient: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.gradient = gradient

    def forward(self, x: Tensor, sigma: object = None) -> Tensor:
        return x - self.gradient(x)


def problem(kind: str, folder: Path) -> tuple[Tensor, Plan]:
    """A clean image and the plan of its simulated measurement."""
    if kind == "blur":
        photograph = io.to_tensor(io.read(DATA / "photographs" / "camera.png"))
        clean = torch.nn.functional.interpolate(photograph, size=(SIDE, SIDE), mode="area")
        options = {"operator": "blur:gaussian=1", "noise": "0.02", "prior": "model:proved-gray"}
    else:
        scan = folder / "scan.toml"
        pitch = 256 / SIDE
        scan.write_text(
            'kind = "parallel"\nangles = { start = 0, stop = 180, count = 60, endpoint = false }\n'
            f"[detector]\npixels = {3 * SIDE // 2}\npitch = {pitch}\n"
            f"[volume]\npixels = [{SIDE}, {SIDE}]\npitch = {pitch}\n"
        )
        slices = io.to_tensor(io.read(DATA / "ct" / "tcga_60-2695.dcm")).clamp(0, 1)
        clean = torch.nn.functional.interpolate(slices, size=(SIDE, SIDE), mode="area")
        options = {"operator": f"ct:{scan}", "noise": "0.1", "prior": "model:proved-ct"}
    config = config_from(options)
    family = read_operator(config.operator, lambda line: None)
    image = io.from_array(clean.numpy(), value_range=UNIT)
    truth, y, stated = simulated(config, family, family.on((SIDE, SIDE)), image, 0)
    return truth, make_plan(stated, as_image(y), lambda line: None)


def ours(result: Result) -> Seen:
    start = time.perf_counter()
    maps = posterior(result, Settings("kinetic", CHAINS, OUR_BUDGET, temperature=1.0))
    seconds = time.perf_counter() - start
    known = dict(maps.details["mixing"])  # type: ignore[call-overload]
    seen = Mixing(known["r_hat"], known["ess"], known["traces"], known["draws"], known["chains"])
    return Seen(seconds, seen, maps.mean, maps.std)


def peers(result: Result, kind: str) -> dict[str, Seen]:
    plan = result.plan
    potential = potential_of(plan)
    physics = to_deepinv(plan.problem.operator, (1, SIDE, SIDE))
    bound = potential.lipschitz.value / potential.noise**2
    long = longest_step(STAGES) / 2
    shared = {"alpha": 1 / potential.noise**2, "sigma": 1.0}
    iterators = {
        "deepinv ULA": (ULAIterator({"step_size": 1 / bound, **shared}), 1),
        "deepinv SK-ROCK": (
            SKRockIterator({"step_size": long / bound, "inner_iter": STAGES, "eta": 0.05, **shared}),
            STAGES,
        ),
    }
    steps = GRADIENTS[kind]
    return {name: chain(each, steps // cost, result, physics, potential) for name, (each, cost) in iterators.items()}


@torch.no_grad()
def chain(iterator: nn.Module, steps: int, result: Result, physics: object, potential: Potential) -> Seen:
    """A peer's chain, by its own iterator."""
    generator = torch.Generator().manual_seed(0)
    x = result.solution.x.expand(CHAINS, -1, -1, -1)
    x = x + potential.noise * torch.randn(x.shape, generator=generator)
    y = result.plan.problem.measurement.expand(CHAINS, *result.plan.problem.measurement.shape[1:])
    fidelity, prior = L2(sigma=potential.noise), ScorePrior(GradientStep(potential.penalty.gradient))
    torch.manual_seed(0)
    state, draws, total, square = {"x": x}, [], 0.0, 0.0
    start = time.perf_counter()
    for step in range(steps):
        state = iterator(state, y, physics, fidelity, prior, step)
        if step >= steps // 2:
            draws.append(traces(state["x"]))
            total, square = total + state["x"].double(), square + state["x"].double().square()
    seconds = time.perf_counter() - start
    mean = (total / len(draws)).mean(0, keepdim=True)
    variance = (square / len(draws)).mean(0, keepdim=True) - mean.square()
    return Seen(seconds, mixing(torch.stack(draws)), mean.float(), variance.clamp(min=0).sqrt().float())


def traces(x: Tensor) -> Tensor:
    """As recon.solvers.chains looks at them."""
    step = -(-SIDE // 16)
    pixels = x[..., step // 2 :: step, step // 2 :: step].flatten(1)
    return torch.cat([pixels, torch.nn.functional.avg_pool2d(x, 8).flatten(1)], 1).float()


def run() -> dict[str, dict]:
    import tempfile  # noqa: PLC0415

    torch.set_num_threads(1)
    cases: dict[str, dict] = {}
    for kind in GRADIENTS:
        with tempfile.TemporaryDirectory() as folder:
            truth, plan = problem(kind, Path(folder))
            result = execute(plan)
            seen = {"ours": ours(result), **peers(result, kind)}
        seconds = {name: each.to_100 for name, each in seen.items()}
        own = seconds.pop("ours")
        cases[kind] = {
            "ours_s": own,
            "peers": seconds,
            "ratio": {name: own / value for name, value in seconds.items()},
            "targets": dict.fromkeys(seconds, TARGETS[kind]),
            "ess": {name: each.mixing.ess for name, each in seen.items()},
            "r_hat": {name: each.mixing.r_hat for name, each in seen.items()},
            "coverage": {
                name: float(((truth - each.mean).abs() <= NORMAL * each.std).double().mean())
                for name, each in seen.items()
            },
            "width": {name: 2 * NORMAL * float(each.std.mean()) for name, each in seen.items()},
        }
    return cases


if __name__ == "__main__":
    report(run, __doc__)
