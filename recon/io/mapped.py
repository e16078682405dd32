"""Large images that stay on disk: the pixels of an NPY or a TIFF as a map of the file, read in strips."""

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recon.errors import UsageError
from recon.io.content import LONGEST_MARK, damage, kind_of, opened, refusals, silence
from recon.io.decoded import MAX_PIXELS, Decoded, RefusedError, check_size, to_axes
from recon.io.formats import npy, tiff
from recon.io.image import ROBUST_PERCENTILES, Array, Image, Source, ValueRange, default_range, integer_grid

STRIP = 2**22
"""Bytes of an image that are looked at together."""

_BITS, _LEVELS = 16, 2**16
_EXPECTED = "NPY or TIFF"


def map_image(path: Path, value_range: tuple[float, float] | None = None) -> Image | None:
    """The image in a file, with its pixels left there: of grey NPY and of uncompressed grey TIFF.

    Its range is that of :func:`recon.io.read` to the bit.

    Args:
        path: The file.
        value_range: What becomes [0, 1]; by default as in :func:`recon.io.image.default_range`.

    Returns:
        The image; ``None`` of a file that has to be read as a whole.

    Raises:
        InputError: What is wrong with the file, in one sentence.
    """
    if path.is_dir():
        return None
    with refusals(path), opened(path, _EXPECTED) as handle:
        kind = kind_of(handle.read(LONGEST_MARK))
        if kind not in ("npy", "tiff"):
            return None
        with silence(), damage(kind):
            found = _map_npy(path) if kind == "npy" else tiff.map_tiff(path, MAX_PIXELS)
            if found is None:
                return None
            _check_finite(found.pixels)
    known = default_range_of(found.pixels) if value_range is None else ValueRange(*value_range)
    return Image(
        found.pixels, known, found.grid, spacing=found.spacing, notes=found.notes, source=found.source,
        slices=found.slices,
    )  # fmt: skip


def _map_npy(path: Path) -> Decoded | None:
    with path.open("rb") as handle:
        header = npy.read_header(handle.read(npy.LONGEST_HEADER))
    check_size(header.shape, MAX_PIXELS)
    npy.check_length(header, path.stat().st_size)
    layout = npy.layout_of(header.shape)
    if header.fortran or not header.dtype.isnative or header.dtype.kind not in "iuf" or "C" in layout:
        return None
    array = np.memmap(path, header.dtype, "r", header.start, header.shape)
    return Decoded(to_axes(array, layout), Source("npy", layout, str(header.dtype)), integer_grid(header.dtype))


def strips(pixels: Array) -> Iterator[Array]:
    """The rows of an image, (frames, channels, rows, width), a few megabytes at a time; each map is let go after."""
    frames, channels, height, width = pixels.shape
    rows = max(1, STRIP // (width * pixels.itemsize))
    for frame in range(frames):
        for channel in range(channels):
            for top in range(0, height, rows):
                yield pixels[frame : frame + 1, channel : channel + 1, top : top + rows]
                release(pixels)


def release(pixels: Array) -> None:
    """Let the system take back the memory of a map of a file; what is in the file stays there."""
    base = pixels
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def is_mapped(pixels: Array) -> bool:
    """Return whether pixels lie in a file."""
    base = pixels
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    return isinstance(base, mmap.mmap)


def _check_finite(pixels: Array) -> None:
    if pixels.dtype.kind != "f":
        return
    bad = sum(strip.size - int(np.count_nonzero(np.isfinite(strip))) for strip in strips(pixels))
    if bad:
        raise RefusedError(f"{bad} of its {pixels.size} pixel values are NaN or infinite; expected finite numbers.")


def default_range_of(pixels: Array) -> ValueRange:
    """:func:`recon.io.image.default_range` of pixels in a file, without a copy of them in memory."""
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
        return default_range(pixels[:1, :1, :1, :1])
    last = pixels.size - 1
    # numpy's linear interpolation between the two neighbours of each percentile
    places = [percentile / 100 * last for percentile in ROBUST_PERCENTILES]
    ranks = [0, *(rank for place in places for rank in (int(place), min(int(place) + 1, last))), last]
    least, *inner, most = order_statistics(pixels, ranks)
    low, high = (float(_between(inner[2 * k], inner[2 * k + 1], place - int(place))) for k, place in enumerate(places))
    if pixels.dtype.kind == "f" and low >= -0.25 and 0.25 <= high <= 1.25:
        return ValueRange(0.0, 1.0)
    if not low < high:
        low, high = least, most
    return ValueRange(low, high if low < high else low + max(1.0, abs(low)))


def _between(low: float, high: float, share: float) -> float:
    """As numpy computes it, from the nearer end."""
    return high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share


def order_statistics(pixels: Array, ranks: Sequence[int]) -> list[float]:
    """The values that stand at some places of the sorted pixels, by counting 16 bits of the numbers at a time.

    Args:
        pixels: Integers or floating point, finite.
        ranks: The places, from 0.
    """
    if pixels.dtype.kind not in "iuf" or pixels.dtype.itemsize > 8:
        raise UsageError(f"order_statistics: the pixels are {pixels.dtype}; expected real numbers of at most 64 bits.")
    bits = 8 * pixels.dtype.itemsize
    found = {rank: (0, rank) for rank in ranks}  # the leading bits, and the place among the numbers that have them
    for shift in range(max(0, bits - _BITS), -1, -_BITS):
        heads = sorted({head for head, _ in found.values()})
        counts = {head: np.zeros(_LEVELS, np.int64) for head in heads}
        for strip in strips(pixels):
            keys = _ordered(strip.ravel())
            above = keys >> np.uint64(shift + _BITS) if shift + _BITS < bits else np.zeros_like(keys)
            digits = (keys >> np.uint64(shift)) & np.uint64(_LEVELS - 1)
            for head in heads:
                seen = digits[above == head].astype(np.int64)
                counts[head] += np.bincount(seen, minlength=_LEVELS)
        for rank, (head, place) in found.items():
            upto = np.cumsum(counts[head])
            digit = int(np.searchsorted(upto, place, side="right"))
            found[rank] = ((head << _BITS) | digit, place - (int(upto[digit - 1]) if digit else 0))
    keys = np.array([found[rank][0] for rank in ranks], np.uint64)
    return [float(value) for value in _values(keys, pixels.dtype)]


def _ordered(values: Array) -> Array:
    """Unsigned integers in the order of the values."""
    kind, bits = values.dtype.kind, 8 * values.dtype.itemsize
    raw = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}").astype(np.uint64)
    top = np.uint64(1 << (bits - 1))
    if kind == "u":
        return raw
    if kind == "i":
        return raw ^ top
    ones = np.uint64((1 << bits) - 1)
    return np.where(raw & top, raw ^ ones, raw | top)


def _values(keys: Array, dtype: "np.dtype[np.generic]") -> Array:
    """Undo :func:`_ordered`."""
    bits = 8 * dtype.itemsize
    top, ones = np.uint64(1 << (bits - 1)), np.uint64((1 << bits) - 1)
    raw = keys
    if dtype.kind == "i":
        raw = keys ^ top
    if dtype.kind == "f":
        raw = np.where(keys & top, keys ^ top, keys ^ ones)
    return raw.astype(f"u{dtype.itemsize}").view(dtype)


def with_pixels(image: Image, pixels: Array) -> Image:
    """A part of an image: the same units and range, without what belongs to the whole."""
    return replace(image, pixels=pixels, padding=None, alpha=None, weights=None, slices=None)
