"""Where runs stop by default, and how far from their limit they then are.

    python tests/benchmarks/stopping.py [--side 128] [--json]

Every problem is solved to the default tolerance, and once more with many times the steps for the limit. Printed are the
steps, the distance as estimated and in truth, both over the norm of the start, and what the difference is worth: dB of
PSNR against the truth, or HU (root mean square) for tomography. No peer has such a stop to compare with.
"""

import argparse
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from recon import io
from recon.io import Image, Source, ValueRange, from_array, to_tensor
from recon.reconstruction.plan import make_plan
from recon.reconstruction.run import Result, execute
from recon.specs.grammar import Spec, parse_spec
from recon.specs.operators import read_operator
from recon.specs.solve_config import Noise, SolveConfig

DATA = Path(__file__).resolve().parents[2] / "data"
LIMIT_TIMES = 8
"""As many times the steps are taken for the limit, and at least ``LEAST``."""
LEAST = 1500
WATER = 0.02


@dataclass(frozen=True)
class Case:
    """A problem and how it is solved."""

    name: str
    operator: str
    noise: float
    prior: str | None = None
    method: str | None = None


SHAKE = f"blur:psf={DATA / 'kernels' / 'levin09_1.npy'}"
LEARNED = "model:proved-gray"
CASES = (
    Case("deblurring, noise 0.0025", SHAKE, 0.0025, LEARNED),
    Case("deblurring, noise 0.01", SHAKE, 0.01, LEARNED),
    Case("deblurring, noise 0.04", SHAKE, 0.04, LEARNED),
    Case("deblurring, tv", SHAKE, 0.01, "tv"),
    Case("deblurring, tv in a box", SHAKE, 0.01, "tv:low=0,high=1"),
    Case("deblurring, wavelets", SHAKE, 0.01, "wavelet"),
    Case("deblurring, fista", SHAKE, 0.01, LEARNED, "fista"),
    Case("deblurring, forward-backward", SHAKE, 0.01, "tikhonov:weight=0.01", "forward_backward"),
    Case("denoising", "identity", 0.05, LEARNED),
    Case("denoising, tv", "identity", 0.05, "tv"),
    Case("enlarging", "downsample:factor=2", 0.01, LEARNED),
    Case("60 views", "ct:60", 0.01),
    Case("60 views, tv", "ct:60", 0.01, "tv:low=0"),
    Case("180 views, tv", "ct:180", 0.01, "tv:low=0"),
)


def photograph(side: int) -> Tensor:
    x = to_tensor(io.read(DATA / "photographs" / "camera.png"))
    top, left = min(100, x.shape[-2] - side), min(150, x.shape[-1] - side)
    return x[..., top : top + side, left : left + side]


def attenuation(side: int) -> Tensor:
    hounsfield = 4095 * to_tensor(io.read(DATA / "ct" / "tcga_60-2715.dcm")) - 1024
    return torch.nn.functional.avg_pool2d((WATER * (1 + hounsfield / 1000)).clamp(min=0), 512 // side)


def geometry(side: int, views: int, folder: Path) -> Path:
    path = folder / f"{views}.toml"
    path.write_text(
        f'kind = "parallel"\nangles = {{ start = 0, stop = 180, count = {views}, endpoint = false }}\n'
        f"[detector]\npixels = {int(1.5 * side)}\npitch = 1.2\n[volume]\npixels = [{side}, {side}]\npitch = 1.2\n"
    )
    return path


def measured(spec: Spec, x: Tensor, noise: float) -> Tensor:
    y = read_operator(spec, print).on(tuple(x.shape[-2:])).A(x)
    return y + noise * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))


def problem(case: Case, side: int, folder: Path) -> tuple[SolveConfig, Image, Tensor]:
    """How a case is solved, its measurement, and the truth."""
    prior = None if case.prior is None else parse_spec(case.prior)
    if case.operator.startswith("ct:"):
        spec, x = Spec("ct", value=str(geometry(side, int(case.operator[3:]), folder))), attenuation(side)
        image = Image(
            measured(spec, x, case.noise).numpy(), ValueRange(0.0, 1.0), source=Source("projections", "FHW", "float32")
        )
        return SolveConfig(spec, prior, case.method, device="cpu", water=WATER), image, x
    spec, x = parse_spec(case.operator), photograph(side)
    image = from_array(measured(spec, x, case.noise)[0, 0].numpy(), value_range=ValueRange(0.0, 1.0))
    return SolveConfig(spec, prior, case.method, Noise(case.noise), device="cpu"), image, x


def solved(config: SolveConfig, image: Image) -> Result:
    return execute(make_plan(config, image, lambda line: None))


def row(case: Case, side: int, folder: Path, least: int) -> dict[str, object]:
    config, image, truth = problem(case, side, folder)
    run = solved(config, image)
    steps = max(least, LIMIT_TIMES * run.steps)
    limit = solved(replace(config, tolerance=0.0, iterations=steps), image).solution.x
    apart = (run.solution.x - limit).double()
    found: dict[str, object] = {
        "case": case.name, "method": run.plan.method.name, "status": run.status.value, "steps": run.steps,
        "estimated": run.distance.relative, "true": float(apart.norm()) / run.scale[0],
    }  # fmt: skip
    if config.water is not None:
        width = run.plan.problem.template.value_range.width
        return found | {"hu": float(apart.square().mean().sqrt()) * width}
    return found | {"db": psnr(run.solution.x, truth) - psnr(limit, truth)}


def psnr(x: Tensor, truth: Tensor) -> float:
    return -10 * math.log10(float((x - truth).double().square().mean()))


def main(arguments: list[str] | None = None) -> list[dict[str, object]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--least", type=int, default=LEAST)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = []
    with TemporaryDirectory() as folder:
        for case in CASES:
            rows.append(row(case, options.side, Path(folder), options.least))
            if not options.json:
                print(line(rows[-1]), flush=True)
    if options.json:
        print(json.dumps(rows, indent=2))
    return rows


def line(found: dict[str, object]) -> str:
    worth = f"{found['hu']:.2f} HU" if "hu" in found else f"{found['db']:+.3f} dB"
    return (
        f"{found['case']:<30} {found['method']:<17} {found['status']:<13} {found['steps']:>4} steps  "
        f"estimated {found['estimated']:.1e}  true {found['true']:.1e}  {worth}"
    )


if __name__ == "__main__":
    main()
