"""Steps of Condat-Vu with the resolvent of the data until an image is near its limit, by step size and relaxation.

    python tests/benchmarks/stepsizes.py DATA [--prior tv] [--prior model:proved-gray] [--images 2] [--side 64]

DATA is a folder of images on which nothing is tested. Each row is a problem; its columns are multiples of the default
step size, at each relaxation. The limit is the image after 400 steps of the default. A figure is the number of steps
after which the image stays within 5e-4 of it, relative to its norm: the mean over the images; 300 where it does not.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import torch
from guided import KERNEL, crops, noisy
from torch import Tensor

from recon.evaluation.evaluate import as_image
from recon.io import Image
from recon.methods import condat_vu
from recon.reconstruction.plan import Plan, make_plan, starting_image
from recon.solvers import iterate
from recon.specs.grammar import parse_spec
from recon.specs.operators import read_operator
from recon.specs.solve_config import Noise, SolveConfig

PROBLEMS = {
    "identity": (0.01, 0.03, 0.08),
    f"blur:psf={KERNEL}": (0.0025, 0.01, 0.04),
    "blur:gaussian=1.6": (0.005, 0.02),
    "downsample:factor=2": (0.01, 0.03),
}
FACTORS, RELAXATIONS = (0.25, 0.5, 1.0, 2.0), (1.7, 1.8, 1.9)
NEAR, LIMIT, MOST = 5e-4, 400, 300


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--prior", "priors", multiple=True, default=("tv", "model:proved-gray"), show_default=True)
@click.option("--images", default=2, show_default=True, help="How many, evenly chosen.")
@click.option("--side", default=64, show_default=True, help="Of the crops.")
def main(data: Path, priors: tuple[str, ...], images: int, side: int) -> None:
    torch.set_num_threads(1)
    shown = crops(data, images, side, 1)
    for prior in priors:
        for name, noises in PROBLEMS.items():
            for noise in noises:
                print(f"{prior}, {name.partition('=')[0]}, noise {noise:g}: {row(prior, name, noise, shown)}")


def row(prior: str, name: str, noise: float, shown: list[Tensor]) -> str:
    """The figures of one problem."""
    counts: dict[tuple[float, float], list[int]] = {}
    for seed, x in enumerate(shown):
        config, y = problem(prior, name, noise, x, seed)
        for key, count in counted(config, y):
            counts.setdefault(key, []).append(count)
    return "  ".join(f"r {r:g} x{f:g}: {fmean(found):.0f}" for (r, f), found in counts.items())


def problem(prior: str, name: str, noise: float, x: Tensor, seed: int) -> tuple[SolveConfig, Image]:
    operator, shape = parse_spec(name), (x.shape[-2], x.shape[-1])
    measured = as_image(noisy(read_operator(operator).on(shape).A(x), noise, seed))
    size = shape if name.startswith("downsample") else None
    return SolveConfig(operator, parse_spec(prior, "prior"), noise=Noise(noise), device="cpu", shape=size), measured


def counted(config: SolveConfig, y: Image) -> Iterator[tuple[tuple[float, float], int]]:
    default = make_plan(config, y, _silent)
    limit = list(_images(default, LIMIT))[-1]
    usual = condat_vu.PRIMAL_DUAL_RELAXATION
    try:
        for relaxation in RELAXATIONS:
            condat_vu.PRIMAL_DUAL_RELAXATION = relaxation
            for factor in FACTORS:
                plan = make_plan(replace(config, stepsize=factor * default.method.stepsize), y, _silent)
                yield (relaxation, factor), steps_until_near(_images(plan, MOST), limit)
    finally:
        condat_vu.PRIMAL_DUAL_RELAXATION = usual


def steps_until_near(images: Iterator[Tensor], limit: Tensor) -> int:
    """After how many steps the images stay near the limit."""
    far = [float((x - limit).norm() / limit.norm()) > NEAR for x in images]
    return len(far) - far[::-1].index(True) if True in far else 0


def _images(plan: Plan, steps: int) -> Iterator[Tensor]:
    algorithm: Any = plan.method.algorithm(plan.problem.measurement)
    for number, state in enumerate(iterate(algorithm, starting_image(plan.problem, plan.pair))):
        if number == steps:
            return
        yield state.x


def _silent(line: str) -> None:
    """Remarks are for people."""


if __name__ == "__main__":
    main()
