"""PNG and JPEG, by pillow where it keeps every bit."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from recon.io.decoded import Decoded, RefusedError, check_size
from recon.io.formats import png
from recon.io.formats.jpeg import frame_header
from recon.io.formats.orientation import TAG, UPRIGHT, upright
from recon.io.image import Array, Source, integer_grid

JPEG_QUALITY = 95
_CONVERTER = "'djpeg -pnm' of libjpeg-turbo 3 turns it into PNM, which 'magick IN.pnm OUT.png' turns into PNG"
_CONVERTERS = {"JPEG-LS": "'ffmpeg -i IN.jls OUT.png' turns it into PNG"}
_PLAIN_MODES = {"L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "1": "L", "CMYK": "RGB", "YCbCr": "RGB"}


def decode_png(data: bytes, limit: int) -> Decoded:
    """PNG with 1 to 16 bits: grey, RGB, palette (as RGB), each with or without opacity; turned as its eXIf asks."""
    width, height, depth, *_ = png.header(data)
    check_size((height, width), limit)
    notes: tuple[str, ...] = ()
    if depth == 16:
        pixels = png.decode16(data, limit)
        with open_raster(data, "PNG") as opened:
            profile, orientation = opened.info.get("icc_profile"), _orientation(opened)
            if "transparency" in opened.info:
                notes = ("The transparent colour of the PNG was left out.",)
    else:
        with open_raster(data, "PNG") as opened:
            check_size((opened.height, opened.width, len(opened.getbands())), limit)
            profile, orientation = opened.info.get("icc_profile"), _orientation(opened)
            if getattr(opened, "n_frames", 1) > 1:
                notes = ("The file is an animation: its first frame was read.",)
            pixels = _as_array(_with_opacity(opened))
    return upright(_decoded(pixels, "png", profile, notes), orientation)


def decode_jpeg(data: bytes, limit: int) -> Decoded:
    """JPEG with 8 bits, turned as its EXIF header asks; CMYK becomes RGB."""
    found = frame_header(data)
    if found is not None and not found.is_common:
        raise RefusedError(
            f"it is {found.coding} with {found.bits} bits a sample; expected JPEG with 8 bits and Huffman codes, "
            f"because no decoder of the other is at hand: {_CONVERTERS.get(found.coding, _CONVERTER)}."
        )
    with open_raster(data, "JPEG") as opened:
        check_size((opened.height, opened.width, len(opened.getbands())), limit)
        profile = opened.info.get("icc_profile")
        notes: tuple[str, ...] = ()
        if opened.mode not in ("L", "RGB"):
            notes, profile = (f"The {opened.mode} colours of the JPEG were turned into RGB.",), None
        return upright(_decoded(_as_array(opened), "jpeg", profile, notes), _orientation(opened))


def encode_png(path: Path, pixels: Array, profile: bytes | None) -> None:
    """Write 8- or 16-bit pixels of shape (height, width, channels)."""
    path.write_bytes(png.encode(pixels, profile))


def encode_jpeg(path: Path, pixels: Array, profile: bytes | None) -> None:
    """Write 8-bit pixels of shape (height, width, 1 or 3), with full colour resolution."""
    image = Pillow.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(path, "JPEG", quality=JPEG_QUALITY, subsampling=0, icc_profile=profile)


def open_raster(data: bytes, kind: str) -> Pillow.Image:
    """A file as pillow opens it, in the only format that it is to be."""
    try:
        return Pillow.open(io.BytesIO(data), formats=[kind])
    except Pillow.DecompressionBombError:
        raise RefusedError("it declares too many pixels for pillow, which bounds the memory.") from None


def _orientation(opened: Pillow.Image) -> int:
    """Return what EXIF, wherever a PNG or JPEG file keeps it, says of its rows and columns."""
    opened.load()  # PNG may have it behind the pixels
    try:
        found = opened.getexif().get(TAG, UPRIGHT)
    except (SyntaxError, ValueError, struct.error):  # pixels are not given up for damaged remarks about them
        return UPRIGHT
    return found if isinstance(found, int) and 1 <= found <= 8 else UPRIGHT


def _with_opacity(opened: Pillow.Image) -> Pillow.Image:
    if "transparency" in opened.info:
        return opened.convert("LA" if opened.mode in ("1", "L") else "RGBA")
    return opened.convert("RGB") if opened.mode == "P" else opened


def _as_array(opened: Pillow.Image) -> Array:
    if opened.mode not in _PLAIN_MODES:
        raise RefusedError(f"its pixels are of pillow's type {opened.mode}; expected grey or RGB.")
    array = np.array(opened.convert(_PLAIN_MODES[opened.mode]))
    return array[..., None] if array.ndim == 2 else array


def _decoded(pixels: Array, kind: str, profile: bytes | None, notes: tuple[str, ...]) -> Decoded:
    channels = pixels.shape[2]
    planes = pixels.transpose(2, 0, 1)[None]
    colours = 3 if channels >= 3 else 1
    return Decoded(
        planes[:, :colours],
        Source(kind, "HWC", str(pixels.dtype), profile),
        integer_grid(pixels.dtype),
        alpha=planes[:, colours:] if channels in (2, 4) else None,
        notes=notes,
    )
