"""The proximity operator of a smooth convex function, by iteration: to an accuracy, or for a number of steps.

For R convex and w-smooth, ``F(x) = ||x - y||^2 / 2 + R(x)`` is 1-strongly convex and (1 + w)-smooth, so its minimiser
p = prox_R(y) satisfies ``||x - p|| <= ||grad F(x)||`` for every x: the gradient that a step needs anyway proves how
near it is.
"""

from dataclasses import dataclass, replace
from typing import Protocol, final

import torch
from torch import Tensor

from recon.errors import GuaranteeError, UsageError
from recon.operators.rounding import norms_of
from recon.types import Map

_AMPLIFIED = 1 / 8
"""Rounding units by which ||grad R(x)|| is off, relative to ||x||, for each unit of its Lipschitz constant: a guess,
from 0.02 to 0.08 that were seen with small dictionaries and with trained ones. It decides on the precision, and bounds
nothing."""

_LEAST_SHARE = 2.0**-6
"""The part of the accuracy below which a gradient that is not proved to be small enough is rounding: no step helps."""

_CHECK = 4
"""Steps between two looks at the norms on a GPU, each of which waits for it; on the CPU every step looks."""

_PASSES = ((25, 1e-2, False), (25, 1e-4, False), (60, 1e-4, True))
"""Of Newton's method, one after the other where the goal is not reached: a budget of steps, the relative residual of
their systems, and whether steps are shortened. Rough systems cost half, and of a large norm do not lead all the way."""

_HALVINGS, _BEYOND = 12, 0.1
"""Of a Newton step; and the slope at its end, relative to that at its beginning, that is small enough."""

_PROGRESS, _PATIENCE = 0.9, 10
"""Steps in which the worst gradient must fall by that factor."""


class Potential(Protocol):
    """A smooth convex function R of images, with what an iteration for its proximity operator needs."""

    @property
    def smoothness(self) -> Tensor:
        """A bound of the Lipschitz constant of grad R, ``(batch or 1, 1, 1, 1)``."""

    @property
    def has_kinks(self) -> bool:
        """Whether grad R is piecewise linear, with kinks that slow gradient steps down where R is steep."""

    @property
    def memory(self) -> int:
        """The steps that Anderson's acceleration looks back."""

    def gradient(self, x: Tensor, /) -> Tensor:
        """``grad R(x)``, at the size of x."""

    def curvature(self, x: Tensor, /) -> Map:
        """The Hessian of R at x."""

    def preconditioner(self, like: Tensor, /) -> Map:
        """A symmetric and positive definite map near ``(Id + R'')^-1`` on images of that size."""

    def certified(self, y: Tensor, x: Tensor, /) -> Tensor:
        """A bound of ``||x - y + grad R(x)||`` for each item, rounding included, ``(batch,)`` in double precision."""


@final
@dataclass(frozen=True)
class InnerSolver:
    """The accuracy and the budget of an inner iteration.

    Attributes:
        accuracy: The bound of ||x - prox(y)|| relative to ||y||, for each batch item.
        max_steps: The budget.
        steps: A fixed number of steps instead, through which gradients flow; then nothing is said of the accuracy.
        adjoint_accuracy: The relative residual of the linear solve of a backward pass.
        proved: Whether the bound counts rounding in its worst case, by an evaluation in double precision for each
            image; else the gradient is taken as it is computed.
    """

    accuracy: float = 1e-4
    max_steps: int = 1000
    steps: int | None = None
    adjoint_accuracy: float = 1e-3
    proved: bool = False

    def __post_init__(self) -> None:
        if not (0 < self.accuracy < 1 and 0 < self.adjoint_accuracy < 1):
            raise UsageError(
                f"InnerSolver: accuracy={self.accuracy!r} and adjoint_accuracy={self.adjoint_accuracy!r}; expected "
                "numbers between 0 and 1, both excluded."
            )
        if self.max_steps < 1 or (self.steps is not None and self.steps < 1):
            raise UsageError(f"InnerSolver: max_steps={self.max_steps!r}, steps={self.steps!r}; expected at least 1.")


DEFAULT = InnerSolver()


