"""Two factors with given supports: exact where the rank-one supports do not half overlap, else a heuristic.

The problem ``min ||M - X Y||_F`` over X and Y with given supports is hard in general. It is solved by singular value
decompositions of blocks if any two of the rank-one supports (column t of X) x (row t of Y) are equal or disjoint (Le,
Riccietti, Gribonval 2023, *Spurious valleys, NP-hardness, and tractability of sparse matrix factorization with fixed
support*): of a class of n equal ones, the best approximation of rank n of the block.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.factorization.hierarchical import on_support, palm4msa
from recon.factorization.result import Status

_STEPS = 300


@dataclass(frozen=True, eq=False)
class TwoFactors:
    """Two factors with given supports.

    Attributes:
        left: X.
        right: Y.
        status: ``exact``, if the product is the matrix and the factors are unique up to scaling; ``not identifiable``,
            if it is and they are not; ``optimal``, if no such factors are nearer; else ``heuristic``.
        reason: In words.
        error: ||M - X Y||_F / ||M||_F.
    """

    left: Tensor
    right: Tensor
    status: Status
    reason: str
    error: float


def fixed_support(matrix: Tensor, left: Tensor, right: Tensor) -> TwoFactors:
    """The factors X and Y of a matrix that vanish outside of two supports.

    Args:
        matrix: M, (rows, columns), real or complex.
        left: Where X may be other than zero, (rows, n), bool.
        right: The same of Y, (n, columns).

    Raises:
        UsageError: The shapes do not fit, or the supports are not boolean.
    """
    _check(matrix, left, right)
    entries = matrix.to(torch.complex128 if matrix.is_complex() else torch.float64)
    classes = _classes(left, right)
    overlap = _overlap(classes, left, right)
    if overlap is not None:
        fit = palm4msa(entries, _start(entries, left, right), [on_support(left), on_support(right)], _STEPS)
        first, second = fit.scale * fit.factors[0], fit.factors[1]
        reason = f"the rank-one supports {overlap[0]} and {overlap[1]} overlap and differ, where the problem is hard"
        return TwoFactors(first, second, Status.HEURISTIC, reason, _error(entries, first, second))
    first, second = torch.zeros(left.shape, dtype=entries.dtype), torch.zeros(right.shape, dtype=entries.dtype)
    unique = True
    for members in classes:
        rows, columns = left[:, members[0]].nonzero()[:, 0], right[members[0]].nonzero()[:, 0]
        if not rows.numel() or not columns.numel():
            continue
        u, values, v = torch.linalg.svd(entries[rows[:, None], columns], full_matrices=False)
        rank = min(len(members), len(values))
        root = values[:rank].sqrt()
        kept = torch.tensor(members[:rank])
        first[rows[:, None], kept] = u[:, :rank] * root
        second[kept[:, None], columns] = root[:, None] * v[:rank]
        unique = unique and len(members) == 1 and float(values[0]) > 0
    error = _error(entries, first, second)
    exact = error <= 64 * torch.finfo(torch.float64).eps * max(matrix.shape) ** 0.5
    if exact and unique:
        status, reason = Status.EXACT, "rank-one supports are disjoint: the factors are unique up to scaling"
    elif exact:
        status, reason = Status.NOT_IDENTIFIABLE, "rank-one supports are equal, or a block is zero"
    else:
        status, reason = Status.OPTIMAL, "rank-one supports are equal or disjoint: no such factors are nearer"
    return TwoFactors(first, second, status, reason, error)


def _check(matrix: Tensor, left: Tensor, right: Tensor) -> None:
    if left.dtype != torch.bool or right.dtype != torch.bool or matrix.ndim != 2:
        raise UsageError("fixed_support: expected a matrix and two boolean supports, (rows, n) and (n, columns).")
    if left.shape[0] != matrix.shape[0] or right.shape[1] != matrix.shape[1] or left.shape[1] != right.shape[0]:
        raise UsageError(
            f"fixed_support: supports of {tuple(left.shape)} and {tuple(right.shape)} for a matrix of "
            f"{tuple(matrix.shape)}; expected (rows, n) and (n, columns)."
        )


def _classes(left: Tensor, right: Tensor) -> list[list[int]]:
    """The numbers t of equal rank-one supports together."""
    found: dict[bytes, list[int]] = {}
    both = torch.cat([left.T, right], dim=1)
    for t, support in enumerate(both):
        found.setdefault(support.numpy().tobytes(), []).append(t)
    return list(found.values())


def _overlap(classes: list[list[int]], left: Tensor, right: Tensor) -> tuple[int, int] | None:
    """Two rank-one supports that overlap and differ, or ``None``."""
    first = torch.tensor([members[0] for members in classes])
    rows, columns = left[:, first].double(), right[first].double()
    shared = (rows.T @ rows > 0) & (columns @ columns.T > 0)
    shared.fill_diagonal_(False)
    met = shared.nonzero()
    return (int(first[met[0, 0]]), int(first[met[0, 1]])) if len(met) else None


def _start(matrix: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(left.shape, generator=generator, dtype=torch.float64).to(matrix.dtype) * left
    second = torch.randn(right.shape, generator=generator, dtype=torch.float64).to(matrix.dtype) * right
    return first / torch.linalg.vector_norm(first), second / torch.linalg.vector_norm(second)


def _error(matrix: Tensor, first: Tensor, second: Tensor) -> float:
    energy = float(torch.linalg.vector_norm(matrix))
    return float(torch.linalg.vector_norm(matrix - first @ second)) / energy if energy else 0.0
