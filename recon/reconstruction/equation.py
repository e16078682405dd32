"""The optimality condition of a result, as what its derivative is taken of."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.evidence import Constant, from_above
from recon.methods.catalogue import ENTRIES
from recon.operators.tomography import WeightedTomography
from recon.priors import Prior, Resolvent
from recon.priors.split import Split
from recon.reconstruction.plan import Plan
from recon.solvers.derivative import Optimality
from recon.types import Map

CORNER = 5e-3
"""Of the largest difference in an image: below it, a penalty without a derivative is rounded."""


@dataclass(frozen=True)
class Stationarity:
    """The equation of a result.

    Attributes:
        equation: With its derivative.
        insert: From a change of the measurement as it was given to one as it is solved: of weighted rays, times the
            roots of their weights.
        back: From that to the image: K.
        back_transposed: K^T.
        note: What was changed so that it has a derivative, or nothing.
    """

    equation: Optimality
    insert: Map
    back: Map
    back_transposed: Map
    note: str


@torch.no_grad()
def stationarity(plan: Plan, x: Tensor) -> Stationarity:
    """The equation that the result of a plan solves.

    ``x = P(x - s (K(A x - y) + k x + grad R(x)))`` where the penalty R has a gradient, with P the projection on the
    bounds, and else ``x = J(x - s (K(A x - y) + k x))``. A penalty g(L x) without a gradient gets that of its Moreau
    envelope, which rounds its corner.

    Args:
        plan: What was run.
        x: Its result, (1, channels, ...), on the scale of the problem.

    Raises:
        UsageError: The result solves no such equation, or the prior has no derivative.
    """
    problem, pair = plan.problem, plan.pair
    _require_sum(plan)
    operator, surrogate = problem.operator, pair.surrogate
    shift = 0.0 if pair.mismatch is None else pair.mismatch.shift
    back = operator.A_adjoint if surrogate is None else surrogate.A_adjoint
    back_transposed = operator.A if surrogate is None else surrogate.A

    def gram(v: Tensor) -> Tensor:
        moved = back(operator.A(v))
        return moved.add(v, alpha=shift) if shift else moved

    def gram_transposed(v: Tensor) -> Tensor:
        moved = operator.A_adjoint(back_transposed(v))
        return moved.add(v, alpha=shift) if shift else moved

    part = _prior_part(plan, x)
    equation = Optimality(
        gram,
        gram if surrogate is None else gram_transposed,
        x,
        back(problem.measurement) - gram(x),
        part.gradient,
        part.resolvent,
        part.stepsize,
        symmetric=surrogate is None and part.symmetric,
        is_projection=part.is_projection,
    )
    insert = operator.weigh if isinstance(operator, WeightedTomography) else same
    return Stationarity(equation, insert, back, back_transposed, part.note)


def same(y: Tensor) -> Tensor:
    """Return what is given."""
    return y


def _require_sum(plan: Plan) -> None:
    method = plan.method
    if not (ENTRIES[method.name].takes_prior and method.solves_sum and method.steps is None):
        raise UsageError(
            f"the method is {method.name!r}; expected one whose limit is a zero of data term and prior, because arms "
            "are of that: --method forward_backward solves it."
        )


@dataclass(frozen=True)
class _PriorPart:
    gradient: Map | None
    resolvent: Resolvent | None
    stepsize: float
    symmetric: bool = True
    is_projection: bool = False
    note: str = ""


def is_single(prior: Prior) -> bool:
    """Whether a prior is one resolvent, whatever the step size, as a learned one is."""
    resolvent = prior.resolvent(1.0)
    return resolvent.properties.proximity is None or resolvent == prior.resolvent(2.0)


def _prior_part(plan: Plan, x: Tensor) -> _PriorPart:
    prior = plan.problem.prior.prior
    s = 1 / plan.pair.squared_norm
    if prior.smooth is not None:
        return _bounded(prior, prior.smooth.gradient, s, from_above(prior.smooth.lipschitz))
    s = (plan.method.stepsize or s) if is_single(prior) else s
    resolvent = prior.resolvent(s)
    factor = _factor(resolvent, x)
    if factor is not None:
        slope = (1 / factor - 1) / s
        return _bounded(prior, partial(_times, slope) if slope else None, s)
    if resolvent.properties.differentiable and prior.constraint is None and _flows(resolvent, x):
        known = resolvent.properties
        return _PriorPart(None, resolvent, s, known.proximity is not None, known.scale_free is not None)
    if prior.split is not None and plan.pair.surrogate is None:
        gradient, corner = _rounded(prior.split, x)
        note = f"differences below {corner:.2g} of the image are penalised by their squares"
        return _bounded(prior, gradient, s, note=note)
    raise UsageError(
        f"the prior is {prior.name!r}, whose solutions have no derivative; expected one that has, such as "
        "tv:smoothing=0.01, wavelet, l1, tikhonov or a network."
    )


def _bounded(
    prior: Prior, gradient: Map | None, s: float, lipschitz: Constant | None = None, note: str = ""
) -> _PriorPart:
    step = s if lipschitz is None else 1 / (1 / s + lipschitz.value)
    if prior.constraint is None:
        return _PriorPart(gradient, None, 1.0, note=note)
    return _PriorPart(gradient, prior.constraint, step, is_projection=True, note=note)


def _times(factor: float, x: Tensor) -> Tensor:
    return factor * x


def _factor(resolvent: Map, x: Tensor) -> float | None:
    """The number that a map multiplies by, on two images of noise; ``None`` where it does something else."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for size in (0.1, 100.0):
        noise = size * torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        image = resolvent(noise)
        factor = float((image.conj() * noise).real.sum() / noise.abs().square().sum())
        if not torch.allclose(image, factor * noise, rtol=1e-5, atol=1e-6 * size):
            return None
        found.append(factor)
    return found[0] if found[0] > 0 and abs(found[0] - found[1]) <= 1e-6 * found[0] else None


def _flows(resolvent: Map, x: Tensor) -> bool:
    with torch.enable_grad():
        return bool(resolvent(x.clone().requires_grad_()).requires_grad)


def _rounded(split: Split, x: Tensor) -> tuple[Map, float]:
    """The gradient of the Moreau envelope of g, behind L, and the difference of the image where it is rounded.

    With the parameter t it is ``L^T prox(g*/t)(L x / t)``, and for a norm of weight w the corner is at w t.
    """
    sized = split.on(tuple(x.shape[2:]))
    responses = sized.operator.A(x)
    largest = float(responses.abs().max()) or 1.0
    weight = float(sized.conjugate_resolvent(1.0)(responses * (1e6 / largest)).abs().max())
    corner = CORNER * largest
    t = corner / weight if weight > 0 else 1.0
    dual = sized.conjugate_resolvent(1 / t)

    def gradient(image: Tensor) -> Tensor:
        return sized.operator.A_adjoint(dual(sized.operator.A(image) / t))

    return gradient, corner
