"""The distance of an iterate to its limit, extrapolated over growing numbers of steps, and what follows for a run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from recon.evidence import Evidence
from recon.solvers.solution import Distance, Status

RATIO = math.sqrt(2)
"""Between the numbers of steps of a sequence, over which a distance is extrapolated."""

SEQUENCES = 2
"""So many sequences, each halfway between the numbers of another, so that a run ends soon after it is near its limit.

Each is judged by itself: quotients over less than the ratio would look back over fewer steps, and see less.
"""

ANCHOR = 1000
"""A step at which the distance is estimated: the default budget, so that none of it is lost."""

LOOKS = 3
"""Moves must have shrunk at so many looks of a sequence in a row before a distance is extrapolated from them."""

_FIRST_BETWEEN = 5
"""The first step of the second sequence: those before are no other steps than those of the first."""

LEAST_STEPS = 16
"""Fewer steps are no convergence unless the image stands: where one mode dies at once, a slow one is not seen yet."""

GROWTH = 1e3
"""A step this many times the shortest one so far, and as long as the scale, is divergence.

Steps of an averaged map never grow; those of an accelerated one grow along a slow mode, but not to an image's size.
"""

LATE_GROWTH = 1e2
"""The same when the budget runs out, for a divergence too slow to reach ``GROWTH``."""

NEVER_SHRUNK, MANY_STEPS, LONG_WAY = 0.5, 100, 3.0
"""When the budget runs out after so many steps, steps that are still this part of the first one never shrank.

As long a way as that, in units of the scale, makes it a divergence: a slow mode takes steps of one length, too.
"""

STALL_LOOKS, STALL_GAIN = 10, 0.9
"""A map that rounds has stalled when so many looks have not brought the residual below this part of what it was."""

SHORTEST = 1e-7
"""Steps shorter than this fraction of the variable are rounding, and their growth means nothing."""

STEADY = 0.75
"""Steps that are still this part of what they were at a third of their number go on like k^-0.25 or slower."""

HIDDEN = 0.1
"""Of the step of all variables, that of the image where another one drifts."""

FLOOR, OWN_FLOOR = 4.0, 64.0
"""Rounding units of an image: a shorter move is rounding, which no extrapolation can see through.

