"""Everything that a GPU has to show, in one script of at most 15 minutes: equality, speed, and a short training.

    python tests/benchmarks/gpu.py --out FOLDER [--data IMAGES --validation IMAGES] [--json]

1. *Equality.* The projector pair of a parallel beam and of a fan, the networks, and six solves (a blur and a scan, each
   by total variation and by a learned potential without and with a guide) on the GPU, and on the CPU in double
   precision: the difference relative to the result, which must be small.
2. *Speed*, of the same in pixels a second, the networks beside the card's own product of matrices (see
   ``inference_gpu.py``); and a training step with the penalty, beside a plain one. ``tomography_gpu.py`` has the
   projectors beside ASTRA.
3. *Training.* As many steps of the large recipe as fit in the time that is left, from its checkpoint in the folder
   where there is one: run the script again, and it goes on. Without ``--data`` this part is left out.

Without a GPU everything runs on the CPU against itself in double precision, at the size that the constants say: this is
how the tests run it.
"""

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import inference_gpu
import torch
from inference import FAMILIES, image, network_of
from torch import Tensor
from training_step import trainer

from recon import operators, priors, solvers
from recon.methods.choice import choose_method
from recon.methods.operator_pair import analyse_operator
from recon.operators.tomography import Detector, Geometry, Tomography, Volume, evenly_spaced
from recon.priors import Prior
from recon.priors.networks import (
    ConvexRidgeConfig,
    DnCNNConfig,
    GuidedRidgeConfig,
    guided_prior,
    learned_prior,
    make,
    resolvent,
)

SIDE, VIEWS, BATCH, STEPS = 512, 180, 4, 60
NETWORKS = tuple(FAMILIES)
PENALISED = DnCNNConfig(features=64, depth=20, noise_range=(0.01, 0.01))
RIDGE = ConvexRidgeConfig(noise_range=(0.05, 0.05))
RECIPE = Path(__file__).resolve().parents[2] / "models/guided-gray/config.toml"
WIDE = {"mask_width": 64}
"""What of that recipe a GPU makes larger: batches are ten times as large besides."""

MINUTES, RESERVE = 13.0, 1.5
"""In all, and kept for the last checkpoint and the validation."""

CLOSE = 5e-4
"""The largest relative difference of two results in single precision, after many steps."""


