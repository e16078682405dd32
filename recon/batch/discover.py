"""The files that files, folders, patterns, archives and DICOMDIRs stand for; the content says what a file is.

Nothing is left out in silence: what is no image is set aside with a reason.
"""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from recon.batch import archive
from recon.batch.classify import hint
from recon.batch.dicomdir import is_directory, referenced
from recon.batch.source import Source
from recon.errors import InputError
from recon.io.atomic import is_store
from recon.io.content import kind_of, name_of
from recon.io.files import suffix_of
from recon.reconstruction.file_names import SUFFIXES, is_pattern
from recon.reconstruction.record import SUFFIX as RECORD
from recon.reconstruction.sidecar import SUFFIX as SIDECAR

LEDGER = "batch.json"
IMAGES = ("png", "jpeg", "tiff", "npy", "nifti", "dicom")
PROJECTIONS = ("tiff", "npy", "npz", "hdf5")

_OF_IMAGES = "a folder, an archive or a pattern with images: PNG, JPEG, TIFF, NPY, NIfTI or DICOM"


@dataclass(frozen=True)
class SetAside:
    """A file that is no input, and the reason."""

    source: Source
    reason: str


@dataclass(frozen=True)
class Candidate:
    """A file that may be an input, and its kind by its content: ``"dicom"``, ``"png"``, or ``""`` of no image."""

    source: Source
    kind: str


@dataclass
class Found:
    """The files that inputs stand for.

    Attributes:
        candidates: The inputs, folders in the order of their names.
        aside: What is none.
        failed: What cannot be opened, with the sentence that says why.
    """

    candidates: list[Candidate] = field(default_factory=list)
    aside: list[SetAside] = field(default_factory=list)
    failed: list[tuple[Source, str]] = field(default_factory=list)


def stands_for_many(text: str) -> bool:
    """Return whether an input is a folder, a pattern, an archive or a DICOMDIR, and not a file."""
    path = Path(text)
    if "\0" in text or is_store(path):
        return False
    if os.path.isdir(path) or is_pattern(text):  # noqa: PTH112  Path.is_dir raises on a name that is too long
        return True
    try:
        head = Source(path, PurePosixPath(path.name)).head()
    except (InputError, ValueError):
        return False
    return archive.is_zip(path, head) or (kind_of(head) == "dicom" and is_directory(path))


def discover(inputs: Sequence[str], output: Path | None, kinds: Sequence[str] = IMAGES) -> Found:
    """Return what the inputs of a command stand for, each file once.

    Args:
        inputs: Files, folders, patterns, zip archives and DICOMDIRs.
        output: The folder of the results, in which no input is looked for.
        kinds: What is taken from folders.

    Raises:
        InputError: One of them stands for nothing, or is an archive that is not to be trusted.
    """
    found = Found()
    seen: set[tuple[str, str | None]] = set()
    for text in inputs:
        if "\0" in text:
            raise InputError(f"The input {text!r} holds a null character, which no file name has.")
        for source in _sources(text, output, found):
            key = (os.path.realpath(source.path), source.member)
            if key not in seen:
                seen.add(key)
                _sort(source, kinds, found)
    return found


def _sources(text: str, output: Path | None, found: Found) -> Iterator[Source]:
    path = Path(text)
    if is_store(path):
        found.aside.append(
            SetAside(Source(path, PurePosixPath(path.name)), "OME-Zarr store, which is solved by itself")
        )
        return
    if os.path.isdir(path):  # noqa: PTH112
        yield from _walk(path, output, found)
        return
    if is_pattern(text):
        matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207
        if not matches:
            raise InputError(f"{text}: no file matches; expected a file, a folder or a pattern such as scans/*.png.")
        base = _base_of(text)
        for match in map(Path, matches):
            relative = PurePosixPath(os.path.relpath(match, base))
            if not match.is_dir():
                yield Source(match, relative, walked=True)
            for source in _walk(match, output, found) if match.is_dir() else ():
                yield replace(source, relative=relative / source.relative)
        return
    source = Source(path, PurePosixPath(path.name))
    try:
        head = source.head()
    except InputError:
        yield source  # and it fails when it is read
        return
    if archive.is_zip(path, head):
        yield from archive.members(path)
    elif kind_of(head) == "dicom" and is_directory(path):
        yield from _of_directory(path, found)
    else:
        yield source