The second of methods with a residual of their own, whose small linear systems amplify it.
"""

ESTIMATE = (
    "d s / (1 - s) and half of the last step; d the move, since 0.71 of the steps, or since 0.84 of them where that is "
    "longer, of the middle of two images, s the slowest of its last three decreases"
)
_NONE = "the moves of the image over growing numbers of steps have not shrunk three times in a row"
_UNKNOWN = "the run ended before it could be estimated"


def sequence_of(step: int) -> int | None:
    """The sequence of numbers of steps to which a step belongs; ``None`` where the distance is not estimated after it.

    0 for 1, 2, 3, 4, 6, 8, 11, 16, 22, 31... and 1 for 5, 7, 9, 13, 19, 26..., each in the ratio sqrt(2).
    """
    exponent = math.log(step / ANCHOR, RATIO)
    if step == round(ANCHOR * RATIO ** round(exponent)):
        return 0
    between = round(exponent - 1 / SEQUENCES) + 1 / SEQUENCES
    return 1 if step >= _FIRST_BETWEEN and step == round(ANCHOR * RATIO**between) else None


def estimates_distance(step: int) -> bool:
    """Whether the distance is estimated after a step: 1 to 9, 11, 13, 16, 19, 22..., in the ratio 2^(1/4)."""
    return sequence_of(step) is not None


def distance_left(moves: Sequence[float], floor: float = 0.0) -> float:
    """The distance to the limit that moves over growing numbers of steps let expect, infinite where there is none.

    With ``d_j = ||x_{k_j} - x_{k_(j-1)}||``, ``k_j`` in a fixed ratio, and s the largest of the last three quotients
    ``d_j / d_(j-1)``, it is ``d_j s / (1 - s)`` if s < 1. That is exact for errors like k^-a, for which the quotient is
    constant, and too large for geometric ones, for which it falls. Whatever has not moved yet is invisible to it.

    Args:
        moves: d_1, d_2, ...
        floor: What is shorter is rounding, and taken for zero; unless nothing moves at all, the distance is then at
            least this.
    """
    recent = moves[-LOOKS - 1 :]
    if len(recent) <= LOOKS:
        return math.inf
    if not any(recent[1:]):
        return 0.0
    seen = [move if move > floor else 0.0 for move in recent]
    slowest = max(_quotient(after, before) for before, after in pairwise(seen))
    return max(floor, seen[-1] * slowest / (1 - slowest)) if slowest < 1 else math.inf


def _quotient(after: float, before: float) -> float:
    if after == 0:
        return 0.0
    return after / before if before else math.inf


@dataclass(frozen=True)
class Criteria:
    """The criteria by which the items of a run are judged.

    Attributes:
        tolerance: The distance to the limit at which to stop, over the scale.
        unit: The rounding unit of the image's number format.
        own_residual: Whether the residual is the algorithm's own, and not the length of its steps.
        rounding: The relative error of a map that rounds; 0: none.
        early: The residual at which to stop before the limit; ``None``: never.
        proved: Whether a certificate proves that the run converges, so that it can neither diverge nor drift.
        solvable: Whether a certificate proves that a solution exists, so that what moves on is slow and does not drift.
    """

    tolerance: float
    unit: float
    own_residual: bool = False
    rounding: float = 0.0
    early: float | None = None
    proved: bool = False
    solvable: bool = False


class _Looks:
    """What was seen after the numbers of steps of one sequence."""

    def __init__(self) -> None:
        self.steps = [0]
        self.moves: list[float] = []
        self.paces: list[float] = []


class ItemMonitor:
    """Follows one batch item and decides how it ends.

    Args:
        criteria: What it is judged by.
        scale: The length of which residual and distance are fractions, fixed before the first step.
    """

    def __init__(self, criteria: Criteria, scale: float) -> None:
        self.criteria, self.scale = criteria, scale
        self.status: Status | None = None
        self.steps = 0
        self.residual = self.left = math.inf
        self._sequences = [_Looks() for _ in range(SEQUENCES)]
        self._looks = self._sequences[0]
        self._residuals: list[float] = []
        self._first = self._latest = 0.0
        self._shortest = 1.0 if criteria.own_residual else math.inf  # a residual of the algorithm's own starts at 1
        self._floor = self._last = 0.0
        self._rounds_off = False

    @property
    def distance(self) -> Distance:
        """The latest estimate of the distance to the limit."""
        how = ESTIMATE if math.isfinite(self.left) else self._reason
        return Distance(self.left, self.left / self.scale, Evidence.MEASURED, how)

    @property
    def _reason(self) -> str:
        if self.status is Status.STALLED and self.never_moved:
            return "no step moved the image by more than rounding: a larger step size may"
        return _NONE if len(self._looks.moves) > LOOKS else _UNKNOWN

    def deny(self) -> None:
        """Take back a convergence of which no step is long enough to be a witness."""
        self.status, self.left = Status.STALLED, math.inf

    @property
    def never_moved(self) -> bool:
        """Whether no step changed the image by more than rounding."""
        moves = [move for looks in self._sequences for move in looks.moves]
        return max(moves, default=math.inf) <= self._floor

    def look_at_step(self, step: int, length: float, size: float) -> None:
        """Judge a step by its length, or the algorithm's own residual, and the norm of the variables after it."""
        self.steps = step
        grown = self._growth
        if not math.isfinite(length + size):
            self.status = Status.DIVERGED if grown > 1 and not self.criteria.proved else Status.NOT_FINITE
            return
        self._first = self._first or length
        self._latest, self.residual = length, length if self.criteria.own_residual else length / self.scale
        self._residuals.append(self.residual)
        self._rounds_off = length <= FLOOR * self.criteria.unit * size
        if not self.criteria.own_residual:
            self._shortest = min(self._shortest, max(length, SHORTEST * size))
        if self._growth > GROWTH and self._far and not self.criteria.proved:
            self.status = Status.DIVERGED
        elif self.criteria.early is not None and self.residual <= self.criteria.early:
            self.status = Status.STOPPED_EARLY
        elif self.criteria.rounding and self._residual_stalls:
            self.status = Status.STALLED

    def look_at_distance(self, step: int, move: float, between: float, last: float, size: float) -> None:
        """Estimate the distance of the image to its limit.

        Args:
            step: The number of steps taken.
            move: How far the middle of the last two images is from that of the estimate before in the same sequence:
                what goes to and fro between two steps is no move. As numbers of steps are whole, it is taken as the
                same pace over exactly the ratio sqrt(2).
            between: How far that middle is from that of the estimate before in the other sequence. On a straight way it
                is nearer; where it is not, the way turned, and both ends of the move are at one phase of a swing: it
                then takes the place of the move.
            last: How far the last step moved the image, of which half is the distance to that middle: it is added. A
                cycle of which the estimates meet one phase is none that converges.
            size: Its norm.
        """
        self._floor = (OWN_FLOOR if self.criteria.own_residual else FLOOR) * self.criteria.unit * size
        self._last = last
        sequence = sequence_of(step) or 0
        looks, others = self._sequences[sequence], self._sequences[1 - sequence]
        self._looks = looks
        turned = between if others.steps[-1] > looks.steps[-1] else 0.0
        looks.moves.append(max(turned, move * step * (1 - 1 / RATIO) / (step - looks.steps[-1])))
        looks.steps.append(step)
        looks.paces.append(self._latest)
        self.left = distance_left(looks.moves, self._floor) + (last / 2 if last > self._floor else 0.0)
        if self.status is not None:
            return
        near = self.left <= self.criteria.tolerance * self.scale and (step >= LEAST_STEPS or self._rests)
        if near and self._settles:
            self.status = Status.CONVERGED
        elif self.criteria.tolerance and self._stands and (self.criteria.own_residual or self._settles):
            self.status = Status.STALLED

    def run_out(self, step: int) -> None:
        """Decide how an item ends whose budget has run out."""
        self.steps, self.status = step, self._late_status(step >= MANY_STEPS)
        if self.status in (Status.DRIFTING, Status.DIVERGED):
            self.left = math.inf

    def _late_status(self, late: bool) -> Status:
        if self.criteria.proved:
            return Status.OUT_OF_STEPS
        if self._growth > LATE_GROWTH and self._far:
            return Status.DIVERGED
        moving = Status.OUT_OF_STEPS if self.criteria.solvable else Status.DRIFTING
        if late and self._grew(self._looks.moves):
            return moving
        if self.criteria.own_residual or not late:
            return Status.OUT_OF_STEPS
        far = self.steps * self._latest > LONG_WAY * self.scale
        if far and self._latest > NEVER_SHRUNK * self._first and self._last > self._floor:
            return Status.DIVERGED
        return moving if self._hidden_drift else Status.OUT_OF_STEPS

    @property
    def _settles(self) -> bool:
        """Whether all variables come to rest, not the image alone: steps shorten faster than their number grows.

        That is not so of a governing variable that drifts while the image stands.
        """
        if self.criteria.own_residual:
            return self.residual <= self.criteria.tolerance
        looks = self._looks
        reaches = [step * pace for step, pace in zip(looks.steps[1:], looks.paces, strict=True)][-LOOKS - 1 :]
        return self._rounds_off or reaches[-1] < max(reaches[:-1], default=0.0)

    @property
    def _rests(self) -> bool:
        """Whether the latest moves of the image are rounding only."""
        return max(self._looks.moves[-LOOKS:]) <= self._floor

    @property
    def _stands(self) -> bool:
        """Whether the image has moved, and now moves by rounding only, to and fro between two steps as well."""
        return self._rests and self._last <= self._floor < max(self._looks.moves)

    @property
    def _hidden_drift(self) -> bool:
        """Whether variables go on at about the same pace where the image does not show it."""
        recent = self._looks.paces[-LOOKS - 1 :]
        steady = len(recent) > LOOKS and min(recent) > STEADY * max(recent)
        return steady and not self._rounds_off and self._last < HIDDEN * self._latest

    @property
    def _far(self) -> bool:
        """Whether a step is as long as an image, or the algorithm's own residual as large as at the start."""
        return self._latest > (1.0 if self.criteria.own_residual else self.scale)

    @property
    def _growth(self) -> float:
        """The latest step against the shortest one."""
        return self._latest / self._shortest if self._shortest else 0.0

    @property
    def _residual_stalls(self) -> bool:
        seen = self._residuals
        return len(seen) > 2 * STALL_LOOKS and min(seen[-STALL_LOOKS:]) > STALL_GAIN * min(seen[:-STALL_LOOKS])

    def _grew(self, lengths: list[float]) -> bool:
        recent = lengths[-LOOKS - 1 :]
        return len(recent) > LOOKS and recent[-1] > self._floor and all(a < b for a, b in pairwise(recent))
