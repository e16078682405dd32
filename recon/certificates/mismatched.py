"""Certificates of methods with a surrogate K of the adjoint.

Notation as in :mod:`recon.certificates.matched`, with B = K(A . - y) + shift Id and mu the smallest eigenvalue of the
symmetric part of K A + shift Id.
"""

import math
from operator import neg

from recon.certificates.certificate import SOLUTION, Certificate, Condition, at_most, below, positive, stated
from recon.certificates.conditions import (
    MISMATCHED,
    evaluated_exactly,
    firmly_nonexpansive,
    inverse,
    lower_bound,
    strength,
)
from recon.evidence import Constant, Evidence, Fact, Proved, derive, from_above
from recon.operators import Mismatch
from recon.operators.rounding import EPS, rounded_up, sum_rounded_down
from recon.priors import ResolventProperties

_CONCLUSION = "the iterates converge to a zero of K(Ax - y) + shift x + M x / s, which is not the matched solution"


def certify_mismatched_forward_backward(
    pair: Mismatch, prior: ResolventProperties, stepsize: float, relaxation: float = 1.0
) -> Certificate:
    """Forward-backward with a declared surrogate of the adjoint.

    *Theorem* (Chouzenoux, Pesquet, Riddell, Savanier, Trousset 2021, section 3). Let B = K(A . - y) + k Id be
    eta-cocoercive, 0 < s < 2 eta, J firmly nonexpansive and zer(B + M/s) not empty. Then x -> J(x - s B x) is averaged
    with constant 2 eta/(4 eta - s), and for a relaxation in (0, 2 - s/(2 eta)) the iterates converge to a zero of
    B + M/s. That zero is not the minimiser that the exact adjoint would give.
    """
    eta = pair.cocoercivity
    limit = derive(lambda value: 2 - stepsize / (2 * value) if value else 0.0, eta, how="2 - s / (2 eta)")
    return Certificate(
        theorem="forward-backward splitting with a cocoercive surrogate (Chouzenoux et al. 2021)",
        conclusion=_CONCLUSION,
        in_words=MISMATCHED,
        conditions=(
            positive("the data map with the surrogate is cocoercive, K A + shift Id", eta),
            below(
                "the step size is below its limit, 2 eta",
                stepsize,
                derive(lambda value: 2 * value, eta, how=f"2 eta; {eta.how}"),
            ),
            below("the relaxation is below its limit, 2 - s / (2 eta)", relaxation, limit),
            firmly_nonexpansive(prior),
            evaluated_exactly(prior),
            _mismatched_solvable(pair, prior, stepsize),
        ),
    )


def certify_mismatched_tseng(pair: Mismatch, prior: ResolventProperties, stepsize: float) -> Certificate:
    """Tseng's forward-backward-forward with a declared surrogate that leaves the data map monotone.

    The theorem of :func:`certify_tseng` with B = K(A . - y) + k Id: it asks for monotonicity,
    lambda_min(B + B^T) >= 0, where plain forward-backward asks for cocoercivity.
    """
    norm = from_above(pair.norm)
    return Certificate(
        theorem="Tseng's forward-backward-forward splitting (Tseng 2000)",
        conclusion=_CONCLUSION,
        in_words=MISMATCHED,
        conditions=(
            _monotone(pair.symmetric_part_min),
            below("the step size is below its limit, 1 / ||K A + shift Id||", stepsize, inverse(1, norm, norm.how)),
            firmly_nonexpansive(prior),
            evaluated_exactly(prior),
            _mismatched_solvable(pair, prior, stepsize),
        ),
    )


