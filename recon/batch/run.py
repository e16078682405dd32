"""A batch: its groups of tasks, what of them is done already, and the loop that does the others."""

import contextlib
import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from recon.batch.executors import Runner
from recon.batch.identity import brief, fingerprint, parameters
from recon.batch.ledger import Ledger, Records, done_before, is_unfinished, read_ledger, sole_writer, tidy
from recon.batch.plan import Contents, Request, numbered
from recon.batch.series import Series, volume_doubt
from recon.batch.task import Outcome, Stamp, Task
from recon.errors import OutputError, ReconError
from recon.io import Derivation, check_projections, decode
from recon.reconstruction.record import SUFFIX, nameless, now
from recon.specs.solve_config import SolveConfig, to_json

if TYPE_CHECKING:
    from recon.reconstruction.plan import Plan

FILES = "files"
"""The group of what is no DICOM."""


class Listener(Protocol):
    """Listener to the progress of a batch."""

    def remark(self, line: str) -> None:
        """Take one line for a person."""

    def ended(self, outcome: Outcome, count: int, total: int) -> None:
        """Take the end of a task: ``count`` of ``total`` are done."""

    def watch(self, label: str, number: int) -> Callable[[int, int, float], None]:
        """Return what is called as a run goes on."""


@dataclass
class Group:
    """Tasks of one strength: a series, or all files that are no DICOM.

    Attributes:
        name: Of its folder, or :data:`FILES`.
        series: The series; ``None`` of files.
        tasks: All of its inputs, in their order; those of a series without what is estimated.
        done: The records of those that are done.
        error: Why nothing of it is done.
    """

    name: str
    series: Series | None
    tasks: list[Task]
    done: dict[str, Path] = field(default_factory=dict)
    error: str = ""

    @property
    def pending(self) -> list[Task]:
        """What is to be done."""
        return [] if self.error else [task for task in self.tasks if task.label not in self.done]


@dataclass
class Batch:
    """A batch: its tasks, those that are done, and their outcomes.

    Attributes:
        request: What was asked for.
        contents: What the inputs are.
        groups: The series, then the other files.
        ledger: What the folder's ledger says.
        outcomes: By the labels of the tasks.
        interrupted: Whether Ctrl-C ended it.
        stopped: Why the rest was not tried, as on a full disk.
        figure: Where the figure of a single input goes.
        keep_interrupted: Whether Ctrl-C leaves the last iterate.
    """

    request: Request
    contents: Contents
    groups: list[Group]
    ledger: Ledger
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    interrupted: bool = False
    stopped: str = ""
    figure: Path | None = None
    keep_interrupted: bool = False

    @property
    def tasks(self) -> list[Task]:
        """All of them."""
        return [task for group in self.groups for task in group.tasks]

    @property
    def pending(self) -> list[Task]:
        """Those that are not done and not refused."""
        return [task for group in self.groups for task in group.pending]


def prepare(contents: Contents, request: Request) -> Batch:
    """The tasks of a batch, compared with what is in the folder of results. Nothing is written.

    Raises:
        OutputError: Something else is where a result is to be.
    """
    ledger, records = read_ledger(request.folder), Records()
    contents = contents.under(request.secret)
    groups = [_of_series(one, request) for one in contents.series]
    if contents.files:
        stamp = Stamp(request.sha256, configuration=request.sha256)
        tasks = [
            Task(
                str(each.output), each.source, each.sha256, request.folder / each.output, request.config, stamp,
                alarm=request.alarm,
            )
            for each in contents.files
        ]  # fmt: skip
        groups.append(Group(FILES, None, tasks))
    if not request.overwrite:
        for group in groups:
            group.done = _done(group.tasks, records)
            group.tasks = _renamed(group)
    for group in groups:
        group.tasks = [replace(task, overwrite=_may_replace(task, group, ledger, request)) for task in group.tasks]
    _refuse_what_is_there(groups)
    return Batch(request, contents, groups, ledger)


def _done(tasks: Sequence[Task], records: Records) -> dict[str, Path]:
    return {task.label: path for task in tasks if (path := done_before(task, records)) is not None}


