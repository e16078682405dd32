"""Solutions of tiles, kept in a file without a name until all of them are there."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from recon.errors import OutputError
from recon.io import Array
from recon.reconstruction.tiles.layout import Division

_ROWS = 64
"""Rows of the result that are put together at a time."""


class Scratch:
    """The kept part of each tile, (frames, channels, rows, columns), float32, on the 0..1 scale.

    Raises:
        OutputError: The file cannot be written.
    """

    def __init__(self, division: Division, frames: int, channels: int, folder: Path | None) -> None:
        self._division, self._depth = division, (frames, channels)
        self._slot = frames * channels * int(np.prod(division.kept_shape)) * 4
        self._places = {tile: k for k, tile in enumerate(division.tiles)}
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  closed by its owner
        except OSError as error:
            raise _no_room(error) from error

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def put(self, tile: tuple[int, int], x: Array) -> None:
        """Keep a tile, in place of what is there."""
        view = memoryview(np.ascontiguousarray(x, np.float32).data).cast("B")
        try:
            self._file.seek(self._places[tile] * self._slot)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise _no_room(error) from error

    def get(self, tile: tuple[int, int], top: int = 0, rows: int | None = None) -> Array:
        """Some rows of a tile, all by default."""
        (_, height), (_, width) = self._division.kept(tile)
        frames, channels = self._depth
        rows = height - top if rows is None else rows
        found = np.empty((frames, channels, rows, width), np.float32)
        for plane in range(frames * channels):
            view = memoryview(found[plane // channels, plane % channels].data).cast("B")
            self._file.seek(self._places[tile] * self._slot + 4 * width * (plane * height + top))
            while view:
                count = self._file.readinto(view)
                if not count:
                    raise OutputError("The file in which tiles are kept meanwhile was cut off; expected it whole.")
                view = view[count:]
        return found

    def rows(self) -> Iterator[tuple[int, Tensor]]:
        """The blended result, some rows at a time: the first row, and (frames, channels, rows, width)."""
        height, width = self._division.shape
        for top in range(0, height, _ROWS):
            size = min(_ROWS, height - top)
            total = np.zeros((*self._depth, size, width), np.float32)
            for row in range(self._division.rows.count):
                for begin, first, many in _common(self._division.rows.kept(row), top, size, height):
                    self._add(total[:, :, begin : begin + many], row, first)
            yield top, torch.from_numpy(total)

    def _add(self, total: Array, row: int, first: int) -> None:
        """Add a row of tiles, from a row of theirs on."""
        division, many = self._division, total.shape[2]
        down = division.rows.weights(row)[first : first + many, None]
        for column in range(division.columns.count):
            piece = self.get((row, column), first, many)
            if len(division.tiles) == 1:
                total += piece
                continue
            piece *= down * division.columns.weights(column)
            start, size = division.columns.kept(column)
            before = min(size, total.shape[3] - start)
            total[..., start : start + before] += piece[..., :before]
            if before < size:
                total[..., : size - before] += piece[..., before:]


def _common(kept: tuple[int, int], top: int, size: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Rows of a tile in a strip: where in the strip, where in the tile, and how many; a tile may go around the end."""
    start, rows = kept
    for begin in (start, start - length):
        first, end = max(begin, top), min(begin + rows, top + size)
        if first < end:
            yield first - top, first - begin, end - first


def _no_room(error: OSError) -> OutputError:
    reason = (os.strerror(error.errno) if error.errno else str(error)).lower()
    return OutputError(
        f"The tiles of the image cannot be kept in a file meanwhile ({reason}); expected room beside the output for "
        "the image in single precision."
    )
