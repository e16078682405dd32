"""The identity: pure denoising."""

from dataclasses import dataclass

from torch import Tensor

from recon.evidence import Proved
from recon.operators._checks import require_stepsize
from recon.operators.base import EXACT_ADJOINT, OperatorProperties, Space
from recon.types import Map


@dataclass(frozen=True)
class Identity:
    """``A x = x`` on images of ``image_shape`` (height, width), with any leading dimensions."""

    image_shape: tuple[int, int]

    @property
    def domain(self) -> Space:
        return Space(self.image_shape)

    @property
    def range(self) -> Space:
        return Space(self.image_shape)

    @property
    def properties(self) -> OperatorProperties:
        one = Proved(1.0, "A is the identity")
        return OperatorProperties(norm=one, adjoint_gap=EXACT_ADJOINT, gram_min=one)

    def A(self, x: Tensor) -> Tensor:
        return x

    def A_adjoint(self, y: Tensor) -> Tensor:
        return y

    def data_resolvent(self, measurement: Tensor, stepsize: float) -> Map:
        """``z -> (z + s y) / (1 + s)``."""
        require_stepsize("Identity", stepsize)
        return lambda z: (z + stepsize * measurement) / (1 + stepsize)
