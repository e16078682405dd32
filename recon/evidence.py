"""Numbers that carry the reason to believe them.

A constant is *proved* (it holds for every input, by construction or by a sound bound), *measured* (found by
sampling or by an iteration: it can refute, never prove) or *assumed*. The three are types, not labels: a
function that needs a proved constant says so in its signature, and what is derived from several constants is
only as good as the weakest of them.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, final

from recon.errors import UsageError


class Evidence(StrEnum):
    """The reason to believe a number, from the strongest reason to the weakest."""

    PROVED = "proved"
    MEASURED = "measured"
    ASSUMED = "assumed"


_STRENGTH = {Evidence.ASSUMED: 0, Evidence.MEASURED: 1, Evidence.PROVED: 2}


def weakest(*evidence: Evidence) -> Evidence:
    """The evidence of a conclusion drawn from several premises (*proved*, if there are none)."""
    return min(evidence, key=_STRENGTH.__getitem__, default=Evidence.PROVED)


@dataclass(frozen=True, slots=True)
class Constant:
    """A value and how it was had; only its three subclasses are ever built.

    Attributes:
        value: The number.
        how: One phrase: the formula, the method, or who assumed it.
        error: The radius: the true number lies within ``error`` of ``value``. For a measured value its residual gives
            it: some true eigenvalue or singular value is that near. A proved value is a bound already, its rounding
            included; a radius says besides how far the truth may be from it. Zero where the notion does not apply.
    """

    value: float
    how: str
    error: float = 0.0
    evidence: ClassVar[Evidence]

    def __post_init__(self) -> None:
        if type(self) is Constant:
            raise UsageError("Constant: a constant is Proved, Measured or Assumed, and says which by its type.")

    def __str__(self) -> str:
        return f"{self.value:.6g} ({self.evidence}: {self.how})"


@final
@dataclass(frozen=True, slots=True)
class Proved(Constant):
    """Holds for every input, by construction or by a sound bound."""

    evidence: ClassVar[Evidence] = Evidence.PROVED


@final
@dataclass(frozen=True, slots=True)
class Measured(Constant):
    """Found by sampling or by an iteration: it can refute, never prove."""

    evidence: ClassVar[Evidence] = Evidence.MEASURED


@final
@dataclass(frozen=True, slots=True)
class Assumed(Constant):
    """Taken on somebody's word."""

    evidence: ClassVar[Evidence] = Evidence.ASSUMED


_BY_EVIDENCE: dict[Evidence, type[Constant]] = {
    Evidence.PROVED: Proved,
    Evidence.MEASURED: Measured,
    Evidence.ASSUMED: Assumed,
}


def derive(formula: Callable[..., float], *premises: Constant, how: str) -> Constant:
    """The constant ``formula(*values)``, as believable as the weakest of its premises, with the radius of theirs.

    The formula is evaluated at the ends of every interval ``value +- error`` too, and the farthest result is the
    radius. So the formula must be monotone in each premise where the others are fixed: then its extremes over a box
    lie at the corners. Premises without a radius cost nothing; n with one cost 2^n evaluations.
    """
    kind = _BY_EVIDENCE[weakest(*(premise.evidence for premise in premises))]
    value = formula(*(premise.value for premise in premises))
    if not any(premise.error for premise in premises):
        return kind(value, how)
    corners = itertools.product(*map(_ends, premises))
    return kind(value, how, max(_distance(formula(*corner), value) for corner in corners))


def _ends(constant: Constant) -> tuple[float, ...]:
    low, high = constant.value - constant.error, constant.value + constant.error
    return (low, high) if constant.error else (constant.value,)


def _distance(a: float, b: float) -> float:
    return 0.0 if a == b else abs(a - b)  # two infinities are equal, and their difference is not a number


def from_above(constant: Constant) -> Constant:
    """The upper end of what the radius leaves open, as a bound that has none."""
    return _BY_EVIDENCE[constant.evidence](constant.value + constant.error, constant.how)


def from_below(constant: Constant) -> Constant:
    """The lower end of what the radius leaves open, as a bound that has none."""
    return _BY_EVIDENCE[constant.evidence](constant.value - constant.error, constant.how)


@final
@dataclass(frozen=True, slots=True)
class Fact:
    """A statement that holds, and why; a statement that nobody vouches for is ``None`` where a fact is expected."""

    evidence: Evidence
    how: str


def finite_or_none(number: float) -> float | None:
    """The number as JSON can hold it: ``None`` where it is NaN or infinite."""
    return number if math.isfinite(number) else None


@dataclass(frozen=True)
class Length:
    """A distance of images, with its evidence.

    Attributes:
        value: In the norm of images; infinite where nothing can be said.
        relative: The same over the norm of an image that the subclass names.
        evidence: The weakest of what entered.
        how: The formula, or why nothing can be said.
    """

    value: float
    relative: float
    evidence: Evidence
    how: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values, an infinite distance as null."""
        numbers = {"value": self.value, "relative": self.relative}
        finite = {name: finite_or_none(number) for name, number in numbers.items()}
        return {**finite, "evidence": self.evidence.value, "how": self.how}
