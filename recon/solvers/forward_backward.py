"""Forward-backward splitting, and Tseng's variant for maps that are monotone but not cocoercive."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from recon._values import remembered
from recon.solvers.algorithm import Algorithm, check_relaxation, check_stepsize, operators_of
from recon.solvers.maps import require_maps
from recon.solvers.theorem import forward_backward_theorem, tseng_theorem
from recon.solvers.units import refuse_other_units
from recon.types import Map


class Iterate(NamedTuple):
    """The state of an algorithm whose only variable is the image."""

    x: Tensor


class TsengIterate(NamedTuple):
    """The state of Tseng's iteration: the image, and the resolvent's point that led to it."""

    x: Tensor
    z: Tensor


def _variables(state: Iterate | TsengIterate) -> tuple[Tensor, ...]:
    return (state.x,)


@remembered
def forward_backward(gradient: Map, resolvent: Map, stepsize: float, relaxation: float = 1.0) -> Algorithm[Iterate]:
    """The iteration ``x+ = x + r (J(x - s B x) - x)``, whose fixed points are the zeros of ``B + M / s``.

    Here ``J`` is the resolvent of ``M`` and ``B`` is cocoercive: the gradient of a smooth convex function, or
    ``x -> K(Hx - y)`` with a surrogate K. The step size weighs the prior against the data: it is no mere speed
    knob. Conditions: :func:`recon.certificates.certify_forward_backward` and, with a surrogate,
    :func:`recon.certificates.certify_mismatched_forward_backward` or, for a prior that contracts,
    :func:`recon.certificates.certify_contractive_forward_backward`. With ``priors.identity()`` it is Landweber's
    iteration, or with a surrogate the BA iteration, shifted or not: :func:`recon.certificates.certify_shifted_ba`.

    Args:
        gradient: The map B, image to image.
        resolvent: The map J, image to image.
        stepsize: s > 0.
        relaxation: r in (0, 2).

    Raises:
        UsageError: The step size or the relaxation is outside its range, or the data are in other units than the prior.
    """
    require_maps("forward_backward", {"gradient": gradient}, {"resolvent": resolvent})
    check_stepsize("forward_backward", stepsize)
    check_relaxation("forward_backward", relaxation)
    refuse_other_units("forward_backward", gradient, resolvent)

    def step(state: Iterate) -> Iterate:
        x = state.x
        moved = resolvent(torch.add(x, gradient(x), alpha=-stepsize))
        return Iterate(moved if relaxation == 1 else torch.lerp(x, moved, relaxation))

    theorem = partial(forward_backward_theorem, gradient, resolvent, stepsize, relaxation)
    operators = operators_of(gradient)
    return Algorithm("forward-backward", Iterate, step, _variables, theorem=theorem, operators=operators)


@remembered
def tseng(operator: Map, resolvent: Map, stepsize: float) -> Algorithm[TsengIterate]:
    """The forward-backward-forward iteration ``z = J(x - s B x), x+ = z - s (B z - B x)`` (Tseng 2000).

    It needs B to be monotone and Lipschitz only, at the price of two applications of B a step. The fixed-point residual
    is ||z - x||: where s B is near the identity, x+ takes back nearly all of the move from x to z, and a short step
    says nothing. Conditions: :func:`recon.certificates.certify_tseng`.

    Args:
        operator: The map B, image to image.
        resolvent: The map J, image to image.
        stepsize: s > 0.

    Raises:
        UsageError: The step size is not positive, or the data are in other units than the prior.
    """
    require_maps("tseng", {"operator": operator}, {"resolvent": resolvent})
    check_stepsize("tseng", stepsize)
    refuse_other_units("tseng", operator, resolvent)

    def init(x: Tensor) -> TsengIterate:
        return TsengIterate(x, x)

    def step(state: TsengIterate) -> TsengIterate:
        forward = operator(state.x)
        z = resolvent(torch.add(state.x, forward, alpha=-stepsize))
        return TsengIterate(torch.add(z, operator(z) - forward, alpha=-stepsize), z)

    return Algorithm(
        "Tseng's forward-backward-forward", init, step, _variables, targets=lambda state: (state.z,),
        theorem=partial(tseng_theorem, operator, resolvent, stepsize), operators=operators_of(operator),
    )  # fmt: skip
