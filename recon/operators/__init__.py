"""What the instrument does: forward operators, each with its exact adjoint and its constants."""

from recon.operators.base import Buffer, OperatorProperties, Space
from recon.operators.identity import Identity

__all__ = ["Buffer", "Identity", "OperatorProperties", "Space"]
