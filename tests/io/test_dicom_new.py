import dataclasses
import getpass
import platform
import re
import shutil
import socket
import subprocess
import uuid
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon import __version__
from recon.errors import OutputError, UsageError
from recon.io import (
    Image,
    Slices,
    Written,
    check_units,
    from_array,
    new_series_uid,
    read,
    to_tensor,
    with_tensor,
    write,
)
from recon.io.dicom import new_series

PLACED = Slices(1.25, (3.0, 4.0, 5.0))
SPACING = (0.7, 0.6)

# type 1 and type 2 of the modules that are mandatory for a CT image: PS3.3, table A.3-1
VALUED = [
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "Modality", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "ImageType", "SamplesPerPixel"),
    *("PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelData", "RescaleIntercept", "RescaleSlope", "WindowCenter", "WindowWidth"),
]
PRESENT = [
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("ReferringPhysicianName", "StudyID", "AccessionNumber", "SeriesNumber", "PositionReferenceIndicator"),
    *("Manufacturer", "InstanceNumber", "SliceThickness", "KVP", "AcquisitionNumber", "PatientPosition", "Laterality"),
    *("ContentDate", "ContentTime"),
]


def hounsfield(frames: int = 1, height: int = 8, width: int = 10) -> np.ndarray:
    return np.random.default_rng(0).integers(-1024, 3000, (frames, 1, height, width)).astype(np.float32)


def stack(frames: int = 3, slices: Slices | None = PLACED) -> Image:
    return from_array(hounsfield(frames), units="HU", spacing=SPACING, slices=slices)


def made(done: Written) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in done.paths]


@pytest.mark.parametrize("image", [stack(), stack(1, None)], ids=["stack", "slice"])
def test_what_the_standard_asks_for_is_there(tmp_path: Path, image: Image) -> None:
    for dataset in made(write(image, tmp_path / "ct.dcm")):
        assert [keyword for keyword in VALUED if dataset.get(keyword) in (None, "")] == []
        assert [keyword for keyword in PRESENT if keyword not in dataset] == []
        assert dataset.file_meta.MediaStorageSOPClassUID == dataset.SOPClassUID == pydicom.uid.CTImageStorage
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian


def test_nothing_is_said_of_who_was_scanned_or_how(tmp_path: Path) -> None:
    (dataset,) = made(write(stack(1), tmp_path / "ct.dcm"))
    assert str(dataset.PatientName) == "Anonymous^"
    for unknown in ("PatientID", "PatientBirthDate", "PatientSex", "PatientPosition", "KVP", "AccessionNumber"):
        assert not dataset.get(unknown), unknown
    for unknown in ("AcquisitionDate", "AcquisitionTime", "BodyPartExamined", "InstitutionName", "StationName"):
        assert unknown not in dataset


def test_a_slice_says_what_made_it_of_what_and_that_it_is_not_for_diagnosis(tmp_path: Path) -> None:
    (dataset,) = made(write(stack(1), tmp_path / "ct.dcm"))
    assert list(dataset.ImageType) == ["ORIGINAL", "SECONDARY", "AXIAL"]
    assert "SourceImageSequence" not in dataset
    assert "DerivationDescription" not in dataset
    assert (dataset.Modality, dataset.Manufacturer, dataset.SoftwareVersions) == ("CT", "recon", __version__)
    assert "not for diagnosis" in dataset.SeriesDescription
    assert len(dataset.SeriesDescription) <= 64
    assert "from projections" in dataset.ImageComments
    assert "not for diagnosis" in dataset.ImageComments
    (equipment,) = dataset.ContributingEquipmentSequence
    code = equipment.PurposeOfReferenceCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("109102", "DCM")
    assert (equipment.Manufacturer, equipment.SoftwareVersions) == ("recon", __version__)


def test_whole_hounsfield_units_come_back_identical(tmp_path: Path) -> None:
    image = stack()
    done = write(image, tmp_path / "ct.dcm")
    assert done.clipped == 0
    for frame, path in enumerate(done.paths):
        again = read(path)
        assert np.array_equal(again.pixels[0], image.pixels[frame])
        assert (again.units, again.spacing) == ("HU", SPACING)


def test_what_does_not_fit_is_clipped_and_counted_with_what_was_clipped_before(tmp_path: Path) -> None:
    pixels = hounsfield(2)
    pixels[0, 0, 0, :2], pixels[1, 0, 0, 0] = 4e4, -1e30
    image = from_array(pixels, units="HU", spacing=SPACING, slices=PLACED)
    done = write(image, tmp_path / "ct.dcm")
    assert done.clipped == 3
    assert read(done.paths[0]).pixels.max() == 2**15 - 1 - 1024
    assert read(done.paths[1]).pixels.min() == -(2**15) - 1024
    before = write(dataclasses.replace(image, clipped=5), tmp_path / "b.dcm")
    assert before.clipped == 3 + 5


