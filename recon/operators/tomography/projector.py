"""X-ray projection of a slice, or of a volume, and its exact transpose."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from recon.errors import DeviceError
from recon.evidence import Evidence, Fact
from recon.operators._checks import require_member
from recon.operators.base import EXACT_ADJOINT, OperatorProperties, Space
from recon.operators.data_split import DataSplit
from recon.operators.nonnegative import norm_of_nonnegative
from recon.operators.tomography.cone import ConeBeam
from recon.operators.tomography.geometry import Geometry
from recon.operators.tomography.preconditioned import ramp_split
from recon.operators.tomography.rays import Rays, trace


@final
@dataclass(frozen=True)
class Tomography:
    """The line integrals of an image along the rays of a scan, by Joseph's method; the adjoint has the same weights.

    An image of attenuation in 1/mm gives numbers without unit. The pair runs on the CPU; autograd through either
    applies the other, so it is exact.

    Attributes:
        geometry: Of the scan.
    """

    geometry: Geometry

    @property
    def domain(self) -> Space:
        return Space(self.geometry.image_shape)

    @property
    def range(self) -> Space:
        return Space(self.geometry.sinogram_shape)

    @cached_property
    def properties(self) -> OperatorProperties:
        """The norm is bounded from above, to 0.2 %, for no weight is negative."""
        norm = norm_of_nonnegative(self, torch.ones(self.domain.shape, dtype=torch.float64))
        return OperatorProperties(norm=norm, adjoint_gap=EXACT_ADJOINT)

    def A(self, x: Tensor) -> Tensor:
        """(..., rows, columns) -> (..., views, detector pixels); for a cone as in `ConeBeam.project`."""
        _check(x, self.domain, "image")
        projected: Tensor = _Linear.apply(x, self._project, self._back_project)
        return projected

    def A_adjoint(self, y: Tensor) -> Tensor:
        """(..., views, detector pixels) -> (..., rows, columns); for a cone as in `ConeBeam.back_project`."""
        _check(y, self.range, "sinogram")
        image: Tensor = _Linear.apply(y, self._back_project, self._project)
        return image

    @property
    def nonnegative_entries(self) -> Fact:
        """Lengths, times the weights of a linear interpolation."""
        return Fact(Evidence.PROVED, "lengths times weights of linear interpolation are not negative")

    def data_split(self, norm: float) -> DataSplit:
        """The data term with the ramp filter split off; see :mod:`recon.operators.tomography.preconditioned`."""
        return ramp_split(self, norm)

    @cached_property
    def _rays(self) -> Rays:
        return trace(self.geometry)

    @cached_property
    def _cone(self) -> ConeBeam:
        return ConeBeam(self.geometry)

    def _project(self, x: Tensor) -> Tensor:
        if self.geometry.kind == "cone":
            return self._cone.project(x)
        from recon.operators.tomography import kernels  # noqa: PLC0415  numba is slow to import

        rays, padding = self._rays, (1, 2)
        along = rays.start, rays.slope, rays.length, rays.along_columns

        def one(image: Tensor) -> Any:
            by_rows = torch.nn.functional.pad(image, padding)
            by_columns = torch.nn.functional.pad(image.T, padding)
            return kernels.project(by_rows.numpy(), by_columns.numpy(), *along)

        return _each(one, x, self.range)

    def _back_project(self, y: Tensor) -> Tensor:
        if self.geometry.kind == "cone":
            return self._cone.back_project(y)
        weighted = y * torch.from_numpy(self._rays.length).to(y.dtype)
        back = self._back_parallel if self.geometry.kind == "parallel" else self._back_fan
        return _each(back, weighted, self.domain)

    def _back_parallel(self, weighted: Tensor) -> Any:
        from recon.operators.tomography import kernels  # noqa: PLC0415

        (across, down, origin), spread = self._shadows, self._rays.spread[:, 0]
        reach = math.ceil(1 / spread.min())
        constants = tuple(_like(c, weighted) for c in (across, down, origin + 2 * reach, spread))
        return kernels.back_project_parallel(_padded(weighted, reach), *constants, reach, *self.domain.shape)

    def _back_fan(self, weighted: Tensor) -> Any:
        from recon.operators.tomography import kernels  # noqa: PLC0415

        geometry, spread = self.geometry, self._rays.spread
        (axis, distance), detector = geometry.distances, geometry.detector
        reach = max(2, math.ceil(1 / (spread.min() * (axis - geometry.volume.radius))))
        centre = (detector.pixels - 1) / 2 - detector.offset / detector.pitch + 2 * reach
        across, down, origin = (_like(c, weighted) for c in self._places)
        return kernels.back_project_fan(
            _padded(weighted, reach), _padded(torch.from_numpy(_like(spread, weighted)), reach), across, down, origin,
            centre, distance / detector.pitch, detector.shape == "arc", reach, *self.domain.shape,
        )  # fmt: skip

    @cached_property
    def _shadows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where parallel rays cast a pixel's centre in the detector, in its pixels: by column, by row, of the first."""
        detector = self.geometry.detector
        across, down, origin = (place[:, 0] / detector.pitch for place in self._places)
        return across, down, origin + (detector.pixels - 1) / 2 - detector.offset / detector.pitch

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The coordinate along the detector's axis and the depth of pixels, (views, 2) each, as `_shadows`."""
        angle, volume = np.deg2rad(np.asarray(self.geometry.angles)), self.geometry.volume
        x, y = np.stack((np.cos(angle), -np.sin(angle)), 1), np.stack((np.sin(angle), np.cos(angle)), 1)
        rows, columns = volume.pixels
        first_x = volume.offset[0] - (columns - 1) / 2 * volume.pitch
        first_y = volume.offset[1] + (rows - 1) / 2 * volume.pitch
        depth = np.array([0.0, self.geometry.source_to_axis or 0.0])
        return x * volume.pitch, -y * volume.pitch, first_x * x + first_y * y + depth


