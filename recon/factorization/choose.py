"""A dense matrix to its factors: the structure chosen, the error bounded, the status stated."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon.errors import ConsistencyError, GuaranteeError, UsageError
from recon.evidence import Proved
from recon.factorization import butterfly
from recon.factorization.bounds import frobenius_above, norm_above, norm_below
from recon.factorization.hierarchical import LARGEST as LARGEST_HIERARCHICAL
from recon.factorization.hierarchical import hierarchical_factors
from recon.factorization.low_rank import low_rank_factors
from recon.factorization.offset import Offset, common_constant, find_offset
from recon.factorization.result import Factorisation, Status
from recon.operators import Space
from recon.operators.factorised import Blocks, Factor, Factorised, Permutation
from recon.operators.rounding import rounded_up

STRUCTURES = ("auto", "butterfly", "low-rank", "hierarchical")
TOLERANCE = 1e-2
"""Of the relative error in the operator norm: what is farther off is refused, unless another one is asked for."""

LARGEST = 8192
"""Rows or columns: beyond, the matrix takes more than a gigabyte in double precision."""

_RANGE = 1e-30, 1e30
"""Of the largest entry: bounds take eighth powers, which overflow or vanish in double precision beyond."""

_ROUNDINGS = 4
"""Times the number of factors and the rounding of the numbers given: an error up to which a product counts as exact."""

_AT_ROUNDING = 1e-10
Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class _Task:
    """A matrix in double precision and what is asked of its factors."""

    matrix: Tensor
    tolerance: float
    pad: bool
    seed: int
    say: Say
    precision: float


def factorise(  # noqa: PLR0913  each is an independent choice of the caller
    matrix: Tensor,
    structure: str = "auto",
    *,
    tolerance: float = TOLERANCE,
    pad: bool = False,
    seed: int = 0,
    say: Say = lambda line: None,
) -> Factorisation:
    """The factors of a dense matrix, with a proved bound of their error.

    Args:
        matrix: (rows, columns), real or complex.
        structure: One of :data:`STRUCTURES`; ``auto`` takes the first of them that is near enough.
        tolerance: The largest relative error in the operator norm.
        pad: Whether a matrix that has no butterfly of its size is padded with zeros to the next power of two.
        seed: Of random vectors and of the blocks that are looked at.
        say: Where remarks go.

    Raises:
        UsageError: There is no such structure, the tolerance is out of range, or the matrix is not one of finite
            numbers.
        ConsistencyError: The matrix has no such structure at its size.
        GuaranteeError: No structure is near enough, or none saves anything.
    """
    _check(matrix, structure, tolerance)
    entries = matrix.to(torch.complex128 if matrix.is_complex() else torch.float64)
    if not bool((entries != 0).any()):
        raise GuaranteeError("The matrix is zero everywhere, so it has no factors worth the name; expected another.")
    names = STRUCTURES[1:] if structure == "auto" else (structure,)
    precision = torch.finfo(matrix.dtype.to_real() if matrix.is_complex() else matrix.dtype).eps
    task = _Task(entries, tolerance, pad, seed, say, precision)
    refusals: list[str] = []
    for name in names:
        if structure == "auto" and (why := _left_out(name, entries, pad)):
            refusals.append(why)
            continue
        found = _MAKERS[name](task)
        if found.error.value <= tolerance and found.saving > 1:
            return found
        refusals.append(_refusal(found, tolerance))
    raise GuaranteeError(
        f"The matrix of {matrix.shape[0]} x {matrix.shape[1]} is refused: {'; '.join(refusals)}; expected an error of "
        f"at most {tolerance:g} (--tolerance) with fewer numbers than the matrix has, because else the factors would "
        "stand for another operator."
    )


def _check(matrix: Tensor, structure: str, tolerance: float) -> None:
    if structure not in STRUCTURES:
        raise UsageError(f"structure is {structure!r}; expected {', '.join(STRUCTURES)}.")
    if not 0 < tolerance < 1:
        raise UsageError(f"tolerance is {tolerance:g}; expected a number above 0 and below 1.")
    if matrix.ndim != 2 or not (matrix.is_floating_point() or matrix.is_complex()):
        raise UsageError(
            f"The matrix has shape {tuple(matrix.shape)} and dtype {matrix.dtype}; expected (rows, columns) of real or "
            "complex numbers."
        )
    if bad := int((~matrix.isfinite()).sum()):
        raise UsageError(f"{bad} of the {matrix.numel()} entries of the matrix are NaN or infinite; expected none.")
    if min(matrix.shape) < 2 or max(matrix.shape) > LARGEST:
        raise UsageError(
            f"The matrix has {matrix.shape[0]} x {matrix.shape[1]} entries; expected from 2 to {LARGEST} rows and "
            "columns."
        )
    largest = float(matrix.abs().max())
    if largest and not _RANGE[0] <= largest <= _RANGE[1]:
        raise UsageError(
            f"The largest entry of the matrix is {largest:.3g}; expected one of {_RANGE[0]:g} to {_RANGE[1]:g}, in "
            "other units, because its powers are beyond the numbers of double precision."
        )


def _left_out(name: str, matrix: Tensor, pad: bool) -> str | None:
    """Why ``auto`` does not try a structure."""
    if name == "butterfly" and not pad and (why := _no_butterfly(matrix)):
        return f"no butterfly is tried, as {why}"
    if name == "hierarchical" and (not _is_power_of_two(matrix) or len(matrix) > LARGEST_HIERARCHICAL):
        return f"hierarchical is tried for square ones of a power of two up to {LARGEST_HIERARCHICAL} rows"
    return None


def _refusal(found: Factorisation, tolerance: float) -> str:
    if found.error.value > tolerance:
        least = f" (in the Frobenius norm none is below {found.least_error:.3g})" if found.least_error > 0 else ""
        more = "".join(f", and {note}" for note in found.notes)
        return f"as {found.structure} its relative error is {found.error.value:.3g}{least}{more}"
    return f"as {found.structure} it takes {found.operator.nonzeros} numbers, and the matrix {_numbers(found)}"


def _numbers(found: Factorisation) -> int:
    return math.prod(found.operator.shape)


def _no_butterfly(matrix: Tensor) -> str | None:
    rows, columns = matrix.shape
    if rows != columns:
        return f"it has {rows} rows and {columns} columns (--pad makes it square)"
    if butterfly.radices_of(rows) is None:
        return f"{rows} is not a product of primes up to {butterfly.WIDEST_PRIME} (--pad takes the next power of two)"
    return None


def _is_power_of_two(matrix: Tensor) -> bool:
    return matrix.shape[0] == matrix.shape[1] and matrix.shape[0] & (matrix.shape[0] - 1) == 0


def _butterfly(task: _Task) -> Factorisation:
    value = common_constant(task.matrix, task.tolerance)
    if value is None:
        return _plain_butterfly(task)
    inner = _plain_butterfly(replace(task, matrix=task.matrix - value))
    offset = find_offset(task.matrix, value)
    if offset is not None and inner.error.value <= task.tolerance:
        return _with_offset(task, inner, offset)
    lacks = ", and no row of it is constant" if offset is None else ""
    note = f"less the constant {value:.4g} in all entries its error is {inner.error.value:.3g}{lacks}"
    return replace(_plain_butterfly(replace(task, say=lambda line: None)), notes=(note,))


def _with_offset(task: _Task, inner: Factorisation, offset: Offset) -> Factorisation:
    """A butterfly and a constant in all entries.

    The constant makes the norm of the matrix many times that of the butterfly, beside which the error is to be small.
    """
    factors = inner.operator.factors
    made = _bounded(task.matrix, (offset.factor(factors[0].shape[0]), *factors))
    which = f"the constant {offset.value:.4g} in all entries by one factor more"
    if inner.status is not Status.HEURISTIC and _is_exact(made[2], len(factors) + 1, task.precision):
        status = Status.NOT_IDENTIFIABLE  # a multiple of the row may pass from the block beside it to the new factor
        reason = f"the product is the matrix up to rounding, {which}; other numbers in the same places give it too"
    else:
        status, reason = Status.HEURISTIC, f"{which}; of the butterfly, {inner.reason}"
    return replace(
        inner, operator=made[0], status=status, reason=reason, error=made[1], frobenius_error=made[2], least_error=0.0
    )


def _plain_butterfly(task: _Task) -> Factorisation:
    matrix, inner, padded = task.matrix, task.matrix, None
    why = _no_butterfly(matrix)
    if why is not None:
        if not task.pad:
            raise ConsistencyError(f"The matrix has no butterfly factorisation, because {why}.")
        padded = 2 ** math.ceil(math.log2(max(matrix.shape)))
        inner = matrix.new_zeros(padded, padded)
        inner[: matrix.shape[0], : matrix.shape[1]] = matrix
        task.say(f"the matrix of {matrix.shape[0]} x {matrix.shape[1]} was padded with zeros to {padded} x {padded}")
    radices = butterfly.radices_of(len(inner))
    assert radices is not None  # noqa: S101  of a power of two, or seen above
    order = butterfly.best_order(inner, radices, task.seed)
    factors, unique = butterfly.butterfly_factors(inner, radices, order)
    made = _bounded(matrix, factors)
    exact = _is_exact(made[2], len(radices), task.precision)
    together = not exact and padded is None and len(inner) <= butterfly.LARGEST_REFITTED
    if together:
        made = _bounded(matrix, butterfly.refitted(inner, factors, order))
    if exact and unique:
        status, reason = Status.EXACT, "the product is the matrix up to rounding; factors are unique up to scaling"
    elif exact:
        status = Status.NOT_IDENTIFIABLE
        reason = "the product is the matrix up to rounding; parts of it are zero, so that other factors give it too"
    else:
        status = Status.HEURISTIC
        fitted = ", and then all are fitted together" if together else ""
        reason = f"each split is the best of its kind{fitted}; nearer ones may exist"
    least = 0.0 if exact else butterfly.least_error(inner, radices, order)
    return Factorisation(made[0], "butterfly", status, reason, made[1], made[2], least, order.name, padded)


def _low_rank(task: _Task) -> Factorisation:
    factors, rank = low_rank_factors(task.matrix, 0.98 * task.tolerance)
    operator, error, frobenius = _bounded(task.matrix, factors)
    if _is_exact(frobenius, 2 * min(task.matrix.shape), task.precision):
        status = Status.NOT_IDENTIFIABLE
        reason = f"the product is the matrix up to rounding; any invertible matrix of {rank} x {rank} fits between them"
    else:
        status, reason = Status.OPTIMAL, f"no matrix of rank {rank} is nearer (Eckart, Young)"
    return Factorisation(operator, "low-rank", status, reason, error, frobenius)


def _hierarchical(task: _Task) -> Factorisation:
    matrix = task.matrix
    if not _is_power_of_two(matrix) or len(matrix) > LARGEST_HIERARCHICAL:
        raise ConsistencyError(
            f"The matrix has {matrix.shape[0]} x {matrix.shape[1]} entries; expected a square one of a power of two up "
            f"to {LARGEST_HIERARCHICAL}, because the supports of hierarchical factors halve at each level."
        )
    radices = butterfly.radices_of(len(matrix)) or ()
    starts = []
    if radices:
        order = butterfly.best_order(matrix, radices, task.seed)
        factors = butterfly.butterfly_factors(matrix, radices, order)[0]
        starts.append(_dense(butterfly.refitted(matrix, factors, order)))
    operator, error, frobenius = _bounded(matrix, hierarchical_factors(matrix, starts))
    exact = _is_exact(frobenius, 16 * len(operator.factors), task.precision)
    reason = (
        "the product is the matrix up to rounding; other supports may give it too"
        if exact
        else "supports and entries by palm4MSA, which finds a stationary point"
    )
    status = Status.NOT_IDENTIFIABLE if exact else Status.HEURISTIC
    return Factorisation(operator, "hierarchical", status, reason, error, frobenius)


def _dense(factors: tuple[Factor, ...]) -> list[Tensor]:
    """Factors as dense matrices of norm 1, each permutation in its neighbour."""
    found: list[Tensor] = []
    before: Tensor | None = None
    for factor in factors:
        values = factor.blocks.flatten() if isinstance(factor, Blocks) else torch.ones(factor.shape[0])
        row, column = factor.support
        made = values.new_zeros(factor.shape)
        made[row, column] = values
        if isinstance(factor, Permutation):
            before = made if not found else before
            found[-1:] = [found[-1] @ made.to(found[-1])] if found else []
            continue
        made = made if before is None else before.to(made) @ made
        before = None
        found.append(made)
    return [each / torch.linalg.vector_norm(each) for each in found]


_MAKERS: dict[str, Callable[[_Task], Factorisation]] = {
    "butterfly": _butterfly,
    "low-rank": _low_rank,
    "hierarchical": _hierarchical,
}


def _squarings_at(side: int) -> int:
    """How many products of dense matrices a bound may take at that size: each is 20 seconds of one core at 4096."""
    return 3 if side <= 1024 else 2 if side <= 2048 else 0


def _is_exact(frobenius: Proved, factors: int, precision: float) -> bool:
    return frobenius.value <= _ROUNDINGS * factors * precision


def _bounded(matrix: Tensor, factors: tuple[Factor, ...]) -> tuple[Factorised, Proved, Proved]:
    """The operator on vectors, and its relative errors in the operator norm and the Frobenius norm, from above."""
    rows, columns = matrix.shape
    is_complex = matrix.is_complex()
    operator = Factorised(factors, Space((columns,), is_complex), Space((rows,), is_complex))
    product, rounding = operator.dense_form()
    difference = matrix - product
    size, energy = norm_below(matrix), float(torch.linalg.vector_norm(matrix)) * (1 - matrix.numel() * 2.3e-16)
    apart = frobenius_above(difference)
    squarings = min(1 if apart <= _AT_ROUNDING * size else 3, _squarings_at(max(matrix.shape)))
    norm = norm_above(difference, squarings)
    what = f"Schatten norm of order {2 ** (squarings + 1)}" if squarings else "Frobenius norm"
    how = f"the {what} of the difference, widened by its rounding"
    return (
        operator,
        Proved(rounded_up((norm + rounding) / size), how),
        Proved(
            rounded_up((apart + rounding) / energy), "the Frobenius norm of the difference, widened by its rounding"
        ),
    )
