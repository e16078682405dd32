"""X-ray tomography: geometries as values, projectors whose adjoint is the adjoint, and what practice uses for it."""

from recon.operators.tomography.fbp import FilteredBackProjection, fbp
from recon.operators.tomography.fdk import FeldkampDavisKress, fdk, inverse
from recon.operators.tomography.filtering import WINDOWS
from recon.operators.tomography.geometry import AlongAxis, Detector, Geometry, Volume, coarser, evenly_spaced, views
from recon.operators.tomography.geometry_file import geometry_from_toml, geometry_to_toml, read_geometry
from recon.operators.tomography.plausibility import geometry_warnings
from recon.operators.tomography.projector import Tomography
from recon.operators.tomography.surrogates import SURROGATES, Surrogate, options_of, surrogate
from recon.operators.tomography.weighted import WeightedTomography

__all__ = [
    "SURROGATES",
    "WINDOWS",
    "AlongAxis",
    "Detector",
    "FeldkampDavisKress",
    "FilteredBackProjection",
    "Geometry",
    "Surrogate",
    "Tomography",
    "Volume",
    "WeightedTomography",
    "coarser",
    "evenly_spaced",
    "fbp",
    "fdk",
    "geometry_from_toml",
    "geometry_to_toml",
    "geometry_warnings",
    "inverse",
    "options_of",
    "read_geometry",
    "surrogate",
    "views",
]
