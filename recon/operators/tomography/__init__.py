"""X-ray tomography: geometries as values, and projectors whose adjoint is the adjoint."""

from recon.operators.tomography.geometry import Detector, Geometry, Volume, evenly_spaced
from recon.operators.tomography.projector import Tomography

__all__ = ["Detector", "Geometry", "Tomography", "Volume", "evenly_spaced"]
