"""Masks and point spread functions: upright, opaque, and of two values or thresholded with a remark."""

import io
from pathlib import Path

import numpy as np
import pytest
from orientation_cases import ORIENTATIONS, STORAGES, png_file, tiff
from PIL import Image as Pillow

from recon.errors import InputError
from recon.io import read
from recon.io.formats import png
from recon.specs.grammar import Spec
from recon.specs.operators import read_operator
from recon.specs.planes import read_mask, read_plane

SIDES = (24, 17)


def two_valued(high: int = 255, dtype: str = "uint8") -> np.ndarray:
    rows, columns = np.indices(SIDES)
    return (high * ((rows // 8 + columns // 5) % 2 == 0)).astype(dtype)


@pytest.mark.parametrize("storage", [*STORAGES, "png", "png with the tag behind the pixels"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_masks_and_kernels_are_upright(tmp_path: Path, orientation: int, storage: str) -> None:
    picture = two_valued()
    data = (
        png_file(picture, orientation, late="behind" in storage)
        if "png" in storage
        else tiff(picture, orientation, storage)
    )
    path = tmp_path / "a"
    path.write_bytes(data)
    mask, remark = read_mask(path)
    np.testing.assert_array_equal(mask, picture > 0)
    assert remark == ""
    np.testing.assert_array_equal(read_plane(path, "PSF"), picture)


@pytest.mark.parametrize("name", ["inpaint", "mri"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_operators_have_their_masks_upright(tmp_path: Path, orientation: int, name: str) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(two_valued(), orientation, "LZW"))
    family = read_operator(Spec(name, {"mask": str(tmp_path / "a.tif")}))
    np.testing.assert_array_equal(family.on(SIDES).mask.numpy() != 0, two_valued() > 0)


@pytest.mark.parametrize("high", [1, 2, 255])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "float32", "float64"])
def test_two_values_are_taken_as_they_are(tmp_path: Path, high: int, dtype: str) -> None:
    np.save(tmp_path / "a.npy", two_valued(high, dtype))
    mask, remark = read_mask(tmp_path / "a.npy")
    np.testing.assert_array_equal(mask, two_valued() > 0)
    assert remark == ""


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_mask_is_that_of_its_png(tmp_path: Path, mode: str, quality: int) -> None:
    Pillow.fromarray(two_valued()).convert(mode).save(tmp_path / "a.jpg", quality=quality)
    assert len(np.unique(read(tmp_path / "a.jpg").pixels)) > 2
    said: list[str] = []
    family = read_operator(Spec("inpaint", {"mask": str(tmp_path / "a.jpg")}), said.append)
    np.testing.assert_array_equal(family.on(SIDES).mask.numpy() != 0, two_valued() > 0)
    assert any("half of the largest, counts as measured" in line for line in said)


def test_a_mask_that_was_scaled_is_thresholded_at_half_of_its_largest_value(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[0.0, 0.2, 0.49], [0.51, 0.8, 1.0]]))
    mask, remark = read_mask(tmp_path / "a.npy")
    assert mask.tolist() == [[False] * 3, [True] * 3]
    assert "has 6 values and not two" in remark
    assert "above 0.5" in remark


def test_a_whole_mask_of_one_value_measures_all(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full(SIDES, 255, np.uint8))
    assert read_mask(tmp_path / "a.npy")[0].all()


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.zeros(SIDES), "zero everywhere"),
        (two_valued(2, "int16") - 1, "negative values, down to -1"),
        (np.zeros((2, 4, 5)), "2 frames; expected a single one"),
        (two_valued() * 1j, "complex; expected real"),
        (np.random.default_rng(0).uniform(size=(*SIDES, 3)), "colour image"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, pixels: np.ndarray, said: str) -> None:
    np.save(tmp_path / "a.npy", pixels)
    with pytest.raises(InputError, match=said) as caught:
        read_mask(tmp_path / "a.npy")
    assert str(caught.value).startswith(str(tmp_path / "a.npy"))


@pytest.mark.parametrize("what", ["mask", "PSF"])
@pytest.mark.parametrize("channels", [2, 4])
def test_opacity_is_not_ignored(tmp_path: Path, channels: int, what: str) -> None:
    grey = two_valued()[..., None]
    opaque = np.full_like(grey, 255)
    path = tmp_path / "a.png"
    colours = [grey] * (channels - 1)
    path.write_bytes(png.encode(np.concatenate([*colours, opaque], axis=2)))
    np.testing.assert_array_equal(read_plane(path, what), two_valued())
    opaque[3, 4] = 0
    path.write_bytes(png.encode(np.concatenate([*colours, opaque], axis=2)))
    with pytest.raises(InputError, match=f"1 of the 408 pixels of the {what} are transparent; expected an opaque"):
        read_plane(path, what)


def test_a_mask_of_a_palette_with_a_transparent_colour_is_refused(tmp_path: Path) -> None:
    indexed = Pillow.fromarray(two_valued(1)).convert("P")
    indexed.putpalette([0, 0, 0, 255, 255, 255])
    buffer = io.BytesIO()
    indexed.save(buffer, "PNG", transparency=1)
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="are transparent"):
        read_mask(tmp_path / "a.png")