def _base_of(pattern: str) -> Path:
    """The folder above the first part of a pattern that is one."""
    fixed = []
    for part in Path(pattern).parts[:-1]:
        if any(letter in part for letter in "*?["):
            break
        fixed.append(part)
    return Path(*fixed) if fixed else Path()


def _walk(root: Path, output: Path | None, found: Found) -> Iterator[Source]:
    out = None if output is None else os.path.realpath(output)
    visited: set[str] = set()

    def unreadable(error: OSError) -> None:
        folder = Path(error.filename or root)
        found.failed.append((_below(root, folder), f"the folder cannot be read ({(error.strerror or '').lower()})."))

    for folder, folders, names in os.walk(root, onerror=unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link to a folder above
            folders.clear()
            continue
        visited.add(real)
        folders.sort()
        for name in list(folders):
            child = Path(folder, name)
            if is_store(child):
                folders.remove(name)
                found.aside.append(SetAside(_below(root, child), "OME-Zarr store, which is solved by itself"))
            elif out is not None and os.path.realpath(child) == out:
                folders.remove(name)
                found.aside.append(SetAside(_below(root, child), "the folder of the results"))
        for name in sorted(names):
            source = _below(root, Path(folder, name))
            if archive.is_zip(source.path, _head_or_nothing(source)):
                yield from _within(source, archive.members(source.path))
            else:
                yield source


def _within(parent: Source, found: Iterator[Source]) -> Iterator[Source]:
    """The members of an archive in a folder, named below the archive."""
    for source in found:
        yield replace(source, relative=parent.relative.with_suffix("") / source.relative)


def _below(root: Path, path: Path) -> Source:
    return Source(path, PurePosixPath(path.relative_to(root).as_posix()), walked=True)


def _head_or_nothing(source: Source) -> bytes:
    try:
        return source.head()
    except InputError:
        return b""


def _of_directory(path: Path, found: Found) -> Iterator[Source]:
    for name in referenced(path) or ():
        source = Source(path.parent.joinpath(*name.parts), name, walked=True)
        if source.path.is_file():
            yield source
        else:
            found.failed.append((Source(path, name), "the DICOMDIR names it, and it is not there."))


def _sort(source: Source, kinds: Sequence[str], found: Found) -> None:
    """Take a file, or set it aside with the reason."""
    name = source.relative.name
    if source.walked and (reason := _companion(source, name)):
        found.aside.append(SetAside(source, reason))
        return
    try:
        head = source.head()
    except InputError as error:
        if source.walked and not _is_regular(source):
            found.aside.append(SetAside(source, "no regular file"))
        elif source.walked:
            found.failed.append((source, str(error)))
        else:
            found.candidates.append(Candidate(source, ""))
        return
    kind = kind_of(head)
    if kind in kinds or not source.walked or suffix_of(PurePosixPath(name)) in SUFFIXES:
        found.candidates.append(Candidate(source, kind if kind in kinds else ""))
        return
    known = name_of(head)
    found.aside.append(SetAside(source, f"{known} file" if known else "empty file" if not head else "no image"))


def _is_regular(source: Source) -> bool:
    return source.member is not None or source.path.is_file()


def _companion(source: Source, name: str) -> str:
    """Return why a file that was found is no input, by its name and its neighbours."""
    if any(part.startswith(".") or part == "__MACOSX" for part in source.relative.parts):
        return "hidden file"
    if name.endswith((RECORD, SIDECAR)) or name == LEDGER:
        return "record of recon"
    if source.member is None and source.path.with_name(name + RECORD).is_file():
        return "result of recon"
    return ""


def nothing_found(inputs: Sequence[str], found: Found) -> InputError:
    """The refusal of inputs among which there is no image."""
    options = sorted({option for each in found.aside if (option := hint(each.reason))})
    told = "" if not found.aside else f" ({'; '.join([counted(found.aside), *(f'{o} takes them' for o in options)])})"
    kind = "the folder holds no image" if len(inputs) == 1 and os.path.isdir(inputs[0]) else "there is no image in it"  # noqa: PTH112
    return InputError(f"{', '.join(inputs)}: {kind}{told}; expected {_OF_IMAGES}.")


def counted(aside: Sequence[SetAside]) -> str:
    """Return how many files were set aside for each reason."""
    reasons = [each.reason for each in aside]
    return ", ".join(f"{reasons.count(reason)} x {reason}" for reason in sorted(set(reasons)))
