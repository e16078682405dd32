"""The pictures of a run in tiles: the whole image averaged, and details, read from where the files lie."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recon import io
from recon.device import Notify
from recon.errors import ReconError
from recon.io import Image
from recon.io.image import Array
from recon.io.mapped import map_image, release, with_pixels
from recon.reconstruction.report_layers import difference_layer, layer_of
from recon.report.page import Layer
from recon.report.page.markup import listed, mapping, number
from recon.report.page.pictures import averaged, factor_of, robust_limits
from recon.specs.solve_config import SolveConfig

DETAIL = 768
"""Pixels along the sides of a detail."""


@dataclass(frozen=True)
class Picture:
    """One picture of a large result.

    Attributes:
        name: What of the image it shows.
        layers: Before and after.
        after: The result that is shown.
        window: What is black and white at first: the same in all pictures of a frame.
    """

    name: str
    layers: tuple[Layer, ...]
    after: Image
    window: tuple[float, float]


@dataclass(frozen=True)
class _Placed:
    """An image in a file, on the pixels of the result: each of its own ``unit`` times, from ``corner`` on."""

    image: Image
    shape: tuple[int, int]
    unit: int = 1
    corner: tuple[int, int] = (0, 0)

    def part(self, frame: int, rows: range, columns: range) -> Array:
        """A part of the result's pixels, (channels, height, width) in units; NaN where the image does not reach."""
        pixels, unit = self.image.pixels, self.unit
        places = [(np.arange(each.start, each.stop) - first) // unit
                  for each, first in zip((rows, columns), self.corner, strict=True)]  # fmt: skip
        inside = [(each >= 0) & (each < size) for each, size in zip(places, pixels.shape[2:], strict=True)]
        found = np.full((pixels.shape[1], len(rows), len(columns)), np.nan, np.float32)
        seen = [each[keep] for each, keep in zip(places, inside, strict=True)]
        if all(each.size for each in seen):
            first, last = [int(each[0]) for each in seen], [int(each[-1]) + 1 for each in seen]
            there = pixels[frame, :, first[0] : last[0], first[1] : last[1]]
            there = there[:, seen[0] - first[0]][:, :, seen[1] - first[1]]
            found[:, np.flatnonzero(inside[0])[:, None], np.flatnonzero(inside[1])[None]] = there
        release(pixels)
        return found

    def whole(self, frame: int) -> Array:
        """Averages of so many pixels that none of the sides is too long for a page."""
        height, width = self.shape
        factor = factor_of(self.shape)
        strip = factor * max(1, 2**20 // (factor * width))
        parts = [averaged(self.part(frame, range(top, min(top + strip, height)), range(width)), factor)
                 for top in range(0, height, strip)]  # fmt: skip
        return np.concatenate(parts, axis=1).astype(np.float32)


def pictures_of(  # noqa: PLR0913, PLR0917  what a record has, and where its remarks go
    result: Path,
    measurement: Path | None,
    document: Mapping[str, object],
    config: SolveConfig | None,
    units: str,
    unread: Notify,
) -> list[Picture]:
    """The pictures of each frame: the whole, the detail of most contrast, and the largest seam.

    Args:
        result: The file of the result.
        measurement: That of the measurement, where it was found.
        document: The run record.
        config: Its configuration; ``None`` where it is not valid.
        units: Of the grey values.
        unread: What is told why the measurement is not in the pictures, where it was found.

    Raises:
        ReconError: The result cannot be read.
    """
    after = _mapped(result, None)
    after = replace(after, value_range=replace(after.value_range, units=after.units or units))
    shape = (after.height, after.width)
    late = _Placed(after, shape)
    early = None if measurement is None or config is None else _measured(measurement, config, after, unread)
    found = []
    for frame in range(after.frames):
        suffix = f", frame {frame + 1}" if after.frames > 1 else ""
        overview = late.whole(frame)
        factor = factor_of(shape)
        before = None if early is None else early.whole(frame)
        window = (0.0, 255.0) if after.pixels.dtype == np.uint8 else robust_limits(overview, 0.1, 99.9)
        name = "the whole image" if factor == 1 else f"the whole image, averages of {factor} x {factor} pixels"
        found.append(_picture(name + suffix, before, overview, early, after, config, window))
        for name, (row, column) in _places(overview, factor, document).items():
            rows, columns = _around(row, shape[0]), _around(column, shape[1])
            at = f"{name}: rows {rows.start} to {rows.stop - 1}, columns {columns.start} to {columns.stop - 1}{suffix}"
            before = None if early is None else early.part(frame, rows, columns)
            found.append(_picture(at, before, late.part(frame, rows, columns), early, after, config, window))
    return found


def _mapped(path: Path, value_range: tuple[float, float] | None) -> Image:
    return map_image(path, value_range) or io.read(path, value_range=value_range)


def _measured(path: Path, config: SolveConfig, after: Image, unread: Notify) -> _Placed | None:
    """The measurement on the pixels of the result; ``None``, and why is told, where it is not read or does not fit."""
    shape = (after.height, after.width)
    try:
        image = _mapped(path, config.range)
    except ReconError as error:
        unread(str(error))
        return None
    sizes = (image.height, image.width)
    unit = shape[0] // image.height if config.operator.name == "downsample" else 1
    small = unit >= 1 and all(size * unit <= whole for size, whole in zip(sizes, shape, strict=True))
    if not small or image.pixels.shape[:2] != after.pixels.shape[:2]:
        unread(f"{_of(image)} do not fit onto the {_of(after)} of the result.")
        return None
    corner = tuple((whole - size * unit) // 2 for size, whole in zip(sizes, shape, strict=True))
    return _Placed(image, shape, unit, (corner[0], corner[1]) if unit == 1 else (0, 0))


def _of(image: Image) -> str:
    """The size of an image in words."""
    frames, channels, height, width = image.pixels.shape
    several = "".join(
        f"{count} {name} of " for count, name in ((frames, "frames"), (channels, "channels")) if count > 1
    )
    return f"{several}{height} x {width} pixels"


def _picture(  # noqa: PLR0913, PLR0917  internal: what pictures_of has
    name: str,
    before: Array | None,
    after: Array,
    early: _Placed | None,
    image: Image,
    config: SolveConfig | None,
    window: tuple[float, float],
) -> Picture:
    late = _floats(image, after)
    layers = [layer_of("after", "result", late)]
    if early is not None and before is not None:
        first = layer_of("before", "measurement", _floats(early.image, before))
        first = replace(first, unit=late.units)
        layers = [first, *layers, difference_layer(config, first, late, None, {})]
    return Picture(name, tuple(layers), late, window)


def _floats(image: Image, values: Array) -> Image:
    return replace(with_pixels(image, values[None]), grid=None)


def _places(overview: Array, factor: int, document: Mapping[str, object]) -> dict[str, tuple[int, int]]:
    """The middle of each detail, in pixels of the result."""
    found = {"detail of most contrast": _busiest(overview, factor)}
    seams = mapping(mapping(document.get("tiles")).get("seams"))
    place = [number(each) for each in listed(seams.get("largest_at"))]
    if len(place) == 2 and place[0] is not None and place[1] is not None:
        found["where two tiles differ most"] = (int(place[0]), int(place[1]))
    return found


def _busiest(overview: Array, factor: int) -> tuple[int, int]:
    """The middle of the square of a detail's size where the gradients of the overview are largest."""
    grey = np.nan_to_num(overview.mean(0)).astype(np.float64)
    if min(grey.shape) < 3:
        return 0, 0
    side = [max(1, min(size, DETAIL // factor)) for size in grey.shape]
    steep = np.hypot(*np.gradient(grey))
    total = np.pad(np.minimum(steep, np.percentile(steep, 99)).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = total[side[0] :, side[1] :] - total[: -side[0], side[1] :]
    sums += total[: -side[0], : -side[1]] - total[side[0] :, : -side[1]]
    row, column = np.unravel_index(sums.argmax(), sums.shape)
    return factor * (int(row) + side[0] // 2), factor * (int(column) + side[1] // 2)


def _around(middle: int, length: int) -> range:
    size = min(length, DETAIL)
    start = min(max(middle - size // 2, 0), length - size)
    return range(start, start + size)
