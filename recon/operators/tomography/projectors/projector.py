"""X-ray projection of a slice, or of a volume, and its exact transpose."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor

from recon.errors import DeviceError, UsageError
from recon.evidence import Constant, Evidence, Fact
from recon.operators._checks import require_member
from recon.operators.base import EXACT_ADJOINT, OperatorProperties, Space
from recon.operators.data_split import DataSplit
from recon.operators.nonnegative import norm_of_nonnegative
from recon.operators.tomography.geometry.geometry import Geometry
from recon.operators.tomography.projectors.cone import ConeBeam
from recon.operators.tomography.projectors.planar import PlanarBeam
from recon.operators.tomography.projectors.planar_gpu import PlanarBeamOnGpu
from recon.operators.tomography.projectors.ramp_preconditioner import ramp_split


@final
@dataclass(frozen=True)
class Tomography:
    """The line integrals of an image along the rays of a scan, by Joseph's method; the adjoint has the same weights.

    An image of attenuation in 1/mm gives numbers without unit. The pair runs where its input is, in single or double
    precision: on the CPU by numba, on a CUDA device by triton. Autograd through either map applies the other, so it is
    exact.

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
        """The norm is bounded from above, to 0.2 %, when it is asked for: no weight is negative."""
        return OperatorProperties(norm=self._norm, adjoint_gap=EXACT_ADJOINT)

    def _norm(self) -> Constant:
        return norm_of_nonnegative(self, torch.ones(self.domain.shape, dtype=torch.float64))

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
        """The data term with the ramp filter split off: :mod:`.ramp_preconditioner`."""
        return ramp_split(self, norm)

    def _project(self, x: Tensor) -> Tensor:
        if self.geometry.kind == "cone":
            return self._cone.project(_on_cpu(x))
        return self._planar_gpu.project(x) if x.is_cuda else self._planar.project(x)

    def _back_project(self, y: Tensor) -> Tensor:
        if self.geometry.kind == "cone":
            return self._cone.back_project(_on_cpu(y))
        return self._planar_gpu.back_project(y) if y.is_cuda else self._planar.back_project(y)

    @cached_property
    def _cone(self) -> ConeBeam:
        return ConeBeam(self.geometry)

    @cached_property
    def _planar(self) -> PlanarBeam:
        return PlanarBeam(self.geometry)

    @cached_property
    def _planar_gpu(self) -> PlanarBeamOnGpu:
        return PlanarBeamOnGpu(self.geometry)


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


def _check(x: Tensor, space: Space, what: str) -> None:
    require_member("Tomography", what, x, space)
    if x.dtype not in (torch.float32, torch.float64):
        raise UsageError(
            f"Tomography: the {what} has dtype {x.dtype}; expected torch.float32 or torch.float64, because a position "
            "along a ray needs more digits than it has."
        )
    if x.device.type not in ("cpu", "cuda"):
        raise DeviceError(
            f"Tomography: the {what} is on {x.device}; expected the CPU or a CUDA device, because the projector is "
            "compiled for those."
        )


def _on_cpu(x: Tensor) -> Tensor:
    if x.device.type != "cpu":
        raise DeviceError(f"Tomography: the input is on {x.device}; expected the CPU, where the pair of a cone runs.")
    return x