def run(device: str, out: Path | None, data: Path | None, validation: Path | None) -> dict[str, object]:
    began = time.monotonic()
    found: dict[str, object] = {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu"}
    found["equality"] = equality(device)
    found["speed"] = speed(device)
    if data is not None and validation is not None and out is not None:
        left = 60 * (MINUTES - RESERVE) - (time.monotonic() - began)
        found["training"] = trained(out, data, validation, device, left)
    return found


def equality(device: str) -> dict[str, float]:
    """The relative differences of results on the device and on the CPU, each at most :data:`CLOSE`."""
    found = {}
    for name, made in (*projectors(), *networks(), *solves()):
        exact, seen = made("cpu", torch.float64), made(device, torch.float32)
        found[name] = float((seen.cpu().double() - exact).norm() / exact.norm())
        if not found[name] <= CLOSE:
            raise SystemExit(f"{name}: the results differ by {found[name]:.2g}; expected at most {CLOSE:g}.")
    return found


Made = Callable[[str, torch.dtype], Tensor]


def projectors() -> list[tuple[str, Made]]:
    cases = []
    for name, geometry in scans().items():
        operator = Tomography(geometry)

        def forward(device: str, dtype: torch.dtype, operator: Tomography = operator) -> Tensor:
            return operator.A(scene().to(device, dtype))

        def back(device: str, dtype: torch.dtype, operator: Tomography = operator) -> Tensor:
            return operator.A_adjoint(operator.A(scene()).to(device, dtype))

        cases += [(f"projection, {name}", forward), (f"back-projection, {name}", back)]
    return cases


def networks() -> list[tuple[str, Made]]:
    def denoised(device: str, dtype: torch.dtype, name: str) -> Tensor:
        network = network_of(FAMILIES[name])
        return resolvent(network, accuracy=1e-5)(image(FAMILIES[name], SIDE).to(device, dtype))

    return [(name, lambda device, dtype, name=name: denoised(device, dtype, name)) for name in NETWORKS]


def solves() -> list[tuple[str, Made]]:
    blur = operators.Blur(operators.gaussian_psf(1.6), (SIDE, SIDE))
    scan = Tomography(next(iter(scans().values())))
    return [
        (f"{STEPS} steps, {what} by {prior}", lambda device, dtype, a=a, prior=prior: solved(a, prior, device, dtype))
        for what, a in (("blur", blur), ("scan", scan))
        for prior in ("total variation", "a potential", "a guided potential")
    ]


def solved(operator: operators.CharacterisedOperator, kind: str, device: str, dtype: torch.dtype) -> Tensor:
    """So many steps of the default method, from the same measurement on every device."""
    size = operators.operator_properties(operator).norm.value
    y = operator.A(scene()) + 0.01 * size * torch.randn(
        operator.A(scene()).shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    prior = prior_of(kind, size**2)
    pair = analyse_operator(operator, None, torch.zeros(1, 1, SIDE, SIDE))
    method = choose_method(pair, prior, weight=0.01)
    start = torch.zeros(1, 1, SIDE, SIDE, device=device, dtype=dtype)
    algorithm = method.algorithm(y.to(device, dtype))
    return solvers.solve(algorithm, start, max_steps=STEPS, tolerance=0.0).x


def prior_of(kind: str, scale: float) -> Prior:
    """A prior whose strength suits a data term of that size."""
    if kind == "total variation":
        return priors.total_variation_prior(0.01 * scale, image_shape=(SIDE, SIDE))
    torch.manual_seed(0)
    if kind == "a potential":
        return priors.weighted_prior(learned_prior(make(RIDGE)), 0.1 * scale)
    config = GuidedRidgeConfig(noise_range=RIDGE.noise_range)
    return guided_prior(make(config)).weighted(0.1 * scale).given(scene().float())


def scans() -> dict[str, Geometry]:
    volume, width = Volume((SIDE, SIDE), 0.7), int(1.44 * SIDE)
    return {
        "parallel": Geometry("parallel", evenly_spaced(0, 180, VIEWS), Detector(width, 0.7), volume),
        "fan": Geometry(
            "fan", evenly_spaced(0, 360, VIEWS), Detector(width, 1.2), volume,
            source_to_axis=500.0, source_to_detector=1000.0,
        ),
    }  # fmt: skip


def scene() -> Tensor:
    """A disc with a few squares, (1, 1, height, width), double precision."""
    place = torch.linspace(-1, 1, SIDE, dtype=torch.float64)
    x = (place[:, None].square() + place.square() < 0.8).double() * 0.5
    for k in range(1, 5):
        side = SIDE // (6 * k)
        x[k * SIDE // 6 : k * SIDE // 6 + side, SIDE // 3 : SIDE // 3 + side] = 0.2 * k
    return x[None, None]


def speed(device: str) -> dict[str, object]:
    """Pixels a second; of networks beside the product of matrices."""
    found: dict[str, object] = {}
    for name, geometry in scans().items():
        operator = Tomography(geometry)
        x = scene().float().to(device).expand(BATCH, 1, SIDE, SIDE).contiguous()
        y = operator.A(x)
        for what, apply, given in (("projection", operator.A, x), ("back-projection", operator.A_adjoint, y)):
            seconds = inference_gpu.seconds_of(functools.partial(apply, given))
            found[f"{what}, {name}"] = {"pixels_s": x.numel() / seconds}
    peaks = {precision: inference_gpu.product_rate(precision, device) for precision in inference_gpu.PRECISIONS}
    for name in NETWORKS:
        found[name] = inference_gpu.case(FAMILIES[name], BATCH, peaks, device)
    found["a training step"] = training_steps(device)
    return found


def training_steps(device: str) -> dict[str, float]:
    """Seconds of a plain and of a penalised step, the first two left out."""
    found = {}
    for name, weight in (("plain", 0.0), ("penalised", 1e-5)):
        each = trainer(PENALISED, weight, device)
        times = []
        for _ in range(5):
            started = time.perf_counter()
            each.advance()
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
        found[f"{name}_s"] = min(times[2:])
    return {**found, "ratio": found["penalised_s"] / found["plain_s"]}


def trained(out: Path, data: Path, validation: Path, device: str, seconds: float) -> dict[str, object]:
    """The large recipe for as long as there is time, from its checkpoint where there is one."""
    from recon.training import read_recipe  # noqa: PLC0415  of this part alone
    from recon.training.loop import CONFIG, Listeners  # noqa: PLC0415
    from recon.training.run import Images, prepare, train  # noqa: PLC0415

    small = read_recipe(RECIPE)
    large = replace(
        small,
        network=replace(small.network, **WIDE),
        training=replace(small.training, batch=10 * small.training.batch, start=""),
    )
    ends = time.monotonic() + seconds
    wanted = prepare(out, large, resume=(out / CONFIG).exists())
    images = Images(*(sorted(path for path in folder.iterdir() if path.is_file()) for folder in (data, validation)))
    listeners = Listeners(print, stopping=lambda: time.monotonic() > ends)
    outcome = train(wanted, images, out, torch.device(device), listeners)
    return {"steps": outcome.step, "of": outcome.steps, "seconds": outcome.seconds}


def show(found: dict[str, object]) -> None:
    for part, figures in found.items():
        print(part if isinstance(figures, dict) else f"{part}: {figures}")
        for name, value in figures.items() if isinstance(figures, dict) else ():
            print(f"  {name}: {value if not isinstance(value, float) else f'{value:.3g}'}")


def main(arguments: list[str]) -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--out", "--data", "--validation"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        print("There is no CUDA device: everything runs on the CPU, and says nothing of a GPU.", file=sys.stderr)
    found = run(device, given.out, given.data, given.validation)
    print(json.dumps(found, indent=2)) if given.json else show(found)
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
