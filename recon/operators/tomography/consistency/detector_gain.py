"""Detection of detector pixels with a wrong gain, which draw rings.

Such a pixel adds the same number to its line integral in every view, and stands out of its neighbours everywhere; the
shadow of a part of the object moves from column to column as the object turns, but on the axis of rotation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.operators.tomography.geometry.geometry import Geometry
from recon.operators.tomography.projectors.rays import Floats, detector_coordinates

Values = NDArray[np.floating]

_GROUPS = 24
"""Groups of neighbouring views, whose means are looked at."""

_FEWEST_VIEWS, _WIDEST_GAP = 16, 90.0
"""Views, and degrees of directions without any: with fewer, or more, the shadow of a part may stay in a column."""

_WIDEST = 3
"""Columns side by side that are looked at as one."""

_LEAST, _OF_LARGEST = 0.05, 0.08
"""Of a line integral, and of the largest: a response wrong by less than 5 % is not worth a remark, and the sharp edges
of an object, in 1200 scans of up to eight discs, reach 0.069 of the largest line integrals."""

_TIMES = 8.0
"""How many times it must be what other columns show."""

_ERRORS = 6.0
"""How many times it must be its own standard error, from group to group of views."""

_STEADY = 0.75
"""Of the groups of views, in which it must stand out to the same side."""

_REACH = 3
"""Columns that a fault is felt in, by the lines through its neighbours."""

_AS_MUCH = 0.4

_ON_AXIS = 1.5
"""Columns from the axis of rotation, where the shadow of a rod stays."""

_LISTED = 5


@dataclass(frozen=True)
class OddColumns:
    """Columns side by side that stand out in all views.

    Attributes:
        first: The first of them.
        count: How many there are.
        excess: By how much their line integrals are above those of their neighbours, at least.
    """

    first: int
    count: int
    excess: float

    @property
    def factor(self) -> float:
        """The ratio of what these columns report to what their neighbours see."""
        return float(np.exp(-self.excess))

    def distance(self, other: "OddColumns") -> int:
        """The number of columns between the nearer ends of both."""
        return max(other.first - (self.first + self.count - 1), self.first - (other.first + other.count - 1))


def odd_columns(sinogram: Values, geometry: Geometry) -> tuple[OddColumns, ...]:
    """The detector pixels that respond by a wrong factor.

    Not named are columns at the axis of rotation, those whose mirror image about the axis stands out as well, as of a
    tube about the axis, and anything where few views, or views of a narrow wedge, were taken.

    Args:
        sinogram: Line integrals, (views, pixels).
        geometry: The scan, parallel or fan.
    """
    if len(sinogram) < _FEWEST_VIEWS or _widest_gap(geometry) > _WIDEST_GAP:
        return ()
    means = _group_means(sinogram, geometry)
    away = np.abs(detector_coordinates(geometry)) / geometry.detector.pitch
    every: list[OddColumns] = []
    for width in range(1, min(_WIDEST, means.shape[1] - 4) + 1):
        excess, kinks, is_clear = _standing_out(means, width)
        clear = [OddColumns(int(first), width, float(excess[first])) for first in np.flatnonzero(is_clear)]
        every += [one for one in clear if not _is_mirrored(one, excess, kinks, geometry)]
    found: list[OddColumns] = []
    for one in sorted(every, key=lambda each: -abs(each.excess)):
        beside = any(one.distance(other) <= _REACH for other in found)  # its neighbours' line goes through that one
        if not beside and away[one.first : one.first + one.count].min() > _ON_AXIS:
            found.append(one)
    return tuple(sorted(found, key=lambda one: one.first))


def odd_column_warnings(values: Values, geometry: Geometry, panel: bool = False) -> tuple[str, ...]:
    """Name the detector pixels that respond by a wrong factor.

    Args:
        values: Line integrals, (views, pixels) or (slices, views, pixels).
        geometry: The scan, parallel or fan; of a cone the fan of its middle.
        panel: Whether the slices are rows of a panel.
    """
    stack, layer = values[None] if values.ndim == 2 else values, "row" if panel else "slice"
    found = [(index, one) for index, each in enumerate(stack) for one in odd_columns(each, geometry)]
    if not found:
        return ()
    names = [
        ("column " + str(one.first) if one.count == 1 else f"columns {one.first} to {one.first + one.count - 1}")
        + (f" of {layer} {index}" if len(stack) > 1 else "")
        + f" (about {one.factor:.2g} times)"
        for index, one in found
    ]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return (
        f"Detector pixels have another gain than their neighbours in all views: {', '.join(names[:_LISTED])}{more}, "
        "counted from 0; expected none, because the flat field should make all alike: such pixels draw rings.",
    )


def _widest_gap(geometry: Geometry) -> float:
    directions = np.sort(np.mod(np.asarray(geometry.angles), 180.0))
    return float(np.diff(directions, append=directions[0] + 180.0).max())


def _group_means(sinogram: Values, geometry: Geometry) -> Floats:
    """The means over views of neighbouring directions, (groups, pixels)."""
    order = np.argsort(np.mod(np.asarray(geometry.angles), 180.0), kind="stable")
    groups = np.array_split(order, min(_GROUPS, len(order)))
    return np.stack([sinogram[group].mean(axis=0, dtype=np.float64) for group in groups])


def _standing_out(means: Floats, width: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return how much ``width`` columns from each on stand out, (pixels,), of both sides and of one, and which clearly.

    Of the lines through the two columns on either side: so neither a slope nor the edge of an object stands out of
    both.
    """
    pixels = means.shape[1]
    before, after = np.arange(2, pixels - width - 1), np.arange(2, pixels - width - 1) + width - 1
    left = means[:, before] - 2 * means[:, before - 1] + means[:, before - 2]
    right = means[:, after] - 2 * means[:, after + 1] + means[:, after + 2]
    one_side, other_side, both = np.median(left, axis=0), np.median(right, axis=0), (left + right) / 2
    smaller = np.minimum(np.abs(one_side), np.abs(other_side))
    excess, kinks = np.zeros(pixels), np.zeros(pixels)
    kinks[before] = np.maximum(np.abs(one_side), np.abs(other_side))
    excess[before] = np.where(one_side * other_side > 0, np.sign(one_side) * smaller, 0.0)
    largest = float(np.percentile(means, 99))
    spread = np.median(np.abs(both - np.median(both, axis=0)), axis=0) / 0.6745
    error = np.sqrt(np.pi / 2 / len(means)) * spread
    level = np.maximum(max(_LEAST, _OF_LARGEST * largest, _TIMES * float(np.median(np.abs(excess)))), _ERRORS * error)
    same = np.maximum((both > 0).mean(axis=0), (both < 0).mean(axis=0))
    clear = np.zeros(pixels, np.bool_)
    clear[before] = (np.abs(excess[before]) > level) & (same >= _STEADY)
    return excess, kinks, clear


def _is_mirrored(one: OddColumns, excess: Floats, kinks: Floats, geometry: Geometry) -> bool:
    """Whether about as much stands out at its mirror image about the axis of rotation, as of a round object there.

    The edge of such an object lies elsewhere between two pixels on the other side, and may stand out of one side only:
    a kink counts where it is about as large.
    """
    u, pitch = detector_coordinates(geometry), geometry.detector.pitch
    mirrored = -(u[one.first] + u[one.first + one.count - 1]) / 2  # the middle of the mirror image
    first = round((mirrored - u[0]) / pitch - (one.count - 1) / 2)
    around = slice(max(first - 1, 0), max(first + 2, 0))
    near = excess[around] / one.excess
    alike = (near > _AS_MUCH) & (near < 1 / _AS_MUCH)
    return bool((alike | (kinks[around] > _AS_MUCH * abs(one.excess))).any())
