"""A DICOM image derived from another: new identity, same patient, study and place, and honest about it.

The attributes are those of DICOM PS3.3, sections C.7.6.1 (derivation), C.7.5.1 and C.12.1 (equipment).
"""

import datetime
import io
import re
from typing import Any

import numpy as np

from recon._version import __version__
from recon.io.decoded import RefusedError
from recon.io.dicom.deidentify import deidentified
from recon.io.dicom.derivation import Derivation
from recon.io.dicom.frames import is_multi_frame, single_frame
from recon.io.image import Image

LABEL = "derived, not for diagnosis"
_STALE = [
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "SmallestImagePixelValueInPlane",
    "LargestImagePixelValueInPlane",
    "IconImageSequence",
    "ModalityLUTSequence",
    "PixelDataProviderURL",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "EncryptedAttributesSequence",
    "DataSetTrailingPadding",
]
_COLOURS = ("Red", "Green", "Blue")
_PALETTE = (
    *(f"{colour}PaletteColorLookupTable{part}" for colour in _COLOURS for part in ("Descriptor", "Data")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in _COLOURS),
    "PaletteColorLookupTableUID",
)
_LARGEST_NUMBER = 2 * 10**6
"""Of a source series, of which a thousand times is an integer of 32 bits."""

_RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"


def new_series_uid() -> str:
    """A SeriesInstanceUID for the images of one run, of the form 2.25.<random>."""
    from pydicom.uid import generate_uid  # noqa: PLC0415

    return str(generate_uid(prefix=None))


def derived(image: Image, series_uid: str | None = None, derivation: Derivation | None = None) -> list[bytes]:
    """A DICOM file a frame (Explicit VR Little Endian, uncompressed), all in one new series.

    Args:
        image: Pixels that :func:`recon.io.read` or ``with_tensor`` made from a DICOM file.
        series_uid: The SeriesInstanceUID, to put the images of several files into one series.
        derivation: What tells the run apart from others; without it the UIDs are random.
    """
    header, grid = image.source.header, image.grid
    if derivation is not None and derivation.secret is not None:
        header = deidentified(header, derivation.secret)
    if grid is None:
        raise RefusedError("its DICOM source holds floating point, which no classic image can; expected TIFF or NPY.")
    if str(header.get("SOPClassUID")) == _RT_DOSE:
        raise RefusedError("a dose grid is no image to derive one from; expected TIFF or NPY.")
    frames, expected = int(header.get("NumberOfFrames") or 1), (int(header.Rows), int(header.Columns))
    if (image.height, image.width) != expected or image.frames != frames:
        raise RefusedError(
            f"the result has {image.frames} frames of {image.height} x {image.width}, its DICOM source {frames} of "
            f"{expected[0]} x {expected[1]}, so its positions would be wrong; expected TIFF or NPY."
        )
    stored, _ = grid.stored(image.pixels)
    now = datetime.datetime.now().astimezone()
    own = None if derivation is None else derivation.series_uid(_text(header, "StudyInstanceUID"), _series_of(header))
    series = series_uid or own or new_series_uid()
    files = []
    try:
        for frame, pixels in enumerate(stored):
            dataset = single_frame(header, frame, frames)
            _clean(dataset)
            _correct_texts(dataset)
            set_pixels(dataset, pixels, grid.low, grid.high)
            _derive(dataset, header, frame if frames > 1 and is_multi_frame(header) else None, derivation)
            _identify(dataset, series, now, derivation)
            if derivation is not None:
                _tell_apart(dataset, header, frame, derivation)
            files.append(encode(dataset))
    except RefusedError:
        raise
    except Exception as error:  # a header that could be read, but breaks a rule when it is written
        raise RefusedError("its DICOM header cannot be written again.") from error
    return files


def notes(image: Image) -> tuple[str, ...]:
    """Return what a reader of the files must know."""
    if image.frames == 1:
        return ()
    found = [f"The {image.frames} frames are a classic series, one file each."]
    if "ConversionType" in single_frame(image.source.header, 0, image.frames):
        found.append("Frames without a position in the patient are secondary captures.")
    return tuple(found)


def _clean(dataset: Any) -> None:
    """Remove what the new pixels make wrong, and what cannot be vouched for."""
    dataset.remove_private_tags()
    for keyword in _STALE:
        if keyword in dataset:
            del dataset[keyword]
    for tag in [tag for tag in dataset.keys() if tag.element == 0 or tag.group & 0xFF00 in (0x5000, 0x6000)]:  # noqa: SIM118 - iterating gives elements
        del dataset[tag]


def _correct_texts(dataset: Any) -> None:
    """Texts that a source labelled with another kind of text than the dictionary's, labelled anew."""
    from pydicom.datadict import dictionary_has_tag, dictionary_VR  # noqa: PLC0415

    for element in dataset:
        expected = dictionary_VR(element.tag) if dictionary_has_tag(element.tag) else element.VR
        fits = expected != "CS" or re.fullmatch("[A-Z0-9_ ]{0,16}", str(element.value))
        if {element.VR, expected} <= {"CS", "SH", "LO", "ST", "LT", "UT"} and fits:
            element.VR = expected


