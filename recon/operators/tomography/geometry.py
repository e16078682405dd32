"""Where the source, the detector and the volume of a scan are, as immutable values.

Lengths are in mm, angles in degrees. In a slice, x points right and y up: the pixel in row r and column c of H x W has
its centre at ``x = (c - (W - 1) / 2) pitch + x0`` and ``y = ((H - 1) / 2 - r) pitch + y0``. At the angle t the
detector's axis is ``(cos t, sin t)``, and X-rays travel along ``(-sin t, cos t)``: the convention of the ASTRA toolbox.
"""

import math
from dataclasses import dataclass
from typing import Literal

from recon.errors import ConsistencyError

Kind = Literal["parallel", "fan"]
DetectorShape = Literal["flat", "arc"]


@dataclass(frozen=True)
class Detector:
    """A row of detector pixels.

    Attributes:
        pixels: How many.
        pitch: The distance between the centres of two neighbours, in mm; on an arc, along it.
        offset: The coordinate of the detector's centre, in mm: pixel k is at ``(k - (pixels - 1) / 2) pitch + offset``,
            where zero is hit by the ray through the axis of rotation.
        shape: ``flat``, or an ``arc`` around the source.
    """

    pixels: int
    pitch: float
    offset: float = 0.0
    shape: DetectorShape = "flat"

    def __post_init__(self) -> None:
        _require_positive("detector.pixels", self.pixels, "there is no measurement without a pixel")
        _require_positive("detector.pitch", self.pitch, "it is a length in mm")
        _require_finite("detector.offset", self.offset)

    @property
    def half_width(self) -> float:
        """The distance in mm from zero to the outer edge that is nearer to it: what a full turn sees of the object."""
        return self.pixels * self.pitch / 2 - abs(self.offset)


@dataclass(frozen=True)
class Volume:
    """A grid of square pixels.

    Attributes:
        pixels: (rows, columns).
        pitch: The side of a pixel, in mm.
        offset: The centre of the grid, (x, y) in mm from the axis of rotation.
    """

    pixels: tuple[int, int]
    pitch: float
    offset: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for pixels in self.pixels:
            _require_positive("volume.pixels", pixels, "there is no image without a pixel")
        _require_positive("volume.pitch", self.pitch, "it is a length in mm")
        for offset in self.offset:
            _require_finite("volume.offset", offset)

    @property
    def radius(self) -> float:
        """The greatest distance in mm from the axis of rotation to a corner of the grid."""
        rows, columns = self.pixels
        x, y = (abs(offset) for offset in self.offset)
        return math.hypot(columns * self.pitch / 2 + x, rows * self.pitch / 2 + y)


@dataclass(frozen=True)
class Geometry:
    """A scan of one slice.

    Attributes:
        kind: ``parallel`` or ``fan``.
        angles: Of the views, in degrees, in the order of the sinogram's rows.
        detector: The detector.
        volume: The image.
        source_to_axis: In mm, for a fan.
        source_to_detector: In mm, for a fan.
    """

    kind: Kind
    angles: tuple[float, ...]
    detector: Detector
    volume: Volume
    source_to_axis: float | None = None
    source_to_detector: float | None = None

    def __post_init__(self) -> None:
        if not self.angles:
            raise ConsistencyError("angles is empty; expected at least one view, because nothing else is measured.")
        for angle in self.angles:
            _require_finite("angles", angle)
        if self.kind == "parallel":
            _refuse_distances(self)
        else:
            _check_distances(self)

    @property
    def distances(self) -> tuple[float, float]:
        """From the source to the axis of rotation and to the detector, in mm.

        Raises:
            ConsistencyError: Parallel rays have no source point.
        """
        if self.source_to_axis is None or self.source_to_detector is None:
            raise ConsistencyError(f"kind is {self.kind!r}, which has no source point; expected 'fan'.")
        return self.source_to_axis, self.source_to_detector

    @property
    def sinogram_shape(self) -> tuple[int, int]:
        """(views, detector pixels)."""
        return len(self.angles), self.detector.pixels

    @property
    def image_shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.volume.pixels


def evenly_spaced(start: float, stop: float, count: int, endpoint: bool = False) -> tuple[float, ...]:
    """``count`` angles from ``start`` to ``stop``, in degrees, without ``stop`` itself unless ``endpoint``."""
    _require_positive("angles.count", count, "nothing else is measured")
    step = (stop - start) / max(count - endpoint, 1)
    return tuple(start + step * view for view in range(count))


def _refuse_distances(geometry: Geometry) -> None:
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


def _check_distances(geometry: Geometry) -> None:
    for name in ("source_to_axis", "source_to_detector"):
        value = getattr(geometry, name)
        if value is None:
            raise ConsistencyError(f"{name} is missing; expected a length in mm, because the rays of a fan meet there.")
        _require_positive(name, value, "it is a length in mm")
    axis, detector = geometry.distances
    if detector < axis:
        raise ConsistencyError(
            f"source_to_detector is {detector:g} and source_to_axis {axis:g}; expected the detector to be the farther "
            "one, because the object turns between them."
        )
    radius = geometry.volume.radius
    if radius >= axis:
        raise ConsistencyError(
            f"source_to_axis is {axis:g} mm and the volume reaches {radius:g} mm from the axis; expected less, because "
            "the source must stay outside of it."
        )


def _require_positive(name: str, value: float, why: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ConsistencyError(f"{name} is {value:g}; expected a positive number, because {why}.")


def _require_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ConsistencyError(f"{name} has {value:g}; expected a finite number.")
