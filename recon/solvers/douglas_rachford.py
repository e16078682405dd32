"""Splittings that reach their operators by resolvents: Douglas-Rachford, and Davis-Yin with a smooth third term."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from recon._values import remembered
from recon.solvers.algorithm import Algorithm, check_relaxation, check_stepsize, operators_of
from recon.solvers.maps import require_maps
from recon.solvers.theorem import davis_yin_theorem, douglas_rachford_theorem
from recon.solvers.units import refuse_other_units
from recon.types import Map


class Shadow(NamedTuple):
    """The governing variable ``z`` and its shadow, the image ``x``."""

    x: Tensor
    z: Tensor


def _init(x0: Tensor) -> Shadow:
    return Shadow(x0, x0)


def _variables(state: Shadow) -> tuple[Tensor, ...]:
    return (state.z,)


@remembered
def douglas_rachford(data_resolvent: Map, resolvent: Map, relaxation: float = 1.0) -> Algorithm[Shadow]:
    """The iteration ``x = J z, z+ = z + r (R(2x - z) - x)``, with no condition on a step size (Lions, Mercier 1979).

    ``R`` is the resolvent of ``s B`` and ``J`` that of ``M``; the image x tends to a zero of ``s B + M``. For least
    squares, ``R = LeastSquares(...).resolvent(s)``. Conditions:
    :func:`recon.certificates.certify_douglas_rachford`.

    Args:
        data_resolvent: The map R, image to image.
        resolvent: The map J, image to image.
        relaxation: r in (0, 2).

    Raises:
        UsageError: The relaxation is outside its range, or the data are in other units than the prior.
    """
    require_maps("douglas_rachford", {}, {"data_resolvent": data_resolvent, "resolvent": resolvent})
    check_relaxation("douglas_rachford", relaxation)
    refuse_other_units("douglas_rachford", data_resolvent, resolvent)

    def step(state: Shadow) -> Shadow:
        x = resolvent(state.z)
        reflected = torch.sub(x, state.z).add_(x)
        return Shadow(x, torch.add(state.z, data_resolvent(reflected) - x, alpha=relaxation))

    theorem = partial(douglas_rachford_theorem, data_resolvent, resolvent, relaxation)
    operators = operators_of(data_resolvent)
    return Algorithm("Douglas-Rachford", _init, step, _variables, theorem=theorem, operators=operators)


@remembered
def davis_yin(
    gradient: Map, resolvent: Map, constraint: Map, stepsize: float, relaxation: float = 1.0
) -> Algorithm[Shadow]:
    """The three-operator iteration of Davis and Yin (2017), for data, prior and constraint each in its own right.

    ``x = P z, z+ = z + r (J(2x - z - s B x) - x)``; the image x, which satisfies the constraint at every step, tends
    to a zero of ``B + M / s + C / s``, with ``J`` and ``P`` the resolvents of M and C. Conditions:
    :func:`recon.certificates.certify_davis_yin`.

    Args:
        gradient: The cocoercive map B, image to image.
        resolvent: The map J, image to image.
        constraint: The map P, image to image; usually a projection.
        stepsize: s > 0.
        relaxation: r in (0, 2).

    Raises:
        UsageError: The step size or the relaxation is outside its range, or the data are in other units than the prior.
    """
    require_maps("davis_yin", {"gradient": gradient}, {"resolvent": resolvent, "constraint": constraint})
    check_stepsize("davis_yin", stepsize)
    check_relaxation("davis_yin", relaxation)
    refuse_other_units("davis_yin", gradient, resolvent, constraint)

    def step(state: Shadow) -> Shadow:
        x = constraint(state.z)
        forward = torch.sub(x, state.z).add_(x).sub_(gradient(x), alpha=stepsize)
        return Shadow(x, torch.add(state.z, resolvent(forward) - x, alpha=relaxation))

    theorem = partial(davis_yin_theorem, gradient, resolvent, constraint, stepsize, relaxation)
    return Algorithm("Davis-Yin", _init, step, _variables, theorem=theorem, operators=operators_of(gradient))
