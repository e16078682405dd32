"""The runs of a report: records and folders of results, in groups of slices that belong together."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recon.batch.discover import LEDGER
from recon.errors import InputError
from recon.reconstruction.record import SUFFIX, read_record, record_path
from recon.report.page.document import Contents, Group
from recon.report.page.markup import listed, mapping, number, plain
from recon.report.page.pictures import Slice

if TYPE_CHECKING:
    from recon.batch.run import Batch
    from recon.reconstruction.run_report import ReportOptions

MAPS = "uncertainty"
"""The command whose records are of maps of a result."""

MOST_FRAMES = 10**6
"""That a record is believed to have."""


@dataclass(frozen=True)
class RunGroup:
    """Records whose results are slices of one series, or the record of one result.

    Attributes:
        name: What a reader chooses it by.
        records: In their order, with what they say.
        described: What it is.
    """

    name: str
    records: tuple[tuple[Path, dict[str, object]], ...]
    described: str = ""


@dataclass(frozen=True)
class FoundRuns:
    """The runs of a report.

    Attributes:
        title: Of the page.
        groups: One or more.
        remarks: Records that cannot be read.
    """

    title: str
    groups: tuple[RunGroup, ...]
    remarks: tuple[str, ...] = ()


def find_runs(runs: Sequence[Path]) -> FoundRuns:
    """The runs that records, results and folders of results stand for.

    Raises:
        InputError: One of them is no record and no folder with records.
    """
    groups: list[RunGroup] = []
    remarks: list[str] = []
    for path in runs:
        if path.is_dir():
            groups += _of_folder(path, remarks)
        else:
            groups.append(_of_record(path))
    return _titled(groups, remarks)


def find_batch(batch: "Batch") -> FoundRuns | None:
    """The results of a batch, those of earlier runs included; ``None`` where there is none."""
    groups: list[RunGroup] = []
    for group in batch.groups:
        records = []
        for task in group.tasks:
            outcome = batch.outcomes.get(task.label)
            path = group.done.get(task.label) or (outcome and outcome.record)
            if path:
                records.append((path, read_record(path)))
        if group.series is None:
            groups += [
                RunGroup(str(path.relative_to(batch.request.folder)).removesuffix(SUFFIX), ((path, said),))
                for path, said in records
            ]
        elif records:
            groups.append(RunGroup(group.name, tuple(records), group.series.described))
    return _titled(groups) if groups else None


def _titled(groups: Sequence[RunGroup], remarks: Sequence[str] = ()) -> FoundRuns:
    title = f"Reconstruction of {groups[0].name}" if len(groups) == 1 else f"{len(groups)} reconstructions"
    return FoundRuns(title, tuple(groups), tuple(remarks))


def _of_record(path: Path) -> RunGroup:
    if not path.name.endswith(".json") and record_path(path).is_file():
        path = record_path(path)
    return RunGroup(path.name.removesuffix(SUFFIX), ((path, read_record(path)),))


def _of_folder(folder: Path, remarks: list[str]) -> list[RunGroup]:
    paths = sorted(
        (path for path in folder.rglob(f"*{SUFFIX}") if path.is_file() and not path.name.startswith(".")),
        key=lambda path: [_natural(part) for part in path.relative_to(folder).parts],
    )
    described = _described(folder)
    groups: dict[tuple[object, ...], list[tuple[Path, dict[str, object]]]] = {}
    of_maps: list[tuple[Path, dict[str, object]]] = []
    for path in paths:
        try:
            document = read_record(path)
        except InputError as error:
            remarks.append(f"A record is left out: {plain(str(error), 300).replace(str(folder), '.')}")
            continue
        if document.get("command") == MAPS:
            of_maps.append((path, document))
            continue
        key = (path.parent, *_kind(path, document))
        groups.setdefault(key, []).append((path, document))
    if not groups:  # maps are shown with the result of the same measurement, and alone where there is none
        groups |= {(path.parent, path): [(path, document)] for path, document in of_maps}
    if not groups:
        why = f" ({len(remarks)} of them cannot be read)" if remarks else ""
        raise InputError(f"{folder}: the folder holds no run record{why}; expected a folder that recon solve wrote.")
    return [_group(folder, members, described) for members in groups.values()]


def _group(folder: Path, members: Sequence[tuple[Path, dict[str, object]]], described: Mapping[str, str]) -> RunGroup:
    first = members[0][0]
    series = folder.resolve().name if first.parent == folder else first.parent.name
    if len(members) > 1 or series in described:
        return RunGroup(series, tuple(members), described.get(series, f"{len(members)} slices"))
    return RunGroup(first.relative_to(folder).as_posix().removesuffix(SUFFIX), tuple(members))


def _kind(path: Path, document: Mapping[str, object]) -> tuple[object, ...]:
    """What slices of one series share; of other results the record itself."""
    outputs = listed(document.get("outputs"))
    name = mapping(outputs[0]).get("path") if len(outputs) == 1 else None
    if not (isinstance(name, str) and re.fullmatch(r"\d+(_[0-9a-f]{8})?\.(dcm|dicom)", name, re.IGNORECASE)):
        return (path,)
    return "series", json.dumps(mapping(document.get("plan")).get("image_shape"))


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """A key by which 2 comes before 10."""
    parts = re.split(r"(\d+)", name)
    return [(True, int(part), "") if part.isdecimal() and len(part) < 20 else (False, 0, part) for part in parts]


def _described(folder: Path) -> dict[str, str]:
    """What the ledger says that the series are, by the names of their folders; nothing where there is none."""
    for place in (folder, folder.resolve().parent):
        try:
            document = json.loads((place / LEDGER).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        groups = map(mapping, listed(mapping(document).get("groups")))
        return {
            plain(group.get("name")): plain(group.get("described"))
            for group in groups
            if isinstance(group.get("described"), str)
        }
    return {}


def contents_of(
    found: FoundRuns, options: "ReportOptions", watch: Callable[[int, int], None] = lambda done, total: None
) -> Contents:
    """What the page of runs shows; pictures are read as they are needed.

    Args:
        found: The runs.
        options: Where inputs are looked for.
        watch: Called with how many records are read, and how many there are.
    """
    total, done = sum(len(group.records) for group in found.groups), 0
    for remark in found.remarks:
        options.say(remark)
    groups = []
    for group in found.groups:
        count = sum(_frames(document) for _, document in group.records)
        groups.append(Group(group.name, _slices(group, options, done, total, watch), count, group.described))
        done += len(group.records)
    return Contents(found.title, groups, found.remarks)


_PICTURES = 3
"""Of each frame of a run in tiles."""


def _frames(document: Mapping[str, object]) -> int:
    """How many frames the result of a record has, as it says; 1 where it does not."""
    plan = mapping(document.get("plan"))
    volume, measured = listed(plan.get("image_shape")), listed(plan.get("measurement_shape"))
    stated = number(next(iter(volume if len(volume) == 3 else measured), None))
    frames = 1 if stated is None else min(max(1, int(stated)), MOST_FRAMES)
    return _PICTURES * frames if "tiles" in document else frames


def _slices(
    group: RunGroup, options: "ReportOptions", done: int, total: int, watch: Callable[[int, int], None]
) -> Iterator[Slice]:
    from recon.reconstruction.run_report import slices_of  # noqa: PLC0415  brings torch

    bounds: dict[str, float] = {}
    for at, (path, document) in enumerate(group.records):
        yield from slices_of(path, document, options, bounds)
        watch(done + at + 1, total)
