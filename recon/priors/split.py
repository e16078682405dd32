"""A penalty behind a linear operator, for the methods that split the two."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from recon._values import ByValue, Made, remembered
from recon.operators import CharacterisedOperator, OperatorProperties, Space
from recon.priors.resolvent import Resolvent
from recon.types import Map

ANY_SIZE = (-1, -1)
"""The shape of the images of an operator that takes any."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class Split(Made):
    """The penalty ``g(L x)``.

    Attributes:
        operator: L, from images to the space of g.
        conjugate_resolvent: From a dual step size ``s > 0`` to the proximity operator of ``s g*``.
        local: Whether that acts on each place of the space of g by itself.
    """

    operator: CharacterisedOperator
    conjugate_resolvent: Callable[[float], Resolvent]
    local: bool = False

    @remembered
    def on(self, image_shape: tuple[int, ...]) -> "Split":
        """Return the splitting for images of one size, each channel by itself, which other operators stack with."""
        if self.operator.domain.shape != ANY_SIZE:
            return self

        def family(stepsize: float) -> Resolvent:
            found = self.conjugate_resolvent(stepsize)
            return replace(found, apply=lambda u: _each(found, u), local=None)

        return Split(Sized(self.operator, image_shape), family)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Sized(ByValue):
    """An operator on one channel of images of any size, for each channel of images of one size.

    ``(batch, channels, height, width)`` becomes ``(batch, channels, *shape)``, where the operator makes
    ``(batch, *shape)`` of ``(batch, 1, height, width)``.
    """

    operator: CharacterisedOperator
    image_shape: tuple[int, ...]

    @property
    def domain(self) -> Space:
        return Space(self.image_shape)

    @cached_property
    def range(self) -> Space:
        return Space(tuple(self.operator.A(torch.zeros(1, 1, *self.image_shape)).shape[1:]))

    @property
    def properties(self) -> OperatorProperties:
        return self.operator.properties

    def A(self, x: Tensor) -> Tensor:
        return _each(lambda images: self.operator.A(images.unsqueeze(1)), x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return _each(lambda images: self.operator.A_adjoint(images).squeeze(1), y)


def _each(apply: Map, x: Tensor) -> Tensor:
    """A map of batches on each channel by itself."""
    images = apply(x.flatten(0, 1))
    return images.view(*x.shape[:2], *images.shape[1:])
