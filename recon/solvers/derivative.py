"""The derivative of a solution with respect to the data, for many directions at once, and small changes of it."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.solvers.krylov import inner, least_residual, norms, quotient, spread
from recon.solvers.preconditioner import circulant, weighted_circulants
from recon.types import Map

DIMENSION = 25
"""Of the Krylov spaces of GMRES, begun anew from one to the next."""

_TRIAL, _TRIAL_STEPS, _FEW = 3e-2, 100, 10
"""The accuracy and the budget of a trial of a preconditioner; steps after which no other is tried."""

_NEWTON_STEPS, _HALVINGS, _PLAIN_STEPS = 20, 6, 10
_SLOW = 0.9
_FORCING = 1e-1
"""The accuracy of the systems of Newton's method, each of which takes as much of what is left."""

_PLAIN, _OF_ERROR = 25, 1e-5
"""Steps without a preconditioner that correct a solution, and what may be left of its error."""

_EXHAUSTED = 1e-5
"""Of a vector, relative, that lies in a space."""


@final
@dataclass(frozen=True)
class Optimality:
    """The equation of a solution, ``x = J(x - s (G x + R(x) - f))``, in which a change of the data is one of f.

    G is K A + shift Id and f is K y. J is the identity, a projection or any resolvent; R is the gradient of a penalty.

    Attributes:
        gram: G, linear.
        gram_transposed: G^T.
        point: x, (1, ...), where ``x - J(...)`` is small: what is left of it is taken for part of the equation.
        force: f - G x, (1, ...).
        gradient: R, differentiable by autograd; ``None``: zero.
        resolvent: J, differentiable by autograd; ``None``: the identity.
        stepsize: s > 0.
        symmetric: Whether G and the derivatives of R and J are symmetric, and that of J not negative: J is then a
            proximity operator.
        is_projection: Whether J is a projection on a box.
    """

    gram: Map
    gram_transposed: Map
    point: Tensor
    force: Tensor
    gradient: Map | None = None
    resolvent: Map | None = None
    stepsize: float = 1.0
    symmetric: bool = True
    is_projection: bool = False

    @cached_property
    def derivative(self) -> "Derivative":
        """The derivative of the solution at the point."""
        return Derivative(self, self.point)

    @cached_property
    def _start(self) -> tuple[Tensor, Tensor]:
        """R at the point, and what J is taken of."""
        at = torch.zeros_like(self.point) if self.gradient is None else self.gradient(self.point).detach()
        return at, self.point + self.stepsize * (self.force - at)

    def shifted(self, change: Tensor) -> Tensor:
        """What J is taken of at ``point + change``, without the change of f, less what it is taken of at the point."""
        moved = self.gram(change)
        if self.gradient is not None:
            moved = moved + self.gradient(self.point + change) - self._start[0]
        return change - self.stepsize * moved

    def argument(self, shift: Tensor) -> Tensor:
        """What J is taken of, that far from what it is taken of at the point."""
        return self._start[1] + shift

    def left(self, change: Tensor, force: Tensor) -> Tensor:
        """What is left of the equation at ``point + change`` with ``force`` added to f; zero for the solution."""
        shift = self.shifted(change) + self.stepsize * force
        if self.resolvent is None:
            return shift - change
        start = self._start[1]
        return self.resolvent(start + shift).detach() - self.resolvent(start).detach() - change


@final
@dataclass(frozen=True)
class Solved:
    """Solutions of linear systems, one a batch item.

    Attributes:
        x: The solutions.
        left: What is left of each system, relative to its right-hand side in the norm of the iteration.
        steps: Taken.
        rest: The same, as a vector: what x solves, up to rounding, is the system of the right-hand side less it.
    """

    x: Tensor
    left: Tensor
    steps: int
    rest: Tensor