def test_the_slices_of_a_call_belong_together_and_to_no_other_call(tmp_path: Path) -> None:
    first, second = (made(write(stack(), tmp_path / name, series_uid=new_series_uid())) for name in ("a.dcm", "b.dcm"))
    for level in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        uids = [{dataset[level].value for dataset in call} for call in (first, second)]
        assert [len(found) for found in uids] == [1, 1]
        assert not uids[0] & uids[1]
    every = [dataset.SOPInstanceUID for dataset in (*first, *second)]
    every += [first[0].StudyInstanceUID, first[0].SeriesInstanceUID, first[0].FrameOfReferenceUID]
    assert len(set(every)) == len(every)
    # random, where other versions hold the machine's network address
    assert {uuid.UUID(int=int(uid.removeprefix("2.25."))).version for uid in every} == {4}


def test_slices_at_unknown_distance_are_series_of_their_own_in_one_study(tmp_path: Path) -> None:
    done = write(stack(3, None), tmp_path / "ct.dcm")
    datasets = made(done)
    assert len({dataset.StudyInstanceUID for dataset in datasets}) == 1
    for own in ("SeriesInstanceUID", "FrameOfReferenceUID", "SeriesNumber"):
        assert len({dataset[own].value for dataset in datasets}) == 3
    assert all(dataset.SliceThickness is None for dataset in datasets)
    assert any("not known: each is a series" in note for note in done.notes)


def test_files_and_numbers_follow_the_frames(tmp_path: Path) -> None:
    done = write(stack(), tmp_path / "ct.dcm")
    assert [path.name for path in done.paths] == ["ct_0001.dcm", "ct_0002.dcm", "ct_0003.dcm"]
    assert [dataset.InstanceNumber for dataset in made(done)] == [1, 2, 3]
    assert [dataset.SliceThickness for dataset in made(done)] == [1.25] * 3
    assert write(stack(1), tmp_path / "one.dcm").paths == (tmp_path / "one.dcm",)


def in_patient(dataset: pydicom.Dataset, row: int, column: int) -> np.ndarray:
    """Equation C.7.6.2.1-1 of PS3.3."""
    along_row, along_column = np.reshape([float(number) for number in dataset.ImageOrientationPatient], (2, 3))
    rows, columns = (float(number) for number in dataset.PixelSpacing)
    origin = np.array([float(number) for number in dataset.ImagePositionPatient])
    return origin + column * columns * along_row + row * rows * along_column


def test_every_pixel_is_where_the_scan_has_it_half_turned_about_x(tmp_path: Path) -> None:
    image = stack()
    for frame, dataset in enumerate(made(write(image, tmp_path / "ct.dcm"))):
        for row, column in ((0, 0), (7, 0), (0, 9), (3, 4)):
            x, y = 3 + (column - 4.5) * 0.6, 4 + (3.5 - row) * 0.7
            z = 5 + (frame - 1) * 1.25
            assert in_patient(dataset, row, column) == pytest.approx([x, -y, -z], abs=1e-9)


def test_a_right_hand_stays_one(tmp_path: Path) -> None:
    first, second, _ = made(write(stack(), tmp_path / "ct.dcm"))
    origin = in_patient(first, 0, 0)
    x = in_patient(first, 0, 1) - origin
    y = origin - in_patient(first, 1, 0)
    z = in_patient(second, 0, 0) - origin
    assert np.linalg.det(np.stack([x, y, z])) == pytest.approx(0.6 * 0.7 * 1.25)


def test_an_independent_reader_finds_each_value_at_its_place(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = stack(4)
    write(image, tmp_path / "ct.dcm")
    reader = sitk.ImageSeriesReader()
    (series,) = reader.GetGDCMSeriesIDs(str(tmp_path))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path), series))
    volume = reader.Execute()
    assert volume.GetSize() == (10, 8, 4)
    assert volume.GetSpacing() == pytest.approx((0.6, 0.7, 1.25))
    for frame in range(4):
        z = 5 + (frame - 1.5) * 1.25
        for row, column in ((0, 0), (7, 9), (2, 5)):
            x, y = 3 + (column - 4.5) * 0.6, 4 + (3.5 - row) * 0.7
            index = volume.TransformPhysicalPointToIndex((x, -y, -z))
            assert volume.GetPixel(index) == image.pixels[frame, 0, row, column]
    # ITK stacks along the normal of the rows and columns, which is -z of the scan
    assert np.array_equal(sitk.GetArrayFromImage(volume), image.pixels[::-1, 0])


def test_two_windows_are_suggested_and_none_is_baked_in(tmp_path: Path) -> None:
    (dataset,) = made(write(stack(1), tmp_path / "ct.dcm"))
    assert list(dataset.WindowCenter) == [40, 1024]
    assert list(dataset.WindowWidth) == [400, 4096]
    assert len(dataset.WindowCenterWidthExplanation) == 2


lengths = st.floats(1e-6, 1e6)
places = st.floats(-1e6, 1e6)


