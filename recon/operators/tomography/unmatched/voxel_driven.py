"""The voxel-driven back-projection of a cone, and its exact transpose."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from recon.errors import DeviceError
from recon.operators.tomography.geometry.geometry import Geometry
from recon.operators.tomography.unmatched.pixel_driven import PADDING, places


@final
@dataclass(frozen=True)
class VoxelDriven:
    """The sum over the views of the panel at a voxel's shadow, times (source to axis / depth of the voxel)^2.

    Interpolated bilinearly; beside the panel there is zero. On the CPU, in single or double precision.

    Attributes:
        geometry: Of kind ``cone``.
    """

    geometry: Geometry

    def back(self, y: Tensor) -> Tensor:
        """(..., views, panel rows, panel columns) -> (..., slices, rows, columns)."""
        from recon.operators.tomography.unmatched import voxel_kernels as kernels  # noqa: PLC0415  numba is slow to import

        slices, rows, columns = self.geometry.image_shape

        def one(views: Tensor) -> NDArray[Any]:
            padded = pad(views.transpose(-1, -2), PADDING + PADDING).contiguous().numpy()
            found: NDArray[Any] = kernels.back_project(padded, *self._constants, rows, columns, slices)
            return found

        return _each(one, y, (rows, columns, slices)).movedim(-1, -3).contiguous()

    def spread(self, x: Tensor) -> Tensor:
        """The transpose: (..., slices, rows, columns) -> (..., views, panel rows, panel columns)."""
        from recon.operators.tomography.unmatched import voxel_kernels as kernels  # noqa: PLC0415

        views, height, width = self.geometry.sinogram_shape
        wider, higher = width + sum(PADDING), height + sum(PADDING)

        def one(volume: Tensor) -> NDArray[Any]:
            found: NDArray[Any] = kernels.spread(volume.contiguous().numpy(), *self._constants, wider, higher)
            return found

        padded = _each(one, x.movedim(-3, -1), (views, wider, higher))
        first = PADDING[0]
        return padded[..., first : first + width, first : first + height].transpose(-1, -2).contiguous()

    @cached_property
    def _constants(self) -> tuple[Any, ...]:
        """What the loops take between the data and its size."""
        detector, (axis, distance), (rows, slices) = (
            self.geometry.detector,
            self.geometry.distances,
            self.geometry.vertical,
        )
        middle = (detector.pixels - 1) / 2 - detector.offset / detector.pitch + PADDING[0]
        centre = PADDING[0] - rows.first / rows.pitch
        magnified = distance / rows.pitch
        along = centre, slices.pitch * magnified, slices.first * magnified
        return *places(self.geometry), middle, distance / detector.pitch, axis, *along


def _each(one: Callable[[Tensor], NDArray[Any]], x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A map of volumes, applied to each of a batch."""
    if x.device.type != "cpu":
        raise DeviceError(f"fdk: the input is on {x.device}; expected the CPU, where a cone is projected back.")
    leading = x.shape[:-3]
    done = [torch.from_numpy(one(item)) for item in x.reshape(-1, *x.shape[-3:])]
    return torch.stack(done).reshape(*leading, *shape) if done else x.new_zeros(*leading, *shape)
