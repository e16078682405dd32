"""The stabilised explicit Langevin algorithm SK-ROCK."""

import math

from torch import Tensor

from recon._values import remembered
from recon.errors import UsageError
from recon.solvers.algorithm import check_stepsize
from recon.solvers.maps import require_maps
from recon.solvers.sampler import ChainState, Preconditioner, Sampler, no_preconditioner, started
from recon.types import Map

DAMPING = 0.05
"""eta of the Chebyshev polynomials, as Abdulle, Almuslimani and Vilmart (2018) choose it."""

_MODES = 200
"""Eigenvalues that are looked at."""


@remembered
def sk_rock(
    gradient: Map, stepsize: float, stages: int = 10, preconditioner: Preconditioner | None = None
) -> Sampler[ChainState]:
    """A Langevin step of s stages by Chebyshev polynomials, stable for h up to about 2 s^2 / L.

    *Theorem* (Abdulle, Almuslimani, Vilmart 2018; Pereyra, Vargas Mieles, Zygalakis 2020). Let U be convex with an
    L-Lipschitz gradient and ``h <= longest_step(s) / L``. Then the recursion is mean-square stable along each mode of
    the Hessian. Along a mode of a Gaussian with eigenvalue l the variance is :func:`sk_rock_variance`, and the mean is
    exact. For such a step s gradients move as far as s^2 of the unadjusted Langevin algorithm.

    Args:
        gradient: grad U, image to image.
        stepsize: h.
        stages: s, at least 2: the number of gradients of a step.
        preconditioner: P; ``None``: the identity. L is then that of ``R^T grad U(R u)``.

    Raises:
        UsageError: The gradient is no map, the step size is not positive, or there are fewer than two stages.
    """
    require_maps("sk_rock", {"gradient": gradient}, {})
    check_stepsize("sk_rock", stepsize)
    if stages < 2:
        raise UsageError(f"sk_rock: stages={stages!r}; expected at least 2, because one stage is the method ula.")
    by = preconditioner or no_preconditioner()
    w0, w1 = _weights(stages)
    ratios = [_chebyshev(j, w0)[0] for j in range(stages + 1)]
    spread = math.sqrt(2 * stepsize)

    def step(state: ChainState) -> ChainState:
        noise = spread * by.root(state.noise())
        before = state.x
        x = before - w1 / w0 * stepsize * _drift(before + stages * w1 / 2 * noise) + stages * w1 / w0 * noise
        for j in range(2, stages + 1):
            mu, nu = 2 * w1 * ratios[j - 1] / ratios[j], 2 * w0 * ratios[j - 1] / ratios[j]
            before, x = x, nu * x + (1 - nu) * before - mu * stepsize * _drift(x)
        return state.moved(x)

    def _drift(x: Tensor) -> Tensor:
        return by.apply(gradient(x))

    return Sampler("sk-rock", started, step, gradients=stages)


def longest_step(stages: int) -> float:
    """h L up to which a mode is stable, less a margin: ``(s - 1/2)^2 (2 - 4 eta / 3) - 3/2``."""
    return (stages - 0.5) ** 2 * (2 - 4 / 3 * DAMPING) - 1.5


def sk_rock_variance(stepsize: float, eigenvalue: float, stages: int) -> float:
    """The variance of the chain along an eigenvector of the Hessian of a Gaussian's U; exact it would be 1 / l.

    A step is ``x+ = a x + b sqrt(2 h) z`` with a and b from the recursion, run on the numbers 1 and 0, and 0 and 1.
    """
    a, b = _response(stepsize * eigenvalue, stages, 1.0, 0.0), _response(stepsize * eigenvalue, stages, 0.0, 1.0)
    return 2 * stepsize * b**2 / (1 - a**2)


def _response(z: float, stages: int, start: float, noise: float) -> float:
    w0, w1 = _weights(stages)
    before = start
    x = before - w1 / w0 * z * (before + stages * w1 / 2 * noise) + stages * w1 / w0 * noise
    for j in range(2, stages + 1):
        ratio = _chebyshev(j - 1, w0)[0] / _chebyshev(j, w0)[0]
        before, x = x, 2 * w0 * ratio * x + (1 - 2 * w0 * ratio) * before - 2 * w1 * ratio * z * x
    return x


def _weights(stages: int) -> tuple[float, float]:
    w0 = 1 + DAMPING / stages**2
    value, slope = _chebyshev(stages, w0)
    return w0, value / slope


def _chebyshev(degree: int, at: float) -> tuple[float, float]:
    """T_s and T_s' at a point of at least 1."""
    angle = math.acosh(at)
    slope = degree * math.sinh(degree * angle) / math.sinh(angle) if angle else float(degree**2)
    return math.cosh(degree * angle), slope


def accurate_step(stages: int, bias: float) -> float:
    """h L for which the variance of no mode with an eigenvalue up to L / s is off by more than a part ``bias``.

    Stiffer modes are damped: their variance, which is smaller than the others' by s at least, is too small.
    """
    step = longest_step(stages)
    while any(abs(sk_rock_variance(step, each, stages) * each - 1) > bias for each in _spectrum(1 / stages)):
        step /= 1.05
    return step


def _spectrum(largest: float) -> list[float]:
    return [largest * (place + 1) / _MODES for place in range(_MODES)]
