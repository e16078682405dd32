"""Files to an archive: what of each are pixels is coded, decoded again and compared before it is written."""

import hashlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from recon.errors import InputError, UsageError
from recon.io.atomic import replacing
from recon.io.content import content, kind_of, opened, printable, refusals
from recon.io.image import Array
from recon.packing import frames
from recon.packing.container import Writer
from recon.packing.layout import Layout, find_layout
from recon.packing.planes import MOST_COLUMNS, deflated
from recon.packing.png_stream import Stream, read_stream, write_stream
from recon.packing.restore import PIECE
from recon.packing.workers import Workers

GROUP = 8
"""How many slices of a series depend on each other."""

_POOR = 0.9
"""Where pixels take more of their bytes than this, a general packer is tried too."""


@dataclass(frozen=True)
class Packed:
    """What became of one file.

    Attributes:
        name: In the archive.
        size: Of the file, in bytes.
        stored: Of its part of the archive.
        how: ``"pixels"``, ``"lossy"``, ``"bytes"`` or ``"as is"``.
        pixels: How many values were coded as pixels; 0 where none.
        pixel_bytes: Of those in the archive.
        error: The largest difference of a grey value; 0 but for ``"lossy"``.
    """

    name: str
    size: int
    stored: int
    how: str
    pixels: int = 0
    pixel_bytes: int = 0
    error: float = 0.0


@dataclass(frozen=True)
class Settings:
    """How to pack: ``tolerance`` in grey values, 0 for lossless; ``group`` slices that may depend on each other."""

    tolerance: float = 0.0
    group: int = GROUP

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise UsageError(f"The tolerance is {self.tolerance}; expected a finite number of at least 0.")
        if self.group < 1:
            raise UsageError(f"The group is {self.group}; expected at least 1.")


_FACTS = 300
"""About how many bytes the facts of an entry take."""

Progress = Callable[[int, int], None]


def find_files(inputs: Sequence[Path], say: Callable[[str], None] = lambda _: None) -> list[tuple[str, Path]]:
    """Each file with its name in the archive: files by their names, those of folders with the folder before it.

    Raises:
        InputError: One is missing, or a folder holds none.
        UsageError: Two files would have one name.
    """
    found: dict[str, Path] = {}
    for given in inputs:
        for name, path in _files(given, say):
            if name in found:
                raise UsageError(
                    f"{printable(name)}: two inputs have this name in the archive; expected distinct ones."
                )
            found[name] = path
    return list(found.items())


def _files(given: Path, say: Callable[[str], None]) -> Iterator[tuple[str, Path]]:
    if not given.is_dir():
        if not given.exists():
            raise InputError(f"{printable(given)}: there is no such file or folder.")
        yield given.name, given
        return
    root = given.resolve()
    files = sorted(path for path in root.rglob("*") if not path.is_dir())
    kept = [path for path in files if path.is_file() and not path.is_symlink()]
    if len(kept) < len(files):
        say(f"{printable(given)}: {len(files) - len(kept)} links, pipes or devices in it are left out.")
    if not kept:
        raise InputError(f"{printable(given)}: the folder holds no file.")
    for path in kept:
        yield str(PurePosixPath(root.name) / path.relative_to(root).as_posix()), path  # the root of all has no name


def pack(  # noqa: PLR0913, PLR0917  the inputs, and how to write, to warn and to go on
    inputs: Sequence[Path], archive: Path, settings: Settings | None = None, overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None, progress: Progress = lambda _done, _all: None, jobs: int = 1,
) -> list[Packed]:  # fmt: skip
    """Write an archive of files and folders; see :class:`Packed`.

    Every file is restored from what is to be written, and compared, before it is written. Slices of a DICOM series are
    put in the order of their places. The bytes of the archive do not depend on ``jobs``, the number of threads.

    Raises:
        InputError: One cannot be read.
        UsageError: A DICOM file, and a tolerance: its pixels must not change under its name.
    """
    settings, workers = settings or Settings(), Workers(jobs)
    files = find_files(inputs, say)
    done: list[Packed] = []
    with replacing(archive, overwrite=overwrite, inputs=[path for _, path in files]) as temporary:
        sources = _in_order(files)
        helps = _Helps(sources)

        def packed(run: list[_Source]) -> list[_Entry]:
            packer = _Packer(settings, helps, workers)
            return [packer.add(source) for source in run]

        with temporary.open("wb") as handle:
            writer = Writer(handle)
            writer.contents([(source.name, source.size) for source in sources])
            progress(0, len(sources))
            for entries in workers.map(packed, _runs(sources, settings.group), lambda run: sum(s.size for s in run)):
                for entry in entries:
                    done.append(entry.write(writer, len(done)))
                    progress(min(len(done), len(sources) - 1), len(sources))
            writer.finish()
    return done


@dataclass(frozen=True)
class _Source:
    """A file to pack; ``series`` is empty where it is no slice of one."""

    number: int
    name: str
    path: Path
    size: int
    series: str


