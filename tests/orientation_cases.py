"""Pictures stored under every orientation, in the ways that TIFF, PNG and JPEG have."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tifffile
from PIL import Image as Pillow

from recon.io.formats import png

ORIENTATIONS = range(1, 9)
STORAGES = ("strips", "one strip", "tiles", "deflate", "deflated tiles", "LZW", "LZW tiles")
_TAG = 274


def stored(picture: np.ndarray, orientation: int) -> np.ndarray:
    """The rows and columns (the first two axes) that a file holds of a picture, by the table of TIFF 6.0."""
    mirrored = picture[:, ::-1]
    return {
        1: picture,
        2: mirrored,
        3: mirrored[::-1],
        4: picture[::-1],
        5: picture.swapaxes(0, 1),
        6: np.rot90(picture, 1),
        7: picture[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(picture, -1),
    }[orientation]


def tiff(picture: np.ndarray, orientation: int, storage: str = "strips", **options: Any) -> bytes:
    """A TIFF of (height, width) or (height, width, samples)."""
    array = np.ascontiguousarray(stored(picture, orientation))
    options |= {"extratags": [(_TAG, 3, 1, orientation, True)], "metadata": None}
    options |= {"photometric": "rgb"} if array.ndim == 3 else {}
    if "tiles" in storage:
        options["tile"] = (16, 16)
    elif storage != "one strip":
        options["rowsperstrip"] = 3
    buffer = io.BytesIO()
    if "LZW" in storage:
        segments = _segments(array, options.get("tile"), options.get("rowsperstrip"))
        # tifffile writes LZW with a further package only, so it is told of deflate, and the tag is changed
        tifffile.imwrite(buffer, segments, shape=array.shape, dtype=array.dtype, compression="zlib", **options)
        before, after = (b"\x03\x01\x03\0\x01\0\0\0" + bytes([number, 0]) for number in (8, 5))
        assert buffer.getvalue().count(before) == 1
        return buffer.getvalue().replace(before, after)
    tifffile.imwrite(buffer, array, compression="zlib" if "deflate" in storage else None, **options)
    return buffer.getvalue()


def _segments(array: np.ndarray, tile: tuple[int, int] | None, rows: int | None) -> Iterator[bytes]:
    height, width = array.shape[:2]
    for top in range(0, height, tile[0] if tile else rows or height):
        if tile is None:
            yield lzw(array[top : top + (rows or height)].tobytes())
            continue
        for left in range(0, width, tile[1]):
            part = array[top : top + tile[0], left : left + tile[1]]
            full = np.zeros((*tile, *array.shape[2:]), array.dtype)
            full[: part.shape[0], : part.shape[1]] = part
            yield lzw(full.tobytes())


def lzw(data: bytes) -> bytes:
    """TIFF's LZW of single bytes, the table cleared before its codes need a tenth bit."""
    codes = []
    for start in range(0, len(data), 200):
        codes += [256, *data[start : start + 200]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def png_file(picture: np.ndarray, orientation: int, late: bool = False) -> bytes:
    """A PNG of 8 or 16 bits with its eXIf chunk before the pixels or behind them."""
    array = stored(picture, orientation)
    data = png.encode(np.ascontiguousarray(array if array.ndim == 3 else array[..., None]))
    body = b"eXIf" + exif(orientation).removeprefix(b"Exif\0\0")
    chunk = (len(body) - 4).to_bytes(4, "big") + body + png.zlib.crc32(body).to_bytes(4, "big")
    at = data.index(b"IEND" if late else b"IDAT") - 4
    return data[:at] + chunk + data[at:]


def jpeg_file(picture: np.ndarray, orientation: int) -> bytes:
    """A JPEG of 8 bits, nearly without loss."""
    buffer = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(stored(picture, orientation))).save(
        buffer, "JPEG", quality=100, subsampling=0, exif=exif(orientation)
    )
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    tags = Pillow.Exif()
    tags[_TAG] = orientation
    return tags.tobytes()
