"""A geometry as a TOML file: angles in degrees, lengths in mm.

kind = "fan"                      # parallel | fan | cone
angles = { start = 0, stop = 360, count = 360, endpoint = false }      # or a list
source_to_axis = 500.0            # fan, cone
source_to_detector = 1000.0
[detector]
pixels = 736                      # [rows, columns] for cone
pitch = 1.2                       # or [of the rows, of the columns] for cone
shape = "flat"                    # flat | arc
offset = 0.0                      # of the columns, or [of the rows, of the columns] for cone
[volume]
pixels = [512, 512]               # [slices, rows, columns] for cone
pitch = 0.7                       # or [of the slices, in the slice] for cone
offset = [0.0, 0.0]               # [x, y], or [x, y, z] for cone
"""

import math
import reprlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard, cast, get_args

from recon._suggest import suggestion
from recon._toml import parse_toml, read_toml
from recon.errors import ConsistencyError, InputError
from recon.operators.tomography.geometry.geometry import (
    AlongAxis,
    Detector,
    DetectorShape,
    Geometry,
    Kind,
    Volume,
    evenly_spaced,
)

MOST_PIXELS = 2**16
"""Along a side of the detector or of the volume."""
MOST_VALUES = 2**37
"""In a sinogram or in a volume: half a terabyte in single precision."""
MOST_VIEWS = 10**6
MOST_UNEQUAL = 1000
"""Of the pixels of image and detector, one to the other."""
LARGEST = 1e9
"""Of a length in mm or an angle in degrees: products of these stay finite."""
_SHOWN = 40
_FINITE = f"finite and at most {LARGEST:g} in magnitude"


def read_geometry(path: str | Path) -> Geometry:
    """The scan that a TOML file describes.

    Raises:
        InputError: The file cannot be read, is not TOML, or has a key or a value that a geometry has not.
        ConsistencyError: Its numbers contradict each other.
    """
    return _geometry(_Table(str(path), read_toml(Path(path), "geometry", InputError)))


def geometry_from_toml(text: str, origin: str = "geometry") -> Geometry:
    """The scan that a text describes, as :func:`read_geometry`; ``origin`` is what an error begins with."""
    return _geometry(_Table(origin, parse_toml(text.encode(), origin, "geometry", InputError)))


def geometry_to_toml(geometry: Geometry) -> str:
    """The text that :func:`geometry_from_toml` reads back to an equal geometry, exactly."""
    detector, volume = geometry.detector, geometry.volume
    lines = [f'kind = "{geometry.kind}"', f"angles = {_angles_text(geometry.angles)}"]
    if geometry.kind != "parallel":
        lines += [f"{name} = {_text(distance)}" for name, distance in zip(_DISTANCES, geometry.distances, strict=True)]
    if geometry.kind == "cone":
        rows, slices = geometry.vertical
        sizes = _text(rows.pixels, detector.pixels), _text(slices.pixels, *volume.pixels)
        pitches = _text(rows.pitch, detector.pitch), _text(slices.pitch, volume.pitch)
        offsets = _text(rows.offset, detector.offset), _text(*volume.offset, slices.offset)
    else:
        sizes = _text(detector.pixels), _text(*volume.pixels)
        pitches = _text(detector.pitch), _text(volume.pitch)
        offsets = _text(detector.offset), _text(*volume.offset)
    lines += ["", "[detector]", f"pixels = {sizes[0]}", f"pitch = {pitches[0]}", f'shape = "{detector.shape}"']
    lines += [f"offset = {offsets[0]}", "", "[volume]", f"pixels = {sizes[1]}", f"pitch = {pitches[1]}"]
    return "\n".join([*lines, f"offset = {offsets[1]}", ""])


_DISTANCES = ("source_to_axis", "source_to_detector")


def _text(*numbers: float) -> str:
    texts = [repr(int(number) if isinstance(number, int) else float(number)) for number in numbers]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _angles_text(angles: tuple[float, ...]) -> str:
    table = _even(angles)
    if table is None:
        return f"[{', '.join(_text(float(angle)) for angle in angles)}]"
    start, stop, endpoint = table
    return f"{{ start = {start!r}, stop = {stop!r}, count = {len(angles)}, endpoint = {str(endpoint).lower()} }}"


