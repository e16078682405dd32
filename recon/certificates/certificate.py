"""Certificates: a theorem, its conditions, and the evidence for each of them."""

import math
from dataclasses import dataclass, replace
from typing import Any, final

from recon._values import ByValue
from recon.evidence import Constant, Evidence, Fact, finite_or_none, from_above, from_below, weakest

SOLUTION = "a solution exists"
"""The condition of every theorem about a limit."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class Condition(ByValue):
    """One condition of a theorem: whether it holds, and on what evidence.

    Build it with :func:`at_most`, :func:`below`, :func:`positive` or :func:`stated`: they take the evidence from the
    constants themselves, so that a measured number cannot end up as a proved condition.

    Attributes:
        name: The condition in words, and behind a comma in symbols.
        value: The number that was compared; ``nan`` where the condition is a statement.
        relation: ``"<="``, ``"<"`` or ``">"``; empty where the condition is a statement.
        bound: What it was compared with.
        holds: Whether the condition holds.
        evidence: The weakest evidence among the numbers that entered.
        how: The reasons, for a person.
        refuted: Whether a counterexample was found, and not only no reason to believe it.
    """

    name: str
    value: float
    relation: str
    bound: float
    holds: bool
    evidence: Evidence
    how: str
    refuted: bool = False

    def __str__(self) -> str:
        if not self.relation:
            return self.name
        return f"{self.name}: {self.value:.4g}, expected {self.relation} {self.bound:.4g}"


def at_most(name: str, constant: Constant, bound: float) -> Condition:
    """The condition ``constant <= bound``, radius included."""
    high = from_above(constant).value
    return Condition(name, high, "<=", bound, high <= bound, constant.evidence, constant.how)


def below(name: str, value: float, limit: Constant) -> Condition:
    """The condition ``0 < value < limit`` for a number of the user's choice, the radius of the limit included."""
    if value <= 0:
        return Condition(name, value, ">", 0.0, False, limit.evidence, "a number above 0")
    low = from_below(limit).value
    return Condition(name, value, "<", low, 0 < value < low, limit.evidence, limit.how)


def positive(name: str, constant: Constant) -> Condition:
    """The condition ``constant > 0``, radius included."""
    low = from_below(constant).value
    return Condition(name, low, ">", 0.0, low > 0, constant.evidence, constant.how)


def stated(name: str, fact: Fact | None, otherwise: str) -> Condition:
    """A condition that is a statement; ``otherwise`` says why it does not hold where there is no fact."""
    if fact is None:
        return Condition(name, math.nan, "", math.nan, False, Evidence.ASSUMED, otherwise)
    return Condition(name, math.nan, "", math.nan, True, fact.evidence, fact.how)


@final
@dataclass(frozen=True)
class Remark:
    """A choice outside of the range for which its effect was looked at: no condition of the theorem, which stands.

    Attributes:
        name: What was chosen.
        value: The choice.
        low: The lower end of the range.
        high: Its upper end; infinite where there is none.
        how: What is done with such a choice, why the theorem stands, and what is not known.
    """

    name: str
    value: float
    low: float
    high: float
    how: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "value": self.value,
            "low": self.low,
            "high": finite_or_none(self.high),
            "how": self.how,
        }

    @property
    def warning(self) -> str:
        """A sentence on what is outside of which range."""
        known = f"from {self.low:.4g} on" if math.isinf(self.high) else f"{self.low:.4g} to {self.high:.4g}"
        return f"{self.name} {self.value:.3g} is outside of the range {known}"

    def __str__(self) -> str:
        return f"{self.warning}: {self.how}"


@final
@dataclass(frozen=True)
class Given:
    """What a theorem takes as given.

    Attributes:
        what: In words, such as ``the guide``.
        not_claimed: What the theorem does not say for that reason.
    """

    what: str
    not_claimed: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"what": self.what, "not_claimed": self.not_claimed}


