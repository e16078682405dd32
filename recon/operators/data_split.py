"""A data term as ``g(K x)``, for primal-dual methods."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from torch import Tensor

from recon.operators.composition import CharacterisedOperator
from recon.types import Map


@final
@dataclass(frozen=True)
class DataSplit:
    """``||A x - y||^2 / 2 = g(K x)``.

    Attributes:
        operator: K.
        conjugate_resolvent: From the measurement y and a step size s to the proximity operator of ``s g*``.
    """

    operator: CharacterisedOperator
    conjugate_resolvent: Callable[[Tensor, float], Map]


@runtime_checkable
class HasDataSplit(Protocol):
    """An operator whose data term has a splitting that is better conditioned than the operator itself."""

    def data_split(self, norm: float) -> DataSplit:
        """The splitting whose K has this norm."""
        ...
