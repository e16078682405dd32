"""The distance of a derivative from a symmetric one: a map is a gradient exactly if there is none, anywhere."""

import torch
from torch import Tensor

from recon.certificates.ascent import LANCZOS
from recon.evidence import Measured
from recon.operators.spectral import Effort, map_norm
from recon.priors.networks import Derivative


@torch.no_grad()
def asymmetry(derivative: Derivative, x: Tensor, effort: Effort = LANCZOS) -> Measured:
    """``||Q' - Q'^T|| / ||Q'||`` at a point, from 0 for a gradient to 2, by Lanczos for either norm.

    J = (Id + Q)/2 firmly nonexpansive is a resolvent; it is a proximity operator exactly if this is 0 everywhere
    (Moreau 1965), so that a number above its error refutes that J has a potential, while 0 at a point proves nothing.

    Args:
        derivative: Q'(x), with its transpose.
        x: A tensor of the shape, dtype and device that it takes; its values do not matter.
        effort: Of each Lanczos iteration.
    """

    def skew(v: Tensor) -> Tensor:
        return derivative.forward(v) - derivative.transpose(v)

    whole = map_norm(derivative.forward, derivative.transpose, x, effort)
    odd = map_norm(skew, lambda v: -skew(v), x, effort)
    if not whole.value:
        return Measured(0.0, "Q' is 0", 0.0)
    value = odd.value / whole.value
    error = (odd.error + value * whole.error) / whole.value
    return Measured(value, f"{odd.how}, and of ||Q'||", error)
