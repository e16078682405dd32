"""An operator of images on each slice of a volume: block diagonal, with the constants of one block."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from recon.operators._checks import require_member
from recon.operators.adjoint import operator_properties
from recon.operators.base import (
    Characterised,
    HasDataGradient,
    HasDataResolvent,
    OperatorProperties,
    Space,
)
from recon.operators.data_split import DataSplit, HasDataSplit
from recon.types import LinearOperator, Map


@dataclass(frozen=True)
class SliceBySlice:
    """``(A x)_k = B x_k`` for each slice k of volumes (batch, channels, slices, ...).

    Norm, adjoint gap and the least eigenvalue of A^T A are those of B, because the spectrum of a block diagonal map is
    that of its blocks.

    Attributes:
        of_slice: B, of images (batch, channels, ...).
        slices: How many.
        example: A zero image of one slice, by which what B does not know of itself is measured.
        measured: The shape of what B makes of it, without batch and channels.
    """

    of_slice: LinearOperator
    slices: int
    example: Tensor = field(repr=False, compare=False)
    measured: tuple[int, ...]

    @property
    def domain(self) -> Space:
        return Space((self.slices, *self.example.shape[2:]), self.example.is_complex())

    @property
    def range(self) -> Space:
        return Space((self.slices, *self.measured), self.example.is_complex())

    @property
    def properties(self) -> OperatorProperties:
        return operator_properties(self.of_slice, self.example)

    def A(self, x: Tensor) -> Tensor:
        """(batch, channels, slices, ...) -> the measurement of each slice."""
        require_member("SliceBySlice", "volume", x, self.domain)
        return each_slice(self.of_slice.A, x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The measurement of each slice -> (batch, channels, slices, ...)."""
        require_member("SliceBySlice", "measurement", y, self.range)
        return each_slice(self.of_slice.A_adjoint, y)


@dataclass(frozen=True)
class SlicesWithGradient(SliceBySlice):
    """Slices of an operator with a faster gradient of its data term."""

    def data_gradient(self, measurement: Tensor) -> Map:
        of_slice = self.of_slice
        assert isinstance(of_slice, HasDataGradient)  # noqa: S101  slice_by_slice saw to it
        gradient = of_slice.data_gradient(as_images(measurement))
        return lambda x: each_slice(gradient, x)


@dataclass(frozen=True)
class SlicesWithResolvent(SliceBySlice):
    """Slices of an operator whose data term has a resolvent in closed form."""

    def data_resolvent(self, measurement: Tensor, stepsize: float) -> Map:
        of_slice = self.of_slice
        assert isinstance(of_slice, HasDataResolvent)  # noqa: S101  slice_by_slice saw to it
        resolvent = of_slice.data_resolvent(as_images(measurement), stepsize)
        return lambda z: each_slice(resolvent, z)


@dataclass(frozen=True)
class SlicesWithBoth(SlicesWithResolvent, SlicesWithGradient):
    """Slices of an operator that has both."""


@dataclass(frozen=True)
class SlicesWithSplit(SliceBySlice):
    """Slices of an operator whose data term has a splitting of its own."""

    def data_split(self, norm: float) -> DataSplit:
        of_slice = self.of_slice
        assert isinstance(of_slice, HasDataSplit)  # noqa: S101  slice_by_slice saw to it
        split = of_slice.data_split(norm)

        def conjugate(measurement: Tensor, stepsize: float) -> Map:
            resolvent = split.conjugate_resolvent(as_images(measurement), stepsize)
            return lambda u: each_slice(resolvent, u)

        return DataSplit(slice_by_slice(split.operator, self.slices, self.example), conjugate)


def slice_by_slice(operator: LinearOperator, slices: int, example: Tensor) -> SliceBySlice:
    """An operator of images on each of so many slices, with what it knows of its data term.

    Args:
        operator: Of images (batch, channels, ...).
        slices: How many.
        example: A zero image that it takes, (1, channels, height, width).
    """
    known = operator.range.shape if isinstance(operator, Characterised) else operator.A(example).shape[2:]
    return _kind(operator)(operator, slices, example, tuple(known))


def _kind(operator: LinearOperator) -> type[SliceBySlice]:
    if isinstance(operator, HasDataSplit):
        return SlicesWithSplit
    gradient, resolvent = isinstance(operator, HasDataGradient), isinstance(operator, HasDataResolvent)
    if gradient and resolvent:
        return SlicesWithBoth
    if resolvent:
        return SlicesWithResolvent
    return SlicesWithGradient if gradient else SliceBySlice


def as_images(volumes: Tensor) -> Tensor:
    """Volumes (batch, channels, slices, ...) as images (batch x slices, channels, ...); grey ones are not copied."""
    return volumes.transpose(1, 2).flatten(0, 1)


def each_slice(apply: Callable[[Tensor], Tensor], volumes: Tensor) -> Tensor:
    """A map of images on each slice of volumes (batch, channels, slices, ...)."""
    made = apply(as_images(volumes))
    return made.view(volumes.shape[0], volumes.shape[2], *made.shape[1:]).transpose(1, 2)
