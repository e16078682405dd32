"""Maps beside a result, such as its standard deviation, as further layers of a report."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recon import io
from recon.errors import ConsistencyError, InputError, ReconError, UsageError
from recon.io import Image
from recon.reconstruction.record import SUFFIX, read_record
from recon.report.page import Layer, Scale
from recon.report.page.markup import listed, mapping, plain
from recon.report.page.pictures import MapFigures, robust_limits

UNCERTAINTY = "uncertainty"
"""The command whose records are of maps."""

_MOST_RECORDS = 1000
"""Records of a folder that are looked at for maps of the same measurement."""


@dataclass(frozen=True)
class MapFile:
    """A map to be shown: of the size of the result, with a scale and a unit of its own.

    Attributes:
        path: A file, or a folder of files named as the results.
        name: What a reader chooses it by.
    """

    path: Path
    name: str


def parse_map(text: str) -> MapFile:
    """The map that ``FILE`` or ``FILE:name`` names; a file whose own name has a colon is one too.

    Raises:
        UsageError: There is no name after the colon, or none before it.
        InputError: There is no such file or folder.
    """
    whole = Path(text)
    file, colon, name = text.rpartition(":")
    if colon and not whole.exists():
        if not file or not name.strip():
            raise UsageError(f"layer is {text!r}; expected FILE or FILE:name, as in std.tif:uncertainty.")
        whole = Path(file)
    else:
        name = whole.stem
    if not whole.exists():
        raise InputError(f"{whole}: there is no such file or folder; expected a map of the size of the result.")
    return MapFile(whole, plain(name.strip(), 40))


def distinct(maps: Sequence[MapFile]) -> tuple[MapFile, ...]:
    """The maps, if their names differ.

    Raises:
        UsageError: Two have one name.
    """
    names = [each.name for each in maps]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two layers are called {name!r}; expected a name for each, as in FILE:name.")
    return tuple(maps)


def stated_layers(maps: Sequence[MapFile], results: Sequence[Image | None], names: Sequence[str]) -> list[list[Layer]]:
    """The layers of maps for each frame of a result.

    Args:
        maps: The maps.
        results: The frames of the result; ``None`` of one that is not shown.
        names: Of the files of the frames.

    Raises:
        InputError: A file cannot be read.
        ConsistencyError: A map has another size or another number of frames than the result.
    """
    found: list[list[Layer]] = [[] for _ in results]
    for number, each in enumerate(maps):
        image = io.read(_file_of(each, names))
        for at, layer in enumerate(_layers(each, image, results, f"map-{number}")):
            found[at].append(layer)
    return found


def _file_of(each: MapFile, names: Sequence[str]) -> Path:
    if not each.path.is_dir():
        return each.path
    wanted = names[0].partition(", frame ")[0] if names else ""
    stem = Path(wanted).stem
    for path in (each.path / wanted, *sorted(each.path.glob("*"))):
        if path.is_file() and path.stem == stem and path.suffix != ".json":
            return path
    raise InputError(f"{each.path}: no file is named as the result {wanted}; expected a map for each result.")


def _layers(each: MapFile, image: Image, results: Sequence[Image | None], key: str) -> list[Layer]:
    if image.frames != len(results):
        raise ConsistencyError(
            f"{each.path}: the map has {image.frames} frame(s) and the result {len(results)}; expected as many, "
            "because each map belongs to an image."
        )
    layers = []
    for at, result in enumerate(results):
        if result is not None and (image.height, image.width) != (result.height, result.width):
            raise ConsistencyError(
                f"{each.path}: the map has {image.height} x {image.width} pixels and the result {result.height} x "
                f"{result.width}; expected the same size, because a layer lies on the result."
            )
        layers.append(map_layer(key, each.name, image, at, f"{each.name}, from {each.path.name}"))
    return layers


def map_layer(  # noqa: PLR0913, PLR0917  what a layer is
    key: str, title: str, image: Image, at: int, label: str, unit: str = ""
) -> Layer:
    """A map as a layer: with both signs symmetric about zero, else from its low end to its high end.

    Args:
        key: The same for all slices.
        title: What a reader chooses it by.
        image: The map.
        at: Its frame.
        label: What it is.
        unit: Of its values, where the file does not say.
    """
    values = np.abs(image.pixels[at]) if np.iscomplexobj(image.pixels) else image.pixels[at]
    values = np.asarray(values, np.float64)
    if len(values) not in (1, 3):
        values = values.mean(0, keepdims=True)
    low, high = robust_limits(values, 0.5, 99.5)
    signed = low < 0 < high and min(-low, high) > 0.05 * max(-low, high)
    limits = (-max(-low, high), max(-low, high)) if signed else (low, high)
    if signed and len(values) == 3:
        values = values.mean(0, keepdims=True)
    aspect = 1.0 if image.spacing is None else image.spacing[0] / image.spacing[1]
    scale = Scale.SIGNED if signed else Scale.OWN
    return Layer(key, label, values, scale, image.units or unit, limits, aspect=aspect, title=title)


def figures_of(layer: Layer) -> MapFigures | None:
    """The values of a map; ``None`` where it has none."""
    assert layer.values is not None  # noqa: S101  maps have pictures of their own
    seen = layer.values[np.isfinite(layer.values)]
    if not seen.size:
        return None
    median, high = (float(value) for value in np.percentile(seen, (50, 95)))
    return MapFigures(layer.title, layer.unit, median, high, float(seen.max()))


def uncertainty_beside(
    record: Path, document: Mapping[str, object], results: Sequence[Image | None]
) -> tuple[list[list[Layer]], list[str]]:
    """The standard deviation that ``recon uncertainty`` wrote beside a result of the same measurement and operator.

    It is shown only where its file has the SHA-256 in its record.

    Args:
        record: The record of the result.
        document: What it says.
        results: The frames of the result.

    Returns:
        The layers of each frame, and what there is to remark.
    """
    none: list[list[Layer]] = [[] for _ in results]
    for path in _records_beside(record):
        try:
            other = read_record(path)
        except ReconError:
            continue
        if other.get("command") != UNCERTAINTY or not _same_problem(document, other):
            continue
        image, remark = _std_of(path, other)
        if image is None:
            return none, [remark] if remark else []
        shapes = {(each.height, each.width) for each in results if each is not None}
        if image.frames != len(results) or shapes - {(image.height, image.width)}:
            return none, [f"{path.name}: its standard deviation has another size than the result, and is not shown."]
        label = f"standard deviation of each pixel, {plain(other.get('method'), 40)}: {plain(other.get('status'), 40)}"
        unit = plain(other.get("units"), 20)
        return [[map_layer("std", UNCERTAINTY, image, at, label, unit)] for at in range(len(results))], []
    return none, []


def _records_beside(record: Path) -> list[Path]:
    try:
        found = sorted(path for path in record.parent.glob(f"*{SUFFIX}") if not path.name.startswith("."))
    except OSError:
        return []
    return [record, *(path for path in found[:_MOST_RECORDS] if path.name != record.name)]


def _same_problem(document: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two records are of the same measurement and the same operator."""
    hashes = [[mapping(each).get("sha256") for each in listed(one.get("inputs"))[:1]] for one in (document, other)]
    operators = [mapping(one.get("config")).get("operator") for one in (document, other)]
    shapes = [mapping(one.get("plan")).get("image_shape") for one in (document, other)]
    return hashes[0] == hashes[1] != [] and operators[0] == operators[1] and shapes[0] == shapes[1]


