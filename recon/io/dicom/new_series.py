"""CT slices that come from projections, as DICOM files that are derived from no other.

The class is CT Image Storage, with what its modules ask for (PS3.3, table A.3-1); the types are those of the standard:
what is of type 2 and unknown, as all that concerns the patient, is there and empty.

ImageType is ORIGINAL\\SECONDARY\\AXIAL. ORIGINAL are pixels "based on original or source data", DERIVED those made from
the pixels of other images (C.7.6.1.1.2), and for CT frames "directly reconstructed from projection data" are original
(C.8.16.1.1), by whatever algorithm; hence no DerivationDescription either: ImageComments and SeriesDescription say who
made the image, and that it is not for diagnosis. PRIMARY would be "a direct result of the patient examination":
of a program that took no part in it, all that can be said is SECONDARY, "created after" it. AXIAL is any
cross-section (C.8.2.1.1.1).

How a patient lay is unknown, so PatientPosition is empty; but a CT image has to say where it is in the patient's
coordinates, which are right-handed (C.7.6.2.1.1). As if the patient lay head first and supine, these are
``(x, -y, -z)`` of the scan (see :class:`recon.io.Slices`): columns run along x, rows downwards along -y, and the
scan is given a half turn about x. With ``(x, -y, z)`` instead, what is stored would be the mirror image of what was
scanned. Slices are numbered in the order of the frames, along +z of the scan.
"""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recon._version import __version__
from recon.io.decoded import RefusedError
from recon.io.dicom.writer import encode, processing_equipment, set_pixels
from recon.io.image import Grid, Image, Slices

DESCRIPTION = "Reconstructed by recon, not for diagnosis"
STORED = Grid(-(2**15), 2**15 - 1, (1.0,), (-1024.0,))
"""Whole HU in signed 16 bits; from -1024 HU they are not negative, and so the same to who takes them as unsigned."""

SOFT_TISSUE = (-160.0, 239.0)
"""In HU, what the first window shows: centre 40, width 400."""

_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_MOST_ROWS = 2**16 - 1
_MOST_BYTES = 2**32 - 2


def ct_slices(image: Image) -> Iterator[tuple[bytes, int]]:
    """A DICOM file a frame (Explicit VR Little Endian, uncompressed), each with how many values had to be clipped.

    All are in one new study. Where the distance of the frames is known, they are one series; where it is not, how they
    lie to each other is not known either, and each is a series with a frame of reference of its own.

    Args:
        image: What was reconstructed from projections: grey, in HU, with its spacing.
    """
    refuse_other_units(image)
    _refuse_what_does_not_fit(image)
    return _files(image)


def notes(image: Image) -> tuple[str, ...]:
    """Return what a reader of the files must know."""
    place = "The patient's position is not known: directions are right for one who lay head first and supine."
    if image.frames == 1:
        return (place,)
    if _is_one_series(image):
        return (place, f"The {image.frames} slices are one series, a file each.")
    return (place, f"The distance of the {image.frames} slices is not known: each is a series of its own.")


def refuse_other_units(image: Image) -> None:
    """Say no to an image that is not in HU."""
    if image.units != "HU":
        raise RefusedError(
            f"DICOM CT holds HU and this image has {image.units or 'no units'}; expected --water MU (the "
            "attenuation of water in 1/mm) with a ct operator, or PNG, TIFF or NPY."
        )


def _refuse_what_does_not_fit(image: Image) -> None:
    if image.pixels.dtype.kind == "c" or image.channels != 1:
        raise RefusedError(
            f"{image.channels} channels of {image.pixels.dtype} are no HU; expected one of real numbers."
        )
    if image.spacing is None or not all(0 < length < np.inf for length in image.spacing):
        raise RefusedError(
            f"the spacing of its pixels is {image.spacing}; expected two lengths in mm, because DICOM CT has to say it."
        )
    if max(image.height, image.width) > _MOST_ROWS or 2 * image.height * image.width > _MOST_BYTES:
        raise RefusedError(
            f"a slice has {image.height} x {image.width} pixels; expected at most {_MOST_ROWS} rows and columns and "
            f"{_MOST_BYTES} bytes, because DICOM counts no further."
        )
    bad = sum(frame.size - int(np.count_nonzero(np.isfinite(frame))) for frame in image.pixels)
    if bad:
        raise RefusedError(f"{bad} of its {image.pixels.size} values are NaN or infinite; expected finite HU.")


def _is_one_series(image: Image) -> bool:
    return image.frames == 1 or (image.slices is not None and image.slices.pitch is not None)


def _new_uid() -> str:
    from pydicom.uid import generate_uid  # noqa: PLC0415

    return str(generate_uid(prefix=None))  # random: it tells nothing of the machine