def _of_series(one: Series, request: Request) -> Group:
    folder = request.folder / one.folder
    stamp = Stamp(request.sha256, one.inputs_sha256)
    tasks = [
        Task(
            f"{one.folder}/{name}", each.source, each.sha256, folder / name, request.config, stamp,
            derivation=Derivation("", number=number), alarm=request.alarm,
        )
        for each, name, number in numbered(one)
    ]  # fmt: skip
    doubt = volume_doubt(one) if request.config.volume else one.doubt
    return Group(one.folder, one, tasks, error=f"{one.folder}: {doubt}" if doubt else "")


def _renamed(group: Group) -> list[Task]:
    """The tasks of a group, where results that are done keep their names though other slices have come since."""
    taken = {str(path).removesuffix(SUFFIX) for path in group.done.values()}
    return [
        task if task.label in group.done or str(task.output) not in taken else _with_own_name(task)
        for task in group.tasks
    ]


def _with_own_name(task: Task) -> Task:
    name = f"{task.output.stem}_{task.sha256[:8]}{task.output.suffix}"
    return replace(task, label=task.label.removesuffix(task.output.name) + name, output=task.output.with_name(name))


def _may_replace(task: Task, group: Group, ledger: Ledger, request: Request) -> bool:
    return request.overwrite or (task.label not in group.done and is_unfinished(task, group.name, ledger))


def _refuse_what_is_there(groups: Sequence[Group]) -> None:
    """Refuse, before any work, what would replace a file that the batch did not leave there."""
    there = [
        path
        for group in groups
        for task in group.pending
        if not task.overwrite
        for path in (task.output, task.record)
        if path.exists()
    ]
    if there:
        more = f", and {len(there) - 1} more" if len(there) > 1 else ""
        raise OutputError(
            f"{there[0]}: the file exists{more}, and it is not what this run would make: other inputs, another "
            "configuration, or changed since; expected a new folder, or an explicit --overwrite."
        )


def carry_out(batch: Batch, runner: Runner, listener: Listener) -> None:
    """Do what is to be done, and keep the ledger; how it went is in the batch, after Ctrl-C too.

    Raises:
        OutputError: The folder cannot be written, or another run is writing there.
    """
    if not batch.pending:
        return
    made = _make_folders(batch)
    with sole_writer(batch.request.folder):
        tidy(dict.fromkeys([batch.request.folder, *(task.output.parent for task in batch.pending)]))
        for group in () if batch.request.overwrite else batch.groups:
            group.done |= _done(group.pending, Records())  # by a run that ended meanwhile
        try:
            _loop(batch, runner, listener)
        except KeyboardInterrupt:
            batch.interrupted = True
        finally:
            tidy(dict.fromkeys([batch.request.folder, *(task.output.parent for task in batch.pending)]))
            _remove_empty(made)
            with contextlib.suppress(OutputError) if batch.stopped else contextlib.nullcontext():
                _write_ledger(batch, _status(batch))


def _loop(batch: Batch, runner: Runner, listener: Listener) -> None:
    if batch.request.config.volume:
        _follow(_volumes(batch, listener), batch, listener)
    if not batch.stopped:
        _follow(runner(_to_do(batch, listener)), batch, listener)


def _follow(ran: Iterator[tuple[Task, Outcome]], batch: Batch, listener: Listener) -> None:
    try:
        for task, outcome in ran:
            batch.outcomes[task.label] = outcome
            listener.ended(outcome, _count(batch), len(batch.tasks))
            if outcome.status == "interrupted":
                raise KeyboardInterrupt
            if outcome.stop:
                batch.stopped = outcome.error
                return
    finally:
        ran.close()  # type: ignore[attr-defined]


def _volumes(batch: Batch, listener: Listener) -> Iterator[tuple[Task, Outcome]]:
    """Do the series as volumes, one after the other in this process."""
    for number, group in enumerate(batch.groups, start=1):
        if group.series is None or not group.pending:
            continue
        from recon.batch.volume_work import do_series  # noqa: PLC0415  brings torch

        try:
            tasks = _resolve(group, group.tasks, batch, listener)
        except ReconError as error:
            for task in group.pending:
                _fail(task, error, batch, listener)
            continue
        _announce(group, batch)
        waiting = {task.label for task in group.pending}
        pending = [task for task in tasks if task.label in waiting]
        yield from do_series(tasks, pending, group.series, listener.watch(group.name, number))


