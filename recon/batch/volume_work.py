"""A DICOM series as one volume: read, solved and written slice by slice, each slice with its record.

Each slice has a record of its own, so that a batch which was interrupted while it wrote knows which slices are done.
The volume is then solved again, which gives the same slices, and only those that are missing are written.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recon import io
from recon.batch.series import Series
from recon.batch.source import sha256
from recon.batch.task import Outcome, Task
from recon.batch.work import failed
from recon.errors import ConsistencyError, InputError
from recon.io import Image, Slices
from recon.reconstruction.plan import Plan, make_plan
from recon.reconstruction.record import InputFile
from recon.reconstruction.run import ProgressCallback, Target, check_format, check_target, execute, say_notes, write_run
from recon.reconstruction.shortfall import shortfall
from recon.solvers import Status


def do_series(
    tasks: Sequence[Task], pending: Sequence[Task], series: Series, watch: ProgressCallback | None = None
) -> Iterator[tuple[Task, Outcome]]:
    """Solve a series as one volume, and write the slices that are not done; whatever goes wrong is in the outcomes.

    Args:
        tasks: Of all slices, in their order.
        pending: Those whose result is not there.
        series: The series.
        watch: Called as the run goes on.
    """
    said: list[str] = []
    written = 0
    try:
        for task in pending:
            check_target(Target(task.output, task.figure, task.overwrite, task.derivation), (task.source.path,))
        plan, images, inputs = _planned(tasks, series, said.append)
        result = execute(plan, watch, pending[0].output.parent)
        if result.status is Status.INTERRUPTED:
            yield pending[0], Outcome(pending[0].label, "interrupted", result.steps, result.seconds, said=tuple(said))
            return
        assert plan.problem.layout is not None  # noqa: S101  a series is a volume
        frames = plan.problem.layout.frames(result.solution.x)
        place = {task.label: number for number, task in enumerate(tasks)}
        if (line := shortfall(result)) is not None:
            said.append(f"{series.folder}: {line}")
        for task in pending:
            number = place[task.label]
            target = Target(task.output, task.figure, task.overwrite, task.derivation)
            image = io.with_tensor(images[number], frames[number : number + 1])
            volume = {"slices": len(tasks), "slice": number + 1, "series_sha256": series.inputs_sha256}
            run = write_run(
                result, inputs[number], target, said.append, task.stamp.to_json(), image=image, volume=volume
            )
            seconds = result.seconds / len(pending)  # of which the sum is what the volume took
            yield task, Outcome(task.label, result.status.value, result.steps, seconds, run.record, tuple(said))
            said.clear()
            written += 1
    except Exception as error:  # of whatever kind, as of a single task
        for task in pending[written:]:
            yield task, failed(task, error, said)


def plan_of_series(tasks: Sequence[Task], series: Series, say: Callable[[str], None]) -> Plan:
    """The plan of a series as one volume.

    Raises:
        ReconError: What stands in the way, before the first step.
    """
    return _planned(tasks, series, say)[0]


def _planned(
    tasks: Sequence[Task], series: Series, say: Callable[[str], None]
) -> tuple[Plan, list[Image], list[InputFile]]:
    read = [_read(task, say) for task in tasks]
    images = [image for image, _ in read]
    plan = make_plan(tasks[0].config, _stacked(images, series), say)
    check_format(replace(plan, problem=replace(plan.problem, template=images[0])), tasks[0].output)
    return plan, images, [entry for _, entry in read]


def _read(task: Task, say: Callable[[str], None]) -> tuple[Image, InputFile]:
    data = task.source.content()
    if sha256(data) != task.sha256:
        raise InputError(
            f"{task.label}: the input has changed since the batch began; expected files that stay as they are."
        )
    image = io.decode(data, Path(task.label), value_range=task.config.range)
    if image.frames != 1 or image.channels != 1:
        raise ConsistencyError(
            f"{task.label}: it has {image.frames} frames of {image.channels} channel(s); expected one of each, because "
            "it is a slice of a volume."
        )
    say_notes(image, task.label, say)
    return image, InputFile("measurement", task.source.path, task.sha256, len(data), True)


def _stacked(images: Sequence[Image], series: Series) -> Image:
    """The slices as one image of frames."""
    first = images[0]
    for number, image in enumerate(images, 1):
        if (image.height, image.width, image.units) != (first.height, first.width, first.units):
            raise ConsistencyError(
                f"{series.folder}: slice {number} has {image.height} x {image.width} pixels in "
                f"{image.units or 'no units'}, the first {first.height} x {first.width} in "
                f"{first.units or 'no units'}; expected the same, because they are slices of one volume."
            )
    padding = None
    if any(image.padding is not None for image in images):
        none = functools.partial(np.zeros, first.pixels.shape, np.bool_)
        padding = np.concatenate([none() if image.padding is None else image.padding for image in images])
    ranges = {(image.value_range.low, image.value_range.high) for image in images}
    pixels = np.concatenate([image.pixels for image in images])
    value_range = first.value_range
    if len(ranges) > 1:
        value_range = io.ValueRange(min(low for low, _ in ranges), max(high for _, high in ranges), first.units)
    return replace(
        first, pixels=pixels, padding=padding, value_range=value_range, grid=None, alpha=None, notes=(),
        slices=None if series.pitch is None else Slices(series.pitch),
    )  # fmt: skip
