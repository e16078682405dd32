"""Reconstructions for a critic of photographs: ``good`` ones, and ``bad`` ones whose operator or noise is wrong.

    python docs/recipes/critic-gray/reconstructions.py [--prior SPEC] [--side PIXELS] [--iterations N] OUT IMAGE...

The middle of each image is blurred or only noisy, and restored twice: with what was done to it, and with a fault: a
kernel that is too wide, or noise that is taken for a third of what it is. ``OUT/good`` and ``OUT/bad`` hold the
results; the name of a bad one begins with its fault.
"""

import argparse
import random
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

import recon

FAULTS = ("wide", "noisy")
WIDER = (1.3, 1.7)
"""The assumed width of a kernel over the true one."""

UNDERSTATED = 1 / 3
"""The assumed noise over the true one."""


def main() -> None:
    """Write the reconstructions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior", default="tv")
    parser.add_argument("--side", type=int, default=180)
    parser.add_argument("--iterations", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in ("good", "bad"):
        (given.out / name).mkdir(parents=True, exist_ok=True)
    for index, path in enumerate(given.images):
        restore(path, index, given)


def restore(path: Path, index: int, given: argparse.Namespace) -> None:
    """Write both reconstructions of one image, unless they are there."""
    fault = FAULTS[index % len(FAULTS)]
    clean, out = middle(path, given.side), given.out
    files = out / "good" / f"{path.stem}.png", out / "bad" / f"{fault}-{path.stem}.png"
    if all(file.exists() for file in files):
        return
    drawn = random.Random(zlib.crc32(path.stem.encode()))  # noqa: S311  no secret
    blurred = fault == "wide" or drawn.random() < 1 / 3
    width = drawn.uniform(0.9, 2.0)
    noise = 0.004 * 5 ** drawn.random() if blurred else 0.03 * 2 ** drawn.random()
    seen = ndimage.gaussian_filter(clean, width, mode="wrap") if blurred else clean
    seen = seen + noise * np.random.default_rng(index).standard_normal(clean.shape)

    def solved(assumed: float, level: float, file: Path) -> None:
        operator = f"blur:gaussian={assumed:.4f}" if blurred else "identity"
        result = recon.reconstruct(
            seen.astype(np.float32), operator, given.prior, noise=level, range=(0, 1), iterations=given.iterations
        )
        Image.fromarray(np.rint(255 * np.clip(result.image, 0, 1)).astype(np.uint8)).save(file)
        print(f"{file}: kernel {assumed if blurred else 0:.2f}, noise {level:.4f}", flush=True)

    solved(width, noise, files[0])
    wrong = width * drawn.uniform(*WIDER) if fault == "wide" else width
    solved(wrong, noise * UNDERSTATED if fault == "noisy" else noise, files[1])


def middle(path: Path, most: int) -> np.ndarray:
    """The middle of a picture in grey, 0 to 1."""
    pixels = np.asarray(Image.open(path).convert("L"), np.float64) / 255
    top, left = ((side - min(side, most)) // 2 for side in pixels.shape)
    return pixels[top : top + most, left : left + most]


if __name__ == "__main__":
    main()
