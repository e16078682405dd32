"""Missing pixels."""

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from recon._values import ByValue
from recon.evidence import Proved
from recon.operators._checks import require_boolean_mask, require_member, require_stepsize
from recon.operators.base import EXACT_ADJOINT, OperatorProperties, Space
from recon.types import Map


@final
@dataclass(frozen=True, eq=False, repr=False)
class Inpainting(ByValue):
    """The orthogonal projection ``A x = mask * x``: a measurement has the image's shape, with zeros outside the mask.

    What a measurement holds outside the mask is ignored, so NaN may mark a missing pixel.

    Attributes:
        mask: (height, width), bool; true where a pixel is measured.

    Raises:
        UsageError: If the mask is not a boolean (height, width).
    """

    mask: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        require_boolean_mask("Inpainting", self.mask)
        object.__setattr__(self, "mask", self.mask.clone())

    @property
    def domain(self) -> Space:
        return Space(tuple(self.mask.shape))

    @property
    def range(self) -> Space:
        return self.domain

    @property
    def properties(self) -> OperatorProperties:
        return projection_properties(self.mask)

    def A(self, x: Tensor) -> Tensor:
        require_member("Inpainting", "image", x, self.domain)
        return keep(x, self.mask)

    def A_adjoint(self, y: Tensor) -> Tensor:
        require_member("Inpainting", "measurement", y, self.range)
        return keep(y, self.mask)

    def data_gradient(self, measurement: Tensor) -> Map:
        """``x -> mask * (x - y)``."""
        y = self.A_adjoint(measurement)
        return lambda x: self.A(x) - y

    def data_resolvent(self, measurement: Tensor, stepsize: float) -> Map:
        """``z -> (z + s y) / (1 + s)`` inside the mask, ``z`` outside."""
        require_stepsize("Inpainting", stepsize)
        pull = stepsize / (1 + stepsize) * self.A_adjoint(measurement)
        return lambda z: z - stepsize / (1 + stepsize) * self.A(z) + pull


def keep(x: Tensor, mask: Tensor) -> Tensor:
    """``x`` where the mask is true, zero (not ``0 * x``, which may be NaN) elsewhere."""
    return torch.where(mask.to(x.device), x, torch.zeros((), dtype=x.dtype, device=x.device))


def projection_properties(mask: Tensor) -> OperatorProperties:
    """The constants of an operator that is unitary up to keeping the samples of a mask."""
    how = "exact: A^T A is the orthogonal projection on the samples that the mask keeps"
    return OperatorProperties(
        norm=Proved(float(mask.any()), how),
        adjoint_gap=EXACT_ADJOINT,
        gram_min=Proved(float(mask.all()), how),
    )
