"""``recon solve`` of several inputs: what is said as it goes on, the table at the end, and the exit code."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import terminal

if TYPE_CHECKING:
    from recon.batch.executors import Runner
    from recon.batch.plan import Contents
    from recon.batch.run import Batch, Group
    from recon.batch.task import Outcome, Task
    from recon.specs.solve_config import SolveConfig

_LINES = 100
"""Progress lines of a batch, at most."""

_ROWS = 5
"""Of slices of a series that failed, in the table."""

_NUMBERS = re.compile(r"[-+]?\d[\d.e+-]*")


def solve(
    inputs: tuple[str, ...],
    config: "SolveConfig",
    given: dict[str, Any],
    alone: Callable[[Path, "SolveConfig", dict[str, Any]], None],
) -> None:
    """Solve what inputs stand for into a folder.

    Args:
        inputs: As the user gave them.
        config: The configuration.
        given: The options of the command line.
        alone: What solves a single file to a file.
    """
    from recon.batch.classify import Allowed
    from recon.batch.plan import folder_of, look_into, request
    from recon.specs.input_checks import look_at_operator

    from .series_file import one_series, solve_series

    output = None if given["output"] is None else Path(given["output"])
    allowed = Allowed(given["allow_localisers"], given["allow_derived"], given["allow_unordered"])
    contents = look_into(inputs, output, config, allowed).under(given["secret"])
    single = _single_file(contents, output)
    if single is not None:
        _say_contents(contents, config, given["show_paths"])
        alone(single, config, given)
        return
    series = one_series(contents, output)
    if series is not None and output is not None:
        _say_contents(contents, config, given["show_paths"])
        solve_series(series, output, config, given)
        return
    if given["figure"] is not None and contents.count != 1:
        raise click.UsageError(
            f"--figure is of one image, and {contents.count} inputs are given.", click.get_current_context()
        )
    if given["alarm_map"] is not None:
        raise click.UsageError(
            f"--alarm-map is of one result, and {contents.count} inputs are given; expected one. The page of --report "
            "draws the map of each.",
            click.get_current_context(),
        )
    if given["alarm"] is not None:
        from recon.reconstruction.alarm import check_name

        check_name(given["alarm"])
    total = contents.count + len(contents.failed)
    folder = Path() if given["output"] is None else folder_of(given["output"], total)
    _say_contents(contents, config, given["show_paths"])
    for spec in (config.operator, config.surrogate):
        if spec is not None:
            look_at_operator(spec)
    from recon.batch.run import carry_out, prepare

    replaces = given["overwrite"] or given["output"] is None
    batch = prepare(contents, request(config, folder, replaces, given["secret"], given["alarm"] or ""))
    batch.figure, batch.keep_interrupted = given["figure"], given["keep_interrupted"]
    if given["dry_run"]:
        _show_plans(batch, given)
        return
    listener = _Listener(given["show_paths"], batch)
    try:
        carry_out(batch, _runner(given, listener), listener)
    finally:
        listener.close()
        _report(batch, given)
    if given["report"] is not None and not batch.stopped:
        from .report import of_batch

        of_batch(batch, given)
    _end(batch)


def _single_file(contents: "Contents", output: Path | None) -> Path | None:
    """The one file that a folder or a pattern stands for, where the output is named like an image."""
    from recon.io.files import suffix_of
    from recon.reconstruction.file_names import SUFFIXES

    if contents.count != 1 or output is None or output.is_dir() or suffix_of(output) not in SUFFIXES:
        return None
    source = contents.files[0].source if contents.files else contents.series[0].slices[0].source
    return source.path if source.member is None else None


def _say_contents(contents: "Contents", config: "SolveConfig", show_paths: bool) -> None:
    """Say what was found, and what was set aside, with the reasons."""
    from recon.batch.classify import hint
    from recon.batch.discover import counted
    from recon.batch.series import remarks_beside, volume_doubt

    for one in contents.series:
        terminal.say(f"{one.folder}: {one.described}")
        for remark in remarks_beside(one, volume_doubt(one) if config.volume else ""):
            terminal.say(f"{one.folder}: {remark}")
    if contents.aside:
        options = sorted({found for each in contents.aside if (found := hint(each.reason))})
        told = f"; {' and '.join(options)} would take some" if options else ""
        terminal.say(f"set aside: {counted(contents.aside)}{told}")
    for each in contents.aside if show_paths else ():
        terminal.say(f"set aside: {each.source.shown}: {each.reason}")
    for number, (source, sentence) in enumerate(contents.failed, start=1):
        terminal.say(f"{source.shown if show_paths else f'unreadable input {number}'}: {sentence}")


class _Listener:
    """Progress and remarks of a batch on stderr: no remark twice, and a line for every hundredth of the batch."""

    def __init__(self, show_paths: bool, batch: "Batch") -> None:
        self.first_ended, self.fresh = 0.0, 0
        self.said: dict[str, int] = {}
        self.remarked: set[str] = set()
        self.total, self.many = len(batch.pending), len(batch.tasks) > 1
        self.progress = terminal.ProgressLine("")
        self.paths = {task.label: task.source.shown for task in batch.tasks} if show_paths else {}

    def remark(self, line: str) -> None:
        """Say a remark on a series, unless the very same was said of another: noise levels differ."""
        self.close()
        words = line.partition(": ")[2] or line
        if words not in self.remarked:
            terminal.say(line)
        self.remarked |= {line, words}

    def ended(self, outcome: "Outcome", count: int, total: int) -> None:
        self.close()
        self.fresh += 1
        self.first_ended = self.first_ended or time.monotonic()
        for line in outcome.said:
            self._say_once(line)
        source = f" ({self.paths[outcome.label]})" if outcome.label in self.paths else ""
        if outcome.failed and self.many and not outcome.stop:  # what ends all is said at the end
            self._say_once(f"{outcome.error}{source}")
        elif not outcome.failed and outcome.status != "interrupted" and count % max(1, total // _LINES) == 0:
            took = f"{outcome.status} after {outcome.steps} steps, {outcome.seconds:.1f} s"
            took += ", ALARM" if outcome.alarm else ""
            terminal.say(f"{outcome.label}{source}: {took}; {count} of {total}{self._left(total - count)}")

    def watch(self, label: str, number: int) -> Callable[[int, int, float], None]:
        """Return what shows the steps of a run that is under way."""
        self.progress.label = f"{label} ({number} of {self.total})"
        return self.progress.update

    def close(self) -> None:
        self.progress.close()

    def _say_once(self, line: str) -> None:
        """Say a remark or an error, unless the same was said of another input, its numbers aside."""
        if line in self.remarked:
            return
        kind = _NUMBERS.sub("#", line.partition(": ")[2] or line)
        self.said[kind] = self.said.get(kind, 0) + 1
        if self.said[kind] == 1:
            terminal.say(line)

    def _left(self, count: int) -> str:
        """The time left, from the second task on: before the first there is more to do than in each other."""
        if not count or self.fresh < 2:
            return ""
        seconds = (time.monotonic() - self.first_ended) / (self.fresh - 1) * count
        return f", about {_duration(seconds)} left"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _runner(given: dict[str, Any], listener: _Listener) -> "Runner":
    jobs, address = given["jobs"], given["scheduler"]
    if jobs is not None and jobs < 1:
        raise click.UsageError(f"--jobs is {jobs}; expected at least 1.", click.get_current_context())
    if jobs is not None and address is not None:
        raise click.UsageError(
            "--jobs and --scheduler are given; expected one, because a cluster has its own workers.",
            click.get_current_context(),
        )
    from recon.batch import executors

    if address is not None:
        return lambda tasks: executors.on_cluster(tasks, address)
    if jobs is not None and jobs > 1:
        return lambda tasks: executors.in_processes(tasks, jobs, listener.total)
    return lambda tasks: _here(tasks, listener)


def _here(tasks: "Iterator[Task]", listener: _Listener) -> "Iterator[tuple[Task, Outcome]]":
    """Do tasks in this process, one after the other."""
    for number, task in enumerate(tasks, start=1):
        from recon.batch.work import do_task

        yield task, do_task(task, listener.watch(task.label, number))


def _report(batch: "Batch", given: dict[str, Any]) -> None:
    if given["as_json"]:
        terminal.result_json(_documents(batch))
        return
    rows = [row for group in batch.groups for row in _rows(group, batch, given["show_paths"])]
    rows += [
        [source.shown if given["show_paths"] else f"unreadable input {number}", "failed", "", "", "", sentence]
        for number, (source, sentence) in enumerate(batch.contents.failed, start=1)
    ]
    head = ["input", "status", "steps", "seconds", "alarm", "output"]
    if not batch.request.alarm:
        head, rows = _without_alarm(head), [_without_alarm(row) for row in rows]
    terminal.result(terminal.table(head, rows))


def _without_alarm(row: list[str]) -> list[str]:
    return [*row[:-2], row[-1]]


def _rows(group: "Group", batch: "Batch", show_paths: bool) -> list[list[str]]:
    """A row for each file; of a series one for all its slices, and one for each that failed."""
    if group.error:
        return [[group.name, "refused", "", "", "", group.error]]
    ended = [(task, _status_of(task, group, batch)) for task in group.tasks]
    named = {task.label: f"{task.label} {task.source.shown}" if show_paths else task.label for task in group.tasks}
    if group.series is None:
        return [_row(named[task.label], task, status, group, batch) for task, status in ended]
    bad = [_row(named[task.label], task, status, group, batch) for task, status in ended if status == "failed"]
    if len(bad) > _ROWS:
        bad[_ROWS:] = [[f"and {len(bad) - _ROWS} more", "failed", "", "", "", f"{batch.ledger.path} names them"]]
    statuses = [status for _, status in ended]
    told = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    fresh = [batch.outcomes[task.label] for task, _ in ended if task.label in batch.outcomes]
    steps = str(max((outcome.steps for outcome in fresh), default=0) or "")
    seconds = f"{sum(outcome.seconds for outcome in fresh):.1f}" if fresh else ""
    verdicts = [_verdict(task, group, batch) for task in group.tasks]
    alarms = f"{verdicts.count(True)} of {len(verdicts) - verdicts.count(None)}"
    return [[group.name, told, steps, seconds, alarms, str(batch.request.folder / group.name)], *bad]


def _row(name: str, task: "Task", status: str, group: "Group", batch: "Batch") -> list[str]:
    outcome = batch.outcomes.get(task.label)
    verdict = {True: "ALARM", False: "no alarm", None: ""}[_verdict(task, group, batch)]
    if outcome is None or outcome.failed:
        return [name, status, "", "", verdict, str(task.output) if outcome is None else outcome.error]
    return [name, status, str(outcome.steps), f"{outcome.seconds:.1f}", verdict, str(task.output)]


def _verdict(task: "Task", group: "Group", batch: "Batch") -> bool | None:
    """Whether a critic gave alarm of a result, also of one that was done before; ``None`` where none judged it."""
    if not batch.request.alarm:
        return None
    if task.label in group.done:
        from recon.reconstruction.record import alarm_of, read_record

        return alarm_of(read_record(group.done[task.label]))
    return batch.outcomes[task.label].alarm if task.label in batch.outcomes else None


def _status_of(task: "Task", group: "Group", batch: "Batch") -> str:
    if task.label in group.done:
        return "done before"
    return batch.outcomes[task.label].status if task.label in batch.outcomes else "not reached"


def _documents(batch: "Batch") -> list[object]:
    """The record of each input, or why there is none, in their order."""
    from recon.reconstruction.record import read_record

    found: list[object] = []
    for group in batch.groups:
        for task in group.tasks:
            outcome = batch.outcomes.get(task.label)
            record = group.done.get(task.label) or (outcome and outcome.record)
            if record:
                found.append(read_record(record))
                continue
            error = group.error or (outcome.error if outcome else "")
            status = "refused" if group.error else _status_of(task, group, batch)
            known = {"input": len(found) + 1, "sha256": task.sha256, "status": status}
            found.append({**known, "error": error} if error else known)
    for _, sentence in batch.contents.failed:
        found.append({"input": len(found) + 1, "status": "failed", "error": sentence})
    return found


def _end(batch: "Batch") -> None:
    """Leave with the exit code of what went wrong, if anything did."""
    from recon.errors import BatchError, ConsistencyError, InputError, OutputError, ReconError

    failed = [outcome for outcome in batch.outcomes.values() if outcome.failed]
    unreadable = len(batch.contents.failed)
    total = len(batch.tasks) + unreadable
    if batch.interrupted:
        done = sum(not outcome.failed and outcome.status != "interrupted" for outcome in batch.outcomes.values())
        done += sum(len(group.done) for group in batch.groups)
        raise KeyboardInterrupt(f"with {done} of {total} done; the same command goes on from there")
    if batch.stopped:
        raise OutputError(f"{batch.stopped} The rest was not tried; what is done is kept.")
    bad = len(failed) + unreadable
    if total == 1 and failed:
        kinds: dict[int, type[ReconError]] = {each.exit_code: each for each in ReconError.__subclasses__()}
        raise kinds.get(failed[0].exit_code, BatchError)(failed[0].error)
    if total == 1 and unreadable:
        raise InputError(f"unreadable input 1: {batch.contents.failed[0][1]}")
    if bad == total:
        raise BatchError(f"all {bad} inputs failed and nothing is written; the table says why.")
    if bad:
        raise BatchError(f"{bad} of {total} inputs failed; the others are written, as the table says.")
    refused = [group.error for group in batch.groups if group.error]
    if refused and batch.request.config.volume:
        raise ConsistencyError(
            f"{len(refused)} of {len(batch.contents.series)} series {'are' if len(refused) > 1 else 'is'} no volume"
            f"{'; the others are written' if len(refused) < len(batch.groups) else ''}: {refused[0].rstrip('?')}."
        )
    if refused:
        raise ConsistencyError(
            f"{len(refused)} of {len(batch.contents.series)} series {'were' if len(refused) > 1 else 'was'} refused"
            f"{'; the others are written' if len(refused) < len(batch.groups) else ''}: {refused[0]}; expected slices "
            "whose order is known, because they are numbered by it; --allow-unordered takes them as they are."
        )


def _show_plans(batch: "Batch", given: dict[str, Any]) -> None:
    """The plan of each series, and of each other file."""
    from recon.batch.run import planned

    documents: list[object] = []
    say = terminal.once()
    for group in batch.groups:
        if group.error:
            terminal.say(group.error)
            continue
        if not group.pending:
            terminal.say(f"{group.name}: all {len(group.tasks)} are done already")
        for plan, tasks in planned(group, batch, say):
            writes = [str(path) for task in tasks for path in (task.output, task.record)]
            if given["output"] is None:
                writes = []
            certificate = plan.method.certificate.to_json()
            documents.append({**plan.to_json(), "certificate": certificate, "outputs": writes})
            if not given["as_json"]:
                terminal.result(f"{tasks[0].label if group.series is None else group.name}:")
                terminal.result(plan.describe())
                shown = ", ".join(writes[:6]) + (f" and {len(writes) - 6} more" if len(writes) > 6 else "")
                terminal.result(f"\nwould write: {shown or 'nothing, as -o is not given'}")
    if given["as_json"]:
        terminal.result_json(documents[0] if len(documents) == 1 else documents)
