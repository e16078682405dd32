"""Accelerated forward-backward splitting, for convex functions only."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from recon._values import remembered
from recon.errors import UsageError
from recon.priors import name_of, resolvent_properties
from recon.solvers.algorithm import Algorithm, check_stepsize, operators_of
from recon.solvers.maps import require_maps
from recon.solvers.theorem import fista_theorem
from recon.solvers.units import refuse_other_units
from recon.types import Map

MOMENTUM = 3.0
"""The parameter a > 2 of Chambolle and Dossal (2015), with which the iterates converge, not only the values."""


class Accelerated(NamedTuple):
    """The image ``x``, the extrapolated point and the number of steps taken."""

    x: Tensor
    extrapolated: Tensor
    step: int


def _init(x0: Tensor) -> Accelerated:
    return Accelerated(x0, x0, 0)


def _variables(state: Accelerated) -> tuple[Tensor, ...]:
    return (state.x,)


@remembered
def fista(gradient: Map, proximity: Map, stepsize: float) -> Algorithm[Accelerated]:
    """The iteration ``x+ = prox(e - s grad f(e)), e+ = x+ + (k - 1)/(k + a) (x+ - x)`` (Beck, Teboulle 2009).

    The momentum is that of Chambolle and Dossal (2015), under which the iterates converge. Its proof goes through
    the values of f + g / s, so it needs a proximity operator: a learned resolvent has no energy. Conditions:
    :func:`recon.certificates.certify_fista`.

    Args:
        gradient: The gradient of a smooth convex f, image to image.
        proximity: The proximity operator of a convex function, image to image.
        stepsize: s > 0.

    Raises:
        UsageError: The step size is not positive, the map is not known to be a proximity operator, or the
            data are in other units than it.
    """
    require_maps("fista", {"gradient": gradient}, {"proximity": proximity})
    check_stepsize("fista", stepsize)
    if resolvent_properties(proximity).proximity is None:
        raise UsageError(
            f"fista: {name_of(proximity)} is not known to be the proximity operator of a convex function, and momentum "
            "has no guarantee without one; use forward_backward, which needs a firmly nonexpansive map only."
        )

    refuse_other_units("fista", gradient, proximity)

    def step(state: Accelerated) -> Accelerated:
        k = state.step + 1
        point = state.extrapolated
        x = proximity(torch.add(point, gradient(point), alpha=-stepsize))
        return Accelerated(x, torch.lerp(state.x, x, 1 + (k - 1) / (k + MOMENTUM)), k)

    theorem = partial(fista_theorem, gradient, proximity, stepsize)
    return Algorithm("FISTA", _init, step, _variables, theorem=theorem, operators=operators_of(gradient))