@final
@dataclass(frozen=True)
class Derivative:
    """N, the derivative ``df -> dx`` of the solution: ``dx = P (dx - s (G + H) dx + s df)``, P = J', H = R'.

    Where all are symmetric, N is ``s S^-1`` on the range of P with S = P^+ - Id + s (G + H). Conjugate gradients solve
    it without P^+: preconditioned by P, all their directions are p = P q with q known, and P^+ p is then q.
    Preconditioning by a circulant matrix, or by two with weights, takes the place of P where P is a projection:
    whichever solves a system of noise in fewer steps. Other systems are solved by GMRES, where P is a projection with
    the same matrices as a preconditioner.

    Attributes:
        equation: Of which solution.
        at: The points, (batch, ...) or (1, ...), at which it is linearised.
        shift: What J is taken of there, less what it is taken of at the point of the equation; ``None``: nothing.
    """

    equation: Optimality
    at: Tensor
    shift: Tensor | None = None
    _graphs: dict[tuple[str, int], tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False, compare=False)

    def solve(self, force: Tensor, accuracy: float, max_steps: int = 500, transposed: bool = False) -> Solved:
        """N df, or N^T, of a batch: each to what is left of ``accuracy`` or ``max_steps`` products with G + H.

        Args:
            force: df, (batch, ...).
            accuracy: Of each system, relative.
            max_steps: The budget.
            transposed: Whether N^T is wanted.
        """
        if self.equation.symmetric:
            return self._corrected(force, self._by_gradients(force, accuracy, max_steps))
        s, near = self.equation.stepsize, self._near_inverse
        if transposed:
            found = _by_residuals(self._transposed_system, force, accuracy, max_steps, near)
            return replace(found, x=s * self._resolve(found.x, transposed=True))
        return _by_residuals(self._system, s * self._resolve(force), accuracy, max_steps, near)

    def transposed_pairs(self, force: Tensor, accuracy: float, max_steps: int = 500) -> tuple[Tensor, Tensor, Tensor]:
        """g near some forces, and N^T g, exact up to rounding however early the iteration ends.

        ``||B^T N^T g|| / ||g||`` is thus a lower bound of ``||N B||``, whatever the accuracy.

        Args:
            force: (batch, ...).
            accuracy: How near, relative.
            max_steps: The budget of products with G + H.

        Returns:
            g, N^T g, and what is left of each system, relative, (batch,).
        """
        found = self.solve(force, accuracy, max_steps, transposed=True)
        near = force - found.rest
        return self._resolve(near) if self.equation.is_projection else near, found.x, found.left

    def nearly(self, force: Tensor) -> Tensor:
        """N df by the preconditioner alone, a rough one; df itself where there is none."""
        if not self._selects:
            return force
        inverse = self._preconditioner if self.equation.symmetric else self.equation.derivative._best_near_inverse
        return force if inverse is _same else self._resolve(inverse(self._resolve(force)))

    def newton(self, left: Tensor, accuracy: float, max_steps: int = 500) -> Tensor:
        """e with ``e - P (e - s (G + H) e) = left``: the step of Newton's method."""
        s = self.equation.stepsize
        if not self.equation.symmetric:
            return _by_residuals(self._system, left, accuracy, max_steps, self._near_inverse).x
        if self.equation.resolvent is None:
            return self._by_gradients(left / s, accuracy, max_steps).x
        return left + self._by_gradients(left / s - self._stiffness(left), accuracy, max_steps).x

    @property
    def _near_inverse(self) -> Map:
        """What GMRES is preconditioned by, from the right: it decides how many steps are taken, and nothing else."""
        choose = self.equation.derivative._best_near_inverse
        return choose if choose is _same else self._kept_where_projected(choose)

    @cached_property
    def _best_near_inverse(self) -> Map:
        """A circulant matrix or two, or none: which leaves the least of a system of noise after one Krylov space.

        With a surrogate near the adjoint, the system is nearly the symmetric one, and so is its inverse.
        """
        if not self._selects:
            return _same
        like, penalty = self.at[:1], None if self.equation.gradient is None else self._stiffening
        generator = torch.Generator().manual_seed(3)
        noise = torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)
        tried = (_same, circulant(self._stiffness, like), weighted_circulants(self.equation.gram, penalty, like))
        left = [
            _by_residuals(self._system, noise, 0.0, 1, each if each is _same else self._kept_where_projected(each)).left
            for each in tried
        ]
        self._graphs.clear()  # those of other numbers of images than are to come
        values = torch.stack(left).flatten().nan_to_num(nan=torch.inf)
        return tried[int(values.argmin())]

    def _kept_where_projected(self, inverse: Map) -> Map:
        """``(Id - P) + P M P / s``: where P is a projection it is zero, and the system there is the identity."""

        def near(v: Tensor) -> Tensor:
            kept = self._resolve(v)
            return v - kept + self._resolve(inverse(kept)) / self.equation.stepsize

        return near

    def _system(self, v: Tensor) -> Tensor:
        return v - self._resolve(v - self.equation.stepsize * self._stiffness(v))

    def _transposed_system(self, v: Tensor) -> Tensor:
        back = self._resolve(v, transposed=True)
        return v - back + self.equation.stepsize * self._stiffness(back, transposed=True)

    def _corrected(self, force: Tensor, found: Solved) -> Solved:
        """The solutions after some steps without the circulant matrix.

        Where some pixels are not measured that matrix is far from the inverse there: what is left of them is small,
        and their error is not. Of conjugate gradients without it a few steps find such an error.
        """
        if not (self._selects and self._is_blind):
            return found
        rest = force - self._stiffness(found.x)
        more = self._by_gradients(rest, _OF_ERROR, _PLAIN, _same)
        return Solved(found.x + more.x, found.left, found.steps + more.steps, more.rest)

    def _by_gradients(
        self, force: Tensor, accuracy: float, max_steps: int, preconditioner: Map | None = None
    ) -> Solved:
        s = self.equation.stepsize
        if preconditioner is None:
            preconditioner = self._preconditioner if self._selects else _same
        projects = self._projects
        rest = s * force
        x = torch.zeros_like(rest)
        p = q = torch.zeros_like(rest)
        size = first = torch.zeros(1)
        steepest = torch.zeros(len(force), dtype=torch.float64, device=force.device)
        sound = torch.ones(len(force), dtype=torch.bool, device=force.device)
        rounding = 10 * torch.finfo(force.dtype.to_real()).eps
        taken = 0
        for taken in range(max_steps + 1):
            kept = self._resolve(rest)
            if preconditioner is not _same:
                kept = self._resolve(preconditioner(kept))
            product = inner(rest, kept)
            first = product if taken == 0 else first
            open_items = sound & (product > accuracy**2 * first)
            if taken == max_steps or not bool(open_items.any()):
                size = product
                break
            ratio = spread(quotient(product, size) if taken else torch.zeros_like(product), kept)
            p, q, size = kept + ratio * p, rest + ratio * q, product
            image = s * self._stiffness(p)
            image = self._resolve(image) if projects else image + q - p
            curvature, square = inner(p, image), inner(p, p)
            steepest = torch.maximum(steepest, quotient(curvature, square))
            sound = sound & (curvature > rounding * steepest * square)  # else only rounding is left of it
            step = spread(torch.where(open_items & sound, quotient(product, curvature), 0.0), p)
            x, rest = x + step * p, rest - step * image
        return Solved(x, quotient(size.clamp(min=0.0), first).sqrt(), taken, rest / s)

    @property
    def _selects(self) -> bool:
        """Whether P is the identity, or nearly: a circulant matrix between two of it is a preconditioner."""
        return self.equation.resolvent is None or self.equation.is_projection

    @cached_property
    def _is_blind(self) -> bool:
        """Whether some pixels are not measured: of an image of noise G leaves nothing there, to the last digit."""
        noise = torch.randn(self.at[:1].shape, generator=torch.Generator().manual_seed(2), dtype=self.at.dtype)
        return bool((self.equation.gram(noise.to(self.at.device)) == 0).any())

    @cached_property
    def _projects(self) -> bool:
        """Whether P is a projection, as of thresholds: of a vector of noise, P P v is P v."""
        if self._selects:
            return True
        noise = torch.randn(self.at.shape, generator=torch.Generator().manual_seed(1), dtype=self.at.dtype)
        once = self._resolve(noise.to(self.at.device))
        return bool((norms(self._resolve(once) - once) <= _EXHAUSTED * norms(once)).all())

    @property
    def _preconditioner(self) -> Map:
        """That of the point of the equation, near which the others are."""
        return self.equation.derivative._best_preconditioner

    @cached_property
    def _best_preconditioner(self) -> Map:
        """A circulant matrix or two, whichever needs fewer steps for a system of noise."""
        like, penalty = self.at[:1], None if self.equation.gradient is None else self._stiffening
        one = circulant(self._stiffness, like)
        generator = torch.Generator().manual_seed(3)
        noise = torch.randn(2, *like.shape[1:], generator=generator, dtype=like.dtype).to(like.device)
        first = self._by_gradients(noise, _TRIAL, _TRIAL_STEPS, one)
        if first.steps <= _FEW or self._is_blind:
            return one
        two = weighted_circulants(self.equation.gram, penalty, like)
        second = self._by_gradients(noise, _TRIAL, first.steps, two)
        self._graphs.clear()  # those of other numbers of images than are to come
        return two if _is_better(second, first) else one

    def _stiffness(self, v: Tensor, transposed: bool = False) -> Tensor:
        """(G + H) v, or its transpose."""
        moved = self.equation.gram_transposed(v) if transposed else self.equation.gram(v)
        return moved if self.equation.gradient is None else moved + self._stiffening(v)

    def _stiffening(self, v: Tensor) -> Tensor:
        """H v, symmetric, of a penalty that has a gradient."""
        assert self.equation.gradient is not None  # noqa: S101  else there is no penalty
        return self._pulled("gradient", self.equation.gradient, self.at, v)

    def _resolve(self, v: Tensor, transposed: bool = False) -> Tensor:
        """P v, or P^T v."""
        resolvent = self.equation.resolvent
        if resolvent is None:
            return v
        start = self.equation.argument(torch.zeros_like(self.at[:1]) if self.shift is None else self.shift)
        if transposed or self.equation.symmetric:
            return self._pulled("resolvent", resolvent, start, v)
        return self._pushed(resolvent, start, v)

    def _pulled(self, name: str, apply: Map, at: Tensor, v: Tensor) -> Tensor:
        """The transpose of the derivative of a map, by one backward pass through a graph that is kept."""
        if (name, len(v)) not in self._graphs:
            with torch.enable_grad():
                start = at.expand_as(v).clone().requires_grad_()
                self._graphs[name, len(v)] = start, apply(start)
        start, image = self._graphs[name, len(v)]
        if not image.requires_grad:
            raise UsageError("derivative: a map has no derivative by autograd; expected one that has.")
        (found,) = torch.autograd.grad(image, start, v, retain_graph=True)
        return found

    @staticmethod
    def _pushed(apply: Map, at: Tensor, v: Tensor) -> Tensor:
        """The derivative itself, as the transpose of its transpose."""
        with torch.enable_grad():
            start = at.expand_as(v).clone().requires_grad_()
            image = apply(start)
            dual = torch.zeros_like(image, requires_grad=True)
            (back,) = torch.autograd.grad(image, start, dual, create_graph=True)
            (found,) = torch.autograd.grad(back, dual, v)
        return found


