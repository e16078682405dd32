"""The one loop that runs every algorithm."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recon.certificates.certificate import Certificate
from recon.errors import UsageError
from recon.memory import keep_freed_memory
from recon.solvers.algorithm import Algorithm, S, State
from recon.solvers.solution import Progress, Solution, Status

GROWTH = 1e3
"""A step this many times the shortest one so far is divergence: steps of an averaged map never grow."""

LATE_GROWTH = 1e2
"""The same when the budget runs out, for a divergence too slow to reach ``GROWTH``."""

NEVER_SHRUNK, MANY_STEPS = 0.5, 100
"""When the budget runs out after so many steps, a relative residual beyond this is divergence: the iteration swings."""

STALL_LOOKS, STALL_GAIN = 10, 0.9
"""A map that rounds has stalled when so many looks have not brought the residual below this part of what it was."""

PLATEAU = 10.0
"""A small residual does not count as convergence while the steps are this many times the shortest one."""

ROUNDING = 1e-7
"""Steps shorter than this fraction of the variable are rounding, and their growth means nothing."""

Callback = Callable[[Progress, Tensor], bool | None]
"""Called at each look with the progress and the images; returning True stops the run."""


@torch.no_grad()
def solve(  # noqa: PLR0913  each is an independent choice of the caller
    algorithm: Algorithm[S],
    x0: Tensor | None = None,
    *,
    tolerance: float = 1e-5,
    max_steps: int = 1000,
    check_every: int = 10,
    callback: Callback | None = None,
    certificate: Certificate | None = None,
    state: S | None = None,
    rounding: float = 0.0,
) -> Solution:
    """Run an algorithm until each batch item converges, diverges or runs out of steps.

    An item has converged when its relative fixed-point residual ||v+ - v|| / max(||v+||, ||v1||), with v1 the variable
    after the first step, is at most ``tolerance``; its state is then frozen while the others go on. Where an algorithm
    has ``targets``, they take the place of v+ in the difference. The residual is looked at after the first step, then
    every ``check_every`` steps: one transfer from the device a look, none in between. Divergence is told by steps that
    grow, overflow and NaN by values that are not finite; neither ever counts as convergence, and the image returned is
    then the last one that was seen to be finite. ``KeyboardInterrupt`` ends the run as interrupted. An algorithm with a
    ``residual`` of its own is judged by that, and diverges where it is far above that of the start.

    Args:
        algorithm: What to run.
        x0: The starting images, (batch, ...).
        tolerance: The relative residual at which to stop; 0 runs the whole budget unless a step changes nothing.
        max_steps: The budget.
        check_every: The number of steps between two looks.
        callback: Called at each look; see :data:`Callback`.
        certificate: Handed on to the solution; it takes no part in the run.
        state: Where to go on from, instead of ``x0``: the ``state`` of an earlier solution.
        rounding: The relative error of a map that rounds, as a network in half precision; 0: none. Such steps end up
            as long as a multiple of it that nobody knows, so that an item whose steps no longer shrink has stalled.

    Returns:
        The solution, whatever the outcome: a bad outcome is a value, and raising is the caller's choice.

    Raises:
        UsageError: Neither or both of ``x0`` and ``state``, a start that is not a batch, or a budget or tolerance that
            is not valid.
    """
    _check(x0, state, tolerance, max_steps, check_every)
    if not (rounding >= 0 and math.isfinite(rounding)):
        raise UsageError(f"solve: rounding={rounding!r}; expected a finite number that is not negative.")
    keep_freed_memory()
    current = algorithm.init(x0) if state is None else state  # type: ignore[arg-type]
    referee = _Referee(current.x.shape[0], tolerance, algorithm.residual is not None, rounding > 0)
    sound, step = current, 0
    try:
        while step < max_steps and referee.active:
            following = algorithm.step(current)
            if not step:
                _check_batch(current, following)
            following = _hold(referee.finished, current, following)
            step += 1
            if step % check_every and step not in (1, max_steps):
                current = following
                continue
            own = None if algorithm.residual is None else algorithm.residual(following).tolist()
            reached = None if algorithm.targets is None else algorithm.targets(following)
            broken = referee.look(step, algorithm.variables(current), algorithm.variables(following), own, reached)
            current = sound = _hold(broken, sound, following)
            if callback is not None and callback(referee.history[-1], current.x):
                referee.end_active(Status.INTERRUPTED, step)
    except KeyboardInterrupt:
        referee.end_active(Status.INTERRUPTED, step)
    referee.run_out(step)
    return Solution(
        x=current.x,
        status=tuple(status for status in referee.status if status is not None),
        steps=tuple(referee.steps),
        history=tuple(referee.history),
        certificate=certificate,
        state=current,
    )


def _check(x0: Tensor | None, state: Any, tolerance: float, max_steps: int, check_every: int) -> None:
    if (x0 is None) == (state is None):
        raise UsageError("solve: expected either x0 or state, because a run starts from exactly one of them.")
    if not tolerance >= 0:
        raise UsageError(f"solve: tolerance={tolerance!r}; expected a number that is not negative.")
    if x0 is not None and not x0.ndim:
        raise UsageError(
            "solve: x0 is a single number; expected images (batch, ...), because each item ends on its own."
        )
    if max_steps < 1 or check_every < 1:
        raise UsageError(f"solve: max_steps={max_steps}, check_every={check_every}; expected at least 1 each.")


def _check_batch(start: State, following: State) -> None:
    """Refuse a start whose first axis is not the batch of what a step makes of it."""
    given, found = tuple(start.x.shape), tuple(following.x.shape)
    if found[:1] != given[:1]:
        raise UsageError(
            f"solve: the start has the shape {given} and the first step gives {found}; expected (batch, channels, "
            "height, width), because the items of a batch end one by one."
        )


def _hold(items: list[int], old: S, new: S) -> S:
    """The new state, with the batch items named held at the old one."""
    batch = new.x.shape[0]
    if not items:
        return new
    if len(items) == batch:
        return old
    mask = torch.zeros(batch, dtype=torch.bool)
    mask[items] = True
    mask = mask.to(new.x.device)

    def hold(a: Any, b: Any) -> Any:
        return torch.where(mask.view(-1, *[1] * (b.ndim - 1)), a, b) if isinstance(b, Tensor) else b

    return type(new)(*map(hold, old, new))  # type: ignore[call-overload]


def _lengths(tensors: tuple[Tensor, ...], dtype: torch.dtype | None = None) -> list[list[float]]:
    """The Euclidean norm of each batch item of each tensor, accumulated in ``dtype``.

    A single item on the CPU goes by dot products: a look at a megapixel then takes half the time.
    """
    parts = [_in_memory_order(torch.view_as_real(t) if t.is_complex() else t).flatten(1) for t in tensors]
    parts = parts if dtype is None else [part.to(dtype) for part in parts]
    if parts[0].is_cpu and len(parts[0]) == 1:
        return [[math.sqrt(torch.dot(part[0], part[0]).item())] for part in parts]
    norms: list[list[float]] = torch.stack([torch.linalg.vector_norm(part, dim=1) for part in parts]).tolist()
    return norms


def _in_memory_order(t: Tensor) -> Tensor:
    """A view with the channels last where they lie so, which flattening would copy; a norm is the same in any order."""
    last = t.ndim == 4 and t.is_contiguous(memory_format=torch.channels_last)
    return t.permute(0, 2, 3, 1) if last else t


def _changes_and_sizes(before: tuple[Tensor, ...], after: tuple[Tensor, ...]) -> tuple[list[float], list[float]]:
    """The norms of ``after - before`` and of ``after`` over all their tensors, an entry a batch item.

    One transfer from the device; what is left to combine is a few numbers, which Python does faster than tensors.

    The square of a float32 number beyond 1.8e19 is infinite, and a residual divided by such a norm would read zero:
    what overflows is computed again in double precision, at three times the cost.
    """
    tensors = (*(b - a for a, b in zip(before, after, strict=True)), *after)
    norms = _lengths(tensors)
    if not all(math.isfinite(norm) for row in norms for norm in row):
        norms = _lengths(tensors, torch.float64)
    return _combined(norms[: len(after)]), _combined(norms[len(after) :])


def _combined(norms: list[list[float]]) -> list[float]:
    """The norm over several tensors from the norms of each, an entry a batch item."""
    return [math.hypot(*item) for item in zip(*norms, strict=True)]


class _Referee:
    """Decides, look by look, how each batch item ends."""

    def __init__(self, batch: int, tolerance: float, own: bool, rounds: bool = False) -> None:
        self.tolerance, self.own, self.rounds = tolerance, own, rounds
        self.status: list[Status | None] = [None] * batch
        self.steps = [0] * batch
        self.history: list[Progress] = []
        self.shortest = [1.0 if own else math.inf] * batch  # a residual of the algorithm's own starts at 1
        self.latest = [0.0] * batch
        self.residuals = [math.inf] * batch
        self.reference = [0.0] * batch

    @property
    def active(self) -> list[int]:
        """The items still running."""
        return [item for item, status in enumerate(self.status) if status is None]

    @property
    def finished(self) -> list[int]:
        """The items that have ended."""
        return [item for item, status in enumerate(self.status) if status is not None]

    def look(
        self,
        step: int,
        before: tuple[Tensor, ...],
        after: tuple[Tensor, ...],
        own: list[float] | None = None,
        reached: tuple[Tensor, ...] | None = None,
    ) -> list[int]:
        """Judge every running item by how far it is moved; returns those whose values are no longer finite."""
        lengths, sizes = _changes_and_sizes(before, after)
        if reached is not None:
            lengths, _ = _changes_and_sizes(before, reached)
        if own is not None:
            lengths = [level if math.isfinite(length) else length for length, level in zip(lengths, own, strict=True)]
        broken = []
        for item in self.active:
            self.status[item] = self._verdict(item, lengths[item], sizes[item])
            self.steps[item] = step
            if not math.isfinite(lengths[item] + sizes[item]):
                broken.append(item)
        self.history.append(Progress(step, tuple(self.residuals)))
        return broken

    def _verdict(self, item: int, length: float, size: float) -> Status | None:
        grown = self._grown(item)
        if not math.isfinite(length + size):
            return Status.DIVERGED if grown > 1 else Status.NOT_FINITE
        self.reference[item] = self.reference[item] or size  # lest a limit of zero never be reached
        scale = 1.0 if self.own else max(size, self.reference[item])
        self.residuals[item] = length / scale if scale else 0.0
        self.latest[item] = length
        if not self.own:
            self.shortest[item] = min(self.shortest[item], max(length, ROUNDING * size))
        if self._grown(item) > GROWTH:
            return Status.DIVERGED
        if self.residuals[item] <= self.tolerance and self._grown(item) <= PLATEAU:
            return Status.CONVERGED
        return Status.STALLED if self.rounds and self._stalled(item) else None

    def _stalled(self, item: int) -> bool:
        """Whether the residual has stopped falling; the looks so far are those before this one."""
        seen = [look.residuals[item] for look in self.history] + [self.residuals[item]]
        return len(seen) > 2 * STALL_LOOKS and min(seen[-STALL_LOOKS:]) > STALL_GAIN * min(seen[:-STALL_LOOKS])

    def _grown(self, item: int) -> float:
        """The latest step against the shortest one."""
        return self.latest[item] / self.shortest[item] if self.shortest[item] else 0.0

    def end_active(self, status: Status, step: int) -> None:
        for item in self.active:
            self.status[item], self.steps[item] = status, step

    def run_out(self, step: int) -> None:
        """The budget has run out for whoever is still running."""
        for item in self.active:
            swings = not self.own and step >= MANY_STEPS and self.residuals[item] > NEVER_SHRUNK
            diverges = swings or self._grown(item) > LATE_GROWTH
            self.status[item] = Status.DIVERGED if diverges else Status.OUT_OF_STEPS
            self.steps[item] = step
