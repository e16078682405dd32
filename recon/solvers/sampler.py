"""Samplers of densities as two pure functions, with the noise that their steps draw."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar, final

import torch
from torch import Tensor

from recon._values import Made, remembered
from recon.types import Map

_MIX, _SEEDS = 0x9E3779B97F4A7C15, 2**63
"""An odd multiplier that sets the seeds of successive steps far apart, and the number of seeds."""


class State(Protocol):
    """The state of parallel chains: a NamedTuple with their images ``x`` and the number of steps taken."""

    @property
    def x(self) -> Tensor: ...

    @property
    def step(self) -> int: ...


S = TypeVar("S", bound=State)


class ChainState(NamedTuple):
    """The state of parallel chains, one for each batch item.

    Attributes:
        x: The images, (chains, channels, height, width).
        seed: Of all noise.
        step: The number of steps taken; with the seed it determines the noise of the next.
    """

    x: Tensor
    seed: int
    step: int

    def noise(self) -> Tensor:
        """Standard normal noise of the shape of x: that of this step, the same on every device."""
        generator = torch.Generator().manual_seed((self.seed + (self.step + 1) * _MIX) % _SEEDS)
        return torch.randn(self.x.shape, generator=generator, dtype=self.x.dtype).to(self.x.device)

    def moved(self, x: Tensor) -> "ChainState":
        """The state after a step to x."""
        return ChainState(x, self.seed, self.step + 1)


@dataclass(frozen=True, eq=False, repr=False)
class Sampler(Made, Generic[S]):
    """A Markov chain whose stationary density is near ``exp(-U)``.

    Attributes:
        name: What records call it.
        init: From starting images and a seed to a state.
        step: One transition: pure, so the same state always gives the same next state.
        gradients: How often a step evaluates grad U.
    """

    name: str
    init: Callable[[Tensor, int], S] = field(repr=False)
    step: Callable[[S], S] = field(repr=False)
    gradients: int = 1


@final
@dataclass(frozen=True, eq=False, repr=False)
class Preconditioner(Made):
    """A symmetric positive definite P, with a root R for which ``R R^T = P``.

    The chain of x with P is the plain chain of ``u = R^-1 x``, so theorems about U need the Lipschitz constant of
    ``R^T grad U(R u)`` in place of that of grad U.

    Attributes:
        name: What reports call it.
        apply: P.
        root: R.
    """

    name: str
    apply: Map = field(repr=False)
    root: Map = field(repr=False)


@remembered
def no_preconditioner() -> Preconditioner:
    """The identity."""
    return Preconditioner("none", _same, _same)


def _same(x: Tensor) -> Tensor:
    return x


def started(x: Tensor, seed: int) -> ChainState:
    """The first state of a chain that needs nothing but an image."""
    return ChainState(x, seed, 0)
