"""Numbers that carry the reason to believe them.

A constant is *proved* (it holds for every input, by construction or by a sound bound), *measured* (found by
sampling or by an iteration: it can refute, never prove) or *assumed*. The three are types, not labels: a
function that needs a proved constant says so in its signature, and what is derived from several constants is
only as good as the weakest of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, final

from recon.errors import UsageError


class Evidence(StrEnum):
    """Why a number is believed, from the strongest reason to the weakest."""

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
        error: For a measured value, the radius that its residual gives: a true eigenvalue or singular value lies
            within ``error`` of ``value``. Zero where the notion does not apply.
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
    """The constant ``formula(*values)``, as believable as the weakest of its premises."""
    kind = _BY_EVIDENCE[weakest(*(premise.evidence for premise in premises))]
    return kind(formula(*(premise.value for premise in premises)), how)


@final
@dataclass(frozen=True, slots=True)
class Fact:
    """A statement that holds, and why; a statement that nobody vouches for is ``None`` where a fact is expected."""

    evidence: Evidence
    how: str
