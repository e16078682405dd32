"""An operator given by its matrix, and the matrix of any small operator."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from recon._values import ByValue
from recon.errors import UsageError
from recon.evidence import Constant, Evidence, Fact
from recon.operators import dense, spectral
from recon.operators._checks import as_words, require_member
from recon.operators.adjoint import example_of
from recon.operators.base import EXACT_ADJOINT, Buffer, Characterised, HasDenseForm, OperatorProperties, Space
from recon.types import LinearOperator

LARGEST = 4096
"""Unknowns: beyond, a dense matrix takes 128 MiB and its decompositions minutes."""


LARGEST_DECOMPOSED = 2304
"""Real rows or columns up to which constants are proved by decompositions; beyond, these take minutes."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class Matrix(ByValue):
    """The operator ``x -> M x``, whose constants are proved by dense linear algebra up to 2304 unknowns.

    Build it with :func:`from_matrix` or :func:`to_matrix`.

    Attributes:
        entries: M, real or complex, (numbers measured, unknowns).
        domain: Of the images, flattened into the unknowns.
        range: Of the measurements.

    Raises:
        UsageError: The entries are not a matrix of finite numbers, or do not fit the spaces.
    """

    entries: Tensor
    domain: Space
    range: Space

    def __post_init__(self) -> None:
        if self.entries.ndim != 2 or not bool(self.entries.isfinite().all()):
            raise UsageError(
                f"Matrix: the entries have shape {tuple(self.entries.shape)} and dtype {self.entries.dtype}; expected "
                "finite numbers in two dimensions, because they are a matrix."
            )
        if self.entries.is_complex() != self.domain.is_complex or self.entries.is_complex() != self.range.is_complex:
            raise UsageError(
                f"Matrix: the entries have dtype {self.entries.dtype}; expected them to be complex where images and "
                "measurements are, and real where these are."
            )
        if self.entries.shape != (math.prod(self.range.shape), math.prod(self.domain.shape)):
            raise UsageError(
                f"Matrix: the entries are {as_words(self.entries.shape)}, from {self.domain.shape} to "
                f"{self.range.shape}; expected a column for each number of an image and a row for each measured one."
            )

    @cached_property
    def _buffer(self) -> Buffer:
        return Buffer(_in_double(self.entries))

    @cached_property
    def properties(self) -> OperatorProperties:
        if max(self.entries.shape) > LARGEST_DECOMPOSED:
            return OperatorProperties(norm=self._measured_norm, adjoint_gap=EXACT_ADJOINT)
        entries = _in_double(self.entries)
        norm, least = dense.largest_singular_value(entries), dense.smallest_gram_eigenvalue(entries)
        return OperatorProperties(norm=norm, adjoint_gap=EXACT_ADJOINT, gram_min=least)

    def _measured_norm(self) -> Constant:
        dtype = torch.complex128 if self.domain.is_complex else torch.float64
        return spectral.norm(self, torch.zeros(1, *self.domain.shape, dtype=dtype))

    def dense_form(self) -> tuple[Tensor, float]:
        """The matrix in double precision, and its rounding: none."""
        return _in_double(self.entries), 0.0

    @property
    def nonnegative_entries(self) -> Fact | None:
        """That no entry is negative, if none is."""
        if self.entries.is_complex():
            return None
        return Fact(Evidence.PROVED, "by looking at each") if bool((self.entries >= 0).all()) else None

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers measured and unknowns."""
        return self.entries.shape[0], self.entries.shape[1]

    def between(self, domain: tuple[int, ...], measured: tuple[int, ...]) -> "Matrix":
        """The same matrix between images and measurements of other shapes.

        Raises:
            UsageError: The shapes have other numbers of entries.
        """
        return replace(
            self, domain=replace(self.domain, shape=tuple(domain)), range=replace(self.range, shape=tuple(measured))
        )

    def A(self, x: Tensor) -> Tensor:
        """(..., *domain) -> (..., *range)."""
        require_member("Matrix", "image", x, self.domain)
        return _apply(self._buffer.like(x), x, self.domain, self.range)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """(..., *range) -> (..., *domain)."""
        require_member("Matrix", "measurement", y, self.range)
        return _apply(self._buffer.like(y).mH, y, self.range, self.domain)


def from_matrix(entries: Tensor) -> Matrix:
    """The operator of a matrix on vectors, (..., unknowns) to (..., numbers measured).

    Raises:
        UsageError: As for :class:`Matrix`.
    """
    is_complex = entries.is_complex()
    return Matrix(entries, Space(tuple(entries.shape[1:]), is_complex), Space(tuple(entries.shape[:1]), is_complex))


def real_form(operator: object) -> tuple[Tensor, float] | None:
    """The matrix of an operator that has one stored or as factors, on real vectors, and what its rounding may be.

    A complex matrix ``R + i I`` acts on real and imaginary parts as ``[[R, -I], [I, R]]``, whose constants for the real
    inner product are its own. ``None`` for other operators, and beyond the size that decompositions are good for.
    """
    if not isinstance(operator, HasDenseForm):
        return None
    is_complex = isinstance(operator, Characterised) and operator.domain.is_complex
    if max(operator.shape) * (2 if is_complex else 1) > LARGEST_DECOMPOSED:
        return None
    entries, rounding = operator.dense_form()
    if entries.is_complex():
        upper = torch.cat([entries.real, -entries.imag], dim=1)
        entries = torch.cat([upper, torch.cat([entries.imag, entries.real], dim=1)])
    return entries, rounding


def _in_double(entries: Tensor) -> Tensor:
    return entries.to(torch.complex128 if entries.is_complex() else torch.float64)


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
