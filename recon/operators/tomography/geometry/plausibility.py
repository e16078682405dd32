"""Warnings about a geometry that is possible and unlikely, mostly because a number is in another unit."""

import math
from itertools import pairwise

from recon.operators.tomography.geometry.geometry import Geometry

_MANY = 10
"""Views: fewer may well lie within a few degrees."""
_UNEQUAL = 10
_WIDE = 5.0
"""In degrees, and in the median distance of two directions: a gap between views that is worth a remark."""
_UNEVEN = 3.0


def geometry_warnings(geometry: Geometry) -> tuple[str, ...]:
    """One sentence for each oddity; empty for an ordinary scan."""
    found = (
        _radians(geometry), _one_view(geometry), _view_twice(geometry), _unseen(geometry), _narrow(geometry),
        _unequal_pixels(geometry),
    )  # fmt: skip
    return tuple(sentence for sentence in found if sentence)


def _radians(geometry: Geometry) -> str:
    count, span = len(geometry.angles), max(geometry.angles) - min(geometry.angles)
    if count < _MANY or not 1.0 < span < 1.05 * math.tau:
        return ""
    return f"angles has {count} views within {span:.4g} degrees: a full turn is 360, so they may be radians."


def _one_view(geometry: Geometry) -> str:
    count, first = len(geometry.angles), geometry.angles[0]
    if count < _MANY or len({angle % 360 for angle in geometry.angles}) > 1:
        return ""
    return f"all {count} angles are the same view, at {first:g} degrees: an image takes views from half a turn."


def _unseen(geometry: Geometry) -> str:
    """The widest range of directions in which no line through the axis was measured, if it is no even spacing."""
    directions = sorted({angle % 180 for angle in geometry.angles})
    if len(directions) < _MANY or _radians(geometry):
        return ""
    gaps = [after - before for before, after in pairwise([*directions, directions[0] + 180])]
    widest = max(gaps)
    if widest < _WIDE or widest < _UNEVEN * sorted(gaps)[len(gaps) // 2]:
        return ""
    start = directions[gaps.index(widest)]
    return (
        f"no view is between {start:.4g} and {start + widest:.4g} degrees, nor opposite: edges along these directions "
        "are hardly measured, and filtered back-projection loses part of the value of everything."
    )


def _view_twice(geometry: Geometry) -> str:
    first, last = geometry.angles[0], geometry.angles[-1]
    turns = (last - first) / 360
    if len(geometry.angles) < _MANY or turns == 0 or abs(turns - round(turns)) > 1e-9:
        return ""
    return (
        f"angles begins at {first:g} and ends at {last:g} degrees, which is the same view twice: "
        "without endpoint = true the last one is left out."
    )


def _narrow(geometry: Geometry) -> str:
    seen, reach = geometry.field_of_view, geometry.volume.radius
    if seen == 0:
        return (
            f"detector.offset is {geometry.detector.offset:g} mm, so that the detector misses the axis of rotation "
            "and no point is seen in every view."
        )
    if 4 * seen > reach:
        return ""
    return (
        f"every view sees {seen:.4g} mm around the axis of rotation and the volume reaches {reach:.4g} mm: "
        "lengths of detector and volume may be in different units."
    )


def _unequal_pixels(geometry: Geometry) -> str:
    pixel, shadow = geometry.volume.pitch, geometry.detector.pitch / geometry.magnification
    if 1 / _UNEQUAL <= pixel / shadow <= _UNEQUAL:
        return ""
    return (
        f"volume.pitch is {pixel:.4g} mm and a detector pixel at the axis of rotation is {shadow:.4g} mm: "
        "they may be in different units."
    )
