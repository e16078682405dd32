"""Protocols of what an operator may know about itself beyond ``A`` and ``A_adjoint``.

Each ability is a Protocol of its own; solvers and certificates ask for what they need and fall back to a
measurement or to an iteration where an operator does not have it. Nothing here is to be subclassed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, final, runtime_checkable

import torch
from torch import Tensor

from recon._values import ByValue
from recon.evidence import Constant, Fact, Proved
from recon.types import Map


@dataclass(frozen=True)
class Space:
    """The trailing shape of a tensor that an operator takes or gives; batch and channels stand before it.

    Attributes:
        shape: ``(height, width)`` for an image.
        is_complex: Whether the entries are complex numbers.
    """

    shape: tuple[int, ...]
    is_complex: bool = False

    def random(
        self,
        *leading: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Standard normal entries, shape ``(*leading, *shape)``; ``dtype`` is the real one, as in float32."""
        if self.is_complex:
            dtype = dtype.to_complex()
        drawn = torch.randn(*leading, *self.shape, generator=generator, dtype=dtype)
        return drawn.to(device)

    def zeros(self, *leading: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
        """The zero of the space, shape ``(*leading, *shape)``."""
        return torch.zeros(*leading, *self.shape, dtype=dtype.to_complex() if self.is_complex else dtype, device=device)


EXACT_ADJOINT = Proved(0.0, "the adjoint is exact by construction")
SEMIDEFINITE = Proved(0.0, "A^T A is positive semidefinite")


T = TypeVar("T")


@final
class _OnDemand(Generic[T]):
    """A value of a frozen record; given as a function without arguments, it is computed when it is first asked for."""

    def __init__(self, *default: T) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"_{name}"

    def __get__(self, record: object, owner: type) -> T:
        if record is None:
            if not self.default:
                raise AttributeError(self.name)  # so that the field has no default
            return self.default[0]
        value = record.__dict__[self.name]
        if callable(value):
            value = record.__dict__[self.name] = value()
        found: T = value
        return found

    def __set__(self, record: object, value: T | Callable[[], T]) -> None:
        record.__dict__[self.name] = value


@dataclass(frozen=True)
class OperatorProperties:
    """The constants of a pair (A, A_adjoint).

    Attributes:
        norm: ||A||, or an upper bound of it when it is proved (``how`` says which). It and ``sees_constants`` may be
            given as functions, which are called when they are first asked for.
        adjoint_gap: ||A_adjoint - A^T|| / ||A||.
        gram_min: A lower bound of the smallest eigenvalue of A^T A; zero is always proved.
        sees_constants: Why A vanishes on no image of constant channels but zero, or ``None``.
    """

    norm: _OnDemand[Constant] = _OnDemand()  # a descriptor, in which dataclasses see no default
    adjoint_gap: Constant  # type: ignore[misc]  # mypy takes the descriptor for a default
    gram_min: Constant = SEMIDEFINITE
    sees_constants: _OnDemand[Fact | None] = _OnDemand(None)

    @property
    def computed_norm(self) -> Constant | None:
        """The norm if it was asked for, or given as a number; else ``None``."""
        value = self.__dict__["_norm"]
        return None if callable(value) else self.norm


@runtime_checkable
class Characterised(Protocol):
    """An operator that knows its spaces and its constants."""

    @property
    def domain(self) -> Space: ...

    @property
    def range(self) -> Space: ...

    @property
    def properties(self) -> OperatorProperties: ...


@runtime_checkable
class HasDataGradient(Protocol):
    """An operator with a faster way to x -> A^T (A x - y) than A followed by A^T."""

    def data_gradient(self, measurement: Tensor) -> Map: ...


@runtime_checkable
class HasDataResolvent(Protocol):
    """An operator with a closed form of z -> (Id + s A^T A)^-1 (z + s A^T y), the resolvent of its data term."""

    def data_resolvent(self, measurement: Tensor, stepsize: float) -> Map: ...


@runtime_checkable
class HasSymbol(Protocol):
    """An operator that the two-dimensional DFT diagonalises: a circular convolution."""

    @property
    def symbol(self) -> Tensor:
        """Its eigenvalues on the half spectrum of ``torch.fft.rfft2``, complex128, (height, width // 2 + 1)."""
        ...


@runtime_checkable
class HasSymbolError(Protocol):
    """An operator with a symbol that says how exact it is."""

    @property
    def symbol_error(self) -> float:
        """By how much rounding may have moved an eigenvalue of ``symbol``."""
        ...


@runtime_checkable
class HasDenseForm(Protocol):
    """An operator of which the matrix is stored, or a product of stored ones."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers measured and unknowns."""
        ...

    def dense_form(self) -> tuple[Tensor, float]:
        """The matrix in double precision, real or complex, and a bound of its rounding in the operator norm."""
        ...


@runtime_checkable
class HasNonnegativeEntries(Protocol):
    """An operator that can say that its matrix has no negative entry, as that of a projector has none."""

    @property
    def nonnegative_entries(self) -> Fact | None:
        """The reason why no entry is negative; ``None`` where one may be."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Buffer(ByValue):
    """A constant kept in double precision, cast and moved once for each dtype and device that it meets.

    So an operator follows its input: float32 or float64, on any device, with no ``.to()`` of its own.
    """

    master: Tensor
    _copies: dict[tuple[torch.dtype, torch.device], Tensor] = field(default_factory=dict, repr=False, compare=False)

    def like(self, x: Tensor) -> Tensor:
        """The constant in the precision and on the device of ``x`` (complex stays complex, real stays real)."""
        dtype = x.dtype.to_complex() if self.master.is_complex() else x.dtype.to_real()
        key = (dtype, x.device)
        if key not in self._copies:
            self._copies[key] = self.master.to(device=x.device, dtype=dtype)
        return self._copies[key]
