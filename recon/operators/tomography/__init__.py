"""X-ray tomography: geometries as values, projectors whose adjoint is the adjoint, and what practice uses for it."""

from recon.operators.tomography.fbp import FilteredBackProjection, fbp
from recon.operators.tomography.filtering import WINDOWS
from recon.operators.tomography.geometry import Detector, Geometry, Volume, evenly_spaced
from recon.operators.tomography.projector import Tomography

__all__ = [
    "WINDOWS",
    "Detector",
    "FilteredBackProjection",
    "Geometry",
    "Tomography",
    "Volume",
    "evenly_spaced",
    "fbp",
]
