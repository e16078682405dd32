"""Images whose pixels stay in their file: the same pixels, range and metadata as of those that are read."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from recon import io
from recon.errors import InputError
from recon.io.mapped import is_mapped, map_image, order_statistics, release

TYPES = ("f4", "f8", "i1", "i2", "i4", "u1", "u2", "u4")


def array(dtype: str, shape: tuple[int, ...] = (60, 47)) -> np.ndarray:
    values = np.random.default_rng(1).standard_normal(shape) * 30 + 3
    return (np.abs(values) if dtype[0] == "u" else values).astype(dtype)


def written(folder: Path, kind: str, values: np.ndarray, **more: object) -> Path:
    path = folder / f"a.{kind}"
    if kind == "npy":
        np.save(path, values)
    else:
        tifffile.imwrite(path, values, photometric="minisblack", **more)
    return path


@pytest.mark.parametrize("kind", ["npy", "tif"])
@pytest.mark.parametrize("dtype", TYPES)
def test_a_mapped_image_is_the_one_that_is_read(tmp_path: Path, kind: str, dtype: str) -> None:
    path = written(tmp_path, kind, array(dtype))
    mapped, read = map_image(path), io.read(path)
    assert mapped is not None and is_mapped(mapped.pixels)
    assert np.array_equal(mapped.pixels, read.pixels)
    assert mapped.value_range == read.value_range
    assert (mapped.grid, mapped.source, mapped.spacing) == (read.grid, read.source, read.spacing)
    release(mapped.pixels)
    assert np.array_equal(mapped.pixels, read.pixels)


@pytest.mark.parametrize("values", [np.zeros((9, 8), "f4"), np.full((9, 8), -2.5), np.linspace(0, 1, 72).reshape(9, 8)])
def test_its_range_is_the_one_of_special_images(tmp_path: Path, values: np.ndarray) -> None:
    path = written(tmp_path, "npy", values)
    mapped = map_image(path)
    assert mapped is not None
    assert mapped.value_range == io.read(path).value_range


@pytest.mark.parametrize("dtype", TYPES)
def test_order_statistics_are_those_of_the_sorted_pixels(dtype: str) -> None:
    pixels = array(dtype)[None, None]
    ranks = [0, 1, 700, pixels.size - 1]
    assert order_statistics(pixels, ranks) == np.sort(pixels.ravel())[ranks].astype(float).tolist()


def test_what_is_not_in_one_piece_is_read_as_a_whole(tmp_path: Path) -> None:
    for name, values, more in (
        ("a", array("u1"), {"compression": "zlib"}),
        ("b", array("u1", (20, 21, 3)), {"photometric": "rgb"}),
    ):
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, values, **more)
        assert map_image(path) is None
    np.save(tmp_path / "f.npy", np.asfortranarray(array("f4")))
    assert map_image(tmp_path / "f.npy") is None


def test_damage_is_refused(tmp_path: Path) -> None:
    bad = array("f4")
    bad[3, 4] = np.nan
    with pytest.raises(InputError, match="1 of its 2820 pixel values are NaN"):
        map_image(written(tmp_path, "npy", bad))
    for kind in ("npy", "tif"):
        path = written(tmp_path, kind, array("f4"))
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(InputError, match="cut off"):
            map_image(path)
