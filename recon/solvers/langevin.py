"""The unadjusted Langevin algorithm."""

import math

from recon._values import remembered
from recon.solvers.algorithm import check_stepsize
from recon.solvers.maps import require_maps
from recon.solvers.sampler import ChainState, Preconditioner, Sampler, no_preconditioner, started
from recon.types import Map


@remembered
def langevin(gradient: Map, stepsize: float, preconditioner: Preconditioner | None = None) -> Sampler[ChainState]:
    """``x+ = x - h P grad U(x) + sqrt(2 h) R z`` with z standard normal and ``R R^T = P`` (Roberts, Tweedie 1996).

    *Theorem* (Durmus, Moulines 2017; Dalalyan 2017). Let U be convex with an L-Lipschitz gradient, in the coordinates
    ``R^-1 x``, and h <= 1/L. Then the chain has a stationary density, whose distance from exp(-U) is of the order of h.
    Of a Gaussian exp(-U) the mean is exact, and along an eigenvector of the Hessian with eigenvalue l the variance is
    ``1 / (l (1 - h l / 2))``: too large by the factor ``1 / (1 - h l / 2)``.

    With U the sum of a data term and of the Moreau envelope of a penalty it is MYULA (Durmus, Moulines, Pereyra 2018);
    with ``(x - D(x)) / s^2`` of a denoiser in place of the gradient of a penalty, PnP-ULA (Laumont et al. 2022).

    Args:
        gradient: grad U, image to image.
        stepsize: h.
        preconditioner: P; ``None``: the identity.

    Raises:
        UsageError: The gradient is no map, or the step size is not positive.
    """
    require_maps("langevin", {"gradient": gradient}, {})
    check_stepsize("langevin", stepsize)
    by = preconditioner or no_preconditioner()
    spread = math.sqrt(2 * stepsize)

    def step(state: ChainState) -> ChainState:
        drift = by.apply(gradient(state.x))
        return state.moved(state.x - stepsize * drift + spread * by.root(state.noise()))

    return Sampler("ula", started, step)


def langevin_variance(stepsize: float, eigenvalue: float) -> float:
    """The variance of the chain along an eigenvector of the Hessian of a Gaussian's U; exact it would be 1 / l."""
    return 1 / (eigenvalue * (1 - stepsize * eigenvalue / 2))
