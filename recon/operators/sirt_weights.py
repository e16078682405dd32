"""Diagonal weights of images and of measurements: the inverse sums of SIRT, and the operator between them."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from recon._values import ByValue
from recon.errors import UsageError
from recon.evidence import Assumed, Constant, Evidence, Proved
from recon.operators.adjoint import example_of
from recon.operators.base import Buffer, HasNonnegativeEntries
from recon.operators.nonnegative import ROUNDING
from recon.operators.spectral import map_norm
from recon.types import LinearOperator, Map


@final
@dataclass(frozen=True, eq=False, repr=False)
class Weights(ByValue):
    """Two positive diagonals: D on images, R on measurements.

    Attributes:
        image: D, which broadcasts against an image; 0 for a pixel that no measurement sees, which stands for any
            positive number, because D A^T is 0 there.
        data: R, which broadcasts against a measurement; 0 for a ray that meets no pixel.
        norm: ||R^1/2 A D^1/2||.
    """

    image: Buffer
    data: Buffer
    norm: Constant

    @property
    def uniform(self) -> bool:
        """Whether D is a multiple of the identity, wherever it matters."""
        seen = self.image.master[self.image.master > 0]
        return not seen.numel() or float(seen.min()) == float(seen.max())


def sirt_weights(operator: LinearOperator, example: Tensor | None = None) -> Weights:
    """D and R of SIRT: the inverse column and row sums of A.

    For a matrix without negative entries ||R^1/2 A D^1/2|| is 1: with p the roots of the column sums and q those of the
    row sums, C = R^1/2 A D^1/2 has C p = q and C^T q = p, so p is a positive eigenvector of C^T C of eigenvalue 1, and
    that is the spectral radius (Perron and Frobenius; cf. Gregor and Benson 2008). Without that knowledge the norm is
    measured, and if a sum is zero, that its row or column is zero is assumed.

    Args:
        operator: A, with its exact adjoint.
        example: A tensor that ``A`` takes; may be left out for an operator that knows its domain.

    Raises:
        UsageError: A row or a column has a negative sum, of which there is no root.
    """
    like = example_of(operator, example)
    with torch.no_grad():
        rows = operator.A(torch.ones_like(like, dtype=torch.float64))
        columns = operator.A_adjoint(torch.ones_like(rows))
    lowest = min(float(rows.min()), float(columns.min()))
    if not lowest >= -ROUNDING * float(rows.abs().max() + columns.abs().max()):
        raise UsageError(
            f"sirt_weights: {type(operator).__name__} has a row or a column whose sum is {lowest:.4g}; expected none "
            "below 0, because the weights are their inverses."
        )
    image, data = Buffer(_inverse(columns)[0]), Buffer(_inverse(rows)[0])
    fact = operator.nonnegative_entries if isinstance(operator, HasNonnegativeEntries) else None
    if fact is not None and fact.evidence is Evidence.PROVED:
        return Weights(image, data, Proved(1 + ROUNDING, f"inverse row and column sums; {fact.how}"))
    balanced = Weighted(operator, image, data)
    norm: Constant = map_norm(balanced.A, balanced.A_adjoint, like)
    if bool((image.master == 0).any()) or bool((data.master == 0).any()):
        norm = Assumed(norm.value + norm.error, f"a row or column of sum zero is taken to be zero; {norm.how}")
    return Weights(image, data, norm)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Weighted(ByValue):
    """The operator ``R^1/2 A D^1/2``: preconditioned forward-backward is the plain one for it.

    With an operator whose adjoint is a surrogate K in the place of A, its adjoint is D^1/2 K R^1/2, so that a pair of
    these has the constants of D^1/2 K R A D^1/2.
    """

    operator: LinearOperator
    image: Buffer
    data: Buffer

    def A(self, x: Tensor) -> Tensor:
        return self.data.like(x).sqrt() * self.operator.A(self.image.like(x).sqrt() * x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.image.like(y).sqrt() * self.operator.A_adjoint(self.data.like(y).sqrt() * y)


def weighted(operator: LinearOperator, weights: Weights) -> Weighted:
    """``R^1/2 A D^1/2``."""
    return Weighted(operator, weights.image, weights.data)


@final
@dataclass(frozen=True, eq=False, repr=False)
class PreconditionedLeastSquares(ByValue):
    """The map ``x -> D K R (A x - y)``: D times the gradient of ||Ax - y||_R^2 / 2 where K is the adjoint.

    Attributes:
        operator: A, with its adjoint.
        measurement: y, (batch, ...).
        weights: D and R.
        surrogate: K, measurements to images; ``None`` for the adjoint.
    """

    operator: LinearOperator
    measurement: Tensor
    weights: Weights
    surrogate: Map | None = None

    def __call__(self, x: Tensor) -> Tensor:
        back = self.operator.A_adjoint if self.surrogate is None else self.surrogate
        rest = self.operator.A(x) - self.measurement
        return self.weights.image.like(x) * back(self.weights.data.like(rest) * rest)


def _inverse(sums: Tensor) -> Tensor:
    """One over each sum, and 0 for a sum that is zero up to rounding."""
    seen = sums > ROUNDING * math.sqrt(torch.finfo(sums.dtype).eps) * sums.max()
    return torch.where(seen, 1 / sums.masked_fill(~seen, 1.0), 0.0)
