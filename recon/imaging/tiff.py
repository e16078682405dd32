"""TIFF by tifffile: integers and floating point, stacks, RGB, opacity."""

import importlib.util
import io
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageSequence

from recon.imaging.decoded import Decoded, RefusedError, check_size, to_axes
from recon.imaging.image import Array, Grid, Source, integer_grid

_UNCOMPRESSED, _PACKBITS, _DEFLATE = 1, 32773, (8, 32946)
_CENTIMETRE = 3
"""The resolution unit that is a length. Inches are left alone: 72 or 300 of them are what a printer was to do."""

_MILLIMETRES = {
    "nm": 1e-6,
    "um": 1e-3,
    "µm": 1e-3,
    "\\u00b5m": 1e-3,
    "micron": 1e-3,
    "microns": 1e-3,
    "mm": 1.0,
    "cm": 10.0,
}
_IMAGEJ_UNIT, _HEADER = re.compile(r"^unit=(.{1,12})$", re.MULTILINE), 4096
_LEAST_MM, _MOST_MM = 1e-6, 1e4
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE = 0, 1, 2, 3


def decode_tiff(data: bytes, limit: int) -> Decoded:
    """The first series of a TIFF; axes other than height, width and samples become frames."""
    import tifffile  # noqa: PLC0415 - takes time, and few need it

    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        series = opened.series[0]
        page = series.keyframe
        check_size(series.shape, limit)
        notes = ("The file holds several series: the first was read.",) if len(opened.series) > 1 else ()
        axes = "".join({"Y": "H", "X": "W", "S": "C"}.get(axis, "F") for axis in series.axes)
        if axes.count("H") != 1 or axes.count("W") != 1 or len(axes) != len(series.shape):
            raise RefusedError(f"its axes are {series.axes}; expected height and width, and frames or colours.")
        for part in series.pages:
            if part is None:
                raise RefusedError("a page of the TIFF is missing.")
            _check_segments(data, part)
        array, spacing = _unpacked(data, series, page), _spacing(page)
    array, layout = _merge_frames(array, axes)
    pixels = to_axes(array.astype(array.dtype.newbyteorder("=")), layout)
    if pixels.dtype.kind == "b":
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind not in "iufc" or pixels.dtype == np.longdouble:
        raise RefusedError(f"its pixels are of type {pixels.dtype}; expected numbers.")
    photometric, profile = int(page.photometric), page.iccprofile
    if photometric == _PALETTE:
        pixels = _coloured(pixels, page.colormap)
    elif photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB) and pixels.shape[1] > 1:
        raise RefusedError(f"its colours are {page.photometric.name}; expected grey, palette or RGB.")
    channels = pixels.shape[1]
    if channels > 4:
        raise RefusedError(f"it has {channels} channels; expected 1 or 3, with or without opacity.")
    colours = 3 if channels >= 3 else 1
    grid = integer_grid(pixels.dtype)
    if photometric == _WHITE_IS_ZERO and grid is not None and pixels.dtype.kind == "u":
        grid = Grid(0, grid.high, (-1.0,), (float(grid.high),))
        flipped = np.iinfo(pixels.dtype).max - pixels[:, :colours]
        pixels = np.concatenate([flipped, pixels[:, colours:]], axis=1)
    alpha = pixels[:, colours:] if channels in (2, 4) else None
    source = Source("tiff", layout, str(pixels.dtype), profile)
    return Decoded(pixels[:, :colours], source, grid, alpha, spacing=spacing, notes=notes)


def encode_tiff(  # noqa: PLR0913, PLR0917  as many as the format has
    path: Path,
    pixels: Array,
    white_is_zero: bool,
    opacity: bool,
    profile: bytes | None,
    spacing: tuple[float, float] | None,
) -> None:
    """Write stored pixels, shape (frames, height, width, channels), uncompressed; BigTIFF where they need it.

    The distances of rows and of columns in mm, where they are known, are written as pixels a centimetre.
    """
    import tifffile  # noqa: PLC0415 - takes time, and few need it

    frames, _, _, channels = pixels.shape
    array = pixels[..., 0] if channels == 1 else pixels
    array = array[0] if frames == 1 else array
    grey = "miniswhite" if white_is_zero else "minisblack"
    rows, columns = (spacing if _is_sane(spacing) else None) or (None, None)
    tifffile.imwrite(
        path,
        array,
        photometric="rgb" if channels >= 3 else grey,
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if opacity else None,
        iccprofile=profile,
        software="recon",
        resolution=(10 / columns, 10 / rows) if rows and columns else None,
        resolutionunit="CENTIMETER" if rows and columns else None,
        metadata=None,
        bigtiff=array.nbytes > 2**32 - 2**25,
    )


