"""A map of floating-point numbers that belongs to a DICOM image, such as its standard deviation, as a Parametric Map.

The object is that of DICOM PS3.3, section A.75, with the numbers themselves in its pixels (Float Pixel Data, C.7.6.24):
a classic CT or MR image would hold them as integers, under the name of a quantity that they are not.
"""

import datetime
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from recon._version import __version__
from recon.io.decoded import RefusedError
from recon.io.dicom.deidentify import deidentified
from recon.io.dicom.derivation import Derivation
from recon.io.dicom.frames import single_frame
from recon.io.dicom.writer import LABEL, encode, new_series_uid, processing_equipment
from recon.io.image import Image

_CLASS = "1.2.840.10008.5.1.4.1.1.30"
_UCUM = {"HU": ("[hnsf'U]", "Hounsfield unit"), "": ("1", "no units")}
_GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_KEPT = (  # of the patient, the study and the frame of reference
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyDescription", "PatientName", "PatientID", "IssuerOfPatientID",
    "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved",
    "DeidentificationMethod", "DeidentificationMethodCodeSequence", "StudyInstanceUID", "StudyID",
    "FrameOfReferenceUID", "PositionReferenceIndicator",
)  # fmt: skip
_EMPTY = (  # of these, what a source leaves out is stated as unknown
    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientName", "PatientID",
    "PatientBirthDate", "PatientSex", "StudyID", "PositionReferenceIndicator", "Laterality",
)  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """What a map is of.

    Attributes:
        label: In at most 16 letters of the code strings of DICOM, such as ``STD``.
        explanation: In words.
        code: Value, scheme and meaning of a concept; ``None`` where there is none.
    """

    label: str
    explanation: str
    code: tuple[str, str, str] | None = None


STANDARD_DEVIATION = Quantity("STD", "Standard deviation of each pixel", ("386136009", "SCT", "Standard Deviation"))
MEAN = Quantity("MEAN", "Mean of each pixel", ("373098007", "SCT", "Mean"))
LOW = Quantity("LOW", "Lower end of the interval of each pixel")
HIGH = Quantity("HIGH", "Upper end of the interval of each pixel")
WORST_CHANGE = Quantity("WORST", "Largest change by the weakest group")


def parametric_map(
    image: Image, quantity: Quantity, derivation: Derivation | None = None, series_uid: str | None = None
) -> bytes:
    """A DICOM file with all frames of a map of one channel, of the same patient, study and place as its source.

    Args:
        image: Floating-point pixels in units, and the header that they belong to.
        quantity: What they are.
        derivation: What tells the run apart from others; without it the UIDs are random.
        series_uid: The SeriesInstanceUID, to put the maps of several files into one series.

    Raises:
        RefusedError: The source is no DICOM image with a place in the patient, or of another size, or has colours; or
            a pixel is not finite.
    """
    header = image.source.header
    if image.source.format != "dicom" or header is None:
        raise RefusedError("a map of an input that is no DICOM has no patient and no place; expected TIFF or NPY.")
    if derivation is not None and derivation.secret is not None:
        header = deidentified(header, derivation.secret)
    pixels = np.ascontiguousarray(image.pixels)
    frames, expected = int(header.get("NumberOfFrames") or 1), (int(header.Rows), int(header.Columns))
    if pixels.shape[1] != 1 or np.iscomplexobj(pixels) or not np.isfinite(pixels).all():
        raise RefusedError("a parametric map holds one finite number a pixel; expected TIFF or NPY.")
    if (image.height, image.width) != expected or image.frames != frames:
        raise RefusedError(
            f"the map has {image.frames} frames of {image.height} x {image.width}, its DICOM source {frames} of "
            f"{expected[0]} x {expected[1]}, so its positions would be wrong; expected TIFF or NPY."
        )
    singles = [single_frame(header, frame, frames) for frame in range(frames)]
    if not all(each.get(keyword) for each in singles for keyword in _GEOMETRY):
        raise RefusedError("its DICOM source does not say where in the patient it lies; expected TIFF or NPY.")
    try:
        return encode(_dataset(image, singles, quantity, header, derivation, series_uid))
    except RefusedError:
        raise
    except Exception as error:  # a header that could be read, but breaks a rule when it is written
        raise RefusedError("its DICOM header cannot be written again.") from error


