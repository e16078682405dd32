"""A penalty behind a linear operator, for the methods that split the two."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from recon.operators import CharacterisedOperator
from recon.priors.resolvent import Resolvent


@final
@dataclass(frozen=True)
class Split:
    """The penalty ``g(L x)``.

    Attributes:
        operator: L, from images to the space of g.
        conjugate_resolvent: From a dual step size ``s > 0`` to the proximity operator of ``s g*``.
    """

    operator: CharacterisedOperator
    conjugate_resolvent: Callable[[float], Resolvent]