def _count(batch: Batch) -> int:
    """Return how many tasks have ended, those of earlier runs included."""
    ended = sum(outcome.status != "interrupted" for outcome in batch.outcomes.values())
    return ended + sum(len(group.done) for group in batch.groups)


def _to_do(batch: Batch, listener: Listener) -> Iterator[Task]:
    """The tasks that are to be done; what a series needs is estimated when its turn comes, and written down first."""
    for group in batch.groups:
        if group.series is not None and batch.request.config.volume:
            continue  # done as volumes
        pending = _readable_ahead(group, batch, listener)
        if not pending:
            continue
        try:
            tasks = pending if group.series is None else _resolve(group, pending, batch, listener)
        except ReconError as error:
            for task in pending:
                _fail(task, error, batch, listener)
            continue
        _announce(group, batch)
        yield from (replace(task, figure=batch.figure, keep_interrupted=batch.keep_interrupted) for task in tasks)


def planned(group: Group, batch: Batch, say: Callable[[str], None]) -> Iterator[tuple["Plan", list[Task]]]:
    """The plan of a series, or of each other file, with the tasks that it is of; nothing is written.

    Raises:
        ReconError: What stands in the way.
    """
    from recon.batch.work import plan_of  # noqa: PLC0415  brings torch

    pending = group.pending
    if group.series is not None and pending:
        if batch.request.config.volume:
            from recon.batch.volume_work import plan_of_series  # noqa: PLC0415  brings torch

            _, tasks = _resolved(group, group.tasks, batch, say)
            yield plan_of_series(tasks, group.series, say), tasks
            return
        _, tasks = _resolved(group, pending, batch, say)
        yield plan_of(tasks[0], say)[0], tasks
        return
    for task in pending:
        yield plan_of(task, say)[0], [task]


def _readable_ahead(group: Group, batch: Batch, listener: Listener) -> list[Task]:
    """Return what is to be done, without the first ones that cannot be read: to refuse these takes no torch."""
    pending = group.pending
    while pending:
        task = pending[0]
        try:
            if task.of_projections:
                check_projections(task.source.path)
            else:
                decode(task.source.content(), Path(task.label))
        except ReconError as error:
            _fail(task, error, batch, listener)
            pending = pending[1:]
            continue
        return pending
    return []


def _fail(task: Task, error: ReconError, batch: Batch, listener: Listener) -> None:
    sentence = str(error) if task.label in str(error) else f"{task.label}: {error}"
    outcome = Outcome(task.label, "failed", error=sentence, exit_code=error.exit_code)
    batch.outcomes[task.label] = outcome
    listener.ended(outcome, _count(batch), len(batch.tasks))


def _resolve(group: Group, pending: list[Task], batch: Batch, listener: Listener) -> list[Task]:
    entry, tasks = _resolved(group, pending, batch, listener.remark)
    batch.ledger.groups[group.name] = entry
    return tasks


def _resolved(
    group: Group, pending: list[Task], batch: Batch, say: Callable[[str], None]
) -> tuple[dict[str, Any], list[Task]]:
    """Return what the ledger says of a series, and its tasks with what is estimated."""
    from recon.batch.strength import resolve_series  # noqa: PLC0415  brings torch

    assert group.series is not None  # noqa: S101  the caller saw to it
    config, estimated = resolve_series(batch.request.config, group.series, _prefixed(say, group.name))
    known = batch.ledger.known(group.name, batch.request.sha256, group.series.inputs_sha256)
    made = _time(known) or datetime.datetime.now().astimezone().replace(microsecond=0)
    seen = group.series.inputs_sha256 if estimated or config.volume else ""
    entry: dict[str, Any] = {
        "made": made.isoformat(),
        "series_sha256": seen,
        "resolved": to_json(nameless(config), batch.request.folder / group.name),
    }
    stamp = Stamp(batch.request.sha256, seen, fingerprint(config))
    derivation = derivation_of(config, made)
    return entry, [
        replace(
            task, config=config, stamp=stamp, resolved=True,
            derivation=replace(
                derivation,
                number=None if task.derivation is None else task.derivation.number,
                secret=batch.request.secret,
            ),
        )
        for task in pending
    ]  # fmt: skip


