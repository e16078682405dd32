"""The noise of an image, estimated where the image has signal.

Padding, empty columns and other constant regions carry no noise, and air carries less of it than the object does: they
are left out, because else a measurement that is mostly air reads the noise of the air.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]
Mask = NDArray[np.bool_]

_DETAIL = np.array([-0.48296291314469025, 0.836516303737469, -0.22414386804185735, -0.12940952255092145])
"""The high-pass filter of the Daubechies wavelet with two vanishing moments, of norm 1."""

_SUPPORT = len(_DETAIL)
_NORMAL = 0.6744897501960817
"""The median of the absolute value of a standard normal variable."""

_AIR = 0.05
"""Of the range of levels, counted from its low end: what is below is air."""

_LEVELS = (1.0, 99.5)
"""Percentiles of the levels that are taken for the ends of that range: an object may fill a hundredth of an image."""

_FEWEST = 64
"""Coefficients from which a standard deviation is read."""

SMALLEST_SIDE = 8
"""Pixels along a side of the smallest image whose noise is estimated."""

_TILE = 8
_FLATTEST = 10.0
"""Percentile of the standard deviations of tiles: the flattest hold noise and little else."""

_OF_FLATTEST = 0.885
"""That percentile for white noise of standard deviation 1: 61 degrees of freedom, 1 - 1.28 / sqrt(2 * 61)."""


@dataclass(frozen=True)
class _Details:
    """The detail coefficients of a plane, and the mean of the pixels under each.

    Attributes:
        values: The coefficients.
        levels: The means, of the same shape.
        usable: Where the pixels are not padding, and not all the same.
    """

    values: Plane
    levels: Plane
    usable: Mask


def estimate_noise(planes: Iterable[Plane], padding: Iterable[Mask | None] = (), correlated: bool = False) -> float:
    """The standard deviation of the noise of images, where they have signal; NaN where no plane tells it.

    The median over the planes of the estimate of Donoho and Johnstone (Biometrika 81, 1994) from the finest wavelet
    coefficients, of those whose pixels are above air. It is that of white noise: of correlated noise they see a part.

    Args:
        planes: Images (height, width) of one scale; of complex ones the noise is that of the real and of the imaginary
            part, each taken for an image.
        padding: Of each image where there is none, or ``None``; by default there is image everywhere.
        correlated: Whether noise may be correlated from pixel to pixel, as in a reconstructed slice: then not less than
            the standard deviation in the flattest tiles of 8 x 8 pixels, less a plane through each.
    """
    pairs = [(plane, mask) for plane, mask in _paired(planes, padding) if min(plane.shape) >= SMALLEST_SIDE]
    details = [_details(plane, mask) for plane, mask in pairs]
    air = _air([one.levels[one.usable] for one in details])
    found = [_of_details(one, air) for one in details]
    estimate = _median(found)
    if not correlated or not np.isfinite(estimate):
        return estimate
    spread = _median(_of_tiles(plane, mask, air) for plane, mask in pairs)
    return float(np.fmax(estimate, spread))


def signal(plane: Plane, mask: Mask | None = None) -> Mask:
    """Return where an image (height, width) is above air; everywhere where nothing is."""
    usable = np.ones(plane.shape, np.bool_) if mask is None else ~mask
    if not usable.any():
        return usable
    levels = _box_mean(np.pad(plane, ((1, 2), (1, 2)), mode="edge"))
    above = usable & (levels > _air([levels[usable]]))
    return above if np.count_nonzero(above) >= _FEWEST else usable


def _paired(planes: Iterable[Plane], padding: Iterable[Mask | None]) -> list[tuple[Plane, Mask | None]]:
    every = list(planes)
    masks = list(padding) or [None] * len(every)
    return [(part, mask) for plane, mask in zip(every, masks, strict=True) for part in _parts(plane)]


def _parts(plane: NDArray[Any]) -> list[Plane]:
    return [plane.real, plane.imag] if np.iscomplexobj(plane) else [plane]


def _details(plane: Plane, mask: Mask | None) -> _Details:
    values = _filtered(_filtered(plane).T).T
    levels = _box_mean(plane)
    usable = ~(_constant(plane, _SUPPORT) | np.isnan(levels))
    empty = _empty(plane) if mask is None else _empty(plane) | mask
    if empty.any():
        usable &= ~_any(empty, _SUPPORT)
    return _Details(values, levels, usable)


def _filtered(plane: Plane) -> Plane:
    first, *others = _shifted(plane)
    found: Plane = _DETAIL[0] * first
    part = np.empty_like(found)
    for tap, one in zip(_DETAIL[1:], others, strict=True):
        found += np.multiply(tap, one, out=part)
    return found


def _box_mean(plane: Plane) -> Plane:
    mean = _window_sums(_window_sums(plane).T).T
    mean /= _SUPPORT**2
    return mean


def _window_sums(plane: Plane) -> Plane:
    """The sum of the pixels under the filter, along each row."""
    first, second, *others = _shifted(plane)
    found: Plane = first + second
    for one in others:
        found += one
    return found


def _empty(plane: Plane) -> Mask:
    """The pixels of squares of constant value, as large as a tile."""
    constant = _constant(plane, _TILE)
    return _any(np.pad(constant, _TILE - 1), _TILE) if constant.any() else np.zeros(plane.shape, np.bool_)


def _constant(plane: Plane, side: int) -> Mask:
    """Return which windows of that side, a power of two, have one value in all pixels."""
    alike = plane[:, 1:] == plane[:, :-1]
    rows = _all_of(alike, side - 1)
    columns = _all_of((plane[1:, : 1 - side] == plane[:-1, : 1 - side]).T, side - 1).T
    # a window is constant if each of its rows is, and its first column
    return _all_of(rows.T, side).T & columns


def _all_of(mask: Mask, count: int) -> Mask:
    """Return where a pixel and those after it in its row, ``count`` together, are all set."""
    return _doubled(mask, count, np.logical_and)


def _any(mask: Mask, side: int) -> Mask:
    """Return which windows of that side have a pixel that is set."""
    rows = _doubled(mask, side, np.logical_or)
    return _doubled(rows.T, side, np.logical_or).T


def _doubled(mask: Mask, count: int, combine: "np.ufunc") -> Mask:
    """Return what ``combine``, of which the order makes no difference, makes of each run of pixels in a row."""
    found, length = mask, 1
    while length < count:
        step = min(length, count - length)
        found = combine(found[:, : found.shape[1] - step], found[:, step:])
        length += step
    return found


def _shifted(plane: NDArray[Any], count: int = _SUPPORT) -> list[NDArray[Any]]:
    """The columns under each tap of a filter, one array a tap."""
    length = plane.shape[1] - count + 1
    return [plane[:, at : at + length] for at in range(count)]


def _air(levels: list[Plane]) -> float:
    """The level below which there is air."""
    every = np.concatenate([one.ravel() for one in levels]) if levels else np.empty(0)
    if not every.size:
        return -np.inf
    low, high = np.percentile(every, _LEVELS, overwrite_input=True)
    return float(low + _AIR * (high - low))


def _of_details(details: _Details, air: float) -> float:
    above = details.usable & (details.levels > air)
    chosen = above if np.count_nonzero(above) >= _FEWEST else details.usable
    if np.count_nonzero(chosen) < min(_FEWEST, details.values.size):
        return np.nan
    sizes = details.values[chosen]
    return _middle(np.abs(sizes, out=sizes)) / _NORMAL


def _middle(values: Plane) -> float:
    """The median of values, which it puts in another order: numpy's takes five times as long for an even number."""
    middle = len(values) // 2
    values.partition(middle)
    upper = float(values[middle])
    return upper if len(values) % 2 else float(np.mean([values[:middle].max(), upper]))


