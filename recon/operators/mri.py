"""Magnetic resonance imaging with one coil, sampled on a Cartesian grid."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import final

from torch import Tensor

from recon._values import ByValue
from recon.operators._checks import require_boolean_mask, require_member, require_stepsize
from recon.operators._fourier import fft2, ifft2, to_corner, to_middle
from recon.operators.base import OperatorProperties, Space
from recon.operators.inpainting import keep, projection_properties
from recon.types import Map


@final
@dataclass(frozen=True, eq=False, repr=False)
class CartesianMRI(ByValue):
    """The masked, orthonormal, centred Fourier transform of a complex image: ``A x = mask * F x``.

    The zero frequency is the index ``(H // 2, W // 2)`` of k-space, and the image's origin is its middle, as in
    fastMRI and deepinv. The mask is that of the centred k-space.

    Attributes:
        mask: (height, width), bool; true where k-space is sampled.

    Raises:
        UsageError: If the mask is not a boolean (height, width).
    """

    mask: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        require_boolean_mask("CartesianMRI", self.mask)
        object.__setattr__(self, "mask", self.mask.clone())

    @property
    def domain(self) -> Space:
        return Space(tuple(self.mask.shape), is_complex=True)

    @property
    def range(self) -> Space:
        return self.domain

    @property
    def properties(self) -> OperatorProperties:
        return projection_properties(self.mask)

    @cached_property
    def _corner_mask(self) -> Tensor:
        return to_corner(self.mask)

    def A(self, x: Tensor) -> Tensor:
        """k-space with zeros where it is not sampled, (..., H, W) complex -> (..., H, W) complex."""
        require_member("CartesianMRI", "image", x, self.domain)
        shifted = to_corner(x)
        return keep(to_middle(fft2(shifted, norm="ortho")), self.mask)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The zero-filled reconstruction."""
        require_member("CartesianMRI", "measurement", y, self.range)
        shifted = to_corner(keep(y, self.mask))
        return to_middle(ifft2(shifted, norm="ortho"))

    def data_gradient(self, measurement: Tensor) -> Map:
        """``x -> A^T (A x - y)`` by one FFT pair for each call."""
        back_projection = self.A_adjoint(measurement)
        return lambda x: self._gram(x) - back_projection

    def data_resolvent(self, measurement: Tensor, stepsize: float) -> Map:
        """``z -> z + s/(1+s) A^T (y - A z)``, because A A^T is the identity on the sampled frequencies."""
        require_stepsize("CartesianMRI", stepsize)
        share = stepsize / (1 + stepsize)
        pull = share * self.A_adjoint(measurement)
        return lambda z: z - share * self._gram(z) + pull

    def _gram(self, x: Tensor) -> Tensor:
        # moving the origin of the image multiplies its spectrum by a phase, which cancels in A^T A: no shifts
        require_member("CartesianMRI", "image", x, self.domain)
        return ifft2(keep(fft2(x, norm="ortho"), self._corner_mask), norm="ortho")
