"""Intervals around the mean, and how they compare with a truth."""

import statistics
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recon.solvers.chains import block_means
from recon.uncertainty.maps import Maps

FLOOR = 0.1
"""Of the root mean square of the standard deviations of an image, added to each: no interval is then a point."""


@dataclass(frozen=True)
class Factors:
    """What widths are multiplied by, for pixels and for means of regions.

    Attributes:
        pixel: Of the pixels.
        region: Of the means of regions of 8 x 8 pixels.
        calibrated: Whether they come from calibration images; else they are those of a normal law.
    """

    pixel: float
    region: float
    calibrated: bool


def normal_factors(level: float) -> Factors:
    """The factors that would be right if errors were normal with the standard deviations of the maps: no claim."""
    factor = statistics.NormalDist().inv_cdf((1 + level) / 2)
    return Factors(factor, factor, calibrated=False)


def widths(std: Tensor) -> Tensor:
    """The half-widths of intervals before they are multiplied: the standard deviation and a floor, of each frame."""
    size = std.square().mean((1, 2, 3), keepdim=True).sqrt()
    return std + FLOOR * size + torch.finfo(std.dtype).tiny


def pixel_ratios(maps: Maps, truth: Tensor) -> Tensor:
    """|truth - mean| over the half-width, of each pixel."""
    return (truth - maps.mean).abs() / widths(maps.std)


def region_ratios(maps: Maps, truth: Tensor) -> Tensor:
    """The same of the means of regions."""
    return block_means(truth - maps.mean).abs() / widths(maps.block_std)


@dataclass(frozen=True)
class Coverage:
    """How the intervals of an image compare with its truth.

    Attributes:
        pixels: The share of the pixels inside their intervals.
        regions: The share of the means of regions.
        width: The mean width of the intervals of pixels, on the [0, 1] scale.
        region_width: That of regions.
        rank_correlation: Spearman's, of width and absolute error, pixel by pixel.
        block_correlation: The same of the means of both over regions.
    """

    pixels: float
    regions: float
    width: float
    region_width: float
    rank_correlation: float
    block_correlation: float

    def to_json(self) -> dict[str, float | None]:
        """Return plain values."""
        return {name: value if np.isfinite(value) else None for name, value in vars(self).items()}


def coverage(maps: Maps, truth: Tensor, factors: Factors, scale: float = 1.0) -> Coverage:
    """Compare intervals with the truth, on the scale of the problem.

    Args:
        maps: Mean and standard deviation.
        truth: The clean image.
        factors: Of the widths.
        scale: What a number of the [0, 1] scale is multiplied by on that of the problem.
    """
    width, error = widths(maps.std), (truth - maps.mean).abs()
    regions = widths(maps.block_std)
    return Coverage(
        pixels=float((error <= factors.pixel * width).double().mean()),
        regions=float((region_ratios(maps, truth) <= factors.region).double().mean()),
        width=2 * factors.pixel * float(width.double().mean()) / scale,
        region_width=2 * factors.region * float(regions.double().mean()) / scale,
        rank_correlation=rank_correlation(width, error),
        block_correlation=rank_correlation(block_means(width), block_means(error)),
    )


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN where one of them does not vary."""
    first, second = _ranks(a), _ranks(b)
    if len(first) < 2 or not (first.std() and second.std()):
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(x: Tensor) -> "np.ndarray":
    _, places, counts = np.unique(x.detach().cpu().double().numpy().ravel(), return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    found: np.ndarray = middle[places.ravel()]
    return found
