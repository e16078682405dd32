"""A cone beam, projected by Joseph's method in three dimensions.

A ray walks over the lines of the volume that it crosses, seen from above, most squarely: the rows or the columns. In
the upright plane of each line it takes the bilinear interpolation of the four voxels around it, times ``length``, the
part of the ray between two lines (Joseph, IEEE Transactions on Medical Imaging 1, 1982). With a flat panel upright, the
walk of a ray seen from above is that of the fan's ray to the same column, whatever the row.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.operators.tomography.geometry.geometry import Geometry
from recon.operators.tomography.projectors.rays import Rays, detector_coordinates, lines, trace

Floats = NDArray[np.float64]

_AROUND = (0, 0, 1, 2, 1, 2)
"""The zeros around a slice, which stand for what lies outside: as torch's ``pad`` takes them, slices innermost."""


@dataclass(frozen=True)
class ConeBeam:
    """The projector of a cone and its transpose, on the CPU.

    Attributes:
        geometry: Of kind ``cone``.
    """

    geometry: Geometry

    def project(self, volumes: Tensor) -> Tensor:
        """(..., slices, rows, columns) -> (..., views, detector rows, detector columns)."""
        from recon.operators.tomography.projectors.kernels import cone  # noqa: PLC0415  numba is slow to import

        rows, _ = self.geometry.vertical
        batch = volumes.reshape(-1, *self.geometry.image_shape).permute(0, 2, 3, 1)
        padded = torch.nn.functional.pad(batch, _AROUND).contiguous().numpy()
        steps = torch.from_numpy(cone.project(padded, *self._walks, *self._heights, rows.pixels))
        sinograms = steps.transpose(2, 3) * self._lengths(volumes.dtype)
        return sinograms.reshape(*volumes.shape[:-3], *self.geometry.sinogram_shape)

    def back_project(self, sinograms: Tensor) -> Tensor:
        """(..., views, detector rows, detector columns) -> (..., slices, rows, columns)."""
        from recon.operators.tomography.projectors.kernels import cone  # noqa: PLC0415

        slices, rows, columns = self.geometry.image_shape
        batch = sinograms.reshape(-1, *self.geometry.sinogram_shape) * self._lengths(sinograms.dtype)
        weighted = batch.transpose(2, 3).contiguous().numpy()
        padded = np.zeros((len(weighted), rows + 3, columns + 3, slices), weighted.dtype)
        for is_column in (False, True):
            cone.back_project_lines(padded, is_column, weighted, *self._walks, *self._heights)
        volumes = torch.from_numpy(padded[:, 1 : rows + 1, 1 : columns + 1]).permute(0, 3, 1, 2)
        return volumes.reshape(*sinograms.shape[:-3], slices, rows, columns)

    @cached_property
    def _rays(self) -> Rays:
        return trace(self.geometry)

    @cached_property
    def _walks(self) -> tuple[Floats, Floats, Floats, Floats, NDArray[np.bool_]]:
        """Seen from above, (views, detector columns) each: as :func:`cone.project` takes them."""
        volume, rays = self.geometry.volume, self._rays
        (source_x, source_y), (x, y) = lines(self.geometry)
        rows, columns = volume.pixels
        left = volume.offset[0] - (columns - 1) / 2 * volume.pitch
        top = volume.offset[1] + (rows - 1) / 2 * volume.pitch
        larger = np.where(rays.along_columns, x, y)
        depth = np.where(rays.along_columns, left - source_x, top - source_y) / larger
        deeper = np.where(rays.along_columns, volume.pitch, -volume.pitch) / larger
        return rays.start, rays.slope, depth, deeper, rays.along_columns

    @cached_property
    def _heights(self) -> tuple[float, float, float]:
        """Of row 0 of the panel, from a row to the next, and of slice 0, in slices."""
        rows, slices = self.geometry.vertical
        return rows.first / slices.pitch, rows.pitch / slices.pitch, slices.first / slices.pitch

    def _lengths(self, dtype: torch.dtype) -> Tensor:
        """Of each ray between two lines, in mm: that of the fan's ray, and longer the steeper the ray is."""
        rows, _ = self.geometry.vertical
        v = rows.first + rows.pitch * np.arange(rows.pixels)[:, None]
        flat = np.hypot(self.geometry.distances[1], detector_coordinates(self.geometry))
        longer = torch.from_numpy(np.hypot(flat, v) / flat)
        return torch.from_numpy(self._rays.length).to(dtype)[:, None, :] * longer.to(dtype)
