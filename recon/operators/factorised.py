"""An operator given as a product of sparse factors, which is applied factor by factor."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from recon._values import ByValue
from recon.errors import UsageError
from recon.evidence import Constant, Proved
from recon.operators import dense
from recon.operators._checks import as_words, require_member
from recon.operators.base import EXACT_ADJOINT, Buffer, OperatorProperties, Space
from recon.operators.rounding import EPS, rounded_up

WIDEST = 16
"""Rows and columns of the blocks into which neighbouring factors are multiplied: small ones move memory for nothing."""

DENSE_NORM = 1024
"""Sides up to which the norm is that of the dense product; beyond, it is bounded by the product of the norms."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class Blocks(ByValue):
    """A Kronecker-sparse matrix: dense blocks on the support ``I_a (x) 1_{b x c} (x) I_d``.

    The row ``(i, j, k)`` and the column ``(i, l, k)``, in the order of C, share the entry ``blocks[i, k, j, l]``. With
    a = d = 1 it is a dense matrix; a butterfly factor of radix 2 has b = c = 2.

    Attributes:
        blocks: (a, d, b, c), real or complex.
    """

    blocks: Tensor

    def __post_init__(self) -> None:
        if self.blocks.ndim != 4 or not self.blocks.numel() or not bool(self.blocks.isfinite().all()):
            raise UsageError(
                f"Blocks: the entries have shape {tuple(self.blocks.shape)}; expected (a, d, b, c) of finite numbers."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        a, d, b, c = self.blocks.shape
        return a * b * d, a * c * d

    @property
    def nonzeros(self) -> int:
        """Numbers that are stored."""
        return self.blocks.numel()

    @property
    def adjoint(self) -> "Blocks":
        """The conjugate transpose."""
        return Blocks(self.blocks.mH.contiguous())

    def apply(self, x: Tensor, values: Tensor) -> Tensor:
        """(columns, batch) -> (rows, batch), with the entries in the type of ``x``."""
        a, d, b, c = self.blocks.shape
        columns = x.reshape(a, c, d, -1).transpose(1, 2).reshape(a * d, c, -1)
        rows = torch.bmm(values.reshape(a * d, b, c), columns)
        return rows.reshape(a, d, b, -1).transpose(1, 2).reshape(a * b * d, -1)

    @property
    def norm(self) -> float:
        """The largest singular value, from above: the blocks share neither rows nor columns."""
        flat = self.blocks.flatten(0, 1).to(_double(self.blocks))
        largest = float(torch.linalg.matrix_norm(flat, 2).max())
        return largest + dense.rounding_of(max(flat.shape[-2:]), largest)

    @property
    def support(self) -> tuple[Tensor, Tensor]:
        """Rows and columns of the stored numbers."""
        a, d, b, c = self.blocks.shape
        i, k, j, m = torch.meshgrid(*map(torch.arange, (a, d, b, c)), indexing="ij")
        return ((i * b + j) * d + k).flatten(), ((i * c + m) * d + k).flatten()


@final
@dataclass(frozen=True, eq=False, repr=False)
class Entries(ByValue):
    """A sparse matrix by its entries.

    Attributes:
        shape: Rows and columns.
        row: Of each entry, int64.
        column: Of each entry, int64.
        values: The entries, real or complex.
    """

    shape: tuple[int, int]
    row: Tensor
    column: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        count = self.values.numel()
        if self.values.ndim != 1 or self.row.shape != (count,) or self.column.shape != (count,) or not count:
            raise UsageError("Entries: rows, columns and values differ in number; expected one of each for each entry.")
        inside = all(
            bool(((index >= 0) & (index < side)).all())
            for index, side in zip((self.row, self.column), self.shape, strict=True)
        )
        if not inside or not bool(self.values.isfinite().all()):
            raise UsageError(f"Entries: one is outside of {as_words(self.shape)} or not finite; expected neither.")

    @property
    def nonzeros(self) -> int:
        """Numbers that are stored."""
        return self.values.numel()

    @property
    def adjoint(self) -> "Entries":
        """The conjugate transpose."""
        return Entries((self.shape[1], self.shape[0]), self.column, self.row, self.values.conj().resolve_conj())

    def apply(self, x: Tensor, values: Tensor) -> Tensor:
        """(columns, batch) -> (rows, batch), with the entries in the type of ``x``."""
        made = x.new_zeros(self.shape[0], x.shape[1])
        picked = x.index_select(0, self.column.to(x.device)) * values[:, None]
        return made.index_add(0, self.row.to(x.device), picked)

    @property
    def longest_row(self) -> int:
        """Numbers that are stored of one row, at most."""
        return int(torch.bincount(self.row).max())

    @property
    def norm(self) -> float:
        """A bound of the largest singular value: ``sqrt(||M||_1 ||M||_inf)``."""
        sizes = self.values.abs().double()
        columns = torch.zeros(self.shape[1], dtype=torch.float64).index_add(0, self.column, sizes).max()
        rows = torch.zeros(self.shape[0], dtype=torch.float64).index_add(0, self.row, sizes).max()
        return float((rows * columns).sqrt()) * (1 + sum(self.shape) * EPS)

    @property
    def support(self) -> tuple[Tensor, Tensor]:
        """Rows and columns of the stored numbers."""
        return self.row, self.column


@final
@dataclass(frozen=True, eq=False, repr=False)
class Permutation(ByValue):
    """The matrix ``(P x)_i = x_{order[i]}``.

    Attributes:
        order: Each of 0 .. n - 1 once, int64.
    """

    order: Tensor

    def __post_init__(self) -> None:
        if self.order.ndim != 1 or not torch.equal(self.order.sort().values, torch.arange(self.order.numel())):
            raise UsageError("Permutation: the order does not hold each number from 0 once; expected it to.")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.order.numel(), self.order.numel()

    @property
    def nonzeros(self) -> int:
        """None are numbers that are multiplied."""
        return 0

    @property
    def adjoint(self) -> "Permutation":
        """The inverse."""
        return Permutation(self.order.argsort())

    def apply(self, x: Tensor, values: Tensor) -> Tensor:
        """(columns, batch) -> (rows, batch); ``values`` is the order."""
        return x.index_select(0, values)

    @property
    def norm(self) -> float:
        """One."""
        return 1.0

    @property
    def support(self) -> tuple[Tensor, Tensor]:
        """Rows and columns of the ones."""
        return torch.arange(self.order.numel()), self.order


Factor = Blocks | Entries | Permutation


@final
@dataclass(frozen=True, eq=False, repr=False)
class Factorised(ByValue):
    """The operator ``x -> F_1 F_2 ... F_J x`` on flattened images, applied from the right.

    Where the product is larger than the spaces, it was made of a padded matrix: images are padded with zeros, and the
    measurements that are too many are left out. Neighbouring factors of small blocks are multiplied first, into blocks
    of at most 16, because each factor moves the whole image through the memory.

    Attributes:
        factors: The leftmost first.
        domain: Of the images.
        range: Of the measurements.

    Raises:
        UsageError: The factors do not fit each other or the spaces.
    """

    factors: tuple[Factor, ...]
    domain: Space
    range: Space

    def __post_init__(self) -> None:
        if not self.factors:
            raise UsageError("Factorised: there is no factor; expected one at least.")
        for left, right in pairwise(self.factors):
            if left.shape[1] != right.shape[0]:
                raise UsageError(
                    f"Factorised: a factor of {as_words(left.shape)} stands before one of {as_words(right.shape)}; "
                    "expected as many columns as rows, because they are multiplied."
                )
        rows, columns = self.factors[0].shape[0], self.factors[-1].shape[1]
        if math.prod(self.range.shape) > rows or math.prod(self.domain.shape) > columns:
            raise UsageError(
                f"Factorised: the product is {rows} x {columns}, for images of {as_words(self.domain.shape)} and "
                f"measurements of {as_words(self.range.shape)}; expected a column for each number of an image and a "
                "row for each measured one."
            )
        complex_factors = any(_values(factor).is_complex() for factor in self.factors)
        if self.domain.is_complex != complex_factors or self.range.is_complex != complex_factors:
            raise UsageError("Factorised: the factors and the spaces disagree on whether numbers are complex.")

    @cached_property
    def _forward(self) -> "_Chain":
        return _chain(_merged(self.factors))

    @cached_property
    def _backward(self) -> "_Chain":
        return _chain(_merged(tuple(factor.adjoint for factor in reversed(self.factors))))

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers measured and unknowns."""
        return math.prod(self.range.shape), math.prod(self.domain.shape)

    @property
    def nonzeros(self) -> int:
        """Numbers in the factors."""
        return sum(factor.nonzeros for factor in self.factors)

    @cached_property
    def properties(self) -> OperatorProperties:
        return OperatorProperties(norm=lambda: self._norm, adjoint_gap=EXACT_ADJOINT)

    @cached_property
    def _norm(self) -> Constant:
        product = math.prod(factor.norm for factor in self.factors)
        bound = Proved(rounded_up(product), "the product of the norms of the factors: an upper bound")
        if max(self.shape) > DENSE_NORM:
            return bound
        entries, rounding = self.dense_form()
        exact = float(torch.linalg.matrix_norm(entries, 2)) + dense.slack(entries) + rounding
        return bound if bound.value <= exact else Proved(exact, dense.HOW)

    def dense_form(self) -> tuple[Tensor, float]:
        """The matrix in double precision, and a bound of its rounding in the operator norm.

        Each entry is a sum of products, computed with at most ``k`` roundings, ``k`` the lengths of all sums together;
        so it is wrong by at most ``gamma_k`` times the entry of ``|F_1| ... |F_J|`` (Higham 2002, section 3.5), whose
        Frobenius norm is at least the operator norm. Where the factors are those of a butterfly, each sum has but one
        term other than zero, and J - 1 products are all that is rounded; one factor by its entries may stand before
        them.
        """
        rows, columns = self.shape
        unit = (
            EPS / 2 * (5**0.5 if self.domain.is_complex else 1.0)
        )  # of a complex product: Brent, Percival, Zimmermann
        roundings = self._roundings * unit
        if self._has_single_paths:
            product = self._path_products[:rows, :columns]
            sizes = product
        elif self._butterfly_of_rest is not None:
            inner = self._butterfly_of_rest._path_products[:, :columns]
            product, sizes = self._applied(self.factors[0], inner, inner.abs(), rows)
        else:
            product, sizes = self._products(rows, columns)
        return product, rounded_up(roundings / (1 - roundings) * float(torch.linalg.vector_norm(sizes)) * (1 + 1e-6))

    @property
    def _path_products(self) -> Tensor:
        """The product of factors with single paths, each entry by J - 1 multiplications; and its permutations."""
        numbers = [factor for factor in self.factors if isinstance(factor, Blocks)]
        pieces = [Blocks(each.blocks.to(self._dtype)) for each in numbers]
        while len(pieces) > 1:
            paired = [product_of(left, right) for left, right in zip(pieces[::2], pieces[1::2], strict=False)]
            pieces = paired + pieces[2 * len(paired) :]
        if pieces[0].blocks.shape[:2] == (1, 1):
            product = pieces[0].blocks[0, 0]
        else:
            row, column = pieces[0].support
            product = torch.zeros(pieces[0].shape, dtype=pieces[0].blocks.dtype)
            product[row, column] = pieces[0].blocks.flatten()
        if isinstance(self.factors[0], Permutation):
            product = product[self.factors[0].order]
        return product[:, self.factors[-1].order.argsort()] if isinstance(self.factors[-1], Permutation) else product

    def _products(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """The product of any factors, and that of their moduli."""
        units = torch.eye(self.factors[-1].shape[1], columns, dtype=self._dtype)
        product, sizes = units, units.abs()
        for factor in reversed(self.factors):
            product, sizes = self._applied(factor, product, sizes)
        return product[:rows], sizes[:rows]

    @staticmethod
    def _applied(factor: Factor, product: Tensor, sizes: Tensor, rows: int | None = None) -> tuple[Tensor, Tensor]:
        values = _values(factor)
        if isinstance(factor, Permutation):
            return factor.apply(product, values)[:rows], factor.apply(sizes, values)[:rows]
        return (
            factor.apply(product, values.to(product.dtype))[:rows],
            factor.apply(sizes, values.abs().double())[:rows],
        )

    @cached_property
    def _butterfly_of_rest(self) -> "Factorised | None":
        """The product of all factors but the first, which is one by its entries, where they have single paths."""
        if not isinstance(self.factors[0], Entries) or len(self.factors) < 2:
            return None
        rest, is_complex = self.factors[1:], self.domain.is_complex
        if any(_values(factor).is_complex() for factor in rest) != is_complex:
            return None
        made = Factorised(rest, Space((rest[-1].shape[1],), is_complex), Space((rest[0].shape[0],), is_complex))
        return made if made._has_single_paths else None

    @property
    def _dtype(self) -> torch.dtype:
        return torch.complex128 if self.domain.is_complex else torch.float64

    @cached_property
    def _has_single_paths(self) -> bool:
        """Whether from each column to each row there is one path at most through the factors."""
        blocks = [factor for factor in self.factors if not isinstance(factor, Permutation)]
        if not all(isinstance(factor, Blocks) for factor in blocks) or not blocks:
            return False
        inner = [factor for factor in self.factors[1:-1] if isinstance(factor, Permutation)]
        return not inner and all(
            isinstance(left, Blocks) and isinstance(right, Blocks) and _chains(left, right)
            for left, right in pairwise(blocks)
        )

    @property
    def _roundings(self) -> int:
        """The roundings of an entry of the product, at most."""
        numbers = [factor for factor in self.factors if not isinstance(factor, Permutation)]
        if self._has_single_paths:
            return max(len(numbers) - 1, 1)
        if self._butterfly_of_rest is not None and isinstance(first := self.factors[0], Entries):
            return self._butterfly_of_rest._roundings + first.longest_row + 1
        lengths = [f.blocks.shape[3] if isinstance(f, Blocks) else f.longest_row for f in numbers]
        return sum(lengths) + len(lengths)

    def A(self, x: Tensor) -> Tensor:
        """(..., *domain) -> (..., *range)."""
        require_member("Factorised", "image", x, self.domain)
        return _apply(self._forward, x, self.domain, self.range)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """(..., *range) -> (..., *domain)."""
        require_member("Factorised", "measurement", y, self.range)
        return _apply(self._backward, y, self.range, self.domain)

    def between(self, domain: tuple[int, ...], measured: tuple[int, ...]) -> "Factorised":
        """The same matrix between images and measurements of other shapes.

        Raises:
            UsageError: The shapes have other numbers of entries.
        """
        for what, given, space in (("image", domain, self.domain), ("measurement", measured, self.range)):
            if math.prod(given) != math.prod(space.shape):
                raise UsageError(
                    f"Factorised: the {what} is {as_words(given)}; expected {math.prod(space.shape)} numbers, because "
                    f"the matrix is {as_words(self.shape)}."
                )
        return replace(
            self, domain=replace(self.domain, shape=tuple(domain)), range=replace(self.range, shape=tuple(measured))
        )


def _values(factor: Factor) -> Tensor:
    if isinstance(factor, Blocks):
        return factor.blocks
    return factor.values if isinstance(factor, Entries) else factor.order


def _double(values: Tensor) -> torch.dtype:
    return torch.complex128 if values.is_complex() else torch.float64


def _chains(left: Blocks, right: Blocks) -> bool:
    """Whether the product has the support of one Kronecker-sparse matrix, each of its entries being one product."""
    a, d, _, c = left.blocks.shape
    a_next, d_next, b_next, _ = right.blocks.shape
    return a_next == a * c and d == b_next * d_next


def product_of(left: Blocks, right: Blocks) -> Blocks:
    """The product of two Kronecker-sparse factors of which each entry is one product.

    The supports (a, b, c, b' d') and (a c, b', c', d') give (a, b b', c c', d').

    Raises:
        UsageError: The supports are others.
    """
    if not _chains(left, right):
        raise UsageError("product_of: the supports do not chain; expected (a, b, c, b' d') and (a c, b', c', d').")
    return Blocks(blocks_product(left.blocks, right.blocks))


def blocks_product(left: Tensor, right: Tensor) -> Tensor:
    """The blocks of the product of two factors that chain, each entry one product of two numbers.

    Of (a, b' d', b, c) and (a c, d', b', c') it has (a, d', b b', c c').
    """
    a, _, b, c = left.shape
    _, d_next, b_next, c_next = right.shape
    first = left.reshape(a, b_next, d_next, b, c)
    second = right.reshape(a, c, d_next, b_next, c_next)
    both = torch.einsum("apeik,akepq->aeipkq", first, second)
    return both.reshape(a, d_next, b * b_next, c * c_next)


def _merged(factors: Sequence[Factor]) -> list[Factor]:
    merged: list[Factor] = []
    for factor in factors:
        last = merged[-1] if merged else None
        if isinstance(last, Blocks) and isinstance(factor, Blocks) and _joins(last, factor):
            merged[-1] = product_of(last, factor)
        else:
            merged.append(factor)
    return merged


def _joins(left: Blocks, right: Blocks) -> bool:
    rows = left.blocks.shape[2] * right.blocks.shape[2]
    columns = left.blocks.shape[3] * right.blocks.shape[3]
    return max(rows, columns) <= WIDEST and _chains(left, right)


@dataclass(frozen=True, eq=False)
class _Chain:
    """Factors, and their numbers in the types that they have met."""

    factors: tuple[Factor, ...]
    buffers: tuple[Buffer, ...]
    orders: dict[torch.device, list[Tensor]] = field(default_factory=dict)

    def values(self, number: int, x: Tensor) -> Tensor:
        factor = self.factors[number]
        if not isinstance(factor, Permutation):
            return self.buffers[number].like(x).to(x.dtype)
        if x.device not in self.orders:
            self.orders[x.device] = [each.master.to(x.device) for each in self.buffers]
        return self.orders[x.device][number]


def _chain(factors: list[Factor]) -> _Chain:
    kept = [f.order if isinstance(f, Permutation) else _values(f).to(_double(_values(f))) for f in factors]
    return _Chain(tuple(factors), tuple(map(Buffer, kept)))


def _apply(chain: _Chain, x: Tensor, source: Space, target: Space) -> Tensor:
    leading = x.shape[: x.ndim - len(source.shape)]
    columns = x.reshape(math.prod(leading), math.prod(source.shape)).T
    if (missing := chain.factors[-1].shape[1] - columns.shape[0]) > 0:
        columns = torch.nn.functional.pad(columns, (0, 0, 0, missing))
    for number in reversed(range(len(chain.factors))):
        columns = chain.factors[number].apply(columns, chain.values(number, columns))
    return columns[: math.prod(target.shape)].T.reshape(*leading, *target.shape)
