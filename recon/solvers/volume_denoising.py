"""Denoising of volumes by total variation in place: the accelerated method of Chambolle and Pock, slice after slice.

``min ||x - y||^2 / 2 + w TV(x)`` over images within bounds is strongly convex, so that the duality gap G bounds the
distance of an image to the minimiser: ``||x - x*||^2 <= 2 G``. An iteration goes through the slices once and overwrites
them, because what it makes of a slice needs the slice before and the one after only. So several iterations follow each
other through the volume, each a slice behind the one before, and read and write it once: with a few slices in memory
and the others in a file the numbers are the same to the bit.
"""

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.errors import OutputError, UsageError
from recon.evidence import Evidence
from recon.priors.finite_differences import FiniteDifferences
from recon.priors.total_variation import VariationTerm
from recon.solvers.constant import constant
from recon.solvers.solution import Distance, Progress, Solution, Status

Floats = NDArray[np.float32]

PLANES = 5
"""Of the state, a slice: the image, its extrapolation, and three of the dual variable."""

FIRST_STEP = 2.0
"""The first primal step size, over the norm of the differences: ``docs/calibration.md``."""

_BELOW = 1 - 1e-6

TOGETHER = 4
"""Iterations that follow each other through a volume in memory: what they share stays in the cache."""

_FIRST_LOOK, _LOOK_FRACTION = 8, 4
"""The gap is evaluated after so many steps, and then each time they have grown by a quarter."""

_INSIDE = 1 - 4e-7
"""What the dual variable is multiplied by in the gap: the rounding of its projection may leave it that far outside."""

_MOST_TOGETHER = 64
"""Iterations a pass through a file: more would not be looked at often enough."""

HOW = "the root of twice the duality gap, because the objective is strongly convex with constant 1"


@final
@dataclass(frozen=True)
class DirectRun:
    """How a method that runs itself is to run.

    Attributes:
        tolerance: The distance to the solution at which to stop, over the scale.
        max_steps: The budget.
        scale: Of each batch item.
        look: Called at each look; true: stop.
        memory: Bytes for the state; ``None``: as many as it takes.
        folder: Where the file of a state that is larger goes; ``None``: the system's folder of temporary files.
        first_step: The first primal step size; ``None``: :data:`FIRST_STEP` over the norm of the differences.
    """

    tolerance: float
    max_steps: int
    scale: Sequence[float]
    look: Callable[[Progress], None] | None = None
    memory: int | None = None
    folder: Path | None = None
    first_step: float | None = None


@torch.no_grad()
def denoise_volumes(y: Tensor, term: VariationTerm, run: DirectRun) -> Solution:
    """The minimisers of ``||x - y||^2 / 2 + w TV(x)``, one volume after the other, each to a proved distance.

    Args:
        y: (batch, channels, slices, height, width), in single precision on the CPU; each channel is a volume.
        term: w TV and the bounds, which are rounded to single precision.
        run: When to stop, and how much memory there is.

    Returns:
        The solution, whatever the outcome; its distances are proved.

    Raises:
        UsageError: The measurement is no such volume, or the memory holds no three slices.
        OutputError: The file of a state that is larger than the memory cannot be written.
    """
    if y.ndim != 5 or y.dtype != torch.float32 or not y.is_cpu:
        raise UsageError(
            f"denoise_volumes: the measurement has shape {tuple(y.shape)}, type {y.dtype} and is on {y.device}; "
            "expected (batch, channels, slices, height, width) of float32 on the CPU."
        )
    batch, channels = y.shape[:2]
    parts = [
        _Item(y[item, channel].contiguous(), term, run, run.scale[item] / math.sqrt(channels))
        for item in range(batch)
        for channel in range(channels)
    ]
    history: list[Progress] = []
    several = torch.empty_like(y) if len(parts) > 1 else None
    stopped = False
    for place, part in enumerate(parts):

        def look(step: int) -> None:
            history.append(_progress(step, parts, run.scale))
            if run.look is not None:
                run.look(history[-1])

        image = part.image if stopped else part.solve(look)
        stopped = stopped or part.status is Status.INTERRUPTED
        if several is not None:
            several[divmod(place, channels)] = image
    x = image.view(y.shape) if several is None else several
    by_item = [parts[item * channels : (item + 1) * channels] for item in range(batch)]
    distances = tuple(_together(group, run.scale[item]) for item, group in enumerate(by_item))
    status = tuple(_worst(group) for group in by_item)
    steps = tuple(max(part.steps for part in group) for group in by_item)
    algorithm = constant(x, "accelerated primal-dual")
    return Solution(x, status, steps, distances, tuple(history), algorithm.init(x), algorithm)


_WORST_FIRST = (Status.NOT_FINITE, Status.INTERRUPTED, Status.OUT_OF_STEPS, Status.STALLED, Status.CONVERGED)


def _worst(group: Sequence["_Item"]) -> Status:
    found = [part.status or Status.INTERRUPTED for part in group]
    return next(status for status in _WORST_FIRST if status in found)