def prox(
    ridge: Potential, y: Tensor, solver: InnerSolver, share: Tensor | float = 1.0, start: Tensor | None = None
) -> Tensor:
    """``prox_R(y)``, differentiable with respect to y and to everything in the potential, its mask included.

    With a number of steps, by differentiating through them. Else at the solution p, where ``p - y + grad R(p) = 0``:
    a backward pass solves ``(Id + R''(p)) v = g`` by conjugate gradients, and v is the gradient with respect to y. The
    memory is that of one evaluation of grad R.

    Args:
        ridge: R.
        y: Images.
        solver: How far to go.
        share: What the accuracy is multiplied by, one for all images or one each.
        start: Where the iteration to an accuracy begins; ``None``: at y.

    Raises:
        GuaranteeError: The budget is spent before the accuracy is reached.
    """
    if solver.steps is not None:
        return _unrolled(ridge, y, solver.steps)
    with torch.no_grad():
        point = _solve(ridge, y, solver, share, y if start is None else start)
    return attached(ridge, y, point, solver) if torch.is_grad_enabled() else point


def attached(ridge: Potential, y: Tensor, point: Tensor, solver: InnerSolver) -> Tensor:
    """The point ``prox_R(y)`` with its graph to y and to everything in the potential, as :func:`prox` says."""
    image = y - ridge.gradient(point)  # equal to the point up to the accuracy, and holds the graph
    if not image.requires_grad:
        return point
    image.register_hook(  # type: ignore[no-untyped-call]
        lambda g: solve_curved(ridge, point, g, solver.adjoint_accuracy)
    )
    return point + (image - image.detach())


def rounding_floor(ridge: Potential, dtype: torch.dtype) -> float:
    """What rounding is expected to add to ||grad F(x)|| in a precision, relative to ||x||, by grad R."""
    return _AMPLIFIED * torch.finfo(dtype).eps * float(ridge.smoothness.max())


def _unrolled(ridge: Potential, y: Tensor, steps: int) -> Tensor:
    """Nesterov's method for strongly convex functions, a fixed number of steps from y."""
    smoothness = 1 + ridge.smoothness
    momentum = (smoothness.sqrt() - 1) / (smoothness.sqrt() + 1)
    x = v = y
    for _ in range(steps):
        previous, x = x, v - (v - y + ridge.gradient(v)) / smoothness
        v = x + momentum * (x - previous)
    return x


def _solve(ridge: Potential, y: Tensor, solver: InnerSolver, share: Tensor | float, start: Tensor) -> Tensor:
    """By Anderson's acceleration of preconditioned steps, then by Newton's method, and what is left by Nesterov's.

    The first takes a bit more than half the evaluations of the last on photographs, and has no proof; the last
    has one, and all end by the same proved bound. An item that holds NaN or infinity is returned as it is, for the
    solver outside to report.
    """
    goal = _Goal(ridge, y, share * solver.accuracy, start, solver.proved)
    steps = _anderson(ridge, goal, solver.max_steps)
    for budget, accuracy, shorten in _PASSES if ridge.has_kinks else ():
        if goal.open.any():
            _newton(ridge, goal, budget, accuracy, shorten)
    if goal.open.any():
        _nesterov(ridge, goal, solver.max_steps - steps)
    if goal.open.any():
        raise GuaranteeError(
            f"the inner iteration is only known to be within {goal.known:.2g} of the image after {solver.max_steps} "
            f"steps; expected accuracy={solver.accuracy:g}: raise max_steps or ask for less accuracy."
        )
    return goal.out


