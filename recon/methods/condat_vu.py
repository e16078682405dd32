"""Primal-dual splitting of a penalty g(L x) (Condat 2013, Vu 2013), without an inner iteration."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recon import certificates as proofs
from recon import operators, priors, solvers
from recon.errors import UsageError
from recon.evidence import from_above
from recon.methods.data_term import RESOLVENT_RELAXATION, data_resolvent, free_step
from recon.methods.entry import INSIDE
from recon.methods.operator_pair import OperatorPair
from recon.methods.setting import Method, MethodSetting
from recon.operators import CircularBlur, Downsampling, Identity, LeastSquares, OperatorProperties
from recon.operators.base import HasDataResolvent
from recon.operators.data_split import HasDataSplit
from recon.priors import Prior, Resolvent, Split
from recon.priors.networks.learned_resolvent import FilterBank
from recon.types import LinearOperator, Map

GRADIENT_BALANCE = 0.8
"""Condat-Vu with the gradient: the primal step size, as a part of 2 / ||A||^2; the rest is left to the dual step.

Calibrated, as the other balances here: docs/calibration.md has the problems, and what other values cost.
"""

RESOLVENT_BALANCE, STRONG_BALANCE = 0.9, 0.024
"""Condat-Vu with the resolvent of the data: the primal step size is the smaller of the first times ||A|| / sqrt(weight)
and the second times ||A||^2 / weight, over ||A||^2.

It takes a fifth to a tenth of the steps of the gradient.
"""

SMOOTH_BALANCE, SMOOTH_GRADIENT_BALANCE = 40.0, 0.5
"""Condat-Vu for a penalty R with a Lipschitz gradient: the primal step size is the first over Lip(grad R) with the
resolvent of the data, and the second of 2 / ||A||^2 with its gradient.

A learned potential after a camera shake takes 30 to 60 steps, where FISTA takes 160.
"""

IDENTITY_BALANCE = 0.4
"""The same for the identity, which is as strongly convex as it is steep, at any steepness of the penalty."""

MASKED_BALANCE, MASKED_IDENTITY_BALANCE = 28.0, 1.9
"""The same for a penalty with a mask of mean m: the primal step size is the first over m Lip(grad R) for blurred and
small images, and of the identity the second over the root of m Lip(grad R), at most what it is without a mask.

The root is the rule for a data term and a conjugate penalty that are both strongly convex. Without a mask few responses
lie where the penalty is steepest; a mask is large exactly there.
"""

GUIDE_STEPS, IDENTITY_GUIDE_STEPS, COLOUR_GUIDE_STEPS = 12, 4, 8
"""Steps of a penalty with a Lipschitz gradient that make a guide, of the identity fewer: more do not improve what is
solved with it. In colour 4 steps leave noise of 15/255 and more in the guide, whose mask then spares it."""

PRIMAL_DUAL_RELAXATION = 1.8
"""Of Condat-Vu with the resolvent of the data. Where the penalty has a constant slope the dual variable goes to and fro
by a factor of one less than this: with 1.9 denoising takes about twice the steps.
"""

SPLIT_BALANCE, SMOOTH_SPLIT_BALANCE = 0.0033, 4.0
"""Condat-Vu with data term and penalty both split off: the primal step size is the first over the penalty's weight, or
the second over Lip(grad R).

More views want shorter steps, very noisy ones longer.
"""


_STEEP = 1e6
"""The dual step that takes the dual variable of an image to within a millionth of the grey values of its own."""


def build(setting: MethodSetting) -> Method:
    """Condat-Vu splitting: of a single resolvent, or of a penalty, by the data's resolvent, splitting or gradient."""
    pair, prior, stepsize, weight = setting.pair, setting.prior, setting.stepsize, setting.weight
    if prior.split is None and prior.resolvent(1.0).properties.proximity is None:
        return _residual_ball(pair, prior, stepsize, setting.noise)
    if isinstance(pair.operator, HasDataResolvent) and prior.constraint is None:
        return _primal_dual(pair, prior, stepsize, weight, setting.warm)
    if isinstance(pair.operator, HasDataSplit):
        return _all_split(pair, pair.operator, prior, stepsize, weight, setting.warm)
    split = _split(prior)
    limit = 2 / pair.squared_norm
    s = stepsize or (GRADIENT_BALANCE if prior.smooth is None else SMOOTH_GRADIENT_BALANCE) * limit
    if s >= limit:
        raise UsageError(
            f"stepsize is {s:g} with method 'condat_vu'; expected a number in (0, {limit:.4g}), that is below "
            "2 / ||A||^2, because beyond it no dual step is left."
        )
    dual = operators.operator_properties(split.operator)
    # the dual step that the theorem leaves: 1/s - t ||L||^2 >= ||A||^2 / 2, kept off the edge for the rounding
    t = _dual_step(INSIDE * max(1 / s - 1 / limit, 0.0), dual)
    primal, dual_resolvent = prior.constraint or priors.identity(), split.conjugate_resolvent(t)
    certificate = proofs.certify_condat_vu(
        pair.properties, primal.properties, dual, dual_resolvent.properties, s, t,
        attains=prior.resolvent(1.0).properties.attains,
    )  # fmt: skip
    return Method(
        "condat_vu", s, t, (0.0, limit), certificate,
        lambda y: solvers.condat_vu(
            LeastSquares(pair.operator, y), primal, split.operator, dual_resolvent, s, t, local=split.local,
            dual_start=_dual_start(split) if setting.warm else None,
        ),
    )  # fmt: skip


