"""ISTA with learned step sizes, which are taken where the energy falls."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from recon._values import remembered
from recon.errors import UsageError
from recon.operators import LeastSquares
from recon.priors import Prior, name_of
from recon.solvers.algorithm import Algorithm, check_stepsize, operators_of
from recon.solvers.theorem import compared_steps_theorem


class LearnedIterate(NamedTuple):
    """The state of ISTA with learned steps.

    Attributes:
        x: The image.
        rest: A x - y.
        energy: ||A x - y||^2 / 2 + g(x) of each batch item, in double precision.
        refused: How many learned steps each item did not take, because its energy would not have fallen.
        step: The number of steps taken.
    """

    x: Tensor
    rest: Tensor
    energy: Tensor
    refused: Tensor
    step: int


@remembered
def learned_ista(
    data: LeastSquares, prior: Prior, stepsizes: Sequence[float], stepsize: float
) -> Algorithm[LearnedIterate]:
    """The iteration ``x+ = prox_{t g}(x - t A^T(A x - y))`` with a learned t for each step (SLISTA).

    After Ablin, Moreau, Massias, Gramfort (2019), section 5. A step after which the energy F has not fallen is replaced
    by that of ISTA, with ``stepsize``, item by item; so are the steps beyond the learned ones. Conditions:
    :func:`recon.certificates.certify_compared_steps`.

    A step costs one application of A and of A^T, a replaced one another A.

    Args:
        data: A and y, with the exact adjoint.
        prior: g, with its value and its proximity operators.
        stepsizes: t, one a step.
        stepsize: That of ISTA, at most 1/||A||^2.

    Raises:
        UsageError: A step size is not positive, the prior has no value, or there is a surrogate or a shift.
    """
    check_stepsize("learned_ista", stepsize)
    for each in stepsizes:
        check_stepsize("learned_ista", each, "a learned step size")
    if not isinstance(data, LeastSquares) or data.surrogate is not None or data.shift:
        raise UsageError(
            f"learned_ista: the data are {name_of(data)}; expected LeastSquares without a surrogate and a shift, "
            "because steps are compared by the energy."
        )
    value = prior.value
    if value is None:
        raise UsageError(
            f"learned_ista: {prior.name} has no value; expected a prior with an energy, such as wavelet or l1, because "
            "steps are compared by the energy."
        )
    safe = prior.resolvent(stepsize)
    learned = [prior.resolvent(each) for each in stepsizes]

    def energy(x: Tensor, rest: Tensor) -> Tensor:
        return _square(rest) / 2 + value(x).double()

    def init(x0: Tensor) -> LearnedIterate:
        rest = data.residual(x0)
        none = torch.zeros(x0.shape[0], dtype=torch.int64, device=x0.device)
        return LearnedIterate(x0, rest, energy(x0, rest), none, 0)

    def step(state: LearnedIterate) -> LearnedIterate:
        k = state.step
        gradient = data.operator.A_adjoint(state.rest)
        among = k < len(learned)
        s, resolvent = (stepsizes[k], learned[k]) if among else (stepsize, safe)
        x = resolvent(torch.add(state.x, gradient, alpha=-s))
        rest = data.residual(x)
        found = energy(x, rest)
        if not among:
            return LearnedIterate(x, rest, found, state.refused, k + 1)
        falls = found <= state.energy
        refused = state.refused + (~falls).to(state.refused)
        if not bool(falls.all()):
            short = safe(torch.add(state.x, gradient, alpha=-stepsize))
            after = data.residual(short)
            x, rest = _chosen(falls, x, short), _chosen(falls, rest, after)
            found = torch.where(falls, found, energy(short, after))
        return LearnedIterate(x, rest, found, refused, k + 1)

    return Algorithm(
        "ISTA with learned steps", init, step, lambda state: (state.x,),
        theorem=partial(compared_steps_theorem, data, safe, stepsize), operators=operators_of(data),
    )  # fmt: skip


def _square(x: Tensor) -> Tensor:
    """The squared norm of each batch item, in double precision."""
    parts = torch.view_as_real(x) if x.is_complex() else x
    return parts.flatten(1).double().square().sum(1)


def _chosen(which: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``a`` for the batch items named, ``b`` for the others."""
    return torch.where(which.view(-1, *[1] * (a.ndim - 1)), a, b)
