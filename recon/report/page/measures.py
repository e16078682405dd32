"""What a reconstruction changed: noise, widths of edges, means of regions. Estimates, for a reader to judge by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from recon.io.image import Array
from recon.io.noise_estimate import estimate_noise

Plane = NDArray[np.float64]

EDGES = 64
"""Edges that are measured, at most."""

FEWEST_EDGES = 5
REGIONS = 6
_REACH = 8.0
"""Pixels to each side of an edge in which its plateaus are looked for."""

_FINE = 0.25
_APART = 6
_LOOKED_AT = 20000
"""Pixels of the largest gradients among which edges are chosen."""

_FAINTEST = 0.05
"""Of the largest gradient, below which there is no edge."""

_SMOOTH = 1.5
"""Standard deviation of the Gaussian through which edges are found, in pixels."""


@final
@dataclass(frozen=True)
class Region:
    """A square of pixels that is about constant, before and after.

    Attributes:
        row: Its first row.
        column: Its first column.
        side: Pixels along its side.
        before: The mean and the standard deviation before, in units.
        after: The same after.
    """

    row: int
    column: int
    side: int
    before: tuple[float, float]
    after: tuple[float, float]


@final
@dataclass(frozen=True)
class Change:
    """The figures of a comparison; NaN where there is none.

    Attributes:
        noise: The standard deviation of the noise before and after, as estimated.
        edges: How many edges were measured.
        width: The median distance in which they rise from 10 to 90 %, before and after, in pixels.
        regions: Squares that are about constant, dark ones first.
        mean: The mean of all pixels that both have, before and after.
        rms: The root mean square of after less before, over them.
        unit: Of noise and means.
        pixel: The side of a pixel in mm; NaN where it is not known or pixels are not square.
    """

    noise: tuple[float, float]
    edges: int
    width: tuple[float, float]
    regions: tuple[Region, ...]
    mean: tuple[float, float]
    rms: float
    unit: str = ""
    pixel: float = math.nan


def measure(
    before: Array, after: Array, *, unit: str = "", correlated: bool = False, pixel: float = math.nan
) -> Change:
    """Compare two images of one size.

    Args:
        before: (channels, height, width) in units; NaN where there is none. Of colours their mean is measured.
        after: Likewise.
        unit: Of the values.
        correlated: Whether the noise may be correlated, as in reconstructed slices; see
            :func:`recon.io.noise_estimate.estimate_noise`.
        pixel: The side of a pixel in mm, where it is known.
    """
    first, second = (np.asarray(each, np.float64).mean(0) for each in (before, after))
    there = np.isfinite(first) & np.isfinite(second)
    holes = None if there.all() else ~there
    one, two = (np.where(there, each, 0.0) for each in (first, second))
    noise = [estimate_noise([each], [holes], correlated) for each in (one, two)]
    edges = edge_widths(one, two, there, noise[0] if noise[0] > 0 else 0.0)
    width = tuple(float(np.median(each)) for each in edges) if len(edges[0]) >= FEWEST_EDGES else (math.nan, math.nan)
    means = tuple(float(each[there].mean()) if there.any() else math.nan for each in (first, second))
    rms = float(np.sqrt(np.square((second - first)[there]).mean())) if there.any() else math.nan
    return Change(
        (noise[0], noise[1]), len(edges[0]), (width[0], width[1]), regions(one, two, there, noise[0]),
        (means[0], means[1]), rms, unit, pixel,
    )  # fmt: skip


def edge_widths(before: Plane, after: Plane, there: NDArray[np.bool_], noise: float = 0.0) -> tuple[Plane, Plane]:
    """The distances in pixels in which the strongest edges rise from 10 to 90 % of their height, before and after.

    Edges are places where the gradient of the mean of both images, smoothed, is largest along its own direction. Of
    each the profile across it, averaged over 5 pixels along it, is followed from its middle to the nearest extremum on
    both sides: those are 0 and 100 %. A blurred step of standard deviation s has 2.56 s. Both images are measured at
    the same places, and a place counts where both have an edge of more than four times the noise.

    Args:
        before: (height, width).
        after: Likewise.
        there: Where both have values.
        noise: The standard deviation of the noise before.
    """
    nothing = np.empty(0), np.empty(0)
    if min(before.shape) < 4 * _REACH:
        return nothing
    places, normals = _edges((before + after) / 2, there)
    if not len(places):
        return nothing
    profiles = [_profiles(image, places, normals) for image in (before, after)]
    widths = np.array([[_rise(profile, 4 * noise) for profile in each] for each in profiles])
    known = np.isfinite(widths).all(axis=0)
    return widths[0, known], widths[1, known]


def _edges(image: Plane, there: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Plane]:
    """The places where the smoothed gradient is largest, some pixels apart, and its directions: (edges, 2) each."""
    from skimage.filters import gaussian  # noqa: PLC0415  costs a tenth of a second

    gradient = np.stack(np.gradient(gaussian(image, _SMOOTH, preserve_range=True)), axis=-1)
    size = np.hypot(gradient[..., 0], gradient[..., 1])
    free = _far_from_holes(there, int(_REACH) + 3) & (size > _FAINTEST * size.max())
    found: list[tuple[int, int]] = []
    flat = size.ravel()
    steepest = np.argpartition(-flat, min(_LOOKED_AT, flat.size - 1))[:_LOOKED_AT]
    order = steepest[np.lexsort((steepest, -flat[steepest]))]
    for row, column in zip(*np.unravel_index(order, size.shape), strict=True):
        if free[row, column] and _is_crest(size, gradient, int(row), int(column)):
            found.append((int(row), int(column)))
            free[max(0, row - _APART) : row + _APART + 1, max(0, column - _APART) : column + _APART + 1] = False
        if len(found) == EDGES:
            break
    places = np.array(found, np.int64).reshape(-1, 2)
    normals: Plane = gradient[places[:, 0], places[:, 1]] / size[places[:, 0], places[:, 1], None]
    return places, normals


def _is_crest(size: Plane, gradient: Plane, row: int, column: int) -> bool:
    """Return whether the gradient is largest there along its own direction: the flanks of an edge are none."""
    down, right = (round(2 * float(part)) for part in gradient[row, column] / size[row, column])
    return bool(size[row, column] >= max(size[row + down, column + right], size[row - down, column - right]))


def _far_from_holes(there: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Return whether all pixels of a square of that reach about a pixel are there; near the border they are not."""
    side = 2 * reach + 1
    total = np.pad(there.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    full = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side] == side**2
    return np.pad(full, reach)


