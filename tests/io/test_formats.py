import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as Pillow
from PIL import ImageCms

from recon.errors import OutputError
from recon.io import from_array, output_paths, read, to_tensor, with_tensor, write
from recon.io.formats import png

SIDES = (7, 5)


def some(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    drawn = np.random.default_rng(0).integers(0, 256, shape)
    return (drawn * 257 if dtype in ("uint16", "uint32") else drawn - 128 * dtype.startswith("int")).astype(dtype)


def same(first: np.ndarray, second: np.ndarray) -> bool:
    return first.dtype == second.dtype and np.array_equal(first, second)


@given(hnp.arrays(st.sampled_from([np.uint8, np.uint16]), st.tuples(*[st.integers(1, 9)] * 2, st.integers(1, 4))))
def test_png_is_written_as_pillow_reads_it_and_16_bits_are_read_back(pixels: np.ndarray) -> None:
    data = png.encode(pixels)
    if pixels.dtype == np.uint16:
        assert same(png.decode16(data, 10**6), pixels)
    else:
        with Pillow.open(io.BytesIO(data)) as opened:
            assert same(np.asarray(opened).reshape(pixels.shape), pixels)


def test_pillow_agrees_about_16_bit_grey() -> None:
    pixels = some("uint16", (*SIDES, 1))
    buffer = io.BytesIO()
    Pillow.fromarray(pixels[..., 0]).save(buffer, "PNG")
    assert same(png.decode16(buffer.getvalue(), 10**6), pixels)


@pytest.mark.parametrize("kind", range(5))
def test_every_row_filter_is_undone(kind: int) -> None:
    """Filters written here pixel by pixel, from the specification's text."""
    pixels = some("uint16", (6, 5, 3))
    raw = np.ascontiguousarray(pixels.astype(">u2")).view(np.uint8).reshape(6, 30).astype(int)
    body = b""
    for row in range(6):
        body += bytes([kind])
        for at in range(30):
            a = raw[row, at - 6] if at >= 6 else 0
            b = raw[row - 1, at] if row else 0
            c = raw[row - 1, at - 6] if row and at >= 6 else 0
            paeth = min((a, b, c), key=lambda near: abs(a + b - c - near))
            body += bytes([(raw[row, at] - (0, a, b, (a + b) // 2, paeth)[kind]) % 256])
    assert same(png.decode16(png_of(5, 6, 2, 0, body), 10**6), pixels)


def test_interlaced_16_bit_is_put_together() -> None:
    pixels = some("uint16", (9, 11, 3))
    steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    body = b"".join(
        b"\0" + pixels[row, c::dc].astype(">u2").tobytes() for r, c, dr, dc in steps for row in range(r, 9, dr)
    )
    assert same(png.decode16(png_of(11, 9, 2, 1, body), 10**6), pixels)


def png_of(width: int, height: int, colour: int, interlaced: int, body: bytes) -> bytes:
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, interlaced))]
    chunks += [(b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    parts = (len(b).to_bytes(4, "big") + k + b + zlib.crc32(k + b).to_bytes(4, "big") for k, b in chunks)
    return png.SIGNATURE + b"".join(parts)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_unchanged_is_identical(tmp_path: Path, dtype: str, channels: int) -> None:
    pixels = some(dtype, (*SIDES, channels))
    (tmp_path / "a.png").write_bytes(png.encode(pixels))
    image = read(tmp_path / "a.png")
    assert image.channels == (3 if channels > 2 else 1)
    assert (image.alpha is not None) == (channels in (2, 4))
    write(with_tensor(image, to_tensor(image)), tmp_path / "b.png")
    again = (tmp_path / "b.png").read_bytes()
    found = png.decode16(again, 10**6) if dtype == "uint16" else np.asarray(Pillow.open(io.BytesIO(again)))
    assert same(found.reshape(pixels.shape), pixels)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("shape", [SIDES, (4, *SIDES), (*SIDES, 3), (4, *SIDES, 3), (*SIDES, 4)])
def test_tiff_unchanged_is_identical(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    pixels = some(dtype, shape)
    colour = shape[-1] in (3, 4)
    extra = ["unassalpha"] if shape[-1] == 4 else None
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb" if colour else "minisblack", extrasamples=extra)
    write(read(tmp_path / "a.tif"), tmp_path / "b.tif")
    assert same(tifffile.imread(tmp_path / "b.tif"), pixels)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"resolution": (20.0, 40.0), "resolutionunit": "CENTIMETER"}, (0.25, 0.5)),
        ({"resolution": (20.0, 40.0), "imagej": True, "metadata": {"unit": "mm"}}, (0.025, 0.05)),
        ({"resolution": (20.0, 40.0), "imagej": True, "metadata": {"unit": "\\u00B5m"}}, (2.5e-5, 5e-5)),
        ({"resolution": (20.0, 40.0), "imagej": True, "metadata": {"unit": "parsec"}}, None),
        ({"resolution": (20.0, 40.0), "imagej": True}, None),
        ({"resolution": (300.0, 300.0), "resolutionunit": "INCH"}, None),
        ({"resolution": ((0, 1), (0, 7)), "resolutionunit": "CENTIMETER"}, None),
        ({}, None),
    ],
)
def test_tiff_keeps_the_size_of_a_pixel_where_it_is_a_length(tmp_path: Path, written, expected) -> None:
    tifffile.imwrite(tmp_path / "a.tif", some("uint16", SIDES), **written)
    image = read(tmp_path / "a.tif")
    assert image.spacing == (None if expected is None else pytest.approx(expected, rel=1e-6))
    write(image, tmp_path / "b.tif")
    assert read(tmp_path / "b.tif").spacing == (None if expected is None else pytest.approx(expected, rel=1e-6))


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_either_byte_order_planes_and_deflate(tmp_path: Path, order: str) -> None:
    pixels = some("uint16", (3, *SIDES))
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, byteorder=order, photometric="rgb", planarconfig="separate", compression="zlib"
    )
    assert same(read(tmp_path / "a.tif").pixels, pixels[None])


