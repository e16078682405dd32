"""Comparison of conjugate rays, lines that were measured from both sides, as a check of the geometry.

The ray that leaves a fan at the angle g from the middle while the source stands at t runs back along itself when the
source stands at ``t + 180 - 2 g``, and there leaves the fan at ``-g``; parallel rays have g = 0. Both values are the
same line integral, if the angles turn the way they should and zero of the detector is where the axis casts its shadow.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recon.operators.tomography.geometry.coverage import AngularCoverage
from recon.operators.tomography.geometry.geometry import Geometry
from recon.operators.tomography.projectors.rays import Floats, detector_coordinates, fan_angles

_WIDEST = 0.375  # of the detector, how far off its middle the axis is looked for
_FINEST = 0.125  # pixels
_AGREE = 0.5  # the mismatch beyond which the values have nothing to do with each other
_SAMPLES = 2**15
_COLUMNS = 128


@dataclass(frozen=True)
class OppositeFit:
    """The position of the axis by the lines that were measured twice.

    Attributes:
        offset: The detector's offset with which they agree best, in mm.
        error: Its standard error in mm, from how sharp the minimum is and from how far two halves of the views differ;
            not less than 1/20 pixel.
        mismatch: The mean square of their differences there, over that of two unrelated measurements.
        share: Which part of all lines was measured twice.
    """

    offset: float
    error: float
    mismatch: float
    share: float


def fit_offset(sinogram: Floats, geometry: Geometry, sign: int = 1) -> OppositeFit | None:
    """The detector offset with which opposite rays agree best; ``None`` if too few were measured, or none agrees.

    Args:
        sinogram: (views, pixels).
        geometry: The scan, parallel or fan; its own ``detector.offset`` is not used.
        sign: -1 to take each angle with the other sign.
    """
    turn, pixels = AngularCoverage.of(geometry.angles), geometry.detector.pixels
    if len(turn.angles) < 2 or pixels < 8:
        return None
    lines = _Lines(_smooth(sinogram[turn.order], 2), geometry, turn, sign)
    views = lines.paired_views()
    if not views.size:
        return None
    pitch, width = geometry.detector.pitch, max(1, pixels // _COLUMNS)
    blurred = replace(lines, values=_smooth(lines.values, width))
    offset, step, edge = 0.0, width / 2, _WIDEST * pixels
    shifts = np.arange(-edge, edge + step, step)
    coarse = [blurred.mismatch(at * pitch, _thinned(views, 16), width).value for at in shifts]
    best = int(np.argmin(coarse))
    if best in (0, len(coarse) - 1):
        return None
    offset, chosen = float(shifts[best]), _thinned(views, max(1, _SAMPLES // pixels))
    while step > _FINEST:
        step = max(step / 4, _FINEST)
        grid = offset + step * np.arange(-4, 5)
        offset = float(grid[np.argmin([lines.mismatch(at * pitch, chosen).value for at in grid])])
    fitted = lines.minimum(offset, chosen)
    if fitted is None:
        return None
    halves = [lines.minimum(offset, half) for half in (chosen[::2], chosen[1::2]) if half.size]
    spread = [half.offset for half in halves if half is not None]
    error = max(fitted.error, (max(spread, default=0.0) - min(spread, default=0.0)) / 2)
    return replace(fitted, error=error, share=fitted.share * len(views) / len(turn.angles))


def measures_twice(geometry: Geometry, share: float) -> bool:
    """Whether the angles of a parallel or fan scan have at least that share of the lines measured from both sides."""
    turn = AngularCoverage.of(geometry.angles)
    if len(turn.angles) < 2:
        return False
    lines = _Lines(np.zeros((len(turn.angles), geometry.detector.pixels)), geometry, turn, 1)
    return float(lines.paired().mean()) >= share


@dataclass(frozen=True)
class _Mismatch:
    """How far opposite rays disagree, 1 for unrelated ones; of how many, and which part of all that is."""

    value: float
    count: int
    share: float


@dataclass(frozen=True)
class _Lines:
    """A sinogram in the order of a turn, (views, pixels)."""

    values: Floats
    geometry: Geometry
    turn: AngularCoverage
    sign: int

    def paired_views(self) -> NDArray[np.intp]:
        """Those that meet an opposite view in some pixel, if the axis is seen in the middle."""
        return np.flatnonzero(self.paired().any(axis=1))

    def paired(self) -> NDArray[np.bool_]:
        """The rays that meet an opposite view, if the axis is seen in the middle."""
        return self.turn.between(self._opposite(self._coordinates(0.0), np.arange(len(self.values))))[3]

    def mismatch(self, offset: float, views: NDArray[np.intp], stride: int = 1) -> _Mismatch:
        """Of the rays of some views with their opposites, the axis being seen ``offset`` mm from zero."""
        detector = self.geometry.detector
        pixels = np.arange(stride // 2, detector.pixels, stride)
        u = self._coordinates(offset)[pixels]
        first, second, weight, known = self.turn.between(self._opposite(u, views))
        place = (-u - offset) / detector.pitch + (detector.pixels - 1) / 2
        known &= (place >= 0) & (place <= detector.pixels - 1)
        left = np.clip(np.floor(place).astype(np.intp), 0, detector.pixels - 2)
        beyond = place - left

        def at(view: NDArray[np.intp]) -> Floats:
            return self.values[view, left] * (1 - beyond) + self.values[view, left + 1] * beyond

        there = ((1 - weight) * at(first) + weight * at(second))[known]
        here = self.values[np.ix_(views, pixels)][known]
        if here.size < max(4, len(pixels) // 4):
            return _Mismatch(2.0, 0, 0.0)
        middle = (here.mean() + there.mean()) / 2
        scale = float(np.square(here - middle).sum() + np.square(there - middle).sum())
        value = float(np.square(here - there).sum()) / scale if scale > 0 else 2.0
        return _Mismatch(value, here.size, here.size / known.size)

    def minimum(self, near: float, views: NDArray[np.intp]) -> OppositeFit | None:
        """The minimum of the parabola through the mismatches about an offset in pixels, if there is one."""
        pitch, away = self.geometry.detector.pitch, _FINEST * np.arange(-4, 5)
        found = [self.mismatch((near + shift) * pitch, views) for shift in away]
        half_curvature, slope, level = np.polyfit(away, [one.value for one in found], 2)
        middle = found[len(found) // 2]
        if half_curvature <= 0 or middle.value > _AGREE:
            return None
        shift = float(np.clip(-slope / (2 * half_curvature), away[0], away[-1]))
        # the residuals are smooth over some four samples, and each pair of rays is met twice
        error = np.sqrt(max(level, 0.0) / (middle.count / 8 * half_curvature))
        return OppositeFit((near + shift) * pitch, max(float(error), 0.05) * pitch, middle.value, middle.share)

    def _coordinates(self, offset: float) -> Floats:
        return detector_coordinates(self.geometry) - self.geometry.detector.offset + offset

    def _opposite(self, u: Floats, views: NDArray[np.intp]) -> Floats:
        fan = np.rad2deg(fan_angles(self.geometry, u))
        opposite: Floats = self.turn.angles[views, None] + 180.0 - 2 * self.sign * fan
        return opposite


def _smooth(values: Floats, width: int) -> Floats:
    """The means over ``width`` pixels, and over as many again, so that nothing is moved."""
    for _ in range(2 if width > 1 else 0):
        summed = np.cumsum(np.pad(values, ((0, 0), (width, 0)), mode="edge"), axis=1)
        values = ((summed[:, width:] - summed[:, :-width]) / width)[:, ::-1]
    return values


def _thinned(views: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    return views if len(views) <= most else views[np.linspace(0, len(views) - 1, most).astype(np.intp)]
