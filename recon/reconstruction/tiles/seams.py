"""Differences of neighbouring tiles at the pixels that both have solved, as measured."""

import math
from dataclasses import dataclass

import numpy as np

from recon.evidence import Evidence
from recon.io import Array
from recon.reconstruction.tiles.layout import Division, cut
from recon.reconstruction.tiles.plan import SEAM
from recon.reconstruction.tiles.scratch import Scratch

Pair = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Seam:
    """The difference of two neighbours where they are blended, on the 0..1 scale.

    Attributes:
        tiles: The two tiles, each by its row and column.
        largest: The largest difference at a pixel.
        place: That pixel, by its row and column in the result.
        squares: The sum of the squares of the differences.
        pixels: How many there are.
    """

    tiles: Pair
    largest: float
    place: tuple[int, int]
    squares: float
    pixels: int


@dataclass(frozen=True)
class Seams:
    """The differences of all neighbours.

    Attributes:
        found: Each pair of neighbours.
        width: Units of the image that are 1 on the scale of the seams.
        units: Of the image.
        margins: The margin of each tile, in pixels.
    """

    found: tuple[Seam, ...]
    width: float
    units: str
    margins: tuple[int, ...]

    @property
    def largest(self) -> float:
        """The largest difference, as a part of the range."""
        return max((seam.largest for seam in self.found), default=0.0)

    @property
    def rms(self) -> float:
        """The root of the mean square of all differences, as a part of the range."""
        pixels = sum(seam.pixels for seam in self.found)
        return math.sqrt(sum(seam.squares for seam in self.found) / pixels) if pixels else 0.0

    @property
    def within(self) -> bool:
        """Whether no difference exceeds :data:`recon.reconstruction.tiles.plan.SEAM`."""
        return self.largest <= SEAM

    @property
    def above(self) -> tuple[Seam, ...]:
        """The pairs that differ by more."""
        return tuple(seam for seam in self.found if seam.largest > SEAM)

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "evidence": Evidence.MEASURED.value,
            "largest": self.largest,
            "largest_at": None if not self.found else list(max(self.found, key=lambda seam: seam.largest).place),
            "rms": self.rms,
            "largest_in_units": self.largest * self.width,
            "rms_in_units": self.rms * self.width,
            "units": self.units,
            "limit": SEAM,
            "within": self.within,
            "pairs": len(self.found),
            "pairs_above": len(self.above),
            "largest_margin": max(self.margins),
            "margins_doubled": sum(margin > min(self.margins) for margin in self.margins),
        }

    def __str__(self) -> str:
        """One line."""
        if not self.found:
            return "one tile, no seams"
        units = f" {self.units}" if self.units else ""
        return (
            f"tiles differ by at most {self.largest:.2g} of the range ({self.largest * self.width:.3g}{units}), rms "
            f"{self.rms:.1g}, where they overlap (measured, {len(self.found)} pairs; margins of {min(self.margins)} to "
            f"{max(self.margins)} pixels)"
        )

    @property
    def shortfall(self) -> str | None:
        """A sentence on seams that are larger than the limit; ``None`` where none are."""
        if self.within:
            return None
        return (
            f"{len(self.above)} of {len(self.found)} pairs of tiles differ by more than {SEAM:g} of the range, by at "
            f"most {self.largest:.2g}, with the largest margin that fits; more --memory gives larger margins, a "
            "smaller --tolerance or more --iterations solves each tile more exactly"
        )


def neighbours(division: Division) -> list[tuple[Pair, int]]:
    """Every pair of tiles with a common band, and the axis on which they follow each other."""
    pairs: list[tuple[Pair, int]] = []
    for row, column in division.tiles:
        below, right = division.rows.after(row), division.columns.after(column)
        if below is not None:
            pairs.append((((row, column), (below, column)), 0))
        if right is not None:
            pairs.append((((row, column), (row, right)), 1))
    return pairs


def difference(division: Division, scratch: Scratch, tiles: Pair, axis: int) -> Seam:
    """The difference of two neighbours in their common band."""
    band = 2 * (division.rows, division.columns)[axis].band
    first, second = (scratch.get(tile) for tile in tiles)
    one: Array = cut(first, axis + 2, (first.shape[axis + 2] - band, band)).astype(np.float64)
    other: Array = cut(second, axis + 2, (0, band)).astype(np.float64)
    apart = np.abs(one - other)
    pixel = np.unravel_index(int(apart.argmax()), apart.shape)
    starts = [start for start, _ in division.kept(tiles[0])]
    starts[axis] += first.shape[axis + 2] - band
    row, column = (
        (start + int(at)) % length for start, at, length in zip(starts, pixel[2:], division.shape, strict=True)
    )
    return Seam(tiles, float(apart.max()), (row, column), float(np.square(apart).sum()), apart.size)
