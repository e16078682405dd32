"""Division of the sides of an image into tiles: cores that cover it once, each solved in a window with margins."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from recon.io import Array

Window = tuple[int, int]
"""The first pixel along an axis, and how many; beyond the last pixel a periodic image begins again."""


@dataclass(frozen=True)
class Axis:
    """One side of an image, divided.

    Two neighbours are blended over ``2 * band`` pixels about the border of their cores. There each is solved at least
    ``margin - band`` pixels from the end of its window.

    Attributes:
        length: Pixels of the image.
        core: The largest number of pixels of a core.
        margin: Pixels that are solved beyond a core on each side, at first.
        unit: What windows are multiples of: the factor of an enlargement.
        periodic: Whether the operator takes the image for periodic, so that windows go around the border.
    """

    length: int
    core: int
    margin: int
    unit: int = 1
    periodic: bool = False

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return 1 if self.window(0)[1] == self.length else self._count

    @property
    def _count(self) -> int:
        return -(-self.length // max(self.unit, self.core // self.unit * self.unit))

    @property
    def band(self) -> int:
        """Half of the pixels over which neighbours are blended: no more than leaves each core a middle."""
        smallest = self.length // self.unit // self._count * self.unit
        return max(1, min(self.margin // 4, smallest // 2))

    def borders(self, tile: int) -> tuple[int, int]:
        """The first pixel of a core, and the one after its last."""
        if self._whole(self.margin):
            return 0, self.length
        units = self.length // self.unit
        first, end = (self.unit * round(k * units / self._count) for k in (tile, tile + 1))
        return first, end if tile + 1 < self._count else self.length

    def window(self, tile: int, margin: int | None = None) -> Window:
        """The pixels that a tile is solved on; the number of pixels is that of every tile with such a margin."""
        margin = self.margin if margin is None else margin
        size = min(self.length, self._largest + 2 * margin)
        if size == self.length:
            return 0, size
        start = self.borders(tile)[0] - margin
        return (start % self.length if self.periodic else min(max(start, 0), self.length - size)), size

    @property
    def _largest(self) -> int:
        units = self.length // self.unit
        return self.unit * -(-units // self._count) + self.length % self.unit

    def _whole(self, margin: int) -> bool:
        return self._largest + 2 * margin >= self.length

    def kept(self, tile: int) -> Window:
        """The pixels of a tile that enter the result: its core, and a band beyond each border with a neighbour."""
        first, end = self.borders(tile)
        if self.count == 1:
            return 0, self.length
        before = self.band if tile or self.periodic else 0
        after = self.band if tile + 1 < self.count or self.periodic else 0
        return (first - before) % self.length, end - first + before + after

    def weights(self, tile: int) -> Array:
        """The weight of each kept pixel of a tile: ramps that add up to 1 with those of its neighbours."""
        _, size = self.kept(tile)
        weights = np.ones(size, np.float32)
        if self.count == 1:
            return weights
        ramp = ((np.arange(2 * self.band) + 0.5) / (2 * self.band)).astype(np.float32)
        if tile or self.periodic:
            weights[: 2 * self.band] = ramp
        if tile + 1 < self.count or self.periodic:
            weights[size - 2 * self.band :] = 1 - ramp
        return weights

    def after(self, tile: int) -> int | None:
        """The next tile along the axis, with which a tile shares a band; ``None`` behind the last."""
        if self.count == 1:
            return None
        following = tile + 1
        return following % self.count if self.periodic else following if following < self.count else None


@dataclass(frozen=True)
class Division:
    """An image, divided along both sides."""

    rows: Axis
    columns: Axis

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the image."""
        return self.rows.length, self.columns.length

    @property
    def tiles(self) -> list[tuple[int, int]]:
        """Every tile, row by row."""
        return list(product(range(self.rows.count), range(self.columns.count)))

    def windows(self, tile: tuple[int, int], margin: int | None = None) -> tuple[Window, Window]:
        """The rows and the columns that a tile is solved on."""
        return self.rows.window(tile[0], margin), self.columns.window(tile[1], margin)

    def kept(self, tile: tuple[int, int]) -> tuple[Window, Window]:
        """The rows and the columns of a tile that enter the result."""
        return self.rows.kept(tile[0]), self.columns.kept(tile[1])

    @property
    def kept_shape(self) -> tuple[int, int]:
        """Of the largest of them."""
        rows = max(self.rows.kept(tile)[1] for tile in range(self.rows.count))
        columns = max(self.columns.kept(tile)[1] for tile in range(self.columns.count))
        return rows, columns


def cut(array: Array, axis: int, window: Window) -> Array:
    """A window along an axis of an array that is continued periodically: a view where it does not reach the end."""
    start, size = window
    length = array.shape[axis]
    start %= length
    index = [slice(None)] * array.ndim
    index[axis] = slice(start, min(start + size, length))
    first = array[tuple(index)]
    if start + size <= length:
        return first
    index[axis] = slice(0, start + size - length)
    return np.concatenate([first, array[tuple(index)]], axis=axis)