def certify_mismatched_douglas_rachford(
    pair: Mismatch, prior: ResolventProperties, stepsize: float, relaxation: float = 1.0
) -> Certificate:
    """Douglas-Rachford with the exact resolvent of the mismatched data map.

    *Theorem* (Lions, Mercier 1979; Bauschke, Combettes, 2nd ed., Theorem 26.11). Let B = K(A . - y) + k Id be monotone;
    it is continuous, hence maximally so, and the resolvent of s B is firmly nonexpansive for every s > 0. Let J be
    firmly nonexpansive, zer(B + M/s) not empty and 0 < r < 2. Then the governing sequence converges, and its shadow J z
    converges to a zero of B + M/s. B need not be cocoercive.

    Args:
        pair: The constants of K A + shift Id.
        prior: Of the resolvent J.
        stepsize: s, which enters the existence of a solution only.
        relaxation: r.
    """
    return Certificate(
        theorem="Douglas-Rachford splitting (Lions and Mercier 1979), mismatched",
        conclusion="the iterates converge to a zero of K(Ax - y) + shift x + M x / s, which is not the matched "
        "solution",
        in_words=MISMATCHED,
        conditions=(
            _monotone(pair.symmetric_part_min),
            below(
                "the relaxation is below its limit, 2",
                relaxation,
                Proved(2.0, "of a governing map that is firmly nonexpansive"),
            ),
            firmly_nonexpansive(prior),
            evaluated_exactly(prior),
            _mismatched_solvable(pair, prior, stepsize),
        ),
    )


def certify_contractive_forward_backward(
    pair: Mismatch,
    prior: ResolventProperties,
    stepsize: float,
    relaxation: float = 1.0,
    *,
    residual: Constant | None = None,
) -> Certificate:
    """Forward-backward with a prior that contracts: K A need not be monotone.

    *Theorem* (Banach). Let Lip(Q) <= q < 1, so that J = (Id + Q)/2 has the Lipschitz constant (1 + q)/2, and let
    rho = (1 + q)/2 ||Id - s (K A + k Id)|| < 1. Then x -> J(x - s B x) is a contraction of constant rho, B + M/s has
    exactly one zero, and for a relaxation r in (0, 2/(1 + rho)) the iterates converge to it linearly, their distance to
    it shrinking at each step by the factor |1 - r| + r rho at least.

    Args:
        pair: The constants of K A + shift Id.
        prior: Of the resolvent J.
        stepsize: s.
        relaxation: r.
        residual: ||Id - s (K A + shift Id)||, from :func:`recon.operators.residual_norm`; ``None`` for the bound that
            the constants of the pair give, as :func:`residual_bound`.
    """
    rate = contraction_rate(prior, residual or residual_bound(pair, stepsize))
    left = derive(lambda rho: 1 - rho, rate, how=f"1 - (1 + q)/2 ||Id - s B||; {rate.how}")
    limit = derive(lambda rho: 2 / (1 + rho), rate, how="2 / (1 + rho)")
    factor = abs(1 - relaxation) + relaxation * rate.value
    return Certificate(
        theorem="forward-backward splitting as a contraction (Banach's fixed-point theorem)",
        conclusion=f"the iterates converge linearly, by the factor {factor:.6g} a step, to the only zero of "
        "K(Ax - y) + shift x + M x / s, which is not the matched solution",
        in_words=f"{MISMATCHED}; the distance falls by the factor {factor:.6g} a step",
        conditions=(
            positive("each step is a contraction, what (1 + q)/2 ||Id - s B|| leaves of 1", left),
            below("the step size is positive", stepsize, Proved(math.inf, "any, as far as the factor is below 1")),
            below("the relaxation is below its limit, 2 / (1 + rho)", relaxation, limit),
            evaluated_exactly(prior),
        ),
    )


def contraction_rate(prior: ResolventProperties, residual: Constant) -> Constant:
    """(1 + q)/2 ||Id - s B||: the Lipschitz constant of x -> J(x - s B x)."""
    q, size = from_above(prior.lipschitz_Q), from_above(residual)
    return derive(lambda a, b: rounded_up((1 + a) / 2 * b), q, size, how=f"{q.how}; {size.how}")