def _together(group: Sequence["_Item"], scale: float) -> Distance:
    value = math.sqrt(sum(part.distance**2 for part in group))
    return Distance(value, value / scale, Evidence.PROVED, HOW)


def _progress(step: int, parts: Sequence["_Item"], scale: Sequence[float]) -> Progress:
    """A look at all items; those whose turn has not come have infinite distances."""
    found, channels = [], len(parts) // len(scale)
    for item in range(len(scale)):
        group = parts[item * channels : (item + 1) * channels]
        squares = sum(part.distance**2 for part in group)
        found.append(math.sqrt(squares) / scale[item])
    return Progress(step, tuple(min(one, 1.0) for one in found), tuple(found))


class _Store(Protocol):
    """The state, slice after slice."""

    def fetch(self, place: int) -> Floats: ...

    def release(self, place: int) -> None: ...

    def result(self) -> Tensor: ...

    def close(self) -> None: ...


class _InMemory:
    """The state of a volume in memory."""

    def __init__(self, y: Floats) -> None:
        self._state = np.zeros((len(y), PLANES, *y.shape[1:]), np.float32)
        self._state[:, 0] = self._state[:, 1] = y

    def fetch(self, place: int) -> Floats:
        found: Floats = self._state[place]
        return found

    def release(self, place: int) -> None:
        pass

    def result(self) -> Tensor:
        """The image, moved to the front of the state's memory, of which the rest is given back."""
        state, self._state = self._state, np.zeros((0, 0, 0, 0), np.float32)
        slices, _, height, width = state.shape
        size = height * width
        state.shape = (slices * PLANES * size,)
        for place in range(1, slices):
            state[place * size : (place + 1) * size] = state[place * PLANES * size : (place * PLANES + 1) * size]
        state.resize(slices * size, refcheck=False)
        return torch.from_numpy(state.reshape(slices, height, width))

    def close(self) -> None:
        pass


class _InFile:
    """The state of a volume in a file without a name, and a ring of slices in memory."""

    def __init__(self, y: Floats, held: int, folder: Path | None) -> None:
        self._shape = (PLANES, *y.shape[1:])
        self._size = int(np.prod(self._shape)) * 4
        self._slices = len(y)
        self._ring = np.zeros((held, *self._shape), np.float32)
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  closed by its owner
            slice_ = np.zeros(self._shape, np.float32)
            for plane in y:
                slice_[0] = slice_[1] = plane
                self._write(slice_)
        except OSError as error:
            raise _no_room(error) from error

    def _write(self, slice_: Floats) -> None:
        view = memoryview(slice_.data).cast("B")
        while view:
            view = view[self._file.write(view) :]

    def fetch(self, place: int) -> Floats:
        slice_: Floats = self._ring[place % len(self._ring)]
        view = memoryview(slice_.data).cast("B")
        self._file.seek(place * self._size)
        while view:
            view = view[self._file.readinto(view) :]
        return slice_

    def release(self, place: int) -> None:
        try:
            self._file.seek(place * self._size)
            self._write(self._ring[place % len(self._ring)])
        except OSError as error:
            raise _no_room(error) from error

    def result(self) -> Tensor:
        self._ring = np.zeros((0, *self._shape), np.float32)
        x = np.empty((self._slices, *self._shape[1:]), np.float32)
        for place, plane in enumerate(x):
            view = memoryview(plane.data).cast("B")
            self._file.seek(place * self._size)
            while view:
                view = view[self._file.readinto(view) :]
        return torch.from_numpy(x)

    def close(self) -> None:
        self._file.close()


def _no_room(error: OSError) -> OutputError:
    reason = (os.strerror(error.errno) if error.errno else str(error)).lower()
    return OutputError(
        f"The volume is larger than the memory that it may take, and its state cannot be kept in a file ({reason}); "
        "expected room beside the output, or more --memory."
    )


