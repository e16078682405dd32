"""What a file's samples and axes are: grey, RGB or opacity as the file says it, and never frames that are none."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from recon.errors import InputError
from recon.io import read, to_tensor, with_tensor, write

SIDES = (9, 7)


def some(*shape: int, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(0).integers(1, 255, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("frames", [(), (3,)])
def test_npy_channels_stand_last(tmp_path: Path, dtype: str, frames: tuple[int, ...]) -> None:
    for channels in (1, 3, 4):
        pixels = some(*frames, *SIDES, channels, dtype=dtype)
        np.save(tmp_path / "a.npy", pixels)
        image = read(tmp_path / "a.npy")
        colours = min(channels, 3)
        assert image.pixels.shape == ((frames or (1,))[0], colours, *SIDES)
        assert (image.alpha is not None) == (channels == 4)
        first = pixels if not frames else pixels[0]
        np.testing.assert_array_equal(image.pixels[0], first.transpose(2, 0, 1)[:colours])
        write(with_tensor(image, to_tensor(image)), tmp_path / "b.npy")
        np.testing.assert_allclose(np.load(tmp_path / "b.npy"), pixels, rtol=1e-6)
        (tmp_path / "b.npy").unlink()


def test_opacity_in_npy_is_said(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", some(*SIDES, 4))
    assert "red, green, blue and opacity" in read(tmp_path / "a.npy").notes[0]
    np.save(tmp_path / "a.npy", some(*SIDES, 4).astype(np.complex64))
    with pytest.raises(InputError, match="4 channels of complex64; expected real numbers"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("shape", [(9, 7, 2), (3, 9, 7, 2), (3, 9, 7, 5), (3, 2, 9, 7), (3, 4, 9, 7)])
def test_npy_shapes_that_are_not_known_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", some(*shape))
    with pytest.raises(InputError, match=r"expected \(H, W\), \(N, H, W\), \(N, 1, H, W\)"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("extra", ["assocalpha", "unassalpha"])
@pytest.mark.parametrize(("photometric", "samples"), [("minisblack", 2), ("rgb", 4)])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_opacity_keeps_its_tag(tmp_path: Path, planar: str, photometric: str, samples: int, extra: str) -> None:
    pixels = some(*SIDES, samples)
    array = pixels if planar == "contig" else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "a.tif", array, photometric=photometric, planarconfig=planar, extrasamples=[extra])
    image = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.alpha[0, 0], pixels[..., -1])
    write(with_tensor(image, to_tensor(image)), tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as written:
        assert written.pages[0].extrasamples == (tifffile.EXTRASAMPLE[extra.upper()],)
        np.testing.assert_array_equal(written.asarray(), pixels)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("samples", [2, 3, 4])
def test_grey_samples_that_are_not_called_opacity_are_refused(tmp_path: Path, samples: int, planar: str) -> None:
    pixels = some(*SIDES, samples)
    array = pixels if planar == "contig" else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", planarconfig=planar)
    with pytest.raises(InputError, match=f"are grey and have {samples} samples, of which ExtraSamples calls none"):
        read(tmp_path / "a.tif")


def test_a_fourth_colour_is_left_out_and_said(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", some(*SIDES, 4), photometric="rgb", extrasamples=[0])
    image = read(tmp_path / "a.tif")
    assert image.alpha is None
    assert image.channels == 3
    assert "does not say that it is opacity" in image.notes[0]


def test_colours_of_floating_point_that_tifffile_saves_as_pages_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", some(*SIDES, 3, dtype="float32"), photometric="minisblack")
    with pytest.raises(InputError, match=r"9 pages of 7 x 3 pixels, as colours .* expected photometric RGB"):
        read(tmp_path / "a.tif")


def test_png_has_colours_that_are_not_multiplied_by_the_opacity(tmp_path: Path) -> None:
    colours, alpha = np.full((*SIDES, 3), 200, np.uint8), np.full((*SIDES, 1), 51, np.uint8)
    multiplied = np.concatenate([(colours * (alpha / 255)).round().astype(np.uint8), alpha], axis=2)
    tifffile.imwrite(tmp_path / "a.tif", multiplied, photometric="rgb", extrasamples=["assocalpha"])
    write(read(tmp_path / "a.tif"), tmp_path / "a.png")
    with Pillow.open(io.BytesIO((tmp_path / "a.png").read_bytes())) as opened:
        assert opened.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(opened), np.concatenate([colours, alpha], axis=2))
