"""One small network with clean images and from measurements only: PSNR at noise of 25/255, and HU rms in CT.

    python tests/benchmarks/measurement_only.py [--training FOLDER --validation FOLDER] [--only denoising] [--steps N]
    python tests/benchmarks/measurement_only.py --only ct [the same] [--batch N] [--losses LIST] [--parts N]

Denoising: the network learns from clean patches with noise that is new in every step, or from images whose noise is
drawn once. By default the left three quarters of the photographs in data/ are for training, the rest for validation.
CT: 60 views of 64 x 64 pixels; J is applied once to a filtered back-projection. The slice data/ct/tcga_60-2695.dcm is
for training, in parts; the other one for validation. With folders of DICOM slices these are averaged to 128 x 128, and
the scan is that of data/ct/small.toml with noise of 0.02. Each is measured once, twice for noise2noise. The targets: at
most 0.5 dB and 10 % worse than with clean images.
"""

import argparse
import json
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from recon import io
from recon.priors.networks import DnCNNConfig
from recon.specs.grammar import parse_spec
from recon.specs.operators import operator_from_spec
from recon.training import DataConfig, EquilibriumConfig, Patches, Recipe, Trainer, TrainingConfig, ValidationConfig
from recon.training.measurements import Measurements
from recon.training.tables import MeasurementsConfig
from recon.training.trainer import as_kept
from recon.types import LinearOperator

ROOT = Path(__file__).resolve().parents[2]
NETWORK = DnCNNConfig(features=16, depth=5)
STEPS, BATCH, PATCH = 1200, 16, 40
CT_BATCH, SIDE, STRIDE = 8, 64, 24
SIGMA = 25 / 255
WATER = 0.02
"""In 1/mm."""

DENOISING = ("mse", "sure", "r2r", "noise2noise", "splitting")
TOMOGRAPHY = ("mse", "splitting", "sure", "noise2noise")
DECIBELS, SHARE = 0.5, 0.10

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Scan:
    """A scan: its geometry file, the side of its images, what becomes 1 in 1/mm, and the noise of line integrals."""

    geometry: Path
    side: int
    width: float
    noise: float

    @property
    def level(self) -> float:
        """The noise on the scale of the images."""
        return self.noise / self.width


