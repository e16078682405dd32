"""Maps of DICOM images as Parametric Maps: the numbers come back, the place is kept, and the standard is followed."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from recon.errors import OutputError
from recon.io import STANDARD_DEVIATION, WORST_CHANGE, Derivation, Image, ValueRange, from_array, read, write_map

SOURCES = ["ct/tcga_60-2715.dcm", "mr/studyforrest_t1.dcm"]


def map_of(source: Path, units: str = "") -> Image:
    image = read(source)
    pixels = np.random.default_rng(0).normal(3, 2, image.pixels.shape).astype(np.float32)
    return replace(image, pixels=pixels, padding=None, value_range=ValueRange(0.0, 1.0, units))


@pytest.mark.parametrize("name", SOURCES)
def test_the_numbers_come_back_in_the_place_of_the_source(tmp_path: Path, bundled_data: Path, name: str) -> None:
    source, path = pydicom.dcmread(bundled_data / name), tmp_path / "std.dcm"
    known = map_of(bundled_data / name, "HU")
    assert write_map(known, path, STANDARD_DEVIATION).paths == (path,)
    assert np.array_equal(read(path).pixels, known.pixels)
    made = pydicom.dcmread(path)
    assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.30"
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert made.get(keyword) == source.get(keyword)
    assert made.SeriesInstanceUID != source.SeriesInstanceUID
    position = made.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    assert np.allclose(np.float64(position), np.float64(source.ImagePositionPatient), rtol=1e-9)
    shared = made.SharedFunctionalGroupsSequence[0]
    assert np.allclose(np.float64(shared.PixelMeasuresSequence[0].PixelSpacing), np.float64(source.PixelSpacing))
    mapping = shared.RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "[hnsf'U]"
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeMeaning == "Standard Deviation"
    assert "not for diagnosis" in made.SeriesDescription
    references = made.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
    assert references[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_the_same_run_has_the_same_identity_and_another_map_another(tmp_path: Path, bundled_data: Path) -> None:
    known, run = map_of(bundled_data / SOURCES[0]), Derivation("0123456789abcdef" * 4)
    made = []
    for number, quantity in enumerate((STANDARD_DEVIATION, STANDARD_DEVIATION, WORST_CHANGE)):
        path = tmp_path / f"{number}.dcm"
        write_map(known, path, quantity, derivation=run)
        made.append(pydicom.dcmread(path, stop_before_pixels=True))
    first, again, other = made
    assert (first.SOPInstanceUID, first.SeriesInstanceUID) == (again.SOPInstanceUID, again.SeriesInstanceUID)
    assert first.SOPInstanceUID != other.SOPInstanceUID
    assert first.SeriesInstanceUID != other.SeriesInstanceUID


def complaints(path: Path) -> Iterator[str]:
    done = subprocess.run(["dciodvfy", path], capture_output=True, check=False)  # noqa: S607
    for line in (done.stdout + done.stderr).decode("latin-1").splitlines():
        if line.startswith("Error"):
            yield re.sub(r"= <.*>", "", line)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("quantity", [STANDARD_DEVIATION, WORST_CHANGE])
def test_dciodvfy_finds_no_error(tmp_path: Path, bundled_data: Path, name: str, quantity: object) -> None:
    write_map(map_of(bundled_data / name), tmp_path / "map.dcm", quantity)
    assert not list(complaints(tmp_path / "map.dcm"))


def test_what_is_no_map_of_a_dicom_image_is_refused(tmp_path: Path, bundled_data: Path) -> None:
    known = map_of(bundled_data / SOURCES[0])
    broken = known.pixels.copy()
    broken[0, 0, 3, 4] = np.nan
    for image, words in (
        (from_array(np.ones((4, 4))), "no DICOM has no patient"),
        (replace(known, pixels=known.pixels[..., :9, :9]), "9 x 9, its DICOM source 1 of 512 x 512"),
        (replace(known, pixels=broken), "one finite number a pixel"),
    ):
        with pytest.raises(OutputError, match=words):
            write_map(image, tmp_path / "map.dcm", STANDARD_DEVIATION)
    with pytest.raises(OutputError, match="is no format of maps"):
        write_map(known, tmp_path / "map.png", STANDARD_DEVIATION)
    assert not list(tmp_path.iterdir())
    write_map(known, tmp_path / "map.npy", STANDARD_DEVIATION)
    assert np.array_equal(np.load(tmp_path / "map.npy").squeeze(), known.pixels.squeeze())
