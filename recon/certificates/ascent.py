"""Gradient ascent to pairs of images at which a map expands most.

Each pixel moves by the sign of its derivative, in a box of values or without one, and directions are those that the map
may change: without either the ascent ends where a network keeps what it sees, at a quotient of 1.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from recon.operators.spectral import Effort
from recon.types import Map

LANCZOS = Effort(tolerance=1e-3, applications=120)


@final
@dataclass(frozen=True)
class Search:
    """The extent of a search by ascent.

    Attributes:
        lanczos: For the singular values of Q'(x).
        rounds: How often the two searches take turns at each starting image.
        steps: Of gradient ascent in a round.
        rate: The first step of the ascent: of a pixel of x, and of h relative to a quarter of its norm. It shrinks
            linearly.
        distances: ||x - y|| of the secants, relative to the square root of the number of pixels.
        box: The values that x and y may have; ``None``: any.
        starts: How many of its own images a search of a network begins with, at most.
        seed: Of the random directions.
    """

    lanczos: Effort = LANCZOS
    rounds: int = 1
    steps: int = 120
    rate: float = 0.1
    distances: tuple[float, ...] = (0.01,)
    box: tuple[float, float] | None = None
    starts: int = 6
    seed: int = 0

    def inside(self, x: Tensor) -> Tensor:
        """The nearest image with values in the box."""
        return x if self.box is None else x.clamp(*self.box)


DEFAULT = Search()


@final
@dataclass(frozen=True)
class Climb:
    """The functions that gradient ascent needs.

    Attributes:
        Q: The map, differentiable by autograd; single precision does.
        part: Of a direction, what Q may change: an orthogonal projection, or another linear map of norm at most 1.
        dtype: The precision of the ascent; ``None``: that of the image.
    """

    Q: Map
    part: Map | None = None
    dtype: torch.dtype | None = None

    def along(self, h: Tensor) -> Tensor:
        """Return the part of a direction that Q may change."""
        return h if self.part is None else self.part(h)

    def ascend(self, x: Tensor, direction: Tensor, distance: float, search: Search) -> tuple[Tensor, Tensor, float]:
        """Gradient ascent on log (||Q(y) - Q(x)|| / ||h||), ``y = x + part(h)`` in the box, over x and over h.

        As ||y - x|| is no larger than ||h||, that is a lower bound of the quotient of x and y. The best point is
        returned, not the last.

        Args:
            x: Where to begin.
            direction: Of h, at first.
            distance: The norm of h.
            search: How many steps, how long, and in which box.

        Returns:
            x, h and what they attain.
        """
        dtype = self.dtype or x.dtype
        x, h = x.detach().to(dtype), _to_norm(direction.detach().to(dtype), distance)
        best, best_x, best_h = -1.0, x, h
        for step in range(search.steps + 1):
            at, by = x.clone().requires_grad_(), h.clone().requires_grad_()
            with torch.enable_grad():
                quotient = norm(self.Q(search.inside(at + self.along(by))) - self.Q(at)) / norm(by)
            value = quotient.item()
            if value > best:
                best, best_x, best_h = value, x, h
            if step == search.steps or not quotient.requires_grad or value == 0:
                break
            by_x, by_h = torch.autograd.grad(quotient, (at, by), allow_unused=True)
            rate = search.rate * (1 - step / search.steps)
            h = _to_norm(h + rate * 4 * distance * _unit(by_h), distance)
            x = search.inside(x + rate * _signs(by_x))
        return best_x, best_h, best


def _signs(g: Tensor | None) -> Tensor | float:
    """The signs of a gradient, zero where there is none."""
    return 0.0 if g is None else g.sign().nan_to_num()


def _unit(g: Tensor | None) -> Tensor | float:
    """The direction of a gradient, zero where there is none."""
    if g is None:
        return 0.0
    size = norm(g)
    return g / size if float(size) > 0 and bool(size.isfinite()) else torch.zeros_like(g)


def _to_norm(h: Tensor, distance: float) -> Tensor:
    return h * (distance / norm(h).clamp(min=torch.finfo(h.dtype).tiny))


def norm(x: Tensor) -> Tensor:
    """The Euclidean norm of all entries."""
    size: Tensor = torch.linalg.vector_norm(x)
    return size
