"""Results of earlier runs: the ledger ``batch.json`` of a folder of results, and the records of its results.

A result counts as done if its record says that it was made of this input in the way that is asked for, and if its files
have the hashes that the record states. The ledger adds what no record can say: what a run was about to write when it
was killed. It holds no name of an input.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recon.batch.discover import LEDGER
from recon.batch.source import sha256
from recon.batch.task import Task
from recon.errors import InputError, OutputError
from recon.io.atomic import remove_abandoned, replacing
from recon.reconstruction.record import SUFFIX, read_record

SCHEMA = 1


@dataclass
class Ledger:
    """The ledger of a folder.

    Attributes:
        path: Where it is.
        groups: By their names: series, and the other files as one.
    """

    path: Path
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)

    def known(self, group: str, request: str, series: str) -> dict[str, Any] | None:
        """Return what is written of a group, if it is of this request and of these slices."""
        found = self.groups.get(group)
        if found is None or found.get("request_sha256") != request:
            return None
        return found if not found.get("series_sha256") or found["series_sha256"] == series else None

    def announced(self, group: str, request: str, output: str) -> bool:
        """Return whether a run with this request was about to write an output."""
        found = self.groups.get(group)
        if found is None or found.get("request_sha256") != request:
            return False
        return any(item.get("output") == output for item in found.get("items", []))

    def write(self, status: str, extra: Mapping[str, object]) -> None:
        """Write the ledger, whole or not at all."""
        groups = [self.groups[name] for name in sorted(self.groups)]
        document = {"schema": SCHEMA, "status": status, **extra, "groups": groups}
        text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
        with replacing(self.path, overwrite=True) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def read_ledger(folder: Path) -> Ledger:
    """The ledger of a folder; an empty one where there is none.

    Raises:
        OutputError: The file of that name is none.
    """
    path = folder / LEDGER
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        groups = {str(group["name"]): dict(group) for group in document["groups"]}
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']!r}")
    except FileNotFoundError:
        return Ledger(path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise OutputError(
            f"{path}: the ledger of the folder cannot be read; expected the one that recon "
            "wrote, or none: move it away, and what is done is found by the run records."
        ) from None
    return Ledger(path, groups)


class Records:
    """The run records in the folders of a batch, by the input that they are of."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, list[tuple[Path, dict[str, Any]]]]] = {}

    def of(self, folder: Path, digest: str) -> list[tuple[Path, dict[str, Any]]]:
        """The records in a folder that are of an input with this hash."""
        if folder not in self._folders:
            self._folders[folder] = _read_records(folder)
        return self._folders[folder].get(digest, [])


def _read_records(folder: Path) -> dict[str, list[tuple[Path, dict[str, Any]]]]:
    found: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ():
        with contextlib.suppress(InputError, KeyError, IndexError, TypeError):
            document = read_record(path)
            inputs = document["inputs"]
            found.setdefault(inputs[0]["sha256"], []).append((path, document))  # type: ignore[index]
    return found


def done_before(task: Task, records: Records) -> Path | None:
    """The record of a result that is what the task would make, its files verified by their hashes; else ``None``."""
    for path, document in records.of(task.output.parent, task.sha256):
        if _is_of(task, document) and document.get("status") != "interrupted" and _is_whole(path, document):
            return path
    return None


def done_at(task: Task) -> dict[str, Any] | None:
    """The record in the task's own place, if it is of what the task would make, and whole."""
    try:
        document = read_record(task.record)
    except InputError:
        return None
    known = document.get("inputs")
    of_input = isinstance(known, list) and known and known[0].get("sha256") == task.sha256
    return document if of_input and _is_of(task, document) and _is_whole(task.record, document) else None


def _is_of(task: Task, document: Mapping[str, Any]) -> bool:
    stamp = document.get("batch")
    return (
        isinstance(stamp, dict)
        and stamp.get("request_sha256") == task.stamp.request
        and stamp.get("series_sha256") in ("", task.stamp.series)
    )


def _is_whole(record: Path, document: Mapping[str, Any]) -> bool:
    try:
        outputs = [(record.parent / entry["path"], entry["sha256"]) for entry in document["outputs"]]
        return bool(outputs) and all(sha256(path.read_bytes()) == digest for path, digest in outputs)
    except (OSError, KeyError, TypeError):
        return False


def is_unfinished(task: Task, group: str, ledger: Ledger) -> bool:
    """Return whether what is in the task's place was left there by a run of this batch that ended before its record.

    An output whose record is there, and whose files are not those of the record, was changed by somebody.
    """
    if task.record.exists() and not _ended_early(task):
        return False
    return ledger.announced(group, task.stamp.request, task.label)


def _ended_early(task: Task) -> bool:
    """Whether the record in a task's place is of files of which one is not there, or of a run that Ctrl-C ended."""
    try:
        document: dict[str, Any] = read_record(task.record)
        outputs = [task.record.parent / entry["path"] for entry in document["outputs"]]
    except (InputError, KeyError, TypeError):
        return False
    kept = document.get("status") == "interrupted" and _is_of(task, document) and _is_whole(task.record, document)
    return kept or not all(path.exists() for path in outputs)


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold a folder of results, so that no second run writes there at the same time; a killed process lets go of it.

    Raises:
        OutputError: Another run holds it.
    """
    try:
        import fcntl  # noqa: PLC0415  not there on Windows
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"{folder}: another run is writing into this folder; expected one at a time, so wait for it or choose "
                "another folder."
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


def tidy(folders: Iterable[Path]) -> int:
    """Remove what killed runs left half-written in folders that are held; return how many files."""
    return sum(remove_abandoned(folder) for folder in folders if folder.is_dir())
