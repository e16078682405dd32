"""One task done: read, solved, written; in this process or in a worker."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from recon import io
from recon.batch.ledger import done_at
from recon.batch.source import sha256
from recon.batch.task import Outcome, Task
from recon.errors import InputError, OutputError, ReconError
from recon.evidence import Measured
from recon.io import Image
from recon.io.atomic import would_end_all
from recon.methods.operator_pair import OperatorPair
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
    files_of,
    read_image,
    say_notes,
    write_run,
)
from recon.reconstruction.shortfall import shortfall
from recon.solvers import Status
from recon.specs.priors import PriorReader


@dataclass
class _Shared:
    """The part of a plan that the inputs of one configuration and image size share; filled by the first of a process.

    Attributes:
        pair: The operator, as analysed.
        hardest: What the prior was refuted with, where it is the same for all.
        read: What reads the prior, and keeps a network.
    """

    pair: OperatorPair | None = None
    hardest: Measured | None = None
    read: PriorReader = field(default_factory=PriorReader)


@functools.lru_cache(maxsize=8)
def _shared(_key: tuple[object, ...]) -> _Shared:
    return _Shared()


def do_task(task: Task, watch: ProgressCallback | None = None) -> Outcome:
    """Read, solve and write one input; whatever goes wrong is in the outcome.

    Args:
        task: The input.
        watch: Called as the run goes on.
    """
    said: list[str] = []
    try:
        return _done(task, watch, said)
    except Exception as error:  # one fault must not end the others
        return failed(task, error, said)


def failed(task: Task, error: Exception, said: Sequence[str]) -> Outcome:
    """The outcome of a task that an error ended."""
    if isinstance(error, ReconError):
        return Outcome(
            task.label, "failed", said=tuple(said), error=_without_paths(str(error), task),
            stop=isinstance(error, OutputError) and would_end_all(error), exit_code=error.exit_code,
        )  # fmt: skip
    if isinstance(error, MemoryError):
        return Outcome(task.label, "failed", said=tuple(said), error=f"{task.label}: memory ran out.", exit_code=6)
    # the message may quote the file
    sentence = f"{task.label}: an unexpected {type(error).__name__}. This is a fault of recon."
    return Outcome(task.label, "failed", said=tuple(said), error=sentence, exit_code=1)


def plan_of(task: Task, say: Callable[[str], None]) -> tuple[Plan, InputFile, Alarm | None]:
    """The plan of a task, its input with its hash, and the critic that is to judge its result.

    Raises:
        ReconError: What stands in the way, before the first step.
    """
    image, measured = _read(task, say)
    plan = _plan(task, image, say)
    check_format(plan, task.output)
    return plan, measured, alarm_for(task.alarm, plan)


def _done(task: Task, watch: ProgressCallback | None, said: list[str]) -> Outcome:
    if task.again and not task.overwrite:
        if (done := done_at(task)) is not None:
            return Outcome(task.label, str(done.get("status")), record=task.record, alarm=alarm_of(done))
        task = replace(task, overwrite=True)
    target = Target(task.output, task.figure, task.overwrite, task.derivation)
    check_target(target, (task.source.path,))
    plan, measured, alarm = plan_of(task, said.append)
    check_target(target, files_of(plan, task.source.path), plan.problem.template)
    result = execute(plan, watch)
    if result.status is Status.INTERRUPTED and not task.keep_interrupted:
        return Outcome(task.label, "interrupted", result.steps, result.seconds, said=tuple(said))
    run = write_run(result, measured, target, said.append, task.stamp.to_json(), alarm=alarm)
    if (line := shortfall(result)) is not None:
        said.append(f"{task.output}: {line}")
    return Outcome(
        task.label,
        result.status.value,
        result.steps,
        result.seconds,
        run.record,
        tuple(said),
        alarm=alarm_of(run.document),
    )


def _read(task: Task, say: Callable[[str], None]) -> tuple[Image, InputFile]:
    called = Path(task.label)
    if task.of_projections:
        image = read_image(task.source.path, task.config, say)
        data = b"" if task.sha256 else task.source.content()
        digest, size = task.sha256 or sha256(data), task.source.path.stat().st_size
        return image, InputFile("measurement", task.source.path, digest, size)
    data = task.source.content()
    if sha256(data) != task.sha256:
        raise InputError(
            f"{called}: the input has changed since the batch began; expected files that stay as they are."
        )
    image = io.decode(data, Path(_read_as(task)), value_range=task.config.range)
    say_notes(image, task.label, say)
    private = image.source.format == "dicom" or task.source.member is not None
    return image, InputFile("measurement", task.source.path, task.sha256, len(data), private)


def _read_as(task: Task) -> str:
    """Return what errors of a reader call the input: its suffix is compared with the content."""
    if task.derivation is not None:
        return task.label
    return str(Path(task.label).with_name(task.source.relative.name))


def _plan(task: Task, image: Image, say: Callable[[str], None]) -> Plan:
    shared = _shared((task.stamp.configuration, str(task.config.operator), image.height, image.width, image.channels))
    plan = make_plan(task.config, image, say, shared.pair, shared.hardest, read=shared.read)
    if not task.of_projections:  # whose rays each measurement weighs
        shared.pair = plan.pair
        shared.hardest = plan.hardest if task.resolved else None
    return plan


def _without_paths(sentence: str, task: Task) -> str:
    """A sentence in which the input is called by its label."""
    if task.of_projections:
        sentence = sentence.replace(str(task.source.path), task.label)
    return sentence if task.label in sentence else f"{task.label}: {sentence}"
