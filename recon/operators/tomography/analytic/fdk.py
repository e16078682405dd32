"""The method of Feldkamp, Davis and Kress: filtered back-projection of a cone, exact in the plane of its source."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np
import torch
from torch import Tensor

from recon.errors import ConsistencyError
from recon.operators._checks import require_member
from recon.operators.base import Buffer, Space
from recon.operators.tomography.analytic.fbp import FilteredBackProjection, fbp
from recon.operators.tomography.geometry.geometry import Geometry, mid_plane
from recon.operators.tomography.projectors.projector import _Linear
from recon.operators.tomography.projectors.rays import detector_coordinates
from recon.operators.tomography.unmatched.voxel_driven import VoxelDriven


@final
@dataclass(frozen=True)
class FeldkampDavisKress:
    """The linear map from the projections of a cone to about the volume that they are of; build it with :func:`fdk`.

    Each row of the panel is weighted and filtered as the fan of the plane of the source is, and the rays besides by the
    cosine of their ascent; then each voxel reads the panel at its shadow with 1 / U^2, U its depth in units of the
    distance from source to axis (Feldkamp, Davis and Kress, J. Opt. Soc. Am. A 1, 1984). What lies beside the panel
    counts as zero, above and below too.

    A circle of sources does not tell all of a volume, so away from their plane the result is approximate: what is the
    same in all slices is exact wherever the panel sees it, and so are integrals along z of a full turn, but what
    changes along z loses, the more the higher it lies above the plane.

    Attributes:
        geometry: Of the scan, a cone.
        window: Of the ramp.
    """

    geometry: Geometry
    window: str = "ram-lak"

    def __post_init__(self) -> None:
        if self.geometry.kind != "cone":
            raise ConsistencyError(
                f"fdk: kind is {self.geometry.kind!r}; expected 'cone', because it is made for a volume (fbp for a "
                "slice)."
            )
        self._fan  # noqa: B018  refuses what is wrong now

    def __call__(self, y: Tensor) -> Tensor:
        """(..., views, panel rows, panel columns) -> (..., slices, rows, columns), in 1/mm."""
        require_member("fdk", "measurement", y, Space(self.geometry.sinogram_shape))
        rows_first = (y * self._ascent.like(y)).transpose(-2, -3)
        filtered = self._fan.filtered(rows_first).transpose(-2, -3)
        volume: Tensor = _Linear.apply(filtered, self._voxels.back, self._voxels.spread)
        return volume

    def transpose(self, x: Tensor) -> Tensor:
        """The transposed map: (..., slices, rows, columns) -> (..., views, panel rows, panel columns)."""
        require_member("fdk", "volume", x, Space(self.geometry.image_shape))
        spread: Tensor = _Linear.apply(x, self._voxels.spread, self._voxels.back)
        rows_first = self._fan.filtered_transpose(spread.transpose(-2, -3))
        return rows_first.transpose(-2, -3) * self._ascent.like(x)

    @cached_property
    def _fan(self) -> FilteredBackProjection:
        return fbp(mid_plane(self.geometry), self.window)

    @cached_property
    def _voxels(self) -> VoxelDriven:
        fan = self._fan.wider.detector
        return VoxelDriven(replace(self.geometry, detector=replace(fan, rows=self.geometry.detector.rows)))

    @cached_property
    def _ascent(self) -> Buffer:
        """The cosine of the angle between each ray and the plane of the source, (panel rows, panel columns)."""
        rows, _ = self.geometry.vertical
        v = rows.first + rows.pitch * np.arange(rows.pixels)[:, None]
        flat = np.hypot(self.geometry.distances[1], detector_coordinates(self.geometry))
        return Buffer(torch.from_numpy(flat / np.hypot(flat, v)))


Inverse = FilteredBackProjection | FeldkampDavisKress


def fdk(geometry: Geometry, window: str = "ram-lak") -> FeldkampDavisKress:
    """The method of Feldkamp, Davis and Kress for a cone, as a differentiable linear map with its transpose.

    For the sets of views that :func:`recon.operators.tomography.analytic.fbp` takes, with its weights: full turns,
    parts of a turn, a detector off centre. On the CPU.

    Args:
        geometry: Of the scan.
        window: Of the ramp, as for ``fbp``.

    Raises:
        UsageError: There is no such window.
        ConsistencyError: The geometry is no cone.
    """
    return FeldkampDavisKress(geometry, window)


def inverse(geometry: Geometry, window: str = "ram-lak") -> Inverse:
    """The inverse in closed form that a geometry has: :func:`fdk` of a cone, ``fbp`` of parallel and fan beams."""
    return fdk(geometry, window) if geometry.kind == "cone" else fbp(geometry, window)
