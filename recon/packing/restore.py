"""Files of an archive as they were, one or all; and single frames of them."""

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from recon.errors import ConsistencyError, InputError, OutputError, UsageError
from recon.io.atomic import check_output, replacing, would_end_all
from recon.io.content import printable
from recon.io.decoded import RefusedError
from recon.io.image import Array
from recon.packing import frames
from recon.packing.container import Reader, open_archive
from recon.packing.layout import Layout
from recon.packing.planes import inflated
from recon.packing.png_stream import Stream, write_stream
from recon.packing.workers import Workers

PIECE = 2**24
"""Bytes of a file without pixels in one chunk."""

_MOST_SIZE = 2**40
_MOST_PNG = 2**28
_LONGEST_CHAIN = 4096


@dataclass(frozen=True)
class Restored:
    """What became of one entry.

    Attributes:
        name: Of the file.
        size: In bytes.
        problem: Why it is lost; empty where it is not.
        remark: What differs from the file that was packed; empty where nothing does.
    """

    name: str
    size: int
    problem: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Entry:
    """The checked facts of one entry."""

    number: int
    name: str
    size: int
    sha256: str
    mode: str
    rest: bytes
    facts: dict[str, Any]

    @property
    def plan(self) -> frames.Plan:
        """Of its pixels.

        Raises:
            RefusedError: They are nothing that this recon packs.
        """
        try:
            shape = tuple(int(length) for length in self.facts["shape"])
            dtype = np.dtype(str(self.facts["dtype"]))
            group, before = int(self.facts.get("group", 1)), self.facts.get("after") is not None
        except (KeyError, TypeError, ValueError, SyntaxError):
            raise RefusedError("its description is damaged.") from None
        length = math.prod(shape) * dtype.itemsize
        layout = Layout(((0, length),), dtype.str, shape)  # type: ignore[arg-type]
        if len(shape) != 4 or not layout.is_sound(length) or not 1 <= group <= _LONGEST_CHAIN or length > _MOST_SIZE:
            raise RefusedError("its description is damaged.")
        plan = frames.Plan(shape, dtype.str, group, before)
        if not plan.fits():
            raise RefusedError("its description is damaged.")
        return plan


def read_entry(reader: Reader, number: int) -> Entry:
    """The entry of a number.

    Raises:
        RefusedError: It is lost, or what it says cannot be.
    """
    facts, rest = reader.entry(number)
    name, size, sha256 = facts.get("name"), facts.get("size"), facts.get("sha256")
    mode = facts.get("mode")
    if not (isinstance(name, str) and isinstance(size, int) and isinstance(sha256, str) and 0 <= size <= _MOST_SIZE):
        raise RefusedError("its description is damaged.")
    if mode not in ("array", "png", "packed", "raw"):
        raise RefusedError("it is packed in a way that this recon does not know.")
    listed = reader.contents[number] if number < len(reader.contents) else ("", 0)
    if listed[0] not in ("", name):
        raise RefusedError("the list of files and its own description give it two names.")
    return Entry(number, name, size, sha256, str(mode), rest, facts)


