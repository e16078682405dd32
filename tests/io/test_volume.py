"""A volume of several files: their order, their distance, and what is no volume."""

from pathlib import Path

import numpy as np
import pytest

from recon.errors import ConsistencyError
from recon.io import Slices, ValueRange, from_array, read_projections, read_volume, write


def series(folder: Path, slices: int = 5, pitch: float | None = 2.5, size: int = 4, name: str = "s") -> list[Path]:
    """A DICOM series of constant slices of 0, 1, 2, ... HU, from below upwards."""
    pixels = np.arange(slices, dtype=np.float32)[:, None, None, None] + np.zeros((1, 1, size, 6), np.float32)
    image = from_array(
        pixels, units="HU", value_range=ValueRange(-1000, 1000, "HU"), spacing=(1.0, 1.0), slices=Slices(pitch)
    )
    return list(write(image, folder / f"{name}.dcm").paths)


def levels(paths: list[Path]) -> list[float]:
    return [float(plane.mean()) for plane in read_volume(paths).pixels]


def test_slices_lie_by_their_places_and_not_by_their_names(tmp_path: Path) -> None:
    paths = series(tmp_path)
    volume = read_volume([paths[number] for number in (3, 0, 4, 2, 1)])
    assert [float(plane.mean()) for plane in volume.pixels] == [0, 1, 2, 3, 4]
    assert volume.slices is not None
    assert volume.slices.pitch == pytest.approx(2.5)
    assert volume.pixels.shape == (5, 1, 4, 6)
    assert volume.units == "HU"


def test_a_missing_slice_one_twice_and_two_series_are_no_volume(tmp_path: Path) -> None:
    paths = series(tmp_path)
    with pytest.raises(ConsistencyError, match=r"5 mm apart and most 2\.5"):
        read_volume([paths[number] for number in (0, 1, 2, 4)])
    with pytest.raises(ConsistencyError, match="0 mm apart"):
        read_volume([*paths, paths[2]])
    with pytest.raises(ConsistencyError, match="file 6 of the volume is of another series"):
        read_volume([*paths, *series(tmp_path, 1, name="other")])
    with pytest.raises(ConsistencyError, match="5 x 6 pixels of 1 channel"):
        read_volume([*paths, *series(tmp_path, 1, size=5, name="larger")])


def test_files_without_a_place_keep_their_order(tmp_path: Path) -> None:
    for number, level in enumerate((3.0, 1.0, 2.0)):
        np.save(tmp_path / f"{number}.npy", np.full((4, 5), level))
    assert levels([tmp_path / f"{number}.npy" for number in range(3)]) == [3, 1, 2]
    assert read_volume([tmp_path / "0.npy"]).slices == Slices(None)


def test_colours_are_no_attenuation(tmp_path: Path) -> None:
    np.save(tmp_path / "rgb.npy", np.zeros((4, 5, 3)))
    with pytest.raises(ConsistencyError, match="3 channels"):
        read_volume([tmp_path / "rgb.npy"])


def test_the_rows_of_a_panel_take_the_slices_place(tmp_path: Path) -> None:
    """A page is a view: counts and fields are divided pixel by pixel of the panel."""
    generator = np.random.default_rng(0)
    transmission, flat = generator.uniform(0.2, 0.9, (7, 3, 5)), generator.uniform(900, 1100, (3, 5))
    np.save(tmp_path / "counts.npy", transmission * flat)
    np.save(tmp_path / "flat.npy", np.stack([flat, flat]))
    np.save(tmp_path / "one.npy", flat)
    for name in ("flat.npy", "one.npy"):
        found = read_projections(tmp_path / "counts.npy", flat=tmp_path / name, panel=True)
        np.testing.assert_allclose(found.values.swapaxes(0, 1), -np.log(transmission), rtol=1e-12)
    single = read_projections(tmp_path / "one.npy", panel=True)
    assert single.values.shape == (3, 1, 5)
    np.save(tmp_path / "turned.npy", flat.T)
    with pytest.raises(ConsistencyError, match="3 rows of 5 pixels"):
        read_projections(tmp_path / "counts.npy", flat=tmp_path / "turned.npy", panel=True)
