"""The directions in which a scan looks, in the order in which they stand around the axis of rotation."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

WEDGE = 4.0
"""A gap between views that is this many times the next wider one was not measured at all: a limited angle.

So was each of several that are this many times what nine tenths of the gaps stay below.
"""

_SAME = 1e-6  # degrees between two views that are one
_GAP = 1.5  # between two views, in usual steps: interpolate over less
_WIDEST_STEP = 7.5  # degrees over which views are interpolated
_REACH = 1.01  # steps to extrapolate into a gap


@dataclass(frozen=True)
class AngularCoverage:
    """The directions of a scan, each once; build it with :meth:`of`.

    Attributes:
        period: Degrees after which directions repeat: 360, or 180 where a view and the one from behind are the same.
        angles: The directions in degrees, in [0, period), increasing.
        order: A view of each direction.
        places: The direction of each view.
        gaps: From each direction to the next, the last one to the first.
    """

    period: float
    angles: Floats
    order: Indices
    places: Indices
    gaps: Floats

    @classmethod
    def of(cls, angles: Sequence[float] | Floats, period: float = 360.0) -> "AngularCoverage":
        """The directions of views in any order, some of which may look along the same direction."""
        folded = np.mod(np.asarray(angles, dtype=np.float64), period)
        order = np.argsort(folded, kind="stable")
        around = folded[order]
        is_last = np.diff(around, append=around[0] + period) > _SAME  # of the views of one direction
        is_last[-1] |= not is_last.any()
        places = np.empty_like(order)
        places[order] = (np.cumsum(is_last) - is_last) % np.count_nonzero(is_last)
        around, order = around[is_last], order[is_last]
        return cls(period, around, order, places, np.diff(around, append=around[0] + period))

    @cached_property
    def step(self) -> float:
        """The usual distance of two neighbours, in degrees."""
        return float(np.sort(self.gaps)[(len(self.gaps) - 1) // 2])

    @property
    def is_full(self) -> bool:
        """Whether the directions go all around, and every gap is small enough to be interpolated over."""
        return len(self.angles) > 2 and bool(self.gaps.max() <= min(2 * _GAP * self.step, 120.0))

    @property
    def cells(self) -> Floats:
        """The arc in degrees that each view stands for: half the way to either neighbour; equal views share theirs."""
        before, after, _ = self._halves
        return ((after + before) / np.bincount(self.places))[self.places]

    @property
    def arcs(self) -> tuple[tuple[float, float], ...]:
        """Where each part that was measured begins, and its length, in degrees; none where all of the period was."""
        before, after, missing = self._halves
        ends = np.flatnonzero(missing)
        starts = (np.roll(ends, 1) + 1) % len(self.gaps)
        begin, stop = self.angles[starts] - before[starts], self.angles[ends] + after[ends]
        lengths = self.period - np.mod(begin - stop, self.period)
        return tuple(zip(begin.tolist(), lengths.tolist(), strict=True))

    @cached_property
    def _halves(self) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """What each direction stands for before and after itself, and whether the gap behind it was not measured."""
        gaps = self.gaps
        wide = float(np.percentile(gaps, 90))
        # what was not measured is as wide as the other gaps, lest its rims count for it
        bridged = np.where(gaps > WEDGE * wide, wide, gaps)
        after, before, missing = bridged / 2, np.roll(bridged, 1) / 2, bridged < gaps
        last = int(gaps.argmax())
        if len(gaps) > 1 and gaps[last] > WEDGE * np.delete(gaps, last).max():
            first = (last + 1) % len(gaps)
            after[last], before[first] = before[last], after[first]
            missing[last] = True
        return before, after, missing

    def between(self, targets: Floats) -> tuple[Indices, Indices, Floats, NDArray[np.bool_]]:
        """Two directions, the second one's weight in their linear interpolation at each target, and where there is one.

        A target in a gap, but within a step of its border, is extrapolated: the two ends of half a turn need it.
        """
        count, period = len(self.angles), self.period
        here = (np.searchsorted(self.angles, np.mod(targets, period), side="right") - 1) % count
        ahead, gap = np.mod(targets - self.angles[here], period), self.gaps[here]
        inside = gap <= _GAP * self.step
        after = ~inside & (ahead <= _REACH * self.gaps[here - 1])
        before = ~inside & ~after & (gap - ahead <= _REACH * self.gaps[(here + 1) % count])
        first = np.where(after, here - 1, np.where(before, here + 1, here)) % count
        length = self.gaps[first]
        weight = np.where(after, 1 + ahead / length, np.where(before, (ahead - gap) / length, ahead / length))
        near = (length <= min(_GAP * self.step, _WIDEST_STEP)) & (inside | after | before)
        return first, (first + 1) % count, weight, near | (ahead < _SAME) | (gap - ahead < _SAME)