class Restorer:
    """Restores entries of one archive; the planes of the last one are kept, as the next may need them."""

    def __init__(self, reader: Reader, workers: Workers = frames.ALONE) -> None:
        self.reader, self.workers = reader, workers
        self.last: tuple[int, frames.Bands] = (-1, {})

    def data(self, entry: Entry) -> Iterator[bytes]:
        """The bytes of a file, in parts."""
        if entry.mode == "array":
            yield from self._array(entry)
        elif entry.mode == "png":
            yield self._png(entry)
        else:
            for number in range(-(-entry.size // PIECE)):
                body = self.reader.body(b"P", entry.number, number)
                yield inflated(body, PIECE) if entry.mode == "packed" else body

    def bands(self, entry: Entry, wanted: range) -> Iterator[Array]:
        """Bands of the frames of an entry, of shape (rows, columns, samples)."""
        if entry.mode not in ("array", "png"):
            raise RefusedError("it was packed without its pixels being read: restore the whole file.")
        plan = entry.plan
        kept: frames.Bands = {}
        decoded = frames.decode(plan, self._piece(entry), wanted, lambda: self._before(entry), self.workers)
        for _, band, planes in decoded:
            kept = planes
            yield band
        if plan.is_whole and wanted.stop == plan.shape[0]:
            self.last = (entry.number, dict(kept))

    def _piece(self, entry: Entry) -> Callable[[int], bytes]:
        return lambda number: self.reader.body(b"P", entry.number, number)

    def _before(self, entry: Entry) -> frames.Bands:
        """The last planes of the file that an entry was predicted from, which may need the one before it."""
        chain: list[Entry] = []
        number = self._after(entry)
        while number is not None and number != self.last[0]:
            if len(chain) >= _LONGEST_CHAIN:
                raise RefusedError("its description is damaged.")
            try:
                chain.append(read_entry(self.reader, number))
            except RefusedError as refusal:
                raise RefusedError(f"it was predicted from a slice that is lost: {refusal}") from None
            number = self._after(chain[-1])
        for other in reversed(chain):
            try:
                for _ in self.bands(other, range(other.plan.shape[0])):
                    pass
            except RefusedError as refusal:
                raise RefusedError(f"it was predicted from a slice that is lost: {refusal}") from None
        return dict(self.last[1])

    @staticmethod
    def _after(entry: Entry) -> int | None:
        number = entry.facts.get("after")
        if number is None:
            return None
        if not isinstance(number, int) or not 0 <= number < entry.number:
            raise RefusedError("its description is damaged.")
        return number

    def _array(self, entry: Entry) -> Iterator[bytes]:
        plan = entry.plan
        try:
            ranges = tuple((int(start), int(length)) for start, length in entry.facts["ranges"])
        except (KeyError, TypeError, ValueError):
            raise RefusedError("its description is damaged.") from None
        if not Layout(ranges, plan.dtype, plan.shape).is_sound(entry.size):
            raise RefusedError("its description is damaged.")
        stream = _Pieces(band.astype(plan.dtype).tobytes() for band in self.bands(entry, range(plan.shape[0])))
        at = taken = 0
        for start, length in ranges:
            yield entry.rest[taken : taken + start - at]
            taken += start - at
            yield from stream.take(length)
            at = start + length
        yield entry.rest[taken:]
        stream.finish()

    def _png(self, entry: Entry) -> bytes:
        plan = entry.plan
        height = plan.shape[1]
        try:
            setting = tuple(int(value) for value in entry.facts["setting"])
            cut = tuple(int(value) for value in entry.facts["cut"])
            start = int(entry.facts["start"])
        except (KeyError, TypeError, ValueError):
            raise RefusedError("its description is damaged.") from None
        if (
            len(setting) != 4
            or min(cut, default=0) < 1
            or math.prod(plan.shape) > _MOST_PNG
            or plan.shape[0] != 1
            or not 0 <= start <= entry.size
        ):
            raise RefusedError("its description is damaged.")
        pixels = np.concatenate(list(self.bands(entry, range(1)))).astype(plan.dtype)  # its own order of bytes
        if hashlib.sha256(pixels.tobytes()).hexdigest() != entry.facts.get("pixels_sha256"):
            raise RefusedError("its pixels are not those that were packed.")
        filters, other = entry.rest[:height], entry.rest[height:]
        try:
            chunks = write_stream(Stream(pixels, filters, setting, cut, start))
        except (ValueError, OverflowError):
            raise RefusedError("its description is damaged.") from None
        return other[:start] + chunks + other[start:]


class _Pieces:
    """Bytes that come in parts, taken in others."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self.parts, self.left = parts, memoryview(b"")

    def take(self, length: int) -> Iterator[bytes]:
        while length:
            if not self.left:
                self.left = memoryview(next(self.parts, b""))
                if not self.left:
                    raise RefusedError("its pixels are cut off.")
            part, self.left = self.left[:length], self.left[length:]
            length -= len(part)
            yield bytes(part)

    def finish(self) -> None:
        for _ in self.parts:  # the last planes are kept when the pixels have ended
            pass


def list_entries(archive: Path) -> tuple[list[tuple[str, int]], str]:
    """Names and sizes of all files in an archive, and a remark where it is cut off or altered."""
    with open_archive(archive) as reader:
        return reader.contents, reader.remark


def unpack(  # noqa: PLR0913, PLR0917  what to restore, and how to go on
    archive: Path, folder: Path | None, only: Sequence[str] = (), overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _all: None, jobs: int = 1,
) -> tuple[list[Restored], str]:  # fmt: skip
    """Restore all files, or those named, into a folder; without one, only try. Return what became of each.

    ``jobs`` threads restore files that do not depend on each other.

    A file is written only if its SHA-256 is that of the one that was packed; of a PNG that this machine's zlib packs
    otherwise, if its pixels are the same, with a remark. One whose name cannot be written here, or is that of a file
    before it, is lost with that reason, and the others are restored.

    Raises:
        InputError: The archive cannot be read, or has no file of a name.
        ConsistencyError: A name in it leads out of the folder.
        OutputError: A file exists, or none can be written. Nothing is written if one exists.
    """
    workers = Workers(jobs)
    with open_archive(archive) as reader:
        numbers = _chosen(archive, reader, only)
        names = _names(reader)
        _check_names(archive, [names[number] for number in numbers])
        if folder is not None:
            for number in numbers:
                _check_free(folder, names[number], overwrite)
            _make_folder(folder)
        place = _Place(archive, folder, overwrite, _repeated({number: names[number] for number in numbers}))

        def restored(run: list[int]) -> list[Restored]:
            restorer = Restorer(reader, workers)
            return [_restore(place, restorer, number) for number in run]

        def size(run: list[int]) -> int:
            return sum(max(0, min(reader.contents[number][1], _MOST_SIZE)) for number in run)

        done: list[Restored] = []
        progress(0, len(numbers))
        for files in workers.map(restored, _runs(reader, numbers), size):
            done += files
            progress(min(len(done), len(numbers) - 1), len(numbers))
        return done, reader.remark


def _runs(reader: Reader, numbers: list[int]) -> list[list[int]]:
    """Entries in runs, each of which was predicted from the one before it, or stands alone."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1 and _follows(reader, number):
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _follows(reader: Reader, number: int) -> bool:
    try:
        return read_entry(reader, number).facts.get("after") == number - 1
    except RefusedError:
        return False


def _chosen(archive: Path, reader: Reader, only: Sequence[str]) -> list[int]:
    names = [name for name, _ in reader.contents]
    if not only:
        return list(range(len(names)))
    there = set(names)
    for name in only:
        if name not in there:
            raise InputError(f"{printable(archive)}: it holds no file {name!r}; --list shows the names.")
    return [number for number, name in enumerate(names) if name in only]


def _names(reader: Reader) -> list[str]:
    """The names of all entries; where the list is lost, from their own descriptions, and empty where these are, too."""
    found = []
    for number, (name, _) in enumerate(reader.contents):
        try:
            found.append(name or read_entry(reader, number).name)
        except RefusedError:
            found.append("")
    return found


def _check_names(archive: Path, names: Sequence[str]) -> None:
    """See that no name leads out of a folder, also where it is read on another system.

    Raises:
        ConsistencyError: One does: no file of such an archive is to be trusted.
    """
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in name.replace("\\", "/").split("/"):
            raise ConsistencyError(
                f"{printable(archive)}: it holds a file whose name leads out of the folder; expected relative names. "
                "Nothing was written."
            )


def _repeated(names: Mapping[int, str]) -> frozenset[int]:
    """The entries whose name an entry before them has."""
    seen: set[PurePosixPath] = set()
    found = set()
    for number, name in names.items():
        path = PurePosixPath(name)
        if name and path in seen:
            found.add(number)
        seen.add(path)
    return frozenset(found)


def _check_free(folder: Path, name: str, overwrite: bool) -> None:
    """See, before any work, that what is in the folder lets a file be written.

    Raises:
        OutputError: The file exists, or a file is where a folder of its name is to be.
    """
    target = folder / PurePosixPath(name)
    if not name or _unusable(name):
        return
    if os.path.lexists(target):
        check_output(target, overwrite=overwrite)
    for parent in target.parents:
        if os.path.lexists(parent):  # the nearest that is there
            if not os.path.isdir(parent):  # noqa: PTH112  of a name that is too long, Path.is_dir raises
                raise OutputError(f"{printable(parent)}: the folder cannot be made (it is a file).")
            check_output(parent / "any", overwrite=True)
            return


def _unusable(name: str) -> str:
    """Why a name is that of no file on this system, as far as the name alone tells; empty where it may be one."""
    if not PurePosixPath(name).parts or name.endswith("/") or "\0" in name:
        return "its name is that of no file."
    if os.name == "nt" and any(letter in name for letter in "\\:"):
        return "its name has a colon or a backslash, which no file has on this system."
    return ""


@dataclass(frozen=True)
class _Place:
    """Where files of an archive go, if to a folder; and what is not to be written.

    Attributes:
        archive: The archive.
        folder: The folder; ``None``: they are only tried.
        overwrite: Whether files that were there may be replaced.
        repeated: The entries whose name an entry before them has.
        written: The device and number of each file that was written.
    """

    archive: Path
    folder: Path | None
    overwrite: bool
    repeated: frozenset[int]
    written: set[tuple[int, int]] = field(default_factory=set)


def _restore(place: _Place, restorer: Restorer, number: int) -> Restored:
    name, size = restorer.reader.contents[number]
    try:
        entry = read_entry(restorer.reader, number)
        name, size = entry.name, entry.size
        if number in place.repeated:
            raise RefusedError("a file before it in the archive has the same name.")
        remark = _check(restorer, entry, None) if place.folder is None else _written(place, restorer, entry)
        return Restored(name, size, remark=remark)
    except RefusedError as refusal:
        return Restored(name or f"entry {number + 1}", size, problem=str(refusal))


def _written(place: _Place, restorer: Restorer, entry: Entry) -> str:
    """Restore a file to its place; return a remark.

    Raises:
        RefusedError: It is lost, or its name cannot be written there.
        OutputError: No other could be written, either.
    """
    folder = place.folder or Path()
    target = folder / PurePosixPath(entry.name)
    if reason := _unusable(entry.name):
        raise RefusedError(reason)
    try:
        _make_folder(target.parent)
        if not target.parent.resolve().is_relative_to(folder.resolve()):
            raise ConsistencyError(f"{printable(target)}: a link in the folder leads out of it; expected folders.")
        if os.path.exists(target) and _identity(target) in place.written:  # noqa: PTH110  Path.exists may raise
            raise RefusedError("a file before it in the archive is in the same place.")
        with replacing(target, overwrite=place.overwrite, inputs=[place.archive]) as temporary:
            remark = _check(restorer, entry, temporary)
    except OutputError as error:
        if would_end_all(error):
            raise
        cause = error.__cause__
        why = os.strerror(cause.errno).lower() if isinstance(cause, OSError) and cause.errno else "its place is taken"
        raise RefusedError(f"it cannot be written under its name ({why}).") from error
    place.written.add(_identity(target))
    return remark


def _identity(path: Path) -> tuple[int, int]:
    """The device and number of a file, which it has under each of its names."""
    about = path.stat()
    return about.st_dev, about.st_ino


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise OutputError(f"{printable(folder)}: the folder cannot be made ({reason}).") from error


def _check(restorer: Restorer, entry: Entry, path: Path | None) -> str:
    """Restore a file, into ``path`` if given, and compare it with what was packed; return a remark."""
    digest, length = hashlib.sha256(), 0
    with open(path or os.devnull, "wb") as handle:  # noqa: PTH123
        for part in restorer.data(entry):
            digest.update(part)
            length += len(part)
            if length > entry.size and entry.mode != "png":
                raise RefusedError("it is longer than the archive says.")
            handle.write(part)
    if digest.hexdigest() != entry.sha256 and entry.mode != "png":
        raise RefusedError("what was restored is not what was packed, by its SHA-256.")
    if digest.hexdigest() != entry.sha256:
        return "every pixel is as it was, but zlib of this machine packs them into other bytes than the file had"
    error = entry.facts.get("error")
    return f"lossy: grey values are at most {error:g} off" if isinstance(error, int | float) and error else ""


def read_frame(archive: Path, name: str, frame: int) -> Array:
    """One frame of a file in an archive, of shape (rows, columns, samples); only what it depends on is decoded.

    Raises:
        InputError: The archive has no such file, or the frame is lost.
        UsageError: The file has no such frame.
    """
    with open_archive(archive) as reader:
        number = _chosen(archive, reader, [name])[0]
        try:
            entry = read_entry(reader, number)
            count = entry.plan.shape[0] if entry.mode in ("array", "png") else 1
            if not 0 <= frame < count:
                raise UsageError(f"The frame is {frame}; expected one of 0 to {count - 1}, as {name!r} has {count}.")
            return np.concatenate(list(Restorer(reader).bands(entry, range(frame, frame + 1))))
        except RefusedError as refusal:
            raise InputError(f"{printable(archive)}: {printable(name)}: {refusal}") from None
