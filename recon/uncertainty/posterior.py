"""Mean and standard deviation of the density of a problem, by chains."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recon.certificates.mixing import Mixing
from recon.evidence import Constant, derive
from recon.reconstruction.run import Result
from recon.solvers.chains import sample
from recon.solvers.kinetic import kinetic
from recon.solvers.langevin import langevin
from recon.solvers.sampler import Preconditioner, Sampler
from recon.solvers.sk_rock import accurate_step, sk_rock
from recon.types import Map
from recon.uncertainty.fourier_preconditioner import fourier_preconditioner, hessian_symbol, preconditioned_constant
from recon.uncertainty.maps import MIXED, NOT_MIXED, Maps
from recon.uncertainty.potential import Potential, potential_of
from recon.uncertainty.settings import Settings, stream

BIAS = 0.1
"""By which part the variance of a mode of a Gaussian may be off, where a method has a bias."""

STAGES = 10
"""Of SK-ROCK."""

STEP, FRICTION = 1.6, 0.07
"""Of the kinetic chain, over 1 / sqrt(L) and sqrt(L); below 2 a Gaussian is stable.

Of steps of 1, 1.4 and 1.7 and frictions of 0.07 to 0.6, on deblurring of a photograph and CT from 60 views, 64 x 64,
the longest and the least had the largest effective sample size."""

_APART = 1.5
"""By how much the starts are farther apart than the density is wide, about: so that chains have to come together."""

Watch = Callable[[int, int, Mixing | None], None]
"""Called as chains go on, with the steps, the budget and what was seen last."""


def posterior(result: Result, settings: Settings, watch: Watch | None = None) -> Maps:
    """Sample the density of a problem at a temperature, from its mode; see ``Settings.temperature``.

    Args:
        result: The solution.
        settings: The method, ``kinetic``, ``ula`` or ``sk-rock``.
        watch: See :data:`Watch`.

    Raises:
        UsageError: The problem has no density.
        GuaranteeError: A chain left the finite numbers.
    """
    plan, x = result.plan, result.solution.x
    potential = potential_of(plan)
    y, squared = plan.problem.measurement, settings.temperature * potential.noise**2
    by, measured = _preconditioner(potential, y, x, squared, settings.seed)
    energy = potential.energy_gradient(y.repeat_interleave(settings.chains, 0))
    proved = derive(lambda each: each / squared, potential.lipschitz, how=f"({potential.lipschitz.how}) / (T noise^2)")
    method = settings.method or "kinetic"
    sampler, constant, text = _sampler(method, lambda v: energy(v) / squared, proved, by, measured)
    steps = settings.steps // sampler.gradients

    def look(step: int, seen: Mixing | None) -> None:
        if watch is not None:
            watch(step, steps, seen)

    starts = _starts(x, by, settings)
    chains = sample(sampler, starts, settings.chains, stream(settings.seed, "chains"), max_steps=steps, callback=look)
    details: dict[str, object] = {
        "density": potential.penalty.how,
        "density_evidence": potential.penalty.evidence.value,
        "temperature": settings.temperature,
        "step": text,
        "lipschitz": {"value": constant.value, "evidence": constant.evidence.value, "how": constant.how},
        "chains": settings.chains,
        "steps": chains.steps,
        "gradients": chains.steps * sampler.gradients,
        "mixing": chains.mixing.to_json(),
    }
    status = MIXED if chains.mixing.mixed else NOT_MIXED
    std, block_std = ((each / settings.temperature).sqrt() for each in (chains.variance, chains.block_variance))
    return Maps(chains.mean, std, block_std, status, chains.mixing.sentence, details)


def _preconditioner(
    potential: Potential, y: Tensor, x: Tensor, squared: float, seed: int
) -> tuple[Preconditioner, Constant]:
    """P near the inverse of the Hessian of U, and the constant of the preconditioned gradient."""
    apart = math.sqrt(squared) / 2
    steepest = potential.energy_gradient(y[:1], bounded=False)
    symbol = hessian_symbol(potential.energy_gradient(y[:1]), x[:1], apart, seed) / squared
    by = fourier_preconditioner(symbol)
    return by, preconditioned_constant(lambda v: steepest(v) / squared, x[:1], 2 * apart, by)


def _sampler(
    method: str, gradient: Map, proved: Constant, by: Preconditioner, measured: Constant
) -> tuple[Sampler[Any], Constant, str]:
    """The chain, the constant that its step rests on, and the step in words.

    The kinetic chain is preconditioned, so its constant is measured; the Langevin chains take no preconditioner, and
    their step the constant that is proved.
    """
    bound = proved.value + proved.error
    if method == "kinetic":
        root = math.sqrt(measured.value)
        step, friction = STEP / root, FRICTION * root
        text = f"{step:.4g}, friction {friction:.4g}, preconditioned in the Fourier domain"
        return kinetic(gradient, step, friction, by), measured, text
    if method == "ula":
        step = 2 * (1 - 1 / (1 + BIAS)) / bound
        return langevin(gradient, step), proved, f"{step:.4g}: no variance of a Gaussian is off by more than {BIAS:g}"
    step = accurate_step(STAGES, BIAS) / bound
    return sk_rock(gradient, step, STAGES), proved, f"{step:.4g} with {STAGES} stages"


def _starts(x: Tensor, by: Preconditioner, settings: Settings) -> Tensor:
    """The solution, moved by draws of the nearest Gaussian of a stationary covariance, wider than it."""
    many = x.repeat_interleave(settings.chains, 0)
    generator = torch.Generator().manual_seed(stream(settings.seed, "starts"))
    noise = torch.randn(many.shape, generator=generator, dtype=many.dtype).to(many.device)
    return many + _APART * by.root(noise)
