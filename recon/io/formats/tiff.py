"""TIFF by tifffile: integers and floating point, stacks, RGB, opacity."""

import importlib.util
import io
import math
import mmap
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recon.io.decoded import Decoded, RefusedError, check_size, to_axes
from recon.io.formats.orientation import TAG, UPRIGHT, upright
from recon.io.formats.raster import open_raster
from recon.io.formats.tiff_chain import check_chain
from recon.io.formats.tiff_stack import Stack, arguments, check_ome, pitch_of, read_stack, spacing_of, stack_of
from recon.io.image import Array, Grid, Slices, Source, integer_grid

_UNCOMPRESSED, _PACKBITS, _DEFLATE = 1, 32773, (8, 32946)
__all__ = ["check_tiff", "decode_tiff", "encode_tiff", "stack_of"]

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
_PROFILE, _BYTES = 34675, 7
"""The tag of the ICC colour profile, and its type."""

_IN_PILLOW = {
    ("u1", 1): ("L",),
    ("u1", 3): ("RGB",),
    ("u1", 4): ("RGBA", "RGBX"),
    ("u2", 1): ("I;16", "I;16B"),
    ("f4", 1): ("F",),
}
"""Types and samples of pixels, and pillow's modes that hold every bit of them."""

_ASSOCIATED, _UNASSOCIATED = 1, 2
"""What ExtraSamples calls opacity, with colours that are multiplied by it and with others."""


def decode_tiff(data: bytes, limit: int) -> Decoded:
    """The first series of a TIFF, upright; axes other than height, width and samples become frames."""
    import tifffile  # noqa: PLC0415 - takes time, and few need it

    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        series, axes, orientation = _checked(opened, data, limit)
        page = series.keyframe
        notes = ("The file holds several series: the first was read.",) if len(opened.series) > 1 else ()
        if len(getattr(series, "levels", ())) > 1:
            notes = (*notes, "The lower resolutions of the pyramid are not read, and a result has none.")
        array, layout = _merge_frames(_unpacked(data, series, page), axes)
        stack = read_stack(opened, series, "".join(axis for axis in series.axes if axis not in "YXS"), orientation)
        profile, spacing = _profile(page), _spacing(page)
    pixels, grid, alpha, more = _in_colours(to_axes(array.astype(array.dtype.newbyteorder("=")), layout), page)
    associated = alpha is not None and int(page.extrasamples[0]) == _ASSOCIATED
    source = Source("tiff", layout, str(pixels.dtype), profile, associated=associated, stack=stack)
    decoded = upright(Decoded(pixels, source, grid, alpha, spacing=spacing, notes=(*notes, *more)), orientation)
    stated, pitch = spacing_of(stack), pitch_of(stack)
    if pitch is not None:
        decoded = replace(decoded, slices=Slices(pitch))
    return replace(decoded, spacing=stated) if decoded.spacing is None and _is_sane(stated) else decoded


def map_tiff(path: Path, limit: int) -> Decoded | None:
    """The pixels of an upright grey TIFF where they lie in its file, uncompressed and in one piece; else ``None``."""
    import tifffile  # noqa: PLC0415 - takes time, and few need it

    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:  # noqa: SIM117
        with tifffile.TiffFile(path) as opened:
            series, axes, orientation = _checked(opened, data, limit)
            page = series.keyframe
            grey = page.photometric == _BLACK_IS_ZERO and page.samplesperpixel == 1 and "C" not in axes
            plain = series.dataoffset is not None and orientation == UPRIGHT and len(opened.series) == 1
            dtype = np.dtype(series.dtype).newbyteorder(opened.byteorder)
            if not (grey and plain and dtype.isnative and dtype.kind in "iuf" and axes.endswith("HW")):
                return None
            stack = read_stack(opened, series, "".join(axis for axis in series.axes if axis not in "YXS"), orientation)
            profile, spacing, start, shape = _profile(page), _spacing(page), series.dataoffset, series.shape
    array, layout = _merge_frames(np.memmap(path, dtype, "r", start, shape), axes)
    source = Source("tiff", layout, str(dtype), profile, stack=stack)
    stated, pitch = spacing_of(stack), pitch_of(stack)
    return Decoded(
        to_axes(array, layout),
        source,
        integer_grid(dtype),
        spacing=stated if spacing is None and _is_sane(stated) else spacing,
        slices=None if pitch is None else Slices(pitch),
    )


def check_tiff(data: bytes, limit: int) -> None:
    """Refuse a TIFF for what it declares, without unpacking its pixels."""
    import tifffile  # noqa: PLC0415 - takes time, and few need it

    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        _checked(opened, data, limit)


def _checked(opened: Any, data: bytes | mmap.mmap, limit: int) -> tuple[Any, str, int]:
    """The first series, its axes as letters of F, H, W and C, and its orientation."""
    check_chain(opened, data)
    series = opened.series[0]
    check_size(series.shape, limit)
    axes = _checked_axes(series)
    _check_imagej(opened, series)
    if series.kind == "ome" or opened.is_ome:
        check_ome(opened, series)
    for part in series.pages:
        _check_segments(data, part)
    return series, axes, _orientation(series.pages)


