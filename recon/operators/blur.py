"""Convolution with a point spread function, on a torus or without invented borders.

Both are computed by FFT: one real transform pair for each application. A direct convolution is faster only for a
single image of at most 128 x 128 and kernels up to 5 x 5 (512 x 512, 3 x 3, two cores: 1.2 ms against 1.0 by FFT, and
49 against 8 for a batch of eight), so there is no second code path.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, final, overload

import torch
from torch import Tensor

from recon._values import ByValue
from recon.errors import UsageError
from recon.evidence import Proved
from recon.operators._checks import as_words, require_image_shape, require_member, require_stepsize
from recon.operators._fourier import fast_length, irfft2, rfft2, transfer_function
from recon.operators.base import EXACT_ADJOINT, Buffer, OperatorProperties, Space
from recon.operators.psf import check_psf, psf_centre
from recon.operators.rounding import fft_error, rounded_down, rounded_up
from recon.types import Map

Boundary = Literal["circular", "valid"]


class _kept(cached_property["Buffer"]):  # noqa: N801  a decorator
    """Computed once; of a psf with a gradient each time anew, because a graph serves one backward pass."""

    def __get__(self, blur: Any, owner: Any = None) -> Buffer:  # type: ignore[override]
        if blur is not None and blur.psf.requires_grad:
            return Buffer(self.func(blur).master)
        found: Buffer = super().__get__(blur, owner)
        return found


@overload
def Blur(psf: Tensor, image_shape: tuple[int, int], boundary: Literal["circular"] = "circular") -> "CircularBlur": ...
@overload
def Blur(psf: Tensor, image_shape: tuple[int, int], boundary: Literal["valid"]) -> "ValidBlur": ...
@overload
def Blur(psf: Tensor, image_shape: tuple[int, int], boundary: Boundary) -> "CircularBlur | ValidBlur": ...
def Blur(psf: Tensor, image_shape: tuple[int, int], boundary: Boundary = "circular") -> "CircularBlur | ValidBlur":
    """Convolution with ``psf``, whose centre is the index ``(h // 2, w // 2)``: a bright point becomes the psf itself.

    Two operators rather than one, because only the circular one has a closed-form resolvent of its data term.

    Args:
        psf: (h, w), not larger than the image; taken as it is, without normalisation. One that requires a gradient
            gets it from what the operator makes.
        image_shape: (height, width).
        boundary: ``"circular"``: the image is a torus. ``"valid"``: only the ``(H - h + 1, W - w + 1)`` pixels are
            measured that see nothing from outside the image.

    Raises:
        UsageError: If the boundary is another one, or as :func:`check_psf` says, or if the psf exceeds the image.
    """
    if boundary == "circular":
        return CircularBlur(psf, image_shape)
    if boundary == "valid":
        return ValidBlur(psf, image_shape)
    raise UsageError(
        f"Blur: the boundary is {boundary!r}; expected 'circular' or 'valid', "
        f"because reflected and replicated borders have other adjoints and norms."
    )


@dataclass(frozen=True, eq=False, repr=False)
class _Convolution(ByValue):
    """A point spread function and the size of the images that it is convolved with.

    Attributes:
        psf: (h, w), kept in double precision.
        image_shape: (height, width).
        precision: Of the entries of the psf, relative: the rounding unit of the precision in which it was given.
    """

    psf: Tensor = field(repr=False)
    image_shape: tuple[int, int]
    precision: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = require_image_shape("Blur", self.image_shape)
        psf = torch.as_tensor(self.psf)  # a NumPy kernel is taken, in its precision
        object.__setattr__(self, "image_shape", shape)
        object.__setattr__(self, "psf", checked_kernel("Blur", psf, shape))
        object.__setattr__(self, "precision", torch.finfo(psf.dtype).eps / 2 if psf.is_floating_point() else 0.0)

    @property
    def domain(self) -> Space:
        return Space(self.image_shape)

    @_kept
    def _otf(self) -> Buffer:
        """Of the grid that is transformed, complex128."""
        raise NotImplementedError

    @_kept
    def _otf_conjugate(self) -> Buffer:
        return Buffer(self._otf.master.conj().resolve_conj())

    def _symbol_error_on(self, grid: tuple[int, int]) -> float:
        """By how much the Fourier transform, and the precision of the psf, may have moved an entry of the OTF."""
        total = float(self.psf.detach().abs().sum())
        return fft_error(total, *grid) + self.precision * total


@final
@dataclass(frozen=True, eq=False, repr=False)
class CircularBlur(_Convolution):
    """The convolution ``y = psf * x`` of periodic images; build it with :func:`Blur`.

    The Fourier transform diagonalises it, so the norm is max |OTF| and the least eigenvalue of A^T A is min |OTF|^2,
    both exact on this grid up to the rounding of a Fourier transform, by which they are widened. A prime height or
    width makes the transforms about three times slower.
    """

    @property
    def range(self) -> Space:
        return Space(self.image_shape)

    @cached_property
    def properties(self) -> OperatorProperties:
        modulus, error = self._otf.master.detach().abs(), self.symbol_error
        largest, least = rounded_up(float(modulus.max()) + error), rounded_down(float(modulus.min()) - error)
        return OperatorProperties(
            norm=Proved(largest, "exact up to rounding: max |OTF|, the DFT diagonalises a circular convolution"),
            adjoint_gap=EXACT_ADJOINT,
            gram_min=Proved(rounded_down(least**2), "exact up to rounding: min |OTF|^2, the DFT diagonalises A^T A"),
        )

    @property
    def symbol(self) -> Tensor:
        """The OTF: the eigenvalues of A on the half spectrum of ``rfft2``, complex128, (H, W // 2 + 1)."""
        return self._otf.master

    @property
    def symbol_error(self) -> float:
        """By how much the Fourier transform, and the precision of the psf, may have moved an eigenvalue."""
        return self._symbol_error_on(self.image_shape)

    @_kept
    def _otf(self) -> Buffer:
        return Buffer(transfer_function(self.psf, self.image_shape, psf_centre(tuple(self.psf.shape))))

    @_kept
    def _gram(self) -> Buffer:
        # |OTF|^2 kept as complex numbers: a complex-by-real product in place is slower in torch
        return Buffer((self._otf.master.abs() ** 2).to(torch.complex128))

    def A(self, x: Tensor) -> Tensor:
        """``psf * x``, (..., H, W) -> (..., H, W)."""
        require_member("Blur", "image", x, self.domain)
        return irfft2(rfft2(x).mul_(self._otf.like(x)), self.image_shape)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The circular correlation of ``y`` with the psf."""
        require_member("Blur", "measurement", y, self.range)
        return irfft2(rfft2(y).mul_(self._otf_conjugate.like(y)), self.image_shape)

    def data_gradient(self, measurement: Tensor) -> Map:
        """``x -> A^T (A x - y)`` by one FFT pair for each call; ``y`` is transformed once, here."""
        offset = -self._spectrum_of_back_projection(measurement)
        return self._filter(self._gram, offset)

    def data_resolvent(self, measurement: Tensor, stepsize: float) -> Map:
        """``z -> (Id + s A^T A)^-1 (z + s A^T y)`` by one FFT pair for each call."""
        require_stepsize("Blur", stepsize)
        inverse = Buffer(1 / (1 + stepsize * self._gram.master))
        offset = stepsize * self._spectrum_of_back_projection(measurement) * inverse.like(measurement)
        return self._filter(inverse, offset)

    def _spectrum_of_back_projection(self, measurement: Tensor) -> Tensor:
        require_member("Blur", "measurement", measurement, self.range)
        return rfft2(measurement) * self._otf_conjugate.like(measurement)

    def _filter(self, symbol: Buffer, offset: Tensor) -> Map:
        """The affine map that multiplies a spectrum by ``symbol`` and adds ``offset``."""

        def apply(x: Tensor) -> Tensor:
            require_member("Blur", "image", x, self.domain)
            spectrum = rfft2(x).mul_(symbol.like(x))
            return irfft2(_add(spectrum, offset), self.image_shape)

        return apply


@final
@dataclass(frozen=True, eq=False, repr=False)
class ValidBlur(_Convolution):
    """The pixels of ``psf * x`` that see nothing from outside ``x``; build it with :func:`Blur`.

    It is a crop of a circular convolution on a grid at least as large as the image, so max |OTF| of that grid is a
    sound upper bound of its norm. Being free to choose the grid, it takes lengths with small factors. Of images
    (H, W) a measurement has ``(H - h + 1, W - w + 1)`` pixels.
    """

    @property
    def range(self) -> Space:
        (height, width), (h, w) = self.image_shape, self.psf.shape
        return Space((height - h + 1, width - w + 1))

    @cached_property
    def properties(self) -> OperatorProperties:
        bound = rounded_up(float(self._otf.master.detach().abs().max()) + self._symbol_error_on(self._grid))
        return OperatorProperties(
            norm=Proved(bound, "upper bound: max |OTF| of the circular convolution of which this is a crop"),
            adjoint_gap=EXACT_ADJOINT,
        )

    @cached_property
    def _grid(self) -> tuple[int, int]:
        return fast_length(self.image_shape[0]), fast_length(self.image_shape[1])

    @_kept
    def _otf(self) -> Buffer:
        # with its last entry as the centre the kernel looks ahead only: measurement pixel 0 is grid pixel 0
        centre = (self.psf.shape[0] - 1, self.psf.shape[1] - 1)
        return Buffer(transfer_function(self.psf, self._grid, centre))

    def A(self, x: Tensor) -> Tensor:
        """The valid part of ``psf * x``, (..., H, W) -> (..., H - h + 1, W - w + 1)."""
        require_member("Blur", "image", x, self.domain)
        return self._convolve(x, self._otf, self.range.shape)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The full correlation of ``y`` with the psf: as large as the image."""
        require_member("Blur", "measurement", y, self.range)
        return self._convolve(y, self._otf_conjugate, self.image_shape)

    def data_gradient(self, measurement: Tensor) -> Map:
        """``x -> A^T (A x - y)`` by two FFT pairs: the crop between them allows no fewer."""
        require_member("Blur", "measurement", measurement, self.range)
        return lambda x: self.A_adjoint(self.A(x) - measurement)

    def _convolve(self, x: Tensor, otf: Buffer, shape: tuple[int, ...]) -> Tensor:
        spectrum = rfft2(x, self._grid).mul_(otf.like(x))
        return irfft2(spectrum, self._grid)[..., : shape[0], : shape[1]]


def checked_kernel(owner: str, psf: Tensor, image_shape: tuple[int, int]) -> Tensor:
    """The kernel as an own float64 copy that keeps its gradient; what is no kernel for such images is refused.

    Raises:
        UsageError: As :func:`check_psf` says, or if the kernel exceeds the image.
    """
    if psf.ndim != 2:
        raise UsageError(
            f"{owner}: the kernel has shape {tuple(psf.shape)}; expected (height, width), "
            f"because the image is a single slice of {as_words(image_shape)}."
        )
    check_psf(psf)
    if psf.shape[0] > image_shape[0] or psf.shape[1] > image_shape[1]:
        raise UsageError(
            f"{owner}: the kernel of {as_words(tuple(psf.shape))} is larger than the image of {as_words(image_shape)}; "
            f"expected a kernel that fits, because no pixel would see all of it."
        )
    with torch.set_grad_enabled(psf.requires_grad):  # a solve without gradients may build what is differentiated later
        return psf.to(device="cpu", dtype=torch.float64, copy=True)


def _add(spectrum: Tensor, offset: Tensor) -> Tensor:
    """``spectrum + offset``, in place where the shapes and precisions allow it."""
    offset = offset.to(spectrum.dtype)
    return spectrum + offset if offset.shape != spectrum.shape else spectrum.add_(offset)