def _primal_dual(pair: OperatorPair, prior: Prior, stepsize: float | None, weight: float | None, warm: bool) -> Method:
    """Condat-Vu with the resolvent of the data term in place of its gradient, which has no limit on the step size."""
    split, size, r = _split(prior), math.sqrt(pair.squared_norm), PRIMAL_DUAL_RELAXATION
    s = free_step(stepsize, _balanced(pair, prior, weight) / size**2, "condat_vu")
    dual = operators.operator_properties(split.operator)
    t = _dual_step(INSIDE / s, dual)
    dual_resolvent = split.conjugate_resolvent(t)
    certificate = proofs.certify_condat_vu(
        None, data_resolvent(pair), dual, dual_resolvent.properties, s, t, r,
        attains=prior.resolvent(1.0).properties.attains,
    )  # fmt: skip

    def algorithm(y: Tensor) -> solvers.Algorithm[Any]:
        data = LeastSquares(pair.operator, y).resolvent(s)
        start = _dual_start(split) if warm else None
        return solvers.condat_vu(
            None, data, split.operator, dual_resolvent, s, t, r, local=split.local, dual_start=start
        )

    steps = None if prior.smooth is None or stepsize is not None else _guide_steps(pair, split)
    return Method("condat_vu", s, t, None, certificate, algorithm, r, guide_steps=steps)


def _guide_steps(pair: OperatorPair, split: Split) -> int | None:
    """The steps to a guide, where the first image is a blurred or noisy one, and not one with holes."""
    if isinstance(pair.operator, Identity):
        in_colour = isinstance(split.operator, FilterBank) and split.operator.kernel.shape[1] > 1
        return COLOUR_GUIDE_STEPS if in_colour else IDENTITY_GUIDE_STEPS
    return GUIDE_STEPS if isinstance(pair.operator, CircularBlur | Downsampling) else None


def _balanced(pair: OperatorPair, prior: Prior, weight: float | None) -> float:
    """The primal step size times ||A||^2."""
    if prior.smooth is not None and prior.smooth.lipschitz.value > 0:
        steepness = _steepness(prior)
        if isinstance(pair.operator, Identity):
            rooted = MASKED_IDENTITY_BALANCE / math.sqrt(steepness)
            return IDENTITY_BALANCE if prior.mask is None else min(rooted, IDENTITY_BALANCE)
        masked = prior.mask is not None and isinstance(pair.operator, CircularBlur | Downsampling)
        balance = MASKED_BALANCE if masked else SMOOTH_BALANCE
        balanced = balance * pair.squared_norm / steepness
        return min(max(balanced, 1.0), 100.0)
    if not weight:
        return 10.0
    share = math.sqrt(pair.squared_norm / weight)
    return min(max(min(STRONG_BALANCE * share**2, RESOLVENT_BALANCE * share), 0.5), 100.0)


