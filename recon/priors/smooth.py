"""A penalty with a Lipschitz gradient, for the methods that need no resolvent of it."""

from dataclasses import dataclass
from typing import final

from recon._values import ByValue
from recon.evidence import Constant
from recon.types import Map


@final
@dataclass(frozen=True, eq=False, repr=False)
class Smooth(ByValue):
    """The gradient of a convex penalty.

    Attributes:
        gradient: Image to image.
        lipschitz: An upper bound of its Lipschitz constant.
    """

    gradient: Map
    lipschitz: Constant
