"""Attempts to refute that a prior is firmly nonexpansive, where nothing proves it."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from recon.errors import GuaranteeError
from recon.evidence import Evidence, Fact, Measured
from recon.priors import Prior, Resolvent, ResolventProperties
from recon.priors.resolvent import as_lipschitz_constant

SLACK = 1e-3
"""By how much a secant may exceed what is assumed: single precision rounds the shortest ones that far."""

_FINE = 1e-6
"""The same for what a search finds in double precision."""

_STEPS = 20
_SIZE = 64


def reconcile_with_search(prior: Prior, hardest: Measured, thorough: bool = False, fine: bool = False) -> Prior:
    """The prior with what was measured in place of what was assumed, or measured before, where that is refuted.

    After a thorough search it also takes the place of an assumption that it does not refute, but not of one above 1:
    that rests on what an earlier search found, which one that finds less does not take back. Where it still finds a
    quotient above 1, that is kept as a counterexample.

    Args:
        prior: The prior.
        hardest: What was found.
        thorough: Whether the search was whole, so that what it did not find counts.
        fine: Whether it was in double precision; a thorough one is.

    Raises:
        GuaranteeError: What was measured refutes a *proved* claim: the proof or the code is wrong.
    """
    known = prior.resolvent(1.0).properties
    claim = known.lipschitz_Q
    slack = 1 + (_FINE if thorough or fine else SLACK)
    certain = hardest.value - hardest.error
    refuted = certain > claim.value * slack
    if claim.evidence is Evidence.PROVED:
        if refuted:
            raise GuaranteeError(
                f"{prior.name}: Lip(Q) <= {claim.value:.6g} is said to be proved ({claim.how}), but a search found "
                f"{hardest.value:.6g}: the proof or the code is wrong, so nothing is guaranteed."
            )
        return prior
    if refuted:
        return _known(prior, partial(_refuted, hardest))
    if claim.evidence is Evidence.ASSUMED and certain > slack:
        return _known(prior, partial(replace, counterexample=hardest, proximity=None))
    if claim.evidence is Evidence.ASSUMED and thorough and claim.value <= 1:
        return _known(prior, partial(_measured, hardest))
    return prior


def _known(prior: Prior, change: Callable[[ResolventProperties], ResolventProperties]) -> Prior:
    return replace(prior, resolvent=partial(_changed, prior, change))


def _changed(prior: Prior, change: Callable[[ResolventProperties], ResolventProperties], stepsize: float) -> Resolvent:
    assumed = prior.resolvent(stepsize)
    return replace(assumed, properties=change(assumed.properties))


def _measured(hardest: Measured, known: ResolventProperties) -> ResolventProperties:
    found = as_lipschitz_constant(hardest)
    return replace(known, lipschitz_Q=found, proximity=None if found.value > 1 else known.proximity)


def _refuted(hardest: Measured, known: ResolventProperties) -> ResolventProperties:
    """Refute the claim, and with it what followed from it."""
    found = _measured(hardest, known)
    return replace(found, attains=_proved(known.attains), everywhere=_proved(known.everywhere))


def _proved(fact: Fact | None) -> Fact | None:
    return fact if fact is not None and fact.evidence is Evidence.PROVED else None


def attack(resolvent: Resolvent, seed: int = 0, channels: int = 1, dtype: torch.dtype = torch.float64) -> Measured:
    """The largest ||Q(x) - Q(z)|| / ||x - z|| that was found, with Q = 2J - Id: it refutes firmness above 1.

    Secants from three kinds of images (constant, noise, a step), at three distances, each direction turned towards
    the image of the last: a power iteration on the derivative, for which any symmetric derivative is enough.
    """
    generator = torch.Generator().manual_seed(seed)
    side, accuracy = _SIZE, resolvent.properties.error.value
    step = torch.zeros(channels, side, side)
    step[..., side // 2 :] = 1
    noise = torch.rand(step.shape, generator=generator)
    worst, error, tried = 0.0, math.inf, 0
    for start in (torch.full_like(step, 0.5), noise, step):
        for distance in (1e-2, 1.0, 10.0):
            x = start[None].to(dtype)
            direction = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            for _ in range(_STEPS):
                direction = distance * direction / torch.linalg.vector_norm(direction)
                # without the graph of a network whose weights are still to be trained
                difference = (2 * (resolvent(x + direction) - resolvent(x)) - direction).detach()
                size, tried = float(torch.linalg.vector_norm(difference)), tried + 1
                norms = float(torch.linalg.vector_norm(x) + torch.linalg.vector_norm(x + direction))
                radius = 2 * accuracy * norms / distance
                if size / distance - radius > worst - error:
                    worst, error = size / distance, radius
                if size == 0:
                    break
                direction = difference
    return Measured(worst, f"the largest of {tried} secants on {side} x {side} images: a lower bound", error)
