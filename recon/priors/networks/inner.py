"""The proximity operator of a smooth convex function, by iteration: to a proved accuracy, or for a number of steps.

For R convex and w-smooth, ``F(x) = ||x - y||^2 / 2 + R(x)`` is 1-strongly convex and (1 + w)-smooth, so its minimiser
p = prox_R(y) satisfies ``||x - p|| <= ||grad F(x)||`` for every x: the gradient that a step needs anyway proves how
near it is.
"""

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from recon.errors import GuaranteeError, UsageError
from recon.priors.networks.ridge import Ridge
from recon.types import Map

_ROUNDINGS = 16
"""Rounding units of what is added up in a gradient by which its norm may be too small."""

_CHECK = 4
"""Steps between two looks at the norms on a GPU, each of which waits for it; on the CPU every step looks."""


@final
@dataclass(frozen=True)
class InnerSolver:
    """How far an inner iteration goes.

    Attributes:
        accuracy: The bound of ||x - prox(y)|| relative to ||y||, for each batch item.
        max_steps: The budget.
        steps: A fixed number of steps instead, through which gradients flow; then nothing is said of the accuracy.
        adjoint_accuracy: The relative residual of the linear solve of a backward pass.
    """

    accuracy: float = 1e-4
    max_steps: int = 1000
    steps: int | None = None
    adjoint_accuracy: float = 1e-3

    def __post_init__(self) -> None:
        if not (0 < self.accuracy < 1 and 0 < self.adjoint_accuracy < 1):
            raise UsageError(
                f"InnerSolver: accuracy={self.accuracy!r} and adjoint_accuracy={self.adjoint_accuracy!r}; expected "
                "numbers between 0 and 1, both excluded."
            )
        if self.max_steps < 1 or (self.steps is not None and self.steps < 1):
            raise UsageError(f"InnerSolver: max_steps={self.max_steps!r}, steps={self.steps!r}; expected at least 1.")


DEFAULT = InnerSolver()


def prox(ridge: Ridge, y: Tensor, solver: InnerSolver) -> Tensor:
    """``prox_R(y)``, differentiable with respect to y and to everything in the potential.

    With a number of steps, by differentiating through them. Else at the solution p, where ``p - y + grad R(p) = 0``:
    a backward pass solves ``(Id + R''(p)) v = g`` by conjugate gradients, and v is the gradient with respect to y. The
    memory is that of one evaluation of grad R.

    Raises:
        GuaranteeError: The budget is spent before the accuracy is reached.
    """
    if solver.steps is not None:
        return _unrolled(ridge, y, solver.steps)
    with torch.no_grad():
        point = _solve(ridge, y, solver)
    if not torch.is_grad_enabled():
        return point
    image = y - ridge.gradient(point)  # equal to the point up to the accuracy, and holds the graph
    if not image.requires_grad:
        return point
    image.register_hook(  # type: ignore[no-untyped-call]
        lambda g: solve_curved(ridge, point, g, solver.adjoint_accuracy)
    )
    return point + (image - image.detach())


def _unrolled(ridge: Ridge, y: Tensor, steps: int) -> Tensor:
    """Nesterov's method for strongly convex functions, a fixed number of steps from y."""
    smoothness = 1 + ridge.weight
    momentum = (smoothness.sqrt() - 1) / (smoothness.sqrt() + 1)
    x = v = y
    for _ in range(steps):
        previous, x = x, v - (v - y + ridge.gradient(v)) / smoothness
        v = x + momentum * (x - previous)
    return x


def _solve(ridge: Ridge, y: Tensor, solver: InnerSolver) -> Tensor:
    """Nesterov's method, restarted where the momentum points uphill (O'Donoghue and Candes 2015), each item by itself.

    The momentum grows as FISTA's does up to the constant one of the strongly convex case. An item that holds NaN or
    infinity is returned as it is, for the solver outside to report.
    """
    smoothness = (1 + ridge.weight).expand(len(y), 1, 1, 1)
    most = (smoothness.sqrt() - 1) / (smoothness.sqrt() + 1)
    size = _norms(y)
    out, open_items = y.clone(), size.isfinite()
    x = v = y
    count = torch.zeros_like(smoothness)
    for step in range(solver.max_steps + 1):
        gradient = v - y + ridge.gradient(v)
        if _looks(step, y):
            rounding = _ROUNDINGS * torch.finfo(y.dtype).eps * (size + _norms(v))
            reached = open_items & (_norms(gradient) + rounding <= solver.accuracy * size)
            out = torch.where(reached.view(-1, 1, 1, 1), v, out)
            open_items = open_items & ~reached & _norms(gradient).isfinite()
            if not bool(open_items.any()):
                return out
        previous, x = x, torch.addcdiv(v, gradient, smoothness, value=-1)
        moved = x - previous
        uphill = (gradient * moved).sum((1, 2, 3), keepdim=True) > 0
        count = torch.where(uphill, 0.0, count + 1)
        v = torch.addcmul(x, torch.minimum(count / (count + 3), most), moved)
    worst = float((_norms(gradient) / size)[open_items].max())
    raise GuaranteeError(
        f"the inner iteration is only known to be within {worst:.2g} of the image after {solver.max_steps} steps; "
        f"expected accuracy={solver.accuracy:g}: raise max_steps or ask for less accuracy."
    )


def solve_curved(ridge: Ridge, point: Tensor, g: Tensor, accuracy: float) -> Tensor:
    """``(Id + R''(p))^-1 g``, by conjugate gradients to a relative residual, each item by itself.

    That is the derivative of the proximity operator at the point whose image p is; its error is at most the residual,
    because no eigenvalue is below 1.
    """
    with torch.no_grad():
        hessian = ridge.curvature(point)
        return _conjugate_gradients(lambda v: v + hessian(v), g, accuracy)


def _conjugate_gradients(apply: Map, g: Tensor, accuracy: float, max_steps: int = 500) -> Tensor:
    solution, residual, direction = torch.zeros_like(g), g, g
    square = _squares(residual)
    goal = accuracy**2 * square
    for step in range(max_steps):
        if _looks(step, g) and bool((square <= goal).all()):
            break
        image = apply(direction)
        curvature = (direction * image).sum((1, 2, 3), keepdim=True)
        length = torch.where(square > 0, square / curvature.clamp(min=torch.finfo(g.dtype).tiny), 0.0)
        solution = torch.addcmul(solution, length, direction)
        residual = torch.addcmul(residual, length, image, value=-1)
        before, square = square, _squares(residual)
        direction = torch.addcmul(residual, torch.where(before > 0, square / before, 0.0), direction)
    return solution


def _looks(step: int, x: Tensor) -> bool:
    return step % _CHECK == 0 or not x.is_cuda


def _squares(x: Tensor) -> Tensor:
    return x.square().sum((1, 2, 3), keepdim=True)


def _norms(x: Tensor) -> Tensor:
    return x.square().sum((1, 2, 3)).sqrt()


def tightened(solver: InnerSolver, accuracy: float) -> InnerSolver:
    """The same solver, run to another accuracy."""
    return replace(solver, accuracy=accuracy, steps=None)