def _spacing(page: Any) -> tuple[float, float] | None:
    """The distances of rows and of columns in mm, by the centimetre or by the unit that ImageJ keeps elsewhere."""
    description, unit = str(page.description)[:_HEADER], page.tags.get("ResolutionUnit")
    stated = _IMAGEJ_UNIT.search(description) if description.startswith("ImageJ=") else None
    if stated is not None:
        size = _MILLIMETRES.get(stated[1].strip().lower(), 0.0)
    else:
        size = 10.0 if unit is not None and unit.value == _CENTIMETRE else 0.0
    rows, columns = (size * _units_a_pixel(page.tags.get(name)) for name in ("YResolution", "XResolution"))
    return (rows, columns) if _is_sane((rows, columns)) else None


def _units_a_pixel(resolution: Any) -> float:
    """Of a tag that holds pixels a unit as a ratio; 0 where it does not."""
    try:
        pixels, units = resolution.value
        return float(units / pixels)
    except (AttributeError, TypeError, ValueError, ArithmeticError):
        return 0.0


def _is_sane(spacing: tuple[float, float] | None) -> bool:
    return spacing is not None and all(_LEAST_MM <= length <= _MOST_MM for length in spacing)


def _check_segments(data: bytes, page: Any) -> None:
    """Refuse strips that lie outside of the file, and deflated ones that swell beyond their page."""
    room = 2 * page.keyframe.size * page.keyframe.dtype.itemsize + 4096
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=False):
        if offset < 0 or length < 0 or offset + length > len(data):
            raise RefusedError("its pixels lie beyond the end of the file: it is cut off or damaged.")
        if page.keyframe.compression in _DEFLATE:
            stream = zlib.decompressobj()
            room -= len(stream.decompress(data[offset : offset + length], max(room, 1)))
            if room <= 0 or stream.unconsumed_tail:
                raise RefusedError("its deflated pixels are far larger than the header declares.")


def _unpacked(data: bytes, series: Any, page: Any) -> Array:
    simple = page.compression in (_UNCOMPRESSED, _PACKBITS, *_DEFLATE)
    if simple or importlib.util.find_spec("imagecodecs") is not None:
        return np.asarray(series.asarray())
    name = page.compression.name
    # pillow's libtiff knows the compression, but keeps only these types of pixel as they are
    bits = page.dtype is not None and {"|u1": 8, "<u2": 16, ">u2": 16}.get(page.dtype.str)
    if not (bits == 8 or (bits == 16 and page.samplesperpixel == 1)) or page.photometric not in (1, 2, 6):
        raise RefusedError(f"its {name} compression needs the package imagecodecs, which is not installed.")
    with Pillow.open(io.BytesIO(data), formats=["TIFF"]) as opened:
        frames = [
            np.array(frame) for _, frame in zip(range(len(series.pages)), ImageSequence.Iterator(opened), strict=False)
        ]
    array = np.stack(frames)
    if array.size != int(np.prod(series.shape)) or array.dtype.itemsize * 8 != bits or page.planarconfig != 1:
        raise RefusedError(f"its {name} compression needs the package imagecodecs, which is not installed.")
    return array.reshape(series.shape)


def _merge_frames(array: Array, axes: str) -> tuple[Array, str]:
    order = sorted(range(len(axes)), key=lambda axis: "FHWC".index(axes[axis]))
    sorted_axes = "".join(axes[axis] for axis in order)
    array = array.transpose(order)
    frames = sorted_axes.count("F")
    if frames == 0:
        return array, sorted_axes
    return array.reshape((-1, *array.shape[frames:])), sorted_axes[frames - 1 :]


def _coloured(pixels: Array, colours: Array | None) -> Array:
    if colours is None or pixels.shape[1] != 1 or pixels.max(initial=0) >= colours.shape[1]:
        raise RefusedError("its palette is missing or too short.")
    return np.moveaxis(colours[:, pixels[:, 0]], 0, 1).astype(np.uint16)
