"""Estimate of the axis of rotation in the detector from the measurement itself."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.operators.tomography.consistency.conjugate_rays import fit_offset
from recon.operators.tomography.geometry.geometry import Geometry
from recon.operators.tomography.projectors.rays import Floats

_TWICE = 0.25  # of a fan's lines must be measured twice
_CONSTANT = 0.05  # how much the total of a view may vary if the detector sees all of the object
_KNOWN = 0.05  # of the detector's width: an offset that is less certain is none


@dataclass(frozen=True)
class CentreEstimate:
    """The detector offset that a measurement asks for.

    Attributes:
        offset_mm: As ``detector.offset`` of a geometry.
        error_mm: Its standard error, which is measured too: it covers noise, not a wrong model.
        how: From what it was had.
    """

    offset_mm: float
    error_mm: float
    how: str


def centre_of_rotation(values: NDArray[np.floating], geometry: Geometry) -> CentreEstimate | None:
    """Estimate ``detector.offset`` from a sinogram.

    From the lines that were measured twice, in opposite directions: a fan needs a full turn or nearly so (a quarter of
    its lines twice), parallel rays need two opposite views; the two ends of half a turn are extrapolated by one step.
    Parallel rays over less than that: from the centres of mass of the views, at ``x cos t + y sin t - offset`` (the
    moment condition of Helgason and Ludwig), if all of the object is seen: if the totals of the views agree.

    Args:
        values: (views, pixels) or (slices, views, pixels); slices share their axis, and are averaged.
        geometry: The scan; its own ``detector.offset`` is not used.

    Returns:
        ``None`` where the measurement does not tell.
    """
    sinogram = np.asarray(values, np.float64) if values.ndim == 2 else values.mean(axis=0, dtype=np.float64)
    if geometry.kind not in ("parallel", "fan"):
        return None
    fitted = fit_offset(sinogram, geometry)
    if fitted is not None and (geometry.kind == "parallel" or fitted.share >= _TWICE):
        return CentreEstimate(fitted.offset, fitted.error, "opposite rays")
    return _from_moments(sinogram, geometry) if geometry.kind == "parallel" else None


def _from_moments(sinogram: Floats, geometry: Geometry) -> CentreEstimate | None:
    """The constant in the sinusoid of the centres of mass; a background adds what it may move them to the error."""
    views, pixels = sinogram.shape
    total, angles = sinogram.sum(axis=1), np.deg2rad(geometry.angles)
    if views < 4 or not total.min() > 0 or total.std() > _CONSTANT * total.mean():
        return None
    place = np.arange(pixels) - (pixels - 1) / 2
    moment = sinogram @ place / total
    design = np.stack((np.cos(angles), np.sin(angles), -np.ones(views)), axis=1)
    solution, _, rank, _ = np.linalg.lstsq(design, moment, rcond=None)
    if rank < 3:
        return None
    variance = np.square(moment - design @ solution).sum() / (views - 3)
    edge = max(1, pixels // 100)
    left, right = sinogram[:, :edge].mean(), sinogram[:, -edge:].mean()
    background = pixels * abs(solution[2] * (left + right) / 2) + pixels**2 * abs(right - left) / 12
    error = float(np.hypot(np.sqrt(variance * np.linalg.inv(design.T @ design)[2, 2]), background / total.mean()))
    if error > _KNOWN * pixels:
        return None
    pitch = geometry.detector.pitch
    return CentreEstimate(float(solution[2]) * pitch, max(error, 0.05) * pitch, "centres of mass")
