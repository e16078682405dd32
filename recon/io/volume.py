"""A volume of one file or of many: the frames in the order in which they lie, upwards.

Upwards is along z of :class:`recon.io.Slices`. In DICOM that is against the normal of the slices, which is the
cross product of the direction of their rows and that of their columns (PS3.3, C.7.6.2.1.1): x of a scan runs along the
rows and y against the columns, and both systems are right-handed. Files without a place keep the order in which they
are given.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import ConsistencyError, OutputError
from recon.io.decoded import MAX_PIXELS, RefusedError
from recon.io.dicom.affine import patient_affine
from recon.io.dicom.frames import functional_group
from recon.io.files import read
from recon.io.formats.nifti import NiftiStack, new_stack
from recon.io.image import Array, Image, Slices

_UNEVEN = 0.01
"""Of the distance of two slices, how far another distance may be from it."""

_TILTED = 1e-3
"""How far a slice's direction may be from another's."""

_SHIFTED = 0.1
"""Pixels between a slice's place and one straight above the first."""


def read_volume(paths: Sequence[Path], max_pixels: int = MAX_PIXELS) -> Image:
    """The frames of all files as one image of (slices, 1, height, width), with their distance where DICOM says it.

    Args:
        paths: One file, or the files of one series.
        max_pixels: How many values the volume may have.

    Raises:
        InputError: A file cannot be read.
        ConsistencyError: The files are no volume: of several series, of several sizes, or unevenly spaced.
    """
    images, room = [], max_pixels
    for path in paths:
        images.append(read(path, max_pixels=max(room, 1)))
        room -= images[-1].pixels.size
    for number, image in enumerate(images[1:], 2):
        _require_same(images[0], image, number)
    if images[0].channels != 1:
        raise ConsistencyError(
            f"{paths[0].parent}: the images have {images[0].channels} channels; expected one, because an attenuation "
            "has no colours."
        )
    heights = _heights(images)
    order = np.arange(sum(image.frames for image in images)) if heights is None else np.argsort(heights, kind="stable")
    pitch = None if heights is None else _pitch(heights[order])
    pixels = np.concatenate([image.pixels for image in images])[order]
    return replace(
        images[0],
        pixels=pixels,
        padding=_padding(images, order),
        alpha=None,
        notes=tuple(dict.fromkeys(note for image in images for note in image.notes)),
        source=replace(images[0].source, layout="FHW", header=None),
        slices=Slices(pitch),
    )


def nifti_header_of(slices: Sequence[Image], image: Image) -> NiftiStack:
    """The header of a NIfTI file of parallel DICOM slices at one distance.

    Args:
        slices: With the headers that say where they are, in their order.
        image: All of them: the values that are written.

    Raises:
        OutputError: They do not say where they are, or NIfTI cannot be written.
    """
    first, last = _place(slices[0], 0), _place(slices[-1], 0)
    if first is None or last is None or image.spacing is None:
        raise OutputError(
            "The slices of the series do not say where they are; expected TIFF or NPY, because a NIfTI file states "
            "where its voxels lie."
        )
    affine = patient_affine(first[1], first[0], last[0], image.spacing, len(slices))
    try:
        return new_stack(affine, image.frames, (image.height, image.width), _stored_type(image), image.grid)
    except RefusedError as refusal:
        raise OutputError(f"The volume cannot be written as NIfTI: {refusal}") from None


def _stored_type(image: Image) -> str:
    """The smallest type that holds the stored integers of an image, or its own floating-point type."""
    grid = image.grid
    if grid is None:
        return str(image.pixels.dtype)
    return next(
        name for name in ("uint8", "int16", "uint16", "int32", "float64")
        if name == "float64" or (np.iinfo(name).min <= grid.low and grid.high <= np.iinfo(name).max)
    )  # fmt: skip


