"""What the instrument does: forward operators, each with its exact adjoint and its constants."""

from recon.operators import spectral
from recon.operators.adjoint import adjoint_gap, check_adjoint, properties_of
from recon.operators.base import Buffer, OperatorProperties, Space
from recon.operators.identity import Identity
from recon.operators.least_squares import LeastSquares
from recon.operators.mismatch import Mismatch, mismatch_of, shift_for

__all__ = [
    "Buffer",
    "Identity",
    "LeastSquares",
    "Mismatch",
    "OperatorProperties",
    "Space",
    "adjoint_gap",
    "check_adjoint",
    "mismatch_of",
    "properties_of",
    "shift_for",
    "spectral",
]
