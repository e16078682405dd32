"""Positions of the slices of a DICOM series in the patient, and the window in which they are shown."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recon.io.content import silence
from recon.io.dicom.frames import functional_group
from recon.io.image import Image

_TAGS = ["SeriesInstanceUID", "ImageOrientationPatient", "ImagePositionPatient"]
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_ALIKE = 1e-3
"""By how much two pixel spacings may differ, relative to one."""

_PARALLEL = 1e-3
"""By how much the cosines of an orientation may differ between slices of one series."""


def positions_along_normal(paths: Sequence[Path]) -> list[float] | None:
    """The place of each slice of one series along its normal, in mm (DICOM PS3.3, section C.7.6.2).

    ``None`` where the files are not DICOM slices of one series and one orientation that all say where they are. Only
    the headers are read, and what cannot be read is for a later reader to name.
    """
    headers = [_header(path) for path in paths]
    if not all(headers):
        return None
    series = {str(header.get("SeriesInstanceUID")) for header in headers}
    try:
        cosines = np.array([header.ImageOrientationPatient for header in headers], np.float64)
        places = np.array([header.ImagePositionPatient for header in headers], np.float64)
    except (AttributeError, TypeError, ValueError):
        return None
    if len(series) > 1 or cosines.shape[1:] != (6,) or places.shape[1:] != (3,):
        return None
    if not (np.isfinite(places).all() and np.abs(cosines - cosines[0]).max() <= _PARALLEL):
        return None
    along: list[float] = (places @ np.cross(cosines[0, :3], cosines[0, 3:])).tolist()
    return along


def _header(path: Path) -> Any:
    import pydicom  # noqa: PLC0415 - takes time, and few need it

    try:
        with path.open("rb") as stream:
            if _DEFLATED in stream.read(1024):  # of which the header alone could fill the memory
                return None
        with silence():
            return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except Exception:  # a damaged file may raise anything
        return None


def display_window(image: Image) -> tuple[float, float] | None:
    """The values that a DICOM file wants shown as black and as white, in the image's units; ``None`` without any.

    The first window of the middle frame (PS3.3, section C.11.2.1.2). Of MONOCHROME1 without units the values were
    inverted, so that the window is not theirs.
    """
    header = image.source.header
    if header is None or (header.get("PhotometricInterpretation") == "MONOCHROME1" and not image.units):
        return None
    group = functional_group(header, image.frames // 2, "FrameVOILUTSequence")
    place = header if group is None else group
    try:
        centre, width = (float(np.ravel(place[key].value)[0]) for key in ("WindowCenter", "WindowWidth"))
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    if not (math.isfinite(centre) and math.isfinite(width) and width > 1):
        return None
    if str(place.get("VOILUTFunction", "LINEAR")) == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return centre - width / 2, centre + width / 2


def differing_places(image: Image, other: Image) -> list[tuple[str, str, str]]:
    """What of the place of an image in the patient differs from that of another: its name, and both values in words.

    Of what both say: the orientation, the pixel spacing, and the position where they share a frame of reference. Empty
    where one of them is no DICOM image.
    """
    headers = (image.source.header, other.source.header)
    if any(header is None for header in headers):
        return []
    found = []
    frames = {str(header.get("FrameOfReferenceUID", "")) for header in headers}
    places = [_place(each) for each in (image, other)]
    pitch = min(places[1].get("pixel spacing", (1.0,)))
    reaches = {"orientation": _PARALLEL, "pixel spacing": _ALIKE * pitch, "position": pitch / 2}
    for name, reach in reaches.items():
        first, second = (place.get(name) for place in places)
        if first is None or second is None or (name == "position" and len(frames) > 1):
            continue
        unit = "" if name == "orientation" else " mm"
        if max(abs(a - b) for a, b in zip(first, second, strict=True)) > reach:
            found.append((name, _in_words(first, unit), _in_words(second, unit)))
    return found


def _place(image: Image) -> dict[str, tuple[float, ...]]:
    """The orientation, the spacing and the position of the first frame, of those that are stated."""
    found, header = {}, image.source.header
    for name, sequence, keyword, count in (
        ("orientation", "PlaneOrientationSequence", "ImageOrientationPatient", 6),
        ("position", "PlanePositionSequence", "ImagePositionPatient", 3),
        ("pixel spacing", "PixelMeasuresSequence", "PixelSpacing", 2),
    ):
        group = functional_group(header, 0, sequence)
        try:
            values = tuple(float(value) for value in (header if group is None else group)[keyword].value)
        except (KeyError, TypeError, ValueError):
            continue
        if len(values) == count and all(map(math.isfinite, values)):
            found[name] = values
    return found


def _in_words(values: tuple[float, ...], unit: str) -> str:
    return f"({', '.join(f'{value:g}' for value in values)}){unit}"
