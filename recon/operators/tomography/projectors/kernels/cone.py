"""The loops of a cone beam on the CPU: one formula, compiled by numba at first use and cached.

Seen from above, all rays to one column of the panel are one ray of a fan: they cross a line of the volume (a row, or a
column) at the same place and differ in height only, which is linear in the row of the panel. So the bilinear
interpolation of a plane is two linear ones: between two pillars of voxels, once for all rows of the panel, and then
along the pillar for each of them. Projection does these and gathers. Back-projection does their transposes in the
opposite order, with the same weights to the last bit: it adds into a pillar of its own, and from there into two of the
volume. A thread owns a line and writes to nothing else, so the result does not depend on the threads' order.

Places are computed in double precision, but for the height above the first row that meets the pillar.
"""

from typing import Any

import numba
import numpy as np

from recon.operators.tomography.projectors.kernels.planar import _compiled, _inside, _neighbours

Array = Any


@_compiled
def project(
    volumes: Array, start: Array, slope: Array, depth: Array, deeper: Array, along_columns: Array,
    low: float, rise: float, bottom: float, rows: int,
) -> Array:  # fmt: skip
    """The sinograms (batch, views, detector columns, detector rows), in steps from a line to the next.

    Args:
        volumes: (batch, image rows + 3, image columns + 3, slices): a zero before and two after in both directions of a
            slice.
        start: As in :class:`Rays`, as are ``slope`` and ``along_columns``: of the fan, (views, detector columns).
        depth: How much of the way from the source to the detector a ray has gone on line 0, likewise.
        deeper: How much it goes from a line to the next, likewise.
        low: The height of the panel's row 0, in slices.
        rise: From a row of the panel to the next, in slices.
        bottom: The height of slice 0, in slices.
        rows: Of the panel.
    """
    views, columns = start.shape
    batch, padded_rows, padded_columns, slices = volumes.shape
    row_stride = padded_columns * slices
    real = volumes.dtype.type
    flat = volumes.ravel()
    out = np.empty((batch, views, columns, rows), volumes.dtype)
    for ray in numba.prange(batch * views * columns):
        item, view, column = ray // (views * columns), ray // columns % views, ray % columns
        total, pillar = np.zeros(rows, volumes.dtype), np.zeros(slices + 3, volumes.dtype)
        if along_columns[view, column]:
            lines, width, line_stride, stride = padded_columns - 3, padded_rows - 3, slices, row_stride
        else:
            lines, width, line_stride, stride = padded_rows - 3, padded_columns - 3, row_stride, slices
        first, last = _inside(start[view, column], slope[view, column], lines, width)
        for line in range(first, last):
            position = start[view, column] + slope[view, column] * line + 1.0
            left = np.int64(position)
            weight = real(position - left)
            here = item * padded_rows * row_stride + (line + 1) * line_stride + left * stride
            near, far = flat[here : here + slices], flat[here + stride : here + stride + slices]
            for k in range(slices):
                pillar[k + 1] = near[k] + weight * (far[k] - near[k])
            gone = depth[view, column] + deeper[view, column] * line
            begin, end = _inside(gone * low - bottom, gone * rise, rows, slices)
            lowest, step = real(gone * (low + rise * begin) - bottom + 1.0), real(gone * rise)
            part = total[begin:end]
            for row in range(end - begin):
                height = lowest + step * real(row)
                below = np.int32(height)
                value, other = _neighbours(pillar, below)
                part[row] += value + (height - real(below)) * (other - value)
        out[item, view, column] = total
    return out


@_compiled
def back_project_lines(
    volumes: Array, is_column: bool, weighted: Array, start: Array, slope: Array, depth: Array, deeper: Array,
    along_columns: Array, low: float, rise: float, bottom: float,
) -> None:  # fmt: skip
    """Add the rays that walk over the rows of the volumes, or over their columns.

    Args:
        volumes: As for :func:`project`; added to.
        is_column: Whether the rays walk over the columns.
        weighted: (batch, views, detector columns, detector rows): the sinograms times the rays' lengths between two
            lines.
        start: As for :func:`project`, as are the others.
    """
    batch, views, columns, rows = weighted.shape
    _, padded_rows, padded_columns, slices = volumes.shape
    row_stride = padded_columns * slices
    real = volumes.dtype.type
    flat = volumes.reshape(volumes.size)
    if is_column:
        lines, width, line_stride, stride = padded_columns - 3, padded_rows - 3, slices, row_stride
    else:
        lines, width, line_stride, stride = padded_rows - 3, padded_columns - 3, row_stride, slices
    for task in numba.prange(batch * lines):
        item, line = task // lines, task % lines
        first = item * padded_rows * row_stride + (line + 1) * line_stride
        pillar = np.empty(slices + 3, volumes.dtype)
        for ray in range(views * columns):
            view, column = ray // columns, ray % columns
            position = start[view, column] + slope[view, column] * line + 1.0
            if along_columns[view, column] != is_column or not 0.0 < position < width + 1:
                continue
            gone = depth[view, column] + deeper[view, column] * line
            begin, end = _inside(gone * low - bottom, gone * rise, rows, slices)
            lowest, step = real(gone * (low + rise * begin) - bottom + 1.0), real(gone * rise)
            if begin >= end:
                continue
            measured = weighted[item, view, column, begin:end]
            pillar[:] = real(0)
            for row in range(end - begin):
                height = lowest + step * real(row)
                below = np.int32(height)
                upper = (height - real(below)) * measured[row]
                pillar[below] += measured[row] - upper
                pillar[below + 1] += upper
            left = np.int64(position)
            weight = real(position - left)
            here = first + left * stride
            near, far = flat[here : here + slices], flat[here + stride : here + stride + slices]
            for k in range(slices):
                share = weight * pillar[k + 1]
                near[k] += pillar[k + 1] - share
                far[k] += share
