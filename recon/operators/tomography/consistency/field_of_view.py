"""Checks of the field of view: objects that exceed the detector or the image."""

import numpy as np
from numpy.typing import NDArray

from recon.errors import ConsistencyError
from recon.operators.tomography.geometry.coverage import AngularCoverage
from recon.operators.tomography.geometry.geometry import Geometry
from recon.operators.tomography.projectors.rays import Floats, detector_coordinates, fan_angles

Values = NDArray[np.floating]

_CLEAR = 0.05  # of the largest line integrals: what is above is not air
_NOISE = 5.0  # standard deviations
_VIEWS = 0.02
_LINES = 0.005
_ALL = 0.9  # of the rays that meet the object: what is left reconstructs nothing
_SLACK = 1.05
_LOOKED_AT = 8  # slices


def truncation_warnings(values: Values, geometry: Geometry) -> tuple[str, ...]:
    """Say at which edge of the detector the object goes on.

    The side of a shifted detector that is nearer to the axis is left out in a full turn, which sees the rest from the
    other side.
    """
    looked = _looked_at(values)
    pixels, level = looked.shape[2], clear_level(looked)
    edge = max(1, pixels // 100)
    offset, half_turn = geometry.detector.offset, not AngularCoverage.of(geometry.angles).is_full
    sides = (("first", looked[..., :edge], offset <= 0), ("last", looked[..., -edge:], offset >= 0))
    said = []
    for name, part, is_longer in sides:
        seen = part.mean(axis=2)
        if (half_turn or is_longer) and np.count_nonzero(seen > level) > _VIEWS * seen.size:
            said.append(
                f"The {name} columns of the sinogram rise to {seen.max():.3g} where the largest line integrals are "
                f"{_largest(looked):.3g}; expected about 0, because only then does the object end inside the field of "
                "view (or a background was not subtracted)."
            )
    return tuple(said)


def field_of_view_warnings(geometry: Geometry) -> tuple[str, ...]:
    """Say whether the image reaches beyond what the detector sees: in every view, or in a full turn in half of them."""
    detector, volume = geometry.detector, geometry.volume
    near = detector.half_width
    if near <= 0:
        return (
            f"detector.offset is {detector.offset:g} mm and the detector is {2 * near + 2 * abs(detector.offset):g} mm "
            "wide; expected less than half of that, because otherwise no pixel sees the axis of rotation.",
        )
    far = near + 2 * abs(detector.offset) if AngularCoverage.of(geometry.angles).is_full else near
    seen = far
    if geometry.kind == "fan":
        seen = geometry.distances[0] * float(np.sin(fan_angles(geometry, np.array([far]))[0]))
    sides = zip(volume.pixels, reversed(volume.offset), strict=True)
    reach = max(count * volume.pitch / 2 + abs(offset) for count, offset in sides)
    if reach <= _SLACK * seen:
        return ()
    return (
        f"The image reaches {reach:.4g} mm from the axis of rotation to its sides, and the detector sees {seen:.4g} "
        "mm; expected no more, because only some views see what lies beyond.",
    )


def support_warnings(values: Values, geometry: Geometry) -> tuple[str, ...]:
    """Say whether rays that miss the image were weakened: the object is larger than the image then.

    Raises:
        ConsistencyError: Nearly all of them miss it.
    """
    looked, (angle, distance) = _looked_at(values), line_coordinates(geometry)
    volume = geometry.volume
    rows, columns = volume.pixels
    across, down = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    shadow = (columns * np.abs(across) + rows * np.abs(down)) * volume.pitch / 2
    beside = np.abs(distance - volume.offset[0] * across - volume.offset[1] * down) > shadow + volume.pitch
    seen = looked > clear_level(looked)
    missed = int(np.count_nonzero(seen & beside))
    if missed <= _LINES * np.count_nonzero(seen):
        return ()
    reach = float(np.percentile(np.broadcast_to(np.abs(distance), seen.shape)[seen & beside], 99))
    if missed > _ALL * np.count_nonzero(seen):
        raise ConsistencyError(
            f"{_percent(missed, seen)} of the rays that meet the object miss the image, which reaches "
            f"{volume.radius:.4g} mm from the axis of rotation; expected few: lengths may be in different units."
        )
    return (
        f"{_percent(missed, seen)} of the rays that meet the object miss the image, as far as "
        f"{reach:.4g} mm from the axis of rotation; expected none, because what they measured has no place in an image "
        f"of {rows} x {columns} pixels of {volume.pitch:g} mm.",
    )


def _percent(part: int, seen: NDArray[np.bool_]) -> str:
    return f"{100 * part / np.count_nonzero(seen):.0f} %"


def line_coordinates(geometry: Geometry) -> tuple[Floats, Floats]:
    """The angle in degrees and the distance from the axis in mm of each line, (views, pixels), as for parallel rays.

    The ray that leaves a fan at the angle g is at the angle ``t - g`` and the distance ``source_to_axis sin g``.
    """
    angles, u = np.asarray(geometry.angles, np.float64)[:, None], detector_coordinates(geometry)
    if geometry.kind == "parallel":
        return np.broadcast_to(angles, (len(angles), len(u))), np.broadcast_to(u, (len(angles), len(u)))
    fan = fan_angles(geometry)
    distance = geometry.distances[0] * np.sin(fan)
    return angles - np.rad2deg(fan), np.broadcast_to(distance, (len(angles), len(u)))


def clear_level(values: Values) -> float:
    """The line integral above which a ray has met more than air and noise."""
    if values.shape[-1] < 3:
        return _CLEAR * _largest(values)
    # a second difference keeps of a smooth profile nothing but its noise, six times the variance
    noise = float(np.median(np.abs(np.diff(values, 2, axis=-1)))) / 0.6745 / 6**0.5
    return max(_CLEAR * _largest(values), _NOISE * noise)


def _largest(values: Values) -> float:
    return float(np.percentile(values, 99))


def _looked_at(values: Values) -> Values:
    """Some slices, (slices, views, pixels)."""
    stack = values[None] if values.ndim == 2 else values
    return stack[:: max(1, len(stack) // _LOOKED_AT)]
