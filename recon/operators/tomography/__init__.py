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
from recon.operators.tomography.projector import Tomography

__all__ = ["AlongAxis", "Detector", "Geometry", "Tomography", "Volume", "coarser", "evenly_spaced", "views"]
