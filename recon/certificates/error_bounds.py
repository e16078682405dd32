"""Bounds of the distance of an image from the matched solution, computed after the run.

The matched solution x* is the zero of A^T(A x - y) + M x / s, which the exact adjoint would have given; the image at
hand comes from a surrogate, a shift, a run that was stopped, or all three.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from recon.certificates.conditions import ROUNDING, lower_bound, strength
from recon.errors import UsageError
from recon.evidence import Constant, Evidence, Length, derive, from_above, from_below
from recon.operators import LeastSquares, OperatorProperties, operator_properties
from recon.operators.rounding import rounded_down, sum_rounded_down
from recon.priors import ResolventProperties, resolvent_properties
from recon.types import LinearOperator, Map

ROUNDINGS = 64
"""Rounding units allowed for in the sums of a bound."""


@final
@dataclass(frozen=True)
class ErrorBound(Length):
    """An upper bound of the distance ||x - x*|| of one image from the matched solution.

    Attributes:
        value: The bound; infinite where nothing can be said.
        relative: The same over ||x||.
        evidence: The weakest of what entered.
        how: The formula, or why nothing can be said.
    """

    def __str__(self) -> str:
        if math.isinf(self.value):
            return f"not bounded: {self.how}"
        if self.relative >= 1:
            return f"at most {self.value:.2g}, more than the image itself: no help ({self.evidence}: {self.how})"
        return f"at most {self.value:.4g}, {100 * self.relative:.3g} % ({self.evidence}: {self.how})"


@torch.no_grad()
def mismatch_error_bound(
    data: LeastSquares,
    resolvent: Map,
    x: Tensor,
    stepsize: float,
    properties: OperatorProperties | None = None,
) -> tuple[ErrorBound, ...]:
    """Bounds of the distance of images from the matched solution, one a batch item.

    *Theorem*. Let M be m-strongly monotone and l the smallest eigenvalue of A^T A, with m + s l > 0. For any v and
    p = J(v) the solution x* of 0 in A^T(A x - y) + M x / s satisfies
    ||p - x*|| <= ||v - p + s A^T(A p - y)|| / (m + s l). *Proof*: v - p is in M p and -s A^T(A x* - y) in M x*, so
    <v - p + s A^T(A x* - y), d> >= m ||d||^2 for d = p - x*; add s <A^T A d, d> >= s l ||d||^2.

    With Lip(Q) <= q, m = (1 - q)/(1 + q). The surrogate's own step, v = x - s (K(A x - y) + k x), gives the distance
    ||(A^T - K)(A x - y) - k x|| / (l + m/s) at its fixed point x = p, shift included; the matched step,
    v = x - s A^T(A x - y), gives no more there if s <= 2/(||A||^2 + l). The smaller of the two is taken, each
    with ||x - p|| added, so that it holds for the image at hand, wherever the run was stopped. For a resolvent with
    the relative error e, (1 + (1 + s ||A||^2)/(m + s l)) e ||v|| is added.

    The bound costs two applications of J, three of A, three of A^T and one of K, in the precision of ``x``, whose
    rounding it allows for.

    Args:
        data: A, y, the surrogate K and the shift k; without a surrogate the bound is that of an unfinished run.
        resolvent: J.
        x: The images, (batch, ...).
        stepsize: s, as in the run.
        properties: Of A; ``None``: what it knows of itself, else measured.

    Raises:
        UsageError: The step size is not a positive finite number.
    """
    _check(stepsize)
    known, prior = properties or operator_properties(data.operator, x[:1]), resolvent_properties(resolvent)
    reason = refusal(known) or expansion(prior)
    strong = derive(
        lambda m, least, *_: rounded_down(m + stepsize * max(least, 0.0)), strength(prior),
        from_below(known.gram_min), prior.error, known.adjoint_gap, how="m + s lambda_min(A^T A)",
    )  # fmt: skip
    if not strong.value > 0 or reason:
        return _nothing(x, strong, reason or "neither the prior nor A^T A is strongly monotone")
    step = _Step(data, resolvent, x, stepsize)
    slack = from_above(prior.error).value * (1 + (1 + stepsize * from_above(known.norm).value ** 2) / strong.value)
    bounds = torch.fmin(*(step.distance(v, strong.value, slack) for v in step.starts()))
    return _bounds(bounds, x, strong, "||x - p|| + ||v - p + s A^T(A p - y)|| / (m + s lambda_min), p = J(v)")


@torch.no_grad()
def limit_error_bound(
    data: LeastSquares, resolvent: Map, x: Tensor, stepsize: float, monotone: Constant
) -> tuple[ErrorBound, ...]:
    """Bounds of the distance of images from the limit of their own run, one a batch item.

    *Theorem*. Let B x = K(A x - y) + k x be l-strongly monotone and M m-strongly, l + m/s > 0, p = J(x - s B x) with J
    the resolvent of M, and x* the zero of B + M/s. Then ||x - x*|| <= ||x - p|| + ||w|| / (l + m/s),
    w = (x - p)/s - B x + B p. *Proof*: w is in B p + M p / s and 0 in B x* + M x* / s, so that strong monotonicity
    gives (l + m/s) ||p - x*||^2 <= <w, p - x*>. For the step x+ = p of forward-backward it is at most
    (1 + (1/s + ||B||) / (l + m/s)) ||x+ - x||.

    It costs one application of J and two of A and K, in the precision of ``x``, whose rounding it allows for.

    Args:
        data: B.
        resolvent: J, evaluated exactly.
        x: The images, (batch, ...).
        stepsize: s > 0, of which J is the resolvent.
        monotone: l, a lower bound of <x, (K A + k) x> / ||x||^2.

    Raises:
        UsageError: The step size is not a positive finite number.
    """
    _check(stepsize)
    prior = resolvent_properties(resolvent)
    strong = derive(
        lambda m, least, *_: sum_rounded_down(m / stepsize, least), strength(prior), lower_bound(monotone), prior.error,
        how="l + m/s",
    )  # fmt: skip
    reason = expansion(prior) or ("the resolvent is not evaluated exactly" if prior.error.value else "")
    if not strong.value > 0 or reason:
        return _nothing(x, strong, reason or "neither the prior nor the data term is strongly monotone")
    forward = stepsize * data(x)
    p = resolvent(x - forward)
    back = stepsize * data(p)
    sizes = sum(norms(part) for part in (x, p, forward, back))
    rounding = ROUNDINGS * torch.finfo(x.dtype.to_real()).eps * sizes
    distance = norms(x - p) + (norms(x - p - forward + back) + rounding) / (stepsize * strong.value)
    return _bounds(distance, x, strong, "||x - p|| + ||(x - p)/s - B x + B p|| / (l + m/s), p = J(x - s B x)")


@dataclass(frozen=True)
class _Step:
    data: LeastSquares
    resolvent: Map
    x: Tensor
    stepsize: float

    def starts(self) -> tuple[Tensor, Tensor]:
        """The points of which J is taken, by the surrogate and by the adjoint."""
        rest = self.data.residual(self.x)
        matched = self.data.operator.A_adjoint(rest)
        by_surrogate = matched if self.data.surrogate is None else self.data.surrogate(rest)
        by_surrogate = by_surrogate.add(self.x, alpha=self.data.shift)
        return self.x - self.stepsize * by_surrogate, self.x - self.stepsize * matched

    def distance(self, v: Tensor, strong: float, slack: float) -> Tensor:
        """The bound of ||x - x*|| of each item from one point."""
        p = self.resolvent(v)
        force = self.stepsize * self.data.operator.A_adjoint(self.data.residual(p))
        rounding = ROUNDINGS * torch.finfo(self.x.dtype.to_real()).eps * (norms(v) + norms(p) + norms(force))
        return norms(self.x - p) + (norms(v - p + force) + rounding) / strong + slack * norms(v)


@torch.no_grad()
def primal_dual_error_bound(  # noqa: PLR0913, PLR0917  the problem has as many parts
    gradient: Map | None,
    resolvent: Map,
    dual_operator: LinearOperator,
    dual_resolvent: Map,
    back: Map,
    x: Tensor,
    u: Tensor,
    stepsize: float,
    dual_stepsize: float,
    strengths: tuple[Constant, Constant] | None = None,
    properties: OperatorProperties | None = None,
) -> tuple[ErrorBound, ...]:
    """Bounds of the distance of images from the matched primal solution of a primal-dual problem, one a batch item.

    *Theorem*. Let M be g-strongly and N^-1 h-strongly monotone, B monotone, and (x*, u*) a solution of
    0 in B x + M x + A^T u, 0 in N^-1 u - A x. For a step p = J(x - s (B x + V^T u)), q = R(u + t A(2p - x)) from any
    (x, u) let a = ||(x - p)/s - V^T u + A^T q - B x + B p|| and b = ||(u - q)/t + A(p - x)||. Then
    ||p - x*|| <= (a + sqrt(a^2 + g b^2/h)) / (2 g), which is ||(A - V)^T u|| / g at the fixed point. *Proof*: the two
    are in the operator of the matched problem at (p, q), so g X^2 + h U^2 <= a X + b U for the distances X and U of
    (p, q) from (x*, u*), and the largest b U - h U^2 is b^2/(4h).

    Args:
        gradient: B, with its exact adjoint, or ``None``.
        resolvent: J, that of s M.
        dual_operator: A, with its exact adjoint.
        dual_resolvent: R, that of t N^-1.
        back: V^T.
        x: The images, (batch, ...).
        u: The dual variable of the run.
        stepsize: s.
        dual_stepsize: t.
        strengths: g and h where they are known; ``None``: from the resolvents, as in
            :func:`recon.certificates.certify_mismatched_condat_vu`.
        properties: Of A; ``None``: what it knows of itself, else measured.

    Raises:
        UsageError: A step size is not a positive finite number.
    """
    _check(stepsize)
    _check(dual_stepsize)
    known = properties or operator_properties(dual_operator, x[:1])
    primal, dual = resolvent_properties(resolvent), resolvent_properties(dual_resolvent)
    g, h = strengths or (strength(primal), strength(dual))
    g, h = (_over(g, stepsize), _over(h, dual_stepsize)) if strengths is None else (from_below(g), from_below(h))
    both = derive(lambda *values: min(values[:2]), g, h, primal.error, dual.error, known.adjoint_gap, how=g.how)
    reason = refusal(known) or ("a resolvent is not exact" if primal.error.value or dual.error.value else "")
    if not both.value > 0 or reason:
        return _nothing(x, both, reason or "the prior or the dual prior is not strongly monotone")
    smooth = gradient or torch.zeros_like
    descent, start = back(u), smooth(x)
    p = resolvent(x - stepsize * (start + descent))
    q = dual_resolvent(u + dual_stepsize * dual_operator.A(2 * p - x))
    a = norms((x - p) / stepsize - descent + dual_operator.A_adjoint(q) - start + smooth(p))
    b = norms((u - q) / dual_stepsize + dual_operator.A(p - x))
    distance = (a + torch.sqrt(a**2 + g.value / h.value * b**2)) / (2 * g.value)
    rounding = ROUNDINGS * torch.finfo(x.dtype.to_real()).eps * (norms(x) / stepsize + norms(descent)) / g.value
    return _bounds(norms(x - p) + distance + rounding, x, both, "||(A - V)^T u|| / g and what the run lacks")


def _over(strong: Constant, stepsize: float) -> Constant:
    return derive(lambda m: m / stepsize, strong, how=strong.how)


def _check(stepsize: float) -> None:
    if not (stepsize > 0 and math.isfinite(stepsize)):
        raise UsageError(f"error bound: stepsize={stepsize!r}; expected a positive finite number, that of the run.")


def refusal(known: OperatorProperties) -> str:
    """Return the reason why nothing can be said with this operator, or nothing."""
    return "" if known.adjoint_gap.value <= ROUNDING else "the adjoint is not exact"


def expansion(prior: ResolventProperties) -> str:
    """Return the reason why nothing can be said with this prior, or nothing."""
    return "" if from_above(prior.lipschitz_Q).value <= 1 else "the prior is not known to be firmly nonexpansive"


def norms(x: Tensor) -> Tensor:
    """The norm of each batch item, in double precision."""
    parts = torch.view_as_real(x) if x.is_complex() else x
    norms: Tensor = torch.linalg.vector_norm(parts.flatten(1), dim=1, dtype=torch.float64)
    return norms


def _nothing(x: Tensor, premise: Constant, reason: str) -> tuple[ErrorBound, ...]:
    return (ErrorBound(math.inf, math.inf, premise.evidence, reason),) * x.shape[0]


def _bounds(values: Tensor, x: Tensor, premise: Constant, how: str) -> tuple[ErrorBound, ...]:
    pairs = zip(values.tolist(), norms(x).tolist(), strict=True)
    return tuple(_bound(value, size, premise.evidence, how) for value, size in pairs)


def _bound(value: float, size: float, evidence: Evidence, how: str) -> ErrorBound:
    if not math.isfinite(value):
        return ErrorBound(math.inf, math.inf, evidence, "the image or its step is not finite")
    return ErrorBound(value, value / size if size else (math.inf if value else 0.0), evidence, how)
