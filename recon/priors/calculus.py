"""New resolvents and priors from old ones, each keeping the evidence of the one it is made from."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from recon._values import remembered
from recon.errors import GuaranteeError, UsageError
from recon.evidence import Assumed, Constant, Evidence, Fact, derive, from_above
from recon.operators.rounding import rounded_up
from recon.priors.closed_forms import as_made, number_of
from recon.priors.prior import Prior
from recon.priors.resolvent import Resolvent, ResolventProperties
from recon.priors.smooth import Smooth
from recon.types import Map

_ROUNDINGS = 128
"""Rounding units: an iteration to a finer accuracy than this is run in double precision."""


_MAPPED = "scaling maps solutions to solutions"


@remembered
def conjugate(resolvent: Resolvent, sigma: float) -> Resolvent:
    """``x -> x - sigma J(x / sigma)``: the resolvent of ``sigma A^-1``, where ``J`` is that of ``A / sigma``.

    For a proximity operator this is Moreau's decomposition: ``resolvent`` is that of ``g / sigma`` and the result
    that of ``sigma g*``. The new Q is ``-sigma Q(x / sigma)``, so its Lipschitz constant, and the bound of the error
    of an inexact J, are the old ones. Attainment says nothing about the inverse, so it is not passed on.

    Args:
        resolvent: That of ``A / sigma``: for an indicator, such as a box or a ball, sigma does not enter.
        sigma: The dual step size, positive.

    Raises:
        UsageError: ``sigma`` is not a positive finite number.
    """
    _check_positive("conjugate", "sigma", sigma)
    known = resolvent.properties
    properties = ResolventProperties(
        lipschitz_Q=known.lipschitz_Q,
        proximity=_carry(known.proximity, "Moreau's decomposition keeps proximity operators"),
        error=known.error,
        differentiable=known.differentiable,
    )
    return Resolvent(partial(_moreau, resolvent, sigma), properties, f"conjugate({resolvent.name}, {sigma:g})")


@remembered
def scaled(resolvent: Resolvent, scale: float) -> Resolvent:
    """``J_s(x) = s J(x / s)``: a prior made for one noise level used at s times that level.

    It is the resolvent of ``s A(x / s)``: every property of J holds for J_s with the same constants.

    Raises:
        UsageError: ``scale`` is not a positive finite number.
    """
    _check_positive("scaled", "scale", scale)
    known = resolvent.properties
    properties = ResolventProperties(
        lipschitz_Q=known.lipschitz_Q,
        proximity=_carry(known.proximity, "scaling keeps proximity operators"),
        attains=_carry(known.attains, _MAPPED),
        attains_where_constants_are_seen=_carry(known.attains_where_constants_are_seen, _MAPPED),
        everywhere=known.everywhere,
        bounded=known.bounded,
        error=known.error,
        values=None if known.values is None else (scale * known.values[0], scale * known.values[1]),
        differentiable=known.differentiable,
    )
    local = None if resolvent.local is None else resolvent.local.times(scale)
    apply = partial(_scaled, resolvent, scale) if local is None else partial(local.of_rows, 0)
    return Resolvent(apply, properties, f"scaled({resolvent.name}, {scale:g})", local)


@remembered
def relaxed(resolvent: Resolvent, share: float) -> Resolvent:
    """``(1 - a) x + a J(x)``: a prior made for one noise level used at a lower one, of which it takes away the share a.

    The new Q is ``(1 - a) Id + a Q``, and the resolvent of a prior whose domain is the whole space where a < 1: with J
    monotone and continuous the map is strongly monotone and continuous, hence onto. A mean of proximity operators is
    one (Moreau 1965).

    Args:
        resolvent: J.
        share: a, between 0 and 1, 0 excluded.

    Raises:
        UsageError: ``share`` is outside its range.
    """
    if not 0 < share <= 1:
        raise UsageError(f"relaxed: share={share!r}; expected a number above 0, and at most 1.")
    if share == 1:
        return resolvent
    known, why = resolvent.properties, "and its mean with the identity, too"
    q = known.lipschitz_Q
    contracts, nonexpansive = q.value + q.error < 1, q.value + q.error <= 1
    strong = Fact(q.evidence, f"Lip(Q) < 1 makes the prior strongly monotone, {why}; {q.how}")
    onto = Fact(q.evidence, f"(1 - a) Id + a J is onto where J is monotone; {q.how}")
    how = f"{q.how}; {share:.4g} of it, and the rest 1"
    value = rounded_up(1 - share + share * q.value)  # without rounding 1 stays 1, and is no contraction
    part = replace(q, value=min(value, 1.0) if q.value <= 1 else value, error=share * q.error, how=how)
    if q.evidence is Evidence.MEASURED and not nonexpansive:
        part = Assumed(part.value, f"{how}, which bounds Lip(Q) from above where it is right")  # refutes nothing
    properties = ResolventProperties(
        lipschitz_Q=part,
        proximity=_carry(known.proximity, "a mean of proximity operators is one"),
        attains=strong if contracts else None,
        attains_where_constants_are_seen=_carry(known.attains_where_constants_are_seen, why),
        everywhere=onto if nonexpansive else None,
        error=derive(lambda value: share * value, known.error, how=known.error.how),
        values=known.values,
        differentiable=known.differentiable,
    )
    return Resolvent(partial(_relaxed, resolvent, share), properties, f"relaxed({resolvent.name}, {share:.3g})")


@remembered
def reweighted(resolvent: Resolvent, weight: float, accuracy: float = 1e-6, max_steps: int = 1000) -> Resolvent:
    """``J_tA``, the resolvent of ``t A`` where ``resolvent`` is that of A: the same prior, t times as strong.

    *Theorem*. With J_A = (Id + Q)/2 and Q q-Lipschitz, q <= 1, the point z = J_tA(x) is J_A(w) where w solves
    ``w = (2 x - (1 - t) Q w) / (1 + t)``, a contraction with the factor ``c = q |1 - t| / (1 + t) < 1`` for every
    t > 0. *Proof*: w - z is in A z, so z + t (w - z) = x, which is t w + (1 - t)(w + Q w)/2 = x. After a step of
    length d the point is within ``c d / (1 - c)`` of w, and J_A is nonexpansive, which proves the accuracy. The new
    Q is ``((1 + t) Q + (1 - t) Id)((1 + t) Id + (1 - t) Q)^-1``; its Lipschitz constant is the largest modulus of that
    fraction of a number in the disc of radius q, which is at q or at -q.

    Autograd passes through the steps. An item that holds NaN or infinity is returned as it is.

    Args:
        resolvent: J_A.
        weight: t, positive.
        accuracy: The bound of the error relative to the norm of the input, for each batch item.
        max_steps: The budget of applications of J_A.

    Raises:
        UsageError: The weight or the accuracy is out of range, Q is not known to be nonexpansive, or J_A is itself
            evaluated by an inner iteration.
        GuaranteeError: When called: the budget is spent before the accuracy is reached.
    """
    _check_positive("reweighted", "weight", weight)
    if not 0 < accuracy < 1:
        raise UsageError(f"reweighted: accuracy={accuracy!r}; expected a number between 0 and 1, both excluded.")
    known = resolvent.properties
    if not from_above(known.lipschitz_Q).value <= 1:
        raise UsageError(
            f"reweighted: Lip(Q) of {resolvent.name} is {known.lipschitz_Q}; expected at most 1, because the equation "
            "of the new weight may have no solution otherwise."
        )
    if known.error.value > 0:
        raise UsageError(
            f"reweighted: {resolvent.name} is evaluated with the error {known.error.value:g}; expected an exact one, "
            "because nothing would bound the error of the result: give its own weight another value instead."
        )
    t, q = weight, from_above(known.lipschitz_Q).value
    contraction = q * abs(1 - t) / (1 + t)

    def apply(x: Tensor) -> Tensor:
        if accuracy < _ROUNDINGS * torch.finfo(x.dtype).eps:
            return apply(x.to(torch.promote_types(x.dtype, torch.float64))).to(x.dtype)
        w, goal = x, accuracy * _norms(x) * (1 - contraction)
        moving = torch.ones_like(goal, dtype=torch.bool)
        for _ in range(max_steps):
            step = (2 * x - (1 - t) * (2 * resolvent(w) - w)) / (1 + t) - w
            w = torch.where(moving.view(-1, *[1] * (x.ndim - 1)), w + step, w)  # each item stops by itself
            moving = moving & (contraction * _norms(step) > goal)
            if not bool(moving.any()):
                return resolvent(w)
        raise GuaranteeError(
            f"reweighted: after {max_steps} steps the accuracy of {accuracy:g} is not reached; raise max_steps."
        )

    properties = ResolventProperties(
        lipschitz_Q=derive(
            lambda value: min(1.0, rounded_up(_moebius(value, t))),
            known.lipschitz_Q,
            how=f"{known.lipschitz_Q.how}; of t A",
        ),
        proximity=_carry(known.proximity, "t times a convex function is convex"),
        attains=_carry(known.attains, "a multiple of A is A with another operator"),
        everywhere=known.everywhere,
        bounded=known.bounded,
        error=derive(
            lambda *_: accuracy,
            known.error,
            known.lipschitz_Q,
            how="the contraction bounds the error, up to rounding; a call that misses the accuracy raises",
        ),
        values=known.values,
        differentiable=known.differentiable,
    )
    return Resolvent(apply, properties, f"reweighted({resolvent.name}, {weight:g})")


@remembered
def scaled_prior(prior: Prior, scale: float) -> Prior:
    """``R_c(x) = c^2 R(x / c)``: a prior made for one noise level, used at c times that level; see :func:`scaled`."""
    _check_positive("scaled_prior", "scale", scale)
    split, value, constraint, smooth = prior.split, prior.value, prior.constraint, prior.smooth
    return Prior(
        f"scaled({prior.name}, {scale:g})",
        partial(_scaled_family, prior.resolvent, scale),
        None
        if split is None
        else replace(split, conjugate_resolvent=partial(_scaled_family, split.conjugate_resolvent, scale)),
        None if value is None else partial(_scaled_value, value, scale),
        None if constraint is None else scaled(constraint, scale),
        None if smooth is None else Smooth(partial(_scaled, smooth.gradient, scale), smooth.lipschitz),
        sparse=None if prior.sparse is None else replace(prior.sparse, weight=scale * prior.sparse.weight),
    )


@remembered
def relaxed_prior(prior: Prior, share: float) -> Prior:
    """A prior that is a single resolvent J as ``(1 - a) Id + a J``, for a lower noise level; see :func:`relaxed`."""
    return Prior(f"relaxed({prior.name}, {share:.3g})", partial(_relaxed_family, prior.resolvent, share))


@remembered
def weighted_prior(prior: Prior, weight: float | Tensor) -> Prior:
    """``w R``, for a prior that is a family of resolvents.

    With ``R = g(L x)`` the proximity operator of ``s (w g)*`` at u is w times that of ``s/w g*`` at u/w. A weight that
    is a tensor of one number gets its gradient through ``smooth``.
    """
    given, weight = weight, number_of(weight)
    _check_positive("weighted_prior", "weight", weight)
    split, value, smooth = prior.split, prior.value, prior.smooth

    return Prior(
        f"{weight:g} {prior.name}",
        partial(_weighted_family, prior.resolvent, weight),
        None
        if split is None
        else replace(split, conjugate_resolvent=partial(_weighted_dual, split.conjugate_resolvent, weight)),
        None if value is None else partial(_times_map, value, weight),
        prior.constraint,
        None
        if smooth is None
        else Smooth(partial(weighted_gradient, smooth.gradient, given, weight), _times(weight, smooth.lipschitz)),
        sparse=None if prior.sparse is None else replace(prior.sparse, weight=weight * prior.sparse.weight),
    )


Family = Callable[[float], Resolvent]


def _moreau(resolvent: Map, sigma: float, x: Tensor) -> Tensor:
    return x - sigma * resolvent(x / sigma)


def _scaled(resolvent: Map, scale: float, x: Tensor) -> Tensor:
    return scale * resolvent(x / scale)


def _scaled_value(value: Map, scale: float, x: Tensor) -> Tensor:
    return scale**2 * value(x / scale)


def _times_map(apply: Map, weight: float, x: Tensor) -> Tensor:
    return weight * apply(x)


def weighted_gradient(apply: Map, weight: float | Tensor, size: float, x: Tensor) -> Tensor:
    """Return a map times a weight, which is to be ``size`` as when the prior was made."""
    return as_made(weight, size) * apply(x)


def _relaxed(resolvent: Map, share: float, x: Tensor) -> Tensor:
    return torch.lerp(x, resolvent(x), share)


def _scaled_family(family: Family, scale: float, stepsize: float) -> Resolvent:
    return scaled(family(stepsize), scale)


def _relaxed_family(family: Family, share: float, stepsize: float) -> Resolvent:
    return relaxed(family(stepsize), share)


def _weighted_family(family: Family, weight: float, stepsize: float) -> Resolvent:
    return family(stepsize * weight)


def _weighted_dual(family: Family, weight: float, stepsize: float) -> Resolvent:
    known = family(stepsize / weight)
    of_dual = scaled(known, weight)  # the values are those of images, which stay as they are
    return replace(of_dual, properties=replace(of_dual.properties, values=known.properties.values))


def _times(weight: float, constant: Constant) -> Constant:
    return derive(lambda value: weight * value, constant, how=f"{weight:g} times: {constant.how}")


def _moebius(q: float, t: float) -> float:
    """The largest modulus of ((1 + t) z + 1 - t) / (1 + t + (1 - t) z) for |z| <= q <= 1."""
    return max(abs(((1 + t) * z + 1 - t) / (1 + t + (1 - t) * z)) for z in (q, -q))


def _norms(x: Tensor) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(x.flatten(1).double(), dim=1)
    return found


def _carry(fact: Fact | None, why: str) -> Fact | None:
    """The fact about the new resolvent, as believable as the fact about the old one."""
    return None if fact is None else Fact(fact.evidence, f"{fact.how}; {why}")


def _check_positive(function: str, argument: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise UsageError(f"{function}: {argument}={value!r}; expected a positive finite number.")
