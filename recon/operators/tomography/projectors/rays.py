"""The rays of a scan in the form of Joseph's method: straight lines over the rows, or over the columns, of the image.

A ray that runs more along y than along x meets each row r once, at the column ``start + slope r``, and there takes the
linear interpolation of the two pixels beside it, times ``length``, the part of the ray between two rows. The other rays
do the same with rows and columns exchanged (Joseph, IEEE Transactions on Medical Imaging 1, 1982).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.operators.tomography.geometry.geometry import Geometry

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rays:
    """Arrays of shape (views, detector pixels), in double precision.

    Attributes:
        start: The position on the first line, in pixels.
        slope: How far the position moves from a line to the next, in pixels; at most 1 in magnitude.
        length: The length of the ray between two lines, in mm.
        along_columns: Whether the lines are the columns of the image.
        steepness: The larger component in magnitude of the ray's direction, which has length 1; only towards the flat
            detector of a fan it has the component 1 towards the detector.
    """

    start: Floats
    slope: Floats
    length: Floats
    along_columns: NDArray[np.bool_]
    steepness: Floats


def trace(geometry: Geometry) -> Rays:
    """The rays of a scan."""
    points, directions = lines(geometry)
    volume = geometry.volume
    rows, columns = volume.pixels
    column = (points[0] - volume.offset[0]) / volume.pitch + (columns - 1) / 2
    row = (rows - 1) / 2 - (points[1] - volume.offset[1]) / volume.pitch
    across, down = directions[0], -directions[1]
    along_columns = np.abs(across) > np.abs(down)
    larger, smaller = np.where(along_columns, across, down), np.where(along_columns, down, across)
    slope = smaller / larger
    line, position = np.where(along_columns, column, row), np.where(along_columns, row, column)
    return Rays(
        start=position - slope * line,
        slope=slope,
        length=volume.pitch * np.hypot(1.0, slope),
        along_columns=along_columns,
        steepness=np.abs(larger) / (geometry.source_to_detector or 1.0),
    )


def detector_coordinates(geometry: Geometry) -> Floats:
    """The coordinate u of each detector pixel, in mm, shape (detector pixels,)."""
    detector = geometry.detector
    pixels = np.arange(detector.pixels, dtype=np.float64)
    return (pixels - (detector.pixels - 1) / 2) * detector.pitch + detector.offset


def fan_angles(geometry: Geometry, u: Floats | None = None) -> Floats:
    """The angle between the ray to each detector coordinate and the one through the axis of rotation, in radians.

    Args:
        geometry: Of any kind; it is 0 for parallel rays.
        u: In mm; ``None`` for those of the detector pixels, :func:`detector_coordinates`.
    """
    u = detector_coordinates(geometry) if u is None else u
    if geometry.kind == "parallel":
        return np.zeros_like(u)
    distance = geometry.distances[1]
    angle: Floats = u / distance if geometry.detector.shape == "arc" else np.arctan(u / distance)
    return angle


def lines(geometry: Geometry) -> tuple[Floats, Floats]:
    """A point on each ray and its direction, both (2, views, detector pixels), in mm.

    The direction of parallel rays has length 1; that of a fan reaches from the source to the detector. Of a cone these
    are the rays seen from above, to the columns of the panel.
    """
    angle = np.deg2rad(np.asarray(geometry.angles))[:, None]
    axis, forth = np.stack((np.cos(angle), np.sin(angle))), np.stack((-np.sin(angle), np.cos(angle)))
    u = detector_coordinates(geometry)
    if geometry.kind == "parallel":
        points = u * axis
        return points, np.broadcast_to(forth, points.shape)
    to_axis, distance = geometry.distances
    if geometry.detector.shape == "flat":
        directions = distance * forth + u * axis
    else:
        directions = distance * (np.cos(u / distance) * forth + np.sin(u / distance) * axis)
    return np.broadcast_to(-to_axis * forth, directions.shape), directions
