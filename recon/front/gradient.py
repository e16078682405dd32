"""The gradient of a reconstruction, through the optimality condition of its image."""

from typing import Any, cast

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.evidence import from_above
from recon.io import Array
from recon.methods.catalogue import ENTRIES
from recon.operators import LeastSquares
from recon.operators.adjoint import transpose
from recon.priors import Prior
from recon.reconstruction.run import Result
from recon.solvers import Status, implicit
from recon.specs.user_statements import is_packaged
from recon.types import LinearOperator, Map


def require_tensor(measurement: Array | Tensor) -> None:
    """Refuse a measurement whose result cannot carry a gradient."""
    if not isinstance(measurement, Tensor):
        raise UsageError(
            f"differentiable=True with a {type(measurement).__name__}; expected a tensor (batch, channels, height, "
            "width), because arrays carry no gradient."
        )
    if not measurement.is_floating_point():
        raise UsageError(
            f"differentiable=True with a measurement of {measurement.dtype}; expected floating point, because whole "
            "numbers carry no gradient."
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
    resolvent = prior.resolvent(1.0)
    with torch.enable_grad():
        flows = resolvent.properties.differentiable and resolvent(image[:1].clone().requires_grad_()).requires_grad
    if not flows:
        raise UsageError(
            f"differentiable=True with the prior {prior.name!r}, whose solutions have no derivative; expected one that "
            "has, such as tv:smoothing=0.01, wavelet, l1, tikhonov or a network."
        )
    return prior


def _step(result: Result, y: Tensor, prior: Prior) -> Map:
    problem, pair, method = result.plan.problem, result.plan.pair, result.plan.method
    example = problem.example.to(y.dtype)
    operator = differentiable(problem.operator, example)
    data = LeastSquares(operator, y)
    if pair.mismatch is not None and pair.surrogate is not None:
        back = differentiable(pair.surrogate, example)
        data = LeastSquares(operator, y, back.A_adjoint, pair.mismatch.shift)
    smooth, size = prior.smooth, pair.squared_norm
    if smooth is not None:
        s = 1 / (size + from_above(smooth.lipschitz).value)
        return lambda x: _inside(prior, x - s * (data(x) + smooth.gradient(x)))
    s = method.stepsize or 1 / size  # of a single resolvent it is part of the problem, of a family any will do
    resolvent = prior.resolvent(s)
    return lambda x: _inside(prior, resolvent(x - s * data(x)))


def differentiable(operator: LinearOperator, example: Tensor) -> LinearOperator:
    """An operator through which gradients flow: itself where autograd finds its transposes, else by its adjoint.

    Args:
        operator: With an adjoint that was checked, or that of a surrogate with its transpose.
        example: An image that it takes.
    """
    if is_packaged(operator):
        return operator
    with torch.no_grad():
        measured = torch.zeros_like(operator.A(example))
    if transpose(operator.A, example) is not None and transpose(operator.A_adjoint, measured) is not None:
        return operator
    return _ThroughAdjoint(operator)


class _ThroughAdjoint:
    """An operator whose derivative is its adjoint, whatever it does inside."""

    def __init__(self, operator: LinearOperator) -> None:
        self._operator = operator

    def A(self, x: Tensor) -> Tensor:
        return cast("Tensor", _Linear.apply(x, self._operator.A, self._operator.A_adjoint))

    def A_adjoint(self, y: Tensor) -> Tensor:
        return cast("Tensor", _Linear.apply(y, self._operator.A_adjoint, self._operator.A))


class _Linear(torch.autograd.Function):
    """A linear map whose derivative is given as its transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, apply: Map, transposed: Map) -> Tensor:
        ctx.transposed = transposed
        return apply(x.detach())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transposed(gradients[0]), None, None


def _inside(prior: Prior, x: Tensor) -> Tensor:
    return x if prior.constraint is None else prior.constraint(x)
