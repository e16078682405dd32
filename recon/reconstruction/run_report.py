"""The slices of a report from a run record and the files that it names, each file only where its hash is the recorded.

Nothing that a record names is executed: of an operator that is the user's own code the residual is left out.
"""

import functools
import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recon import io
from recon.device import Notify
from recon.errors import InputError, ReconError
from recon.io import Image
from recon.io.atomic import is_store
from recon.reconstruction.record import SUFFIX
from recon.reconstruction.replay import recorded_config
from recon.reconstruction.report_alarm import alarm_facts, alarm_layer, alarm_remarks
from recon.reconstruction.report_large import Picture, pictures_of
from recon.reconstruction.report_layers import FoundFiles, file_hash, frame_of, layers_of
from recon.reconstruction.report_maps import (
    MapFile,
    figures_of,
    first_output,
    is_of_maps,
    stated_layers,
    uncertainty_beside,
)
from recon.reconstruction.run import read_image
from recon.reconstruction.slice_stack import stacked
from recon.report.page import Layer, Slice
from recon.report.page.markup import listed, mapping, number, plain
from recon.report.page.measures import Change, measure
from recon.report.page.record_text import remarks_of
from recon.specs.solve_config import SolveConfig

Read = Callable[[], bytes]

_ELSEWHERE = "recon report --inputs FOLDER looks for it in a folder."
_HASH_ONLY = (
    "The measurement is not shown: the record keeps its hash only, and no file with that hash was looked at. "
    f"{_ELSEWHERE}"
)
_NO_FILE = (
    "The measurement is not shown: no file with the recorded hash is where the record says, nor was one found "
    f"elsewhere. {_ELSEWHERE}"
)


