"""The archive file `.rpk`: chunks with check sums, each found again where others are lost.

The file begins with a mark and the number of its version. Each chunk has a head with its kind, the number of its entry
(a file), its own number, its length, the CRC-32 of its body and that of the head. The chunks are

    C  the list of all entries, by name and size, before any of them
    D  bytes that headers of files have in common; twice, for all headers depend on them
    E  one entry: what it needs to be restored, and the bytes of it that are no pixels
    P  one piece of an entry: a coded plane, or bytes
    Z  the end

An archive is opened by walking from head to head. Where one is damaged, the walk goes on at the next sound one.
"""

import contextlib
import json
import math
import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from recon.io.content import opened, refusals
from recon.io.decoded import RefusedError
from recon.packing.planes import deflated, inflated

VERSION = 1
MAGIC = b"\x89RPK\r\n\x1a\n"
_HEAD = struct.Struct("<8sHHI")
_MARK = b"\xf1RPC"
_CHUNK = struct.Struct("<4scxxxIIQII")
_MOST_ENTRIES = 10**6
_MOST_TEXT = 2**28
"""Bytes of the lists of an archive."""

_MOST_REST = 2**30
"""Bytes of a file that are no pixels."""

DICTIONARY = 32768


@dataclass(frozen=True)
class Chunk:
    """A chunk in its place; its body is not read."""

    kind: bytes
    entry: int
    number: int
    start: int
    length: int
    crc: int

    @property
    def end(self) -> int:
        return self.start + self.length


class Writer:
    """Writes chunks one after another."""

    def __init__(self, handle: BinaryIO) -> None:
        self.handle = handle
        self.dictionary = b""
        head = _HEAD.pack(MAGIC, VERSION, 0, 0)
        handle.write(head[:-4] + zlib.crc32(head[:-4]).to_bytes(4, "little"))

    def contents(self, entries: list[tuple[str, int]]) -> None:
        self._chunk(b"C", 0, 0, _text(entries))

    def entry(self, number: int, facts: dict[str, Any], rest: bytes, pieces: list[bytes]) -> int:
        """Write an entry with its pieces; return how many bytes they take."""
        begun = self.handle.tell()
        text = json.dumps(facts, separators=(",", ":")).encode()
        body = len(text).to_bytes(4, "little") + text + rest
        if not self.dictionary:
            self.dictionary = body[-DICTIONARY:]
            self._chunk(b"D", 0, 0, deflated(self.dictionary))
        machine = zlib.compressobj(9, zlib.DEFLATED, 15, 9, 0, self.dictionary)
        small = b"\0" + machine.compress(body) + machine.flush()
        packed = b"\1" + deflated(body) if len(body) > DICTIONARY else small
        self._chunk(b"E", number, 0, len(body).to_bytes(8, "little") + min(small, packed, key=len))
        for place, piece in enumerate(pieces):
            self._chunk(b"P", number, place, piece)
        return self.handle.tell() - begun

    def finish(self) -> None:
        if self.dictionary:
            self._chunk(b"D", 0, 1, deflated(self.dictionary))
        self._chunk(b"Z", 0, 0, b"")

    def _chunk(self, kind: bytes, entry: int, number: int, body: bytes) -> None:
        head = _CHUNK.pack(_MARK, kind, entry, number, len(body), zlib.crc32(body), 0)
        self.handle.write(head[:-4] + zlib.crc32(head[:-4]).to_bytes(4, "little") + body)


