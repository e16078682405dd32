"""The one loop that runs every algorithm."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from recon._malloc import keep_freed_memory
from recon.errors import UsageError
from recon.evidence import Evidence
from recon.operators.base import Characterised
from recon.solvers.algorithm import Algorithm, S, State
from recon.solvers.convergence import SEQUENCES, Criteria, ItemMonitor, estimates_distance, sequence_of
from recon.solvers.solution import Progress, Solution, Status
from recon.solvers.theorem import certify, check_adjoints, is_characterised

TOLERANCE = 2e-3
"""The distance to the limit, over the scale, at which a run stops unless told otherwise.

On fourteen problems of deblurring, denoising, enlarging and tomography images are then at most 0.01 dB or 0.5 HU from
the limit: the estimate was between 1.1 and 7.4 times the distance, and the distance at most 0.0012 of the image:
``tests/benchmarks/stopping.py --side 64 --least 300``.
"""

TINY = 1e-15
"""Norms below this are computed in double precision: squares of single precision vanish below 1e-38."""

TELLING = 1e-3
"""Where a step moves the zero image by less than this part of an image, it is too short to test the image by it."""

_TYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)

Callback = Callable[[Progress, Tensor], bool | None]
"""Called at each look with the progress and the images; returning True stops the run."""


@torch.no_grad()
def solve(  # noqa: PLR0913  each is an independent choice of the caller
    algorithm: Algorithm[S],
    x0: Tensor | None = None,
    *,
    tolerance: float = TOLERANCE,
    max_steps: int = 1000,
    check_every: int = 10,
    callback: Callback | None = None,
    state: S | None = None,
    rounding: float = 0.0,
    scale: float | Sequence[float] | None = None,
    early: float | None = None,
) -> Solution:
    """Run an algorithm until each batch item converges, diverges or runs out of steps.

    An item has converged when the estimated distance ||x - x*|| of its image to the limit is at most ``tolerance``
    times ``scale``, and no variable drifts; its state is then frozen while the others go on. The distance is
    extrapolated from the moves of the image over numbers of steps that grow by sqrt(2), in two sequences of which each
    lies halfway between the other's, as :func:`recon.solvers.convergence.distance_left` says: *measured*, and blind to
    what has not moved yet. Neither the start nor the iterates enter the scale, so that an iteration that drifts away
    cannot pass for one that converges.

    The residual of a look is the length ||v+ - v|| of a step of the variables over ``scale``; where an algorithm has
    ``targets``, they take the place of v+. It is looked at after the first step, every ``check_every`` steps and where
    the distance is estimated: one transfer from the device a look, none in between. An algorithm with a ``residual`` of
    its own is judged by that, too, and diverges where it is far above that of the start. Divergence is told by steps
    that grow, unless the certificate proves convergence, overflow and NaN by values that are not finite; neither ever
    counts as convergence, and the image returned is then the last one that was seen to be finite.
    ``KeyboardInterrupt`` ends the run as interrupted.

    Args:
        algorithm: What to run.
        x0: The starting images, (batch, ...).
        tolerance: The distance to the limit at which to stop, over ``scale``; 0 runs the whole budget unless nothing
            changes any more.
        max_steps: The budget.
        check_every: The number of steps between two looks.
        callback: Called at each look; see :data:`Callback`.
        state: Where to go on from, instead of ``x0``: the ``state`` of an earlier solution.
        rounding: The relative error of a map that rounds, as a network in half precision; 0: none. Such steps end up
            as long as a multiple of it that nobody knows, so that an item whose steps no longer shrink has stalled.
        scale: A length of the data in the norm of images, for all items or for each; ``None``: the norm of the image
            that one or two steps make of zero, at the price of these steps.
        early: The residual at which to stop before the limit, as methods without a prior do; ``None``: never.

    Returns:
        The solution, whatever the outcome: a bad outcome is a value, and raising is the caller's choice.

    Raises:
        UsageError: Neither or both of ``x0`` and ``state``, a start that is not a batch, or a budget, tolerance or
            scale that is not valid.
    """
    if not isinstance(algorithm, Algorithm):
        raise UsageError(
            f"solve: the algorithm is a {type(algorithm).__name__}; expected one of recon.solvers, as "
            "forward_backward(data, resolvent, stepsize) makes it."
        )
    _check(x0, state, tolerance, max_steps, check_every)
    if not (rounding >= 0 and math.isfinite(rounding)):
        raise UsageError(f"solve: rounding={rounding!r}; expected a finite number that is not negative.")
    keep_freed_memory()
    current = algorithm.init(x0) if state is None else state  # type: ignore[arg-type]
    if state is not None and not isinstance(state, type(algorithm.init(torch.zeros_like(state.x)))):
        raise UsageError(
            f"solve: the state is of another algorithm than {algorithm.name} ({type(state).__name__}); expected the "
            "state of a solution of the same."
        )
    _check_axes(algorithm, current.x)
    example = torch.zeros_like(current.x[:1])
    check_adjoints(algorithm, example)
    known = certify(algorithm, example) if is_characterised(algorithm) else None
    criteria = Criteria(
        tolerance,
        torch.finfo(current.x.dtype.to_real()).eps,
        algorithm.residual is not None,
        rounding,
        early,
        known is not None and known.holds and known.evidence is Evidence.PROVED,
        known is not None and known.has_solution,
    )
    monitor = _Monitor(criteria, _scales(algorithm, current.x, scale), current.x)
    sound, step = current, 0
    try:
        while step < max_steps and monitor.active:
            following = algorithm.step(current)
            if not step:
                _check_batch(current, following)
            following = _hold(monitor.finished, current, following)
            step += 1
            if step % check_every and step not in (1, max_steps) and not estimates_distance(step):
                current = following
                continue
            broken = monitor.look(step, algorithm, current, following)
            current = sound = _hold(broken, sound, following)
            if callback is not None and callback(monitor.history[-1], current.x):
                monitor.end_active(Status.INTERRUPTED, step)
    except KeyboardInterrupt:
        monitor.end_active(Status.INTERRUPTED, step)
    monitor.run_out(step)
    return Solution(
        x=current.x,
        status=tuple(item.status for item in monitor.items if item.status is not None),
        steps=tuple(item.steps for item in monitor.items),
        distance=tuple(item.distance for item in monitor.items),
        history=tuple(monitor.history),
        state=current,
        algorithm=algorithm,
    )


def _check(x0: Tensor | None, state: Any, tolerance: float, max_steps: int, check_every: int) -> None:
    if (x0 is None) == (state is None):
        raise UsageError("solve: expected either x0 or state, because a run starts from exactly one of them.")
    if not tolerance >= 0:
        raise UsageError(f"solve: tolerance={tolerance!r}; expected a number that is not negative.")
    if x0 is not None and not (isinstance(x0, Tensor) and x0.dtype in _TYPES):
        kind = x0.dtype if isinstance(x0, Tensor) else f"a {type(x0).__name__}"
        raise UsageError(
            f"solve: x0 is {kind}; expected a tensor of float32 or float64, or complex of these, because half "
            "precision cannot tell a small step from none."
        )
    if x0 is not None and not x0.ndim:
        raise UsageError(
            "solve: x0 is a single number; expected images (batch, ...), because each item ends on its own."
        )
    if max_steps < 1 or check_every < 1:
        raise UsageError(f"solve: max_steps={max_steps}, check_every={check_every}; expected at least 1 each.")


def _check_axes(algorithm: Algorithm[Any], x: Tensor) -> None:
    """Refuse images without a batch or a channel axis, which would be taken for a batch of rows or of channels."""
    for operator in algorithm.operators:
        if not isinstance(operator, Characterised):
            continue
        sides = len(operator.domain.shape)
        least = sides + (2 if sides > 1 else 1)
        if x.ndim < least:
            expected = "(batch, entries)" if sides == 1 else "(batch, channels, height, width)"
            raise UsageError(
                f"solve: the start has the shape {tuple(x.shape)} and {type(operator).__name__} takes images of "
                f"{' x '.join(map(str, operator.domain.shape))}; expected {expected}, as x[None, None] makes of one "
                "image."
            )


def _check_batch(start: State, following: State) -> None:
    """Refuse a start whose first axis is not the batch of what a step makes of it."""
    if following.x.shape[:1] != start.x.shape[:1]:
        _refuse_batch(tuple(start.x.shape), following.x.shape[0])


def _refuse_batch(given: tuple[int, ...], found: int) -> NoReturn:
    raise UsageError(
        f"solve: the start has the shape {given} and the first step gives {found} items; expected (batch, channels, "
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
        if hasattr(b, "_fields"):  # a state within a state
            return type(b)(*map(hold, a, b))
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
    norms = _safe_lengths(tensors)
    return _combined(norms[: len(after)]), _combined(norms[len(after) :])


def _norms_of(tensors: tuple[Tensor, ...]) -> list[float]:
    """The norm over several tensors, an entry a batch item."""
    return _combined(_safe_lengths(tensors))


def _safe_lengths(tensors: tuple[Tensor, ...]) -> list[list[float]]:
    """The norms of ``_lengths``, where squares overflow or underflow in double precision."""
    norms = _lengths(tensors)
    if any(not TINY < norm < math.inf for row in norms for norm in row):
        norms = _lengths(tensors, torch.float64)
    return norms


def _combined(norms: list[list[float]]) -> list[float]:
    """The norm over several tensors from the norms of each, an entry a batch item."""
    return [math.hypot(*item) for item in zip(*norms, strict=True)]


def _scales(algorithm: Algorithm[S], x: Tensor, scale: float | Sequence[float] | None) -> list[float]:
    """The scale of each batch item, as given, or from the zero image.

    Where the zero image is a solution, and gives none, it is the norm of the start, or else 1.
    """
    batch = x.shape[0]
    if scale is not None:
        given = [float(scale)] * batch if isinstance(scale, int | float) else [float(each) for each in scale]
        if len(given) != batch or not all(each > 0 and math.isfinite(each) for each in given):
            raise UsageError(f"solve: scale={scale!r}; expected a positive finite number, or one for each of {batch}.")
        return given
    found = _response(algorithm, x)
    if len(found) != batch:
        _refuse_batch(tuple(x.shape), len(found))
    starts = _norms_of((x,))
    return [next((n for n in pair if n > 0 and math.isfinite(n)), 1.0) for pair in zip(found, starts, strict=True)]


def _response(algorithm: Algorithm[S], x: Tensor) -> list[float]:
    """The norm of the larger of the two images that one and two steps make of zero, an entry a batch item.

    Two, because a primal-dual method whose data are behind the dual operator moves its image at the second step first.
    """
    first = algorithm.step(algorithm.init(torch.zeros_like(x)))
    second = algorithm.step(first)
    return [max(pair) for pair in zip(_norms_of((first.x,)), _norms_of((second.x,)), strict=True)]


class _Monitor:
    """Follows all items of a batch."""

    def __init__(self, criteria: Criteria, scales: list[float], x: Tensor) -> None:
        self.items = [ItemMonitor(criteria, scale) for scale in scales]
        self.history: list[Progress] = []
        self._seen = [x] * SEQUENCES

    @property
    def active(self) -> list[int]:
        """The items still running."""
        return [number for number, item in enumerate(self.items) if item.status is None]

    @property
    def finished(self) -> list[int]:
        """The items that have ended."""
        return [number for number, item in enumerate(self.items) if item.status is not None]

    def look(self, step: int, algorithm: Algorithm[S], before: S, after: S) -> list[int]:
        """Judge every running item; returns those whose values are no longer finite."""
        running = self.active
        lengths, sizes = _step_lengths(algorithm, before, after)
        for number in running:
            self.items[number].look_at_step(step, lengths[number], sizes[number])
        if estimates_distance(step):
            self._estimate(step, algorithm, before, after, running)
        self.history.append(
            Progress(
                step,
                tuple(item.residual for item in self.items),
                tuple(item.left / item.scale for item in self.items),
            )
        )
        return [number for number in running if not math.isfinite(lengths[number] + sizes[number])]

    def _estimate(self, step: int, algorithm: Algorithm[S], before: S, after: S, running: list[int]) -> None:
        middle = torch.lerp(before.x, after.x, 0.5)  # an over-relaxed image goes to and fro around its limit
        sequence = sequence_of(step) or 0
        moves, sizes = _changes_and_sizes((self._seen[sequence],), (middle,))
        betweens = _norms_of((middle - self._seen[1 - sequence],))
        lasts = _norms_of((after.x - before.x,))
        self._seen[sequence] = middle
        for number in running:
            self.items[number].look_at_distance(step, moves[number], betweens[number], lasts[number], sizes[number])
        doubtful = [n for n in running if self.items[n].status is Status.CONVERGED and self.items[n].never_moved]
        if not doubtful:
            return
        response = _response(algorithm, after.x)
        for number in doubtful:
            if response[number] < TELLING * sizes[number]:
                self.items[number].deny()

    def end_active(self, status: Status, step: int) -> None:
        for number in self.active:
            self.items[number].status, self.items[number].steps = status, step

    def run_out(self, step: int) -> None:
        """The budget has run out for all items still running."""
        for number in self.active:
            self.items[number].run_out(step)


def _step_lengths(algorithm: Algorithm[S], before: S, after: S) -> tuple[list[float], list[float]]:
    """The length of the step of each item, or its own residual where that is finite, and the norm of its variables."""
    old = algorithm.variables(before)
    lengths, sizes = _changes_and_sizes(old, algorithm.variables(after))
    if algorithm.targets is not None:
        lengths, _ = _changes_and_sizes(old, algorithm.targets(after))
    if algorithm.residual is not None:
        own: list[float] = algorithm.residual(after).tolist()
        lengths = [level if math.isfinite(length) else length for length, level in zip(lengths, own, strict=True)]
    return lengths, sizes
