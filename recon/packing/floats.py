"""Planes of floating-point numbers as a plane of integers, for the codec, and the exact bits below it.

A number x becomes q = trunc(x / 2^e). The floating-point numbers from q 2^e up to the next multiple are counted in
order, and the count of x among them is kept: for q != 0 that is a fixed number of bits, which follows from q. With e a
few bits below the noise those bits are noise too. What has q = 0, NaN and infinity are kept by their own bits.
"""

import math
import struct
from typing import Any

import numpy as np

from recon.io.decoded import RefusedError
from recon.io.image import Array
from recon.packing.planes import decode_plane, deflated, encode_plane, inflated

_HEAD = struct.Struct("<BBiII")
_INTEGERS, _SPLIT, _ROUNDED, _RANKS, _ORDERED = range(5)
_MOST_RANKS = 2**16
_PIXELS_A_RANK = 4
_MOST_BITS = 28
_WHOLE_BITS = 24
_BELOW_NOISE = 3
_ORDINALS: dict[int, Any] = {2: np.int16, 4: np.int32, 8: np.int64}
_MANTISSA = {2: 11, 4: 24, 8: 53}


def encode_floats(values: Array, tolerance: float = 0.0) -> bytes:
    """Bytes of floating-point numbers of shape (rows, columns), to the bit; with a tolerance to within that."""
    values = values.astype(values.dtype.newbyteorder("="))
    narrow = _narrowed(values)
    width = narrow.dtype.itemsize
    if tolerance > 0 and (rounded := _rounded(narrow, tolerance)) is not None:
        power, integers = rounded
        return _HEAD.pack(_ROUNDED, width, power, 0, 0) + encode_plane(integers)
    found = []
    exponent = _common_exponent(narrow)
    if exponent is not None:
        integers = np.ldexp(narrow.astype(np.float64), -exponent).astype(np.int64)
        found.append(_HEAD.pack(_INTEGERS, width, exponent, 0, 0) + encode_plane(integers))
    ordinals = _ordinals(narrow)
    if width == 2:
        found.append(_HEAD.pack(_ORDERED, width, 0, 0, 0) + encode_plane(ordinals.astype(np.int64)))
    levels, ranks = np.unique(ordinals, return_inverse=True)
    if len(levels) <= min(_MOST_RANKS, values.size // _PIXELS_A_RANK) and (exponent is None or width == 2):
        table = deflated(levels.tobytes())
        plane = encode_plane(ranks.reshape(values.shape))
        found.append(_HEAD.pack(_RANKS, width, 0, len(table), 0) + table + plane)
    return min(found, key=len) if found else _split(narrow)


def _split(narrow: Array) -> bytes:
    exponent = _noise_exponent(narrow)
    coarse = _coarse(narrow, exponent)
    near, far = _fine(narrow, coarse, exponent)
    return _HEAD.pack(_SPLIT, narrow.dtype.itemsize, exponent, len(near), len(far)) + near + far + encode_plane(coarse)


def decode_floats(data: bytes, shape: tuple[int, int], dtype: str) -> Array:
    """The numbers that :func:`encode_floats` coded.

    Raises:
        RefusedError: The bytes are no such plane.
    """
    if len(data) < _HEAD.size:
        raise RefusedError("a plane is shorter than its head.")
    kind, width, exponent, near, far = _HEAD.unpack_from(data)
    if width not in _ORDINALS or width > np.dtype(dtype).itemsize or kind > _ORDERED or abs(exponent) > 1200:
        raise RefusedError("the head of a plane is damaged.")
    body = data[_HEAD.size :]
    coarse = decode_plane(body[near + far :], shape)
    if abs(coarse).max(initial=0) > 2**53:
        raise RefusedError("the integers of a plane are damaged.")
    narrow = np.dtype(f"f{width}")
    if kind == _SPLIT:
        values = _joined(coarse, exponent, narrow, body[:near], body[near : near + far])
    elif kind in (_RANKS, _ORDERED):
        table = inflated(body[:near], width * _MOST_RANKS) if kind == _RANKS else b""
        if len(table) % width:
            raise RefusedError("the table of a plane is cut off.")
        levels = np.frombuffer(table, _ORDINALS[width]) if kind == _RANKS else None
        values = _looked_up(coarse, levels, narrow)
    else:
        with np.errstate(over="ignore", under="ignore"):
            values = np.ldexp(coarse.astype(np.float64), exponent).astype(narrow)
    with np.errstate(invalid="ignore"):
        return values.astype(np.dtype(dtype))


def _looked_up(coarse: Array, levels: Array | None, dtype: np.dtype) -> Array:
    """Numbers of these ordinals, or of these places in a table of ordinals."""
    whole = _ORDINALS[dtype.itemsize]
    least, most = (np.iinfo(whole).min, np.iinfo(whole).max) if levels is None else (0, levels.size - 1)
    if coarse.min() < least or coarse.max() > most:
        raise RefusedError("the integers of a plane are damaged.")
    return _from_ordinals(coarse.astype(whole) if levels is None else levels[coarse], dtype)


def _widened(values: Array) -> Array:
    with np.errstate(invalid="ignore"):  # of a NaN that signals
        return values.astype(np.float64)


def _narrowed(values: Array) -> Array:
    """The same numbers in the shortest type that has them all, to the bit."""
    for width in (2, 4):
        if width < values.dtype.itemsize:
            with np.errstate(all="ignore"):
                shorter = values.astype(f"f{width}")
                if np.array_equal(_ordinals(shorter.astype(values.dtype)), _ordinals(values)):
                    return shorter
    return values


def _ordinals(values: Array) -> Array:
    """Integers in the order of the numbers: bits of those that are positive, the complement of the others' size."""
    bits = np.ascontiguousarray(values).view(_ORDINALS[values.dtype.itemsize])
    return np.asarray(np.where(bits < 0, bits ^ np.iinfo(bits.dtype).max, bits))


def _from_ordinals(ordinals: Array, dtype: np.dtype) -> Array:
    bits = np.where(ordinals < 0, ordinals ^ np.iinfo(ordinals.dtype).max, ordinals)
    return bits.astype(_ORDINALS[dtype.itemsize]).view(dtype)


def _common_exponent(values: Array) -> int | None:
    """The largest e for which all numbers are integers times 2^e of at most 24 bits; ``None`` without one."""
    wide = _widened(values)
    if not np.isfinite(wide).all() or np.any((wide == 0) & np.signbit(wide)):
        return None
    sizes = wide[wide != 0]
    if not sizes.size:
        return 0
    mantissa, exponents = np.frexp(sizes)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    lowest = int((exponents - 53 + np.frexp((whole & -whole).astype(np.float64))[1] - 1).min())
    return lowest if int(exponents.max()) - lowest <= _WHOLE_BITS else None


def _noise_exponent(values: Array) -> int:
    """Three bits below the typical change from pixel to pixel, or as far as 28 bits reach."""
    wide = _widened(values)
    finite = wide[np.isfinite(wide)]
    largest = float(abs(finite).max(initial=0.0))
    with np.errstate(all="ignore"):
        changes = abs(np.diff(wide, 2, axis=1)) if wide.shape[1] > 2 else abs(wide)
    changes = changes[np.isfinite(changes) & (changes > 0)]
    top = math.frexp(largest)[1]
    noise = math.frexp(float(np.median(changes)))[1] - _BELOW_NOISE if changes.size else top - _MOST_BITS
    return max(min(noise, top), top - _MOST_BITS, -1100)


def _coarse(values: Array, exponent: int) -> Array:
    wide = _widened(values)
    wide = np.where(np.isfinite(wide), wide, 0.0)
    with np.errstate(under="ignore"):
        return np.trunc(np.ldexp(wide, -exponent)).astype(np.int64)


def _base(coarse: Array, exponent: int, dtype: np.dtype) -> tuple[Array, Array]:
    """Ordinals of q 2^e, and how many bits tell the numbers from there to the next multiple apart."""
    with np.errstate(over="ignore", under="ignore"):
        lower = np.ldexp(coarse.astype(np.float64), exponent).astype(dtype)
        upper = np.ldexp((coarse + np.sign(coarse)).astype(np.float64), exponent).astype(dtype)
    start, end = _ordinals(lower).astype(np.int64), _ordinals(upper).astype(np.int64)
    count = np.maximum(abs(end - start), 1)
    return start, np.frexp((count - 1).astype(np.float64))[1].astype(np.int64)


def _fine(values: Array, coarse: Array, exponent: int) -> tuple[bytes, bytes]:
    """The bits below the coarse plane: of q != 0 by their number, and of the others whole."""
    start, bits = _base(coarse, exponent, values.dtype)
    ordinals = _ordinals(values).astype(np.int64)
    inside = coarse != 0
    fine = abs(ordinals - start)[inside]
    parts = [_bits_of(fine[bits[inside] == width], width) for width in np.unique(bits[inside]) if width]
    near, far = b"".join(parts), ordinals[~inside].astype(_ORDINALS[values.dtype.itemsize])
    planes = np.ascontiguousarray(far).view(np.uint8).reshape(-1, values.dtype.itemsize).T
    return deflated(near), deflated(planes.tobytes())


def _joined(coarse: Array, exponent: int, dtype: np.dtype, near: bytes, far: bytes) -> Array:
    start, bits = _base(coarse, exponent, dtype)
    inside = coarse != 0
    widths = bits[inside]
    fine = np.zeros(widths.size, np.int64)
    data, at = inflated(near, 8 * coarse.size + 8), 0
    for width in np.unique(widths):
        if width:
            chosen = widths == width
            length = -(-int(np.count_nonzero(chosen)) * int(width) // 8)
            fine[chosen] = _from_bits(data[at : at + length], int(np.count_nonzero(chosen)), int(width))
            at += length
    ordinals = start.copy()
    ordinals[inside] += np.sign(coarse[inside]) * fine
    outside = int(np.count_nonzero(~inside))
    rest = inflated(far, outside * dtype.itemsize)
    if at != len(data) or len(rest) != outside * dtype.itemsize:
        raise RefusedError("the bits of a plane are cut off.")
    planes = np.frombuffer(rest, np.uint8).reshape(dtype.itemsize, outside).T
    ordinals[~inside] = np.ascontiguousarray(planes).view(_ORDINALS[dtype.itemsize]).ravel().astype(np.int64)
    limit = np.iinfo(_ORDINALS[dtype.itemsize])
    return _from_ordinals(np.clip(ordinals, limit.min, limit.max).astype(limit.dtype), dtype)


def _bits_of(values: Array, width: int) -> bytes:
    table = (values[:, None] >> np.arange(int(width) - 1, -1, -1)) & 1
    return np.packbits(table.astype(np.uint8)).tobytes()


def _from_bits(data: bytes, count: int, width: int) -> Array:
    if len(data) < -(-count * width // 8):
        raise RefusedError("the bits of a plane are cut off.")
    table = np.unpackbits(np.frombuffer(data, np.uint8), count=count * width).reshape(count, width).astype(np.int64)
    return table @ (1 << np.arange(width - 1, -1, -1, dtype=np.int64))


def _rounded(values: Array, tolerance: float) -> tuple[int, Array] | None:
    """Multiples of a power of two that are at most ``tolerance`` off; ``None`` where there are none."""
    exponent = math.floor(math.log2(2 * tolerance))
    wide = _widened(values)
    if not np.isfinite(wide).all() or abs(exponent) > 1000:
        return None
    with np.errstate(over="ignore", under="ignore"):
        integers = np.rint(np.ldexp(wide, -exponent))
    if abs(integers).max(initial=0) >= 2 ** min(_MOST_BITS + 2, _MANTISSA[values.dtype.itemsize]):
        return None
    with np.errstate(over="ignore", under="ignore"):
        back = np.ldexp(integers, exponent).astype(values.dtype).astype(np.float64)
    if abs(back - wide).max(initial=0) > tolerance:
        return None
    return exponent, integers.astype(np.int64)
