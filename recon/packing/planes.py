"""One plane of integers as bytes and back: what values occur, then the pixels by the compiled loops."""

import itertools
import lzma
import struct

import numpy as np

from recon.io.decoded import RefusedError
from recon.io.image import Array
from recon.packing import codec_kernels as kernels
from recon.packing.codec_tables import tables

LARGEST = 2**31 - 1
"""Of the span of values of a plane."""

MOST_PIXELS = 2**24
"""Of one plane; the codec needs some 10 bytes for each."""

MOST_COLUMNS = 2**16
_LEAST_BITS = 0.0003
"""What one pixel takes at least: no probability is nearer to 0 than 2^-12."""

_HEAD = struct.Struct("<BqIIIB")
_CODED, _PACKED = 0, 1
_GAP = 32
"""So many values in a row that do not occur are left out, where most occur."""


def encode_plane(values: Array, reference: Array | None = None, tolerance: int = 0) -> bytes:
    """Bytes of integers of shape (rows, columns), given a plane of the same shape that the decoder has already.

    With ``tolerance`` t no value comes back more than t off; :func:`decode_plane` needs neither.
    """
    least = int(values.min())
    span = int(values.max()) - least
    if not fits(values.shape) or span > LARGEST or values.size < 2:
        return _packed(values)
    shifted = (values.astype(np.int64) - least).astype(np.int32)
    used = _used(shifted, span) if tolerance == 0 else None
    gaps = b"" if used is None else _encode_gaps(used)
    if used is not None:
        shifted = np.cumsum(used, dtype=np.int32)[shifted] - 1
        span = int(np.count_nonzero(used)) - 1
    tolerance = min(tolerance, span // 2)
    data = np.empty(shifted.size * 5 + 4096, np.uint8)
    length = _run(shifted, span, reference, tolerance, 1, data)
    if length == kernels.FULL:
        return _packed(values)
    head = _HEAD.pack(_CODED, least, span, tolerance, len(gaps), reference is not None)
    return head + gaps + data[:length].tobytes()


def decode_plane(data: bytes, shape: tuple[int, int], reference: Array | None = None) -> Array:
    """The plane of int64 that :func:`encode_plane` coded.

    Raises:
        RefusedError: The bytes are not such a plane, or cannot hold so many pixels.
    """
    if len(data) < _HEAD.size:
        raise RefusedError("a plane is shorter than its head.")
    kind, least, span, tolerance, gap_bytes, refers = _HEAD.unpack_from(data)
    body = data[_HEAD.size + gap_bytes :]
    if shape[0] * shape[1] * _LEAST_BITS > 8 * (len(data) + 64) or shape[0] * shape[1] > MOST_PIXELS:
        raise RefusedError(
            f"a plane of {len(data)} bytes declares {shape[0]} x {shape[1]} pixels; it cannot hold them."
        )
    if kind == _PACKED:
        return _unpacked(body, shape)
    if kind != _CODED or span > LARGEST or 2 * tolerance > span or not fits(shape):
        raise RefusedError("the head of a plane is damaged.")
    if bool(refers) != (reference is not None):
        raise RefusedError("a plane and the plane that it was predicted from do not belong together.")
    values = None
    if gap_bytes:
        values = _decode_gaps(data[_HEAD.size : _HEAD.size + gap_bytes], span + 1)
    pixels = np.zeros(shape, np.int32)
    _run(pixels, span, reference, tolerance, 0, np.frombuffer(body, np.uint8).copy())
    found = pixels.astype(np.int64) if values is None else values[pixels]
    return np.asarray(found + least)


def refers(data: bytes) -> bool:
    """Return whether a coded plane needs the plane that it was predicted from."""
    return len(data) >= _HEAD.size and bool(_HEAD.unpack_from(data)[-1])


def fits(shape: tuple[int, ...]) -> bool:
    """Return whether the codec takes planes of this shape."""
    rows, columns = shape
    return rows > 0 and 0 < columns <= MOST_COLUMNS and rows * columns <= MOST_PIXELS


def _run(  # noqa: PLR0913, PLR0917  what the loops take
    pixels: Array, span: int, reference: Array | None, tolerance: int, encodes: int, data: Array
) -> int:
    """Code or decode in place."""
    columns = pixels.shape[1]
    spatial = [(row, column, 0) for row, column in kernels.TAPS]
    wide = columns + 2 * kernels.PAD
    bordered = np.zeros((1, 1), np.int32)
    few = kernels.FEW
    if reference is not None:
        other = [(row, column, 1) for row, column in kernels.REFERENCE_TAPS]
        spatial = spatial[:few] + other[:few] + spatial[few:] + other[few:]
        few *= 2
        bordered = _bordered(reference)
    offsets = np.array([row * wide + column for row, column, _ in spatial], np.int64)
    is_reference = np.array([kind for *_, kind in spatial], np.int64)
    state = np.array([0, 0xFFFFFFFF, 0, 0], np.int64)
    if not encodes:
        state[2] = int.from_bytes(bytes(data[:4]).ljust(4, b"\0"), "big")
        state[3] = 4
    return int(
        kernels.code_plane(
            pixels, span, bordered.ravel(), wide, int(reference is not None), tolerance, encodes, offsets,
            is_reference, few,
            kernels.Coder(state, data), _mixture(), _window(wide), _equations(len(spatial), columns),
            np.zeros((2, 64 * 32), np.int64), np.zeros(kernels.PREDICTORS),
        )
    )  # fmt: skip


def _mixture() -> kernels.Mixture:
    squash, stretch, reciprocal = tables()
    slots = kernels.CONTEXT_SIZE * kernels.DECISIONS
    return kernels.Mixture(
        np.zeros(kernels.CONTEXTS * slots, np.uint32),
        np.full(kernels.SCALES * kernels.DECISIONS * kernels.CONTEXTS, kernels.FIRST_WEIGHT, np.float64),
        np.zeros(kernels.CONTEXTS, np.int64),
        np.zeros(kernels.CONTEXTS),
        stretch.astype(np.float64),
        squash,
        reciprocal,
    )


def _window(wide: int) -> kernels.Window:
    size = (kernels.WINDOW + kernels.PAD) * wide
    return kernels.Window(np.zeros(size), np.zeros(size, np.int64), np.zeros((size, kernels.PREDICTORS)))


def _equations(size: int, columns: int) -> kernels.Equations:
    blocks = -(-columns // kernels.BLOCK) + 4
    rows = size + -size % kernels.TOGETHER
    return kernels.Equations(
        np.zeros((blocks, size, size + 1)),
        np.zeros((blocks, size, size + 1)),
        np.zeros((rows, size + 1)),
        np.zeros((rows, size)),
        np.zeros(size),
        np.zeros(size),
        np.zeros(size),
        np.zeros(size),
        np.zeros(size + 1),
    )


def _bordered(reference: Array) -> Array:
    """The plane before from its least value on, within the span of the codec, with a border."""
    shifted = reference.astype(np.int64) - int(reference.min())
    return np.pad(np.minimum(shifted, LARGEST).astype(np.int32), kernels.PAD, mode="edge")


def _used(shifted: Array, span: int) -> Array | None:
    """Which values of 0..span occur, with short gaps filled; nothing where leaving out the others does not pay."""
    if span > 2**20:
        return None
    used = np.bincount(shifted.ravel(), minlength=span + 1) > 0
    if 2 * np.count_nonzero(used) > span + 1:
        places = np.flatnonzero(used)
        for first, last in itertools.pairwise(places):
            if last - first <= _GAP:
                used[first:last] = True
    return None if used.all() else used


def _encode_gaps(used: Array) -> bytes:
    return lzma.compress(np.packbits(used).tobytes(), lzma.FORMAT_RAW, filters=_FILTERS)


def _decode_gaps(data: bytes, count: int) -> Array:
    bits = np.unpackbits(np.frombuffer(inflated(data, 2**20 // 8 + 1), np.uint8))
    values = np.flatnonzero(bits)
    if values.size != count:
        raise RefusedError("the list of the values of a plane is damaged.")
    return values


_FILTERS: list[dict[str, int]] = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**23}]


def _packed(values: Array) -> bytes:
    body = values.astype("<i8").tobytes()
    return _HEAD.pack(_PACKED, 0, 0, 0, 0, False) + lzma.compress(body, lzma.FORMAT_RAW, filters=_FILTERS)


def _unpacked(body: bytes, shape: tuple[int, int]) -> Array:
    size = 8 * shape[0] * shape[1]
    found = inflated(body, size)
    if len(found) != size:
        raise RefusedError("a plane is cut off.")
    return np.frombuffer(found, "<i8").reshape(shape).astype(np.int64)


def deflated(data: bytes) -> bytes:
    """Bytes without a model, for :func:`inflated`."""
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS)


def inflated(data: bytes, most: int) -> bytes:
    """What :func:`deflated` made small, of at most ``most`` bytes.

    Raises:
        RefusedError: It is damaged, or has more.
    """
    machine = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        found = machine.decompress(data, max_length=most + 1)
    except (lzma.LZMAError, EOFError):
        raise RefusedError("a part of it is damaged.") from None
    if len(found) > most:
        raise RefusedError("a part of it holds more than it declares.")
    return found
