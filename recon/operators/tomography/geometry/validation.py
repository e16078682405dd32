"""Refusal of geometries that no scan can have: one sentence each, with the numbers that disagree."""

import math
import numbers
from typing import TYPE_CHECKING

from recon.errors import ConsistencyError

if TYPE_CHECKING:
    from recon.operators.tomography.geometry.geometry import Geometry

STEEPEST = math.sqrt(0.5)
"""Of a ray, v to the distance from source to detector: a flatter ray runs more along x, or along y, than along z."""

FARTHEST = 1e9
"""Of a height, in slices: double precision then still has seven digits of a slice."""


def refuse_distances(geometry: "Geometry") -> None:
    """Refuse a source point, and what is centred on it, with parallel rays."""
    for name in ("source_to_axis", "source_to_detector"):
        value = getattr(geometry, name)
        if value is not None:
            raise ConsistencyError(
                f"{name} is {value:g} with kind = parallel; expected none, because parallel rays have no source point."
            )
    if geometry.detector.shape != "flat":
        raise ConsistencyError(
            "detector.shape is 'arc' with kind = parallel; expected 'flat', because it is centred on a source point."
        )


def check_distances(geometry: "Geometry") -> None:
    """Refuse an orbit that does not pass between volume and detector."""
    for name in ("source_to_axis", "source_to_detector"):
        value = getattr(geometry, name)
        if value is None:
            raise ConsistencyError(f"{name} is missing; expected a length in mm, because the rays meet there.")
        require_positive(name, value, "it is a length in mm")
    axis, detector = geometry.distances
    if detector < axis:
        raise ConsistencyError(
            f"source_to_detector is {detector:g} and source_to_axis {axis:g}; expected the detector to be the farther "
            "one, because the object turns between them."
        )
    radius = geometry.volume.radius
    if radius >= axis:
        raise ConsistencyError(
            f"source_to_axis is {axis:g} mm and the volume reaches {radius:g} mm from the axis; expected a source "
            "outside of the volume: distances may be in another unit than mm."
        )


def refuse_third_dimension(geometry: "Geometry") -> None:
    """Refuse rows and slices in a scan of one slice."""
    for name, along in (("detector.rows", geometry.detector.rows), ("volume.slices", geometry.volume.slices)):
        if along is not None:
            raise ConsistencyError(
                f"{name} has {along.pixels} with kind = {geometry.kind}; expected none, because it scans one slice."
            )


def check_cone(geometry: "Geometry") -> None:
    """Refuse a cone without a panel or a stack, and rays too steep, or too far away, for its projector."""
    rows, slices, shape = geometry.detector.rows, geometry.volume.slices, geometry.detector.shape
    if rows is None or slices is None:
        missing = "detector.rows" if rows is None else "volume.slices"
        raise ConsistencyError(f"{missing} is missing with kind = cone; expected it, because a cone sees a volume.")
    if shape != "flat":
        raise ConsistencyError(f"detector.shape is {shape!r} with kind = cone; expected 'flat', because it is a panel.")
    to_axis, distance = geometry.distances
    volume, highest = geometry.volume, max(map(abs, rows.extent))
    if volume.radius + volume.pitch >= to_axis:
        raise ConsistencyError(
            f"source_to_axis is {to_axis:g} mm and the volume reaches {volume.radius:g} mm from the axis; expected at "
            f"least a pixel of {volume.pitch:g} mm between them, because the magnification has no bound at the source."
        )
    if highest > STEEPEST * distance:
        raise ConsistencyError(
            f"detector.rows reaches {highest:g} mm from the plane of the source at source_to_detector = {distance:g}; "
            f"expected at most {STEEPEST * distance:g}, because a steeper ray would skip parts of the volume."
        )
    if max(highest, *map(abs, slices.extent)) > FARTHEST * slices.pitch:
        raise ConsistencyError(
            f"volume.slices has a pitch of {slices.pitch:g} mm and the scan reaches more than {FARTHEST:g} of them; "
            "expected less, because places so far away have no digits left for a slice."
        )


def require_count(name: str, value: int, why: str) -> None:
    """Refuse what counts nothing."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ConsistencyError(f"{name} is {value}; expected a positive integer, because {why}.")


def require_positive(name: str, value: float, why: str) -> None:
    """Refuse what is no length."""
    if not (math.isfinite(value) and value > 0):
        raise ConsistencyError(f"{name} is {value:g}; expected a positive number, because {why}.")


def require_finite(name: str, value: float) -> None:
    """Refuse infinities and what is not a number."""
    if not math.isfinite(value):
        raise ConsistencyError(f"{name} has {value:g}; expected a finite number.")