def derivation_of(config: SolveConfig, made: datetime.datetime | None = None) -> Derivation:
    """Return what a DICOM result says of a run with a configuration that leaves nothing to be estimated."""
    return Derivation(fingerprint(config), parameters(config), brief(config), config.operator.name, made)


def _prefixed(say: Callable[[str], None], name: str) -> Callable[[str], None]:
    return lambda line: say(f"{name}: {line}")


def _time(known: dict[str, Any] | None) -> datetime.datetime | None:
    try:
        return None if known is None else datetime.datetime.fromisoformat(str(known["made"]))
    except (KeyError, ValueError):
        return None


def _announce(group: Group, batch: Batch) -> None:
    """Write down what is about to be written, so that a run after a kill knows its own unfinished results."""
    known = batch.ledger.groups.setdefault(group.name, {})
    known |= {"name": group.name, "request_sha256": batch.request.sha256, **_described(group)}
    known["items"] = [_item(task, group, batch) for task in group.tasks]
    _write_ledger(batch, "running")


def _described(group: Group) -> dict[str, object]:
    if group.series is None:
        return {"kind": "files"}
    one = group.series
    return {"kind": "series", "described": one.described, "remarks": list(one.remarks)}


def _item(task: Task, group: Group, batch: Batch) -> dict[str, object]:
    outcome = batch.outcomes.get(task.label)
    status = "done before" if task.label in group.done else "planned" if outcome is None else outcome.status
    output = str(group.done[task.label]) if task.label in group.done else ""
    name = (
        task.label if not output else f"{task.label.removesuffix(task.output.name)}{Path(output).name[: -len(SUFFIX)]}"
    )
    item: dict[str, object] = {"input_sha256": task.sha256, "output": name, "status": status}
    if outcome is not None and outcome.error:
        item["error"] = outcome.error
    return item


def _status(batch: Batch) -> str:
    if batch.interrupted:
        return "interrupted"
    ended = all(task.label in batch.outcomes and not batch.outcomes[task.label].failed for task in batch.pending)
    whole = ended and not batch.contents.failed and not any(group.error for group in batch.groups)
    return "done" if whole else "incomplete"


def _write_ledger(batch: Batch, status: str) -> None:
    for group in batch.groups:
        if group.name in batch.ledger.groups and "items" in batch.ledger.groups[group.name]:
            batch.ledger.groups[group.name]["items"] = [_item(task, group, batch) for task in group.tasks]
    aside = [each.reason for each in batch.contents.aside]
    batch.ledger.write(
        status,
        {
            "written": now(),
            "config": to_json(nameless(batch.request.config), batch.request.folder),
            "set_aside": {reason: aside.count(reason) for reason in sorted(set(aside))},
            "unreadable": len(batch.contents.failed),
            "totals": _totals(batch),
            "refused": {group.name: group.error for group in batch.groups if group.error},
        },
    )


def _totals(batch: Batch) -> dict[str, object]:
    """Return how many inputs there are, how many have a result, and how long the solver took."""
    fresh = [outcome for outcome in batch.outcomes.values() if not outcome.failed and outcome.status != "interrupted"]
    return {
        "inputs": len(batch.tasks) + len(batch.contents.failed),
        "done": len(fresh) + sum(len(group.done) for group in batch.groups),
        "failed": sum(outcome.failed for outcome in batch.outcomes.values()) + len(batch.contents.failed),
        "solver_seconds": round(sum(outcome.seconds for outcome in fresh), 3),
    }


def _make_folders(batch: Batch) -> list[Path]:
    """Make the folders that results go to; those that were not there."""
    root = batch.request.folder
    wanted = dict.fromkeys(task.output.parent for task in batch.pending)
    made = [folder for folder in wanted if not folder.exists()]
    try:
        root.mkdir(exist_ok=True)
        for folder in wanted:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{root}: the folder cannot be made ({error.strerror}).") from error
    return [folder for folder in made if folder != root]


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders in which nothing was written."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
