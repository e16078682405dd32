"""Headers of JPEG streams: which of JPEG's codings it is, and how many bits a sample has (ITU-T T.81, table B.1)."""

from dataclasses import dataclass

_STANDALONE = (0x01, *range(0xD0, 0xD8))
_FRAMES = tuple(code for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC))
_JPEG_LS = 0xF7
_SCAN = 0xDA
_LOSSLESS, _ARITHMETIC = (0xC3, 0xC7, 0xCB, 0xCF), tuple(range(0xC9, 0xD0))
END = b"\xff\xd9"
"""The mark at the end of a stream of JPEG, JPEG-LS and JPEG 2000."""


@dataclass(frozen=True)
class FrameHeader:
    """The coding that a stream declares.

    Attributes:
        bits: Of a sample.
        coding: ``"lossless JPEG"``, ``"arithmetic JPEG"``, ``"JPEG-LS"`` or ``"JPEG"``.
    """

    bits: int
    coding: str

    @property
    def is_common(self) -> bool:
        """Whether the decoders that come with common libraries know it: JPEG of 8 bits with Huffman codes."""
        return self.bits == 8 and self.coding == "JPEG"


def frame_header(data: bytes) -> FrameHeader | None:
    """The first frame header of a stream; ``None`` where there is none before the pixels."""
    at = data.find(b"\xff\xd8") + 2
    while 2 <= at <= len(data) - 5 and data[at] == 0xFF:
        code = data[at + 1]
        if code == 0xFF or code in _STANDALONE:
            at += 1 if code == 0xFF else 2
            continue
        if code in _FRAMES or code == _JPEG_LS:
            return FrameHeader(data[at + 4], _coding(code))
        if code == _SCAN:
            return None
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _coding(code: int) -> str:
    if code == _JPEG_LS:
        return "JPEG-LS"
    return "lossless JPEG" if code in _LOSSLESS else "arithmetic JPEG" if code in _ARITHMETIC else "JPEG"


def ends(stream: bytes) -> bool:
    """Return whether a stream has its end mark, padding aside."""
    return END in stream[-4:]