def _std_of(path: Path, document: Mapping[str, object]) -> tuple[Image | None, str]:
    """The standard deviation, the second of two or of four maps; ``None``, and why, where it is not to be shown."""
    outputs = [mapping(each) for each in listed(document.get("outputs"))]
    if len(outputs) not in (2, 4):
        return None, ""
    name, wanted = outputs[1].get("path"), outputs[1].get("sha256")
    if not isinstance(name, str) or not name or "\0" in name or Path(name).name != name:
        return None, f"{path.name}: the record names a map outside of its folder; it is not read and not shown."
    file = path.parent / name
    try:
        data = file.read_bytes()
    except OSError:
        return None, f"{plain(name, 120)}: the standard deviation is not there any more, so that it is not shown."
    if hashlib.sha256(data).hexdigest() != wanted:
        return None, f"{plain(name, 120)}: the standard deviation was altered since its run, and is not shown."
    try:
        return io.decode(data, file), ""
    except ReconError as error:
        return None, f"{plain(name, 120)}: the standard deviation cannot be read ({plain(str(error), 200)})."


def is_of_maps(document: Mapping[str, object]) -> bool:
    """Whether a record is of maps: then only its first output is a result."""
    return document.get("command") == UNCERTAINTY


def first_output(document: Mapping[str, object]) -> dict[str, object]:
    """The record with its first output alone."""
    return {**document, "outputs": listed(document.get("outputs"))[:1]}
