"""Butterfly factorisation: a square matrix as a product of factors with one small block for each row and column.

The factors of a matrix with N = r_1 ... r_J rows have the supports ``I_{r_1...r_{j-1}} (x) 1 (x) I_{r_{j+1}...r_J}``
with blocks of ``r_j`` rows. The product of the first l and that of the others have supports of the same kind, and the
rank-one matrices of their columns and rows have supports that do not overlap. So the best two such factors are the best
approximations of rank one of N blocks, and each of the two is split again (Zheng, Riccietti, Gribonval 2023, *Efficient
identification of butterfly sparse matrix factorizations*). Exact and, up to scaling, the only ones where the matrix is
such a product of factors without zeros; else a heuristic, none of whose parts is far from its best.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.factorization.rank_one import best_rank_one, least_residuals
from recon.operators.factorised import Blocks, Factor, Permutation

WIDEST_PRIME = 13
"""The largest block of a factor: a size with a larger prime factor has no butterfly worth the name."""

_SAMPLED = 16
"""Blocks of each split by which orders of rows and columns are compared."""

SWEEPS, LARGEST_REFITTED = 60, 1024
"""Of the fit of all factors together, at most, and the rows up to which it is made."""

_SETTLED = 1e-14
"""Of the squared norm of the matrix: what a sweep must at least add to what is explained, or it is the last."""

_EXACT, _ALIKE = 1e-13, 1.2
"""Of the squared entries: a share that is rounding, and the factor up to which two shares are alike."""


@dataclass(frozen=True)
class Order:
    """An order of the rows and columns in which a matrix may be a butterfly product.

    Attributes:
        name: In words.
        rows: Of the reordered matrix, as indices of the given one; ``None`` as they are.
        columns: The same of the columns.
    """

    name: str
    rows: Tensor | None = None
    columns: Tensor | None = None


def radices_of(size: int) -> tuple[int, ...] | None:
    """The prime factors of a size, the smallest first; ``None`` if one is larger than 13 or there is only one."""
    found: list[int] = []
    for prime in (2, 3, 5, 7, 11, WIDEST_PRIME):
        while size > 1 and size % prime == 0:
            found.append(prime)
            size //= prime
    return tuple(found) if size == 1 and len(found) > 1 else None


def digit_reversal(radices: tuple[int, ...]) -> Tensor:
    """The indices in the order of their digits read backwards: the bit reversal, where all radices are 2."""
    axes = tuple(reversed(range(len(radices))))
    return torch.arange(math.prod(radices)).reshape(radices[::-1]).permute(axes).reshape(-1)


def orders_of(radices: tuple[int, ...]) -> list[Order]:
    """The orders that are tried: as they are, digits reversed, and for powers of two Gray codes (sequency)."""
    reversal = digit_reversal(radices)
    found = [
        Order("as they are"),
        Order("columns in bit-reversed order", columns=reversal),
        Order("rows in bit-reversed order", rows=reversal),
        Order("rows and columns in bit-reversed order", reversal, reversal),
    ]
    if set(radices) != {2}:
        return [Order(each.name.replace("bit", "digit"), each.rows, each.columns) for each in found]
    plain = torch.arange(len(reversal))
    gray = plain ^ (plain >> 1)
    for code in (reversal[gray], gray[reversal], gray):
        back = code.argsort()
        for number, order in enumerate((code, back)):
            name = "the order of a Gray code" if number else "sequency order"
            found += [Order(f"rows in {name}", rows=order), Order(f"columns in {name}", columns=order)]
            found.append(Order(f"rows and columns in {name}", order, order))
    return found


def best_order(matrix: Tensor, radices: tuple[int, ...], seed: int = 0) -> Order:
    """The order in which some blocks of each split are nearest to rank one; the first that is exact ends the search."""
    generator = torch.Generator().manual_seed(seed)
    picked = torch.randperm(len(matrix), generator=generator)[:_SAMPLED]
    found: list[tuple[float, Order]] = []
    for order in orders_of(radices):
        found.append((_share(matrix, radices, order, picked), order))
        if found[-1][0] < _EXACT:
            break
    least = min(share for share, _ in found)
    return next(order for share, order in found if share <= _ALIKE * least + _EXACT)


def _share(matrix: Tensor, radices: tuple[int, ...], order: Order, picked: Tensor) -> float:
    """The share of the squared entries of some blocks that no matrix of rank one has, in the worst of the splits."""
    worst = 0.0
    for split in range(1, len(radices)):
        high, low = math.prod(radices[:split]), math.prod(radices[split:])
        rows = _grid(order.rows, high, low)[:, picked % low].T
        columns = _grid(order.columns, high, low)[picked // low]
        blocks = matrix[rows[:, :, None], columns[:, None, :]]
        total = float(torch.linalg.vector_norm(blocks).square())
        worst = max(worst, float(least_residuals(blocks).sum()) / total if total else 0.0)
    return worst


def butterfly_factors(matrix: Tensor, radices: tuple[int, ...], order: Order) -> tuple[tuple[Factor, ...], bool]:
    """The factors of a matrix in an order of its rows and columns, and whether each is determined up to scaling.

    Args:
        matrix: (N, N), real or complex, in double precision.
        radices: Whose product is N.
        order: Of rows and columns.

    Returns:
        The factors, the leftmost first, with the permutations; false with them where a block of rank one is zero, so
        that one of its vectors is anything.
    """
    inner = reordered(matrix, order)
    pieces, unique = _split(inner[None], radices)
    factors: list[Factor] = [Blocks(piece[0].contiguous()) for piece in pieces]
    if order.rows is not None:
        factors.insert(0, Permutation(order.rows.argsort()))
    if order.columns is not None:
        factors.append(Permutation(order.columns))
    return tuple(factors), unique


def refitted(matrix: Tensor, factors: tuple[Factor, ...], order: Order, sweeps: int = SWEEPS) -> tuple[Factor, ...]:
    """The factors after some sweeps of least squares, one factor at a time, which never increase the error.

    The splits are the best one by one; where the matrix is no such product, all together come a little nearer. With the
    others fixed, a factor X in L X R has a closed form. Number its rows (block a, row i, place d) and its columns (a,
    k, d): columns of L have a row in common only for the same (i, d), and rows of R a column only for the same (a, k).
    So the products of a column and a row that two entries of X weigh are orthogonal, and each entry is a problem of its
    own.

    Args:
        matrix: As of :func:`butterfly_factors`.
        factors: To start from, with the permutations of the order.
        order: Of rows and columns.
        sweeps: At most; fewer, once the error has settled.
    """
    inner = reordered(matrix, order)
    values = [each.blocks for each in factors if isinstance(each, Blocks)]
    energy = float(torch.linalg.vector_norm(inner).square())
    left = energy
    for _ in range(sweeps):
        values, explained = _swept(inner, values)
        before, left = left, energy - explained
        if before - left <= _SETTLED * energy:
            break
    moved = iter(values)
    return tuple(Blocks(next(moved)) if isinstance(each, Blocks) else each for each in factors)


def _swept(inner: Tensor, values: list[Tensor]) -> tuple[list[Tensor], float]:
    """Each factor once, from the left, and the squared norm that the product explains; all end with one norm."""
    size = len(inner)
    after = [torch.eye(size, dtype=inner.dtype)]
    for blocks in values[:0:-1]:
        after.append(torch.einsum("adik,akdn->aidn", blocks, _rows(after[-1], blocks)).reshape(size, size))
    before, norms = inner, torch.ones(size, dtype=torch.float64)  # L^H M, and the squared norms of the columns of L
    found, explained = [], 0.0
    for blocks, right in zip(values, reversed(after), strict=True):
        rows = _rows(right, blocks)
        meant = torch.einsum("aidn,akdn->adik", _rows(before, blocks), rows.conj())
        a, d, radix, _ = blocks.shape
        heights = norms.reshape(a, radix, d).permute(0, 2, 1)[..., None]
        weights = heights * _squares(rows).permute(0, 2, 1)[:, :, None]
        solved = torch.where(weights > 0, meant / torch.where(weights > 0, weights, 1.0), 0.0)
        explained = float((meant.conj() * solved).real.sum())
        before = torch.einsum("adik,aidn->akdn", solved.conj(), _rows(before, blocks)).reshape(size, size)
        norms = (heights * solved.abs().square()).sum(2).permute(0, 2, 1).reshape(size)
        found.append(solved)
    return _balanced_norms(found), explained


def _rows(matrix: Tensor, blocks: Tensor) -> Tensor:
    """The rows of a matrix as those that the blocks of a factor act on, (a, radix, d, columns)."""
    a, d, radix, _ = blocks.shape
    return matrix.reshape(a, radix, d, -1)


def _squares(rows: Tensor) -> Tensor:
    return (rows.abs() if rows.is_complex() else rows).square().sum(-1)


def _balanced_norms(values: list[Tensor]) -> list[Tensor]:
    """Factors of the same product, all of one Frobenius norm."""
    lengths = [float(torch.linalg.vector_norm(each)) for each in values]
    if not all(lengths):
        return values
    mean = math.exp(sum(map(math.log, lengths)) / len(lengths))
    return [each * (mean / length) for each, length in zip(values, lengths, strict=True)]


def reordered(matrix: Tensor, order: Order) -> Tensor:
    """The matrix with its rows and columns in an order."""
    matrix = matrix if order.rows is None else matrix[order.rows]
    return matrix if order.columns is None else matrix[:, order.columns]


def least_error(matrix: Tensor, radices: tuple[int, ...], order: Order) -> float:
    """A bound from below of ``||M - B||_F / ||M||_F`` for every butterfly product B in that order.

    Every such product is one of two factors at each split, whose best error is known: the largest of the splits counts.
    Rounding is left out of it by a margin.
    """
    inner = reordered(matrix, order)
    energy = float(torch.linalg.vector_norm(inner).square())
    worst = 0.0
    for split in range(1, len(radices)):
        high = math.prod(radices[:split])
        blocks = _blocks(inner[None], high, len(inner) // high)
        worst = max(worst, float(least_residuals(blocks).sum()))
    return math.sqrt(max(worst / energy - 1e-12, 0.0)) if energy else 0.0


def _balanced(radices: tuple[int, ...]) -> int:
    half = math.log(math.prod(radices)) / 2
    return min(range(1, len(radices)), key=lambda split: abs(math.log(math.prod(radices[:split])) - half))


def _grid(order: Tensor | None, high: int, low: int) -> Tensor:
    return (torch.arange(high * low) if order is None else order).reshape(high, low)


def _blocks(batch: Tensor, high: int, low: int) -> Tensor:
    """The blocks of rank one of a split, (batch * high * low, high, low).

    Of the product X Y, with the rows (i, o) and the columns (k, m), the block (k, o) has the entries ``X_o[i, k]
    Y_k[o, m]``.
    """
    grid = batch.reshape(len(batch), high, low, high, low).permute(0, 3, 2, 1, 4)
    return grid.reshape(-1, high, low)


def _split(batch: Tensor, radices: tuple[int, ...]) -> tuple[list[Tensor], bool]:
    """The factors of each of a batch of matrices, (batch, a, d, r, r) each, and whether they are determined."""
    if len(radices) == 1:
        return [batch[:, None, None]], True
    split, count = _balanced(radices), len(batch)
    high, low = math.prod(radices[:split]), math.prod(radices[split:])
    left, right = best_rank_one(_blocks(batch, high, low))
    unique = bool((torch.linalg.vector_norm(left, dim=1) > 0).all())
    first = left.reshape(count, high, low, high).permute(0, 2, 3, 1).reshape(count * low, high, high)
    second = right.reshape(count * high, low, low)
    above, one = _split(first, radices[:split])
    below, other = _split(second, radices[split:])
    lifted = [
        piece.reshape(count, low, *piece.shape[1:]).permute(0, 2, 3, 1, 4, 5).reshape(
            count, piece.shape[1], piece.shape[2] * low, *piece.shape[3:]
        )
        for piece in above
    ]  # fmt: skip
    lowered = [
        piece.reshape(count, high * piece.shape[1], piece.shape[2], *piece.shape[3:]) for piece in below
    ]  # fmt: skip
    return lifted + lowered, unique and one and other
