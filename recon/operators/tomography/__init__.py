"""X-ray tomography: geometries as values, projectors whose adjoint is the adjoint, and what practice uses for it."""

from recon.operators.tomography.fbp import FilteredBackProjection, fbp
from recon.operators.tomography.filtering import WINDOWS
from recon.operators.tomography.geometry import Detector, Geometry, Volume, evenly_spaced
from recon.operators.tomography.projector import Tomography
from recon.operators.tomography.surrogates import SURROGATES, Surrogate, surrogate

__all__ = [
    "SURROGATES",
    "WINDOWS",
    "Detector",
    "FilteredBackProjection",
    "Geometry",
    "Surrogate",
    "Tomography",
    "Volume",
    "evenly_spaced",
    "fbp",
    "surrogate",
]
