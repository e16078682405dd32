"""The loops of projection and back-projection on the CPU: one formula, compiled by numba at first use and cached.

The weight of a pixel in a ray is ``max(0, 1 - d) length``, with d their distance along the line in pixels. Projection
reads it as a linear interpolation of the image at the ray, back-projection as a hat around the pixel in the detector:
both gather, so no two threads write to the same place and the result does not depend on their order. Positions are
computed in the precision of the image; the innermost loop reduces into a scalar, which is what LLVM turns into vectors.
"""

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

_compiled = numba.njit(parallel=True, fastmath={"contract", "reassoc", "nsz", "arcp"}, cache=True, nogil=True)

Array = Any


@intrinsic
def _neighbours(context: Any, array: Any, index: Any) -> Any:
    """``array[index], array[index + 1]`` of a flat array.

    Two neighbours in single precision are one load of 64 bits, and one gather where two would be needed: gathers are
    what the loops below wait for.
    """
    signature = numba.types.UniTuple(array.dtype, 2)(array, index)

    def generate(target: Any, builder: Any, types: Any, values: Any) -> Any:
        data = target.make_array(types.args[0])(target, builder, values[0]).data
        first = builder.gep(data, [values[1]])
        if array.dtype == numba.types.float32:
            both = builder.load(builder.bitcast(first, ir.IntType(64).as_pointer()))
            both.align = 4
            high = builder.lshr(both, ir.Constant(ir.IntType(64), 32))
            loaded = [builder.bitcast(builder.trunc(half, ir.IntType(32)), ir.FloatType()) for half in (both, high)]
        else:
            second = builder.gep(first, [ir.Constant(ir.IntType(32), 1)])
            loaded = [builder.load(first), builder.load(second)]
        return target.make_tuple(builder, types.return_type, loaded)

    return signature, generate


@_compiled
def project(
    by_rows: Array, by_columns: Array, start: Array, slope: Array, length: Array, along_columns: Array
) -> Array:
    """The sinogram (views, detector pixels) of an image.

    Args:
        by_rows: (rows, columns + 3): a zero before each row and two after it.
        by_columns: The transposed image, padded in the same way.
        start: As in :class:`Rays`, as are ``slope``, ``length`` and ``along_columns``.
    """
    views, pixels = start.shape
    out = np.empty((views, pixels), by_rows.dtype)
    for view in numba.prange(views):
        for pixel in range(pixels):
            image = by_columns if along_columns[view, pixel] else by_rows
            out[view, pixel] = _along(image, start[view, pixel], slope[view, pixel]) * length[view, pixel]
    return out


@numba.njit(fastmath={"contract", "reassoc", "nsz", "arcp"}, inline="always")
def _along(image: Array, start: float, slope: float) -> Any:
    lines, stride = image.shape
    real = image.dtype.type
    first, last = _inside(start, slope, lines, stride - 3)
    flat = image.ravel()
    # one more, for the zero before each row; the sum is a rounding away from -1 at most, hence never negative
    begin, step = real(start + 1.0), real(slope)
    total = real(0)
    for line in range(first, last):
        position = begin + step * real(line)
        left = np.int32(position)
        weight = position - real(left)
        value, other = _neighbours(flat, line * stride + left)
        total += value + weight * (other - value)
    return total


@numba.njit(inline="always")
def _inside(start: float, slope: float, lines: int, width: int) -> tuple[int, int]:
    """The lines on which the ray is less than a pixel from the image: -1 < start + slope line < width."""
    if slope == 0.0:
        return (0, lines) if -1.0 < start < width else (0, 0)
    enter, leave = (-1.0 - start) / slope, (width - start) / slope
    if enter > leave:
        enter, leave = leave, enter
    enter, leave = min(max(enter, -1.0), float(lines)), min(max(leave, -1.0), float(lines))
    return max(0, math.floor(enter) + 1), min(lines, math.ceil(leave))


