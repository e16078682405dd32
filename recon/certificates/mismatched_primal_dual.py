"""Certificate of the primal-dual splitting with a surrogate of the dual operator's adjoint."""

import math

from recon.certificates.certificate import Certificate, at_most, below, positive
from recon.certificates.conditions import (
    MISMATCHED,
    evaluated_exactly,
    exact_adjoint,
    firmly_nonexpansive,
    lipschitz,
    strength,
)
from recon.evidence import Constant, Proved, derive, from_above
from recon.operators import OperatorProperties
from recon.operators.rounding import rounded_down, rounded_up
from recon.priors import ResolventProperties


def certify_mismatched_condat_vu(  # noqa: PLR0913, PLR0917  the problem has as many parts
    operator: OperatorProperties | None,
    prior: ResolventProperties,
    dual_pair: OperatorProperties,
    dual_prior: ResolventProperties,
    stepsize: float,
    dual_stepsize: float,
    strengths: tuple[Constant, Constant] | None = None,
) -> Certificate:
    """The primal-dual splitting with V^T in the place of the dual operator's adjoint A^T, without relaxation.

    *Theorem*. Let M be g-strongly and N^-1 h-strongly monotone, both maximally, B monotone and (1/L)-cocoercive, and
    let g h > d^2/4 with d = ||A - V||. Then 0 in B x + M x + V^T u, 0 in N^-1 u - A x has exactly one solution. If the
    steps s, t are those of the matched method, 1/s - t ||A||^2 >= L/2, then (x, u) converges to it linearly.

    *Proof*. The operator (B + M + V^T u, N^-1 - A x) is strongly monotone, for <(V - A) x, u> >= -d ||x|| ||u||, and
    maximal, as the sum of a maximal one and of a monotone continuous one, so it has one zero. Let e be the error before
    a step, e' after it and z the step itself, P = ((1/s, -A^T), (-A, 1/t)) and D = A - V. Monotonicity at e' gives
    ||e'||_P^2 + ||z||_P^2 - L/2 ||z_x||^2 + 2 g ||e'_x||^2 + 2 h ||e'_u||^2 <= ||e||_P^2 + 2 <D e'_x, e_u>, where the
    term with L is what cocoercivity leaves of B. The steps make ||z||_P^2 - L/2 ||z_x||^2 >= 0. With
    k = d / (2 sqrt(g h)) < 1 the last product is at most 2 k g ||e'_x||^2 + 2 k h ||e_u||^2, so for
    E(e) = ||e||_P^2 + 2 k h ||e_u||^2 it follows that E(e') + 2 (1 - k) (g ||e'_x||^2 + h ||e'_u||^2) <= E(e):
    E shrinks by the factor 1/(1 + c), c = 2 (1 - k) min (g ||e_x||^2 + h ||e_u||^2) / E(e).

    Both conditions are sharp: in one dimension, A = 1 and V = -1 have no unique zero at g h = d^2/4, and for A = 1,
    V = 3, g = h = 1 an eigenvalue of the step passes -1 at s = t = 1. That g h > d^2/4 is enough for a zero and for
    convergence is in Lorenz and Schneppe (2023), for the method of Chambolle and Pock; Chouzenoux, Contreras, Pesquet
    and Savanier (2023) treat the splitting with a cocoercive term.

    Args:
        operator: Of the data map B = H^T(H . - y), ``None`` where the primal-dual runs without one.
        prior: Of the primal resolvent J, that of s M.
        dual_pair: The norm of A, and in ``adjoint_gap`` the measured ||V - A|| / ||A||.
        dual_prior: Of the dual resolvent, that of t N^-1.
        stepsize: s.
        dual_stepsize: t.
        strengths: g and h where they are known; ``None``: m/s and m/t of the two resolvents, with
            m = (1 - q)/(1 + q) and q the Lipschitz constant of Q.
    """
    L = Proved(0.0, "there is no smooth term") if operator is None else lipschitz(operator)
    norm, gap = from_above(dual_pair.norm), from_above(dual_pair.adjoint_gap)
    d = derive(lambda a, b: a * b, norm, gap, how=f"||A - V||; {gap.how}")
    g, h = strengths or _strengths(prior, dual_prior, stepsize, dual_stepsize)
    joint = derive(_joint_strength, g, h, d, how=f"{g.how}; {h.how}; {d.how}")
    need = derive(
        lambda value, size: value / 2 + dual_stepsize * size**2 - 1 / stepsize, L, norm, how=f"{L.how}; {norm.how}"
    )
    factor = _factor(norm.value, d.value, g.value, h.value, stepsize, dual_stepsize)
    return Certificate(
        theorem="primal-dual splitting with a mismatched dual adjoint (cf. Lorenz and Schneppe 2023)",
        conclusion=f"the iterates converge linearly, by the factor {factor:.6g} a step at most, to the only "
        "zero of the mismatched inclusion, which is not the matched solution",
        in_words=f"{MISMATCHED}; the distance falls by the factor {factor:.6g} a step or faster",
        conditions=(
            *(() if operator is None else (exact_adjoint(operator),)),
            positive("the priors outweigh the mismatch, g h - ||A - V||^2 / 4", joint),
            at_most("the two step sizes are small enough together, L/2 - (1/s - t ||A||^2)", need, 0.0),
            below("the step size is positive", stepsize, Proved(math.inf, "any")),
            below("the dual step size is positive", dual_stepsize, Proved(math.inf, "any")),
            firmly_nonexpansive(prior, "the primal prior"),
            firmly_nonexpansive(dual_prior, "the dual prior"),
            evaluated_exactly(prior, "the primal prior"),
            evaluated_exactly(dual_prior, "the dual prior"),
        ),
    )


def _strengths(
    prior: ResolventProperties, dual_prior: ResolventProperties, stepsize: float, dual_stepsize: float
) -> tuple[Constant, Constant]:
    primal, dual = strength(prior), strength(dual_prior)
    return (
        derive(lambda m: m / stepsize, primal, how=f"g = m/s; {primal.how}"),
        derive(lambda m: m / dual_stepsize, dual, how=f"h = m/t; {dual.how}"),
    )


def _joint_strength(g: float, h: float, d: float) -> float:
    """g h - d^2/4 from below, and negative where g or h is not positive."""
    return rounded_down(g * h) - rounded_up(d**2 / 4) if g > 0 and h > 0 else min(g, h, 0.0) - d**2 / 4


def _factor(norm: float, d: float, g: float, h: float, s: float, t: float) -> float:  # noqa: PLR0913, PLR0917  of a theorem
    """1/sqrt(1 + c), by which the root of E shrinks; 1 where the theorem does not apply."""
    if not (_joint_strength(g, h, d) > 0 and s > 0 and t > 0):
        return 1.0
    k = d / (2 * math.sqrt(g * h))
    # E against g ||e_x||^2 + h ||e_u||^2: the largest eigenvalue of ((p, r), (r, q))
    p, q, r = 1 / (s * g), 1 / (t * h) + 2 * k, norm / math.sqrt(g * h)
    return 1 / math.sqrt(1 + 2 * (1 - k) / ((p + q) / 2 + math.hypot((p - q) / 2, r)))
