"""A convolution along the rows of a sinogram whose spectrum is not negative."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast, final

import torch
from torch import Tensor

from recon._batches import on_any_batch
from recon.errors import UsageError
from recon.evidence import Proved
from recon.operators._checks import require_member
from recon.operators.base import EXACT_ADJOINT, Buffer, OperatorProperties, Space
from recon.operators.rounding import rounded_down

_fft: Any = torch.fft  # torch leaves these functions untyped


@final
@dataclass(frozen=True, eq=False)
class RowFilter:
    """The circular convolution of each row of a sinogram that multiplies its spectrum by ``gains``.

    Its eigenvalues are the gains, so it is symmetric and positive semidefinite, and any function of it is the filter of
    that function of the gains.

    Attributes:
        gains: (pixels // 2 + 1,), of the frequencies of ``torch.fft.rfft``; none negative.
        shape: (..., pixels), of a sinogram.
    """

    gains: Tensor = field(repr=False)
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        wanted = self.shape[-1] // 2 + 1
        if self.gains.shape != (wanted,) or not bool((self.gains >= 0).all()):
            raise UsageError(
                f"RowFilter: the gains have shape {tuple(self.gains.shape)} and the least of them is "
                f"{float(self.gains.min()):g}; expected ({wanted},) and none negative, one for each frequency of a row."
            )
        object.__setattr__(self, "gains", self.gains.detach().to(device="cpu", dtype=torch.float64))

    @property
    def domain(self) -> Space:
        return Space(self.shape)

    @property
    def range(self) -> Space:
        return Space(self.shape)

    @property
    def properties(self) -> OperatorProperties:
        how = "exact: the DFT diagonalises a circular convolution"
        return OperatorProperties(
            norm=Proved(float(self.gains.max()), how),
            adjoint_gap=EXACT_ADJOINT,
            gram_min=Proved(rounded_down(float(self.gains.min()) ** 2), how),
        )

    def A(self, x: Tensor) -> Tensor:
        """A sinogram to one of the same shape."""
        require_member("RowFilter", "sinogram", x, self.domain)
        return on_any_batch(self._filtered, x, 1)

    A_adjoint = A

    def _filtered(self, x: Tensor) -> Tensor:
        spectrum = _fft.rfft(x) * self._buffer.like(x)
        return cast(Tensor, _fft.irfft(spectrum, n=self.shape[-1]))

    @cached_property
    def _buffer(self) -> Buffer:
        return Buffer(self.gains)