def _require_same(first: Image, image: Image, number: int) -> None:
    size, found = (first.channels, first.height, first.width), (image.channels, image.height, image.width)
    if found != size:
        raise ConsistencyError(
            f"file {number} of the volume has {found[1]} x {found[2]} pixels of {found[0]} channel(s) and the first "
            f"{size[1]} x {size[2]} of {size[0]}; expected the same, because they are slices of one volume."
        )
    if image.units != first.units or not _near(image.spacing, first.spacing):
        raise ConsistencyError(
            f"file {number} of the volume is in {image.units or 'no units'} with pixels of {image.spacing} mm, and the "
            f"first in {first.units or 'no units'} with {first.spacing} mm; expected the same in all slices."
        )
    series = [_text(each.source.header, "SeriesInstanceUID") for each in (first, image)]
    if series[0] != series[1]:
        raise ConsistencyError(
            f"file {number} of the volume is of another series than the first; expected a folder with one, because "
            "slices of several do not make one volume."
        )


def _near(found: tuple[float, float] | None, first: tuple[float, float] | None) -> bool:
    if found is None or first is None:
        return found == first
    return all(math.isclose(a, b, rel_tol=_TILTED) for a, b in zip(found, first, strict=True))


def _text(header: Any, keyword: str) -> str:
    return "" if header is None else str(header.get(keyword, ""))


def _heights(images: Sequence[Image]) -> Array | None:
    """The z of each frame in mm, up to a constant; ``None`` where some do not say."""
    places = [_place(image, frame) for image in images for frame in range(image.frames)]
    known = [place for place in places if place is not None]
    if len(known) < len(places):
        return None
    first, along = known[0]
    up = -np.cross(along[0], along[1])
    side = min(images[0].spacing or (1.0, 1.0))
    for number, (place, directions) in enumerate(known, 1):
        aside = place - first - ((place - first) @ up) * up
        if np.abs(directions - along).max() > _TILTED or np.abs(aside).max() > _SHIFTED * side:
            raise ConsistencyError(
                f"slice {number} of the volume is tilted or shifted against the first; expected slices straight above "
                "each other, because the volume has upright sides."
            )
    heights: Array = np.array([(place - first) @ up for place, _ in known])
    return heights


def _place(image: Image, frame: int) -> tuple[Array, Array] | None:
    """The position (3,) and the directions of rows and columns (2, 3) of a frame."""
    header = image.source.header
    if header is None:
        return None
    found = []
    for group, keyword, count in (
        ("PlanePositionSequence", "ImagePositionPatient", 3),
        ("PlaneOrientationSequence", "ImageOrientationPatient", 6),
    ):
        item = functional_group(header, frame, group)
        numbers = (header if item is None and image.frames == 1 else item or {}).get(keyword)
        if numbers is None or isinstance(numbers, str) or len(numbers) != count:
            return None
        found.append(np.array([float(number) for number in numbers]))
    position, directions = found[0], found[1].reshape(2, 3)
    if not np.isfinite(np.concatenate(found)).all() or np.abs(directions @ directions.T - np.eye(2)).max() > 0.01:
        return None
    return position, directions


def _pitch(heights: Array) -> float | None:
    """The distance of the slices."""
    if len(heights) < 2:
        return None
    gaps = np.diff(heights)
    pitch = float(np.median(gaps))
    worst = int(np.abs(gaps - pitch).argmax())
    if not pitch > 0 or abs(gaps[worst] - pitch) > _UNEVEN * pitch:
        raise ConsistencyError(
            f"slices {worst + 1} and {worst + 2} of the volume, from below, are {gaps[worst]:.4g} mm apart and most "
            f"{pitch:.4g}; expected the same distance, because the slices of a volume are evenly spaced: is one "
            "missing, or there twice?"
        )
    return pitch


def _padding(images: Sequence[Image], order: Array) -> Array | None:
    if all(image.padding is None for image in images):
        return None
    parts = [np.zeros(image.pixels.shape, np.bool_) if image.padding is None else image.padding for image in images]
    padding: Array = np.concatenate(parts)[order]
    return padding
