"""The loops of :mod:`.kernels.planar` for eight images at a time, whose pixels are interleaved.

The same weights, of which each is found once for all eight. Back-projection finds those of a pixel in all views first,
a vector of views at a time and in double precision, and then adds up what they weigh. Towards an arc they would have to
be found one by one, which saves nothing.
"""

from typing import Any

import numba
import numpy as np

from recon.operators.tomography.projectors.kernels.lanes import (
    LANES,
    load,
    plus_between,
    plus_weighted,
    scaled,
    store,
    zeros,
)
from recon.operators.tomography.projectors.kernels.planar import (
    Array,
    _compiled,
    _inlined,
    _inside,
    _ordered,
    _position,
    _whole_and_part,
)


@_compiled
def project(
    by_rows: Array, by_columns: Array, start: Array, slope: Array, length: Array, along_columns: Array
) -> Array:
    """The sinograms (views, detector pixels, 8).

    Args:
        by_rows: (rows, columns + 4, 8): two zeros on either side of each row.
        by_columns: The transposed images, padded in the same way.
        start: As in :class:`Rays`, as are ``slope``, ``length`` and ``along_columns``.
    """
    views, pixels = start.shape
    rows, columns = by_rows.shape[0], by_columns.shape[0]
    out = np.empty((views, pixels, LANES), by_rows.dtype)
    # here, because in the loops below each is a call
    flat_rows, flat_columns, sinograms = by_rows.ravel(), by_columns.ravel(), out.ravel()
    for view in numba.prange(views):
        for pixel in range(pixels):
            if along_columns[view, pixel]:
                flat, lines, stride = flat_columns, columns, rows + 4
            else:
                flat, lines, stride = flat_rows, rows, columns + 4
            first, last = _inside(start[view, pixel], slope[view, pixel], lines, stride - 4)
            begin, step = _position(start[view, pixel] + 2.0, flat), _position(slope[view, pixel], flat)
            total = zeros(flat)
            for line in range(first, last):
                left, part = _whole_and_part(begin + step * line, flat)
                here = (line * stride + left) * LANES
                total = plus_between(total, load(flat, here), load(flat, here + LANES), part)
            weighed = scaled(total, flat.dtype.type(length[view, pixel]))
            store(sinograms, (view * pixels + pixel) * LANES, weighed)
    return out


@_ordered
def back_project_parallel(
    weighted: Array, cosine: Array, sine: Array, corner: Array, centre: float, step: float, reach: int,
    rows: int, columns: int,
) -> Array:  # fmt: skip
    """The images (rows, columns, 8) of sinograms of parallel rays.

    Args:
        weighted: (views, detector pixels and zeros at both ends, 8): the sinograms times ``gain``.
        cosine: As in :class:`Footprints`, as are ``sine``, ``corner``, ``step`` and ``reach``.
        centre: Likewise, counted from the first of the zeros.
        rows: Of the images.
        columns: Of the images.
    """
    views, stride = weighted.shape[0], weighted.shape[1]
    flat, out = weighted.ravel(), np.empty((rows, columns, LANES), weighted.dtype)
    images, top = out.ravel(), stride - 2 * reach
    for row in numba.prange(rows):
        here, weights = np.empty(views, np.int64), np.empty((2, views), weighted.dtype)
        for column in range(columns):
            x, y = corner[0] + column, corner[1] - row
            total = zeros(flat)
            for pair in range(reach):
                for view in range(views):
                    steepness = max(abs(cosine[view]), abs(sine[view]))
                    aside = x * cosine[view] + y * sine[view]
                    ray = _first_ray(aside / step + centre, reach, top) + 2 * pair
                    left = aside - (ray - centre) * step
                    here[view] = (view * stride + ray) * LANES
                    weights[0, view] = max(0.0, steepness - abs(left))
                    weights[1, view] = max(0.0, steepness - abs(left - step))
                total = _weighed(total, flat, here, weights)
            store(images, (row * columns + column) * LANES, total)
    return out


@_inlined
def _first_ray(shadow: float, reach: int, top: int) -> Any:
    """The first ray that a pixel with this shadow may touch, in the padded detector."""
    return np.int32(min(max(shadow - (reach - 1), 0.0), float(top)))


@_inlined
def _weighed(total: Any, flat: Array, here: Array, weights: Array) -> Any:
    """Add, in each view, the weighted numbers at ``here`` and at the next ray."""
    for view in range(len(here)):
        ray, next_ray = load(flat, here[view]), load(flat, here[view] + LANES)
        total = plus_weighted(total, ray, weights[0, view], next_ray, weights[1, view])
    return total


@_ordered
def back_project_flat(
    weighted: Array, cosine: Array, sine: Array, corner: Array, axis: float, centre: float, step: float, reach: int,
    rows: int, columns: int,
) -> Array:  # fmt: skip
    """The same for a fan with a flat detector.

    Args:
        weighted: As for :func:`back_project_parallel`, as are the arguments that are not named here.
        axis: As in :class:`Footprints`.
    """
    views, stride = weighted.shape[0], weighted.shape[1]
    flat, out = weighted.ravel(), np.empty((rows, columns, LANES), weighted.dtype)
    images, top = out.ravel(), stride - 4 * ((reach + 1) // 2)
    for row in numba.prange(rows):
        here, weights = np.empty(views, np.int64), np.empty((2, views), weighted.dtype)
        for column in range(columns):
            x, y = corner[0] + column, corner[1] - row
            total = zeros(flat)
            for pair in range(reach):
                for view in range(views):
                    c, s = cosine[view], sine[view]
                    aside, depth = x * c + y * s, y * c - x * s + axis
                    ray = _first_ray(aside / depth / step + centre, reach, top) + 2 * pair
                    ray_coordinate = (ray - centre) * step
                    here[view] = (view * stride + ray) * LANES
                    weights[0, view] = _flat_weight(aside, depth, ray_coordinate, c, s)
                    weights[1, view] = _flat_weight(aside, depth, ray_coordinate + step, c, s)
                total = _weighed(total, flat, here, weights)
            store(images, (row * columns + column) * LANES, total)
    return out


@_inlined
def _flat_weight(aside: float, depth: float, ray_coordinate: float, cosine: float, sine: float) -> float:
    steepness = max(abs(ray_coordinate * cosine - sine), abs(ray_coordinate * sine + cosine))
    return max(0.0, steepness - abs(aside - ray_coordinate * depth))