def test_white_is_zero_is_turned_for_processing_and_written_in_its_own_sense(tmp_path: Path) -> None:
    pixels = some("uint8", SIDES)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    image = read(tmp_path / "a.tif")
    assert same(image.pixels[0, 0], 255 - pixels)
    write(with_tensor(image, to_tensor(image)), tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as written:
        assert same(written.asarray(), pixels)
        assert written.pages[0].photometric.name == "MINISWHITE"


def test_lzw_is_read_through_pillow(tmp_path: Path) -> None:
    pixels = some("uint8", (*SIDES, 3))
    Pillow.fromarray(pixels).save(tmp_path / "a.tif", compression="tiff_lzw")
    assert same(read(tmp_path / "a.tif").pixels[0], pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "uint16", "int64", "float16", "float32", "float64", "complex64"]
)
@pytest.mark.parametrize("shape", [SIDES, (4, *SIDES), (*SIDES, 3), (4, *SIDES, 3), (2, 3, *SIDES), (2, 1, *SIDES)])
def test_npy_unchanged_is_identical(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    pixels = some(dtype, shape)
    np.save(tmp_path / "a.npy", np.asfortranarray(pixels))
    write(read(tmp_path / "a.npy"), tmp_path / "b.npy")
    assert same(np.load(tmp_path / "b.npy", allow_pickle=False), pixels)


def test_jpeg_is_read_turned_upright_and_written_near(tmp_path: Path, bundled_data: Path) -> None:
    with Pillow.open(bundled_data / "photographs" / "astronaut.png") as opened:
        picture = opened.crop((100, 0, 196, 64))
        exif = Pillow.Exif()
        exif[0x0112] = 6  # the camera was turned by 90 degrees
        picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = read(tmp_path / "a.jpg")
    assert image.pixels.shape == (1, 3, 96, 64)
    done = write(image, tmp_path / "b.jpg")
    assert "approximation" in done.notes[-1]
    assert np.abs(read(tmp_path / "b.jpg").pixels.astype(int) - image.pixels).mean() < 2


def test_units_are_mapped_to_black_and_white_where_a_format_has_none(tmp_path: Path) -> None:
    image = from_array(np.array([[-1024, 3071, 4000]], np.int16), units="HU")
    done = write(image, tmp_path / "a.png")
    assert read(tmp_path / "a.png").pixels.ravel().tolist() == [0, 65535, 65535]
    assert done.clipped == 1
    assert done.notes == ("Black is -1024 HU and white is 3071 HU.",)


def test_frames_that_do_not_fit_into_one_file_become_several(tmp_path: Path) -> None:
    image = from_array(some("uint8", (3, 1, *SIDES)))
    done = write(image, tmp_path / "a.png")
    assert [path.name for path in done.paths] == ["a_0001.png", "a_0002.png", "a_0003.png"]
    assert done.paths == output_paths(image, tmp_path / "a.png")
    assert same(read(done.paths[2]).pixels[0], image.pixels[2])


def test_the_colour_profile_is_kept(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Pillow.fromarray(some("uint8", (*SIDES, 3))).save(tmp_path / "a.png", icc_profile=profile)
    for name in ("b.png", "b.tif", "b.jpg"):
        write(read(tmp_path / "a.png"), tmp_path / name)
        assert read(tmp_path / name).source.profile == profile


@pytest.mark.parametrize("name", ["out.bmp", "out", "out.txt"])
def test_a_suffix_that_names_no_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="names no format; expected PNG"):
        write(from_array(np.zeros((2, 2))), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_what_is_neither_dicom_nor_in_hounsfield_units_cannot_become_dicom(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="DICOM CT holds HU"):
        write(from_array(np.zeros((2, 2), np.int16)), tmp_path / "out.dcm")
    assert not list(tmp_path.iterdir())
