"""X-ray tomography: geometries, projectors with exact adjoints, and the unmatched back-projectors of practice."""

from recon._windows import WINDOWS
from recon.operators.tomography.analytic.fbp import FilteredBackProjection, fbp
from recon.operators.tomography.analytic.fdk import FeldkampDavisKress, fdk, inverse
from recon.operators.tomography.geometry.geometry import (
    AlongAxis,
    Detector,
    Geometry,
    Volume,
    coarser,
    evenly_spaced,
    views,
)
from recon.operators.tomography.geometry.plausibility import geometry_warnings
from recon.operators.tomography.geometry.toml_file import geometry_from_toml, geometry_to_toml, read_geometry
from recon.operators.tomography.projectors.projector import Tomography
from recon.operators.tomography.projectors.weighted import WeightedTomography
from recon.operators.tomography.unmatched.surrogates import SURROGATES, Surrogate, options_of, surrogate

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
