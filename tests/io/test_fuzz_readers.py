"""Real files, damaged: an image or an InputError, nothing else."""

import contextlib
import io
import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from orientation_cases import jpeg_file, png_file, tiff
from PIL import Image as Pillow
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from recon.errors import InputError
from recon.io import Image, read, write
from recon.io.formats import png
from recon.specs.planes import read_mask, read_plane

DICOM = ["MR_small.dcm", "MR_small_RLE.dcm", "SC_rgb_small_odd_jpeg.dcm", "ExplVR_BigEnd.dcm", "image_dfl.dcm"]
STACKS = ["imagej", "ome", "shaped"]
TURNED = ["png8-turned", "png16-turned", "jpeg-turned", "tiff-turned", "tiff-LZW", "tiff-LZW tiles"]
KINDS = ["png8", "png16", "jpeg", "tiff", "tiff-deflate", "npy", "npy-rgba", "jpeg12", *STACKS, *TURNED, *DICOM]


@cache
def real(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    if kind in DICOM:
        return Path(str(get_testdata_file(kind))).read_bytes()
    if kind in STACKS:
        volume = pixels.reshape(2, 2, 9, 9)
        options = {"imagej": {"imagej": True}, "ome": {"ome": True}, "shaped": {}}[kind]
        metadata = {"axes": "TZYX", "PhysicalSizeX": 0.5, "unit": "um"}
        tifffile.imwrite(buffer, volume, metadata=metadata, photometric="minisblack", resolution=(2.0, 4.0), **options)
        return buffer.getvalue()
    if kind == "jpeg12":
        dataset = pydicom.dcmread(str(get_testdata_file("JPGExtended.dcm")))
        return next(generate_frames(dataset.PixelData, number_of_frames=1))
    if kind in TURNED:
        return turned(kind, pixels)
    if kind.startswith("png"):
        return png.encode(pixels if kind == "png8" else pixels.astype(np.uint16) * 257)
    if kind == "jpeg":
        Pillow.fromarray(pixels).save(buffer, "JPEG")
    elif kind == "npy":
        np.save(buffer, pixels.astype(np.float32))
    elif kind == "npy-rgba":
        np.save(buffer, np.concatenate([pixels, pixels[..., :1]], axis=2))
    else:
        tifffile.imwrite(buffer, pixels, photometric="rgb", compression="zlib" if "deflate" in kind else None)
    return buffer.getvalue()


def turned(kind: str, pixels: np.ndarray) -> bytes:
    if kind == "jpeg-turned":
        return jpeg_file(pixels, 6)
    if kind.startswith("png"):
        return png_file(pixels if kind.startswith("png8") else pixels.astype(np.uint16) * 257, 7, late=True)
    return tiff(pixels, 8, kind.removeprefix("tiff-"))


edits = st.lists(
    st.tuples(
        st.integers(0, 700) | st.integers(0, 10**6), st.binary(min_size=1, max_size=4) | st.just(b"\xff\xff\xff\x7f")
    ),
    max_size=6,
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=5000, suppress_health_check=[HealthCheck.too_slow])
@given(changes=edits, kept=st.just(1.0) | st.floats(0.0, 1.0))
def test_a_damaged_file_is_an_image_or_an_input_error(kind: str, changes: list[tuple[int, bytes]], kept: float) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(damaged(kind, changes, kept))
        file.flush()
        with refusal():
            assert isinstance(read(file.name), Image)


@pytest.mark.parametrize("kind", ["png8-turned", "tiff-LZW", "tiff-turned", "npy-rgba", "jpeg-turned"])
@settings(max_examples=30, deadline=5000, suppress_health_check=[HealthCheck.too_slow])
@given(changes=edits, kept=st.just(1.0) | st.floats(0.0, 1.0))
def test_a_damaged_mask_or_kernel_is_one_or_an_input_error(
    kind: str, changes: list[tuple[int, bytes]], kept: float
) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(damaged(kind, changes, kept))
        file.flush()
        for reader in (lambda path: read_mask(path)[0], lambda path: read_plane(path, "PSF")):
            with refusal():
                assert reader(Path(file.name)).ndim == 2


@pytest.mark.parametrize("kind", STACKS)
@settings(max_examples=40, deadline=5000, suppress_health_check=[HealthCheck.too_slow])
@given(changes=edits)
def test_a_stack_whose_metadata_are_damaged_is_written_all_the_same(
    kind: str, changes: list[tuple[int, bytes]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.tif", Path(folder) / "b.tif"
        source.write_bytes(damaged(kind, changes, 1.0))
        with refusal():
            image = read(source)
            write(image, target)
            np.testing.assert_array_equal(read(target).pixels, image.pixels)


def damaged(kind: str, changes: list[tuple[int, bytes]], kept: float) -> bytes:
    data = bytearray(real(kind))
    for at, replacement in changes:
        start = at % len(data)
        data[start : start + len(replacement)] = replacement
    return bytes(data[: max(1, int(kept * len(data)))])


@contextlib.contextmanager
def refusal() -> Iterator[None]:
    """Nothing is raised, or an InputError of one sentence."""
    try:
        yield
    except InputError as error:
        assert str(error).endswith(".")
        assert "\n" not in str(error)
        assert len(str(error)) < 400
        assert not re.search(r"\w(Error|Exception)\b", str(error)), (
            "the name of a class says nothing to who has the file"
        )
