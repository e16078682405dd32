"""DICOM series: the slices of each in their order, and what is odd about them.

A series is what its SeriesInstanceUID says, in one study. Its slices are stacks of one orientation, size and spacing,
and each stack is sorted along its normal, the cross product of the directions of rows and columns (PS3.3, C.7.6.2).
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from recon.batch.classify import Allowed
from recon.batch.source import Source
from recon.io.dicom.header import Header

_SAME_PLACE = 0.01
"""In mm, between slices at one place."""

_UNEVEN = 0.01
"""Of the distance of two slices, how far another distance may be from it."""

_SHIFTED = 0.1
"""Pixels by which a slice may be aside of the one below it."""

_PARALLEL = 1e-3


@dataclass(frozen=True)
class Slice:
    """A DICOM file with an image.

    Attributes:
        source: Where it is.
        sha256: Of its content.
        header: What it says of itself.
    """

    source: Source
    sha256: str
    header: Header


@dataclass(frozen=True)
class Series:
    """The slices of a series in their order.

    Attributes:
        key: The study and the series.
        slices: In the order in which they are numbered.
        stacks: How many slices each stack has.
        remarks: What is odd, a sentence each, beginning with a small letter.
        doubt: Why the order is in doubt; empty where it is not.
        duplicates: Files that are there twice.
        pitch: The distance of the slices of the first stack in mm, where there is one.
        secret: What its hash follows from too, where results are de-identified.
        placement: Those of the remarks that are about where the slices are: gaps, uneven distances, tilts.
    """

    key: tuple[str, str]
    slices: tuple[Slice, ...]
    stacks: tuple[int, ...]
    remarks: tuple[str, ...] = ()
    doubt: str = ""
    duplicates: tuple[Slice, ...] = ()
    pitch: float | None = None
    secret: bytes = field(default=b"", repr=False)
    placement: tuple[str, ...] = ()

    @property
    def first(self) -> Header:
        """The header of the first slice."""
        return self.slices[0].header

    @property
    def hash(self) -> str:
        """A short hash of the source series, which names nobody."""
        return hashlib.sha256(self.secret + "\0".join(self.key).encode()).hexdigest()[:8]

    @property
    def folder(self) -> str:
        """The name of the folder of its results."""
        number = self.first.series_number
        return f"{0 if number is None or not 0 <= number < 10**12 else number}_{self.hash}"

    @property
    def inputs_sha256(self) -> str:
        """The hash of the set of its slices."""
        return hashlib.sha256("".join(sorted(each.sha256 for each in self.slices)).encode()).hexdigest()

    @property
    def described(self) -> str:
        """Modality, size and number, for people."""
        header, count = self.first, len(self.slices)
        rows, columns = header.size
        pitch = "" if self.pitch is None else f", {self.pitch:.4g} mm apart"
        stacks = f" in {len(self.stacks)} stacks" if len(self.stacks) > 1 else ""
        what = "slice" if header.frames == 1 else "file"
        kind = header.modality or "images"
        return f"{kind}, {count} {what}{'s' * (count != 1)}{stacks} of {rows} x {columns} pixels{pitch}"


def volume_doubt(one: Series) -> str:
    """Why a series is no volume of parallel slices at one distance; empty where it is one."""
    if one.doubt:
        return one.doubt
    if len(one.stacks) > 1:
        return f"its slices are in {len(one.stacks)} stacks of other sizes or directions; expected one stack"
    if any(each.header.frames != 1 or each.header.channels != 1 for each in one.slices):
        return "its files have several frames or colours; expected one grey slice in each"
    return _uneven(list(one.slices)) if len(one.slices) > 1 else ""


def _uneven(slices: list[Slice]) -> str:
    """Why slices are not straight above each other at one distance."""
    heights = _heights(slices)
    if heights is None:
        return "its slices do not say where they are; expected positions, because neighbours are compared"
    gaps = np.diff(heights)
    pitch = float(np.median(gaps))
    worst = int(np.abs(gaps - pitch).argmax())
    if not pitch > _SAME_PLACE or abs(gaps[worst] - pitch) > _UNEVEN * pitch:
        return (
            f"its slices {worst + 1} and {worst + 2} are {gaps[worst]:.4g} mm apart and most {pitch:.4g}; expected one "
            "distance, because the slices of a volume are evenly spaced: one may be missing, or there twice"
        )
    return next((f"{tilt}; expected none, because a volume has upright sides" for tilt in _tilt(slices)), "")


def remarks_beside(one: Series, doubt: str) -> tuple[str, ...]:
    """The remarks on a series that its doubt does not repeat: of what is no volume, none about where its slices are."""
    return tuple(each for each in one.remarks if not doubt or each not in one.placement)


def group(slices: Iterable[Slice], allowed: Allowed) -> list[Series]:
    """The series that slices make up, in the order of their numbers."""
    by_key: dict[tuple[str, str], list[Slice]] = {}
    for each in slices:
        header = each.header
        by_key.setdefault((header.study, header.series or header.instance or each.sha256), []).append(each)
    found = [_ordered(key, members, allowed) for key, members in by_key.items()]
    return sorted(found, key=lambda series: (_or_last(series.first.series_number), series.key))


def _ordered(key: tuple[str, str], members: Sequence[Slice], allowed: Allowed) -> Series:
    kept, twice, contradicting = _once(members)
    remarks, doubts, placement = [], [], []
    if twice:
        remarks.append(f"{len(twice)} file{'s are' if len(twice) > 1 else ' is'} there twice and used once")
    if contradicting:
        doubts.append(
            f"{len(contradicting)} of its files have the SOPInstanceUID of another with other content, so which is the "
            "right one is not known"
        )
    doubts += _contradictions(kept)
    stacks = sorted(_stacks(kept), key=lambda stack: min(_or_last(each.header.number) for each in stack))
    arranged: list[list[Slice]] = []
    pitch = None
    for stack in stacks:
        in_order, told, odd, doubt, distance = _arranged(stack)
        arranged.append(in_order)
        remarks += told + odd
        placement += odd
        doubts += doubt
        pitch = distance if pitch is None else pitch
    return Series(
        key,
        tuple(each for stack in arranged for each in stack),
        tuple(map(len, arranged)),
        tuple(remarks),
        "" if allowed.unordered else "; ".join(doubts),
        (*twice, *contradicting),
        pitch,
        placement=tuple(placement),
    )


def _once(members: Sequence[Slice]) -> tuple[list[Slice], list[Slice], list[Slice]]:
    """Each instance once; the files that are there twice; and those that contradict one with the same UID."""
    kept: dict[str, Slice] = {}
    twice: list[Slice] = []
    contradicting: list[Slice] = []
    for each in members:
        known = kept.setdefault(each.header.instance or each.sha256, each)
        if known is each:
            continue
        (twice if known.sha256 == each.sha256 else contradicting).append(each)
    return list(kept.values()), twice, contradicting


def _contradictions(slices: Sequence[Slice]) -> list[str]:
    """Return what cannot be said of one series."""
    found = []
    for what, read in _ONE_FOR_ALL:
        values = sorted({read(each.header) for each in slices})
        if len(values) > 1:
            found.append(f"its {what} are {', '.join(value or 'none' for value in values[:4])}; expected one")
    return found


_ONE_FOR_ALL: tuple[tuple[str, Callable[[Header], str]], ...] = (
    ("modalities", lambda header: header.modality),
    ("units", lambda header: header.units),
    ("samples a pixel", lambda header: str(header.channels)),
)


def _stacks(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices of one orientation, size and spacing each."""
    found: list[list[Slice]] = []
    for each in slices:
        for stack in found:
            if _alike(stack[0].header, each.header):
                stack.append(each)
                break
        else:
            found.append([each])
    return found


