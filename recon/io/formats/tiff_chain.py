"""The chain of directories of a TIFF: whether the file holds all that it points to.

A reader that follows the chain as far as it leads takes the first part of a file that was cut off for the whole.
"""

import mmap
import struct
from typing import Any

from recon.io.decoded import RefusedError

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by the type of a tag."""

_CUT_OFF = "it is cut off or damaged: {} lies beyond its end; expected a whole file."


def check_chain(opened: Any, data: bytes | mmap.mmap) -> None:
    """Refuse a TIFF whose directories, or the values of whose tags, lie beyond its end.

    Args:
        opened: The ``TiffFile``.
        data: The file.

    Raises:
        RefusedError: It is cut off, or its directories go around in a circle.
    """
    layout, size = opened.tiff, len(data)
    offset = layout.offsetsize
    place = _number(data, layout.offsetformat, offset)
    seen: set[int] = set()
    while place:
        if place in seen:
            raise RefusedError("its pages follow each other in a circle; expected an end.")
        seen.add(place)
        tags = place + layout.tagnosize
        if tags > size:
            raise RefusedError(_CUT_OFF.format(f"page {len(seen)}"))
        count = _number(data, layout.tagnoformat, place)
        end = tags + count * layout.tagsize
        if end + layout.offsetsize > size:
            raise RefusedError(_CUT_OFF.format(f"the description of page {len(seen)}"))
        for at in range(tags, end, layout.tagsize):
            _check_tag(data, layout, at, len(seen))
        place = _number(data, layout.offsetformat, end)


def _check_tag(data: bytes | mmap.mmap, layout: Any, at: int, page: int) -> None:
    """Refuse a tag whose values lie beyond the end."""
    _, kind = struct.unpack_from(layout.byteorder + "HH", data, at)
    length = _number(data, layout.offsetformat, at + 4) * _SIZES.get(kind, 0)
    value = at + 4 + layout.offsetsize
    if length > layout.offsetsize and _number(data, layout.offsetformat, value) + length > len(data):
        raise RefusedError(_CUT_OFF.format(f"what a tag of page {page} holds"))


def _number(data: bytes | mmap.mmap, how: str, at: int) -> int:
    return int(struct.unpack_from(how, data, at)[0])