@given(spacing=st.tuples(lengths, lengths), pitch=lengths, centre=st.tuples(places, places, places))
def test_lengths_are_decimal_strings_that_say_the_same(spacing, pitch, centre) -> None:
    image = from_array(np.zeros((2, 1, 2, 2)), units="HU", spacing=spacing, slices=Slices(pitch, centre))
    for frame, dataset in enumerate(new_series.ct_slices(image)):
        found = pydicom.dcmread(pydicom.filebase.DicomBytesIO(dataset[0]))
        assert [float(number) for number in found.PixelSpacing] == pytest.approx(spacing, rel=1e-8)
        assert float(found.SliceThickness) == pytest.approx(pitch, rel=1e-8)
        z = centre[2] + (frame - 0.5) * pitch
        assert float(found.ImagePositionPatient[2]) == pytest.approx(-z, rel=1e-8, abs=1e-8)


def test_nothing_in_a_file_names_the_machine_the_folder_or_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USER", "LOGNAME", "HOSTNAME"):
        monkeypatch.setenv(name, "planted")
    for module, name in ((socket, "gethostname"), (socket, "getfqdn"), (platform, "node"), (getpass, "getuser")):
        monkeypatch.setattr(module, name, lambda *_: "planted")
    folder = tmp_path / "planted_folder"
    folder.mkdir()
    content = write(stack(1), folder / "planted_name.dcm").paths[0].read_bytes()
    assert b"planted" not in content
    assert str(tmp_path.parent).encode() not in content


@pytest.mark.parametrize(
    ("image", "fragment"),
    [
        (from_array(np.zeros((4, 4)), spacing=SPACING), "has no units; expected --water MU"),
        (from_array(np.zeros((4, 4)), units="GY", spacing=SPACING), "has GY; expected --water MU"),
        (from_array(np.zeros((4, 4)), units="HU"), "spacing of its pixels is None"),
        (from_array(np.zeros((4, 4)), units="HU", spacing=(0.0, 1.0)), "spacing of its pixels is"),
        (from_array(np.zeros((4, 4)), units="HU", spacing=(float("inf"), 1.0)), "spacing of its pixels is"),
        (from_array(np.zeros((1, 3, 4, 4)), units="HU", spacing=SPACING), "3 channels of float64"),
        (from_array(np.zeros((4, 4), complex), units="HU", spacing=SPACING), "1 channels of complex128"),
        (from_array(np.full((4, 4), np.nan), units="HU", spacing=SPACING), "16 of its 16 values"),
        (from_array(np.zeros((2**16, 1), np.int8), units="HU", spacing=SPACING), "65536 x 1 pixels"),
    ],
)
def test_what_is_no_ct_is_refused_in_one_sentence_and_nothing_is_left(
    tmp_path: Path, image: Image, fragment: str
) -> None:
    with pytest.raises(OutputError) as refused:
        write(image, tmp_path / "ct.dcm")
    assert fragment in str(refused.value)
    assert str(refused.value).count(". ") == 0
    assert not list(tmp_path.iterdir())


def test_the_units_are_checked_before_any_work(tmp_path: Path) -> None:
    plain = from_array(np.zeros((4, 4)))
    with pytest.raises(
        OutputError, match=r"ct\.dcm: DICOM CT holds HU and this image has no units; .*attenuation of water in 1/mm"
    ):
        check_units(plain, tmp_path / "ct.dcm")
    check_units(plain, tmp_path / "ct.tif")
    check_units(stack(1), tmp_path / "ct.dcm")


@pytest.mark.parametrize(
    "arguments", [(0.0,), (-1.0,), (float("nan"),), (1.0, (0.0, float("inf"), 0.0)), (1.0, (0.0,))]
)
def test_slices_are_where_numbers_say(arguments: tuple) -> None:
    with pytest.raises(UsageError, match="Slices"):
        Slices(*arguments)


def test_slices_are_kept_with_the_size_and_only_then() -> None:
    image = stack()
    tensor = to_tensor(image)
    assert with_tensor(image, tensor).slices == PLACED
    assert with_tensor(image, tensor[:2]).slices is None


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("image", [stack(), stack(2, None), stack(1, None)], ids=["stack", "apart", "slice"])
def test_dciodvfy_finds_no_error(tmp_path: Path, image: Image) -> None:
    for path in write(image, tmp_path / "ct.dcm").paths:
        done = subprocess.run(["dciodvfy", path], capture_output=True, check=False)  # noqa: S607
        lines = (done.stdout + done.stderr).decode("latin-1").splitlines()
        assert "CTImage" in lines
        assert [line for line in lines if "Error" in line] == []
        # what a directory would need, and the side of the body, are not known: they stay empty
        known = re.compile("build DICOMDIR - (Patient|Study) ID|empty when actually unknown.*Laterality")
        assert [line for line in lines if "Warning" in line and not known.search(line)] == []
