"""Coverage of calibrated intervals on images that the calibration has not seen, and how widths rank the errors.

    python tests/benchmarks/interval_coverage.py --photographs CALIBRATION TEST --slices CALIBRATION TEST
        [--samples 12] [--prior tv] [--method bootstrap]

Each argument is a folder of images; slices are DICOM in HU. Photographs give two crops of 80 x 80 pixels an image for
the calibration and one for the test, in grey, averaged by two; slices are averaged to 32 x 32. Printed are means over
the test images: the share of pixels, and of means of 8 x 8 pixels, inside of their intervals at level 0.9; the widths
on the [0, 1] scale; and Spearman's correlation of width and error, by pixel and by region.
"""

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from recon import io
from recon.evaluation.calibrate import calibrate, cover
from recon.io import Image
from recon.reconstruction.file_names import expand_inputs
from recon.specs.grammar import parse_spec
from recon.specs.solve_config import Noise, SolveConfig
from recon.uncertainty.settings import Settings

LEVEL, SEED_OF_TESTS = 0.9, 10_000
SIDE, SLICE_SIDE, MOST = 80, 32, (64, 40)
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
SCAN = """kind = "parallel"
angles = {{ start = 0, stop = 180, count = 60, endpoint = false }}
[detector]
pixels = {detector}
pitch = 1.0
[volume]
pixels = [{side}, {side}]
pitch = 1.0
"""


@click.command()
@click.option("--photographs", nargs=2, type=click.Path(path_type=Path, exists=True))
@click.option("--slices", nargs=2, type=click.Path(path_type=Path, exists=True))
@click.option("--samples", default=12, show_default=True, help="Of the bootstrap.")
@click.option("--prior", default="tv", show_default=True)
@click.option("--method", default="bootstrap", show_default=True)
def main(
    photographs: tuple[Path, Path] | None, slices: tuple[Path, Path] | None, samples: int, prior: str, method: str
) -> None:
    torch.set_num_threads(1)
    settings = Settings(method=method, samples=samples)
    with TemporaryDirectory() as name:
        folder = Path(name)
        if photographs is not None:
            side = SIDE // 2
            known, other = saved(photographs, folder / "photographs", crops)
            np.save(folder / "mask.npy", np.random.default_rng(0).random((side, side)) < 0.5)
            row("deblurring, noise 0.02", "blur:gaussian=1", 0.02, prior, settings, known, other)
            row("half of the pixels", f"inpaint:mask={folder / 'mask.npy'}", 0.02, prior, settings, known, other)
        if slices is not None:
            known, other = saved(slices, folder / "slices", averaged)
            scan = folder / "scan.toml"
            scan.write_text(SCAN.format(detector=SLICE_SIDE * 3 // 2, side=SLICE_SIDE))
            row("CT, 60 views, noise 0.05", f"ct:{scan}", 0.05, prior, settings, known, other)


def row(  # noqa: PLR0917  what a line is of
    title: str, operator: str, noise: float, prior: str, settings: Settings, known: list[Path], other: list[Path]
) -> None:
    config = SolveConfig(parse_spec(operator), parse_spec(prior, "prior"), noise=Noise(noise), device="cpu")
    calibration = calibrate(config, (), settings, known, LEVEL, _silent)
    shifted = Settings(method=settings.method, samples=settings.samples, seed=SEED_OF_TESTS)
    seen = [each.coverage.to_json() for each in cover(config, (), shifted, other, LEVEL, calibration, _silent)]
    means = {key: fmean(float(one[key]) for one in seen if one[key] is not None) for key in seen[0]}
    print(
        f"{title}: {len(known)} calibrate, {len(other)} tested; " + ", ".join(f"{k} {v:.3f}" for k, v in means.items())
    )


def saved(folders: tuple[Path, Path], target: Path, parts) -> tuple[list[Path], list[Path]]:  # type: ignore[no-untyped-def]
    """The images of the calibration and of the test, as files of their own."""
    found = []
    for folder, most, number in zip(folders, MOST, (2, 1), strict=True):
        place = target / str(len(found))
        place.mkdir(parents=True)
        images = [part for file in expand_inputs((str(folder),)) for part in parts(io.read(file), number)]
        files = [place / f"{at:03}.npy" for at in range(min(most, len(images)))]
        for file, image in zip(files, images, strict=False):
            np.save(file, image)
        found.append(files)
    return found[0], found[1]


def crops(image: Image, number: int) -> Iterator[np.ndarray]:
    """Grey crops on [0, 1], averaged by two: the middle, and the upper left corner."""
    x = io.to_tensor(image, torch.float32)[:1]
    x = (x * LUMA).sum(1, keepdim=True) if x.shape[1] == 3 else x
    middle = [(size - SIDE) // 2 for size in x.shape[-2:]]
    for top, left in (middle, (0, 0))[:number]:
        yield avg_pool2d(x[..., top : top + SIDE, left : left + SIDE], 2)[0, 0].numpy()


def averaged(image: Image, number: int) -> Iterator[np.ndarray]:
    """A slice on the scale where -1024 to 3071 HU is 0 to 1, its air cut off below."""
    x = io.to_tensor(image, torch.float32)[:1].clamp(min=0)
    yield avg_pool2d(x, x.shape[-1] // SLICE_SIDE)[0, 0].numpy()


def _silent(line: str) -> None:
    """Remarks are for people."""


if __name__ == "__main__":
    main()
