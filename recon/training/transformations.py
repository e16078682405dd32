"""Transformations of images by which the equivariant loss moves them, each item in a way of its own.

deepinv's transformations move all images of a batch alike, by numbers of a generator that they hold; here the numbers
are given, so that a loss does not depend on which process has which image.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from recon.operators.symmetries import turned

NUMBERS = 2
"""Uniform numbers that one transformation takes."""

_SMALLEST = 0.6
"""The least factor of a change of scale; the largest is 1."""


def moved(images: Tensor, kind: str, numbers: Tensor) -> Tensor:
    """Images after a transformation; differentiable.

    Args:
        images: (batch, channels, height, width).
        kind: ``"turns"``: one of the eight symmetries of the square, of other images of the four that keep their
            shape; ``"shifts"``: cyclic ones by whole pixels; ``"rotations"`` by any angle and ``"scales"`` by 0.6 to 1
            about the middle, bilinear, with the mirror image beyond the border.
        numbers: On [0, 1), (batch, 2): they decide.
    """
    if kind in ("turns", "shifts"):
        exact = _turned if kind == "turns" else _shifted
        return torch.cat([exact(image[None], *pair) for image, pair in zip(images, numbers.tolist(), strict=True)])
    angles = 2 * math.pi * numbers[:, 0] if kind == "rotations" else torch.zeros(len(numbers))
    factors = torch.ones(len(numbers)) if kind == "rotations" else _SMALLEST + (1 - _SMALLEST) * numbers[:, 0]
    return _resampled(images, angles.to(images), factors.to(images))


def _turned(image: Tensor, first: float, _second: float) -> Tensor:
    ways = range(8) if image.shape[-1] == image.shape[-2] else (0, 2, 4, 6)
    return turned(image, ways[int(first * len(ways))])


def _shifted(image: Tensor, first: float, second: float) -> Tensor:
    height, width = image.shape[-2:]
    return image.roll((int(first * height), int(second * width)), (-2, -1))


def _resampled(images: Tensor, angles: Tensor, factors: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    cosine, sine, zero = angles.cos() / factors, angles.sin() / factors, torch.zeros_like(angles)
    rows = [
        torch.stack([cosine, -sine * height / width, zero], 1),
        torch.stack([sine * width / height, cosine, zero], 1),
    ]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
