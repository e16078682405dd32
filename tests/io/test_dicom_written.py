import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian

from recon import __version__
from recon.errors import OutputError
from recon.io import Written, new_series_uid, read, to_tensor, with_tensor, write

SAMPLES = [
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "SC_rgb_small_odd.dcm",
    "examples_palette.dcm",
    "examples_ybr_color.dcm",
    "examples_overlay.dcm",
    "J2K_pixelrep_mismatch.dcm",
]


def sample(name: str) -> Path:
    return Path(str(get_testdata_file(name)))


def derive(source: Path, folder: Path) -> Written:
    image = read(source)
    return write(with_tensor(image, to_tensor(image)), folder / "out.dcm")


@pytest.mark.parametrize("name", SAMPLES)
def test_unchanged_pixels_come_back_identical(tmp_path: Path, name: str) -> None:
    image = read(sample(name))
    for frame, path in enumerate(derive(sample(name), tmp_path).paths):
        again = read(path)
        assert np.array_equal(again.pixels[0], image.pixels[frame])
        assert (again.units, again.spacing) == (image.units, image.spacing)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_derived_image_has_a_new_identity_and_says_what_it_is(tmp_path: Path, name: str) -> None:
    source, seen = pydicom.dcmread(sample(name)), set()
    paths = derive(sample(name), tmp_path).paths
    for path in paths:
        made = pydicom.dcmread(path)
        assert made.SOPInstanceUID not in {source.SOPInstanceUID, *seen}
        seen.add(made.SOPInstanceUID)
        assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID
        assert made.file_meta.MediaStorageSOPClassUID == made.SOPClassUID
        assert made.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert source.SeriesInstanceUID != made.SeriesInstanceUID
        for kept in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID", "ImagePositionPatient"):
            assert made.get(kept) == source.get(kept), kept
        assert list(made.ImageType)[:2] == ["DERIVED", "SECONDARY"]
        assert "not for diagnosis" in made.SeriesDescription
        assert "not for diagnosis" in made.DerivationDescription
        assert len(made.SeriesDescription) <= 64
        origin = made.SourceImageSequence[0]
        assert origin.ReferencedSOPInstanceUID == source.SOPInstanceUID
        code = origin.PurposeOfReferenceCodeSequence[0]
        assert (code.CodeValue, code.CodingSchemeDesignator) == ("121322", "DCM")
        equipment = made.ContributingEquipmentSequence[-1]
        code = equipment.PurposeOfReferenceCodeSequence[0]
        assert (code.CodeValue, code.CodingSchemeDesignator) == ("109102", "DCM")
        assert (equipment.ManufacturerModelName, equipment.SoftwareVersions) == ("recon", __version__)
    assert len({pydicom.dcmread(path).SeriesInstanceUID for path in paths}) == 1


def test_several_files_share_a_series_where_the_caller_says_so(tmp_path: Path) -> None:
    series, image = new_series_uid(), read(sample("CT_small.dcm"))
    for name in ("a.dcm", "b.dcm"):
        write(image, tmp_path / name, series_uid=series)
        assert pydicom.dcmread(tmp_path / name).SeriesInstanceUID == series


def test_stale_and_private_attributes_are_gone_and_the_window_and_lossy_flag_stay(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(sample("CT_small.dcm"))
    dataset.add_new("SmallestImagePixelValue", "SS", 1)
    dataset.add_new("LargestImagePixelValue", "SS", 2)
    dataset.WindowCenter, dataset.WindowWidth, dataset.LossyImageCompression = 40, 400, "01"
    dataset.IconImageSequence = [pydicom.Dataset()]
    dataset.add_new(0x60000010, "US", 4)
    dataset.private_block(0x0041, "PLANTED", create=True).add_new(1, "LO", "secret")
    dataset.save_as(tmp_path / "in.dcm")
    made = pydicom.dcmread(derive(tmp_path / "in.dcm", tmp_path).paths[0])
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "IconImageSequence"):
        assert keyword not in made
    assert not [tag for tag in made.keys() if tag.is_private or tag.group == 0x6000]  # noqa: SIM118
    assert (made.WindowCenter, made.WindowWidth, made.LossyImageCompression) == (40, 400, "01")


