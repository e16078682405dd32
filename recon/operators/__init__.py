"""What the instrument does: forward operators, each with its exact adjoint and its constants."""

from recon.operators import spectral
from recon.operators.adjoint import adjoint_gap, check_adjoint, properties_of
from recon.operators.base import Buffer, OperatorProperties, Space
from recon.operators.identity import Identity
from recon.operators.least_squares import LeastSquares

__all__ = [
    "Buffer",
    "Identity",
    "LeastSquares",
    "OperatorProperties",
    "Space",
    "adjoint_gap",
    "check_adjoint",
    "properties_of",
    "spectral",
]
