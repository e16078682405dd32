"""PNG files whose bytes follow from their pixels, the filter of each row and the settings of zlib.

A PNG is packed by its pixels only if deflating them again gives the same bytes; that is tried for the settings in use.
"""

import zlib
from dataclasses import dataclass
from itertools import product

import numpy as np

from recon.io.decoded import RefusedError
from recon.io.formats.png import SIGNATURE, header
from recon.io.image import Array

_MOST_BYTES = 2**28
_TRIED = 2**16
_LEVELS = (6, 9, 1, 5, 4, 8, 7, 3, 2)
_STRATEGIES = (0, 1, 3, 2)
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

Setting = tuple[int, int, int, int]
"""Level, window bits, memory level and strategy of deflate."""


@dataclass(frozen=True)
class Stream:
    """Pixels of a PNG, and what else its bytes follow from.

    Attributes:
        pixels: Shape (rows, columns, samples), of one or two bytes each.
        filters: The filter of each row.
        setting: Of deflate.
        pieces: The lengths of the chunks that the stream is cut into.
        start: Where they begin in the file.
    """

    pixels: Array
    filters: bytes
    setting: Setting
    pieces: tuple[int, ...]
    start: int


def read_stream(data: bytes) -> Stream | None:  # noqa: PLR0911  one for each kind that is left as it is
    """The pixels of a PNG that :func:`write_stream` makes again bit for bit; ``None`` of another."""
    if not data.startswith(SIGNATURE):
        return None
    try:
        width, height, depth, colour, interlaced = header(data)
    except RefusedError:
        return None
    samples = _SAMPLES.get(colour)
    if depth not in (8, 16) or samples is None or interlaced or width * height * samples * 2 > _MOST_BYTES:
        return None
    found = _pieces(data)
    if found is None:
        return None
    start, bodies = found
    packed = b"".join(bodies)
    step = samples * depth // 8
    size = height * (1 + width * step)
    try:
        raw = zlib.decompressobj().decompress(packed, size + 1)
    except zlib.error:
        return None
    rows = np.frombuffer(raw, np.uint8).reshape(height, -1) if len(raw) == size and height and width else None
    if rows is None or rows[:, 0].max() > 4:
        return None
    setting = _setting(packed, raw)
    if setting is None:
        return None
    from recon.io.formats.png import _unfilter  # noqa: PLC0415

    values = _unfilter(rows[:, 1:].reshape(height, width, step), rows[:, 0])
    pixels = np.ascontiguousarray(values).view(">u2" if depth == 16 else "u1").reshape(height, width, samples)
    return Stream(pixels, rows[:, 0].tobytes(), setting, tuple(map(len, bodies)), start)


def write_stream(stream: Stream) -> bytes:
    """The chunks of the pixels, as they stood in the file."""
    packed = _deflated(_filtered(stream), stream.setting)
    parts, at = [], 0
    for number, length in enumerate(stream.pieces):
        is_last = number == len(stream.pieces) - 1
        body = packed[at:] if is_last else packed[at : at + length]  # of another zlib the last may be longer
        at += length
        mark = b"IDAT" + body
        parts.append(len(body).to_bytes(4, "big") + mark + zlib.crc32(mark).to_bytes(4, "big"))
    return b"".join(parts)


def _pieces(data: bytes) -> tuple[int, list[bytes]] | None:
    """Where the chunks of the stream begin, and their bodies; they must follow each other, with right check sums."""
    at, start, bodies = len(SIGNATURE), 0, []
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if kind == b"IDAT":
            if data[at + 8 + length : at + 12 + length] != zlib.crc32(kind + body).to_bytes(4, "big"):
                return None
            start = start or at
            bodies.append(body)
        elif bodies:
            break
        at += 12 + length
    return (start, bodies) if bodies else None


def _setting(packed: bytes, raw: bytes) -> Setting | None:
    """The settings that give the same stream; tried on its beginning first."""
    bits = (packed[0] >> 4) + 8
    windows = [bits] if 9 <= bits <= 15 else [15]
    for level, strategy, window, memory in product(_LEVELS, _STRATEGIES, windows, (8, 9)):
        setting = (level, window, memory, strategy)
        try:
            machine = zlib.compressobj(level, zlib.DEFLATED, window, memory, strategy)
        except ValueError:
            continue
        begun = machine.compress(raw[:_TRIED])
        if len(raw) <= _TRIED:
            begun += machine.flush()
        if packed.startswith(begun) and _deflated(raw, setting) == packed:
            return setting
    return None


def _deflated(raw: bytes, setting: Setting) -> bytes:
    level, window, memory, strategy = setting
    machine = zlib.compressobj(level, zlib.DEFLATED, window, memory, strategy)
    return machine.compress(raw) + machine.flush()


def _filtered(stream: Stream) -> bytes:
    """Rows with their filters applied (PNG specification, section 9.2)."""
    height, width, _ = stream.pixels.shape
    values = np.ascontiguousarray(stream.pixels).view(np.uint8).reshape(height, width, -1)
    step = values.shape[2]
    full = np.zeros((height + 1, width + 1, step), np.int16)
    full[1:, 1:] = values
    here, left, above, corner = full[1:, 1:], full[1:, :-1], full[:-1, 1:], full[:-1, :-1]
    kinds = np.frombuffer(stream.filters, np.uint8)[:, None, None]
    guess = left + above - corner
    to_left, to_above, to_corner = abs(guess - left), abs(guess - above), abs(guess - corner)
    paeth = np.where(
        (to_left <= to_above) & (to_left <= to_corner), left, np.where(to_above <= to_corner, above, corner)
    )
    predicted = np.select(
        [kinds == 1, kinds == 2, kinds == 3, kinds == 4], [left, above, (left + above) >> 1, paeth], 0
    )
    rows = np.empty((height, 1 + width * step), np.uint8)
    rows[:, 0] = kinds[:, 0, 0]
    rows[:, 1:] = ((here - predicted) & 255).astype(np.uint8).reshape(height, -1)
    return rows.tobytes()