def set_pixels(dataset: Any, pixels: Any, low: int, high: int) -> None:
    """Put in stored integers within ``low..high``, shape (channels, rows, columns), and what says how they lie."""
    bits = (high - low).bit_length()
    allocated = 8 if bits <= 8 else 16 if bits <= 16 else 32
    # a file of 8 bits in 16 stays so: its class may ask for it
    allocated = (
        max(allocated, int(dataset.get("BitsAllocated", 8))) if allocated < 32 and pixels.shape[0] == 1 else allocated
    )
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = int(low < 0)
    if pixels.shape[0] == 3:
        dataset.PhotometricInterpretation, dataset.SamplesPerPixel, dataset.PlanarConfiguration = "RGB", 3, 0
        for keyword in _PALETTE:
            if keyword in dataset:
                del dataset[keyword]
    kind = f"<{'i' if low < 0 else 'u'}{allocated // 8}"
    packed = np.ascontiguousarray(pixels.transpose(1, 2, 0)).astype(kind).tobytes()
    dataset.PixelData = packed + b"\0" * (len(packed) % 2)
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"


def _derive(dataset: Any, header: Any, frame: int | None, derivation: Derivation | None) -> None:
    """Say what the image is made of, and by what."""
    from pydicom.dataset import Dataset  # noqa: PLC0415

    kept = [str(value) for value in _listed(header.get("ImageType"))[2:]]
    if "ConversionType" in dataset and "ConversionType" not in header:
        kept = []
    elif str(dataset.SOPClassUID) != str(header.SOPClassUID):
        kept = {"CT": ["AXIAL"], "MR": ["OTHER"]}.get(str(dataset.get("Modality")), kept[:1])
    # PET alone asks for PRIMARY, whatever the image is derived from (PS3.3, C.8.9.4.1.3)
    dataset.ImageType = ["DERIVED", "PRIMARY" if dataset.get("Modality") == "PT" else "SECONDARY", *kept]
    said = str(header.get("DerivationDescription") or "")
    done = "" if derivation is None else f"{derivation.parameters}, configuration {derivation.short}"[:600]
    room = 900 - len(done)
    dataset.DerivationDescription = "; ".join(
        filter(None, [said[:room], f"Reconstructed by recon {__version__}: {LABEL}", done])
    )
    if derivation is not None and derivation.code is not None:
        dataset.DerivationCodeSequence = [*(header.get("DerivationCodeSequence") or []), _code(*derivation.code)]
    source = Dataset()
    source.ReferencedSOPClassUID = header.SOPClassUID
    source.ReferencedSOPInstanceUID = header.SOPInstanceUID
    if frame is not None:
        source.ReferencedFrameNumber = frame + 1
    source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = [_code("121322", "Source image for image processing operation")]
    dataset.SourceImageSequence = [source]
    contributed = dataset.get("ContributingEquipmentSequence") or []
    dataset.ContributingEquipmentSequence = [*contributed, processing_equipment()]


def processing_equipment() -> Any:
    """An item of the ContributingEquipmentSequence that names this version of recon."""
    from pydicom.dataset import Dataset  # noqa: PLC0415

    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [_code("109102", "Processing Equipment")]
    equipment.Manufacturer = "recon"
    equipment.ManufacturerModelName = "recon"
    equipment.SoftwareVersions = __version__
    equipment.ContributionDescription = "Image reconstruction"
    return equipment


def _identify(dataset: Any, series: str, now: datetime.datetime, derivation: Derivation | None) -> None:
    """A new instance in a new series of the same study, patient and frame of reference."""
    from pydicom.uid import generate_uid  # noqa: PLC0415

    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = generate_uid(prefix=None), series
    described = str(dataset.get("SeriesDescription") or "").strip()
    brief = "" if derivation is None else f"{derivation.brief[:20]} {derivation.configuration[:4]}".strip()
    told = f"({brief}; {LABEL})" if brief else f"({LABEL})" if described else LABEL
    dataset.SeriesDescription = f"{described[: 63 - len(told)]} {told}".strip()
    number = dataset.get("SeriesNumber")
    if number is not None and 0 <= int(number) < 10**8:
        dataset.SeriesNumber = int(number) + 1000
    # one time for the series: a slice that is made again, under the same UID, is the same file to the byte
    begun = now if derivation is None or derivation.made is None else derivation.made
    day, time = begun.strftime("%Y%m%d"), begun.strftime("%H%M%S")
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = day, time
    for date, clock in (("SeriesDate", "SeriesTime"), ("ContentDate", "ContentTime")):
        if date in dataset:
            dataset[date].value = day
        if clock in dataset:
            dataset[clock].value = time


def _tell_apart(dataset: Any, header: Any, frame: int, derivation: Derivation) -> None:
    """Identifiers that follow from the source and the run, and numbers that no other run has."""
    dataset.SOPInstanceUID = derivation.instance_uid(str(header.SOPInstanceUID), frame)
    number = header.get("SeriesNumber")
    if number is not None and 0 <= int(number) < _LARGEST_NUMBER:
        dataset.SeriesNumber = derivation.series_number(int(number))
    if derivation.number is not None:
        dataset.InstanceNumber = derivation.number + frame


def _series_of(header: Any) -> str:
    """The series of a source; of a file without one, its own instance."""
    return _text(header, "SeriesInstanceUID") or _text(header, "SOPInstanceUID")


def _text(header: Any, keyword: str) -> str:
    return str(header.get(keyword) or "")


def encode(dataset: Any) -> bytes:
    """A data set as a file: Explicit VR Little Endian, uncompressed."""
    from pydicom import dcmwrite  # noqa: PLC0415
    from pydicom.dataset import FileMetaDataset  # noqa: PLC0415
    from pydicom.uid import ExplicitVRLittleEndian  # noqa: PLC0415

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()


def _code(value: str, meaning: str) -> Any:
    from pydicom.dataset import Dataset  # noqa: PLC0415

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _listed(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)
