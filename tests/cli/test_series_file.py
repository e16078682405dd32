"""``recon solve`` of a DICOM series to one file: orientation, scaling, record, replay, and what is refused."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from pydicom.data import get_testdata_file

Solve = Callable[..., str]
IDENTITY = ("--operator", "identity", "--volume", "--prior", "tv:weight=0.01")
TURN, TILT = math.radians(20), math.radians(35)
DIRECTIONS = np.array([
    [math.cos(TURN), math.sin(TURN), 0],
    [-math.sin(TURN) * math.cos(TILT), math.cos(TURN) * math.cos(TILT), math.sin(TILT)],
])  # fmt: skip
"""Of rows and columns: an oblique series, so that a sign or an axis that is taken for another is seen."""


def series(folder: Path, count: int = 4, slopes: tuple[float, ...] = (1.0,)) -> Path:
    folder.mkdir()
    normal = np.cross(*DIRECTIONS)
    for number in range(count):
        data = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
        data.PixelData = np.roll(data.pixel_array, number, 0)[:, :96].astype(np.int16).tobytes()
        data.Columns = 96
        data.PixelSpacing = [0.5, 0.75]
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        data.ImageOrientationPatient = [f"{cosine:.12f}" for cosine in DIRECTIONS.ravel()]
        data.ImagePositionPatient = [f"{place:.6f}" for place in np.array([-30, 12, 7]) + 2.5 * number * normal]
        data.InstanceNumber = number + 1
        data.RescaleSlope = slopes[number % len(slopes)]
        data.PatientName = "Nobody^Known"
        data.save_as(folder / f"Nobody_{number}.dcm")
    return folder


def record(output: Path) -> dict:
    return json.loads(output.with_name(output.name + ".run.json").read_text())


def test_a_voxel_is_where_the_series_has_it(solve: Solve, run, tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="the extra nifti is not installed")
    source, output = series(tmp_path / "in"), tmp_path / "v.nii.gz"
    solve(source, "-o", output, *IDENTITY[:-1], "tv:weight=1e-7")
    found = nibabel.load(output)
    assert found.shape == (96, 128, 4)
    assert found.get_data_dtype() == np.int16
    for number in (0, 3):
        data = pydicom.dcmread(source / f"Nobody_{number}.dcm")
        row, column = 17, 60
        place = np.array(data.ImagePositionPatient, float) + 0.5 * row * DIRECTIONS[1] + 0.75 * column * DIRECTIONS[0]
        np.testing.assert_allclose(found.affine[:3] @ [column, row, number, 1], place * [-1, -1, 1], atol=1e-3)
        value = data.pixel_array[row, column] * data.RescaleSlope + data.RescaleIntercept
        assert found.dataobj[column, row, number] == pytest.approx(value, abs=1)
    written = record(output)
    assert [entry["role"] for entry in written["inputs"]] == ["measurement"] * 4
    assert written["volume"]["slices"] == 4
    assert "Nobody" not in json.dumps(written)
    done = run("replay", f"{output}.run.json", str(source))
    assert (done.code, "identical" in done.out) == (0, True), done.err
    (source / "Nobody_2.dcm").unlink()
    done = run("replay", f"{output}.run.json", str(source))
    assert (done.code, "1 of the 4 slices" in done.err) == (3, True)


def test_simpleitk_sees_the_grid_of_the_series(solve: Solve, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    pytest.importorskip("nibabel", reason="the extra nifti is not installed")
    source, output = series(tmp_path / "in"), tmp_path / "v.nii"
    solve(source, "-o", output, *IDENTITY)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in sorted(source.glob("*.dcm"))])
    measured, result = reader.Execute(), sitk.ReadImage(str(output))
    assert result.GetSize() == measured.GetSize()
    for read in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(result, read)(), getattr(measured, read)(), atol=1e-4)


@pytest.mark.parametrize("name", ["v.tif", "v.ome.tif", "v.npy", "v.nii.gz"])
def test_slices_of_several_scalings_become_numbers(solve: Solve, tmp_path: Path, name: str) -> None:
    if "nii" in name:
        pytest.importorskip("nibabel", reason="the extra nifti is not installed")
    solve(series(tmp_path / "in", slopes=(1.0, 2.0)), "-o", tmp_path / name, *IDENTITY)
    found = record(tmp_path / name)["plan"]
    assert found["image_shape"] == [4, 128, 96]
    assert found["slice_distance"] == pytest.approx(2.5 / 0.75)
    if name == "v.ome.tif":
        with tifffile.TiffFile(tmp_path / name) as opened:
            assert opened.asarray().dtype == np.float32
            distance = re.search('PhysicalSizeZ="([0-9.]+)"', opened.ome_metadata or "")
            assert distance is not None
            assert float(distance[1]) == pytest.approx(2.5, rel=1e-5)


def test_a_report_shows_the_series_beside_the_result(solve: Solve, run, tmp_path: Path) -> None:
    source, output = series(tmp_path / "in"), tmp_path / "v.ome.tif"
    solve(source, "-o", output, *IDENTITY, "--report", tmp_path / "page.html", "--figure", tmp_path / "f.png")
    page = (tmp_path / "page.html").read_text()
    assert "Medians over 4 slices" in page
    assert "Nobody" not in page
    assert run("report", str(output), "-o", str(tmp_path / "alone.html")).code == 0
    assert "The measurement is not shown" in (tmp_path / "alone.html").read_text()


def test_a_plan_writes_nothing_and_a_gap_is_refused(solve: Solve, tmp_path: Path) -> None:
    source = series(tmp_path / "in", count=5)
    assert "would write" in solve(source, "-o", tmp_path / "v.tif", *IDENTITY, "--dry-run")
    (source / "Nobody_2.dcm").unlink()
    assert "apart" in solve(source, "-o", tmp_path / "v.tif", *IDENTITY, code=4)
    tifffile.imwrite(source / "other.tif", np.zeros((8, 8), np.uint8))
    assert "expected the name of a folder" in solve(source, "-o", tmp_path / "v.tif", *IDENTITY, code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
