"""An operator given by its matrix, and the matrix of any small operator."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from recon._values import ByValue
from recon.errors import UsageError
from recon.evidence import Evidence, Fact
from recon.operators import dense
from recon.operators._checks import as_words, require_member
from recon.operators.adjoint import example_of
from recon.operators.base import EXACT_ADJOINT, Buffer, OperatorProperties, Space
from recon.types import LinearOperator

LARGEST = 4096
"""Unknowns: beyond, a dense matrix takes 128 MiB and its decompositions minutes."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class Matrix(ByValue):
    """The operator ``x -> M x``, of which everything is known: its constants are proved by dense linear algebra.

    Build it with :func:`from_matrix` or :func:`to_matrix`.

    Attributes:
        entries: M, real, (numbers measured, unknowns).
        domain: Of the images, flattened into the unknowns.
        range: Of the measurements.

    Raises:
        UsageError: The entries are not a real matrix of finite numbers, or do not fit the spaces.
    """

    entries: Tensor
    domain: Space
    range: Space

    def __post_init__(self) -> None:
        if self.entries.ndim != 2 or self.entries.is_complex() or not bool(self.entries.isfinite().all()):
            raise UsageError(
                f"Matrix: the entries have shape {tuple(self.entries.shape)} and dtype {self.entries.dtype}; expected "
                "finite real numbers in two dimensions, because they are a matrix."
            )
        if self.entries.shape != (math.prod(self.range.shape), math.prod(self.domain.shape)):
            raise UsageError(
                f"Matrix: the entries are {as_words(self.entries.shape)}, from {self.domain.shape} to "
                f"{self.range.shape}; expected a column for each number of an image and a row for each measured one."
            )

    @cached_property
    def _buffer(self) -> Buffer:
        return Buffer(self.entries.double())

    @cached_property
    def properties(self) -> OperatorProperties:
        entries = self.entries.double()
        norm, least = dense.largest_singular_value(entries), dense.smallest_gram_eigenvalue(entries)
        return OperatorProperties(norm=norm, adjoint_gap=EXACT_ADJOINT, gram_min=least)

    @property
    def nonnegative_entries(self) -> Fact | None:
        """That no entry is negative, if none is."""
        return Fact(Evidence.PROVED, "by looking at each") if bool((self.entries >= 0).all()) else None

    def A(self, x: Tensor) -> Tensor:
        """(..., *domain) -> (..., *range)."""
        require_member("Matrix", "image", x, self.domain)
        return _apply(self._buffer.like(x), x, self.domain, self.range)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """(..., *range) -> (..., *domain)."""
        require_member("Matrix", "measurement", y, self.range)
        return _apply(self._buffer.like(y).T, y, self.range, self.domain)


def from_matrix(entries: Tensor) -> Matrix:
    """The operator of a matrix on vectors, (..., unknowns) to (..., numbers measured).

    Raises:
        UsageError: As for :class:`Matrix`.
    """
    return Matrix(entries, Space(tuple(entries.shape[1:])), Space(tuple(entries.shape[:1])))


def to_matrix(operator: LinearOperator, example: Tensor | None = None) -> Matrix:
    """The matrix of a small real operator, in double precision.

    Args:
        operator: A; its adjoint takes no part.
        example: A tensor that ``A`` takes; may be left out for an operator that knows its domain.

    Raises:
        UsageError: There are more unknowns than a dense matrix is good for, or the numbers are complex.
    """
    like = example_of(operator, example)
    unknowns = like[0].numel()
    if unknowns > LARGEST or like.is_complex():
        raise UsageError(
            f"to_matrix: {type(operator).__name__} takes {unknowns} {like.dtype} numbers; expected at most {LARGEST} "
            "real ones, because its matrix is stored."
        )
    units = torch.eye(unknowns, dtype=torch.float64, device=like.device).reshape(unknowns, *like.shape[1:])
    with torch.no_grad():
        columns = operator.A(units)
    image, measured = Space(tuple(like.shape[1:])), Space(tuple(columns.shape[1:]))
    return Matrix(columns.flatten(1).T.contiguous(), image, measured)


def _apply(matrix: Tensor, x: Tensor, source: Space, target: Space) -> Tensor:
    leading = x.shape[: x.ndim - len(source.shape)]
    return (x.reshape(*leading, math.prod(source.shape)) @ matrix.T).reshape(*leading, *target.shape)