def _dataset(  # noqa: PLR0913, PLR0917  what a file is made of
    image: Image, singles: list[Any], quantity: Quantity, header: Any, derivation: Derivation | None,
    series_uid: str | None,
) -> Any:  # fmt: skip
    import copy  # noqa: PLC0415

    dataset = _item()
    for keyword in _KEPT:
        if keyword in header:
            dataset[keyword] = copy.deepcopy(header[keyword])
    if not re.fullmatch(r"\d{3}[DWMY]", str(dataset.get("PatientAge", "000Y"))):
        del dataset.PatientAge  # a wrong one is worse than none, and none is asked for
    for keyword in _EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, None)
    _identify(dataset, header, quantity, derivation, series_uid)
    _describe(dataset, image, quantity, header)
    _place(dataset, image, singles, quantity, header)
    values = np.asarray(image.pixels[:, 0], "<f4")
    dataset.FloatPixelData = values.tobytes()
    dataset["FloatPixelData"].VR = "OF"
    return dataset


def _identify(
    dataset: Any, header: Any, quantity: Quantity, derivation: Derivation | None, series_uid: str | None
) -> None:
    now = datetime.datetime.now().astimezone()
    begun = now if derivation is None or derivation.made is None else derivation.made
    day, time = begun.strftime("%Y%m%d"), begun.strftime("%H%M%S")
    study, series = (str(header.get(key) or "") for key in ("StudyInstanceUID", "SeriesInstanceUID"))
    instance = str(header.SOPInstanceUID)
    if derivation is None:
        own, sop = new_series_uid(), new_series_uid()
    else:
        own = derivation.series_uid(study, f"{series or instance} {quantity.label}")
        sop = derivation.instance_uid(f"{instance} {quantity.label}", 0)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.SeriesInstanceUID = _CLASS, sop, series_uid or own
    dataset.InstanceCreationDate = dataset.SeriesDate = dataset.ContentDate = day
    dataset.InstanceCreationTime = dataset.SeriesTime = dataset.ContentTime = time
    dataset.Modality = str(header.get("Modality") or "OT")
    number = header.get("SeriesNumber")
    known = int(number) if number is not None and 0 <= int(number) < 10**5 else 0
    dataset.SeriesNumber = known * 1000 + sum(quantity.label.encode()) % 999 + 1
    dataset.InstanceNumber = (
        (derivation.number if derivation is not None else None) or header.get("InstanceNumber") or 1
    )
    dataset.SeriesDescription = f"{quantity.explanation} ({LABEL})"[:64]
    dataset.Manufacturer = dataset.ManufacturerModelName = "recon"
    dataset.DeviceSerialNumber = dataset.SoftwareVersions = __version__
    dataset.ContributingEquipmentSequence = [processing_equipment()]


def _describe(dataset: Any, image: Image, quantity: Quantity, header: Any) -> None:
    dataset.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
    dataset.ContentLabel, dataset.ContentDescription = quantity.label, f"{quantity.explanation}: {LABEL}"[:64]
    dataset.ContentCreatorName, dataset.ContentQualification = None, "RESEARCH"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.BitsAllocated = 1, "MONOCHROME2", 32
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = image.height, image.width, image.frames
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.BurnedInAnnotation, dataset.RecognizableVisualFeatures = "NO", "NO"
    dataset.LossyImageCompression = str(header.get("LossyImageCompression") or "00")
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if dataset.LossyImageCompression == "01" and keyword in header:
            setattr(dataset, keyword, header.get(keyword))
    dataset.AcquisitionContextSequence = []


