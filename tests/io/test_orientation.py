"""Every orientation gives the upright picture, whatever the file's format, compression and type of number."""

from pathlib import Path

import numpy as np
import pytest
from orientation_cases import ORIENTATIONS, STORAGES, jpeg_file, png_file, tiff

from recon.errors import InputError
from recon.io import read, read_projections, write

HEIGHT, WIDTH = 37, 21


def picture(dtype: str, samples: int = 1) -> np.ndarray:
    drawn = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, samples))
    pixels = (drawn / 7 if dtype == "float32" else drawn * (257 if dtype == "uint16" else 1)).astype(dtype)
    return pixels[..., 0] if samples == 1 else pixels


def planes(pixels: np.ndarray) -> np.ndarray:
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(("dtype", "samples"), [("uint8", 1), ("uint8", 3), ("uint16", 1), ("float32", 1)])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_tiff(tmp_path: Path, orientation: int, dtype: str, samples: int, storage: str) -> None:
    pixels = picture(dtype, samples)
    (tmp_path / "a.tif").write_bytes(tiff(pixels, orientation, storage))
    image = read(tmp_path / "a.tif")
    assert image.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(image.pixels[0], planes(pixels))


@pytest.mark.parametrize("storage", ["strips", "tiles", "deflate"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_tiff_of_16_bit_colours_with_opacity(tmp_path: Path, orientation: int, storage: str) -> None:
    pixels = picture("uint16", 4)
    (tmp_path / "a.tif").write_bytes(tiff(pixels, orientation, storage, extrasamples=["unassalpha"]))
    image = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels[0], planes(pixels)[:3])
    np.testing.assert_array_equal(image.alpha[0], planes(pixels)[3:])


def test_what_cannot_be_unpacked_is_refused_and_not_scrambled(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(picture("uint16", 3), 6, "LZW"))
    with pytest.raises(InputError, match="LZW compression needs the package imagecodecs"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_sides_of_a_pixel_turn_with_it(tmp_path: Path, orientation: int) -> None:
    across, down = (20.0, 40.0) if orientation < 5 else (40.0, 20.0)
    (tmp_path / "a.tif").write_bytes(
        tiff(picture("uint8"), orientation, resolution=(across, down), resolutionunit="CENTIMETER")
    )
    assert read(tmp_path / "a.tif").spacing == pytest.approx((0.25, 0.5))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("samples", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_png(tmp_path: Path, orientation: int, dtype: str, samples: int, late: bool) -> None:
    pixels = picture(dtype, samples)
    (tmp_path / "a.png").write_bytes(png_file(pixels, orientation, late))
    image = read(tmp_path / "a.png")
    colours = 3 if samples > 2 else 1
    np.testing.assert_array_equal(image.pixels[0], planes(pixels)[:colours])
    if samples in (2, 4):
        np.testing.assert_array_equal(image.alpha[0], planes(pixels)[colours:])


@pytest.mark.parametrize("kind", ["tif", "png"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_what_is_written_is_upright(tmp_path: Path, orientation: int, kind: str) -> None:
    pixels = picture("uint8", 3)
    (tmp_path / f"a.{kind}").write_bytes((tiff if kind == "tif" else png_file)(pixels, orientation))
    write(read(tmp_path / f"a.{kind}"), tmp_path / f"b.{kind}")
    np.testing.assert_array_equal(read(tmp_path / f"b.{kind}").pixels[0], planes(pixels))


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_jpeg(tmp_path: Path, orientation: int, samples: int) -> None:
    pixels = picture("uint8", samples).repeat(8, axis=0).repeat(8, axis=1)
    (tmp_path / "a.jpg").write_bytes(jpeg_file(pixels, orientation))
    found = read(tmp_path / "a.jpg").pixels[0].astype(int)
    assert found.shape == planes(pixels).shape
    assert np.abs(found - planes(pixels)).max() < 16


@pytest.mark.parametrize("number", [0, 9, 255])
def test_an_orientation_that_there_is_not_is_upright(tmp_path: Path, number: int) -> None:
    pixels = picture("uint8")
    upright = tiff(pixels, 1)
    (tmp_path / "a.tif").write_bytes(
        upright.replace(b"\x12\x01\x03\0\x01\0\0\0\x01", bytes([18, 1, 3, 0, 1, 0, 0, 0, number]))
    )
    np.testing.assert_array_equal(read(tmp_path / "a.tif").pixels[0, 0], pixels)


def test_pages_of_two_orientations_are_refused(tmp_path: Path) -> None:
    import tifffile  # noqa: PLC0415

    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for orientation in (1, 3):
            writer.write(picture("uint8"), extratags=[(274, 3, 1, orientation, True)], metadata=None)
    with pytest.raises(InputError, match="orientations 1, 3; expected one"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_flat_and_dark_fields_and_counts_are_upright_too(tmp_path: Path, orientation: int) -> None:
    generator = np.random.default_rng(0)
    sides = (5, 9)  # views, or frames, by pixels of the detector
    files = {
        "counts": generator.integers(300, 900, sides),
        "flat": generator.integers(1000, 1100, sides),
        "dark": generator.integers(10, 20, sides),
    }
    for name, pixels in files.items():
        (tmp_path / f"{name}.tif").write_bytes(tiff(pixels.astype(np.uint16), orientation, "LZW"))
        np.save(tmp_path / f"{name}.npy", pixels.astype(np.uint16))
    found, expected = (
        read_projections(tmp_path / f"counts.{kind}", flat=tmp_path / f"flat.{kind}", dark=tmp_path / f"dark.{kind}")
        for kind in ("tif", "npy")
    )
    np.testing.assert_array_equal(found.values, expected.values)