def test_what_was_coded_with_loss_says_so_though_the_source_did_not(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(sample("SC_rgb_small_odd_jpeg.dcm"))
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in dataset:
            del dataset[keyword]
    dataset.save_as(tmp_path / "in.dcm")
    made = pydicom.dcmread(derive(tmp_path / "in.dcm", tmp_path).paths[0])
    assert (made.LossyImageCompression, made.LossyImageCompressionMethod) == ("01", "ISO_10918_1")


def test_monochrome1_is_written_in_its_own_sense(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(sample("MR_small.dcm"))
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.save_as(tmp_path / "in.dcm")
    made = pydicom.dcmread(derive(tmp_path / "in.dcm", tmp_path).paths[0])
    assert made.PhotometricInterpretation == "MONOCHROME1"
    assert np.array_equal(made.pixel_array, dataset.pixel_array)


def test_hounsfield_units_that_do_not_fit_are_clipped_and_counted(tmp_path: Path) -> None:
    image = read(sample("CT_small.dcm"))
    tensor = to_tensor(image)
    tensor[0, 0, 0, :3] = 1e3
    done = write(with_tensor(image, tensor), tmp_path / "out.dcm")
    assert done.clipped == 3
    assert read(done.paths[0]).pixels.max() == image.grid.values(np.full((1, 1, 1, 1), image.grid.high)).item()


def test_frames_become_a_classic_series_that_names_its_source_frames(tmp_path: Path) -> None:
    done = derive(sample("examples_ybr_color.dcm"), tmp_path)
    assert [path.name for path in done.paths[:2]] == ["out_0001.dcm", "out_0002.dcm"]
    assert any("classic series" in note for note in done.notes)
    made = [pydicom.dcmread(path) for path in done.paths]
    assert [dataset.InstanceNumber for dataset in made] == list(range(1, 31))
    assert [dataset.SourceImageSequence[0].ReferencedFrameNumber for dataset in made] == list(range(1, 31))
    assert all("NumberOfFrames" not in dataset for dataset in made)


def test_enhanced_frames_take_position_and_rescale_from_their_groups(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "dicom_cases" / "eCT_Supplemental.dcm"
    header, image = pydicom.dcmread(source), read(source)
    shared = header.SharedFunctionalGroupsSequence[0]
    for frame, path in enumerate(derive(source, tmp_path).paths):
        made = pydicom.dcmread(path)
        own = header.PerFrameFunctionalGroupsSequence[frame]
        place = own.get("PlanePositionSequence") or shared.PlanePositionSequence
        assert made.SOPClassUID == pydicom.uid.CTImageStorage
        assert made.ImagePositionPatient == place[0].ImagePositionPatient
        assert made.RescaleIntercept == shared.PixelValueTransformationSequence[0].RescaleIntercept
        assert np.array_equal(read(path).pixels[0], image.pixels[frame])


@pytest.mark.parametrize("name", ["rtdose_1frame.dcm", "parametric"])
def test_what_has_no_classic_form_is_refused_and_nothing_is_left(
    tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    source = sample(name) if name.endswith(".dcm") else None
    if source is None:
        source = request.getfixturevalue("shared_data") / "dicom_cases" / "parametric_map_float.dcm"
    with pytest.raises(OutputError, match="expected TIFF or NPY"):
        write(read(source), tmp_path / "out.dcm")
    assert not list(tmp_path.iterdir())


def test_another_size_is_refused_because_positions_would_be_wrong(tmp_path: Path) -> None:
    image = read(sample("CT_small.dcm"))
    with pytest.raises(OutputError, match="64 x 64, its DICOM source 1 of 128 x 128"):
        write(with_tensor(image, to_tensor(image)[..., :64, :64]), tmp_path / "out.dcm")


def test_monochrome1_is_bright_where_it_is_high_in_png(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(sample("MR_small.dcm"))
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.save_as(tmp_path / "in.dcm")
    write(read(tmp_path / "in.dcm"), tmp_path / "out.png")
    drawn = read(tmp_path / "out.png").pixels[0, 0].astype(float)
    middle = np.percentile(dataset.pixel_array, [1, 99])
    kept = (dataset.pixel_array > middle[0]) & (dataset.pixel_array < middle[1])  # what is not clipped
    assert np.corrcoef(drawn[kept], dataset.pixel_array[kept])[0, 1] < -0.9999


def complaints(path: Path) -> Iterator[str]:
    """The lines of dciodvfy without the values that name an instance."""
    done = subprocess.run(["dciodvfy", path], capture_output=True, check=False)  # noqa: S607
    for line in (done.stdout + done.stderr).decode("latin-1").splitlines():
        if "Error" in line or "Warning" in line:
            yield re.sub(r"\(0x0008,0x11[0-9a-f]*\).*|= <.*>", "", line)


needs_dciodvfy = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")


@needs_dciodvfy
@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "examples_ybr_color.dcm"])
def test_dciodvfy_finds_nothing_that_the_source_does_not_have(tmp_path: Path, name: str) -> None:
    made = derive(sample(name), tmp_path).paths[0]
    assert set(complaints(made)) - set(complaints(sample(name))) == set()


@needs_dciodvfy
@pytest.mark.parametrize("name", ["ct/tcga_60-2715.dcm", "ct/tcga_60-2695.dcm", "mr/studyforrest_t1.dcm"])
def test_dciodvfy_finds_nothing_new_in_the_bundled_slices(tmp_path: Path, bundled_data: Path, name: str) -> None:
    made = derive(bundled_data / name, tmp_path).paths[0]
    assert set(complaints(made)) - set(complaints(bundled_data / name)) == set()


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="dcmdump (dcmtk) is not installed")
def test_dcmdump_reads_what_was_written(tmp_path: Path, bundled_data: Path) -> None:
    made = derive(bundled_data / "ct" / "tcga_60-2715.dcm", tmp_path).paths[0]
    done = subprocess.run(["dcmdump", "--quiet", made], capture_output=True, check=True)  # noqa: S607
    assert b"ImageType" in done.stdout
    assert done.stderr == b""