@final
@dataclass(frozen=True)
class Certificate:
    """The guarantee of a run: a theorem and its conditions, known before the first step.

    Attributes:
        theorem: The theorem, with its source.
        conclusion: What it says about the run.
        conditions: All of its conditions.
        remarks: What leaves the theorem as it is, and was not looked at.
        weaker: A theorem that asks less and says less, where there is one for the same run; else ``None``.
        given: What the run takes as given, such as a guide, and what is not claimed for that reason; ``None``: nothing.
        in_words: The conclusion without symbols; empty where it has none.
    """

    theorem: str
    conclusion: str
    conditions: tuple[Condition, ...]
    remarks: tuple[Remark, ...] = ()
    weaker: "Certificate | None" = None
    given: "Given | None" = None
    in_words: str = ""

    def with_guide(self, given: "Given", conditions: tuple[Condition, ...]) -> "Certificate":
        """Return the certificate of a run whose prior a guide decided, with the conditions that the guide meets."""
        weaker = None if self.weaker is None else self.weaker.with_guide(given, conditions)
        return replace(self, conditions=(*self.conditions, *conditions), weaker=weaker, given=given)

    @property
    def holds(self) -> bool:
        """Whether every condition holds, on whatever evidence."""
        return all(condition.holds for condition in self.conditions)

    @property
    def evidence(self) -> Evidence:
        """The weakest evidence among the conditions."""
        return weakest(*(condition.evidence for condition in self.conditions))

    @property
    def has_solution(self) -> bool:
        """Whether it is proved that a solution exists, whatever is known of the other conditions."""
        return any(
            condition.name == SOLUTION and condition.holds and condition.evidence is Evidence.PROVED
            for condition in self.conditions
        )

    @property
    def missing(self) -> tuple[str, ...]:
        """The conditions that do not hold."""
        return tuple(condition.name for condition in self.conditions if not condition.holds)

    @property
    def refuted(self) -> tuple[str, ...]:
        """The conditions to which there is a counterexample."""
        return tuple(condition.name for condition in self.conditions if condition.refuted)

    @property
    def strongest(self) -> "Certificate | None":
        """The theorem that holds: this one, else the weaker one, else ``None``."""
        if self.holds:
            return self
        return None if self.weaker is None else self.weaker.strongest

    @property
    def sentence(self) -> str:
        """The verdict, for a person."""
        if not self.holds:
            left = self.strongest
            return f"{'No guarantee.' if left is None else left.sentence} {self._failing()}"
        reason = {
            Evidence.PROVED: "Proved",
            Evidence.MEASURED: "Holds as far as measured, which is not a proof",
            Evidence.ASSUMED: "Holds under assumptions that nobody has checked",
        }[self.evidence]
        given = "" if self.given is None else f", given {self.given.what}"
        return f"{reason}{given}: {self.in_words or self.conclusion}."

    def _failing(self) -> str:
        verdicts = (
            ("Refuted", [str(c) for c in self.conditions if c.refuted]),
            ("Not established", [str(c) for c in self.conditions if not c.holds and not c.refuted]),
        )
        return " ".join(f"{verdict}: {'; '.join(names)}." for verdict, names in verdicts if names)

    def to_json(self) -> dict[str, Any]:
        """The certificate as plain values, without NaN or infinity."""
        return {
            "theorem": self.theorem,
            "conclusion": self.conclusion,
            "in_words": self.in_words or self.conclusion,
            "holds": self.holds,
            "evidence": self.evidence.value,
            "missing": list(self.missing),
            "refuted": list(self.refuted),
            "sentence": self.sentence,
            "conditions": [
                {
                    "name": c.name,
                    "value": finite_or_none(c.value),
                    "relation": c.relation,
                    "bound": finite_or_none(c.bound),
                    "holds": c.holds,
                    "evidence": c.evidence.value,
                    "how": c.how,
                    "refuted": c.refuted,
                }
                for c in self.conditions
            ],
            "given": None if self.given is None else self.given.to_json(),
            "remarks": [remark.to_json() for remark in self.remarks],
            "weaker": None if self.weaker is None else self.weaker.to_json(),
        }

    def __str__(self) -> str:
        given = [] if self.given is None else [f"  not claimed: {self.given.not_claimed}"]
        lines = [self.sentence, *self._lines(), *given, *(f"  remark: {remark}" for remark in self.remarks)]
        return "\n".join(lines if self.weaker is None else [*lines, *self.weaker._lines("  weaker: ")])

    def _lines(self, head: str = "  theorem: ") -> list[str]:
        lines = [f"{head}{self.theorem}", *([f"  that is: {self.conclusion}"] if self.in_words else [])]
        width = max((len(c.name) for c in self.conditions), default=0)
        for c in self.conditions:
            mark = "yes" if c.holds else "NO"
            relation = f" {c.relation}" if c.holds else f", not {c.relation}"
            numbers = f"{c.value:.4g}{relation} {c.bound:.4g}" if c.relation else ""
            lines.append(f"  {mark:<3}  {c.name:<{width}}  {numbers:<20}  {c.evidence.value:<8}  {c.how}")
        return lines
