"""The run record: one JSON beside every output, from which ``recon replay`` does the run again.

What it says of names: a path is kept relative to the record's folder, so that a folder with its inputs can be moved,
and no home directory is written down. Of a DICOM input only the hash and the size are kept: its name and its folders
are often made of the patient's name, and nothing of the patient belongs in a record. Such an input is found again by
its hash.
"""

import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import json
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recon._version import __version__
from recon.errors import ConsistencyError, InputError
from recon.io.atomic import is_store, replacing
from recon.io.content import kind_of
from recon.specs.grammar import portable
from recon.specs.solve_config import SolveConfig

SCHEMA = 1
"""Raised when a key changes its meaning; keys may be added without."""

SUFFIX = ".run.json"

_PACKAGES = ("torch", "numpy", "deepinv", "pydicom", "pillow", "tifffile", "PyWavelets")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class InputFile:
    """A file that a run depended on.

    Attributes:
        role: "measurement", "operator", "surrogate" or "prior".
        path: The file.
        sha256: The hash of its bytes.
        size: In bytes.
        private: Whether its name may identify a patient and is not recorded.
    """

    role: str
    path: Path
    sha256: str
    size: int
    private: bool = False

    def to_json(self, folder: Path) -> dict[str, object]:
        """Return plain values, its path relative to ``folder``."""
        path = None if self.private else portable(self.path, folder)
        return {"role": self.role, "path": path, "sha256": self.sha256, "bytes": self.size}


def input_file(role: str, path: Path, private: bool = False) -> InputFile:
    """A file with its hash.

    Raises:
        InputError: It cannot be read.
    """
    return InputFile(role, path, *_hash(path), private)


def _hash(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    if is_store(path):
        return _hash_of_store(path)
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror}).") from error
    return digest.hexdigest(), size


def _hash_of_store(folder: Path) -> tuple[str, int]:
    """The hash of the names and the hashes of the files in a folder, in the order of their names; and their size."""
    digest, total = hashlib.sha256(), 0
    for path in sorted(child for child in folder.rglob("*") if child.is_file()):
        own, size = _hash(path)
        digest.update(f"{path.relative_to(folder).as_posix()}\0{own}\n".encode())
        total += size
    return digest.hexdigest(), total


def record_path(output: Path) -> Path:
    """Return where the record of an output lies: beside it, with ``.run.json`` after its name."""
    return output.with_name(output.name + SUFFIX)


def nameless(config: SolveConfig) -> SolveConfig:
    """The configuration without the name of a guide that may be a patient's; a replay finds it by its hash."""
    hidden = config.guide is not None and is_dicom(Path(config.guide))
    return replace(config, guide=None) if hidden else config


def is_dicom(path: Path) -> bool:
    """Return whether a file begins as DICOM files do."""
    with path.open("rb") as file:
        return kind_of(file.read(1024)) == "dicom"


def versions() -> dict[str, str]:
    """The versions of whatever a result depends on."""
    packages = {package: _version(package) for package in _PACKAGES}
    return {"recon": __version__, "python": platform.python_version(), **packages}


@functools.cache
def _version(package: str) -> str:
    """The version of a package that is installed: to read all of them takes milliseconds."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def write_record(path: Path, document: Mapping[str, object], overwrite: bool) -> None:
    """Write a record whole or not at all.

    Raises:
        OutputError: It exists and ``overwrite`` is false, or it cannot be written.
    """
    text = json.dumps({"schema": SCHEMA, **document}, indent=2, allow_nan=False, ensure_ascii=False)
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_record(path: Path) -> dict[str, object]:
    """A record as plain values.

    Raises:
        InputError: It cannot be read, or is not a record of this version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: the run record cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: the run record is not JSON ({error}).") from error
    if not isinstance(document, dict) or not {"schema", "config", "inputs"} <= document.keys():
        raise InputError(f"{path}: the file is not a run record; expected the {SUFFIX} that recon wrote.")
    if document["schema"] != SCHEMA:
        raise InputError(f"{path}: the run record has schema {document['schema']!r}; this version reads {SCHEMA}.")
    return document


def alarm_of(document: Mapping[str, object]) -> bool | None:
    """Whether a critic gave alarm of the result of a record; ``None`` where none judged it."""
    judged = document.get("alarm")
    return bool(judged.get("alarm")) if isinstance(judged, Mapping) else None


def find_input(entry: Mapping[str, object], record: Path, places: Iterable[Path]) -> Path:
    """The file that an entry of ``inputs`` stands for: by its path, else by its hash.

    Args:
        entry: ``path``, ``sha256`` and ``bytes``.
        record: The record that the entry is of.
        places: Files, and folders whose files are looked at, in which to look for a file with that hash.

    Raises:
        InputError: No such file was found.
        ConsistencyError: The file has changed since.
    """
    recorded = entry.get("path")
    if isinstance(recorded, str) and _is_input(path := record.parent / recorded):
        found = _hash(path)[0]
        if found != entry.get("sha256"):
            raise ConsistencyError(
                f"{path}: the {entry.get('role')} has changed since the run: its SHA-256 is {found[:12]}..., "
                f"the record says {str(entry.get('sha256'))[:12]}...; expected the same file."
            )
        return path
    for path in _files(places):
        if (is_store(path) or path.stat().st_size == entry.get("bytes")) and _hash(path)[0] == entry.get("sha256"):
            return path
    why = (
        "is not there any more"
        if recorded
        else "is recorded by its hash only, because it is DICOM or was in an archive"
    )
    raise InputError(
        f"{record}: the {entry.get('role')} {why}, and no file with its SHA-256 was found; "
        "expected it, or the folder it lies in, after the record's name: recon replay RUN.json INPUT."
    )


def find_slices(entries: Sequence[Mapping[str, object]], record: Path, places: Iterable[Path]) -> list[Path]:
    """The files that the entries of the slices of a series stand for, which a record keeps by their hashes only.

    Raises:
        InputError: One was not found.
    """
    sizes = {entry.get("bytes") for entry in entries}
    known = {_hash(path)[0]: path for path in _files(places) if path.stat().st_size in sizes}
    found = [known.get(str(entry.get("sha256"))) for entry in entries]
    missing = found.count(None)
    if missing:
        raise InputError(
            f"{record}: {missing} of the {len(found)} slices of the series were not found by their SHA-256; expected "
            "the folder they lie in, after the record's name: recon replay RUN.json FOLDER."
        )
    return [path for path in found if path is not None]


def _files(places: Iterable[Path]) -> Iterable[Path]:
    for place in places:
        if _is_input(place):
            yield place
        elif place.is_dir():
            yield from sorted(path for path in place.iterdir() if _is_input(path))


def _is_input(path: Path) -> bool:
    return path.is_file() or is_store(path)


def peak_bytes() -> int:
    """The largest memory that this process has had resident so far, in bytes; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):  # of this program alone; ru_maxrss has its parent's, too
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    try:
        import resource  # noqa: PLC0415  not there on Windows
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
