"""The proximity operator of a penalty with a Lipschitz gradient, by an inner iteration to a proved accuracy."""

import math
from functools import partial

import torch
from torch import Tensor

from recon.errors import GuaranteeError
from recon.evidence import Fact, Proved
from recon.priors.closed_forms import EVERYWHERE
from recon.priors.resolvent import Resolvent, proximity_operator
from recon.priors.smooth import Smooth
from recon.types import Map

_MOST_STEPS = 20_000
"""Of a proximity operator: more are no answer in a solver, which takes the gradient."""


def smooth_resolvent(  # noqa: PLR0913  what is known of the penalty, and the step size
    smooth: Smooth,
    name: str,
    accuracy: float,
    attains: Fact,
    stepsize: float,
    *,
    values: tuple[float, float] | None = None,
) -> Resolvent:
    """``prox of s R``, evaluated to an accuracy relative to its input.

    Args:
        smooth: The gradient of R, and its Lipschitz constant.
        name: What a certificate calls R.
        accuracy: Between 0 and 1.
        attains: See :class:`recon.priors.ResolventProperties`.
        stepsize: s.
        values: See :class:`recon.priors.ResolventProperties`.
    """
    error = Proved(accuracy, "the gradient norm of every call bounds its error; a call that misses the accuracy raises")
    apply = partial(_prox, smooth.gradient, stepsize, stepsize * smooth.lipschitz.value, accuracy, name)
    return proximity_operator(
        apply, f"{stepsize:g} {name}", attains=attains, everywhere=EVERYWHERE, error=error, values=values,
        differentiable=False,
    )  # fmt: skip


@torch.no_grad()
def _prox(  # noqa: PLR0913, PLR0917  internal: what smooth_resolvent has, and the image
    gradient: Map, stepsize: float, constant: float, accuracy: float, name: str, x: Tensor
) -> Tensor:
    """The minimiser of ``||z - x||^2 / 2 + s R(z)``, by Nesterov's method for strongly convex functions.

    The function is 1-strongly convex, so that ``||z - prox(x)||`` is at most the norm of the gradient at z.
    """
    fine = x.to(torch.promote_types(x.dtype, torch.float64))
    goal = accuracy * torch.linalg.vector_norm(fine.flatten(1), dim=1)
    root = math.sqrt(1 + constant)
    momentum = (root - 1) / (root + 1)
    z = point = found = fine
    open_items = torch.ones_like(goal, dtype=torch.bool)
    for _ in range(min(_MOST_STEPS, 100 + int(20 * root * (1 + abs(math.log(accuracy)))))):
        slope = point - fine + stepsize * gradient(point)
        sizes = torch.linalg.vector_norm(slope.flatten(1), dim=1)
        reached = open_items & ~(sizes > goal)  # one that is not finite is left to the solver
        found = torch.where(reached.view(-1, *[1] * (x.ndim - 1)), point, found)
        open_items = open_items & ~reached
        if not bool(open_items.any()):
            return found.to(x.dtype)
        following = point - slope / (1 + constant)
        z, point = following, following + momentum * (following - z)
    raise GuaranteeError(f"{name}: the accuracy of {accuracy:g} is not reached; ask for less, or smooth more.")