def _of_tiles(plane: Plane, mask: Mask | None, air: float) -> float:
    tiles = _tiles(plane)
    means = tiles.mean(axis=(1, 2))
    usable = (tiles != tiles[:, :1, :1]).any(axis=(1, 2)) & (means > air)
    if mask is not None:
        usable &= ~_tiles(mask).any(axis=(1, 2))
    if not usable.any():
        return np.nan
    centred = tiles[usable] - means[usable, None, None]
    ramp = np.arange(_TILE) - (_TILE - 1) / 2
    scale = _TILE * float(ramp @ ramp)
    across, down = (centred * ramp).sum(axis=(1, 2)) / scale, (centred * ramp[:, None]).sum(axis=(1, 2)) / scale
    centred -= across[:, None, None] * ramp
    centred -= down[:, None, None] * ramp[:, None]
    deviations = np.sqrt(np.square(centred, out=centred).sum(axis=(1, 2)) / (_TILE**2 - 3))
    return float(np.percentile(deviations, _FLATTEST)) / _OF_FLATTEST


def _tiles(plane: NDArray[Any]) -> NDArray[Any]:
    """The whole tiles of a plane, (tiles, side, side)."""
    rows, columns = (side // _TILE for side in plane.shape)
    cut = plane[: rows * _TILE, : columns * _TILE].reshape(rows, _TILE, columns, _TILE)
    return cut.swapaxes(1, 2).reshape(-1, _TILE, _TILE)


def _median(found: Iterable[float]) -> float:
    known = [one for one in found if np.isfinite(one)]
    return float(np.median(known)) if known else float("nan")
