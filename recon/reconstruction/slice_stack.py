"""The slices of a DICOM series as one image of frames, and as the image of one file."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recon import io
from recon.errors import ConsistencyError
from recon.io import Image, Slices, Source
from recon.io.files import suffix_of


def stacked(images: Sequence[Image], pitch: float | None, called: str) -> Image:
    """Slices as one image of frames, in the order in which they are given.

    Args:
        images: Of one frame and one channel each.
        pitch: The distance of two slices in mm; ``None`` where it is not known.
        called: The series in a sentence.

    Raises:
        ConsistencyError: They differ in size or units.
    """
    first = images[0]
    for number, image in enumerate(images, 1):
        if (image.height, image.width, image.units) != (first.height, first.width, first.units):
            raise ConsistencyError(
                f"{called}: slice {number} has {image.height} x {image.width} pixels in "
                f"{image.units or 'no units'}, the first {first.height} x {first.width} in "
                f"{first.units or 'no units'}; expected the same, because they are slices of one volume."
            )
    padding = None
    if any(image.padding is not None for image in images):
        none = functools.partial(np.zeros, first.pixels.shape, np.bool_)
        padding = np.concatenate([none() if image.padding is None else image.padding for image in images])
    ranges = {(image.value_range.low, image.value_range.high) for image in images}
    value_range = first.value_range
    if len(ranges) > 1:
        value_range = io.ValueRange(min(low for low, _ in ranges), max(high for _, high in ranges), first.units)
    return replace(
        first,
        pixels=np.concatenate([image.pixels for image in images]),
        padding=padding,
        value_range=value_range,
        grid=first.grid if all(image.grid == first.grid for image in images) else None,
        alpha=None,
        notes=(),
        slices=None if pitch is None else Slices(pitch),
    )


def as_one_file(images: Sequence[Image], pitch: float | None, called: str, output: Path) -> Image:
    """Slices of a series as the image of one file, in the format that ``output`` names.

    Voxels keep the integers of the DICOM files with their scaling where all slices have the same; else they become
    floating-point numbers. A NIfTI file gets the orientation of the series.

    Raises:
        ConsistencyError: They differ in size or units.
        OutputError: The result is NIfTI, and the slices do not say where they are.
    """
    image = stacked(images, pitch, called)
    if image.grid is None:
        image = replace(image, pixels=image.pixels.astype(np.float32))
    nifti = suffix_of(output) in (".nii", ".nii.gz")
    stack = io.nifti_header_of(images, image) if nifti else None
    header = images[len(images) // 2].source.header  # whose window is shown
    dtype = str(image.pixels.dtype)
    return replace(image, source=Source("memory", "FHW", dtype, header=header, stack=stack))
