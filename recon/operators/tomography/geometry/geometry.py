"""The geometry of a scan: source, detector and volume as immutable values.

Lengths are in mm, angles in degrees. In a slice, x points right and y up: the pixel in row r and column c of H x W has
its centre at ``x = (c - (W - 1) / 2) pitch + x0`` and ``y = ((H - 1) / 2 - r) pitch + y0``. At the angle t the
detector's axis is ``(cos t, sin t)``, and X-rays travel along ``(-sin t, cos t)``: the convention of the ASTRA toolbox.

A cone adds the third coordinate: z points along the axis of rotation, the source turns in the plane z = 0, row r of the
panel is at ``v = (r - (rows - 1) / 2) pitch + v0`` with v along z, and slice s of the volume is at
``z = (s - (slices - 1) / 2) pitch + z0``. So both counts begin at the low end of z. What remains of a cone in the plane
z = 0 is the fan of the same angles, distances, detector columns, image rows and image columns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from recon.errors import ConsistencyError
from recon.operators.tomography.geometry.validation import (
    check_cone,
    check_distances,
    refuse_distances,
    refuse_third_dimension,
    require_count,
    require_finite,
    require_positive,
)

Kind = Literal["parallel", "fan", "cone"]
DetectorShape = Literal["flat", "arc"]


@dataclass(frozen=True)
class AlongAxis:
    """Evenly spaced places along the axis of rotation: the rows of a panel, or the slices of a volume.

    Attributes:
        pixels: How many.
        pitch: The distance between the centres of two neighbours, in mm.
        offset: The coordinate of the middle, in mm from the plane in which the source turns.
    """

    pixels: int
    pitch: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        require_count("pixels along the axis of rotation", self.pixels, "nothing else is in a panel or a volume")
        require_positive("pitch along the axis of rotation", self.pitch, "it is a length in mm")
        require_finite("offset along the axis of rotation", self.offset)

    @property
    def first(self) -> float:
        """The coordinate of place 0, in mm."""
        return self.offset - (self.pixels - 1) / 2 * self.pitch

    @property
    def extent(self) -> tuple[float, float]:
        """The coordinates of both outer edges, in mm."""
        half = self.pixels * self.pitch / 2
        return self.offset - half, self.offset + half


@dataclass(frozen=True)
class Detector:
    """A row of detector pixels, or a panel of such rows.

    Attributes:
        pixels: How many in a row.
        pitch: The distance between the centres of two neighbours, in mm; on an arc, along it.
        offset: The coordinate of the detector's centre, in mm: pixel k is at ``(k - (pixels - 1) / 2) pitch + offset``,
            where zero is hit by the ray through the axis of rotation.
        shape: ``flat``, or an ``arc`` around the source.
        rows: Of a panel; ``None`` for a single row, in the plane of the source.
    """

    pixels: int
    pitch: float
    offset: float = 0.0
    shape: DetectorShape = "flat"
    rows: AlongAxis | None = None

    def __post_init__(self) -> None:
        if self.shape not in get_args(DetectorShape):
            raise ConsistencyError(f"detector.shape is {self.shape!r}; expected 'flat' or 'arc'.")
        require_count("detector.pixels", self.pixels, "there is no measurement without a pixel")
        require_positive("detector.pitch", self.pitch, "it is a length in mm")
        require_finite("detector.offset", self.offset)

    @property
    def half_width(self) -> float:
        """The distance in mm from zero to the outer edge that is nearer to it: what a full turn sees of the object."""
        return self.pixels * self.pitch / 2 - abs(self.offset)


@dataclass(frozen=True)
class Volume:
    """A grid of square pixels, or a stack of such slices.

    Attributes:
        pixels: (rows, columns) of a slice.
        pitch: The side of a pixel, in mm.
        offset: The centre of the grid, (x, y) in mm from the axis of rotation.
        slices: Of a stack; ``None`` for a single slice, in the plane of the source.
    """

    pixels: tuple[int, int]
    pitch: float
    offset: tuple[float, float] = (0.0, 0.0)
    slices: AlongAxis | None = None

    def __post_init__(self) -> None:
        for name, pair in (("pixels", self.pixels), ("offset", self.offset)):
            if len(pair) != 2:
                raise ConsistencyError(
                    f"volume.{name} is {pair}; expected two numbers, because what a stack has along the axis of "
                    "rotation is said in volume.slices."
                )
        for pixels in self.pixels:
            require_count("volume.pixels", pixels, "there is no image without a pixel")
        require_positive("volume.pitch", self.pitch, "it is a length in mm")
        for offset in self.offset:
            require_finite("volume.offset", offset)

    @property
    def radius(self) -> float:
        """The greatest distance in mm from the axis of rotation to a corner of the grid."""
        rows, columns = self.pixels
        x, y = (abs(offset) for offset in self.offset)
        return math.hypot(columns * self.pitch / 2 + x, rows * self.pitch / 2 + y)


@dataclass(frozen=True)
class Geometry:
    """A scan of one slice, or with a cone of a volume.

    Attributes:
        kind: ``parallel``, ``fan`` or ``cone``: a circular orbit in front of a flat panel.
        angles: Of the views, in degrees, in the order of the sinogram's rows.
        detector: The detector; for a cone, and only there, with rows.
        volume: The image; for a cone, and only there, with slices.
        source_to_axis: In mm, for a fan and a cone.
        source_to_detector: In mm, for a fan and a cone.
    """

    kind: Kind
    angles: tuple[float, ...]
    detector: Detector
    volume: Volume
    source_to_axis: float | None = None
    source_to_detector: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConsistencyError(f"kind is {self.kind!r}; expected 'parallel', 'fan' or 'cone'.")
        object.__setattr__(self, "angles", tuple(float(angle) for angle in self.angles))
        if not self.angles:
            raise ConsistencyError("angles is empty; expected at least one view, because nothing else is measured.")
        for angle in self.angles:
            require_finite("angles", angle)
        if self.kind == "parallel":
            refuse_distances(self)
        else:
            check_distances(self)
        if self.kind == "cone":
            check_cone(self)
        else:
            refuse_third_dimension(self)

    @property
    def distances(self) -> tuple[float, float]:
        """From the source to the axis of rotation and to the detector, in mm.

        Raises:
            ConsistencyError: Parallel rays have no source point.
        """
        if self.source_to_axis is None or self.source_to_detector is None:
            raise ConsistencyError(f"kind is {self.kind!r}, which has no source point; expected 'fan' or 'cone'.")
        return self.source_to_axis, self.source_to_detector

    @property
    def magnification(self) -> float:
        """The magnification of an object at the axis of rotation; 1 for parallel rays."""
        if self.kind == "parallel":
            return 1.0
        axis, detector = self.distances
        return detector / axis

    @property
    def field_of_view(self) -> float:
        """The radius in mm of the circle around the axis of rotation that every view sees in the plane of the source.

        Zero where the detector is so far aside that the axis misses it.
        """
        half = max(self.detector.half_width, 0.0)
        if self.kind == "parallel":
            return half
        axis, distance = self.distances
        ray_coordinate = half / distance if self.detector.shape == "arc" else math.atan(half / distance)
        return axis * math.sin(min(ray_coordinate, math.pi / 2))

    @property
    def vertical(self) -> tuple[AlongAxis, AlongAxis]:
        """The rows of the detector and the slices of the volume of a cone.

        Raises:
            ConsistencyError: A scan of a slice has neither.
        """
        if self.detector.rows is None or self.volume.slices is None:
            raise ConsistencyError(f"kind is {self.kind!r}, which is a scan of one slice; expected 'cone'.")
        return self.detector.rows, self.volume.slices

    @property
    def sinogram_shape(self) -> tuple[int, ...]:
        """(views, detector pixels), for a cone (views, detector rows, detector columns)."""
        rows = () if self.detector.rows is None else (self.detector.rows.pixels,)
        return len(self.angles), *rows, self.detector.pixels

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(rows, columns), for a cone (slices, rows, columns)."""
        slices = () if self.volume.slices is None else (self.volume.slices.pixels,)
        return *slices, *self.volume.pixels


