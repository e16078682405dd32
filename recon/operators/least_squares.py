"""The data term: the map x -> A^T(Ax - y), or K(Ax - y) with a surrogate K of the adjoint."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from recon._values import ByValue, Made, remembered
from recon.errors import UsageError
from recon.operators.base import Characterised, HasDataGradient, HasDataResolvent
from recon.types import LinearOperator, Map


@dataclass(frozen=True, eq=False, repr=False)
class LeastSquares(ByValue):
    """The map ``x -> K(A x - y) + shift x``: the gradient of ||Ax - y||^2 / 2 where K is the adjoint.

    With a surrogate it is the gradient of nothing, and knows so: ``is_gradient`` is False, and ``value`` and
    ``resolvent`` refuse. A positive shift adds ``shift ||x||^2 / 2``, the remedy that makes a mismatched map monotone
    (Dong, Hansen, Hochstenbach, Riis 2019).

    Attributes:
        operator: A, with its adjoint.
        measurement: y, (batch, ...).
        surrogate: K, measurements to images; ``None`` for the adjoint.
        shift: Not negative.

    Raises:
        UsageError: The shift is negative.
    """

    operator: LinearOperator
    measurement: Tensor
    surrogate: Map | None = None
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.operator, LinearOperator):
            raise UsageError(
                f"LeastSquares: the operator is a {type(self.operator).__name__}; expected an object with the methods "
                "A and A_adjoint, as recon.operators has them."
            )
        if not isinstance(self.measurement, Tensor):
            raise UsageError(
                f"LeastSquares: the measurement is a {type(self.measurement).__name__}; expected a tensor (batch, "
                "channels, height, width), as torch.from_numpy(array)[None, None] makes of an image."
            )
        _require_axes(self.operator, self.measurement)
        if not self.shift >= 0:
            raise UsageError(f"LeastSquares: shift={self.shift!r}; expected a number that is not negative.")

    @property
    def is_gradient(self) -> bool:
        """Whether the map is the gradient of a function."""
        return self.surrogate is None

    @cached_property
    def _map(self) -> Map:
        with torch.no_grad():
            return self._made()

    def _made(self) -> Map:
        if self.surrogate is None and isinstance(self.operator, HasDataGradient):
            return self.operator.data_gradient(self.measurement)
        back = self.operator.A_adjoint if self.surrogate is None else self.surrogate
        return lambda x: back(self.operator.A(x) - self.measurement)

    @cached_property
    def _has_graph(self) -> bool:
        """Whether measurement or operator have a gradient, so that each call needs a graph of its own."""
        with torch.enable_grad():
            back = self.operator.A_adjoint if self.surrogate is None else self.surrogate
            return bool(back(self.measurement[:1]).requires_grad)

    def __call__(self, x: Tensor) -> Tensor:
        if self.__dict__.setdefault("_version", self.measurement._version) != self.measurement._version:
            self.__dict__.update(_version=self.measurement._version)  # it was written to: A^T y is another
            self.__dict__.pop("_map", None)
        image = (self._made() if torch.is_grad_enabled() and self._has_graph else self._map)(x)
        return image if self.shift == 0 else image.add(x, alpha=self.shift)

    def residual(self, x: Tensor) -> Tensor:
        """``A x - y``, of the measurement's shape."""
        return self.operator.A(x) - self.measurement

    def value(self, x: Tensor) -> Tensor:
        """``||Ax - y||^2 / 2 + shift ||x||^2 / 2`` of each batch item, shape (batch,).

        Raises:
            UsageError: There is a surrogate.
        """
        self._refuse_surrogate("value")
        return (_squared_norm(self.residual(x)) + self.shift * _squared_norm(x)) / 2

    @remembered
    def resolvent(self, stepsize: float) -> "DataResolvent":
        """The map ``z -> (Id + s A^T A)^-1 (z + s A^T y)``, in closed form.

        Raises:
            UsageError: There is a surrogate or a shift, or the operator has no closed form.
        """
        self._refuse_surrogate("resolvent")
        if not (stepsize > 0 and math.isfinite(stepsize)):
            raise UsageError(f"LeastSquares.resolvent: stepsize={stepsize!r}; expected a positive finite number.")
        if self.shift or not isinstance(self.operator, HasDataResolvent):
            raise UsageError(
                f"LeastSquares.resolvent: {type(self.operator).__name__} with shift={self.shift:g} has no closed form; "
                "use a solver that takes the gradient instead, such as forward_backward."
            )
        return DataResolvent(self.operator.data_resolvent(self.measurement, stepsize), self)

    def _refuse_surrogate(self, what: str) -> None:
        if self.surrogate is not None:
            raise UsageError(
                f"LeastSquares.{what}: the map K(Ax - y) with a surrogate K is the gradient of no function; "
                "expected surrogate=None."
            )


def _require_axes(operator: LinearOperator, measurement: Tensor) -> None:
    """Refuse a measurement without a batch or a channel axis, where rows would be taken for items."""
    sides = len(operator.range.shape) if isinstance(operator, Characterised) else 0
    least = sides + (2 if sides > 1 else 1)
    if measurement.ndim < least:
        expected = ", ".join(["batch", *["channels"] * (sides > 1), *map(str, operator.range.shape)])  # type: ignore[attr-defined]
        raise UsageError(
            f"LeastSquares: the measurement has the shape {tuple(measurement.shape)}; expected ({expected}), as "
            f"y[{', '.join(['None'] * (least - measurement.ndim))}] has."
        )


@dataclass(frozen=True, eq=False, repr=False)
class DataResolvent(Made):
    """The resolvent of a data term.

    Attributes:
        apply: The map, image to image.
        data: The data term.
    """

    apply: Map
    data: LeastSquares

    def __call__(self, z: Tensor) -> Tensor:
        return self.apply(z)


def _squared_norm(x: Tensor) -> Tensor:
    """The squared norm of each batch item, in double precision."""
    parts = torch.view_as_real(x) if x.is_complex() else x
    return parts.flatten(1).double().square().sum(1)
