"""A DICOM series as one volume: read, solved and written slice by slice, each slice with its record.

Each slice has a record of its own, so that a batch which was interrupted while it wrote knows which slices are done.
The volume is then solved again, which gives the same slices, and only those that are missing are written.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from recon import io
from recon.batch.series import Series
from recon.batch.source import Source, sha256
from recon.batch.task import Outcome, Task
from recon.batch.work import failed
from recon.errors import ConsistencyError, InputError
from recon.io import Image
from recon.reconstruction.alarm import Alarm
from recon.reconstruction.plan import Plan, make_plan
from recon.reconstruction.record import InputFile, alarm_of
from recon.reconstruction.run import (
    ProgressCallback,
    Target,
    alarm_for,
    check_format,
    check_target,
    execute,
    say_notes,
    write_run,
)
from recon.reconstruction.shortfall import shortfall
from recon.reconstruction.slice_stack import stacked
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
        plan, images, inputs, alarm = _planned(tasks, series, said.append)
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
                result, inputs[number], target, said.append, task.stamp.to_json(), image=image, volume=volume,
                alarm=alarm,
            )  # fmt: skip
            seconds = result.seconds / len(pending)  # of which the sum is what the volume took
            yield task, Outcome(
                task.label, result.status.value, result.steps, seconds, run.record, tuple(said),
                alarm=alarm_of(run.document),
            )  # fmt: skip
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
) -> tuple[Plan, list[Image], list[InputFile], Alarm | None]:
    read = [read_slice(task.source, task.sha256, task.label, task.config.range, say) for task in tasks]
    images = [image for image, _ in read]
    plan = make_plan(tasks[0].config, stacked(images, series.pitch, series.folder), say)
    check_format(replace(plan, problem=replace(plan.problem, template=images[0])), tasks[0].output)
    return plan, images, [entry for _, entry in read], alarm_for(tasks[0].alarm, plan)


def read_slice(
    source: Source, digest: str, label: str, value_range: tuple[float, float] | None, say: Callable[[str], None]
) -> tuple[Image, InputFile]:
    """One slice of a series, and what a record says of its file.

    Raises:
        InputError: It cannot be read, or has changed.
        ConsistencyError: It has several frames or channels.
    """
    data = source.content()
    if sha256(data) != digest:
        raise InputError(
            f"{label}: the input has changed since it was looked at; expected files that stay as they are."
        )
    image = io.decode(data, Path(label), value_range=value_range)
    if image.frames != 1 or image.channels != 1:
        raise ConsistencyError(
            f"{label}: it has {image.frames} frames of {image.channels} channel(s); expected one of each, because "
            "it is a slice of a volume."
        )
    say_notes(image, label, say)
    return image, InputFile("measurement", source.path, digest, len(data), True)