def evenly_spaced(start: float, stop: float, count: int, endpoint: bool = False) -> tuple[float, ...]:
    """Equally spaced angles.

    Args:
        start: The first, in degrees.
        stop: Where they end, in degrees.
        count: How many.
        endpoint: Whether the last is ``stop`` itself; a full turn or a half is covered without.
    """
    require_count("angles.count", count, "nothing else is measured")
    step = (stop - start) / max(count - endpoint, 1)
    return tuple(start + step * view for view in range(count))


def views(geometry: Geometry, indices: Sequence[int]) -> Geometry:
    """The same scan with some of its views, in the order of ``indices``: the operator of a part of the sinogram.

    Raises:
        ConsistencyError: There is no such view, or there are no indices.
    """
    count = len(geometry.angles)
    for index in indices:
        if not 0 <= index < count:
            raise ConsistencyError(
                f"views has the index {index} and the scan {count} views; expected 0 to {count - 1}."
            )
    return replace(geometry, angles=tuple(geometry.angles[index] for index in indices))


def mid_plane(geometry: Geometry) -> Geometry:
    """The fan that remains of a cone in the plane in which its source turns: of one row of the panel, of one slice.

    Any row of the panel is a sinogram of its shape.
    """
    detector, volume = replace(geometry.detector, rows=None), replace(geometry.volume, slices=None)
    return replace(geometry, kind="fan", detector=detector, volume=volume)


def coarser(geometry: Geometry, factor: int) -> Geometry:
    """The same scan on a coarser image grid of the same extent: ``factor`` pixels along each side become one.

    Raises:
        ConsistencyError: A side of the image is no multiple of the factor.
    """
    require_count("factor", factor, "it counts pixels")
    for side in geometry.image_shape:
        if side % factor:
            raise ConsistencyError(
                f"factor is {factor} and the image has {' x '.join(map(str, geometry.image_shape))} pixels; expected a "
                "divisor of each side, because the coarse pixels must cover the same part of space."
            )
    volume, slices = geometry.volume, geometry.volume.slices
    rows, columns = volume.pixels
    if slices is not None:
        slices = replace(slices, pixels=slices.pixels // factor, pitch=slices.pitch * factor)
    merged = (rows // factor, columns // factor)
    return replace(geometry, volume=replace(volume, pixels=merged, pitch=volume.pitch * factor, slices=slices))
