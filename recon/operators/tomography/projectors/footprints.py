"""Detector footprints of the pixels of an image, for back-projection.

Lengths are in pixels of the image. The pixel in row r and column c is at ``(x, y) = corner + (c, -r)``. In a view it is
``aside = x cosine + y sine`` along the detector's axis and, in a fan, ``depth = y cosine - x sine + axis`` from the
source. Ray k passes at ``ray_coordinate = (k - centre) step``: parallel rays at ``aside = ray_coordinate``, those to a
flat detector at ``aside = ray_coordinate depth``, those to an arc at the angle ``ray_coordinate``. The distance of a
pixel to a ray, along a line of the image, is ``|aside - ray_coordinate|``, ``|aside - ray_coordinate depth|`` or
``|aside cos(ray_coordinate) - depth sin(ray_coordinate)|`` over the ray's ``steepness``; with s the steepness and d
that distance, Joseph's weight is ``(s - s d) length / s``.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.operators.tomography.geometry.geometry import Geometry
from recon.operators.tomography.projectors.rays import Rays

Floats = NDArray[np.float64]

ARCTANGENT = (
    0.9999998977538573, -0.33331959724324794, 0.19969235394799606, -0.1401658504208332,
    0.09906096896049713, -0.059367100788908035, 0.024166189521991503, -0.0046687733075668186,
)  # fmt: skip
"""Of ``atan(x) / x`` in powers of x^2 on [0, 1]: interpolation at Chebyshev's points, error below 1.1e-7."""

ROUNDED = 1e-6
"""How wrong the angle to a pixel may be, in radians: it is a polynomial, and its precision may be single."""


@dataclass(frozen=True)
class Footprints:
    """Arrays in double precision; see above.

    Attributes:
        cosine: Of the views, (views,).
        sine: Likewise.
        corner: (x, y) of the pixel in row 0 and column 0.
        axis: From the source to the axis of rotation; zero for parallel rays.
        centre: The ray with ``ray_coordinate`` zero, counted in detector pixels, which need not be whole.
        step: From a ray to the next.
        reach: How many rays on either side of its shadow a pixel may touch.
        margin: How many zeros the detector needs at both ends, for the rays that are looked at there.
        gain: ``length / steepness`` of the rays, (views, detector pixels).
    """

    cosine: Floats
    sine: Floats
    corner: Floats
    axis: float
    centre: float
    step: float
    reach: int
    margin: int
    gain: Floats


def pixel_footprints(geometry: Geometry, rays: Rays) -> Footprints:
    """The shadows of a scan with these rays."""
    angle, detector, volume = np.deg2rad(np.asarray(geometry.angles)), geometry.detector, geometry.volume
    rows, columns = volume.pixels
    axis, distance = (0.0, volume.pitch) if geometry.kind == "parallel" else geometry.distances
    step = detector.pitch / distance
    reach, margin = _reach(geometry, step, float(rays.steepness.max()))
    x, y = (offset / volume.pitch for offset in volume.offset)
    return Footprints(
        cosine=np.cos(angle),
        sine=np.sin(angle),
        corner=np.array((x - (columns - 1) / 2, y + (rows - 1) / 2)),
        axis=axis / volume.pitch,
        centre=(detector.pixels - 1) / 2 - detector.offset / detector.pitch,
        step=step,
        reach=reach,
        margin=margin,
        gain=rays.length / rays.steepness,
    )


def turns(step: float, most: int) -> Floats:
    """Sine and versine (1 - cosine) of the multiples of ``step`` from ``-most`` to ``most``, (2, 2 most + 1).

    The versine, because the distance between a chord and its arc would be lost in a cosine near 1.
    """
    angles = np.arange(-most, most + 1) * step
    return np.stack((np.sin(angles), 2 * np.sin(angles / 2) ** 2))


def _reach(geometry: Geometry, step: float, steepest: float) -> tuple[int, int]:
    """``reach`` and ``margin``: all of the detector at most, however near to the source the image is."""
    if geometry.kind == "parallel":
        needed = steepest / step
    else:
        nearest = (geometry.distances[0] - geometry.volume.radius) / geometry.volume.pitch
        widest = steepest / nearest
        arc = geometry.detector.shape == "arc"
        needed = (math.asin(min(1.0, widest)) + ROUNDED) / step if arc else widest / step
    most = geometry.detector.pixels + 4
    reach = math.ceil(min(needed, most))
    looked_at = 4 * ((reach + 1) // 2)
    return reach, looked_at - (reach - 1 if reach == most else 0)
