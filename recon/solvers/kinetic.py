"""Kinetic Langevin dynamics by the splitting BAOAB."""

import math
from typing import NamedTuple

from torch import Tensor

from recon._values import remembered
from recon.errors import UsageError
from recon.solvers.algorithm import check_stepsize
from recon.solvers.maps import require_maps
from recon.solvers.sampler import ChainState, Preconditioner, Sampler, no_preconditioner
from recon.types import Map


class KineticState(NamedTuple):
    """A state of chains, with the velocity and the force at the image, which the next step begins with.

    Attributes:
        x: The images, (chains, channels, height, width).
        velocity: Of the same shape.
        drift: P grad U(x).
        seed: Of all noise.
        step: The number of steps taken.
    """

    x: Tensor
    velocity: Tensor
    drift: Tensor
    seed: int
    step: int


@remembered
def kinetic(
    gradient: Map, stepsize: float, friction: float, preconditioner: Preconditioner | None = None
) -> Sampler[KineticState]:
    """Half a kick, half a drift, the exact friction with its noise, half a drift, half a kick: one gradient a step.

    With ``c = exp(-g h)``: ``v -= (h/2) P grad U(x)``; ``x += (h/2) v``; ``v = c v + sqrt(1 - c^2) R z``; ``x += (h/2)
    v``; ``v -= (h/2) P grad U(x)``.

    *Theorem* (Leimkuhler, Matthews 2013). Let exp(-U) be Gaussian, l the largest eigenvalue of the Hessian of U in the
    coordinates ``R^-1 x``, and h < 2 / sqrt(l). Then the stationary law of x is exactly exp(-U), whatever the step.
    Of another U with an L-Lipschitz gradient its distance from exp(-U) is of the order of h^2. A chain forgets its
    start in about ``1 / sqrt(l)`` units of time where the Langevin algorithms take ``1 / l``, l the least eigenvalue.

    Args:
        gradient: grad U, image to image.
        stepsize: h, below ``2 / sqrt(L)``.
        friction: g.
        preconditioner: P; ``None``: the identity.

    Raises:
        UsageError: The gradient is no map, or the step size or the friction is not positive.
    """
    require_maps("kinetic", {"gradient": gradient}, {})
    check_stepsize("kinetic", stepsize)
    if not (friction > 0 and math.isfinite(friction)):
        raise UsageError(f"kinetic: friction={friction!r}; expected a positive finite number.")
    by = preconditioner or no_preconditioner()
    kept = math.exp(-friction * stepsize)
    renewed = math.sqrt(1 - kept**2)

    def init(x: Tensor, seed: int) -> KineticState:
        first = ChainState(x, seed, -1)  # noise of its own
        return KineticState(x, by.root(first.noise()), by.apply(gradient(x)), seed, 0)

    def step(state: KineticState) -> KineticState:
        v = state.velocity - stepsize / 2 * state.drift
        x = state.x + stepsize / 2 * v
        v = kept * v + renewed * by.root(ChainState(state.x, state.seed, state.step).noise())
        x = x + stepsize / 2 * v
        drift = by.apply(gradient(x))
        return KineticState(x, v - stepsize / 2 * drift, drift, state.seed, state.step + 1)

    return Sampler("kinetic", init, step)