@dataclass(frozen=True)
class _Entry:
    """What is written of a file, and what is said of it."""

    facts: dict[str, Any]
    rest: bytes
    pieces: list[bytes]
    packed: Packed

    def write(self, writer: Writer, number: int) -> Packed:
        return replace(self.packed, stored=writer.entry(number, self.facts, self.rest, self.pieces))


def _runs(sources: list[_Source], group: int) -> list[list[_Source]]:
    """Files in runs that do not depend on each other: slices of one series, at most ``group``, or single files."""
    runs: list[list[_Source]] = []
    for source in sources:
        if runs and source.series and runs[-1][0].series == source.series and len(runs[-1]) < group:
            runs[-1].append(source)
        else:
            runs.append([source])
    return runs


class _Helps:
    """Whether slices of a series are to be predicted from each other, by the first two of it."""

    def __init__(self, sources: list[_Source]) -> None:
        self.first: dict[str, list[Path]] = {}
        self.found: dict[str, bool] = {}
        self.lock = threading.Lock()
        for source in sources:
            if source.series:
                self.first.setdefault(source.series, []).append(source.path)

    def __call__(self, series: str) -> bool:
        with self.lock:
            if series not in self.found:
                self.found[series] = self._try(self.first[series][:2])
            return self.found[series]

    @staticmethod
    def _try(paths: list[Path]) -> bool:
        planes = []
        for path in paths:
            data = _read(path)
            layout = find_layout(data)
            if layout is None:
                return False
            rows = frames.Plan(layout.shape, layout.dtype).rows(0)
            planes.append(frames.as_integers(layout.pixels(data)[0, :rows, :, 0]))
        return len(planes) == 2 and frames.helps(planes[1], planes[0])


def _read(path: Path) -> bytes:
    if path.is_file() and path.stat().st_size == 0:  # a pipe has no size, and is refused below
        return b""
    with refusals(path), opened(path, "a file") as handle:
        return content(handle)


def _in_order(files: list[tuple[str, Path]]) -> list[_Source]:
    """Files in the order given, but slices of one series side by side and by their places."""
    places: list[tuple[Any, ...]] = []
    first: dict[str, int] = {}
    names: list[str] = []
    for number, (_, path) in enumerate(files):
        series = _series(path)
        names.append(series[0] if series else "")
        if series:
            places.append((first.setdefault(series[0], number), *series[1:], number))
        else:
            places.append((number, 0.0, 0, number))
    found = [(*files[place[-1]], names[place[-1]]) for place in sorted(places)]
    return [_Source(number, name, path, path.stat().st_size, uid) for number, (name, path, uid) in enumerate(found)]


def _series(path: Path) -> tuple[Any, ...]:
    with refusals(path):
        if path.is_file() and path.stat().st_size == 0:
            return ()
        with opened(path, "a file") as handle:
            is_dicom = kind_of(handle.read(1024)) == "dicom"
    layout = find_layout(_read(path)) if is_dicom else None
    return layout.series if layout else ()


