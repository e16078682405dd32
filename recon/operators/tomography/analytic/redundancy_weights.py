"""Weights of rays: the share of the turn that a view stands for, and the share of a ray in its line.

A line through the object is seen twice in a full turn, from either end, and once or twice in a part of one. The
weights of the rays along one line sum to 1, and change smoothly over the detector, because a step would be sharpened
by the ramp filter.
"""

import math

import numpy as np
from numpy.typing import NDArray

from recon.operators.tomography.geometry.coverage import AngularCoverage
from recon.operators.tomography.geometry.geometry import Geometry
from recon.operators.tomography.projectors.rays import detector_coordinates, fan_angles

Floats = NDArray[np.float64]

TAPER = 10.0
"""Degrees at either end of an incomplete turn over which a view's claim on a shared line grows to its full size."""

_DECIMALS = 6
"""Of a degree; beyond them angles are rounding errors."""


def ray_weights(geometry: Geometry) -> Floats:
    """The weight of each ray in the integral over the angle, in radians, broadcastable to (views, detector pixels).

    The views need no order and no even spacing. Where a part of the circle was not measured, nothing is put in its
    place.
    """
    turn = _coverage(geometry, 360.0)
    if _is_displaced(geometry):
        share = _share_of_displaced(geometry)
    elif geometry.kind == "parallel":  # a view and the one from behind hold the same lines
        turn, share = _coverage(geometry, 180.0), np.ones((1, 1))
    else:
        share = _share_of_parts(geometry, turn) if turn.arcs else np.full((1, 1), 0.5)
    return np.deg2rad(turn.cells)[:, None] * share


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
    return off_centre and not _coverage(geometry, 360.0).arcs


def _coverage(geometry: Geometry, period: float) -> AngularCoverage:
    return AngularCoverage.of(np.round(np.asarray(geometry.angles), _DECIMALS), period)


def _share_of_parts(geometry: Geometry, turn: AngularCoverage) -> Floats:
    """Of each ray in its line, for a fan that made parts of a turn, whatever their lengths.

    The formula of Noo, Defrise, Clackdoyle and Kudo (Physics in Medicine and Biology 47, 2002): c / (c + c'), where c
    tapers towards the ends of each part that was measured and is 0 between them, and c' is that of the same line seen
    from its other end: so a line that was seen once counts once. What Parker's weights (1982) do for half a turn and
    the fan, it does for any parts, with less noise.
    """
    angle, views = np.rad2deg(fan_angles(geometry)), turn.angles[turn.places, None]
    own, other = _claim(views, turn.arcs), _claim(views + 180 - 2 * angle, turn.arcs)
    share: Floats = own / (own + other)
    return share


def _claim(angles: Floats, arcs: tuple[tuple[float, float], ...]) -> Floats:
    total = np.zeros_like(angles)
    for begin, length in arcs:
        along = np.mod(angles - begin, 360.0)
        to_the_end = np.clip(np.minimum(along, length - along), 0, None)
        total += np.sin(np.pi / 2 * np.clip(to_the_end / min(TAPER, length / 2), 0, 1)) ** 2
    return total


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
