"""The scalar functions psi of a ridge potential, even and convex, with psi' of slopes in [0, 1] by construction.

``influence`` is psi', odd, nondecreasing and bounded. Both families are piecewise linear, so that everything about
them has a closed form: :class:`Pieces`.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon._values import ByValue
from recon.errors import UsageError
from recon.priors.networks.architectures.network import drawn
from recon.priors.networks.layers.piecewise import Finder, OddPiecewise
from recon.priors.networks.layers.splines import lookup, piece_index


@final
@dataclass(frozen=True, eq=False, repr=False)
class Pieces(ByValue):
    """An odd nondecreasing piecewise linear function a channel, by its pieces on the positive half-line.

    Attributes:
        knots: ``(channels, pieces)``, where each piece begins; the first is 0, ascending.
        slopes: ``(channels, pieces)``; the last piece goes on for ever.
    """

    knots: Tensor
    slopes: Tensor

    @property
    def values(self) -> Tensor:
        """The function at the knots."""
        rises = self.slopes[:, :-1] * self.knots.diff(dim=1)
        return functional.pad(rises.cumsum(1), (1, 0))

    @property
    def integrals(self) -> Tensor:
        """The potential at the knots."""
        values = self.values
        areas = (values[:, :-1] + values[:, 1:]) / 2 * self.knots.diff(dim=1)
        return functional.pad(areas.cumsum(1), (1, 0))

    def potential(self, t: Tensor) -> Tensor:
        """psi, for ``(batch, channels, height, width)``."""
        size = t.abs()
        index = Finder(self.knots)(size)
        knot, slope, value, integral = (
            lookup(table, index) for table in (self.knots, self.slopes, self.values, self.integrals)
        )
        beyond = size - knot
        return integral + value * beyond + slope * beyond.square() / 2

    def double(self) -> "Pieces":
        """The same numbers in double precision, without a graph."""
        return Pieces(self.knots.detach().double(), self.slopes.detach().double())

    def scaled(self, scale: Tensor) -> "Pieces":
        """``t -> s f(t / s)`` with ``(channels, 1)`` numbers s > 0."""
        return Pieces(self.knots * scale, self.slopes)

    def resolvent(self, weight: Tensor) -> OddPiecewise:
        """``(Id + w psi')^-1``, the proximity operator of w psi, exact: the inverse of a piecewise linear function.

        Args:
            weight: w at least zero, ``(channels, 1)`` or a number.
        """
        images = self.knots + weight * self.values
        gains = 1 / (1 + weight * self.slopes)
        return OddPiecewise(images, self.knots - gains * images, gains)

    def conjugate_resolvent(self, weight: Tensor, sigma: float) -> OddPiecewise:
        """The proximity operator of ``sigma (w psi)*``: by Moreau's decomposition one of the same kind."""
        primal = self.resolvent(weight / sigma)
        return OddPiecewise(sigma * primal.starts, -sigma * primal.intercepts, 1 - primal.slopes)


class Profile(nn.Module, ABC):
    """One function psi a channel."""

    @abstractmethod
    def influence(self, t: Tensor) -> Tensor:
        """``psi'(t)`` for ``(batch, channels, height, width)``, differentiable."""

    @abstractmethod
    def slope(self, t: Tensor) -> Tensor:
        """``psi''(t)``, between 0 and 1."""

    @abstractmethod
    def pieces(self) -> Pieces:
        """Return the function by its pieces."""


class HuberMixture(Profile):
    """``psi'(t) = sum_j a_j clamp(t, -tau_j, tau_j)`` with a_j > 0 of sum 1: a mixture of Huber functions.

    The slope falls from 1 at zero to 0: what an l1 norm is like. Nothing but clamping, so it costs next to nothing.

    Args:
        channels: How many functions.
        terms: How many thresholds each has.
    """

    def __init__(self, channels: int, terms: int = 3) -> None:
        super().__init__()
        if terms < 1:
            raise UsageError(f"HuberMixture: terms={terms!r}; expected at least 1.")
        self.logits = nn.Parameter(torch.zeros(channels, terms))
        self.log_thresholds = drawn((channels, terms), lambda: torch.linspace(-1.5, 1.5, terms).repeat(channels, 1))

    def influence(self, t: Tensor) -> Tensor:
        shares, thresholds = self._terms()
        total: Tensor | None = None
        for share, threshold in zip(shares.unbind(1), thresholds.unbind(1), strict=True):
            bound = threshold.view(-1, 1, 1)
            term = torch.clamp(t, -bound, bound) * share.view(-1, 1, 1)
            total = term if total is None else total + term
        assert total is not None  # noqa: S101  there is at least one term
        return total

    def slope(self, t: Tensor) -> Tensor:
        shares, thresholds = self._terms()
        size, total = t.abs(), torch.zeros_like(t)
        for share, threshold in zip(shares.unbind(1), thresholds.unbind(1), strict=True):
            total = total + share.view(-1, 1, 1) * (size < threshold.view(-1, 1, 1))
        return total

    def pieces(self) -> Pieces:
        shares, thresholds = self._terms()
        ordered, order = thresholds.sort(1)
        gathered = shares.gather(1, order)
        slopes = gathered.flip(1).cumsum(1).flip(1)
        return Pieces(functional.pad(ordered, (1, 0)), functional.pad(slopes, (0, 1)))

    def _terms(self) -> tuple[Tensor, Tensor]:
        return self.logits.softmax(1), self.log_thresholds.exp()


class MonotoneSpline(Profile):
    """psi' an odd linear spline on equal intervals of [0, reach], constant beyond; slopes ``sigmoid(theta)``.

    Args:
        channels: How many functions.
        intervals: Between 0 and the last knot.
        reach: The last knot.
    """

    def __init__(self, channels: int, intervals: int = 24, reach: float = 6.0) -> None:
        super().__init__()
        if intervals < 1 or not (reach > 0 and math.isfinite(reach)):
            raise UsageError(
                f"MonotoneSpline: intervals={intervals!r} and reach={reach!r}; expected at least 1, and more than 0."
            )
        self.intervals, self.reach = intervals, reach
        self.theta = drawn((channels, intervals), lambda: torch.linspace(3.0, -5.0, intervals).repeat(channels, 1))

    def influence(self, t: Tensor) -> Tensor:
        table, index = self.pieces(), self._index(t)
        intercepts = table.values - table.slopes * table.knots
        odd, even = torch.cat([-intercepts.flip(1), intercepts], 1), torch.cat([table.slopes.flip(1), table.slopes], 1)
        return torch.addcmul(lookup(odd, index), lookup(even, index), t)

    def slope(self, t: Tensor) -> Tensor:
        slopes = self.pieces().slopes
        return lookup(torch.cat([slopes.flip(1), slopes], 1), self._index(t))

    def pieces(self) -> Pieces:
        spacing = self.reach / self.intervals
        knots = torch.arange(self.intervals + 1, device=self.theta.device).to(self.theta) * spacing
        return Pieces(knots.expand(len(self.theta), -1), functional.pad(torch.sigmoid(self.theta), (0, 1)))

    @torch.no_grad()
    def _index(self, t: Tensor) -> Tensor:
        """The piece on the whole line, the most negative one first."""
        count = self.intervals + 1
        piece = (t * (self.intervals / self.reach)).floor_().clamp_(-count, count - 1).to(torch.int32)
        return piece_index(piece.add_(count).clamp_(min=0), 2 * count)  # NaN, which has no piece, to the first


class Tabulated(Profile):
    """psi by its pieces.

    Args:
        pieces: Of psi', one function a channel.
    """

    def __init__(self, pieces: Pieces) -> None:
        super().__init__()
        self._pieces = pieces
        self._map = OddPiecewise(pieces.knots, pieces.values - pieces.slopes * pieces.knots, pieces.slopes)

    def influence(self, t: Tensor) -> Tensor:
        return self._map(t)

    def slope(self, t: Tensor) -> Tensor:
        return lookup(self._pieces.slopes, Finder(self._pieces.knots)(t.abs()))

    def pieces(self) -> Pieces:
        return self._pieces


def profile(name: str, channels: int, pieces: int) -> Profile:
    """The profile of that name: ``"huber"`` or ``"spline"``, with so many terms or intervals.

    Raises:
        UsageError: It is unknown.
    """
    if name == "huber":
        return HuberMixture(channels, pieces)
    if name == "spline":
        return MonotoneSpline(channels, pieces)
    raise UsageError(f"profile: {name!r} is unknown; expected 'huber' or 'spline'.")