def _residual_ball(pair: OperatorPair, prior: Prior, stepsize: float | None, noise: float | None) -> Method:
    """Condat-Vu with J in the primal and ||Ax - y|| at most what the noise explains: a zero of M + A^T N(A .).

    N is a cone, so that neither of the step sizes enters the solution, and J keeps the level of the noise itself.
    """
    if noise is None:
        raise UsageError(
            f"method is 'condat_vu' with {prior.name}, a single resolvent, and no noise level is known; expected "
            "--noise SIGMA, because the residual is bounded by what the noise explains."
        )
    size = math.sqrt(pair.squared_norm)
    s = free_step(stepsize, 1 / size, "condat_vu")
    t = INSIDE / (s * size**2)
    resolvent = prior.resolvent(1.0)

    def dual(y: Tensor) -> Resolvent:
        entries = y[:1].numel() * (2 if y.is_complex() else 1)
        return priors.conjugate(priors.l2_ball(y, noise * math.sqrt(entries)), t)

    known = priors.conjugate(priors.l2_ball(torch.zeros(1), 1.0), t).properties
    certificate = proofs.certify_condat_vu(
        None, resolvent.properties, pair.properties, known, s, t, RESOLVENT_RELAXATION, attains=None
    )
    return Method(
        "condat_vu", s, t, None, certificate,
        lambda y: solvers.condat_vu(None, resolvent, pair.operator, dual(y), s, t, RESOLVENT_RELAXATION),
        RESOLVENT_RELAXATION, solves_sum=False,
    )  # fmt: skip


def _all_split(  # noqa: PLR0913, PLR0917  internal: what build has
    pair: OperatorPair,
    operator: HasDataSplit,
    prior: Prior,
    stepsize: float | None,
    weight: float | None,
    warm: bool,
) -> Method:
    """Condat-Vu with the data term and the penalty both behind the dual operator, and the constraint in the primal."""
    split, r = _split(prior), RESOLVENT_RELAXATION
    primal = prior.constraint or priors.identity()
    data = operator.data_split(split.operator.properties.norm.value)
    split = split.on(data.operator.domain.shape)
    together = operators.stack(data.operator, split.operator)
    dual = together.properties
    balanced = SPLIT_BALANCE / (weight or 1.0)
    if prior.smooth is not None and prior.smooth.lipschitz.value > 0:
        balanced = SMOOTH_SPLIT_BALANCE / _steepness(prior)
    s = free_step(stepsize, balanced, "condat_vu")
    t = INSIDE / (s * from_above(dual.norm).value ** 2)

    def dual_resolvent(y: Tensor, step: float = t) -> Resolvent:
        conjugate = data.conjugate_resolvent(y, step)
        of_data = priors.proximity_operator(conjugate, "the data term's conjugate", attains=None)
        return priors.separable(together, of_data, split.conjugate_resolvent(step))

    def start(y: Tensor) -> Map | None:
        return partial(_steepest, together, dual_resolvent(y, _STEEP)) if warm else None

    nothing = pair.operator.A(data.operator.domain.zeros(1, 1))
    certificate = proofs.certify_condat_vu(
        None, primal.properties, dual, dual_resolvent(nothing).properties, s, t, r,
        attains=prior.resolvent(1.0).properties.attains,
    )  # fmt: skip
    return Method(
        "condat_vu", s, t, None, certificate,
        lambda y: solvers.condat_vu(None, primal, together, dual_resolvent(y), s, t, r, dual_start=start(y)), r,
    )  # fmt: skip


def _steepness(prior: Prior) -> float:
    """Lip(grad R), of a prior with a mask that of the same prior with the mean weight everywhere.

    Few places have the largest weight, and steps that suit these are too short for the others.
    """
    assert prior.smooth is not None  # noqa: S101  the callers see to it
    share = 1.0 if prior.mask is None else prior.mask.mean / prior.mask.high
    return prior.smooth.lipschitz.value * share


def _dual_start(split: Split) -> Map:
    """From an image to the dual variable that belongs to it: the gradient of g at Lx, where g has one."""
    return partial(_steepest, split.operator, split.conjugate_resolvent(_STEEP))


def _steepest(operator: LinearOperator, conjugate_resolvent: Map, x: Tensor) -> Tensor:
    """The gradient of the Moreau envelope of g with the parameter 1 / s at Lx: R(s L x), where R is that of s g*."""
    return conjugate_resolvent(_STEEP * operator.A(x))


def _dual_step(room: float, dual: OperatorProperties) -> float:
    """The dual step t with ``t ||L||^2 = room``; where L is zero, as the differences of a single pixel, any will do."""
    size = from_above(dual.norm).value
    return room / size**2 if size > 0 else 1.0


def _split(prior: Prior) -> Split:
    if prior.split is None:
        raise UsageError(
            f"method is 'condat_vu', and the prior {prior.name!r} is not a penalty g(Lx) with a closed form of g; "
            "expected tv, or another method, such as forward_backward."
        )
    return prior.split