@dataclass(frozen=True)
class _Series:
    study: str
    made: datetime.datetime
    number: int = 1
    uid: str = field(default_factory=_new_uid)
    frame_of_reference: str = field(default_factory=_new_uid)


def _files(image: Image) -> Iterator[tuple[bytes, int]]:
    from pydicom.dataset import Dataset  # noqa: PLC0415

    series = _Series(_new_uid(), datetime.datetime.now().astimezone())
    for frame in range(image.frames):
        if frame and not _is_one_series(image):
            series = _Series(series.study, series.made, frame + 1)
        stored, clipped = STORED.stored(image.pixels[frame : frame + 1])
        dataset = Dataset()
        _identify(dataset, series)
        _describe(dataset, frame)
        _place(dataset, image, frame)
        _set_values(dataset, image)
        set_pixels(dataset, stored[0], STORED.low, STORED.high)
        yield encode(dataset), clipped


def _identify(dataset: Any, series: _Series) -> None:
    """Patient, study, series and frame of reference (PS3.3, C.7.1 to C.7.4), and the instance (C.12.1)."""
    day, time = series.made.strftime("%Y%m%d"), series.made.strftime("%H%M%S")
    dataset.SOPClassUID, dataset.SOPInstanceUID = _CT_IMAGE_STORAGE, _new_uid()
    dataset.PatientName = "Anonymous^"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = series.study, series.uid
    dataset.FrameOfReferenceUID = series.frame_of_reference
    dataset.Modality, dataset.SeriesNumber, dataset.SeriesDescription = "CT", series.number, DESCRIPTION
    # when the projections were taken is not known; this study begins with the reconstruction
    for part in ("Study", "Series", "Content", "InstanceCreation"):
        setattr(dataset, f"{part}Date", day)
        setattr(dataset, f"{part}Time", time)
    for unknown in (
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyID",
        "AccessionNumber",
        "ReferringPhysicianName",
        "Laterality",
        "PatientPosition",
        "PositionReferenceIndicator",
    ):
        setattr(dataset, unknown, "")


def _describe(dataset: Any, frame: int) -> None:
    """Return what made the image, and of what (PS3.3, C.7.5.1, C.7.6.1 and C.8.2.1)."""
    dataset.ImageType = ["ORIGINAL", "SECONDARY", "AXIAL"]
    dataset.Manufacturer, dataset.ManufacturerModelName, dataset.SoftwareVersions = "recon", "recon", __version__
    dataset.ContributingEquipmentSequence = [processing_equipment()]
    dataset.ImageComments = (
        f"Reconstructed by recon {__version__} from projections: not for diagnosis. The position of the patient is not "
        "known: the axes are those of the scan's geometry, turned to what is right for head first and supine."
    )
    dataset.InstanceNumber = frame + 1
    dataset.AcquisitionNumber, dataset.KVP = None, None
    dataset.BurnedInAnnotation = "NO"


def _place(dataset: Any, image: Image, frame: int) -> None:
    """Return where the slice is (PS3.3, C.7.6.2): see above for the axes."""
    slices, (rows, columns) = image.slices or Slices(), image.spacing or (0.0, 0.0)
    x, y, z = slices.centre
    x -= (image.width - 1) / 2 * columns
    y += (image.height - 1) / 2 * rows
    if slices.pitch is not None:
        z += (frame - (image.frames - 1) / 2) * slices.pitch
    dataset.PixelSpacing = _decimals(rows, columns)
    dataset.ImageOrientationPatient = _decimals(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    dataset.ImagePositionPatient = _decimals(x, 0.0 - y, 0.0 - z)
    dataset.SliceLocation = _decimals(0.0 - z)[0]
    dataset.SliceThickness = None if slices.pitch is None else _decimals(slices.pitch)[0]


def _set_values(dataset: Any, image: Image) -> None:
    """Return what the stored integers mean (PS3.3, C.7.6.3 and C.8.2.1), and two windows to see them in (C.11.2)."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = image.height, image.width
    dataset.RescaleSlope, dataset.RescaleIntercept = _decimals(*STORED.slope, *STORED.intercept)
    dataset.RescaleType = "HU"
    ends = np.array([SOFT_TISSUE, (image.value_range.low, image.value_range.high)])
    # black at the lower end and white at the upper one, as C.11.2.1.2.1 counts
    dataset.WindowCenter = _decimals(*ends.mean(1) + 0.5)
    dataset.WindowWidth = _decimals(*np.ptp(ends, axis=1) + 1)
    dataset.WindowCenterWidthExplanation = ["SOFT TISSUE", "RANGE OF THE RECONSTRUCTION"]


def _decimals(*numbers: float) -> list[Any]:
    """Numbers as the nearest decimal strings of 16 letters."""
    from pydicom.valuerep import DSfloat  # noqa: PLC0415

    return [DSfloat(float(number), auto_format=True) for number in numbers]