class Reader:
    """The chunks of an archive whose bytes are ``data``; nothing in it is believed unchecked."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self.data = data
        if len(data) < _HEAD.size or data[:8] != MAGIC:
            raise RefusedError("it is no archive of recon pack; expected a file that recon pack wrote.")
        _, version, _, crc = _HEAD.unpack(data[: _HEAD.size])
        if zlib.crc32(data[: _HEAD.size - 4]) != crc:
            raise RefusedError("the first bytes of the archive are damaged.")
        if version > VERSION:
            raise RefusedError(f"it has version {version} of the format; this recon reads up to {VERSION}.")
        self.remark = ""
        self.chunks: dict[tuple[bytes, int, int], Chunk] = {}
        self._find()
        self.contents = self._contents()
        self.dictionary = self._dictionary()

    def body(self, kind: bytes, entry: int, number: int = 0) -> bytes:
        """The bytes of one chunk.

        Raises:
            RefusedError: It is missing or damaged.
        """
        chunk = self.chunks.get((kind, entry, number))
        if chunk is None:
            raise RefusedError("a part of it is missing in the archive.")
        found = bytes(self.data[chunk.start : chunk.end])
        if len(found) < chunk.length or zlib.crc32(found) != chunk.crc:
            raise RefusedError("a part of it is cut off or altered in the archive.")
        return found

    def entry(self, number: int) -> tuple[dict[str, Any], bytes]:
        """The facts of an entry, and the bytes of its file that are no pixels."""
        body = self.body(b"E", number)
        declared = int.from_bytes(body[:8], "little")
        if len(body) < 9 or declared > _MOST_REST:
            raise RefusedError("its description is damaged.")
        if body[8]:
            text = inflated(body[9:], declared)
        else:
            try:
                machine = zlib.decompressobj(15, zdict=self.dictionary)
                text = machine.decompress(body[9:], declared + 1)
            except zlib.error:
                raise RefusedError("its description is damaged.") from None
        if len(text) != declared:
            raise RefusedError("its description is damaged.")
        length = int.from_bytes(text[:4], "little")
        facts = _parsed(text[4 : 4 + length])
        if not isinstance(facts, dict):
            raise RefusedError("its description is damaged.")
        return facts, text[4 + length :]

    def _find(self) -> None:
        at, size = _HEAD.size, len(self.data)
        while at < size:
            chunk = self._chunk(at)
            if chunk is None:
                self.remark = "the archive is cut off or altered"
                at = self.data.find(_MARK, at + 1)
                if at < 0:
                    break
                continue
            self.chunks.setdefault((chunk.kind, chunk.entry, chunk.number), chunk)
            at = chunk.end
        if (b"Z", 0, 0) not in self.chunks:
            self.remark = "the archive is cut off"

    def _chunk(self, at: int) -> Chunk | None:
        head = self.data[at : at + _CHUNK.size]
        if len(head) < _CHUNK.size or head[:4] != _MARK or zlib.crc32(head[:-4]) != int.from_bytes(head[-4:], "little"):
            return None
        _, kind, entry, number, length, crc, _ = _CHUNK.unpack(head)
        return Chunk(kind, entry, number, at + _CHUNK.size, length, crc)

    def _contents(self) -> list[tuple[str, int]]:
        """Names and sizes; where the list is lost, those of the entries that are there, by their own description."""
        try:
            found = _parsed(inflated(self.body(b"C", 0), _MOST_TEXT))
            if not isinstance(found, list) or len(found) > _MOST_ENTRIES:
                raise RefusedError("the list of files is damaged.")
            return [(str(name), int(size)) for name, size in found]
        except (RefusedError, TypeError, ValueError):
            self.remark = self.remark or "the archive is altered"
        numbers = [number for kind, number, _ in self.chunks if kind == b"E"]
        if not numbers or max(numbers) >= _MOST_ENTRIES:
            raise RefusedError("its list of files is cut off or altered, and nothing else is left of it.")
        return [("", 0)] * (max(numbers) + 1)

    def _dictionary(self) -> bytes:
        for number in range(2):
            try:
                return inflated(self.body(b"D", 0, number), DICTIONARY)
            except RefusedError:
                continue
        return b""


def _text(value: object) -> bytes:
    return deflated(json.dumps(value, separators=(",", ":")).encode())


def _parsed(text: bytes) -> Any:
    """The value of a JSON text whose numbers are finite and of at most 64 bits: others overflow where they are used."""
    try:
        return json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        raise RefusedError("a list in it is damaged.") from None


def _whole(text: str) -> int:
    found = int(text)
    if abs(found) >= 2**64:
        raise ValueError(text)
    return found


def _finite(text: str) -> float:
    found = float(text)
    if not math.isfinite(found):
        raise ValueError(text)
    return found


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[Reader]:
    """An archive, mapped and not read.

    Raises:
        InputError: It is no archive, or nothing of it is left.
    """
    with contextlib.ExitStack() as stack:
        with refusals(path):
            handle = stack.enter_context(opened(path, "an archive of recon pack"))
            data = stack.enter_context(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))
            reader = Reader(data)
        yield reader
