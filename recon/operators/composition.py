"""New operators from old: one after the other, several side by side, and multiples."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor

from recon._values import ByValue
from recon.errors import UsageError
from recon.evidence import Constant, Proved, derive
from recon.operators.base import Characterised, HasDataGradient, HasDataResolvent, OperatorProperties, Space
from recon.operators.rounding import rounded_down, rounded_up
from recon.types import LinearOperator, Map


@runtime_checkable
class CharacterisedOperator(LinearOperator, Characterised, Protocol):
    """A linear operator that knows its spaces and constants."""


def compose(outer: CharacterisedOperator, inner: CharacterisedOperator) -> "Composition":
    """The operator ``x -> outer(inner(x))``.

    Args:
        outer: Applied last; its domain is the range of the inner one.
        inner: Applied first.

    Raises:
        UsageError: If the inner range is not the outer domain, or one of the two does not know its spaces.
    """
    return Composition(outer, inner)


def stack(*operators: CharacterisedOperator) -> "Stack":
    """The operator that gives all measurements of one image as one flat vector.

    Raises:
        UsageError: If there is none, their domains differ, or real and complex measurements meet.
    """
    return Stack(tuple(operators))


def scale(operator: CharacterisedOperator, factor: float) -> "Scaled | ScaledWithResolvent":
    """The operator ``x -> factor * operator(x)``; it keeps the closed-form resolvent, if the operator has one.

    Args:
        operator: Any that knows its spaces.
        factor: Not zero.

    Raises:
        UsageError: If the factor is zero or not finite.
    """
    kind = ScaledWithResolvent if isinstance(operator, HasDataResolvent) else Scaled
    return kind(operator, factor)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Composition(ByValue):
    """The operator ``A = outer inner``; build it with :func:`compose`."""

    outer: CharacterisedOperator
    inner: CharacterisedOperator

    def __post_init__(self) -> None:
        _require_characterised("compose", self.outer, self.inner)
        if self.inner.range != self.outer.domain:
            raise UsageError(
                f"compose: the inner operator {_name(self.inner)} gives {_describe(self.inner.range)}; expected "
                f"{_describe(self.outer.domain)}, because that is what the outer {_name(self.outer)} takes."
            )

    @property
    def domain(self) -> Space:
        return self.inner.domain

    @property
    def range(self) -> Space:
        return self.outer.range

    @cached_property
    def properties(self) -> OperatorProperties:
        """||A|| <= product of norms; the least eigenvalue of A^T A >= product of the parts'; the gaps add up."""
        first, second = self.inner.properties, self.outer.properties
        how = "upper bound: product of the norms of the parts"
        gap = "bound relative to the product of the norms: ||K_1 K_2 - (A_2 A_1)^T|| <= (a + b + a b) ||A_1|| ||A_2||"
        return OperatorProperties(
            norm=derive(lambda a, b: rounded_up(a * b), first.norm, second.norm, how=how),
            adjoint_gap=derive(lambda a, b: a + b + a * b, first.adjoint_gap, second.adjoint_gap, how=gap),
            gram_min=_at_least_zero(
                derive(
                    lambda a, b: rounded_down(a * b),
                    first.gram_min,
                    second.gram_min,
                    how="product of the parts' bounds",
                )
            ),
        )

    def A(self, x: Tensor) -> Tensor:
        return self.outer.A(self.inner.A(x))

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.inner.A_adjoint(self.outer.A_adjoint(y))


