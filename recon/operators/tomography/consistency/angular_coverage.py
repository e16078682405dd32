"""Check of the angular range: a scan of half a turn that is stated as a full one."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recon.operators.tomography.consistency.conjugate_rays import fit_offset, measures_twice
from recon.operators.tomography.geometry.geometry import Geometry

Values = NDArray[np.floating]

_BETTER, _TANGIBLE = 0.4, 0.003
"""Of the mismatch of opposite rays, what is left with half the angles, and by how much it must be less at least."""

_MEASURED_TWICE = 0.25
_UNRELATED = 1.0


def span_warnings(values: Values, geometry: Geometry) -> tuple[str, ...]:
    """Say whether opposite rays disagree, and agree if the scan spans half of what its angles say.

    An object that is nearly round about the axis looks the same either way, and says nothing.

    Args:
        values: Line integrals, (views, pixels) or (slices, views, pixels).
        geometry: The scan, parallel or fan.
    """
    if not measures_twice(geometry, _MEASURED_TWICE):
        return ()
    sinogram = np.asarray(values, np.float64) if values.ndim == 2 else values.mean(axis=0, dtype=np.float64)
    stated = fit_offset(sinogram, geometry)
    mismatch = _UNRELATED if stated is None else stated.mismatch
    if mismatch < _TANGIBLE:
        return ()
    first, last = geometry.angles[0], geometry.angles[-1]
    halved = replace(geometry, angles=tuple(first + (angle - first) / 2 for angle in geometry.angles))
    other = fit_offset(sinogram, halved)
    if other is None or other.mismatch >= min(_BETTER * mismatch, mismatch - _TANGIBLE):
        return ()
    return (
        f"Opposite rays disagree with angles from {first:g} to {last:g} degrees, and agree "
        f"{mismatch / other.mismatch:.2g} times better with half of that span, up to {halved.angles[-1]:g}; expected "
        "them to agree as they are: a scan of half a turn was declared as a full turn.",
    )