class _Goal:
    """The progress towards a goal, of each item by itself.

    Attributes:
        y: The images.
        out: The nearest points to their prox that are known.
        open: Which of them are not near enough, ``(batch,)``.
        least: The least norm of a gradient of each.
        share: The part of the accuracy from which the next bound of each is worth its evaluation.
        bound: The least bound of each, which counts its rounding if it is to be proved; infinite where none was made.
    """

    def __init__(self, ridge: Potential, y: Tensor, accuracy: Tensor | float, start: Tensor, proved: bool) -> None:
        self.ridge, self.y, self.accuracy, self.size, self.proved = ridge, y, accuracy, norms_of(y), proved
        self.open = self.size.isfinite()
        self.out = torch.where(self.open.view(-1, 1, 1, 1), start, y)
        self.least = torch.full_like(self.size, torch.inf)
        self.share = torch.ones_like(self.size)
        self.bound = torch.full_like(self.size, torch.inf)

    @property
    def worst(self) -> float:
        """The largest norm of a gradient of an open item, relative to its image."""
        return float((self.least / self.size)[self.open].max())

    @property
    def known(self) -> float:
        """The largest bound of the distance of an open item, relative to its image."""
        bound = torch.where(self.bound.isfinite(), self.bound, self.least)
        return float((bound / self.size)[self.open].max())

    def reached(self, v: Tensor, gradient: Tensor) -> bool:
        """Return whether all that can be done is done, given ``grad F`` at a point."""
        norms = norms_of(gradient)
        nearer = self.open & (norms < self.least)
        self.out = torch.where(nearer.view(-1, 1, 1, 1), v, self.out)
        self.least = torch.where(nearer, norms, self.least)
        near = nearer & (norms <= self.share * self.accuracy * self.size)
        if bool(near.any()):
            bound = self.ridge.certified(self.y, v) if self.proved else norms
            self.bound = torch.where(near, torch.minimum(bound, self.bound), self.bound)
            self.open = self.open & ~(near & (bound <= self.accuracy * self.size))
            self.share = torch.where(near, self.share / 2, self.share)  # no look at every step where rounding is large
        return not bool((self.open & (self.share > _LEAST_SHARE)).any())


def _anderson(ridge: Potential, goal: _Goal, budget: int) -> int:
    """``v+ = v + f - (dX + dF) c`` with f = -M grad F(v) and c of least ||f - dF c|| (Anderson 1965; Walker, Ni 2011).

    M inverts ``Id + c w W^T W`` with c a guess of the mean slope: without it the smooth parts of an image, which W is
    blind to, take the short steps that the rest of it needs. Ends without success where the gradients stop falling.

    Returns:
        The steps taken.
    """
    precondition = ridge.preconditioner(goal.y)
    v, history = goal.out, _History(ridge.memory)
    mark, at = torch.inf, 0
    for step in range(budget):
        gradient = v - goal.y + ridge.gradient(v)
        if _looks(step, v):
            if goal.reached(v, gradient):
                return step
            if goal.worst < _PROGRESS * mark:
                mark, at = goal.worst, step
            elif step - at > _PATIENCE:
                return step
        v = history.mixed(v, -precondition(gradient))
    return budget


class _History:
    """The last few points and their moves, as differences, with the inner products of those of the moves.

    Args:
        memory: How many differences are kept.
    """

    def __init__(self, memory: int) -> None:
        self.memory, self.count = memory, 0

    def mixed(self, point: Tensor, move: Tensor) -> Tensor:
        """The plain step, less what the last few say of it; a system of a few unknowns for each item."""
        if self.count == 0:
            self._begin(move)
        else:
            self._add(point, move)
        self.count, self.point, self.move = self.count + 1, point, move
        used = min(self.count - 1, self.memory)
        if not used:
            return point + move
        gram = self.gram[:, :used, :used]
        size = gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
        finfo = torch.finfo(move.dtype)
        floor = 10 * finfo.eps * size + finfo.tiny  # else singular where all stands
        gram = gram + floor * torch.eye(used, dtype=gram.dtype, device=gram.device)
        target = self.moves[:, :used] @ (move / self.scale).flatten(1).unsqueeze(2)
        shares = torch.linalg.solve_ex(gram, target.double())[0].to(move.dtype)
        less = shares.mT @ self.steps[:, :used]
        return torch.addcmul(point + move, less.view_as(move), self.scale, value=-1)

    def _begin(self, move: Tensor) -> None:
        finfo, batch = torch.finfo(move.dtype), len(move)
        self.scale = move.abs().amax((1, 2, 3), keepdim=True).clamp(min=finfo.tiny)  # else squares vanish
        self.moves = move.new_zeros(batch, self.memory, move[:1].numel())
        self.steps = torch.zeros_like(self.moves)
        self.gram = torch.zeros(batch, self.memory, self.memory, dtype=torch.float64, device=move.device)

    def _add(self, point: Tensor, move: Tensor) -> None:
        place = (self.count - 1) % self.memory
        self.moves[:, place] = ((move - self.move) / self.scale).flatten(1)
        self.steps[:, place] = ((point - self.point) / self.scale).flatten(1) + self.moves[:, place]
        row = (self.moves @ self.moves[:, place].unsqueeze(2)).squeeze(2).double()
        self.gram[:, place], self.gram[:, :, place] = row, row