def residual_bound(pair: Mismatch, stepsize: float) -> Constant:
    """A bound of ||Id - s B|| from mu, ||B|| and eta.

    ||x - s B x||^2 = ||x||^2 - 2 s <x, Bx> + s^2 ||Bx||^2 is at most 1 - 2 s mu + s^2 ||B||^2 for ||x|| = 1, and at
    most 1 - s (2 - s/eta) mu where s <= 2 eta and mu >= 0, because then ||Bx||^2 <= <x, Bx> / eta.
    """
    mu, norm, eta = lower_bound(pair.symmetric_part_min), from_above(pair.norm), pair.cocoercivity
    plain = derive(
        lambda low, size: _root(1 - 2 * stepsize * low + (stepsize * size) ** 2), mu, norm,
        how=f"sqrt(1 - 2 s mu + s^2 ||B||^2); {mu.how}; {norm.how}",
    )  # fmt: skip
    if not (mu.value >= 0 and stepsize <= 2 * eta.value):
        return plain
    finer = derive(
        lambda low, best: _root(1 - stepsize * (2 - stepsize / best) * low), mu, eta,
        how=f"sqrt(1 - s (2 - s/eta) mu); {mu.how}; {eta.how}",
    )  # fmt: skip
    return min(plain, finer, key=lambda bound: bound.value)


def _root(square: float) -> float:
    """From above, of a difference of numbers that are not much larger than 1."""
    return rounded_up(math.sqrt(max(square, 0.0) + 8 * EPS))


def _monotone(lowest: Constant) -> Condition:
    """mu is not negative: proved where its lower bound is not, and measured where rounding leaves zero open."""
    name = "the data map with the surrogate is monotone, -lambda_min of the symmetric part of K A + shift Id"
    low = lowest.value
    if lowest.evidence is Evidence.PROVED and low < 0 <= low + lowest.error:
        how = f"zero up to rounding, which may hide a negative one; {lowest.how}"
        return Condition(name, 0.0, "<=", 0.0, True, Evidence.MEASURED, how)
    without_radius = derive(lambda *_: low, lowest, how=lowest.how)
    return at_most(name, derive(neg, without_radius, how=lowest.how), 0.0)


def _mismatched_solvable(pair: Mismatch, prior: ResolventProperties, stepsize: float) -> Condition:
    """There is a zero of K(A . - y) + shift Id + M/s.

    A sum that is strongly monotone, mu + m/s > 0, has exactly one. A resolvent with bounded values has a fixed point of
    J(Id - s B), whatever the continuous B (Brouwer). Where mu is no more than rounding, nothing follows from it.
    """
    low, m = lower_bound(pair.symmetric_part_min), strength(prior)
    both = low
    if stepsize > 0:
        both = derive(lambda own, its: sum_rounded_down(max(own, 0.0) / stepsize, its), m, low, how="l + m/s")
    fact: Fact | None = None
    if low.value > 0:
        fact = Fact(low.evidence, "K A + shift Id is strongly monotone")
    elif m.value > 0 and both.value > 0:
        fact = Fact(both.evidence, "the prior's operator is strongly monotone, and K A + shift Id takes away less")
    elif prior.bounded is not None:
        fact = Fact(prior.bounded.evidence, f"{prior.bounded.how}, so that x -> J(x - s B x) has a fixed point")
    return stated(SOLUTION, fact, f"not known: {_why_not(pair, prior)}")


def _why_not(pair: Mismatch, prior: ResolventProperties) -> str:
    lowest, own = pair.symmetric_part_min, strength(prior).value
    zero = " up to rounding" if lowest.value <= 0 <= lowest.value + lowest.error else ""
    low = 0.0 if zero else lowest.value
    if own <= 0:
        return f"lambda_min(sym) is {low:.3g}{zero}, so K A is not strongly monotone, and the prior does not contract"
    return (
        f"lambda_min(sym) is {low:.3g}{zero}; the prior contracts, is strongly monotone with {own:.3g} over the step "
        "size, and makes up for it with a smaller step or a greater weight"
    )