def main(arguments: list[str] | None = None) -> dict[str, dict[str, float]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--training", type=Path)
    parser.add_argument("--validation", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--batch", type=int, default=CT_BATCH, help="of scans")
    parser.add_argument("--losses", default=",".join(TOMOGRAPHY), help="of scans; mse, with clean images, is first")
    parser.add_argument("--parts", type=int, default=4, help="of the views of a scan, of which splitting hides one")
    parser.add_argument("--only", choices=("denoising", "ct"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    if given.only != "ct":
        photographs = halves() if given.training is None else (images_of(given.training), images_of(given.validation))
        found["PSNR in dB at 25/255"] = denoising(*photographs, given.steps, quiet=given.json)
    if given.only != "denoising":
        folders = (given.training, given.validation) if given.only == "ct" and given.training else None
        found["HU rms of 60 views"] = tomography(given, folders)
    if given.json:
        print(json.dumps(found, indent=2))
    return found


def denoising(training: list[Pixels], validation: list[Pixels], steps: int, quiet: bool) -> dict[str, float]:
    found: dict[str, float] = {}
    clean = tuple(np.rint(image * 65535).astype(np.uint16)[None, None] for image in training)
    noisy = tuple(noised(image, index, 2) for index, image in enumerate(training))
    for loss in DENOISING:
        config = TrainingConfig(
            loss=loss, noise=(SIGMA, SIGMA), batch=BATCH, steps=steps, learning_rate=2e-3, ema=0.99, clip=0
        )
        recipe = Recipe(NETWORK, DataConfig(patch=PATCH), config, validation=ValidationConfig(noise=(SIGMA,)))
        images = clean if loss == "mse" else noisy if loss == "noise2noise" else tuple(each[:1] for each in noisy)
        began = time.perf_counter()
        trainer = trained(Trainer(recipe, Patches(images, PATCH, augment=True)))
        network = as_kept(trainer.average)
        with torch.no_grad():
            errors = [psnr(network(tensor(noised(x, 1000 + k))).numpy()[0, 0], x) for k, x in enumerate(validation)]
        found[loss] = float(np.mean(errors))
        lost = found["mse"] - found[loss]
        say(quiet, f"denoising, {loss:<12} {found[loss]:6.2f} dB", lost, f"{-lost:+.2f} dB", began)
    return found


def tomography(given: argparse.Namespace, folders: tuple[Path, Path] | None) -> dict[str, float]:
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        if folders is None:
            scan = Scan(geometry_file(Path(place)), SIDE, 0.05, 0.03)
            training, validation = (parts(name, scan) for name in ("tcga_60-2695.dcm", "tcga_60-2715.dcm"))
        else:
            scan = Scan(ROOT / "data" / "ct" / "small.toml", 128, 0.08142, 0.02)
            training, validation = (slices(folder, scan) for folder in folders)
        spec = f"ct:{scan.geometry}"
        operator = operator_from_spec(parse_spec(spec), (scan.side, scan.side))
        clean = tuple(np.rint(x * 65535).astype(np.uint16)[None, None] for x in training)
        noisy = tuple(measured(operator, x, scan, k, 2) for k, x in enumerate(training))
        for loss in dict.fromkeys(["mse", *given.losses.split(",")]):
            began, recipe = time.perf_counter(), reconstructing(loss, spec, scan, given)
            if loss == "mse":
                trainer = Trainer(recipe, Patches(clean, scan.side, augment=True))
            else:
                items = noisy if loss == "noise2noise" else tuple(y[:1] for y in noisy)
                trainer = Trainer(recipe, Measurements(items, (scan.side, scan.side)))
            found[loss] = hounsfield_error(trained(trainer), validation, scan)
            more = found[loss] / found["mse"] - 1
            say(given.json, f"ct, {loss:<12} {found[loss]:6.1f} HU rms", more, f"{100 * more:+.1f} %", began)
    return found


def reconstructing(loss: str, spec: str, scan: Scan, given: argparse.Namespace) -> Recipe:
    config = TrainingConfig(
        mode="single",
        loss=loss,
        noise=(scan.level, scan.level),
        batch=given.batch,
        steps=given.steps,
        learning_rate=2e-3,
        ema=0.99,
        clip=0,
    )
    solved = EquilibriumConfig(operator=spec, stepsize=0.0)
    hidden = MeasurementsConfig() if loss == "mse" else MeasurementsConfig(parts=given.parts)
    return Recipe(NETWORK, DataConfig(patch=scan.side), config, equilibrium=solved, measurements=hidden)


@torch.no_grad()
def hounsfield_error(trainer: Trainer, images: list[Pixels], scan: Scan) -> float:
    """The root of the mean square error of reconstructions of all views."""
    network, problem = as_kept(trainer.average), trainer.restoration
    squares = []
    for k, x in enumerate(images):
        image = problem.restore(network, measured(problem.operator, x, scan, 1000 + k, 1))
        squares.append(float(np.square(image.numpy()[0, 0] - x).mean()))
    return 1000 * scan.width / WATER * math.sqrt(float(np.mean(squares)))


def trained(trainer: Trainer) -> Trainer:
    while trainer.step < trainer.recipe.training.steps:
        trainer.advance()
    return trainer


def say(quiet: bool, text: str, worse: float, figure: str, began: float) -> None:
    target = SHARE if figure.endswith("%") else DECIBELS
    verdict = "target" if worse <= target else "MISSES the target"
    if not quiet:
        print(f"{text}   {figure} ({verdict})   {time.perf_counter() - began:.0f} s", flush=True)


def noised(image: Pixels, seed: int, frames: int = 1) -> NDArray[np.float16]:
    """With noise that no range cuts off."""
    draw = np.random.default_rng(seed)
    return (image + SIGMA * draw.standard_normal((frames, 1, *image.shape))).astype(np.float16)


def measured(operator: LinearOperator, image: Pixels, scan: Scan, seed: int, frames: int) -> torch.Tensor:
    y = operator.A(tensor(image[None, None])).expand(frames, -1, -1, -1)
    return y + scan.level * torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))


def geometry_file(place: Path) -> Path:
    path = place / "scan.toml"
    path.write_text(
        'kind = "parallel"\nangles = { start = 0, stop = 180, count = 60, endpoint = false }\n'
        f"[detector]\npixels = {math.ceil(1.45 * SIDE)}\npitch = 1.0\n"
        f"[volume]\npixels = [{SIDE}, {SIDE}]\npitch = 1.0\n"
    )
    return path


def parts(name: str, scan: Scan) -> list[Pixels]:
    """Parts of a slice at half of its resolution; those of air left out."""
    half = attenuation(ROOT / "data" / "ct" / name, 2, scan.width)
    found = [
        half[top : top + SIDE, left : left + SIDE]
        for top in range(0, half.shape[0] - SIDE + 1, STRIDE)
        for left in range(0, half.shape[1] - SIDE + 1, STRIDE)
    ]
    return [part for part in found if part.mean() > 0.1]


def slices(folder: Path, scan: Scan) -> list[Pixels]:
    """The slices of 512 x 512 in a folder, averaged to the size of a scan."""
    return [attenuation(file, 512 // scan.side, scan.width) for file in sorted(folder.rglob("*.dcm"))]


def attenuation(file: Path, factor: int, width: float) -> Pixels:
    """A slice at a fraction of its resolution, on the scale where an attenuation of that width is 1."""
    hu = io.read(file).pixels[0, 0].astype(np.float32)
    found = np.clip(WATER * (1 + hu / 1000), 0, width) / width
    return found.reshape(hu.shape[0] // factor, factor, hu.shape[1] // factor, factor).mean((1, 3))


def halves() -> tuple[list[Pixels], list[Pixels]]:
    images = images_of(ROOT / "data" / "photographs")
    cuts = [3 * image.shape[1] // 4 for image in images]
    pairs = list(zip(images, cuts, strict=True))
    return [image[:, :cut] for image, cut in pairs], [image[:, cut:] for image, cut in pairs]


def images_of(folder: Path) -> list[Pixels]:
    """Grey images on [0, 1]."""
    found = []
    for file in sorted(folder.iterdir()):
        if file.suffix == ".png":
            pixels = io.read(file).pixels[0]
            found.append((pixels.mean(0) / 255).astype(np.float32))
    return found


def psnr(image: Pixels, clean: Pixels) -> float:
    return -10 * math.log10(float(np.square(image - clean).mean()))


def tensor(pixels: Pixels | NDArray[np.float16]) -> torch.Tensor:
    return torch.from_numpy(pixels.astype(np.float32))


if __name__ == "__main__":
    main()
