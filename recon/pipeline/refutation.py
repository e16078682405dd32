"""Attempts to refute that a prior is firmly nonexpansive, where nothing proves it."""

from dataclasses import replace

import torch

from recon.evidence import Evidence, Measured
from recon.priors import Prior, Resolvent

SLACK = 1e-3
"""By how much a secant may exceed what is assumed: single precision rounds the shortest ones that far."""

_STEPS = 20
_SIZE = 64


def believed(prior: Prior, hardest: Measured, thorough: bool = False) -> Prior:
    """The prior with what was measured in place of what was assumed, or measured before, where that is refuted.

    After a thorough search it also takes the place of an assumption that it does not refute.
    """
    known = prior.resolvent(1.0).properties
    claim = known.lipschitz_Q
    looked_at = thorough and claim.evidence is Evidence.ASSUMED
    if claim.evidence is Evidence.PROVED or not (looked_at or hardest.value > claim.value * (1 + SLACK)):
        return prior

    def resolvent(stepsize: float) -> Resolvent:
        assumed = prior.resolvent(stepsize)
        properties = replace(assumed.properties, lipschitz_Q=hardest)
        if claim.value < 1:  # what followed from a contraction is refuted with it
            properties = replace(properties, attains=None, everywhere=None)
        return replace(assumed, properties=properties)

    return replace(prior, resolvent=resolvent)


def attack(resolvent: Resolvent, seed: int = 0, channels: int = 1, dtype: torch.dtype = torch.float64) -> Measured:
    """The largest ||Q(x) - Q(z)|| / ||x - z|| that was found, with Q = 2J - Id: it refutes firmness above 1.

    Secants from three kinds of images (constant, noise, a step), at three distances, each direction turned towards
    the image of the last: a power iteration on the derivative, for which any symmetric derivative is enough.
    """
    generator = torch.Generator().manual_seed(seed)
    side = _SIZE
    step = torch.zeros(channels, side, side)
    step[..., side // 2 :] = 1
    noise = torch.rand(step.shape, generator=generator)
    worst, tried = 0.0, 0
    for start in (torch.full_like(step, 0.5), noise, step):
        for distance in (1e-2, 1.0, 10.0):
            x = start[None].to(dtype)
            direction = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            for _ in range(_STEPS):
                direction = distance * direction / torch.linalg.vector_norm(direction)
                difference = 2 * (resolvent(x + direction) - resolvent(x)) - direction
                size = float(torch.linalg.vector_norm(difference))
                worst, tried = max(worst, size / distance), tried + 1
                if size == 0:
                    break
                direction = difference
    return Measured(worst, f"the largest of {tried} secants on {side} x {side} images: a lower bound")