LinearMap = Callable[[Tensor], Tensor]


class _Linear(torch.autograd.Function):
    """A linear map and its transpose, each the derivative of the other."""

    @staticmethod
    def forward(x: Tensor, apply: LinearMap, transposed: LinearMap) -> Tensor:
        return apply(x.detach())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, LinearMap, LinearMap], output: Tensor) -> None:
        ctx.maps = inputs[1:]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None, None], x: Tensor, apply: LinearMap, transposed: LinearMap) -> Any:
        return _Linear.apply(x.movedim(in_dims[0], 0), apply, transposed), 0

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        apply, transposed = ctx.maps
        return _Linear.apply(gradients[0], transposed, apply), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        apply, transposed = ctx.maps
        forward: Tensor = _Linear.apply(tangent, apply, transposed)
        return forward


def _each(one: Callable[[Tensor], Any], x: Tensor, out: Space) -> Tensor:
    """A map of matrices, applied to each of a batch."""
    leading = x.shape[:-2]
    images = x.reshape(-1, *x.shape[-2:])
    done = [torch.from_numpy(one(image)) for image in images]
    return torch.stack(done).reshape(*leading, *out.shape) if done else x.new_zeros(*leading, *out.shape)


def _padded(matrix: Tensor, reach: int) -> np.ndarray:
    padded: np.ndarray = torch.nn.functional.pad(matrix, (2 * reach, 2 * reach)).numpy()
    return padded


def _like(constant: np.ndarray, x: Tensor) -> np.ndarray:
    return constant.astype(np.float32 if x.dtype == torch.float32 else np.float64)


def _check(x: Tensor, space: Space, what: str) -> None:
    require_member("Tomography", what, x, space)
    if x.device.type != "cpu":
        raise DeviceError(f"Tomography: the {what} is on {x.device}; expected the CPU, where the projector runs.")
