"""Blur against aliasing, then keep one pixel of each block."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, final, get_args

import torch
from torch import Tensor

from recon._values import ByValue
from recon.errors import UsageError
from recon.evidence import Proved
from recon.operators._checks import as_words, require_image_shape, require_member, require_stepsize
from recon.operators._fourier import fft2, irfft2, rfft2, transfer_function
from recon.operators.base import EXACT_ADJOINT, Buffer, OperatorProperties, Space
from recon.operators.blur import checked_kernel
from recon.operators.rounding import fft_error, rounded_down, rounded_up
from recon.types import Map

Kernel = Literal["gaussian", "box", "bicubic"]


@final
@dataclass(frozen=True, eq=False, repr=False)
class Downsampling(ByValue):
    """A periodic image, filtered against aliasing and sampled once for each block of ``factor x factor`` pixels.

    The sample lies at the middle of its block (between pixels, if the factor is even), so the small image covers the
    same field of view. With S the sampling and H the circular filter, A = S H; on the small grid A A^T is a circular
    convolution with the symbol G = mean of |OTF|^2 over the factor^2 frequencies that alias together. Hence
    ||A||^2 = max G, and (Id + s A^T A)^-1 (z + s A^T y) = z + A^T (s / (1 + s G)) (y - A z)
    (Zhao, Wei, Basarab, Dobigeon, Kouame, Tourneret 2016, IEEE Trans. Image Process. 25(8), in Woodbury's form).

    Attributes:
        image_shape: (height, width), both divisible by the factor.
        factor: How many pixels of the large image make one of the small, in each direction.
        kernel: The filter: ``"gaussian"`` of standard deviation factor / 2, ``"box"`` (the mean of the block), or
            ``"bicubic"`` (Keys 1981, a = -1/2, widened by the factor).

    Raises:
        UsageError: If the factor does not divide the image, the kernel is unknown, or exceeds the image.
    """

    image_shape: tuple[int, int]
    factor: int
    kernel: Kernel = "gaussian"

    def __post_init__(self) -> None:
        shape = require_image_shape("Downsampling", self.image_shape)
        object.__setattr__(self, "image_shape", shape)
        if int(self.factor) != self.factor or self.factor < 1:
            raise UsageError(
                f"Downsampling: the factor is {self.factor}; expected a positive integer, because it counts pixels."
            )
        if shape[0] % self.factor or shape[1] % self.factor:
            raise UsageError(
                f"Downsampling: the image has {as_words(shape)} pixels; expected multiples of the factor "
                f"{self.factor}, because every block gives one pixel."
            )
        if self.kernel not in get_args(Kernel):
            raise UsageError(
                f"Downsampling: the kernel is {self.kernel!r}; expected one of {', '.join(get_args(Kernel))}, "
                f"because these are the filters it knows."
            )
        checked_kernel("Downsampling", self._psf, shape)

    @property
    def domain(self) -> Space:
        return Space(self.image_shape)

    @property
    def range(self) -> Space:
        return Space((self.image_shape[0] // self.factor, self.image_shape[1] // self.factor))

    @cached_property
    def properties(self) -> OperatorProperties:
        root = self._alias_mean.master.sqrt()
        # three transforms lead to the OTF here, and a root of a mean of squares is off by no more than the worst part
        error = 3 * fft_error(float(self._psf.abs().sum()), *self.image_shape)
        how = "exact up to rounding: the DFT diagonalises A A^T, with the mean of |OTF|^2 over aliases as symbol"
        least = rounded_down(rounded_down(float(root.min()) - error) ** 2) if self.factor == 1 else 0.0
        return OperatorProperties(
            norm=Proved(rounded_up(float(root.max()) + error), how),
            adjoint_gap=EXACT_ADJOINT,
            gram_min=Proved(least, how if self.factor == 1 else "exact: A has a null space"),
        )

    @cached_property
    def _psf(self) -> Tensor:
        profile = _profile(self.kernel, self.factor)
        return profile[:, None] * profile[None, :]

    @cached_property
    def _otf(self) -> Buffer:
        # kernels have the factor's parity; with the centre moved by (factor - 1) // 2, sample 0 is block 0's middle
        middle = self._psf.shape[0] // 2 + (self.factor - 1) // 2
        return Buffer(transfer_function(self._psf, self.image_shape, (middle, middle)))

    @cached_property
    def _otf_conjugate(self) -> Buffer:
        return Buffer(self._otf.master.conj().resolve_conj())

    @cached_property
    def _alias_mean(self) -> Buffer:
        """The real symbol G of A A^T on the small grid, (height / factor, width / factor)."""
        energy = fft2(irfft2(self._otf.master, self.image_shape)).abs() ** 2
        height, width = self.range.shape
        return Buffer(energy.reshape(self.factor, height, self.factor, width).mean(dim=(0, 2)))

    def A(self, x: Tensor) -> Tensor:
        """(..., H, W) -> (..., H / factor, W / factor)."""
        require_member("Downsampling", "image", x, self.domain)
        filtered = irfft2(rfft2(x).mul_(self._otf.like(x)), self.image_shape)
        return filtered[..., :: self.factor, :: self.factor]

    def A_adjoint(self, y: Tensor) -> Tensor:
        """(..., H / factor, W / factor) -> (..., H, W)."""
        require_member("Downsampling", "measurement", y, self.range)
        return self._back_project(fft2(y), y)

    def data_gradient(self, measurement: Tensor) -> Map:
        """``x -> A^T (A x - y)``."""
        require_member("Downsampling", "measurement", measurement, self.range)
        return lambda x: self.A_adjoint(self.A(x) - measurement)

    def data_resolvent(self, measurement: Tensor, stepsize: float) -> Map:
        """``z -> z + A^T (s / (1 + s G)) (y - A z)``, with G as in the class's docstring."""
        require_stepsize("Downsampling", stepsize)
        require_member("Downsampling", "measurement", measurement, self.range)
        weight = Buffer(stepsize / (1 + stepsize * self._alias_mean.master))

        def apply(z: Tensor) -> Tensor:
            residual = fft2(measurement - self.A(z))
            return z + self._back_project(residual * weight.like(z), z)

        return apply

    def _back_project(self, spectrum: Tensor, like: Tensor) -> Tensor:
        """A^T of the small image with this spectrum: zeros between samples repeat the spectrum ``factor`` times."""
        repeats = [1] * (spectrum.ndim - 2) + [self.factor, self.factor]
        repeated = spectrum.repeat(repeats)[..., : self.image_shape[1] // 2 + 1]
        return irfft2(repeated * self._otf_conjugate.like(like), self.image_shape)


def _profile(kernel: Kernel, factor: int) -> Tensor:
    """The one-dimensional filter, sum 1, with as many entries as the factor modulo 2."""
    reach = {"box": 0.5, "gaussian": 2.0, "bicubic": 2.0}[kernel] * factor
    count = max(1, round(2 * reach))
    count -= (count - factor) % 2
    distance = (torch.arange(count, dtype=torch.float64) - 0.5 * (count - 1)).abs() / factor
    if kernel == "gaussian":
        weights = torch.exp(-0.5 * (2 * distance) ** 2)
    elif kernel == "bicubic":
        near = 1.5 * distance**3 - 2.5 * distance**2 + 1
        far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
        weights = torch.where(distance <= 1, near, far)
    else:
        weights = torch.ones_like(distance)
    return weights / weights.sum()