def _even(angles: tuple[float, ...]) -> tuple[float, float, bool] | None:
    """Start, stop and endpoint that give exactly these angles, if there are any: the roundest stop that does."""
    count, first, last = len(angles), float(angles[0]), float(angles[-1])
    if count < 3:
        return None
    step = (last - first) / (count - 1)
    if any(abs(first + step * view - angle) > 1e-6 for view, angle in enumerate(angles)):
        return None
    stops = [(stop, endpoint) for endpoint, stop in ((False, last + step), (True, last))]
    for digits in (0, 3, 6, 9, 12, 17):
        for stop, endpoint in stops:
            if evenly_spaced(first, round(stop, digits), count, endpoint) == angles:
                return first, round(stop, digits), endpoint
    return None


def _geometry(table: "_Table") -> Geometry:
    kind = cast(Kind, table.choice("kind", get_args(Kind)))
    angles = _read_angles(table)
    distances = {name: table.number(name, "a length in mm") for name in _DISTANCES if table.has(name)}
    parts = table.table("detector"), table.table("volume")
    try:
        detector, volume = (
            (_panel if kind == "cone" else _row)(parts[0]),
            (_stack if kind == "cone" else _slice)(parts[1]),
        )
        geometry = Geometry(kind, angles, detector, volume, **distances)
    except ConsistencyError as error:
        raise ConsistencyError(f"{table.origin}: {error}") from error
    for part in (table, *parts):
        part.finish()
    _refuse_absurd(geometry, table.origin)
    return geometry


def _row(table: "_Table") -> Detector:
    (pixels,) = table.integers("pixels", 1, "their number")
    pitch = table.number("pitch", "a length in mm")
    offset = table.number("offset", "a length in mm", 0.0)
    return Detector(pixels, pitch, offset, _shape(table))


def _panel(table: "_Table") -> Detector:
    rows, columns = table.integers("pixels", 2, "[rows, columns]")
    pitch = table.numbers("pitch", (1, 2), "a length in mm, or [of the rows, of the columns]")
    offset = table.numbers("offset", (1, 2), "a length in mm, or [of the rows, of the columns]", [0.0])
    v = offset[0] if len(offset) == 2 else 0.0
    return Detector(columns, pitch[-1], offset[-1], _shape(table), AlongAxis(rows, pitch[0], v))


def _shape(table: "_Table") -> DetectorShape:
    return cast(DetectorShape, table.choice("shape", get_args(DetectorShape), "flat"))


def _slice(table: "_Table") -> Volume:
    rows, columns = table.integers("pixels", 2, "[rows, columns]")
    pitch = table.number("pitch", "a length in mm")
    x, y = table.numbers("offset", (2,), "[x, y] in mm", [0.0, 0.0])
    return Volume((rows, columns), pitch, (x, y))


def _stack(table: "_Table") -> Volume:
    slices, rows, columns = table.integers("pixels", 3, "[slices, rows, columns]")
    pitch = table.numbers("pitch", (1, 2), "a length in mm, or [of the slices, in the slice]")
    x, y, *z = table.numbers("offset", (2, 3), "[x, y, z] or [x, y] in mm", [0.0, 0.0])
    return Volume((rows, columns), pitch[-1], (x, y), AlongAxis(slices, pitch[0], z[0] if z else 0.0))


def _read_angles(table: "_Table") -> tuple[float, ...]:
    if isinstance(table.values.get("angles"), list):
        return tuple(table.numbers("angles", range(1, MOST_VIEWS + 1), f"1 to {MOST_VIEWS} numbers of degrees"))
    even = table.table("angles", "a list of degrees or { start, stop, count }")
    start, stop = (even.number(name, "an angle in degrees") for name in ("start", "stop"))
    (count,) = even.integers("count", 1, "how many views there are", MOST_VIEWS)
    endpoint = even.truth("endpoint", False)
    even.finish()
    return evenly_spaced(start, stop, count, endpoint)


