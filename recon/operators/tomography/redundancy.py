"""How much each ray of a scan counts: the share of the turn that its view stands for, and its share of its line.

A line through the object is seen twice in a full turn, from either end, and once or twice in a part of one. The
weights of the rays along one line sum to 1, and change smoothly over the detector, because a step would be sharpened
by the ramp filter.
"""

import math

import numpy as np
from numpy.typing import NDArray

from recon.operators.tomography.geometry import Geometry
from recon.operators.tomography.rays import detector_coordinates

Floats = NDArray[np.float64]

WEDGE = 4.0
"""A gap between views that is this many times the next wider one was not measured at all: a limited angle.

So was each of several that are this many times what nine tenths of the gaps stay below.
"""

TAPER = 10.0
"""Degrees at either end of an incomplete turn over which a view's claim on a shared line grows to its full size."""

_SAME = 6
"""Decimals of a degree up to which two angles are the same."""


def ray_weights(geometry: Geometry) -> Floats:
    """The weight of each ray in the integral over the angle, in radians, broadcastable to (views, detector pixels).

    The views need no order and no even spacing. Where a part of the circle was not measured, nothing is put in its
    place.
    """
    turn, cells, end = _spread_over(geometry.angles, 360.0)
    if _is_displaced(geometry):
        share = _share_of_displaced(geometry)
    elif geometry.kind == "parallel":  # a view and the one from behind hold the same lines
        cells, share = _spread_over(geometry.angles, 180.0)[1], np.ones((1, 1))
    else:
        share = np.full((1, 1), 0.5) if end is None else _share_of_part(geometry, turn, end)
    return np.deg2rad(cells)[:, None] * share


def rim(geometry: Geometry) -> float:
    """How far from u = 0 the outermost corner of the image casts its shadow in a turn, in mm along the detector."""
    radius = geometry.volume.radius
    if geometry.kind == "parallel":
        return radius
    axis, distance = geometry.distances
    angle = math.asin(radius / axis)
    return distance * (angle if geometry.detector.shape == "arc" else math.tan(angle))


def _is_displaced(geometry: Geometry) -> bool:
    """Whether a full turn sees the rim of the image on one side of the detector only: a scan of a wide object."""
    detector = geometry.detector
    off_centre = abs(detector.offset) > detector.pitch and detector.half_width < rim(geometry)
    return off_centre and _spread_over(geometry.angles, 360.0)[2] is None


def _spread_over(angles: tuple[float, ...], period: float) -> tuple[Floats, Floats, float | None]:
    """The arc that each view stands for: half the way to either neighbour; equal views share theirs.

    Returns:
        The angles counted from the beginning of what was measured; the arcs, both of shape (views,); and the length of
        what was measured, ``None`` for all of the period. In degrees.
    """
    folded = np.mod(np.round(np.asarray(angles), _SAME), period)
    places, which, count = np.unique(folded, return_inverse=True, return_counts=True)
    gaps = np.diff(places, append=places[0] + period)
    bridged = _bridged(gaps)
    after, before, start, end = bridged / 2, np.roll(bridged, 1) / 2, 0.0, None
    last = int(gaps.argmax())
    if len(gaps) > 1 and gaps[last] > WEDGE * np.delete(gaps, last).max():
        first = (last + 1) % len(gaps)
        after[last], before[first] = before[last], after[first]
        start, end = places[first] - before[first], float((after + before).sum())
    return np.mod(folded - start, period), ((after + before) / count)[which], end


def _bridged(gaps: Floats) -> Floats:
    """The gaps between views, those that were not measured as wide as the others: lest their rims count for them."""
    wide = float(np.percentile(gaps, 90))
    return np.where(gaps > WEDGE * wide, wide, gaps)


def _share_of_part(geometry: Geometry, turn: Floats, end: float) -> Floats:
    """Of each ray in its line, for a fan that made a part of a turn, whatever its length.

    The formula of Noo, Defrise, Clackdoyle and Kudo (Physics in Medicine and Biology 47, 2002): c / (c + c'), where c
    tapers towards the ends of what was measured, and c' is that of the same line seen from its other end. What
    Parker's weights (1982) do for half a turn and the fan, it does for any part, with less noise.
    """
    angle = np.rad2deg(bend(geometry))
    own = _claim(turn[:, None], end)
    other = _claim(np.mod(turn[:, None] + 180 - 2 * angle, 360.0), end)
    share: Floats = own / (own + other)
    return share


def _claim(turn: Floats, end: float) -> Floats:
    to_the_end = np.clip(np.minimum(turn, end - turn), 0, None)
    claim: Floats = np.sin(np.pi / 2 * np.clip(to_the_end / min(TAPER, end / 2), 0, 1)) ** 2
    return claim


def _share_of_displaced(geometry: Geometry) -> Floats:
    """Of each ray in its line, for a full turn with a detector that is off centre, shape (1, detector pixels).

    As in Wang (Medical Physics 29, 2002): where the line is seen from both ends, the share grows from 0 at the near
    edge of the detector to 1 at its mirror image; beyond, the ray is alone.
    """
    detector = geometry.detector
    u = detector_coordinates(geometry) * np.sign(detector.offset)
    near = max(detector.half_width, detector.pitch * 1e-3)
    share: Floats = (1 + np.sin(np.pi / 2 * np.clip(u / near, -1, 1))) / 2
    return share[None]


def bend(geometry: Geometry) -> Floats:
    """The angle between each ray of a fan and the one through the axis of rotation, in radians, (detector pixels,)."""
    u, distance = detector_coordinates(geometry), geometry.distances[1]
    angle: Floats = u / distance if geometry.detector.shape == "arc" else np.arctan(u / distance)
    return angle
