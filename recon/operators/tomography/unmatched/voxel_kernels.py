"""The loops of a cone's voxel-driven back-projection and of its transpose on the CPU, compiled by numba at first use.

Seen from above, all voxels of a pillar cast their shadows in one place of a view, between two columns of the panel, and
at one magnification: so the bilinear interpolation is two linear ones, between these columns once for the pillar, and
then up the rows for each voxel. Back-projection gathers, a thread a line of pillars; the transpose writes, a thread a
view, with the same weights. No two threads write to one place, so the result does not depend on their order.

Places are computed in double precision, but for the height above the lowest voxel of a pillar.
"""

from typing import Any

import numba
import numpy as np

from recon.operators.tomography.projectors.kernels.planar import _neighbours
from recon.operators.tomography.unmatched.pixel_kernels import _along, _compiled, _exactly, _read

Array = Any


@_exactly
def _shadow(aside: float, near: float, middle: float, far: float, last: float) -> Any:
    """The padded column below the shadow of a pillar, how far beyond it, and ``1 / depth``."""
    nearer = 1.0 / near
    column, beyond = _read(middle + far * (aside * nearer), last, None)
    return column, beyond, nearer


@_compiled
def back_project(
    panels: Array, across: Array, down: Array, origin: Array, middle: float, far: float, axis: float,
    centre: float, rise: float, bottom: float, rows: int, columns: int, slices: int,
) -> Array:  # fmt: skip
    """The volume (rows, columns, slices) of the views of a panel.

    Args:
        panels: (views, panel columns + 3, panel rows + 3): in both directions a zero before and two after.
        across: (2, views): from a column of the volume to the next, the change of the coordinate along the panel's
            columns and of the depth from the source, in mm.
        down: From a row to the next.
        origin: Both of the voxels in row 0 and column 0.
        middle: The place of u = 0 in ``panels``.
        far: The distance from source to detector, in columns of the panel.
        axis: The distance from the source to the axis of rotation, in mm; the weights are ``(axis / depth)^2``.
        centre: The place of v = 0 in ``panels``.
        rise: From a slice to the next, times the distance from source to detector, in mm times rows of the panel.
        bottom: Of slice 0 above the plane of the source, likewise.
        rows: Of the volume, as are ``columns`` and ``slices``.
    """
    views, width, height = panels.shape
    real = panels.dtype.type
    last_column, last_row = float(width - 2), real(height - 2)
    out = np.zeros((rows, columns, slices), panels.dtype)
    for row in numba.prange(rows):
        pillar = np.empty(height, panels.dtype)
        for view in range(views):
            left = _along(down[0, view], float(row), origin[0, view])
            near = _along(down[1, view], float(row), origin[1, view])
            for column in range(columns):
                aside = _along(across[0, view], float(column), left)
                depth = _along(across[1, view], float(column), near)
                ray, share, nearer = _shadow(aside, depth, middle, far, last_column)
                ratio, beyond = real(axis * nearer * axis * nearer), real(share)
                lower, upper = panels[view, ray], panels[view, ray + 1]
                for place in range(height):
                    pillar[place] = ratio * (lower[place] + beyond * (upper[place] - lower[place]))
                lowest, step = real(centre + bottom * nearer), real(rise * nearer)
                total = out[row, column]
                for k in range(slices):
                    below, above = _read(_along(step, real(k), lowest), last_row, None)
                    value, other = _neighbours(pillar, below)
                    total[k] += value + above * (other - value)
    return out


@_compiled
def spread(
    volume: Array, across: Array, down: Array, origin: Array, middle: float, far: float, axis: float,
    centre: float, rise: float, bottom: float, width: int, height: int,
) -> Array:  # fmt: skip
    """The transpose of :func:`back_project`: (views, width, height), padded as its panels.

    Args:
        volume: (rows, columns, slices).
        across: As for :func:`back_project`, as are the others.
    """
    rows, columns, slices = volume.shape
    views, real = across.shape[1], volume.dtype.type
    last_column, last_row = float(width - 2), real(height - 2)
    out = np.zeros((views, width, height), volume.dtype)
    for view in numba.prange(views):
        pillar = np.empty(height, volume.dtype)
        for row in range(rows):
            left = _along(down[0, view], float(row), origin[0, view])
            near = _along(down[1, view], float(row), origin[1, view])
            for column in range(columns):
                aside = _along(across[0, view], float(column), left)
                depth = _along(across[1, view], float(column), near)
                ray, share, nearer = _shadow(aside, depth, middle, far, last_column)
                ratio, beyond = real(axis * nearer * axis * nearer), real(share)
                lowest, step = real(centre + bottom * nearer), real(rise * nearer)
                pillar[:] = real(0)
                values = volume[row, column]
                for k in range(slices):
                    below, above = _read(_along(step, real(k), lowest), last_row, None)
                    upper = above * values[k]
                    pillar[below] += values[k] - upper
                    pillar[below + 1] += upper
                lower, upper_column = out[view, ray], out[view, ray + 1]
                for place in range(height):
                    value = ratio * pillar[place]
                    part = beyond * value
                    lower[place] += value - part
                    upper_column[place] += part
    return out