def _alike(one: Header, other: Header) -> bool:
    return (
        one.size == other.size
        and (one.frames > 1) == (other.frames > 1)
        and _near(one.spacing, other.spacing)
        and _near(one.orientation, other.orientation)
    )


def _near(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(math.isclose(a, b, rel_tol=_PARALLEL, abs_tol=_PARALLEL) for a, b in zip(one, other, strict=True))


def _arranged(stack: list[Slice]) -> tuple[list[Slice], list[str], list[str], list[str], float | None]:
    """A stack in its order, what is odd, what of its places, why the order is in doubt, the distance of its slices."""
    heights = _heights(stack)
    if len(stack) == 1:
        return stack, [], [], [], None
    if heights is None:
        return _by_number(stack)
    order = sorted(range(len(stack)), key=lambda k: (round(heights[k] / _SAME_PLACE), *_tie(stack[k])))
    in_order = [stack[k] for k in order]
    levels = [heights[k] for k in order]
    doubts = _doubled(in_order, levels)
    places = [levels[0]]
    for level in levels[1:]:
        if level - places[-1] > _SAME_PLACE:
            places.append(level)
    remarks = []
    if len(places) < len(levels) and not doubts:
        remarks.append(
            f"its {len(levels)} slices are at {len(places)} places: echoes, phases or acquisitions of one place are "
            "numbered one after the other"
        )
    gaps, pitch = _gaps(places)
    return in_order, remarks, gaps + _tilt(in_order), doubts, pitch


def _tie(each: Slice) -> tuple[int, tuple[str, ...], str]:
    return _or_last(each.header.number), each.header.repeat, each.sha256


def _or_last(number: int | None) -> int:
    return 2**62 if number is None else number


def _by_number(stack: list[Slice]) -> tuple[list[Slice], list[str], list[str], list[str], float | None]:
    """Slices that do not all say where they are, in the order of their numbers."""
    numbers = [each.header.number for each in stack]
    in_order = sorted(stack, key=_tie)
    if None not in numbers and len(set(numbers)) == len(numbers):
        return in_order, [], ["its slices do not say where they are: they are in the order of their numbers"], [], None
    doubt = f"{len(stack)} of its slices neither say where they are nor have numbers that tell them apart"
    return in_order, [], [], [doubt], None


def _heights(stack: list[Slice]) -> list[float] | None:
    """The place of each slice along the normal, in mm; ``None`` where some do not say it."""
    headers = [each.header for each in stack]
    orientation = headers[0].orientation
    if orientation is None or any(header.position is None or header.frames > 1 for header in headers):
        return None
    directions = np.array(orientation).reshape(2, 3)
    if np.abs(directions @ directions.T - np.eye(2)).max() > 0.01:
        return None
    normal = np.cross(directions[0], directions[1])
    return [float(np.array(header.position) @ normal) for header in headers]


def _doubled(slices: list[Slice], levels: list[float]) -> list[str]:
    """The doubt about slices at one place that nothing tells apart."""
    count = 0
    for k in range(1, len(slices)):
        one, other = slices[k - 1].header, slices[k].header
        if levels[k] - levels[k - 1] <= _SAME_PLACE and one.repeat == other.repeat:
            count += 1
    if not count:
        return []
    return [f"{count} of its slices are where another one is, and nothing but their numbers tells them apart"]


def _gaps(places: list[float]) -> tuple[list[str], float | None]:
    """Return what is said of slices that are missing, or unevenly spaced; and the distance of most."""
    if len(places) < 2:
        return [], None
    steps = np.diff(places)
    pitch = float(np.median(steps))
    apart = steps - pitch
    wide = [round(step / pitch) - 1 for step in steps if step > (1 + 0.5) * pitch]
    uneven = int(np.count_nonzero(np.abs(apart) > _UNEVEN * pitch)) - len(wide)
    remarks = []
    if wide:
        widest = int(steps.argmax())
        remarks.append(
            f"{len(wide)} gap{'s' * (len(wide) > 1)} between its slices, as if {sum(wide)} were missing; the widest is "
            f"{steps[widest]:.4g} mm after slice {widest + 1}, and most are {pitch:.4g} mm apart"
        )
    if uneven > 0:
        remarks.append(f"{uneven} of its slices are not {pitch:.4g} mm from the one before, as most are")
    return remarks, pitch


def _tilt(slices: list[Slice]) -> list[str]:
    """Return what is said of slices that do not lie straight above each other."""
    header = slices[0].header
    places = np.array([each.header.position for each in slices], np.float64)
    directions = np.array(header.orientation).reshape(2, 3)
    normal = np.cross(directions[0], directions[1])
    along = places[-1] - places[0]
    up = float(along @ normal)
    aside = np.linalg.norm(along - up * normal)
    if up == 0 or aside <= _SHIFTED * min(header.spacing or (1.0, 1.0)) * (len(slices) - 1):
        return []
    return [f"its slices are tilted by {math.degrees(math.atan2(aside, abs(up))):.3g} degrees against their normal"]