@_compiled
def back_project_parallel(
    weighted: Array, across: Array, down: Array, origin: Array, spread: Array, reach: int, rows: int, columns: int
) -> Array:
    """The image (rows, columns) of a sinogram of parallel rays.

    Args:
        weighted: (views, detector pixels + 4 reach), the sinogram times the rays' lengths, 2 reach zeros at both ends.
        across: How far a pixel's shadow moves in the detector from a column to the next, in detector pixels, (views,).
        down: From a row to the next.
        origin: The shadow of the pixel in row 0 and column 0, counted from the first of the zeros.
        spread: As in :class:`Rays`, (views,).
        reach: How many rays on either side of its shadow a pixel may touch.
        rows: Of the image.
        columns: Of the image.
    """
    views, stride = weighted.shape
    real = weighted.dtype.type
    flat = weighted.ravel()
    lowest, highest = real(reach - 1), real(stride - reach - 1)
    out = np.empty((rows, columns), weighted.dtype)
    for row in numba.prange(rows):
        place = np.empty(views, weighted.dtype)
        for view in range(views):
            place[view] = down[view] * real(row) + origin[view]
        for column in range(columns):
            total = real(0)
            if reach == 1:
                for view in range(views):
                    shadow = min(max(across[view] * real(column) + place[view], lowest), highest)
                    ray = np.int32(shadow)
                    beyond = shadow - real(ray)
                    before = max(real(0), real(1) - beyond * spread[view])
                    after = max(real(0), real(1) - (real(1) - beyond) * spread[view])
                    value, other = _neighbours(flat, view * stride + ray)
                    total += before * value + after * other
            else:
                for view in range(views):
                    shadow = min(max(across[view] * real(column) + place[view], lowest), highest)
                    total += _hat(flat, view * stride, shadow, spread[view], reach)
            out[row, column] = total
    return out


@numba.njit(fastmath={"contract", "reassoc", "nsz", "arcp"}, inline="always")
def _hat(flat: Array, offset: int, shadow: Any, narrow: Any, reach: int) -> Any:
    """What ``reach`` rays on either side of a shadow give to a pixel."""
    real = flat.dtype.type
    ray = np.int32(shadow)
    beyond, total = shadow - real(ray), real(0)
    for k in range(reach):
        before = max(real(0), real(1) - (beyond + real(k)) * narrow)
        after = max(real(0), real(1) - (real(k + 1) - beyond) * narrow)
        total += before * flat[offset + ray - k] + after * flat[offset + ray + k + 1]
    return total


@_compiled
def back_project_fan(
    weighted: Array, spread: Array, across: Array, down: Array, origin: Array, centre: float, magnified: float,
    arc: bool, reach: int, rows: int, columns: int,
) -> Array:  # fmt: skip
    """The image (rows, columns) of a sinogram of a fan.

    Args:
        weighted: As for :func:`back_project_parallel`.
        spread: As in :class:`Rays`, padded like ``weighted``.
        across: (views, 2): from a column to the next, the change of the coordinate along the detector's axis and of
            the depth from the source, in mm.
        down: From a row to the next.
        origin: Both of the pixel in row 0 and column 0.
        centre: The place of u = 0 in ``weighted``.
        magnified: The distance from source to detector, in detector pixels.
        arc: Whether the detector is an arc around the source.
        reach: How many rays on either side of its shadow a pixel may touch.
        rows: Of the image.
        columns: Of the image.
    """
    views, stride = weighted.shape
    real = weighted.dtype.type
    flat, narrows = weighted.ravel(), spread.ravel()
    lowest, highest = real(reach - 1), real(stride - reach - 1)
    middle, far = real(centre), real(magnified)
    out = np.empty((rows, columns), weighted.dtype)
    for row in numba.prange(rows):
        place = down * real(row) + origin
        for column in range(columns):
            total = real(0)
            if reach == 2 and not arc:
                for view in range(views):
                    depth = across[view, 1] * real(column) + place[view, 1]
                    shadow = middle + far * ((across[view, 0] * real(column) + place[view, 0]) / depth)
                    shadow = min(max(shadow, lowest), highest)
                    ray = np.int32(shadow)
                    beyond = shadow - real(ray)
                    here = view * stride + ray
                    first, second = _neighbours(flat, here - 1)
                    third, fourth = _neighbours(flat, here + 1)
                    a, b = _neighbours(narrows, here - 1)
                    c, d = _neighbours(narrows, here + 1)
                    total += max(real(0), real(1) - (real(1) + beyond) * depth * a) * first
                    total += max(real(0), real(1) - beyond * depth * b) * second
                    total += max(real(0), real(1) - (real(1) - beyond) * depth * c) * third
                    total += max(real(0), real(1) - (real(2) - beyond) * depth * d) * fourth
            else:
                for view in range(views):
                    aside = across[view, 0] * real(column) + place[view, 0]
                    depth = across[view, 1] * real(column) + place[view, 1]
                    bend = math.atan2(aside, depth) if arc else aside / depth
                    away = math.hypot(aside, depth) if arc else depth
                    shadow = min(max(middle + far * real(bend), lowest), highest)
                    ray = np.int32(shadow)
                    beyond = shadow - real(ray)
                    here = view * stride + ray
                    for k in range(reach):
                        left, right = beyond + real(k), real(k + 1) - beyond
                        if arc:  # the distance from a ray at a small angle is its sine
                            left, right = far * math.sin(left / far), far * math.sin(right / far)
                        before = max(real(0), real(1) - left * away * narrows[here - k])
                        after = max(real(0), real(1) - right * away * narrows[here + k + 1])
                        total += before * flat[here - k] + after * flat[here + k + 1]
            out[row, column] = total
    return out
