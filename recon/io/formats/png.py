"""PNG with 16 bits and several channels, which pillow reduces to 8, and a writer for every depth.

The format is the PNG specification's (W3C, third edition): zlib's stream of filtered rows. Reading undoes
the filters along anti-diagonals, on which pixels do not depend on each other.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from recon.io.decoded import RefusedError, check_size
from recon.io.image import Array

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by colour type
_COLOUR_TYPES = {channels: colour for colour, channels in _CHANNELS.items()}
# Adam7: first row, first column, row step, column step of each pass
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_NOT_INTERLACED = ((0, 0, 1, 1),)


def header(data: bytes) -> tuple[int, int, int, int, int]:
    """Width, height, bit depth, colour type and interlacing, as the first chunk declares them."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise RefusedError("the PNG header is cut off or damaged.")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    return width, height, depth, colour, interlaced


def decode16(data: bytes, limit: int) -> Array:
    """The 16-bit pixels, shape (height, width, channels), of a PNG of colour type 0, 2, 4 or 6."""
    width, height, depth, colour, interlaced = header(data)
    if depth != 16 or colour not in _CHANNELS or interlaced > 1:
        raise RefusedError(f"the PNG header is damaged (depth {depth}, colour type {colour}).")
    channels = _CHANNELS[colour]
    check_size((height, width, channels), limit)
    step = 2 * channels
    out = np.zeros((height, width, step), np.uint8)
    parts = [out[r::dr, c::dc] for r, c, dr, dc in (_PASSES if interlaced else _NOT_INTERLACED)]
    parts = [part for part in parts if part.size]
    sizes = [part.shape[0] * (1 + part.shape[1] * step) for part in parts]
    stream = _inflate(b"".join(body for kind, body in _chunks(data) if kind == b"IDAT"), sum(sizes))
    start = 0
    for part, size in zip(parts, sizes, strict=True):
        rows = np.frombuffer(stream, np.uint8, size, start).reshape(part.shape[0], -1)
        if rows[:, 0].max() > 4:
            raise RefusedError(f"the PNG stream is damaged (a row filter of type {rows[:, 0].max()}).")
        part[...] = _unfilter(rows[:, 1:].reshape(part.shape), rows[:, 0])
        start += size
    return out.view(">u2").astype(np.uint16)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        check = data[at + 8 + length : at + 12 + length]
        if zlib.crc32(kind + body).to_bytes(4, "big") != check:
            raise RefusedError(f"the PNG file is cut off or damaged in its chunk at byte {at}.")
        yield kind, body
        if kind == b"IEND":
            return
        at += 12 + length
    raise RefusedError("the PNG file is cut off before its end mark.")


def _inflate(packed: bytes, size: int) -> bytes:
    try:
        stream = zlib.decompressobj().decompress(packed, size)  # bounded: the header says how much there may be
    except zlib.error:
        raise RefusedError("the PNG stream is damaged.") from None
    if len(stream) < size:
        raise RefusedError(f"the PNG stream holds {len(stream)} bytes; expected {size} by its header.")
    return stream


def _unfilter(filtered: Array, kinds: Array) -> Array:
    """Rows of bytes, shape (height, width, bytes a pixel), with the filter of each row undone."""
    height, width, step = filtered.shape
    # padded by a zero row above and a zero column before, as the specification asks
    raw = np.zeros((height + 1, width + 1, step), np.int16)
    kind = kinds.astype(np.int16)[:, None]
    for diagonal in range(height + width - 1):
        rows = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        columns = diagonal - rows
        left, up, corner = raw[rows + 1, columns], raw[rows, columns + 1], raw[rows, columns]
        guess = _predict(left, up, corner, kind[rows])
        raw[rows + 1, columns + 1] = (filtered[rows, columns] + guess) & 255
    return raw[1:, 1:].astype(np.uint8)


def _predict(left: Array, up: Array, corner: Array, kind: Array) -> Array:
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    nearest = np.where(to_up <= to_corner, up, corner)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
    return np.select([kind == 1, kind == 2, kind == 3, kind == 4], [left, up, (left + up) >> 1, paeth], 0)


def encode(pixels: Array, profile: bytes | None = None) -> bytes:
    """A PNG file of 8- or 16-bit pixels, shape (height, width, channels) with 1 to 4 channels."""
    height, width, channels = pixels.shape
    depth = 8 * pixels.dtype.itemsize
    raw = np.ascontiguousarray(pixels.astype(f">u{pixels.dtype.itemsize}")).view(np.uint8)
    raw = raw.reshape(height, width, -1).astype(np.int16)
    padded = np.pad(raw, ((1, 0), (1, 0), (0, 0)))
    left, up, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    rows = np.arange(height)
    tried = [
        (raw - _predict(left, up, corner, np.asarray(kind, np.int16))).astype(np.uint8).reshape(height, -1)
        for kind in range(5)
    ]
    # the specification's advice: of each row, the filter with the least sum of signed differences
    cost = np.stack([np.abs(row.view(np.int8).astype(np.int64)).sum(1) for row in tried])
    kinds = cost.argmin(0)
    filtered = np.concatenate([kinds[:, None].astype(np.uint8), np.stack(tried)[kinds, rows]], axis=1)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, _COLOUR_TYPES[channels], 0, 0, 0))]
    if profile:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes(), 9)), (b"IEND", b"")]
    return SIGNATURE + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
