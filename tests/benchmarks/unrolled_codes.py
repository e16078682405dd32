"""Unrolled sparse codes beside total variation, on the validation images of their training.

    python tests/benchmarks/unrolled_codes.py RUN IMAGES [--prior model:csc-gray]

RUN is the folder of a `recon train` of docs/recipes/unrolled-codes, IMAGES the folder of its validation images; it is
run where it was trained, so that the files that its recipe names are found. Each image is cut and measured as in the
training, with noise of the same seeds. Printed are means: PSNR in dB on the scale of 0 to 1, for a scan within the
disc that every view sees, and the seconds of the solver, one thread. Total variation has the weight that `recon solve`
gives it, and half and twice of that.
"""

import math
import tempfile
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from recon.io import ValueRange, from_array
from recon.reconstruction.file_names import expand_inputs
from recon.reconstruction.run import Result, read_image, solve_image
from recon.specs.grammar import parse_spec
from recon.specs.solve_config import config_from
from recon.training import Recipe, read_recipe
from recon.training.data import read_validation
from recon.training.unrolled import Measuring, measuring

FACTORS = (0.5, 1.0, 2.0)


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.argument("images", type=click.Path(path_type=Path, exists=True))
@click.option("--prior", multiple=True, help="Another prior beside total variation, such as model:csc-gray.")
@click.option("--steps", default=1000, show_default=True, help="Of the solvers with these, at most.")
@click.option("--first", default=0, help="How many images.  [default: those of the training's validation]")
def command(run: Path, images: Path, prior: tuple[str, ...], steps: int, first: int) -> None:
    torch.set_num_threads(1)
    for name, rows in compared(run, images, prior, steps, first).items():
        psnr, seconds = (sum(each) / len(rows) for each in zip(*rows, strict=True))
        print(f"{name:<26} {psnr:6.2f} dB  {seconds:6.2f} s", flush=True)


def compared(
    run: Path, images: Path, priors: tuple[str, ...], steps: int, first: int = 0
) -> dict[str, list[tuple[float, float]]]:
    """For each method PSNR and seconds of each image."""
    recipe = read_recipe(run / "config.toml")
    by, (level,) = measuring(recipe), recipe.levels
    files = [Path(file) for file in expand_inputs((str(images),))]
    count = first or recipe.validation.images
    shown = read_validation(files, recipe.data, 1, count, recipe.data.patch, lambda line: None)
    found: dict[str, list[tuple[float, float]]] = {}
    for index, clean in enumerate(shown):
        y = by.measure(clean)
        generator = torch.Generator().manual_seed(recipe.training.seed + index)
        y = y + level * torch.randn(y.shape, generator=generator)
        whole = solved(recipe, by, y, {"prior": "tv"})
        weight = float(parse_spec(str(whole.plan.problem.prior.spec)).options["weight"])
        ways = {"unrolled": {"method": f"unrolled:folder={run}"}, "tv": {"prior": "tv"}}
        ways |= {f"tv:weight * {factor:g}": {"prior": f"tv:weight={factor * weight:.4g}"} for factor in FACTORS}
        ways |= {each: {"prior": each, "iterations": steps} for each in priors}
        for name, given in ways.items():
            result = whole if name == "tv" else solved(recipe, by, y, given)
            found.setdefault(name, []).append((psnr(on_unit(recipe, by, result), clean, by), result.seconds))
    return found


def solved(recipe: Recipe, by: Measuring, y: Tensor, given: dict[str, object]) -> Result:
    """By the chain of `recon solve`: a blurred image on [0, 1], or line integrals."""
    (level,), data = recipe.levels, recipe.data
    options = {"operator": recipe.unrolled.operator, "device": "cpu"} | given
    if by.family.geometry is None:
        image = from_array(y[0, 0].numpy(), value_range=ValueRange(0.0, 1.0))
        return solve_image(config_from(options | {"noise": level}), image)
    high = data.range[1]
    scale = f"{1000 * (0 / data.water - 1):g}:{1000 * (high / data.water - 1):g}"
    config = config_from(options | {"noise": level * high, "water": data.water, "range": scale})
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "sinogram.npy"
        np.save(path, high * y[0, 0].numpy())
        return solve_image(config, read_image(path, config, lambda line: None))


def on_unit(recipe: Recipe, by: Measuring, result: Result) -> Tensor:
    """The result on the scale of the training."""
    pixels = torch.from_numpy(np.asarray(result.image.pixels, float).squeeze())[None, None]
    data = recipe.data
    return pixels if by.family.geometry is None else (pixels / 1000 + 1) * data.water / data.range[1]


def psnr(image: Tensor, clean: Tensor, by: Measuring) -> float:
    error = (image - clean).square()[0, 0]
    if by.family.geometry is not None:
        rows, columns = (torch.arange(n) - (n - 1) / 2 for n in error.shape)
        error = error[rows[:, None] ** 2 + columns**2 <= (min(error.shape) / 2) ** 2]
    return -10 * math.log10(float(error.mean()))


if __name__ == "__main__":
    command()