def _place(dataset: Any, image: Image, singles: list[Any], quantity: Quantity, header: Any) -> None:
    """Positions, units and the source of each frame."""
    from pydicom.tag import Tag  # noqa: PLC0415
    from pydicom.uid import generate_uid  # noqa: PLC0415

    organization = generate_uid(entropy_srcs=[str(dataset.SOPInstanceUID), "dimensions"])
    dataset.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization)]
    pointer = _item(
        DimensionOrganizationUID=organization, DimensionIndexPointer=Tag("ImagePositionPatient"),
        FunctionalGroupPointer=Tag("PlanePositionSequence"), DimensionDescriptionLabel="Position",
    )  # fmt: skip
    dataset.DimensionIndexSequence = [pointer]
    first = singles[0]
    spacing = _decimals(first.PixelSpacing)
    thickness = float(first.get("SliceThickness") or min(map(float, spacing)))
    measures = _item(PixelSpacing=spacing, SliceThickness=_decimals([thickness])[0])
    low, high = float(image.pixels.min()), float(image.pixels.max())
    middle, width = (low + high) / 2, max(high - low, 1e-6)
    shared = _item(
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[_item(ImageOrientationPatient=_decimals(first.ImageOrientationPatient))],
        PixelValueTransformationSequence=[_item(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")],
        FrameVOILUTSequence=[_item(WindowCenter=_decimals([middle])[0], WindowWidth=_decimals([width])[0])],
        ParametricMapFrameTypeSequence=[_item(FrameType=list(dataset.ImageType))],
        RealWorldValueMappingSequence=[_mapping(image, quantity, low, high)],
    )
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [
        _item(
            FrameContentSequence=[_item(DimensionIndexValues=[frame + 1], FrameAcquisitionNumber=frame + 1)],
            PlanePositionSequence=[_item(ImagePositionPatient=_decimals(single.ImagePositionPatient))],
            DerivationImageSequence=[_derivation(header, quantity, frame if image.frames > 1 else None)],
        )
        for frame, single in enumerate(singles)
    ]
    reference = _item(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)
    if header.get("SeriesInstanceUID"):
        dataset.ReferencedSeriesSequence = [
            _item(SeriesInstanceUID=header.SeriesInstanceUID, ReferencedInstanceSequence=[reference])
        ]


def _mapping(image: Image, quantity: Quantity, low: float, high: float) -> Any:
    """The numbers are what they say: slope 1, in their unit."""
    value, meaning = _UCUM.get(image.units, _UCUM[""])
    mapping = _item(
        LUTExplanation=quantity.explanation, LUTLabel=quantity.label,
        DoubleFloatRealWorldValueFirstValueMapped=low, DoubleFloatRealWorldValueLastValueMapped=high,
        RealWorldValueIntercept=0.0, RealWorldValueSlope=1.0,
        MeasurementUnitsCodeSequence=[_coded(value, "UCUM", meaning)],
    )  # fmt: skip
    if quantity.code is not None:
        mapping.QuantityDefinitionSequence = [
            _item(
                ValueType="CODE", ConceptNameCodeSequence=[_coded("246205007", "SCT", "Quantity")],
                ConceptCodeSequence=[_coded(*quantity.code)],
            )
        ]  # fmt: skip
    return mapping


def _derivation(header: Any, quantity: Quantity, frame: int | None) -> Any:
    source = _item(
        ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID,
        PurposeOfReferenceCodeSequence=[_coded("121322", "DCM", "Source image for image processing operation")],
    )  # fmt: skip
    if frame is not None:
        source.ReferencedFrameNumber = frame + 1
    return _item(
        DerivationDescription=f"Computed by recon {__version__}: {LABEL}", SourceImageSequence=[source],
        DerivationCodeSequence=[_coded(*(quantity.code or (quantity.label, "99RECON", quantity.explanation)))],
    )  # fmt: skip


def _decimals(numbers: Any) -> list[Any]:
    """Numbers as the decimal strings of DICOM, of at most 16 letters, whatever the source had."""
    from pydicom.valuerep import DSfloat  # noqa: PLC0415

    return [DSfloat(float(number), auto_format=True) for number in numbers]


def _coded(value: str, scheme: str, meaning: str) -> Any:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _item(**attributes: Any) -> Any:
    from pydicom.dataset import Dataset  # noqa: PLC0415

    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item
