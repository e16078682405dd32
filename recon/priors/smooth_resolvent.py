"""The proximity operator of a penalty with a Lipschitz gradient, by an inner iteration to an accuracy."""

import math
from functools import partial

import torch
from torch import Tensor

from recon.errors import GuaranteeError
from recon.evidence import Fact, Measured, Proved
from recon.operators.rounding import gamma, norms_of
from recon.priors.closed_forms import EVERYWHERE
from recon.priors.resolvent import Resolvent, proximity_operator
from recon.priors.smooth import Smooth
from recon.types import Map

_MOST_STEPS = 20_000
"""Of a proximity operator: more are no answer in a solver, which takes the gradient."""


_PROVED = (
    "the gradient of the objective at the result of every call bounds its error, up to the rounding of the result; it "
    "counts the worst case of its own rounding; a call that misses the accuracy raises"
)
_MEASURED = (
    "the gradient of the objective at the result of every call bounds its error, but for the rounding of that "
    "gradient, which is in double precision; a call that misses the accuracy raises"
)


def smooth_resolvent(  # noqa: PLR0913  what is known of the penalty, and the step size
    smooth: Smooth,
    name: str,
    accuracy: float,
    attains: Fact,
    stepsize: float,
    *,
    operations: int | None = None,
    values: tuple[float, float] | None = None,
) -> Resolvent:
    """``prox of s R``, evaluated to an accuracy relative to its input.

    Args:
        smooth: The gradient of R, and its Lipschitz constant L.
        name: What a certificate calls R.
        accuracy: Between 0 and 1.
        attains: See :class:`recon.priors.ResolventProperties`.
        stepsize: s.
        operations: n, where grad R(z) is computed to within ``g_n L ||z||``
            (:func:`recon.operators.rounding.gamma`); ``None``: not known, and the error is measured.
        values: See :class:`recon.priors.ResolventProperties`.
    """
    constant = stepsize * smooth.lipschitz.value
    share = gamma((operations or 0) + 4) * (1 + constant)
    error = Measured(accuracy, _MEASURED) if operations is None else Proved(accuracy, _PROVED)
    apply = partial(_prox, smooth.gradient, stepsize, constant, accuracy, name, share)
    return proximity_operator(
        apply, f"{stepsize:g} {name}", attains=attains, everywhere=EVERYWHERE, error=error, values=values,
        differentiable=False,
    )  # fmt: skip


@torch.no_grad()
def _prox(  # noqa: PLR0913, PLR0917  internal: what smooth_resolvent has, and the image
    gradient: Map, stepsize: float, constant: float, accuracy: float, name: str, share: float, x: Tensor
) -> Tensor:
    """The minimiser of ``||z - x||^2 / 2 + s R(z)``, by Nesterov's method for strongly convex functions.

    The function is 1-strongly convex, so that ``||z - prox(x)||`` is at most the norm of the gradient at z, which is
    computed to within ``share (||z|| + ||x||)``.
    """
    fine = x.to(torch.promote_types(x.dtype, torch.float64))
    sizes = norms_of(fine)
    root = math.sqrt(1 + constant)
    momentum = (root - 1) / (root + 1)
    z = point = found = fine
    open_items = fine.isfinite().flatten(1).all(1)  # what is not is left to the solver
    for _ in range(min(_MOST_STEPS, 100 + int(20 * root * (1 + abs(math.log(accuracy)))))):
        slope = point - fine + stepsize * gradient(point)
        bounds = (1 + gamma(fine[:1].numel() + 64)) * norms_of(slope) + share * (norms_of(point) + sizes)
        reached = open_items & (bounds <= accuracy * sizes)
        found = torch.where(reached.view(-1, *[1] * (x.ndim - 1)), point, found)
        open_items = open_items & ~reached
        if not bool(open_items.any()):
            return found.to(x.dtype)
        following = point - slope / (1 + constant)
        z, point = following, following + momentum * (following - z)
    raise GuaranteeError(f"{name}: the accuracy of {accuracy:g} is not reached; ask for less, or smooth more.")
