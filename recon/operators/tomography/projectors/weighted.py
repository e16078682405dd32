"""A projector whose rays are weighted by their statistics."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from recon._values import ByValue
from recon.errors import UsageError
from recon.evidence import Constant, Fact
from recon.operators._checks import as_words, require_member
from recon.operators.base import EXACT_ADJOINT, Buffer, OperatorProperties
from recon.operators.data_split import DataSplit
from recon.operators.nonnegative import norm_of_nonnegative
from recon.operators.tomography.projectors.projector import Tomography
from recon.operators.tomography.projectors.ramp_preconditioner import ramp_split
from recon.operators.tomography.projectors.transformed import TransformedProjector
from recon.types import LinearOperator


@final
@dataclass(frozen=True, eq=False, repr=False)
class WeightedTomography(TransformedProjector):
    """``W^(1/2) A``: with the measurement ``W^(1/2) y``, least squares weigh each ray by ``W``.

    With counts N of photons the line integral -log(N / N0) has about the variance 1 / N, so the weights that suit it
    are proportional to the counts (Sauer, Bouman, IEEE Transactions on Signal Processing 41, 1993). A weight of zero
    leaves a ray out, such as that of a dead detector pixel.

    Attributes:
        projector: A.
        root: W^(1/2), of the sinogram's shape, none negative.
    """

    projector: Tomography
    root: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        if tuple(self.root.shape) != self.range.shape or not bool((self.root >= 0).all()):
            raise UsageError(
                f"WeightedTomography: the root of the weights has shape {as_words(tuple(self.root.shape))} and the "
                f"least entry {float(self.root.min()):g}; expected {as_words(self.range.shape)}, none negative."
            )
        object.__setattr__(self, "root", self.root.detach().to(device="cpu", dtype=torch.float64))

    @cached_property
    def properties(self) -> OperatorProperties:
        """The norm is bounded as that of :class:`Tomography`."""
        return OperatorProperties(norm=self._norm, adjoint_gap=EXACT_ADJOINT)

    def _norm(self) -> Constant:
        return norm_of_nonnegative(self, torch.ones(self.domain.shape, dtype=torch.float64))

    @property
    def nonnegative_entries(self) -> Fact:
        """The entries of the projector times the square roots of the weights."""
        return self.projector.nonnegative_entries

    def data_split(self, norm: float) -> DataSplit:
        """The splitting of the data term, as that of :class:`Tomography`."""
        return ramp_split(self, norm)

    def transform(self, y: Tensor) -> Tensor:
        """As :meth:`weigh`."""
        return self.weigh(y)

    def weigh(self, y: Tensor) -> Tensor:
        """``W^(1/2) y``."""
        require_member("WeightedTomography", "sinogram", y, self.range)
        return y * self._buffer.like(y)

    def surrogate(self, back: LinearOperator) -> "WeightedSurrogate":
        """The operator whose adjoint is ``K W^(1/2)``, for that whose adjoint is a surrogate K of A's."""
        return WeightedSurrogate(back, self._buffer)

    @cached_property
    def _buffer(self) -> Buffer:
        return Buffer(self.root)


@final
@dataclass(frozen=True, eq=False, repr=False)
class WeightedSurrogate(ByValue):
    """``W^(1/2) K^T``, whose adjoint is ``K W^(1/2)``; :meth:`WeightedTomography.surrogate` makes it."""

    back: LinearOperator
    root: Buffer

    def A(self, x: Tensor) -> Tensor:
        """(..., rows, columns) -> (..., views, detector pixels)."""
        y = self.back.A(x)
        return y * self.root.like(y)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """(..., views, detector pixels) -> (..., rows, columns)."""
        return self.back.A_adjoint(y * self.root.like(y))