@final
@dataclass(frozen=True, eq=False, repr=False)
class Stack(ByValue):
    """The operator ``A x = (A_1 x, A_2 x, ...)``; build it with :func:`stack`.

    Each measurement is flattened over its trailing shape only and all are concatenated in the last dimension:
    (batch, channels, H, W) -> (batch, channels, M). Batch items and channels stay separate, as for every operator;
    :meth:`split` gives the measurements back in their own shapes.
    """

    operators: tuple[CharacterisedOperator, ...]

    def __post_init__(self) -> None:
        if not self.operators:
            raise UsageError("stack: there is no operator; expected at least one, because nothing would be measured.")
        _require_characterised("stack", *self.operators)
        first = self.operators[0]
        for other in self.operators[1:]:
            if other.domain != first.domain:
                raise UsageError(
                    f"stack: {_name(other)} takes {_describe(other.domain)}; expected {_describe(first.domain)}, "
                    f"because {_name(first)} takes the same image."
                )
            if other.range.is_complex != first.range.is_complex:
                raise UsageError(
                    f"stack: {_name(other)} gives {_describe(other.range)}; expected the same kind of numbers as "
                    f"{_describe(first.range)} of {_name(first)}, because one vector holds both."
                )

    @property
    def domain(self) -> Space:
        return self.operators[0].domain

    @property
    def range(self) -> Space:
        return Space((sum(self._lengths),), self.operators[0].range.is_complex)

    @cached_property
    def properties(self) -> OperatorProperties:
        """||A||^2 <= sum of ||A_i||^2; the least eigenvalue of a sum is at least the sum of the least."""
        parts = [operator.properties for operator in self.operators]
        norms = [part.norm for part in parts]
        norm = _fold(
            lambda a, b: rounded_up(math.hypot(a, b)),
            norms,
            "upper bound: root of the sum of squared norms of the parts",
        )
        gaps = [part.adjoint_gap for part in parts]
        gap = _fold(max, gaps, "upper bound relative to the norm's: the largest gap of the parts")
        least = _fold(lambda a, b: rounded_down(a + b), [part.gram_min for part in parts], "sum of the parts' bounds")
        return OperatorProperties(norm=norm, adjoint_gap=gap, gram_min=_at_least_zero(least))

    @property
    def _lengths(self) -> list[int]:
        return [math.prod(operator.range.shape) for operator in self.operators]

    def A(self, x: Tensor) -> Tensor:
        """(..., H, W) -> (..., M)."""
        return self.join([operator.A(x) for operator in self.operators])

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The sum of the adjoints of the parts, (..., M) -> (..., H, W)."""
        parts = zip(self.operators, self.split(y), strict=True)
        return _sum([operator.A_adjoint(part) for operator, part in parts])

    def data_gradient(self, measurement: Tensor) -> Map:
        """The sum of the gradients of the parts, each in its fastest form."""
        parts = zip(self.operators, self.split(measurement), strict=True)
        gradients = [_data_gradient(operator, part) for operator, part in parts]
        return lambda x: _sum([gradient(x) for gradient in gradients])

    def split(self, y: Tensor) -> tuple[Tensor, ...]:
        """The measurements in their own shapes, from one flat vector (..., M).

        Raises:
            UsageError: If the last dimension is not M.
        """
        lengths = self._lengths
        if y.ndim < 1 or y.shape[-1] != sum(lengths):
            raise UsageError(
                f"stack: the measurement has shape {tuple(y.shape)}; expected (..., {sum(lengths)}), "
                f"because the parts have {' + '.join(map(str, lengths))} entries."
            )
        parts = zip(self.operators, torch.split(y, lengths, dim=-1), strict=True)
        return tuple(part.reshape(*part.shape[:-1], *operator.range.shape) for operator, part in parts)

    def join(self, measurements: Sequence[Tensor]) -> Tensor:
        """One flat vector (..., M) from measurements in their own shapes: the inverse of :meth:`split`."""
        parts = zip(self.operators, measurements, strict=True)
        return torch.cat([part.flatten(start_dim=-len(operator.range.shape)) for operator, part in parts], dim=-1)


@dataclass(frozen=True, eq=False, repr=False)
class Scaled(ByValue):
    """The operator ``factor * operator``; build it with :func:`scale`."""

    operator: CharacterisedOperator
    factor: float

    def __post_init__(self) -> None:
        _check_scaling(self.operator, self.factor)

    @property
    def domain(self) -> Space:
        return self.operator.domain

    @property
    def range(self) -> Space:
        return self.operator.range

    @property
    def properties(self) -> OperatorProperties:
        return _scaled_properties(self.operator.properties, self.factor)

    def A(self, x: Tensor) -> Tensor:
        return self.factor * self.operator.A(x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.factor * self.operator.A_adjoint(y)

    def data_gradient(self, measurement: Tensor) -> Map:
        """``x -> c^2 A^T (A x - y / c)``."""
        return _scaled_gradient(self.operator, self.factor, measurement)


@final
class ScaledWithResolvent(Scaled):
    """A scaled operator with a closed form of its data term's resolvent."""

    def data_resolvent(self, measurement: Tensor, stepsize: float) -> Map:
        """The operator's own resolvent, for the measurement ``y / c`` and the step ``c^2 s``."""
        assert isinstance(self.operator, HasDataResolvent)  # noqa: S101  (scale() builds this class for those only)
        return self.operator.data_resolvent(measurement / self.factor, self.factor**2 * stepsize)


def _check_scaling(operator: CharacterisedOperator, factor: float) -> None:
    _require_characterised("scale", operator)
    if factor == 0 or not math.isfinite(factor):
        raise UsageError(
            f"scale: the factor is {factor}; expected a finite number other than zero, "
            f"because the zero operator measures nothing."
        )


def _scaled_properties(properties: OperatorProperties, factor: float) -> OperatorProperties:
    norm, least = properties.norm, properties.gram_min
    return OperatorProperties(
        norm=derive(lambda a: rounded_up(abs(factor) * a), norm, how=norm.how),
        adjoint_gap=properties.adjoint_gap,
        gram_min=derive(lambda a: rounded_down(factor**2 * a), least, how=least.how),
    )


def _scaled_gradient(operator: CharacterisedOperator, factor: float, measurement: Tensor) -> Map:
    gradient = _data_gradient(operator, measurement / factor)
    return lambda x: factor**2 * gradient(x)


def _data_gradient(operator: LinearOperator, measurement: Tensor) -> Map:
    if isinstance(operator, HasDataGradient):
        return operator.data_gradient(measurement)
    return lambda x: operator.A_adjoint(operator.A(x) - measurement)


def _fold(formula: Callable[[float, float], float], constants: list[Constant], how: str) -> Constant:
    """An associative formula of any number of constants, two at a time: the cost is linear in their number."""
    first, *others = constants
    return reduce(lambda a, b: derive(formula, a, b, how=how), others, derive(lambda a: a, first, how=how))


def _at_least_zero(bound: Constant) -> Constant:
    # zero is proved for every Gram matrix: a weaker statement of the same value would only lose evidence
    return bound if bound.value > 0 else Proved(0.0, "A^T A is positive semidefinite")


def _sum(tensors: list[Tensor]) -> Tensor:
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


def _require_characterised(owner: str, *operators: object) -> None:
    for operator in operators:
        if not isinstance(operator, CharacterisedOperator):
            raise UsageError(
                f"{owner}: {_name(operator)} does not say what it takes and gives; expected an operator with domain, "
                f"range and properties, because shapes are checked before the first application."
            )


def _name(operator: object) -> str:
    return type(operator).__name__


def _describe(space: Space) -> str:
    kind = "complex" if space.is_complex else "real"
    return f"{kind} arrays of {' x '.join(map(str, space.shape))}"
