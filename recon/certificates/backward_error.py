"""Backward error of an image: the nearby problem that it nearly solves, after a run with an inexact resolvent."""

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from recon.certificates.conditions import lipschitz
from recon.certificates.error_bounds import ROUNDINGS, expansion, norms, refusal
from recon.errors import UsageError
from recon.evidence import Constant, Evidence, derive, finite_or_none, from_above
from recon.operators import LeastSquares, OperatorProperties, operator_properties
from recon.priors import resolvent_properties
from recon.types import Map


@final
@dataclass(frozen=True)
class BackwardError:
    """There is a point p near an image x that solves ``w in A^T(A p - y) + M p / s`` with a small w.

    Attributes:
        distance: A bound of ||x - p||; infinite where nothing can be said.
        relative: The same over ||x||.
        perturbation: A bound of ||w||, and so of the distance of 0 from A^T(A p - y) + M p / s.
        inner: The part of the distance that a finer evaluation of the resolvent would take away; the rest is what
            further steps would, and rounding.
        evidence: The weakest of what entered.
        how: The formula, or why nothing can be said.
    """

    distance: float
    relative: float
    perturbation: float
    inner: float
    evidence: Evidence
    how: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values, an infinite bound as null."""
        numbers = {
            "distance": self.distance,
            "relative": self.relative,
            "perturbation": self.perturbation,
            "inner": self.inner,
        }
        finite = {name: finite_or_none(number) for name, number in numbers.items()}
        return {**finite, "evidence": self.evidence.value, "how": self.how}

    def __str__(self) -> str:
        if math.isinf(self.distance):
            return f"not bounded: {self.how}"
        return (
            f"within {self.distance:.4g}, {100 * self.relative:.3g} %, of a point that solves the problem up to a "
            f"force of {self.perturbation:.4g} ({self.evidence}: {self.how})"
        )


@torch.no_grad()
def backward_error(
    data: LeastSquares, resolvent: Map, x: Tensor, stepsize: float, properties: OperatorProperties | None = None
) -> tuple[BackwardError, ...]:
    """The backward errors of images as solutions of ``0 in B x + M x / s`` with B = A^T(A . - y), one a batch item.

    *Theorem*. Let J be the resolvent of M, ||J~ v - J v|| <= e ||v||, v = x - s B x and p = J v, for any x, whatever
    iteration gave it, and any s > 0. Then ||x - p|| <= ||x - J~ v|| + e ||v||, and w = (x - p)/s - (B x - B p) is in
    B p + M p / s, with ||w|| <= max(1, s ||A||^2 - 1) ||x - p|| / s. *Proof*: v - p is in M p, and
    (v - p)/s + B p = w; s w is (Id - s A^T A)(x - p), and the eigenvalues of Id - s A^T A lie in [1 - s ||A||^2, 1].

    For M / s the subdifferential of g, p is a minimiser of ||A . - y||^2 / 2 + g - <w, .>. The error e of a resolvent
    (:attr:`recon.priors.ResolventProperties.error`) is relative to ||v||, the norm of what it is applied to: neither to
    the image nor to the length of a step. So the bound does not fall below e ||v||, however long the run.

    It costs one application of J~, of A and of A^T, in the precision of ``x``, whose rounding it allows for.

    Args:
        data: A and y, without a surrogate and a shift.
        resolvent: J~, with the error that its ``properties`` state.
        x: The images, (batch, ...).
        stepsize: s, of which the resolvent is.
        properties: Of A; ``None``: what it knows of itself, else measured.

    Raises:
        UsageError: The step size is not a positive finite number, or there is a surrogate or a shift.
    """
    _check(data, stepsize)
    known, prior = properties or operator_properties(data.operator, x[:1]), resolvent_properties(resolvent)
    spread = derive(
        lambda square, *_: max(1.0, stepsize * square - 1), lipschitz(known), from_above(prior.lipschitz_Q),
        prior.error, known.adjoint_gap,
        how="d = ||x - J~ v|| + e ||v||, v = x - s A^T(A x - y), and max(1, s ||A||^2 - 1) d / s",
    )  # fmt: skip
    if reason := refusal(known) or expansion(prior):
        return (_nothing(spread, reason),) * x.shape[0]
    rest = data.residual(x)
    v = x - stepsize * data.operator.A_adjoint(rest)
    q = resolvent(v)
    terms = stepsize * from_above(known.norm).value * (norms(rest) + 2 * norms(data.measurement))
    rounding = ROUNDINGS * torch.finfo(x.dtype.to_real()).eps * (norms(x) + norms(q) + terms)
    inner = from_above(prior.error).value * norms(v)
    rows = zip((norms(x - q) + inner + rounding).tolist(), inner.tolist(), norms(x).tolist(), strict=True)
    return tuple(_error(*row, spread, stepsize) for row in rows)


def _check(data: LeastSquares, stepsize: float) -> None:
    if not (stepsize > 0 and math.isfinite(stepsize)):
        raise UsageError(f"backward_error: stepsize={stepsize!r}; expected a positive finite number, that of the run.")
    if data.surrogate is not None or data.shift:
        raise UsageError(
            f"backward_error: there is a surrogate or a shift of {data.shift:g}; expected neither, because the problem "
            "is that of the exact adjoint: mismatch_error_bound is for the others."
        )


def _nothing(premise: Constant, reason: str) -> BackwardError:
    return BackwardError(math.inf, math.inf, math.inf, math.inf, premise.evidence, reason)


def _error(distance: float, inner: float, size: float, spread: Constant, stepsize: float) -> BackwardError:
    if not math.isfinite(distance):
        return _nothing(spread, "the image or its step is not finite")
    relative = distance / size if size else (math.inf if distance else 0.0)
    return BackwardError(distance, relative, spread.value * distance / stepsize, inner, spread.evidence, spread.how)
