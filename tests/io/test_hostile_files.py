import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from recon.errors import InputError
from recon.io import read
from recon.io.formats import png


def refused(path: Path, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.endswith(".")
    assert "\n" not in message


def npy(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"shape": shape, "fortran_order": False, "descr": dtype})
    return buffer.getvalue()


def png_header(width: int, height: int, depth: int = 8) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return png.SIGNATURE + b"\0\0\0\r" + body + zlib.crc32(body).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"GIF89a....", "a GIF file; expected PNG, JPEG, TIFF, NPY, NIfTI, OME-Zarr or DICOM"),
        (b"PK\x03\x04....", "a ZIP or NPZ file"),
        (b"\x89HDF\r\n", "a HDF5"),
        (b"hello, world", "none of these"),
        (png_header(2**31 - 1, 2**31 - 1), "it declares 2147483647 x 2147483647 = .* expected at most"),
        (png_header(2**31 - 1, 2**31 - 1, 16), "it declares"),
        (png_header(0, 5), "expected at least one"),
        (png_header(4, 4, 16), "cut off"),
        (png.SIGNATURE, "cut off"),
        (npy((10**9, 10**9)), "it declares 1000000000 x 1000000000"),
        (npy((100, 100)), "ends after 0 bytes of 80000"),
        (npy((4,)), r"shape \(4,\); expected \(H, W\)"),
        (npy((2, 2, 2, 2, 2)), "expected"),
        (npy((-1, 5)), "expected at least one|damaged"),
        (npy((2, 2), "|O"), "expected plain numbers"),
        (npy((2, 2), "<U4"), "expected plain numbers"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "header is cut off or damaged"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "cut off or damaged"),
        (b"II*\0\x08\0\0\0", "cut off or damaged"),
        (b"\0" * 128 + b"DICM", "DICOM"),
    ],
)
def test_content_that_is_no_image_is_refused_in_a_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "file.png").write_bytes(content)
    refused(tmp_path / "file.png", said)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[{"a": 1}]], dtype=object), allow_pickle=True)
    refused(tmp_path / "a.npy", "expected plain numbers")


def test_a_stream_that_swells_is_not_inflated(tmp_path: Path) -> None:
    """64 MiB of zeros in 64 kB, declared as 8 x 8 pixels."""
    bomb = zlib.compress(bytes(2**26), 9)
    body = b"IDAT" + bomb
    chunk = len(bomb).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    end = b"\0\0\0\0IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(png_header(8, 8, 16) + chunk + end)
    assert read(tmp_path / "a.png").pixels.shape == (1, 3, 8, 8)  # what was declared, and no more

    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.uint8), compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as opened:
        tags = opened.pages[0].tags
        at, count = tags["StripOffsets"].valueoffset, tags["StripByteCounts"].valueoffset
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[at : at + 4], data[count : count + 4] = struct.pack("<I", len(data)), struct.pack("<I", len(bomb))
    (tmp_path / "a.tif").write_bytes(bytes(data) + bomb)
    refused(tmp_path / "a.tif", "far larger than the header declares")


def test_the_limit_is_the_callers_to_set(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((20, 20)))
    assert read(tmp_path / "a.npy", max_pixels=400).height == 20
    with pytest.raises(InputError, match="expected at most 399"):
        read(tmp_path / "a.npy", max_pixels=399)


@pytest.mark.parametrize(("value", "count"), [(np.nan, 1), (np.inf, 1), (-np.inf, 1)])
@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_values_that_are_not_finite_are_counted(tmp_path: Path, value: float, count: int, suffix: str) -> None:
    pixels = np.zeros((4, 5), np.float32)
    pixels[1, 2] = value
    path = tmp_path / f"a{suffix}"
    np.save(path, pixels) if suffix == ".npy" else tifffile.imwrite(path, pixels)
    refused(path, f"{count} of its 20 pixel values are NaN or infinite")


def test_places_that_are_no_files_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "a pipe, a device or a socket")
    refused(tmp_path, "it is a folder")
    refused(tmp_path / "absent.png", "no such file")
    refused(Path("/dev/zero"), "a pipe, a device or a socket")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / "loop", "cannot be opened")


def test_a_name_with_control_characters_stays_one_line() -> None:
    with pytest.raises(InputError, match=r"a\?b: the file cannot be opened"):
        read("a\nb")
    with pytest.raises(InputError, match="not a valid name"):
        read("a\0b")


def test_a_link_is_followed_and_a_wrong_suffix_is_noted(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    (tmp_path / "b.dcm").symlink_to(tmp_path / "a.npy")
    image = read(tmp_path / "b.dcm")
    assert image.pixels.shape == (1, 1, 3, 4)
    assert image.notes == ("The name ends in .dcm, the content is NPY: it was read as NPY.",)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    "name", ["photographs/camera.png", "ct/tcga_60-2715.dcm", "mr/studyforrest_t1.dcm", "kernels/levin09_1.npy"]
)
def test_truncated_files_are_refused(tmp_path: Path, bundled_data: Path, name: str, kept: float) -> None:
    data = (bundled_data / name).read_bytes()
    path = tmp_path / Path(name).name
    path.write_bytes(data[: int(kept * len(data))])
    refused(path, "cut off|damaged|without pixels")


def test_an_uncompressed_tiff_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((64, 64), np.uint16))
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[:-1000])
    refused(tmp_path / "a.tif", "beyond the end of the file")


@pytest.mark.parametrize("rows", [65, 2**16, 2**20])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_that_declares_more_rows_than_it_has_is_refused(tmp_path: Path, rows: int, compression: str) -> None:
    """tifffile fills in zeros for strips that are not there."""
    tifffile.imwrite(tmp_path / "a.tif", np.ones((64, 7), np.uint8), rowsperstrip=8, compression=compression)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as opened:
        opened.pages[0].tags["ImageLength"].overwrite(rows, dtype="I")
    refused(tmp_path / "a.tif", "it has 8 of the .* strips or tiles that its size needs")
