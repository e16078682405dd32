"""Slices in the order of their places, and the window that a file wants to be shown in."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from recon.io import display_window, positions_along_normal, read


def slices(folder: Path, places: list[float], series: str | None = "1.2.3") -> list[Path]:
    """CT slices of which file k lies at ``places[k]`` along a normal of (0, 0.6, 0.8)."""
    data = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    data.ImageOrientationPatient = [1, 0, 0, 0, 0.8, -0.6]
    paths = []
    for number, place in enumerate(places):
        data.ImagePositionPatient = [5.0, *(place * np.array([0.6, 0.8])).round(6).tolist()]
        data.SeriesInstanceUID = series or generate_uid()
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
        paths.append(folder / f"{number}.dcm")
        data.save_as(paths[-1])
    return paths


def test_slices_are_placed_along_their_normal(tmp_path: Path) -> None:
    paths = slices(tmp_path, [10.0, -30.0, 2.5])
    assert positions_along_normal(paths) == pytest.approx([10.0, -30.0, 2.5], abs=1e-4)


def test_files_that_are_no_series_have_no_places(tmp_path: Path) -> None:
    paths = slices(tmp_path, [3.0, 2.0], series=None)
    assert positions_along_normal(paths) is None
    (tmp_path / "a.dcm").write_bytes(b"no DICOM at all")
    assert positions_along_normal([*slices(tmp_path, [3.0, 2.0]), tmp_path / "a.dcm"]) is None
    paths = slices(tmp_path, [3.0, 2.0])
    data = pydicom.dcmread(paths[0])
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.save_as(paths[0])
    assert positions_along_normal(paths) is None
    del data.ImagePositionPatient
    data.save_as(paths[0])
    assert positions_along_normal(paths) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"WindowCenter": 40, "WindowWidth": 401}, (-160.5, 239.5)),
        ({"WindowCenter": [50, 300], "WindowWidth": [101, 2000]}, (-0.5, 99.5)),
        ({"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"}, (-160, 240)),
        ({"WindowCenter": 40}, None),
        ({"WindowCenter": 40, "WindowWidth": 0}, None),
    ],
)
def test_the_window_is_the_files_own(
    tmp_path: Path, values: dict[str, object], expected: tuple[float, float] | None
) -> None:
    data = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    for keyword in ("WindowCenter", "WindowWidth"):
        if keyword in data:
            del data[keyword]
    for keyword, value in values.items():
        setattr(data, keyword, value)
    data.save_as(tmp_path / "slice.dcm")
    assert display_window(read(tmp_path / "slice.dcm")) == expected
