"""Checks of a sinogram against its geometry, before anything is reconstructed.

Some mistakes cannot be seen in the measurement. With parallel rays the opposite sign of all angles gives the mirror
image, and a common rotation of all angles a rotated one: both are as consistent as the truth. Of a fan the sign shows
in the rays that were measured twice; but reversed angles with a reversed detector are, again, the mirror image.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from recon.errors import ConsistencyError
from recon.operators.tomography.consistency.angular_coverage import span_warnings
from recon.operators.tomography.consistency.cone import check_panel_shape, end_warnings, height_warnings, middle_row
from recon.operators.tomography.consistency.conjugate_rays import fit_offset
from recon.operators.tomography.consistency.detector_gain import odd_column_warnings
from recon.operators.tomography.consistency.field_of_view import (
    clear_level,
    field_of_view_warnings,
    support_warnings,
    truncation_warnings,
)
from recon.operators.tomography.consistency.rotation_axis import CentreEstimate, centre_of_rotation
from recon.operators.tomography.geometry.geometry import Geometry, mid_plane

__all__ = [
    "CentreEstimate",
    "angle_sign_warnings",
    "angle_unit_warnings",
    "centre_of_rotation",
    "centre_warnings",
    "check_shape",
    "check_sinogram",
    "dead_column_warnings",
    "dead_columns",
    "field_of_view_warnings",
    "odd_column_warnings",
    "span_warnings",
    "support_warnings",
    "truncation_warnings",
]

Values = NDArray[np.floating]

_MANY_VIEWS = 16
_BETTER = 0.5  # the other sign's mismatch, of this one's
_TANGIBLE = 1e-3  # by which it must be less: the grid of a simulation is no rounder
_MEASURED_TWICE = 0.25
_MOST_DEAD = 0.1
_LISTED = 5


def check_sinogram(values: Values, geometry: Geometry) -> tuple[str, ...]:
    """Everything below: the warnings, a sentence each.

    Args:
        values: Line integrals, (views, pixels) or (slices, views, pixels); of a cone (views, panel rows, panel
            columns).
        geometry: The scan that they are said to be of.

    Raises:
        ConsistencyError: The shape is not the scan's.
    """
    check_shape(values, geometry)
    warnings = angle_unit_warnings(geometry)
    if geometry.kind == "cone":
        return (*warnings, *_cone_warnings(values, geometry))
    return (
        *warnings,
        *dead_column_warnings(values),
        *odd_column_warnings(values, geometry),
        *span_warnings(values, geometry),
        *angle_sign_warnings(values, geometry),
        *centre_warnings(values, geometry),
        *field_of_view_warnings(geometry),
        *truncation_warnings(values, geometry),
        *support_warnings(values, geometry),
    )


def _cone_warnings(values: Values, geometry: Geometry) -> tuple[str, ...]:
    """What the rows of the panel say, each of them the sinogram of about a fan, and exactly that of the middle."""
    fan, rows, middle = mid_plane(geometry), values.swapaxes(0, 1), middle_row(values, geometry)
    warnings = (*dead_column_warnings(rows, panel=True), *odd_column_warnings(rows, fan, panel=True))
    if middle is not None:
        warnings += (
            *span_warnings(middle, fan),
            *angle_sign_warnings(middle, fan),
            *centre_warnings(middle, fan),
            *support_warnings(middle, fan),
        )
    return (
        *warnings,
        *field_of_view_warnings(fan),
        *height_warnings(geometry),
        *truncation_warnings(rows, fan),
        *end_warnings(values),
    )


def check_shape(values: Values, geometry: Geometry) -> None:
    """Compare rows with angles and columns with detector pixels.

    Raises:
        ConsistencyError: They differ; it says so if rows and columns, or views and slices, are exchanged.
    """
    if geometry.kind == "cone":
        check_panel_shape(values, geometry)
        return
    expected = geometry.sinogram_shape
    found = values.shape[-len(expected) :]
    if found == expected and values.ndim in (len(expected), len(expected) + 1):
        return
    given, wanted = " x ".join(map(str, values.shape)), " x ".join(map(str, expected))
    if values.ndim not in (2, 3):
        raise ConsistencyError(f"the measurement is {given} and the geometry {wanted}; expected the same shape.")
    if found == expected[::-1]:
        raise ConsistencyError(
            f"the sinogram is {given} and the geometry has {expected[0]} angles and {expected[1]} detector pixels; "
            "expected a row for each angle: it is transposed."
        )
    if (values.shape[0], found[1]) == expected:
        raise ConsistencyError(
            f"the stack is {given} and the geometry has {expected[0]} angles; expected (slices, angles, pixels): its "
            "pages are views, not slices."
        )
    if found[0] != expected[0]:
        raise ConsistencyError(
            f"the sinogram has {found[0]} rows and the geometry {expected[0]} angles; expected a row for each angle."
        )
    raise ConsistencyError(
        f"the sinogram has {found[1]} columns and the detector {expected[1]} pixels; expected a column for each pixel."
    )


def angle_unit_warnings(geometry: Geometry) -> tuple[str, ...]:
    """Say whether the angles look like radians: many of them, within a turn of 2 pi."""
    span = max(geometry.angles) - min(geometry.angles)
    if len(geometry.angles) < _MANY_VIEWS or not 0 < span <= 2 * np.pi * 1.01:
        return ()
    return (
        f"The {len(geometry.angles)} angles span {span:.4g}; expected degrees; as radians they "
        f"would span {np.rad2deg(span):.4g} degrees.",
    )


def angle_sign_warnings(values: Values, geometry: Geometry) -> tuple[str, ...]:
    """Say whether a fan's rays that were measured twice agree clearly better with the other sign of the angles.

    Whether the angles or the detector's columns run the wrong way, they do not tell; nor, for want of such rays, can
    anything be said of parallel rays, or of a fan over much less than a full turn. A round object about the axis looks
    the same both ways.
    """
    if geometry.kind != "fan":
        return ()
    sinogram = _mean(values)
    plus, minus = (fit_offset(sinogram, geometry, sign) for sign in (1, -1))
    if minus is None or minus.share < _MEASURED_TWICE:
        return ()
    if plus and minus.mismatch > min(_BETTER * plus.mismatch, plus.mismatch - _TANGIBLE):
        return ()
    better = f"{plus.mismatch / minus.mismatch:.2g} times" if plus else "far"
    return (
        f"The rays that were measured twice agree {better} better if the angles run the other way; expected them to "
        "agree as they are: change the sign of the angles, or reverse the detector's columns.",
    )


def centre_warnings(values: Values, geometry: Geometry) -> tuple[str, ...]:
    """Say where the axis of rotation appears to be, if that is clearly more than a pixel from where the geometry is."""
    estimate = centre_of_rotation(values, geometry)
    detector = geometry.detector
    if estimate is None:
        return ()
    off = abs(estimate.offset_mm - detector.offset)
    if off <= max(detector.pitch, 3 * estimate.error_mm):
        return ()
    column = (detector.pixels - 1) / 2 - estimate.offset_mm / detector.pitch
    return (
        f"detector.offset is {detector.offset:g} mm and the {estimate.how} ask for {estimate.offset_mm:.4g} mm +- "
        f"{estimate.error_mm:.2g}, {off / detector.pitch:.3g} pixels away (the axis of rotation at column "
        f"{column:.2f}, counted from 0); expected them to agree: offset = {estimate.offset_mm:.4g} under [detector].",
    )


def dead_columns(values: Values, panel: bool = False) -> tuple[tuple[int, int], ...]:
    """The detector pixels whose value is the same in all views, (slice, column).

    Air without noise is not among them: columns from the edge of the detector on that are constant and about zero. Nor
    is anything if more than a tenth is constant, as it is for a round object about the axis without noise. Where the
    slices are rows of a panel, its lowest and its highest row are edges of the detector too.
    """
    stack = values[None] if values.ndim == 2 else values
    if stack.shape[1] < 2:
        return ()
    constant = np.stack([(one == one[0]).all(axis=0) for one in stack])
    air = constant & (np.abs(stack[:, 0]) <= clear_level(stack[:: max(1, len(stack) // 8)]))
    dead = constant.copy()
    for axis in (0, 1) if panel else (1,):
        dead &= ~np.logical_and.accumulate(air, axis=axis)
        dead &= ~np.flip(np.logical_and.accumulate(np.flip(air, axis), axis=axis), axis)
    if dead.all() or np.count_nonzero(dead) > max(1.0, _MOST_DEAD * dead.size):
        return ()
    return tuple((int(index), int(column)) for index, column in np.argwhere(dead))


def dead_column_warnings(values: Values, panel: bool = False) -> tuple[str, ...]:
    """Name the detector pixels whose value is the same in all views; arguments as in :func:`dead_columns`."""
    dead, layer = dead_columns(values, panel), "row" if panel else "slice"
    if not dead:
        return ()
    several = values.ndim == 3 and len(values) > 1
    names = _listed(f"{column} of {layer} {index}" if several else str(column) for index, column in dead)
    return (
        f"The sinogram is the same in all views in column {names} (counted from 0); expected no such column, because "
        "the object turns: the pixels of the detector are dead, and draw rings.",
    )


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    return ", ".join(every[:_LISTED]) + more


def _mean(values: Values) -> NDArray[np.float64]:
    return np.asarray(values, np.float64) if values.ndim == 2 else values.mean(axis=0, dtype=np.float64)
