"""Header of a DICOM file: its series, its place and its kind; pixels are not read."""

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from recon.io.content import damage, silence
from recon.io.decoded import RefusedError
from recon.io.dicom.frames import functional_group
from recon.io.dicom.reader import bound_inflation, units_of

_DIRECTORY = "1.2.840.10008.1.3.10"
_REPEATS = (
    "EchoTime",
    "EchoNumbers",
    "InversionTime",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "AcquisitionNumber",
    "ReconstructionDiameter",
    "ConvolutionKernel",
    "ImageType",
    "FrameReferenceTime",
    "AcquisitionTime",
)
"""What tells images at one place apart: echoes, phases, diffusion weights, acquisitions."""

_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "InstanceNumber",
    "Modality",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "NumberOfFrames",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "Units",
    "BitsAllocated",
    "ContributingEquipmentSequence",
    "Manufacturer",
    "ManufacturerModelName",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    *_REPEATS,
]


@dataclass(frozen=True)
class Header:
    """One DICOM file, as its header describes it. Nothing in it names a patient.

    Attributes:
        kind: The SOPClassUID.
        kind_name: Its name in the standard, or ``"object of no known kind"``.
        instance: The SOPInstanceUID; empty where there is none.
        study: The StudyInstanceUID.
        series: The SeriesInstanceUID.
        series_number: The SeriesNumber.
        number: The InstanceNumber.
        modality: Such as ``"CT"``.
        image_type: The values of ImageType.
        size: (rows, columns); (0, 0) of what is no image.
        channels: Samples a pixel.
        frames: How many the file holds.
        bits: Allocated for a sample.
        spacing: The distance of rows and of columns in mm.
        orientation: The direction cosines of rows and columns.
        position: Of the first pixel of the first frame, in mm.
        units: As :class:`recon.io.Image` has them.
        repeat: What tells images at one place apart.
        own: Whether recon made it.
    """

    kind: str
    kind_name: str
    instance: str
    study: str
    series: str
    series_number: int | None
    number: int | None
    modality: str
    image_type: tuple[str, ...]
    size: tuple[int, int]
    channels: int
    frames: int
    bits: int
    spacing: tuple[float, float] | None
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    units: str
    repeat: tuple[str, ...]
    own: bool

    @property
    def is_directory(self) -> bool:
        """Whether it is a DICOMDIR."""
        return self.kind == _DIRECTORY

    @property
    def is_image(self) -> bool:
        """Whether it says that it has pixels."""
        return min(self.size) > 0 and not self.is_directory


def read_header(data: bytes) -> Header:
    """The header of a DICOM file.

    Args:
        data: The content of the file.

    Raises:
        RefusedError: It is damaged.
    """
    with silence(), damage("dicom"):
        dataset = header_set(data, _TAGS)
        if len(dataset) == 0 and dataset.file_meta.get("MediaStorageSOPClassUID") is None:
            raise RefusedError("the DICOM file is cut off or damaged within its header; expected a whole file.")
        return _header(dataset)


def header_set(data: bytes, tags: list[str] | None = None) -> Any:
    """The data set of a DICOM file up to its pixels."""
    import pydicom  # noqa: PLC0415 - takes time, and few need it

    bound_inflation(data)
    with_preamble = data[128:132] == b"DICM"
    return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=tags, force=not with_preamble)


def _header(dataset: Any) -> Header:
    from pydicom.uid import UID_dictionary  # noqa: PLC0415

    kind = _text(dataset, "SOPClassUID") or str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    measures = functional_group(dataset, 0, "PixelMeasuresSequence") or dataset
    plane = functional_group(dataset, 0, "PlaneOrientationSequence") or dataset
    place = functional_group(dataset, 0, "PlanePositionSequence") or dataset
    rescale = functional_group(dataset, 0, "PixelValueTransformationSequence") or dataset
    return Header(
        kind=kind,
        # only a name out of the dictionary: in a damaged file this may be any part of it
        kind_name=UID_dictionary[kind][0] if kind in UID_dictionary else "object of no known kind",
        instance=_text(dataset, "SOPInstanceUID"),
        study=_text(dataset, "StudyInstanceUID"),
        series=_text(dataset, "SeriesInstanceUID"),
        series_number=_integer(dataset, "SeriesNumber"),
        number=_integer(dataset, "InstanceNumber"),
        modality=_plain(_text(dataset, "Modality")),
        image_type=tuple(str(value).upper() for value in np.atleast_1d(dataset.get("ImageType") or [])),
        size=(_integer(dataset, "Rows") or 0, _integer(dataset, "Columns") or 0),
        channels=_integer(dataset, "SamplesPerPixel") or 1,
        frames=_integer(dataset, "NumberOfFrames") or 1,
        bits=_integer(dataset, "BitsAllocated") or 0,
        spacing=_pair(_numbers(measures, "PixelSpacing", 2) or _numbers(measures, "ImagerPixelSpacing", 2)),
        orientation=_numbers(plane, "ImageOrientationPatient", 6),
        position=_numbers(place, "ImagePositionPatient", 3),
        units=units_of(dataset, rescale, "RescaleSlope" in rescale),
        repeat=tuple(_repeated(dataset, keyword) for keyword in _REPEATS),
        own=_is_own(dataset),
    )


def _is_own(dataset: Any) -> bool:
    """Return whether recon derived it from an image, or reconstructed it from projections."""
    equipment = [dataset, *(dataset.get("ContributingEquipmentSequence") or [])]
    return any(_text(item, "Manufacturer") == _text(item, "ManufacturerModelName") == "recon" for item in equipment)


def _repeated(dataset: Any, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value)


def _text(dataset: Any, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()


def _plain(text: str) -> str:
    """A code as the standard spells it; of a damaged file, nothing."""
    return text if text.isascii() and text.isalnum() and len(text) <= 16 else ""


def _integer(dataset: Any, keyword: str) -> int | None:
    value = dataset.get(keyword)
    try:
        return None if value is None or value == "" else int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _numbers(dataset: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    value = dataset.get(keyword)
    try:
        numbers = tuple(float(number) for number in value or ())
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _pair(numbers: tuple[float, ...] | None) -> tuple[float, float] | None:
    return None if numbers is None or min(numbers) <= 0 else (numbers[0], numbers[1])
