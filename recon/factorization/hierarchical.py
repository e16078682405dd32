"""Hierarchical factorisation with learned supports: palm4MSA, level by level.

Le Magoarou, Gribonval (2016), *Flexible multilayer sparse approximations of matrices and applications*. A matrix is
split into a sparse factor and a residual with half as many entries in each row and column, and the residual is split
again; after each split all factors are fitted together. Complex matrices are fitted as they are: the gradient has
conjugate transposes, and a projection keeps the entries of largest modulus with their phases.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.operators.factorised import Entries, Factor

LARGEST = 512
"""Rows: each step of palm4MSA multiplies dense matrices."""

SPLIT_STEPS, REFIT_STEPS = 60, 30
_MARGIN = 1.001
_POWER_STEPS = 20

Projection = Callable[[Tensor], Tensor]
"""From a matrix to the nearest one that a factor may be, before it is scaled to norm 1."""


def largest_entries(count: int) -> Projection:
    """Keep the ``count`` entries of largest modulus."""

    def project(matrix: Tensor) -> Tensor:
        flat = matrix.flatten()
        kept = flat.abs().topk(min(count, flat.numel())).indices
        return torch.zeros_like(flat).index_copy(0, kept, flat[kept]).reshape(matrix.shape)

    return project


def largest_of_lines(count: int) -> Projection:
    """Keep the ``count`` entries of largest modulus of each row, and those of each column."""

    def project(matrix: Tensor) -> Tensor:
        sizes = matrix.abs()
        kept = torch.zeros(matrix.shape, dtype=torch.bool)
        for axis in (0, 1):
            ranked = sizes.argsort(dim=axis, descending=True, stable=True)  # of equal entries the first, on any machine
            kept.scatter_(axis, ranked.narrow(axis, 0, min(count, matrix.shape[axis])), True)
        return torch.where(kept, matrix, torch.zeros_like(matrix))

    return project


def on_support(support: Tensor) -> Projection:
    """Keep the entries where ``support`` is true."""
    return lambda matrix: torch.where(support, matrix, torch.zeros_like(matrix))


@dataclass(frozen=True)
class Fit:
    """Factors of norm 1 and the scale of their product.

    Attributes:
        factors: The leftmost first, dense tensors with zeros.
        scale: Of the product.
        objective: ``1/2 ||M - scale F_1 ... F_J||_F^2`` after each step.
    """

    factors: tuple[Tensor, ...]
    scale: float
    objective: tuple[float, ...]

    @property
    def product(self) -> Tensor:
        """The matrix that the factors stand for."""
        return (
            self.scale * torch.linalg.multi_dot(self.factors) if len(self.factors) > 1 else self.scale * self.factors[0]
        )


def palm4msa(
    matrix: Tensor, start: Sequence[Tensor], projections: Sequence[Projection], steps: int, scale: float = 1.0
) -> Fit:
    """Fit the factors of a matrix on the sets of some projections, by proximal alternating linearised minimisation.

    Each factor takes a gradient step of length ``1 / c`` with ``c > scale^2 ||L||^2 ||R||^2``, L and R the products
    of the factors before and after it, and is projected and scaled to norm 1; then the scale is the best one.

    Args:
        matrix: M, real or complex.
        start: The factors to start from, the leftmost first.
        projections: One for each factor.
        steps: Sweeps over all factors.
        scale: To start from.
    """
    factors = [factor.clone() for factor in start]
    objective: list[float] = []
    for _ in range(steps):
        right = _products_after(factors)
        left: Tensor | None = None
        for number, project in enumerate(projections):
            factors[number] = _improved(matrix, left, factors[number], right[number], scale, project)
            left = factors[number] if left is None else left @ factors[number]
        assert left is not None  # noqa: S101  there is a factor
        energy = float(torch.linalg.vector_norm(left).square())
        scale = float((left.conj() * matrix).real.sum()) / energy if energy else 0.0
        objective.append(float(torch.linalg.vector_norm(matrix - scale * left).square()) / 2)
        if len(objective) > 1 and objective[-2] - objective[-1] <= 1e-14 * objective[-2]:
            break
    return Fit(tuple(factors), scale, tuple(objective))


def hierarchical_factors(matrix: Tensor, starts: Sequence[Sequence[Tensor]] = ()) -> tuple[Factor, ...]:
    """Factors with two entries in each row and column, where the matrix has N = 2^J rows.

    Args:
        matrix: M, not zero; its units do not matter.
        starts: Factors of N rows, J each time, from which all are fitted too; the nearest product of all is kept.
    """
    unit = 2.0 ** math.frexp(float(matrix.abs().max()))[1]
    matrix = matrix / unit
    kept = [largest_of_lines(2)] * int(math.log2(len(matrix)))
    fits = [_level_by_level(matrix), *(palm4msa(matrix, start, kept, REFIT_STEPS) for start in starts)]
    best = min(fits, key=lambda fit: float(torch.linalg.vector_norm(matrix - fit.product)))
    return tuple(_entries(factor) for factor in (unit * best.scale * best.factors[0], *best.factors[1:]))


def _level_by_level(matrix: Tensor) -> Fit:
    """The fit of one split after the other: the identity before a residual that is zero is where each begins."""
    size = len(matrix)
    done: list[Tensor] = []
    fit = Fit((matrix,), 1.0, ())
    for level in range(1, int(math.log2(size))):
        residual = fit.factors[-1]
        kept = [largest_of_lines(2), largest_of_lines(size >> level)]
        start = torch.eye(size, dtype=matrix.dtype), torch.zeros_like(residual)
        split = palm4msa(residual, start, kept, SPLIT_STEPS)
        done.append(split.factors[0])
        all_kept = [kept[0]] * len(done) + [kept[1]]
        fit = palm4msa(matrix, [*done, split.factors[1]], all_kept, REFIT_STEPS, fit.scale * split.scale)
        done = list(fit.factors[:-1])
    return fit


def _improved(  # noqa: PLR0913, PLR0917  the problem of one factor
    matrix: Tensor, left: Tensor | None, factor: Tensor, right: Tensor | None, scale: float, project: Projection
) -> Tensor:
    before = factor if left is None else left @ factor
    rest = scale * (before if right is None else before @ right) - matrix
    gradient = rest if left is None else left.mH @ rest
    gradient = scale * (gradient if right is None else gradient @ right.mH)
    curvature = _MARGIN * (scale * _norm(left) * _norm(right)) ** 2
    moved = project(factor - gradient / curvature if curvature else factor)
    length = float(torch.linalg.vector_norm(moved))
    return moved / length if length else factor


def _products_after(factors: Sequence[Tensor]) -> list[Tensor | None]:
    products: list[Tensor | None] = [None]
    for factor in reversed(factors[1:]):
        last = products[-1]
        products.append(factor if last is None else factor @ last)
    return products[::-1]


def _norm(matrix: Tensor | None) -> float:
    """The operator norm: power iteration, and a margin."""
    if matrix is None:
        return 1.0
    x = torch.ones(matrix.shape[1], dtype=matrix.dtype) + 0.1 * torch.arange(matrix.shape[1]).to(matrix.dtype).cos()
    value = 0.0
    for _ in range(_POWER_STEPS):
        y = matrix @ x
        x = matrix.mH @ y
        length = float(torch.linalg.vector_norm(x))
        if not length:
            return float(torch.linalg.vector_norm(matrix))
        value, x = math.sqrt(length), x / length
    return 1.05 * value


def _entries(matrix: Tensor) -> Entries:
    row, column = torch.nonzero(matrix, as_tuple=True)
    return Entries((matrix.shape[0], matrix.shape[1]), row, column, matrix[row, column])
