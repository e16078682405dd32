"""Frames of multi-frame DICOM: what each says of itself, and each as a classic single-frame data set.

Functional groups are in DICOM PS3.3, section C.7.6.16; the classic modules that a frame of an enhanced
object becomes are those of CT (A.3), MR (A.4) and PET (A.21) images.
"""

import copy
from typing import Any

from recon.io.decoded import RefusedError

_CLASSIC = {  # enhanced or multi-frame storage class -> the class of one frame
    "1.2.840.10008.5.1.4.1.1.2.1": "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.2.2": "1.2.840.10008.5.1.4.1.1.2",  # legacy converted CT
    "1.2.840.10008.5.1.4.1.1.4.1": "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.4.4": "1.2.840.10008.5.1.4.1.1.4",  # legacy converted MR
    "1.2.840.10008.5.1.4.1.1.3.1": "1.2.840.10008.5.1.4.1.1.6.1",  # ultrasound
    "1.2.840.10008.5.1.4.1.1.7.2": "1.2.840.10008.5.1.4.1.1.7",  # secondary capture, grey bytes
    "1.2.840.10008.5.1.4.1.1.7.3": "1.2.840.10008.5.1.4.1.1.7",  # secondary capture, grey words
    "1.2.840.10008.5.1.4.1.1.7.4": "1.2.840.10008.5.1.4.1.1.7",  # secondary capture, colour
}
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_ENHANCED = tuple(list(_CLASSIC)[:4])
_KEEPS_FRAME_COUNT = ("1.2.840.10008.5.1.4.1.1.12.1", "1.2.840.10008.5.1.4.1.1.12.2")  # XA, XRF
_FRAME_TIMING = [
    "NumberOfFrames",
    "FrameIncrementPointer",
    "FrameTime",
    "FrameTimeVector",
    "StartTrim",
    "StopTrim",
    "RecommendedDisplayFrameRate",
    "CineRate",
    "FrameDelay",
    "EffectiveDuration",
    "PreferredPlaybackSequencing",
    "ActualFrameDuration",
    "RepresentativeFrameNumber",
    "PageNumberVector",
    "FrameLabelVector",
]
# what an enhanced object and a classic one share at the top level; the rest belongs to the enhanced object alone
_SHARED = [
    "SpecificCharacterSet",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "SOPClassUID",
    "SOPInstanceUID",
    "TimezoneOffsetFromUTC",
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "ContentDate",
    "StudyTime",
    "SeriesTime",
    "AcquisitionTime",
    "ContentTime",
    "AccessionNumber",
    "Modality",
    "Manufacturer",
    "InstitutionName",
    "InstitutionAddress",
    "ReferringPhysicianName",
    "StationName",
    "StudyDescription",
    "SeriesDescription",
    "InstitutionalDepartmentName",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
    "ManufacturerModelName",
    "AdmittingDiagnosesDescription",
    "ImageType",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "PatientComments",
    "BodyPartExamined",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "ProtocolName",
    "PatientPosition",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyID",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "Laterality",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "BurnedInAnnotation",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "ContributingEquipmentSequence",
    "DerivationDescription",
    "MRAcquisitionType",
    "MagneticFieldStrength",
    "ImagedNucleus",
]
_FROM_GROUPS = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation"),
    "MRTimingAndRelatedParametersSequence": ("RepetitionTime", "FlipAngle", "EchoTrainLength"),
    "CTXRayDetailsSequence": ("KVP", "FocalSpots", "FilterType"),
    "CTReconstructionSequence": ("ConvolutionKernel", "ReconstructionDiameter"),
}


def is_multi_frame(header: Any) -> bool:
    """Return whether the storage class is one whose objects may have several frames."""
    kind = str(header.get("SOPClassUID", ""))
    return kind in _CLASSIC or kind in _KEEPS_FRAME_COUNT


def functional_group(dataset: Any, frame: int, keyword: str) -> Any:
    """The item of a functional group for a frame, its own before the shared one; ``None`` where neither is."""
    per_frame, shared = dataset.get("PerFrameFunctionalGroupsSequence"), dataset.get("SharedFunctionalGroupsSequence")
    places = [per_frame[frame]] if per_frame and frame < len(per_frame) else []
    places += [shared[0]] if shared else []
    return next((place[keyword][0] for place in places if keyword in place and len(place[keyword].value)), None)


