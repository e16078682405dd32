"""A potential of a learned linear lifting beside wavelets, total variation and `proved-gray`: PSNR in denoising.

    python tests/benchmarks/lifting_prior.py PHOTOGRAPHS [FOLDER]

Of 96 x 96 pixels in the middle of each photograph, with noise of 5, 15 and 25 on 255. Wavelets (their mean over 16
shifts) and total variation have the weight of each level that is best on these very images, which is in their favour;
networks are told the noise. FOLDER is a network of `recon train`, by default the packaged `lifting-gray`.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from recon.priors import total_variation_prior, wavelet_prior
from recon.priors.networks import load

MODELS = Path(__file__).resolve().parents[2] / "models"
SIDE, LEVELS = 96, (5, 15, 25)
WEIGHTS = 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.4
"""Times the noise."""

WAVELETS = "haar", "db4", "sym4"


def main(photographs: str, folder: str = str(MODELS / "lifting-gray")) -> None:
    torch.set_num_threads(1)
    images = middles(Path(photographs))
    learned, proved = (load(path).frozen(torch.float32) for path in (folder, MODELS / "proved-gray"))
    taken: list[float] = []
    print(f"{len(images)} crops of {SIDE} x {SIDE}")
    print(f"{'noise':>6}{'noisy':>9}{'wavelets':>10}{'tv':>8}{'lifting':>9}{'proved-gray':>13}")
    for level in LEVELS:
        sigma = level / 255
        noisy = images + sigma * torch.randn(images.shape, generator=torch.Generator().manual_seed(level))
        priors = [[wavelet_prior(share * sigma, name, shifts=16) for share in WEIGHTS for name in WAVELETS],
                  [total_variation_prior(share * sigma) for share in WEIGHTS]]  # fmt: skip
        wavelets, variation = (max(psnr(prior.resolvent(1.0)(noisy), images) for prior in each) for each in priors)
        found = []
        for network in (learned, proved):
            begun = time.process_time()
            with torch.no_grad():
                found.append(psnr(network(noisy, sigma), images))
            taken.append(time.process_time() - begun)
        row = psnr(noisy, images), wavelets, variation, *found
        print(
            f"{level:>6}" + "".join(f"{each:>{width}.2f}" for each, width in zip(row, (9, 10, 8, 9, 13), strict=True))
        )
    print(f"CPU time of lifting over proved-gray: {sum(taken[::2]) / sum(taken[1::2]):.2f}")


def middles(folder: Path) -> Tensor:
    """The middles of the grey images in a folder, (count, 1, side, side), in [0, 1]."""
    found = []
    for path in sorted(folder.iterdir()):
        pixels = np.asarray(Image.open(path).convert("L"), np.float32) / 255
        top, left = ((length - SIDE) // 2 for length in pixels.shape)
        found.append(torch.from_numpy(pixels[top : top + SIDE, left : left + SIDE].copy()))
    return torch.stack(found)[:, None]


def psnr(image: Tensor, clean: Tensor) -> float:
    """The mean over the images, in dB."""
    return float((-10 * (image - clean).square().mean((1, 2, 3)).log10()).mean())


if __name__ == "__main__":
    main(*sys.argv[1:])