def _profiles(image: Plane, places: NDArray[np.int64], normals: Plane) -> Plane:
    """The values across each edge, means of 5 lines beside one another: (edges, points)."""
    from skimage.transform import warp  # noqa: PLC0415

    across = np.arange(-_REACH, _REACH + _FINE / 2, _FINE)
    along = np.arange(-2, 3)
    tangents = np.stack([-normals[:, 1], normals[:, 0]], axis=1)
    points = (
        places[:, None, None]
        + across[None, None, :, None] * normals[:, None, None]
        + along[None, :, None, None] * tangents[:, None, None]
    )  # (edges, lines, points, 2)
    sampled = warp(
        image, points.reshape(-1, len(across), 2).transpose(2, 0, 1), order=3, mode="edge", preserve_range=True
    )
    found: Plane = sampled.reshape(len(places), len(along), len(across)).mean(axis=1)
    return found


def _rise(profile: Plane, least: float) -> float:
    """The distance from 10 to 90 % of a rise about the middle of a profile; NaN where there is none to speak of."""
    middle = len(profile) // 2
    steps = np.diff(profile)
    last = middle + _run(steps[middle:] > 0)
    first = middle - _run(steps[:middle][::-1] > 0)
    low, high = float(profile[first]), float(profile[last])
    if not high - low > least or last - first < 2:
        return math.nan
    part = (profile[first : last + 1] - low) / (high - low)
    tenth, nine = np.interp((0.1, 0.9), part, np.arange(len(part)))
    return float(nine - tenth) * _FINE


def _run(rising: NDArray[np.bool_]) -> int:
    """How many are true before the first that is not."""
    return len(rising) if rising.all() else int(rising.argmin())


def regions(before: Plane, after: Plane, there: NDArray[np.bool_], noise: float = math.nan) -> tuple[Region, ...]:
    """Flat squares of pixels at different grey values, dark ones first.

    The flattest come first, and each further one differs from all those before by more than the noise. Flat is where
    the standard deviation before is at most three times the noise, or where that is not known, among the lowest fifth.
    """
    side = max(8, min(before.shape) // 32)
    rows, columns = (length // side for length in before.shape)
    if rows < 3 or columns < 3:
        return ()

    def blocks(plane: Array) -> Array:
        return plane[: rows * side, : columns * side].reshape(rows, side, columns, side).swapaxes(1, 2)

    full: NDArray[np.bool_] = np.all(blocks(there), axis=(2, 3))
    full[[0, -1]] = full[:, [0, -1]] = False  # borders show what the operator makes of them
    stacks = [blocks(each) for each in (before, after)]
    means, spreads = [each.mean(axis=(2, 3)) for each in stacks], [each.std(axis=(2, 3)) for each in stacks]
    rough = np.hypot(*spreads)
    if not full.any():
        return ()
    limit = 3 * noise if noise > 0 else float(np.percentile(rough[full], 20))
    flat = full & (spreads[0] <= limit)
    if not flat.any():
        return ()
    level = means[1]
    apart = max(noise if noise > 0 else 0.0, 0.03 * float(np.ptp(level[flat])))
    places = np.argwhere(flat)
    chosen: list[tuple[int, int]] = []
    for row, column in places[np.argsort(rough[flat], kind="stable")]:
        if all(abs(level[row, column] - level[other]) > apart for other in chosen):
            chosen.append((int(row), int(column)))
        if len(chosen) == REGIONS:
            break
    found = [
        Region(
            row * side,
            column * side,
            side,
            *((float(m[row, column]), float(s[row, column])) for m, s in zip(means, spreads, strict=True)),
        )
        for row, column in chosen
    ]
    return tuple(sorted(found, key=lambda region: region.after[0]))


def median_of(changes: Sequence[Change]) -> dict[str, Any]:
    """The medians over slices of noise and width of edges, before and after; NaN where no slice has one."""

    def median(values: list[float]) -> float:
        known = [value for value in values if math.isfinite(value)]
        return float(np.median(known)) if known else math.nan

    return {
        "noise": tuple(median([each.noise[side] for each in changes]) for side in (0, 1)),
        "width": tuple(median([each.width[side] for each in changes]) for side in (0, 1)),
        "rms": median([each.rms for each in changes]),
    }