def _by_residuals(system: Map, right: Tensor, accuracy: float, max_steps: int, near: Map) -> Solved:
    """GMRES, begun anew from one Krylov space to the next, preconditioned from the right by ``near``, linear."""
    x, rest, size = torch.zeros_like(right), right, norms(right)
    taken = 0
    while taken < max_steps and bool((norms(rest) > accuracy * size).any()):
        open_items = spread((norms(rest) > accuracy * size).to(rest.dtype.to_real()), rest)
        x = x + open_items * near(least_residual(lambda v: system(near(v)), rest, DIMENSION))
        before, rest = norms(rest), right - system(x)
        taken += DIMENSION + 1
        if not bool((norms(rest) < 0.99 * before).any()):
            break  # it stands still
    return Solved(x, quotient(norms(rest), size), taken, rest)


@torch.no_grad()
def moved_solution(
    equation: Optimality, force: Tensor, accuracy: float, max_steps: int = 500, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The solutions with ``force`` added to f, less the point, by Newton's method; and how exact they are.

    Args:
        equation: Of which the point solves what is left at it.
        force: The changes of f, (batch, ...).
        accuracy: The length of a step, relative to the change of the solution, at which to stop.
        max_steps: Of each linear system.
        start: Guesses of the changes, such as those of the linearised equation; ``None``: zero.

    Returns:
        The changes, (batch, ...), and for each the last step of Newton's method, relative.
    """
    change = torch.zeros_like(force)
    left = equation.left(change, force)
    if start is not None:
        trial = equation.left(start, force)
        better = spread((norms(trial) <= norms(left)).to(torch.float64), left)
        change, left = better * start, torch.where(better > 0, trial, left)
    length = torch.ones(len(force), dtype=torch.float64)
    for _ in range(_NEWTON_STEPS):
        if equation.resolvent is not None:  # steps of forward-backward find the places that change their kind
            for _ in range(_PLAIN_STEPS):
                trial = equation.left(change + left, force)
                better = spread(
                    (norms(trial) <= norms(left)).to(torch.float64), left
                )  # longer steps than theirs diverge
                change = change + better * left
                left = torch.where(better > 0, trial, left)
        shift = equation.shifted(change) + equation.stepsize * force
        derivative = Derivative(equation, equation.point + change, shift)
        step = derivative.newton(left, max(accuracy / 4, _FORCING), max_steps)
        before = norms(left)
        trial = equation.left(change + step, force)
        for _ in range(_HALVINGS):  # an item that got worse takes half its step
            worse = norms(trial) > before
            if not bool(worse.any()):
                break
            step = torch.where(spread(worse.to(torch.float64), step) > 0, step / 2, step)
            trial = equation.left(change + step, force)
        stuck = bool((norms(trial) > _SLOW * before).all())
        change, left = change + step, trial
        length = quotient(norms(step), norms(change))
        if stuck or bool((length <= accuracy).all()):
            break
    return change, length


def _is_better(one: Solved, other: Solved) -> bool:
    """Whether a trial ended in fewer steps than another, or alone at its accuracy."""
    solved, other_solved = (bool((found.left <= _TRIAL).all()) for found in (one, other))
    return solved and (not other_solved or one.steps < other.steps)


def _same(v: Tensor) -> Tensor:
    """Return what is given."""
    return v


@final
@dataclass(frozen=True)
class Singular:
    """The largest singular value of each of several linear maps, from below.

    Attributes:
        values: (batch,), in double precision.
        inputs: Of unit norm, (batch, ...): where the values are reached.
        outputs: Their images.
    """

    values: Tensor
    inputs: Tensor
    outputs: Tensor


@torch.no_grad()
def leading_singular(
    forward: Map, transposed: Map, start: Tensor, steps: int, known: tuple[Tensor, Tensor] | None = None
) -> Singular:
    """The largest stretch of each map in its Krylov space: ``steps`` products with it, one less with its transpose.

    What is maximised is computed from the products that were made, so that each value is reached by its input: it is a
    lower bound of the norm up to the error of those products, however inexact the transposes.

    Args:
        forward: A batch of linear maps, each of its own item.
        transposed: Their transposes.
        start: (batch, ...), not zero.
        steps: The dimension of the space, at least 1.
        known: Inputs and their images that are at hand; they are part of the space in which the largest is sought.
    """
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    if known is not None:
        length = norms(known[0])
        scale = spread(quotient(torch.ones_like(length), length), start)
        inputs, outputs = [scale * known[0]], [scale * known[1]]
    v = start
    for step in range(steps):
        before = norms(v)
        for _ in range(2):
            for member in inputs:
                v = v - spread(inner(member, v), v) * member
        length = norms(v)
        length = torch.where(length > _EXHAUSTED * before, length, 0.0)  # what is left of a whole space is rounding
        v = spread(quotient(torch.ones_like(length), length), v) * v
        inputs.append(v)
        outputs.append(forward(v))
        if step < steps - 1:
            v = transposed(outputs[-1])
    gram = torch.stack([torch.stack([inner(a, b) for b in outputs], 1) for a in outputs], 1)
    gram = torch.nan_to_num(gram, posinf=0.0, neginf=0.0)  # an item that overflowed is lost, and the others are not
    weights = torch.linalg.eigh((gram + gram.mT) / 2).eigenvectors[:, :, -1]
    best = sum((spread(weights[:, k], v) * v for k, v in enumerate(inputs)), torch.zeros_like(start))
    image = sum((spread(weights[:, k], w) * w for k, w in enumerate(outputs)), torch.zeros_like(outputs[0]))
    return Singular(quotient(norms(image), norms(best)), best, image)