class _Packer:
    """Packs the files of a run, one after another; a slice may be predicted from the one before it."""

    def __init__(self, settings: Settings, helps: _Helps, workers: Workers) -> None:
        self.settings, self.helps, self.workers = settings, helps, workers
        self.last: tuple[int, tuple[Any, ...], frames.Plan, frames.Bands] | None = None

    def add(self, source: _Source) -> _Entry:
        number, name, data = source.number, source.name, _read(source.path)
        stream = read_stream(data)
        layout = find_layout(data) if stream is None else None
        found = None
        if stream is not None:
            found = self._png(name, data, stream)
        elif layout is not None:
            if self.settings.tolerance and kind_of(data[:1024]) == "dicom":
                raise UsageError(
                    f"{printable(name)}: a tolerance was given for a DICOM file; expected none, because its pixels "
                    "must not change under its own SOP instance UID."
                )
            found = self._array(number, name, data, layout)
        return found or self._bytes(name, data)

    def _array(self, number: int, name: str, data: bytes, layout: Layout) -> _Entry | None:
        pixels = layout.pixels(data)
        plan, before = self._plan(pixels, layout)
        if not plan.fits():
            return None
        pieces = list(frames.encode(pixels, plan, self.settings.tolerance, before, self.workers))
        restored, bands = _decoded(pieces, plan, before, self.workers)
        error = _largest_error(pixels, restored, self.settings.tolerance)
        size = sum(map(len, pieces))
        if error is None or (error == 0 and size > _POOR * pixels.nbytes and len(deflated(pixels.tobytes())) < size):
            return None
        facts = {
            "mode": "array", "ranges": layout.ranges, "dtype": plan.dtype, "shape": plan.shape, "group": plan.group,
            "after": self.last[0] if plan.before and self.last else None,
        }  # fmt: skip
        whole = _replaced(data, layout, restored) if error else data
        done = _entry(name, data, whole, facts, layout.rest(data), pieces, pixels.size, error)
        self.last = (number, layout.series, plan, bands) if layout.series and plan.is_whole else None
        return done

    def _plan(self, pixels: Array, layout: Layout) -> tuple[frames.Plan, frames.Bands | None]:
        """How frames depend on each other, and on the file before."""
        single = frames.Plan(layout.shape, layout.dtype)
        if not single.is_whole or self.settings.group == 1:
            return single, None
        if layout.shape[0] > 1:
            first, second = (frames.as_integers(pixels[k, : single.rows(0), :, 0]) for k in range(2))
            return (
                (frames.Plan(layout.shape, layout.dtype, self.settings.group), None)
                if (single.fits() and frames.helps(second, first))
                else (single, None)
            )
        if self.last is None or not layout.series:
            return single, None
        _, series, plan, bands = self.last
        alike = series[0] == layout.series[0] and plan.shape == single.shape and plan.dtype == single.dtype
        if not alike or not self.helps(series[0]):
            return single, None
        return frames.Plan(layout.shape, layout.dtype, 1, before=True), bands

    def _png(self, name: str, data: bytes, stream: Stream) -> _Entry | None:
        if stream.pixels.shape[1] > MOST_COLUMNS:
            return None
        plan = frames.Plan((1, *stream.pixels.shape), stream.pixels.dtype.str)
        pixels = stream.pixels[None]
        pieces = list(frames.encode(pixels, plan, self.settings.tolerance, None, self.workers))
        restored, _ = _decoded(pieces, plan, None, self.workers)
        error = _largest_error(pixels, restored, self.settings.tolerance)
        chunks = write_stream(stream)
        end = stream.start + sum(stream.pieces) + 12 * len(stream.pieces)
        if error is None or data[stream.start : end] != chunks or sum(map(len, pieces)) + _FACTS > len(chunks):
            return None
        facts = {
            "mode": "png", "dtype": plan.dtype, "shape": plan.shape, "start": stream.start, "setting": stream.setting,
            "cut": stream.pieces, "pixels_sha256": hashlib.sha256(restored.tobytes()).hexdigest(),
        }  # fmt: skip
        whole = data
        if error:
            lossy = Stream(restored[0], stream.filters, stream.setting, stream.pieces, stream.start)
            whole = data[: stream.start] + write_stream(lossy) + data[end:]
        rest = stream.filters + data[: stream.start] + data[end:]
        self.last = None
        return _entry(name, data, whole, facts, rest, pieces, pixels.size, error)

    def _bytes(self, name: str, data: bytes) -> _Entry:
        """A file in pieces of bounded length, each packed where that makes it smaller."""
        self.last = None
        cut = [data[start : start + PIECE] for start in range(0, len(data), PIECE)]
        small = [deflated(piece) for piece in cut]
        is_packed = sum(map(len, small)) < len(data)
        facts = {
            "mode": "packed" if is_packed else "raw", "name": name, "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }  # fmt: skip
        how = "bytes" if is_packed else "as is"
        return _Entry(facts, b"", small if is_packed else cut, Packed(name, len(data), 0, how))


def _entry(  # noqa: PLR0913, PLR0917  what an entry holds
    name: str, data: bytes, whole: bytes, facts: dict[str, Any], rest: bytes, pieces: list[bytes], count: int,
    error: float,
) -> _Entry:  # fmt: skip
    """The entry of a file whose pixels were coded."""
    facts |= {"name": name, "size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    if error:
        facts |= {"error": error, "source_sha256": hashlib.sha256(data).hexdigest()}
    how = "lossy" if error else "pixels"
    return _Entry(facts, rest, pieces, Packed(name, len(data), 0, how, count, sum(map(len, pieces)), error))


def _decoded(
    pieces: list[bytes], plan: frames.Plan, before: frames.Bands | None, workers: Workers
) -> tuple[Array, frames.Bands]:
    """The array that an archive will give back."""
    found: list[Array] = []
    kept: frames.Bands = {}
    everything = range(plan.shape[0])
    for _, band, kept in frames.decode(plan, pieces.__getitem__, everything, lambda: dict(before or {}), workers):  # noqa: B007
        found.append(band)
    whole = np.concatenate([band.reshape(-1, *plan.shape[2:]) for band in found]).reshape(plan.shape)
    return whole.astype(plan.dtype), kept


def _largest_error(pixels: Array, restored: Array, tolerance: float) -> float | None:
    """How far the restored values are off at most; ``None`` where that is more than was allowed."""
    if restored.tobytes() == pixels.tobytes():
        return 0.0
    if not tolerance:
        return None
    if pixels.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):
            off = float(abs(restored.astype(np.float64) - pixels.astype(np.float64)).max())
    else:
        high, low = np.maximum(restored, pixels), np.minimum(restored, pixels)
        off = float((high.astype(np.uint64) - low.astype(np.uint64)).max())  # modulo 2^64: right for any sign
    return off if 0 < off <= tolerance else None


def _replaced(data: bytes, layout: Layout, pixels: Array) -> bytes:
    """The bytes of a file with other pixels."""
    whole, flat, at = bytearray(data), pixels.tobytes(), 0
    for start, length in layout.ranges:
        whole[start : start + length] = flat[at : at + length]
        at += length
    return bytes(whole)
