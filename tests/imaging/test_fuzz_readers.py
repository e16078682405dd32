"""Real files, damaged: an image or an InputError, nothing else."""

import io
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from pydicom.data import get_testdata_file

from recon.errors import InputError
from recon.imaging import Image, png, read

DICOM = ["MR_small.dcm", "MR_small_RLE.dcm", "SC_rgb_small_odd_jpeg.dcm", "ExplVR_BigEnd.dcm", "image_dfl.dcm"]
KINDS = ["png8", "png16", "jpeg", "tiff", "tiff-deflate", "npy", *DICOM]


@cache
def real(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    if kind in DICOM:
        return Path(str(get_testdata_file(kind))).read_bytes()
    if kind.startswith("png"):
        return png.encode(pixels if kind == "png8" else pixels.astype(np.uint16) * 257)
    if kind == "jpeg":
        Pillow.fromarray(pixels).save(buffer, "JPEG")
    elif kind == "npy":
        np.save(buffer, pixels.astype(np.float32))
    else:
        tifffile.imwrite(buffer, pixels, photometric="rgb", compression="zlib" if "deflate" in kind else None)
    return buffer.getvalue()


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
    data = bytearray(real(kind))
    for at, replacement in changes:
        start = at % len(data)
        data[start : start + len(replacement)] = replacement
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(data[: max(1, int(kept * len(data)))]))
        file.flush()
        try:
            assert isinstance(read(file.name), Image)
        except InputError as error:
            assert str(error).endswith(".")
            assert "\n" not in str(error)
            assert len(str(error)) < 400