def _check_imagej(opened: Any, series: Any) -> None:
    """Refuse a stack of ImageJ of which the file holds the first page alone: its other pages have no directories."""
    stated = (opened.imagej_metadata or {}).get("images", 1) if opened.is_imagej else 1
    if series.kind != "imagej" and isinstance(stated, int) and stated > len(opened.pages):
        raise RefusedError(
            f"it is cut off or damaged: it states {stated} images of ImageJ, and {len(opened.pages)} can be "
            "read; expected a whole file."
        )


def _checked_axes(series: Any) -> str:
    """The axes of a series as letters of F, H, W and C."""
    axes = "".join({"Y": "H", "X": "W", "S": "C"}.get(axis, "F") for axis in series.axes)
    if axes.count("H") != 1 or axes.count("W") != 1 or axes.count("C") > 1 or len(axes) != len(series.shape):
        raise RefusedError(f"its axes are {series.axes}; expected height and width, and frames or colours.")
    if any(part is None for part in series.pages):
        raise RefusedError(
            "a page of the TIFF is missing, or lies in another file of the same data set; expected one file that holds "
            "all pages."
        )
    if series.kind == "shaped" and series.axes == "QYX" and series.shape[2] in (3, 4) and series.shape[1] > 4:
        height, width, samples = series.shape
        raise RefusedError(
            f"it holds {height} pages of {width} x {samples} pixels, as colours of {height} x {width} pixels are saved "
            "that are not called colours; expected photometric RGB."
        )
    return axes


def _orientation(pages: Any) -> int:
    """The one orientation of all pages."""
    found: dict[int, None] = {}
    for part in pages:
        tag = getattr(part, "tags", {}).get(TAG)  # pages that tifffile does not read in full share the first one's
        number = tag.value if tag is not None and isinstance(tag.value, int) else UPRIGHT
        found[int(number) if 1 <= number <= 8 else UPRIGHT] = None
    if len(found) > 1:
        listed = ", ".join(map(str, sorted(found)))
        raise RefusedError(f"its pages have the orientations {listed}; expected one, because frames have one size.")
    return next(iter(found), UPRIGHT)


def _in_colours(pixels: Array, page: Any) -> tuple[Array, Grid | None, Array | None, tuple[str, ...]]:
    """Grey or RGB pixels of stored samples, the values that they can have, their opacity, and notes."""
    if pixels.dtype.kind == "b":
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind not in "iufc" or pixels.dtype == np.longdouble:
        raise RefusedError(f"its pixels are of type {pixels.dtype}; expected numbers.")
    photometric = int(page.photometric)
    if photometric == _PALETTE:
        coloured = _coloured(pixels, page.colormap)
        return coloured, integer_grid(coloured.dtype), None, ()
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB) and pixels.shape[1] > 1:
        raise RefusedError(f"its colours are {page.photometric.name}; expected grey, palette or RGB.")
    colours = 3 if photometric == _RGB else 1
    notes = _check_samples(pixels.shape[1], colours, tuple(map(int, page.extrasamples)))
    alpha = pixels[:, colours:] if pixels.shape[1] > colours and not notes else None
    pixels, grid = pixels[:, :colours], integer_grid(pixels.dtype)
    if photometric == _WHITE_IS_ZERO and grid is not None and pixels.dtype.kind == "u":
        grid = Grid(0, grid.high, (-1.0,), (float(grid.high),))
        pixels = np.iinfo(pixels.dtype).max - pixels
    return pixels, grid, alpha, notes


def _check_samples(samples: int, colours: int, extra: tuple[int, ...]) -> tuple[str, ...]:
    """See that samples beyond the colours are opacity, as ExtraSamples alone can say; notes of what is left out."""
    name = "RGB" if colours == 3 else "grey"
    if samples < colours:
        raise RefusedError(f"its pixels are RGB and have {samples} sample(s); expected 3, with or without opacity.")
    if samples == colours or (samples == colours + 1 and extra[:1] in ((_ASSOCIATED,), (_UNASSOCIATED,))):
        return ()
    if samples == 4 and colours == 3:
        return ("The fourth sample, of which the file does not say that it is opacity, was left out.",)
    raise RefusedError(
        f"its pixels are {name} and have {samples} samples, of which ExtraSamples calls "
        f"{'none' if not any(extra) else 'not exactly one'} opacity; expected {colours}, or one more that is."
    )


