"""The gradient of a reconstruction, through the optimality condition of its image."""

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.evidence import from_above
from recon.io import Array
from recon.methods.catalogue import ENTRIES
from recon.methods.mismatched import mismatched_data
from recon.operators import LeastSquares
from recon.priors import Prior
from recon.reconstruction.run import Result
from recon.solvers import Status, implicit
from recon.types import Map


def require_tensor(measurement: Array | Tensor) -> None:
    """Refuse a measurement whose result cannot carry a gradient."""
    if not isinstance(measurement, Tensor):
        raise UsageError(
            f"differentiable=True with a {type(measurement).__name__}; expected a tensor (batch, channels, height, "
            "width), because arrays carry no gradient."
        )


def with_gradient(result: Result, measurement: Tensor, image: Tensor) -> Tensor:
    """The image with its gradient.

    It is a fixed point of ``x -> P(x - s (A^T(Ax - y) + grad R(x)))`` where the penalty R has a gradient, and else of
    ``x -> J(x - s A^T(Ax - y))``, whichever method found it; :func:`recon.solvers.implicit` differentiates that. The
    range of grey values, an estimated noise level and what follows from both are constants of it.

    Args:
        result: The run.
        measurement: y, as it was given.
        image: The result, as it is returned.

    Raises:
        UsageError: The image is not such a fixed point, or the prior has no derivative.
    """
    problem, method = result.plan.problem, result.plan.method
    _require_fixed_point(result)
    found = result.solution.x.detach()
    step = _step(result, _on_scale(measurement, result), _prior(problem.prior.prior, found))
    point = implicit(step, found)
    if not point.requires_grad:
        raise UsageError(
            f"differentiable=True and nothing that {method.name} depends on requires a gradient; expected a "
            "measurement, a PSF, a weight or a trainable network that does."
        )
    units = problem.template.value_range.width
    return image + (units * (point - found)).to(image).reshape(image.shape)


def _require_fixed_point(result: Result) -> None:
    method, problem = result.plan.method, result.plan.problem
    if problem.family.geometry is not None or problem.family.is_complex:
        raise UsageError(
            f"differentiable=True with {problem.family.spec}; expected an operator of real images and measurements of "
            "grey values, because projections and k-space are rescaled by themselves: recon.solvers.implicit "
            "differentiates a solve of any operator."
        )
    if not (ENTRIES[method.name].takes_prior and method.solves_sum and method.steps is None):
        raise UsageError(
            f"differentiable=True with method {method.name!r}; expected one whose limit is a zero of data term and "
            "prior, because its image is no such fixed point."
        )
    if result.status is not Status.CONVERGED:
        raise UsageError(
            f"differentiable=True and the run ended as {result.outcome}; expected one that converges, because the "
            "gradient is that of the limit: raise iterations."
        )


def _on_scale(measurement: Tensor, result: Result) -> Tensor:
    """The measurement of the problem, with the graph of the one that was given."""
    problem = result.plan.problem
    moved = (measurement - measurement.detach()) / problem.image.value_range.width
    return problem.measurement + moved.to(problem.measurement).reshape(problem.measurement.shape)


def _prior(prior: Prior, image: Tensor) -> Prior:
    """The prior, refused where it has no derivative."""
    if prior.smooth is not None:
        return prior
    with torch.enable_grad():
        flows = prior.resolvent(1.0)(image[:1].clone().requires_grad_()).requires_grad
    if not flows:
        raise UsageError(
            f"differentiable=True with the prior {prior.name!r}, whose solutions have no derivative; expected one that "
            "has, such as tv:smoothing=0.01, wavelet, l1, tikhonov or a network."
        )
    return prior


def _step(result: Result, y: Tensor, prior: Prior) -> Map:
    problem, pair, method = result.plan.problem, result.plan.pair, result.plan.method
    matched = pair.mismatch is None
    data = LeastSquares(problem.operator, y) if matched else mismatched_data(pair, pair.mismatch, y)  # type: ignore[arg-type]
    smooth, size = prior.smooth, pair.squared_norm
    if smooth is not None:
        s = 1 / (size + from_above(smooth.lipschitz).value)
        return lambda x: _inside(prior, x - s * (data(x) + smooth.gradient(x)))
    single = prior.resolvent(1.0).properties.proximity is None
    s = method.stepsize if method.stepsize is not None and (single or not matched) else 1 / size
    resolvent = prior.resolvent(s)
    return lambda x: _inside(prior, resolvent(x - s * data(x)))


def _inside(prior: Prior, x: Tensor) -> Tensor:
    return x if prior.constraint is None else prior.constraint(x)
