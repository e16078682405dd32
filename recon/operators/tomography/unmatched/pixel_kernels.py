"""The loops of the pixel-driven back-projection and of its transpose on the CPU, compiled by numba at first use.

Each pixel reads the sinogram where its centre casts its shadow, by linear interpolation between two detector pixels;
the transpose writes there, one view a thread, so no two write to the same place. Both call the same functions for the
place of a shadow, and these are compiled without the liberties of fast arithmetic: the two see the same place to the
last bit, also where it is rounded to a whole detector pixel. What may be ``None`` is settled when a loop is compiled:
it would keep the innermost one from becoming vectors.
"""

import math
from typing import Any

import numba
import numpy as np

from recon.operators.tomography.projectors.kernels.planar import _neighbours

_compiled = numba.njit(parallel=True, fastmath={"contract", "reassoc", "nsz", "arcp"}, cache=True, nogil=True)
_exactly = numba.njit(cache=True, nogil=True)

Array = Any


@_exactly
def _along(step: Any, index: Any, start: Any) -> Any:
    """The place of item ``index`` of evenly spaced ones."""
    return start + step * index


@_exactly
def _read(shadow: Any, last: Any, steps: Any) -> Any:
    """The detector pixel below a shadow and how far beyond it the shadow lies, kept inside of 0 ... last.

    Args:
        shadow: In detector pixels.
        last: The place of the last zero but one.
        steps: In how many steps the way to the next detector pixel is rounded; ``None`` for not at all.
    """
    inside = min(max(shadow, type(shadow)(0)), last)
    ray = np.int32(inside)
    beyond = inside - type(shadow)(ray)
    if steps is not None:
        fine = type(shadow)(steps)
        beyond = np.floor(beyond * fine + type(shadow)(0.5)) / fine
    return ray, beyond


@_exactly
def _cast(aside: Any, depth: Any, middle: Any, far: Any, arc: Any) -> Any:
    """The place of a shadow in a fan's detector, and one over the depth, or over the distance from the source."""
    one = type(aside)(1)
    if arc is not None:
        return middle + far * math.atan2(aside, depth), one / math.sqrt(aside * aside + depth * depth)
    nearness = one / depth
    return middle + far * (aside * nearness), nearness


@_exactly
def _power(ratio: Any, power: int) -> Any:
    if power == 0:
        return type(ratio)(1)
    return ratio if power == 1 else ratio * ratio


@_compiled
def back_project_parallel(
    padded: Array, across: Array, down: Array, origin: Array, steps: Any, rows: int, columns: int
) -> Array:
    """The image (rows, columns) of a sinogram of parallel rays.

    Args:
        padded: (views, detector pixels + 3): a zero before each view and two after it.
        across: How far a pixel's shadow moves in the detector from a column to the next, in detector pixels, (views,).
        down: From a row to the next.
        origin: The shadow of the pixel in row 0 and column 0, counted from the first zero.
        steps: As in ``_read``.
        rows: Of the image.
        columns: Of the image.
    """
    views, stride = padded.shape
    real = padded.dtype.type
    flat, last = padded.ravel(), real(stride - 2)
    out = np.empty((rows, columns), padded.dtype)
    for row in numba.prange(rows):
        place = np.empty(views, padded.dtype)
        for view in range(views):
            place[view] = _along(down[view], real(row), origin[view])
        for column in range(columns):
            total = real(0)
            for view in range(views):
                ray, beyond = _read(_along(across[view], real(column), place[view]), last, steps)
                value, other = _neighbours(flat, view * stride + ray)
                total += value + beyond * (other - value)
            out[row, column] = total
    return out


@_compiled
def spread_parallel(image: Array, across: Array, down: Array, origin: Array, steps: Any, stride: int) -> Array:
    """The transpose of :func:`back_project_parallel`: (views, stride), padded as its sinogram."""
    rows, columns = image.shape
    views, real = len(across), image.dtype.type
    last = real(stride - 2)
    out = np.zeros((views, stride), image.dtype)
    for view in numba.prange(views):
        for row in range(rows):
            place = _along(down[view], real(row), origin[view])
            for column in range(columns):
                ray, beyond = _read(_along(across[view], real(column), place), last, steps)
                value = image[row, column]
                out[view, ray] += (real(1) - beyond) * value
                out[view, ray + 1] += beyond * value
    return out


@_compiled
def back_project_fan(
    padded: Array, across: Array, down: Array, origin: Array, middle: float, far: float, axis: float, arc: Any,
    power: int, steps: Any, rows: int, columns: int,
) -> Array:  # fmt: skip
    """The image (rows, columns) of a sinogram of a fan.

    Args:
        padded: As for :func:`back_project_parallel`.
        across: (2, views): from a column to the next, the change of the coordinate along the detector's axis and of
            the depth from the source, in mm.
        down: From a row to the next.
        origin: Both of the pixel in row 0 and column 0.
        middle: The place of u = 0 in ``padded``.
        far: The distance from source to detector, in detector pixels.
        axis: The distance from the source to the axis of rotation, in mm.
        arc: ``True`` where the detector is an arc around the source, else ``None``.
        power: 0, 1 or 2: of the weight ``axis / depth``, or with an arc ``axis / distance from the source``.
        steps: As in ``_read``.
        rows: Of the image.
        columns: Of the image.
    """
    views, stride = padded.shape
    real = padded.dtype.type
    flat, last = padded.ravel(), real(stride - 2)
    centre, magnified, to_axis = real(middle), real(far), real(axis)
    out = np.empty((rows, columns), padded.dtype)
    for row in numba.prange(rows):
        place = np.empty((2, views), padded.dtype)
        for view in range(views):
            place[0, view] = _along(down[0, view], real(row), origin[0, view])
            place[1, view] = _along(down[1, view], real(row), origin[1, view])
        for column in range(columns):
            total = real(0)
            for view in range(views):
                aside = _along(across[0, view], real(column), place[0, view])
                depth = _along(across[1, view], real(column), place[1, view])
                shadow, nearness = _cast(aside, depth, centre, magnified, arc)
                ray, beyond = _read(shadow, last, steps)
                value, other = _neighbours(flat, view * stride + ray)
                total += _power(to_axis * nearness, power) * (value + beyond * (other - value))
            out[row, column] = total
    return out


@_compiled
def spread_fan(
    image: Array, across: Array, down: Array, origin: Array, middle: float, far: float, axis: float, arc: Any,
    power: int, steps: Any, stride: int,
) -> Array:  # fmt: skip
    """The transpose of :func:`back_project_fan`: (views, stride), padded as its sinogram."""
    rows, columns = image.shape
    views, real = across.shape[1], image.dtype.type
    last = real(stride - 2)
    centre, magnified, to_axis = real(middle), real(far), real(axis)
    out = np.zeros((views, stride), image.dtype)
    for view in numba.prange(views):
        for row in range(rows):
            left = _along(down[0, view], real(row), origin[0, view])
            near = _along(down[1, view], real(row), origin[1, view])
            for column in range(columns):
                aside = _along(across[0, view], real(column), left)
                depth = _along(across[1, view], real(column), near)
                shadow, nearness = _cast(aside, depth, centre, magnified, arc)
                ray, beyond = _read(shadow, last, steps)
                value = _power(to_axis * nearness, power) * image[row, column]
                out[view, ray] += (real(1) - beyond) * value
                out[view, ray + 1] += beyond * value
    return out