def encode_tiff(  # noqa: PLR0913, PLR0917  as many as the format has
    path: Path,
    pixels: Array,
    white_is_zero: bool,
    opacity: str,
    profile: bytes | None,
    spacing: tuple[float, float] | None,
    stack: Stack | None = None,
) -> tuple[str, ...]:
    """Write stored pixels, shape (frames, height, width, channels), uncompressed; BigTIFF where they need it.

    The distances of rows and of columns in mm, where they are known, are written as pixels a centimetre, but into files
    of ImageJ and OME, which have units of their own.

    Args:
        path: The file.
        pixels: As they are stored.
        white_is_zero: Whether the numbers fall where the picture gets brighter.
        opacity: What the last channel is: ``"unassalpha"``, ``"assocalpha"``, or ``""``, a colour.
        profile: The ICC colour profile.
        spacing: The distances in mm.
        stack: What the frames are.

    Returns:
        Notes of what could not be kept.
    """
    import tifffile  # noqa: PLC0415 - takes time, and few need it

    frames, height, width, channels = pixels.shape
    array = pixels[..., 0] if channels == 1 else pixels
    array = array[0] if frames == 1 else array
    grey = "miniswhite" if white_is_zero else "minisblack"
    rows, columns = (spacing if _is_sane(spacing) else None) or (None, None)
    written = {
        "photometric": "rgb" if channels >= 3 else grey,
        "planarconfig": "contig" if channels > 1 else None,
        "extrasamples": [opacity] if opacity else None,
        "extratags": [(_PROFILE, _BYTES, len(profile), profile, True)] if profile else (),
        "software": "recon",
        "bigtiff": array.nbytes > 2**32 - 2**25,
    }
    lengths: dict[str, Any] = {}
    if rows and columns:
        lengths = {"resolution": (10 / columns, 10 / rows), "resolutionunit": "CENTIMETER"}
    if stack is None or not stack.fits(frames):
        tifffile.imwrite(path, array, metadata=None, **written, **lengths)
        return ()
    array = array.reshape(*stack.sizes, height, width, *((channels,) if channels > 1 else ()))
    special = "an opacity" if opacity else "white as zero" if white_is_zero else ""
    dialect, note = arguments(stack, array, channels > 1, special)
    if "imagej" not in dialect:
        dialect |= lengths
    try:
        tifffile.imwrite(path, array, **written, **dialect)
    except OSError:
        raise
    except Exception:  # metadata that tifffile reads and cannot write
        plain = {"metadata": {"axes": f"{stack.axes}YX{'S' if channels > 1 else ''}"}}
        tifffile.imwrite(path, array, **written, **plain, **lengths)
        note = f"The {stack.dialect.upper()} metadata could not be written and were left out; the axes are kept."
    return (note,) if note else ()


def _profile(page: Any) -> bytes | None:
    tag = page.tags.get(_PROFILE)
    return tag.value if tag is not None and isinstance(tag.value, bytes) else None


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


def _check_segments(data: bytes | mmap.mmap, page: Any) -> None:
    """Refuse strips or tiles that are missing or outside of the file, and deflated ones larger than their page."""
    there, declared = len(page.dataoffsets), math.prod(page.keyframe.chunked)
    if min(there, len(page.databytecounts)) < declared:
        raise RefusedError(
            f"it has {there} of the {declared} strips or tiles that its size needs; expected all of them."
        )
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
    """The pixels of a series, in the order of its pages and as they are stored."""
    simple = page.compression in (_UNCOMPRESSED, _PACKBITS, *_DEFLATE)
    if simple or importlib.util.find_spec("imagecodecs") is not None:
        return np.asarray(series.asarray())
    refusal = RefusedError(
        f"its {page.compression.name} compression needs the package imagecodecs, which is not installed."
    )
    # pillow's libtiff knows the compression, but keeps only these types of pixel as they are
    kept = None if page.dtype is None else _IN_PILLOW.get((page.dtype.newbyteorder("=").str[1:], page.samplesperpixel))
    multiplied = page.samplesperpixel == 4 and page.extrasamples[:1] == (_ASSOCIATED,)  # pillow divides, and rounds
    if kept is None or multiplied or page.photometric not in (_BLACK_IS_ZERO, _RGB) or page.planarconfig != 1:
        raise refusal
    with open_raster(_without_orientation(data, series.pages), "TIFF") as opened:
        frames = []
        for part in series.pages:
            opened.seek(int(part.index))
            frames.append(np.array(opened))
    if any(frame.shape[:2] != page.shape[:2] or opened.mode not in kept for frame in frames):
        raise refusal
    array = np.stack(frames).astype(page.dtype.newbyteorder("="))
    if array.size != int(np.prod(series.shape)):
        raise refusal
    return array.reshape(series.shape)


def _without_orientation(data: bytes, pages: Any) -> bytes:
    """A file whose pages are called upright, because pillow turns others, and some versions do not."""
    patched = bytearray(data)
    for part in pages:
        tag = getattr(part, "tags", {}).get(TAG)
        if tag is not None and tag.count == 1:
            order = "little" if part.parent.byteorder == "<" else "big"
            length = tag.valuebytecount
            patched[tag.valueoffset : tag.valueoffset + length] = UPRIGHT.to_bytes(length, order)  # type: ignore[arg-type]
    return bytes(patched)


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