def _refuse_absurd(geometry: Geometry, origin: str) -> None:
    """Refuse what is well formed and would exhaust the memory."""
    for what, shape in (("sinogram", geometry.sinogram_shape), ("volume", geometry.image_shape)):
        if math.prod(shape) > MOST_VALUES:
            raise InputError(
                f"{origin}: the {what} has {' x '.join(map(str, shape))} values; expected at most {MOST_VALUES}, "
                "because more do not fit into a computer."
            )
    pixel, shadow = geometry.volume.pitch, geometry.detector.pitch
    if geometry.kind != "parallel":  # where the volume is nearest to the source
        shadow *= (geometry.distances[0] - geometry.volume.radius) / geometry.distances[1]
    if not 1 / MOST_UNEQUAL <= pixel / shadow <= MOST_UNEQUAL:
        raise ConsistencyError(
            f"{origin}: volume.pitch is {pixel:g} mm and two neighbouring rays are {shadow:g} mm apart where "
            f"the volume begins; expected these within a factor of {MOST_UNEQUAL}, because both resolve one object."
        )


@dataclass(frozen=True)
class _Table:
    """A table of the file, read key by key; :meth:`finish` refuses the keys that nobody asked for."""

    origin: str
    values: Mapping[str, object]
    name: str = ""
    known: set[str] = field(default_factory=set)

    def has(self, key: str) -> bool:
        self.known.add(key)
        return key in self.values

    def take(self, key: str, expected: str, default: object = None) -> object:
        value = self.values[key] if self.has(key) else default
        if value is None:
            raise InputError(f"{self.origin}: {self.path(key)} is missing; expected {expected}.")
        return value

    def path(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def wrong(self, key: str, value: object, expected: str) -> InputError:
        return InputError(f"{self.origin}: {self.path(key)} is {_shown(value)}; expected {expected}.")

    def table(self, key: str, expected: str = "a table") -> "_Table":
        value = self.take(key, expected)
        if not isinstance(value, dict):
            raise self.wrong(key, value, expected)
        return _Table(self.origin, value, self.path(key))

    def truth(self, key: str, default: bool) -> bool:
        value = self.take(key, "true or false", default)
        if not isinstance(value, bool):
            raise self.wrong(key, value, "true or false")
        return value

    def choice(self, key: str, among: Sequence[str], default: str | None = None) -> str:
        value = self.take(key, f"one of {', '.join(among)}", default)
        if not isinstance(value, str) or value not in among:
            given = value[:_SHOWN] if isinstance(value, str) else ""
            raise InputError(f"{self.origin}: {self.path(key)} is {_shown(value)}; {suggestion(given, among)}.")
        return value

    def number(self, key: str, expected: str, default: float | None = None) -> float:
        value = self.take(key, expected, default)
        if not _is_number(value):
            raise self.wrong(key, value, f"{expected}, {_FINITE}")
        return float(value)

    def numbers(
        self, key: str, counts: Container[int], expected: str, default: Sequence[float] | None = None
    ) -> list[float]:
        """As many numbers as one of ``counts``; a single one may stand without brackets."""
        value = self.take(key, expected, default)
        given = value if isinstance(value, list) else [value]
        found = [float(number) for number in given if _is_number(number)]
        if len(found) != len(given) or len(found) not in counts:
            raise self.wrong(key, value, f"{expected}, {_FINITE}")
        return found

    def integers(self, key: str, count: int, expected: str, most: int = MOST_PIXELS) -> list[int]:
        """``count`` integers; a single one stands without brackets."""
        value = self.take(key, expected)
        given = [value] if count == 1 else value if isinstance(value, list) else []
        found = [number for number in given if _is_integer(number, most)]
        if len(found) != len(given) or len(found) != count:
            integers = "an integer" if count == 1 else "integers"
            raise self.wrong(key, value, f"{expected}, {integers} from 1 to {most}")
        return found

    def finish(self) -> None:
        for key in self.values:
            if key not in self.known:
                where = f" in [{self.name}]" if self.name else ""
                hint = suggestion(key[:_SHOWN], self.known)
                raise InputError(f"{self.origin}: there is no key {_shown(key)}{where}; {hint}.")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def _is_integer(value: object, most: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _shown(value: object) -> str:
    """A value of a hostile file, short enough for a sentence."""
    short = reprlib.Repr()
    short.maxstring = short.maxlong = short.maxother = _SHOWN
    short.maxlist = short.maxdict = 4
    try:
        return short.repr(value)
    except ValueError:  # an integer of so many digits that Python refuses to write them
        return "an integer of thousands of digits"