def _newton(ridge: Potential, goal: _Goal, budget: int, accuracy: float, shorten: bool) -> None:
    """Newton's method on a piecewise quadratic F, each item by itself; whatever it reaches, the bound says how near.

    Where Anderson's acceleration stalls, the condition number is large, or the pieces change with every step; on one
    piece a step ends at its minimum. Full steps change many pieces at once, and mostly arrive within twenty; they may
    run in circles. A step that is shortened is halved until it does not go far beyond the minimum along it: of a large
    condition number it then ends at the first kinks, and changes a few pieces at a time.
    """
    v = goal.out
    gradient = v - goal.y + ridge.gradient(v)
    for _ in range(budget):
        if goal.reached(v, gradient):
            return
        move = -solve_curved(ridge, v, gradient, accuracy)
        slope = (gradient * move).sum((1, 2, 3), keepdim=True)
        length = torch.ones_like(slope)
        for _ in range(_HALVINGS):
            moved = v + length * move
            gradient = moved - goal.y + ridge.gradient(moved)
            far = (gradient * move).sum((1, 2, 3), keepdim=True) > -_BEYOND * slope
            if not (shorten and bool(far.any())):
                break
            length = torch.where(far, length / 2, length)
        v = moved


def _nesterov(ridge: Potential, goal: _Goal, budget: int) -> None:
    """Nesterov's method, restarted where the momentum points uphill (O'Donoghue and Candes 2015), each item by itself.

    The momentum grows as FISTA's does up to the constant one of the strongly convex case.
    """
    smoothness = (1 + ridge.smoothness).expand(len(goal.y), 1, 1, 1)
    most = (smoothness.sqrt() - 1) / (smoothness.sqrt() + 1)
    x = v = goal.out
    count = torch.zeros_like(smoothness)
    for step in range(budget + 1):
        gradient = v - goal.y + ridge.gradient(v)
        if _looks(step, v) and goal.reached(v, gradient):
            return
        previous, x = x, torch.addcdiv(v, gradient, smoothness, value=-1)
        moved = x - previous
        uphill = (gradient * moved).sum((1, 2, 3), keepdim=True) > 0
        count = torch.where(uphill, 0.0, count + 1)
        v = torch.addcmul(x, torch.minimum(count / (count + 3), most), moved)


def solve_curved(ridge: Potential, point: Tensor, g: Tensor, accuracy: float) -> Tensor:
    """``(Id + R''(p))^-1 g``, by conjugate gradients to a relative residual, each item by itself.

    That is the derivative of the proximity operator at the point whose image p is; its error is at most the residual,
    because no eigenvalue is below 1.
    """
    with torch.no_grad():
        hessian = ridge.curvature(point)
        return _conjugate_gradients(lambda v: v + hessian(v), ridge.preconditioner(g), g, accuracy)


def _conjugate_gradients(apply: Map, precondition: Map, g: Tensor, accuracy: float, max_steps: int = 500) -> Tensor:
    scale = g.abs().amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(g.dtype).tiny)  # else squares vanish
    solution, residual, tiny = torch.zeros_like(g), g / scale, torch.finfo(g.dtype).tiny
    direction = nearer = precondition(residual)
    product = (residual * nearer).sum((1, 2, 3), keepdim=True)
    goal = accuracy**2 * _squares(residual)
    for step in range(max_steps):
        if _looks(step, g) and bool((_squares(residual) <= goal).all()):
            break
        image = apply(direction)
        curvature = (direction * image).sum((1, 2, 3), keepdim=True)
        length = torch.where(product > 0, product / curvature.clamp(min=tiny), 0.0)
        solution = torch.addcmul(solution, length, direction)
        residual = torch.addcmul(residual, length, image, value=-1)
        nearer = precondition(residual)
        before, product = product, (residual * nearer).sum((1, 2, 3), keepdim=True)
        direction = torch.addcmul(nearer, torch.where(before > 0, product / before, 0.0), direction)
    return solution * scale


def _looks(step: int, x: Tensor) -> bool:
    return step % _CHECK == 0 or not x.is_cuda


def _squares(x: Tensor) -> Tensor:
    return x.square().sum((1, 2, 3), keepdim=True)


def tightened(solver: InnerSolver, accuracy: float) -> InnerSolver:
    """Return the solver with another accuracy."""
    return replace(solver, accuracy=accuracy, steps=None)