class _Item:
    """One volume: its state, and how far it is from its minimiser."""

    def __init__(self, y: Tensor, term: VariationTerm, run: DirectRun, scale: float) -> None:
        self._y, self._term, self._run = y, term, run
        self._target = run.tolerance * scale
        self.distance, self.steps = math.inf, 0
        self.status: Status | None = None
        self._least, self._since = math.inf, 0

    @property
    def image(self) -> Tensor:
        """The volume as it was given."""
        return self._y

    def solve(self, look: Callable[[int], None]) -> Tensor:
        """The image, after as many steps as it takes."""
        y: Floats = self._y.numpy()
        together, store = self._store(y)
        sizes = _step_sizes(self._norm(), self._run.first_step)
        try:
            until = _FIRST_LOOK
            try:
                while self.status is None:
                    until = min(until, self._run.max_steps)
                    while self.steps < until:
                        count = min(together, until - self.steps)
                        steps = [next(sizes) for _ in range(count)]
                        sums = _sweep(store, y, steps, self._term, measure=self.steps + count == until)
                        self.steps += count
                        if sums is not None:
                            self._judge(*sums)
                    until = self.steps + max(_FIRST_LOOK, self.steps // _LOOK_FRACTION)
                    look(self.steps)
            except KeyboardInterrupt:
                self.status, self.distance = Status.INTERRUPTED, math.inf  # slices are at several iterations
            return store.result()
        finally:
            store.close()

    def _norm(self) -> float:
        norm = FiniteDifferences(tuple(self._y.shape), self._term.spacing).properties.norm.value
        return norm if norm > 0 else 1.0

    def _store(self, y: Floats) -> tuple[int, _Store]:
        """How many iterations follow each other, and the state."""
        of_slice = PLANES * y[0].nbytes
        room = self._run.memory
        if room is None or room >= len(y) * of_slice:
            return TOGETHER, _InMemory(y)
        held = room // of_slice
        if held < _BEHIND + 1:
            raise UsageError(
                f"memory leaves {room / 2**20:.0f} MiB for the state, and {_BEHIND + 1} slices of it take "
                f"{(_BEHIND + 1) * of_slice / 2**20:.0f}; expected more --memory, because an iteration needs a slice "
                "with those before and after it."
            )
        return min(held - _BEHIND, _MOST_TOGETHER), _InFile(y, held, self._run.folder)

    def _judge(self, misfit: float, variation: float, dual: float) -> None:
        gap = misfit + variation - dual
        if not (math.isfinite(misfit) and math.isfinite(variation)):
            self.status, self.distance = Status.NOT_FINITE, math.inf
            return
        rounding = 1e-14 * (misfit + variation + abs(dual))
        self.distance = math.sqrt(2 * (max(gap, 0.0) + rounding)) if math.isfinite(gap) else math.inf
        if self.distance <= self._target:
            self.status = Status.CONVERGED
        elif self.steps >= self._run.max_steps:
            self.status = Status.OUT_OF_STEPS
        elif self.distance < 0.98 * self._least:
            self._least, self._since = self.distance, self.steps
        elif self.steps > 4 * self._since:
            self.status = Status.STALLED


_BEHIND = 4
"""Slices that a pass holds beside one an iteration: the one that is read, those behind, and that of the gap."""


def dual_step(primal: float, norm: float) -> float:
    """The first dual step size, with ``s t ||D||^2`` just below 1, where D has the norm."""
    return _BELOW / (primal * norm**2) if norm > 0 else 1.0


def _step_sizes(norm: float, first: float | None) -> Iterator[tuple[float, float, float]]:
    """The dual and the primal step size of each iteration, and the momentum after it (Chambolle and Pock 2011, 2)."""
    primal = FIRST_STEP / norm if first is None else first
    dual = dual_step(primal, norm)
    while True:
        momentum = 1 / math.sqrt(1 + 2 * primal)
        yield dual, primal, momentum
        primal, dual = primal * momentum, dual / momentum


def _sweep(
    store: _Store, y: Floats, steps: Sequence[tuple[float, float, float]], term: VariationTerm, measure: bool
) -> tuple[float, float, float] | None:
    """One pass of some iterations through the volume; the parts of the gap after them, where it is measured."""
    from recon.solvers import volume_kernels as kernels  # noqa: PLC0415  numba takes a second

    count, height = len(y), y.shape[1]
    exact = np.array([1 / h for h in term.spacing])
    per = exact.astype(np.float32)
    low, high = (float(np.float32(bound)) for bound in term.bounds)  # an image beyond them would have no duality gap
    held: dict[int, Any] = {}
    last = len(steps) + 1  # how far behind the gap is
    sums, rows = np.zeros((count if measure else 0, 3)), np.zeros((height, 4))
    longest = 0.0
    for front in range(count + last + 2):
        if front < count:
            held[front] = store.fetch(front)
        for behind, (dual, primal, momentum) in enumerate(steps, 1):
            place = front - behind
            if not 0 <= place < count:
                continue
            here, above, below = held[place], held.get(place + 1), held.get(place - 1)
            kernels.ascend(
                here, here if above is None else above, above is not None, dual, term.weight, per, term.isotropic
            )
            kernels.descend(
                here, here if below is None else below, below is not None, y[place], primal, momentum, per, low, high
            )
        place = front - last
        if measure and 0 <= place < count:
            here, above, below = held[place], held.get(place + 1), held.get(place - 1)
            kernels.energies(
                here, here if above is None else above, above is not None, here if below is None else below,
                below is not None, y[place], exact, term.isotropic, low, high, _INSIDE, rows,
            )  # fmt: skip
            sums[place] = rows[:, :3].sum(axis=0)
            longest = max(longest, float(rows[:, 3].max()))
        if front - last - 1 in held:
            store.release(front - last - 1)
            del held[front - last - 1]
    if not measure:
        return None
    misfit, variation, dual_value = (math.fsum(column) for column in sums.T)
    outside = math.sqrt(longest) * _INSIDE > term.weight  # then the dual function bounds nothing
    return misfit, term.weight * variation, -math.inf if outside else dual_value


def state_bytes(voxels: int) -> int:
    """The memory of the state of a volume."""
    return PLANES * 4 * voxels
