"""A projector, and a symmetric map of its sinograms after it."""

from dataclasses import dataclass

from torch import Tensor

from recon._values import ByValue
from recon.operators.base import Space
from recon.operators.composition import CharacterisedOperator


@dataclass(frozen=True, eq=False, repr=False)
class TransformedProjector(ByValue):
    """``R A`` with a symmetric R, on whose kind the constants depend.

    Attributes:
        projector: A.
    """

    projector: CharacterisedOperator

    @property
    def domain(self) -> Space:
        return self.projector.domain

    @property
    def range(self) -> Space:
        return self.projector.range

    def transform(self, y: Tensor) -> Tensor:
        """``R y``, of a sinogram."""
        raise NotImplementedError

    def A(self, x: Tensor) -> Tensor:
        """(..., rows, columns) -> (..., views, detector pixels), or as the projector says."""
        return self.transform(self.projector.A(x))

    def A_adjoint(self, y: Tensor) -> Tensor:
        """(..., views, detector pixels) -> (..., rows, columns), or as the projector says."""
        return self.projector.A_adjoint(self.transform(y))