class Inputs:
    """Where the inputs of runs are looked for, by their hashes.

    Args:
        places: Files, and folders that are searched with all below them.
        known: The contents that are at hand, by their hashes.
    """

    def __init__(self, places: Iterable[Path] = (), known: Mapping[str, Read] | None = None) -> None:
        self._places, self._known = tuple(places), dict(known or {})
        self._hashes: dict[Path, str] = {}

    def path_of(self, entry: Mapping[str, object], record: Path) -> Path | None:
        """The file with the hash of an entry of a record: where the record says, else among the places."""
        wanted, size = entry.get("sha256"), number(entry.get("bytes"))
        if not isinstance(wanted, str):
            return None
        recorded = entry.get("path")
        first = [record.parent / recorded] if isinstance(recorded, str) and "\0" not in recorded else []
        candidates = [*first, *(path for path, length in self._files if size is None or length == size)]
        return next((path for path in candidates if self._hash(path) == wanted), None)

    def content_of(self, entry: Mapping[str, object], record: Path) -> tuple[bytes, Path | None] | None:
        """The bytes with the hash of an entry, and the file that they are of, where they are of one."""
        wanted = entry.get("sha256")
        path = self.path_of(entry, record)
        try:
            if path is not None:
                return _verified(path.read_bytes(), wanted), path
            if isinstance(wanted, str) and wanted in self._known:
                return _verified(self._known[wanted](), wanted), None
        except (OSError, InputError):
            return None
        return None

    @functools.cached_property
    def _files(self) -> list[tuple[Path, int]]:
        found = []
        for path in _walked(self._places):
            try:
                found.append((path, path.stat().st_size))
            except OSError:
                continue
        return found

    def _hash(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = file_hash(path)
        return self._hashes[path]


def _walked(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_file():
            yield place
        for folder, folders, names in os.walk(place):
            folders.sort()
            yield from (path for name in sorted(names) if (path := Path(folder, name)).is_file())


def _verified(data: bytes, wanted: object) -> bytes:
    if hashlib.sha256(data).hexdigest() != wanted:
        raise InputError("it has changed since it was looked at.")
    return data


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows.

    Attributes:
        inputs: Where the inputs are looked for.
        show_paths: Whether files are named whose names the records leave out.
        say: Where it goes that a result was altered, a line each.
        maps: What is shown besides on each result.
    """

    inputs: Inputs = field(default_factory=Inputs)
    show_paths: bool = False
    say: Notify = lambda line: None
    maps: tuple[MapFile, ...] = ()


def slices_of(
    record: Path, document: Mapping[str, object], options: ReportOptions, bounds: dict[str, float] | None = None
) -> list[Slice]:
    """The slices of a run record, with what could be found of its files.

    Args:
        record: The run record.
        document: What it says.
        options: Where files are looked for.
        bounds: The scales of residuals and differences, for slices that share them.
    """
    if "tiles" in document:
        return _large(record, document, options)
    bounds = {} if bounds is None else bounds
    found = _results(record, first_output(document) if is_of_maps(document) else document, options)
    found.hashes |= {str(mapping(each).get("sha256")) for each in listed(document.get("inputs"))}
    config = _config(record, document, found)
    if config is not None:
        _find_before(record, document, config, options, found)
    layers = layers_of(document, config, found, bounds)
    maps, remarks_on_maps = uncertainty_beside(record, document, found.frames)
    found.remarks += remarks_on_maps
    stated = stated_layers(options.maps, found.frames, found.names)
    maps = [[*beside, *ours] for beside, ours in zip(maps, stated, strict=True)]
    said = tuple(found.remarks if options.show_paths else [_without_folder(line, record) for line in found.remarks])
    count = len(found.names)
    slices = []
    for at, name in enumerate(found.names):
        shown = [*layers[at], *maps[at]]
        after = next((each for each in shown if each.name == "after" and each.values is not None), None)
        if after is not None and after.values is not None:
            judged = alarm_layer(document, at, after.values.shape[1:], after.aspect)
            shown = shown if judged is None else [*shown, judged]
        change = _change(shown, config, found.frames[at])
        window = _window(found.frames[at], found.before)
        remarks = (*alarm_remarks(document, at), *remarks_of(document), *(said if at == 0 or count == 1 else ()))
        facts = (("run record", record.name), *alarm_facts(document, at), *found.facts)
        missing = tuple(found.missing) if at == 0 else ()
        figures = tuple(each for each in map(figures_of, maps[at]) if each is not None)
        slices.append(Slice(name, tuple(shown), document, window, change, remarks, at, facts, missing, figures))
    return slices


def _large(record: Path, document: Mapping[str, object], options: ReportOptions) -> list[Slice]:
    """The slices of a run in tiles, whose files need not fit into memory."""
    entry = mapping(next(iter(listed(document.get("outputs"))), None))
    path, problem = _result_path(record, entry.get("path"))
    if path is not None and (digest := file_hash(path)) != entry.get("sha256"):
        problem = _altered(path.name, digest, entry.get("sha256")) if digest else _gone(path.name)
        path = None
    found = FoundFiles([], [])
    config = _config(record, document, found)
    source = mapping(next(iter(listed(document.get("inputs"))), None))
    hidden = not isinstance(source.get("path"), str)
    before = options.inputs.path_of(source, record)
    if before is None:
        found.remarks.append(_HASH_ONLY if hidden else _NO_FILE)
    units = plain(mapping(mapping(document.get("plan")).get("range")).get("units"), 20)

    def unread(sentence: str) -> None:
        found.remarks.append(_not_shown(sentence, before if hidden else None, options))

    pictures: list[Picture] = []
    if path is not None:
        try:
            pictures = pictures_of(path, before, document, config, units, unread)
        except ReconError as error:
            sentence = plain(str(error), 300).removeprefix(f"{path}: ")
            problem = f"{path.name}: the result cannot be read, so that it is not shown: {sentence}"
    if not pictures:
        options.say(problem)
        return [Slice(record.name.removesuffix(SUFFIX), (), document, missing=(problem,))]
    said = found.remarks if options.show_paths else [_without_folder(line, record) for line in found.remarks]
    remarks = (*remarks_of(document), *said)
    facts = (("run record", record.name), *_named(before, options))
    assert path is not None  # noqa: S101  there are pictures of it
    return [
        Slice(
            f"{path.name}, {each.name}", each.layers, document, each.window, _change(each.layers, config, each.after),
            remarks, at, facts,
        )
        for at, each in enumerate(pictures)
    ]  # fmt: skip


def _not_shown(sentence: str, hidden: Path | None, options: ReportOptions) -> str:
    """Why a measurement that was found is not shown, without the name of a file that the record leaves out."""
    why = sentence
    if hidden is not None and not options.show_paths:
        why = sentence.removeprefix(f"{hidden}: ")
        why = "it cannot be read." if hidden.name in why else why
    return f"The measurement is not shown: {plain(why, 300)}"


def _named(path: Path | None, options: ReportOptions) -> tuple[tuple[str, str], ...]:
    return (("measurement", str(path)),) if path is not None and options.show_paths else ()


def _without_folder(line: str, record: Path) -> str:
    """A remark in which files are named from the folder of the record."""
    return line if record.parent == Path() else line.replace(f"{record.parent}{os.sep}", "")


def _results(record: Path, document: Mapping[str, object], options: ReportOptions) -> FoundFiles:
    """The frames of the result, from the files that have the recorded hashes."""
    found = FoundFiles([], [])
    for entry in map(mapping, listed(document.get("outputs"))):
        name, wanted = entry.get("path"), entry.get("sha256")
        image, problem = _result(record, name, wanted)
        if image is None:
            found.frames.append(None)
            found.names.append(plain(name, 120) or "a result without a name")
            found.missing.append(problem)
            options.say(problem)
            continue
        several = image.frames > 1
        for at in range(image.frames):
            found.frames.append(frame_of(image, at))
            found.names.append(f"{name}, frame {at + 1}" if several else str(name))
    if not found.names:
        found.frames.append(None)
        found.names.append(record.name.removesuffix(SUFFIX))
        problem = f"{record.name}: the record names no result, so that none is shown."
        found.missing.append(problem)
        options.say(problem)
    return found


def _result(record: Path, name: object, wanted: object) -> tuple[Image | None, str]:
    path, problem = _result_path(record, name)
    if path is None:
        return None, problem
    shown = plain(name, 120)
    return _of_store(path, shown, wanted) if is_store(path) else _of_file(path, shown, wanted)


def _result_path(record: Path, name: object) -> tuple[Path | None, str]:
    """The place of a result beside its record, or why there is none."""
    if not isinstance(name, str) or "\0" in name or not name or Path(name).name != name:
        shown = plain(name, 120) or "a result without a name"
        return None, f"{shown}: the record names a result outside of its folder; it is not read and not shown."
    return record.parent / name, ""


def _of_file(path: Path, shown: str, wanted: object) -> tuple[Image | None, str]:
    """The image of a file that has the recorded hash."""
    try:
        if not path.is_file():
            return None, _gone(shown)
        data = path.read_bytes()
    except OSError as error:
        return None, f"{shown}: the result cannot be read ({error.strerror}), so that it is not shown."
    digest = hashlib.sha256(data).hexdigest()
    if digest != wanted:
        return None, _altered(shown, digest, wanted)
    try:
        return io.decode(data, Path(path.name)), ""
    except ReconError as error:
        return None, f"{shown}: the result cannot be read ({plain(str(error), 300)}), so that it is not shown."


def _of_store(path: Path, shown: str, wanted: object) -> tuple[Image | None, str]:
    """The image of a Zarr store that has the recorded hash before it is read and after."""
    digest = file_hash(path)
    if digest != wanted:
        return None, _altered(shown, digest, wanted)
    try:
        image = io.read(path)
    except ReconError as error:
        sentence = plain(str(error), 300).replace(f"{path.parent}{os.sep}", "")
        return None, f"{shown}: the result cannot be read ({sentence}), so that it is not shown."
    after = file_hash(path)
    return (image, "") if after == wanted else (None, _altered(shown, after, wanted))


def _gone(shown: str) -> str:
    return f"{shown}: the result is not there any more, so that it is not shown."


def _altered(shown: str, digest: str, wanted: object) -> str:
    return (
        f"{shown}: the file was altered since the run (its SHA-256 is {digest[:12]}..., the record says "
        f"{plain(wanted, 80)[:12]}...); it is not the result, and is not shown."
    )


def _config(record: Path, document: Mapping[str, object], found: FoundFiles) -> SolveConfig | None:
    try:
        return recorded_config(dict(document), record)
    except ReconError as error:
        found.remarks.append(f"The configuration of the record is not valid: {plain(str(error), 300)}")
    except (TypeError, ValueError, OverflowError, RecursionError):
        found.remarks.append("The configuration of the record is not valid.")
    return None


def _find_before(
    record: Path, document: Mapping[str, object], config: SolveConfig, options: ReportOptions, found: FoundFiles
) -> None:
    """Look for the measurement, and say why there is none."""
    entry = mapping(next(iter(listed(document.get("inputs"))), None))
    several = [each for each in map(mapping, listed(document.get("inputs"))) if each.get("role") == "measurement"]
    hidden = not isinstance(entry.get("path"), str)
    fields = [Path(name) for name in (config.flat, config.dark) if isinstance(name, str)]
    if not {file_hash(path) for path in fields} <= found.hashes:
        found.remarks.append("The measurement is not shown: its flat or dark field is not that of the run.")
        return
    path: Path | None = None
    try:
        if len(several) > 1:
            found.before = _series(record, several, config, options)
        elif config.operator.name == "ct":
            path = options.inputs.path_of(entry, record)
            found.before = None if path is None else read_image(path, config, lambda line: None)
        elif (path := options.inputs.path_of(entry, record)) is not None and is_store(path):
            found.before = io.read(path, value_range=config.range)
        else:
            content = options.inputs.content_of(entry, record)
            path = None if content is None else content[1]
            name = Path("input") if path is None else Path(f"input{path.suffix}")
            found.before = None if content is None else io.decode(content[0], name, value_range=config.range)
    except ReconError as error:
        found.remarks.append(_not_shown(str(error), (path or Path("input")) if hidden else None, options))
        return
    if found.before is None:
        found.remarks.append(_HASH_ONLY if hidden else _NO_FILE)
    elif options.show_paths and path is not None:
        found.facts.append(("measurement", str(path)))


def _series(
    record: Path, entries: Sequence[Mapping[str, object]], config: SolveConfig, options: ReportOptions
) -> Image | None:
    """The slices of a series as one image, where all of them were found."""
    images = []
    for entry in entries:
        content = options.inputs.content_of(entry, record)
        if content is None:
            return None
        images.append(io.decode(content[0], Path("slice"), value_range=config.range))
    return stacked(images, None, record.name)


def _change(layers: Sequence[Layer], config: SolveConfig | None, after: Image | None) -> Change | None:
    known = {each.name: each.values for each in layers}
    before, result = known.get("before"), known.get("after")
    if before is None or result is None or before.shape != result.shape or config is None or after is None:
        return None
    spacing = after.spacing
    pixel = spacing[0] if spacing is not None and math.isclose(*spacing, rel_tol=1e-3) else math.nan
    unit = next(each.unit for each in layers if each.name == "after")
    correlated = bool(unit) and config.operator.name in ("identity", "ct")
    return measure(before, result, unit=unit, correlated=correlated, pixel=pixel)


def _window(after: Image | None, before: Image | None) -> tuple[float, float] | None:
    """What is black and white at first: as DICOM says, of the measurement too; of 8-bit pictures all of their range."""
    if after is None:
        return None
    alike = before is not None and before.units == after.units
    for image in (after, before if alike else None):
        if image is not None and (window := io.display_window(image)) is not None:
            return window
    return (0.0, 255.0) if after.pixels.dtype == np.uint8 else None