def single_frame(header: Any, frame: int, frames: int) -> Any:
    """A classic data set, without pixels, for one frame of ``header``; a copy of it where it is one already."""
    kind = str(header.get("SOPClassUID", ""))
    if kind in _ENHANCED:
        return _from_enhanced(header, frame)
    dataset = copy.deepcopy(header)
    if frames == 1 and kind not in _CLASSIC:
        return dataset
    if kind not in (*_CLASSIC, *_CLASSIC.values(), *_KEEPS_FRAME_COUNT):
        raise RefusedError(
            "frames of this kind of DICOM object have no classic single-frame form; expected TIFF or NPY."
        )
    for keyword in _FRAME_TIMING:
        if keyword in dataset:
            del dataset[keyword]
    if kind in _KEEPS_FRAME_COUNT:
        dataset.NumberOfFrames = 1
    else:
        dataset.SOPClassUID = _CLASSIC.get(kind, kind)
    dataset.InstanceNumber = frame + 1
    return dataset


def _from_enhanced(header: Any, frame: int) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset  # noqa: PLC0415 - takes time, and few need it

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    for keyword in _SHARED:
        if keyword in header:
            dataset[keyword] = copy.deepcopy(header[keyword])
    for group, keywords in _FROM_GROUPS.items():
        item = functional_group(header, frame, group)
        for keyword in keywords:
            if item is not None and keyword in item:
                dataset[keyword] = copy.deepcopy(item[keyword])
    dataset.InstanceNumber = frame + 1
    anatomy = functional_group(header, frame, "FrameAnatomySequence")
    if anatomy is not None and anatomy.get("FrameLaterality"):
        dataset.ImageLaterality = anatomy.FrameLaterality
    if not all(dataset.get(keyword) for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")):
        return _as_secondary_capture(dataset)
    dataset.SOPClassUID = _CLASSIC[str(header.SOPClassUID)]
    _fill(dataset, "Manufacturer", "AcquisitionNumber", "PositionReferenceIndicator")
    if header.get("AcquisitionDateTime"):
        stamp = str(header.AcquisitionDateTime)
        dataset.AcquisitionDate, dataset.AcquisitionTime = (
            stamp[:8],
            stamp[8:].split("+", maxsplit=1)[0].split("-", maxsplit=1)[0],
        )
    if dataset.Modality == "MR":
        _describe_mr(dataset, header, frame)
    elif dataset.Modality == "CT":
        _fill(dataset, "KVP")
        rescale = functional_group(header, frame, "PixelValueTransformationSequence")
        if rescale is not None and rescale.get("RescaleType", "HU") != "HU":
            dataset.RescaleType = rescale.RescaleType
    return dataset


def _as_secondary_capture(dataset: Any) -> Any:
    """The image that may be written without a place in the patient."""
    dataset.SOPClassUID, dataset.ConversionType = _SECONDARY_CAPTURE, "WSD"
    for keyword in ("MRAcquisitionType", "MagneticFieldStrength", "FrameOfReferenceUID", "PositionReferenceIndicator"):
        if keyword in dataset:
            del dataset[keyword]
    _fill(dataset, "PatientOrientation")
    return dataset


def _describe_mr(dataset: Any, header: Any, frame: int) -> None:
    """The attributes that a classic MR image must have, from their enhanced names."""
    echo = functional_group(header, frame, "MREchoSequence")
    dataset.EchoTime = None if echo is None else echo.get("EffectiveEchoTime")
    sequence = {"SPIN": "SE", "GRADIENT": "GR", "BOTH": ["SE", "GR"]}
    dataset.ScanningSequence = sequence.get(str(header.get("EchoPulseSequence", "")), "RM")
    dataset.SequenceVariant = "NONE"
    _fill(dataset, "ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTrainLength")


def _fill(dataset: Any, *keywords: str) -> None:
    for keyword in keywords:
        if keyword not in dataset:
            setattr(dataset, keyword, None)
