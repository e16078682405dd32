"""Conditions that several theorems share."""

import math
from dataclasses import replace

from recon.certificates.certificate import SOLUTION, Condition, at_most, stated
from recon.evidence import Constant, Evidence, Fact, derive, from_above, from_below, weakest
from recon.operators import OperatorProperties
from recon.operators.rounding import rounded_down
from recon.priors import ResolventProperties

ROUNDING = 1e-4
"""A relative adjoint gap up to this is rounding in single precision; the mildest mismatch in use is 5e-2."""


_VANISHING = 1e-6
"""Relative to ||A||: a smaller singular value may be zero, and its rounding."""

BEST = "with more steps the image approaches one that fits the measurement and the prior together best"
"""The limit where the prior has an energy."""

BALANCE = "with more steps the image approaches a balance of the measurement and the prior, as the problem was stated"
"""The limit where it has none."""

MISMATCHED = (
    "with more steps the image approaches a balance of the measurement, as the surrogate of the adjoint sees it, and "
    "the prior: not the image that the exact adjoint would give"
)
"""The limit with a surrogate of the adjoint."""

EXACTLY = "is evaluated exactly"
"""What a condition says that only a resolvent without an inner iteration fulfils."""


def lipschitz(operator: OperatorProperties) -> Constant:
    """The Lipschitz constant ||A||^2 of x -> A^T(Ax - y)."""
    norm = from_above(operator.norm)
    return derive(lambda value: value**2, norm, how=f"||A||^2; {norm.how}")


def strength(prior: ResolventProperties) -> Constant:
    """m such that the prior's operator M is m-strongly monotone: (1 - q)/(1 + q) where Lip(Q) <= q <= 1; else minus 1.

    With d = Jx - Jy and p = x - y, ||2d - p|| <= q ||p|| is <p - d, d> >= (1 - q^2) ||p||^2 / 4, and ||d|| is at most
    (1 + q) ||p|| / 2, so <p - d, d> >= m ||d||^2: and p - d is in the difference of M at Jx and Jy.
    """
    q = from_above(prior.lipschitz_Q)
    return derive(
        lambda value: rounded_down((1 - value) / (1 + value)) if value <= 1 else -1.0,
        q,
        how=f"(1 - q)/(1 + q); {q.how}",
    )


def lower_bound(lowest: Constant) -> Constant:
    """A proved lower bound as it stands, and what was measured less its radius."""
    return lowest if lowest.evidence is Evidence.PROVED else from_below(lowest)


def inverse(numerator: float, constant: Constant, how: str) -> Constant:
    """``numerator / constant``, infinite where the constant is zero."""
    return derive(lambda value: numerator / value if value else math.inf, constant, how=how)


def exact_adjoint(operator: OperatorProperties, what: str = "the adjoint") -> Condition:
    """The pair is a pair."""
    return at_most(f"{what} is exact, relative gap", operator.adjoint_gap, ROUNDING)


def firmly_nonexpansive(prior: ResolventProperties, what: str = "the prior") -> Condition:
    """J = (Id + Q)/2 with Q nonexpansive; what a search found of Q is a lower bound, so that it can refute this."""
    condition = at_most(f"{what} is firmly nonexpansive, Lip(2J - Id)", prior.lipschitz_Q, 1.0)
    return replace(condition, refuted=_expands(prior))


def proximity(prior: ResolventProperties) -> Condition:
    """J is the proximity operator of a convex function, which what expands is not."""
    condition = stated("the prior is a proximity operator", prior.proximity, "the prior is not known to be one")
    return replace(condition, refuted=_expands(prior) and not condition.holds)


def _expands(prior: ResolventProperties) -> bool:
    """Return whether a counterexample to firm nonexpansiveness was found."""
    q = prior.lipschitz_Q
    return prior.counterexample is not None or (q.evidence is Evidence.MEASURED and q.value - q.error > 1)


def evaluated_exactly(prior: ResolventProperties, what: str = "the prior") -> Condition:
    """The resolvent is evaluated without an inner iteration.

    Errors that are summable over the steps would do (Combettes 2004); a fixed accuracy is not summable.
    """
    return at_most(f"{what} {EXACTLY}, relative error", prior.error, 0.0)


def solvable(prior: ResolventProperties, operator: OperatorProperties | None = None) -> Condition:
    """There is a solution to converge to: of the prior with any operator, or with this one.

    A maximally monotone operator plus one that is strongly monotone, as A^T A is where it is positive definite, has
    exactly one zero (Bauschke and Combettes 2017, Corollary 23.37).
    """
    fact = prior.attains
    if fact is None and operator is not None:
        fact = _by_the_operator(prior, operator)
    singular, blind = "for this prior, as A^T A may be singular", "as A may vanish on constant images"
    missing = singular if prior.attains_where_constants_are_seen is None else blind
    return stated(SOLUTION, fact, f"not known {missing}")


def _by_the_operator(prior: ResolventProperties, operator: OperatorProperties) -> Fact | None:
    if _positive(operator):
        return Fact(operator.gram_min.evidence, f"A^T A is positive definite; {operator.gram_min.how}")
    left, seen = prior.attains_where_constants_are_seen, operator.sees_constants
    if left is None or seen is None:
        return None
    return Fact(weakest(left.evidence, seen.evidence), f"{left.how}; {seen.how}")


def _positive(operator: OperatorProperties) -> bool:
    """Beyond what rounding may make of a zero."""
    least = operator.gram_min
    lowest = least.value - least.error
    return lowest > 0 and lowest > (_VANISHING * operator.norm.value) ** 2
