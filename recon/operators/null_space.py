"""Test of an operator on constant images, which a denoiser leaves alone."""

import torch
from torch import Tensor

from recon.evidence import Evidence, Fact, weakest
from recon.operators.base import Characterised, HasNonnegativeEntries
from recon.types import LinearOperator

_SEEN = 1e-3
"""Of ||A|| ||1||: a norm of A 1 beyond it is no rounding of zero in single precision."""


@torch.no_grad()
def sees_constants(operator: LinearOperator, example: Tensor) -> Fact | None:
    """Return why A vanishes on no image of constant channels but zero.

    It maps each channel alike, linearly, and A 1 is not 0.

    Args:
        operator: Of images (height, width); of a volume, whose slices it may mix, and of what does not know its
            spaces, nothing is said.
        example: An image that ``A`` takes; its values do not matter.
    """
    if not isinstance(operator, Characterised) or len(operator.domain.shape) != 2:
        return None
    norm = operator.properties.norm
    nonnegative = operator.nonnegative_entries if isinstance(operator, HasNonnegativeEntries) else None
    if nonnegative is not None and norm.value > 0:
        return Fact(
            weakest(nonnegative.evidence, norm.evidence), f"no entry is negative ({nonnegative.how}), so A 1 is not 0"
        )
    ones = torch.ones_like(example[:1, :1])
    part = float(torch.linalg.vector_norm(operator.A(ones)) / torch.linalg.vector_norm(ones))
    if not part > _SEEN * norm.value:
        return None
    return Fact(Evidence.MEASURED, f"||A 1|| is {part:.3g} ||1||, computed, so A sees constants")
