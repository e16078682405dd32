"""X-ray tomography: geometries as values, and projectors whose adjoint is the adjoint."""

from recon.operators.tomography.geometry import (
    AlongAxis,
    Detector,
    Geometry,
    Volume,
    coarser,
    evenly_spaced,
    views,
)
from recon.operators.tomography.geometry_file import geometry_from_toml, geometry_to_toml, read_geometry
from recon.operators.tomography.plausibility import geometry_warnings
from recon.operators.tomography.projector import Tomography

__all__ = [
    "AlongAxis",
    "Detector",
    "Geometry",
    "Tomography",
    "Volume",
    "coarser",
    "evenly_spaced",
    "geometry_from_toml",
    "geometry_to_toml",
    "geometry_warnings",
    "read_geometry",
    "views",
]
