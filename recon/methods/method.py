"""Which algorithm, with which steps, and what is guaranteed of it: all before the first step."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from recon import certificates as proofs
from recon import operators, priors, solvers
from recon.certificates import BackwardError, Certificate, ErrorBound, Remark
from recon.certificates.conditions import ROUNDING, strength
from recon.errors import GuaranteeError, UsageError
from recon.evidence import Constant, Evidence, Fact, Proved, derive, from_above
from recon.methods.stepsizes import INSIDE, INSIDE_TSENG
from recon.operators import LeastSquares, Mismatch, OperatorProperties
from recon.operators.adjoint import is_gap, refuse_gap
from recon.operators.base import HasDataResolvent
from recon.operators.data_split import HasDataSplit
from recon.operators.tomography import Tomography, WeightedTomography
from recon.priors import Prior, Resolvent, ResolventProperties, Smooth, Split
from recon.solvers.driver import TOLERANCE
from recon.types import LinearOperator

GRADIENT_BALANCE = 0.8
"""Condat-Vu with the gradient: the primal step size, as a part of 2 / ||A||^2; the rest is left to the dual step.

Of 0.3 to 0.98, tried on six problems of deblurring and denoising by total variation, the nearest to the best of each.
"""

RESOLVENT_BALANCE = 0.45
"""Condat-Vu with the resolvent of the data: the primal step size is this over ||A|| sqrt(weight).

On five such problems, with weights from 1e-4 to 3e-2, the best of the step sizes 2, 5, 10, 20, 50, 100 is within a
factor 2 of it. It takes a fifth to a tenth of the steps of the gradient.
"""

SMOOTH_BALANCE, SMOOTH_GRADIENT_BALANCE = 20.0, 0.5
"""Condat-Vu for a penalty R with a Lipschitz gradient: the primal step size is the first over Lip(grad R) with the
resolvent of the data, and the second of 2 / ||A||^2 with its gradient.

For a learned potential, a camera shake and noise of 0.0025, 0.01 and 0.05, the best of 2.5, 5, 10, 20 and 40 are 40, 20
and 20: to 0.03 dB in 40 to 60 steps, half as long again as those of FISTA, which takes 160.
"""

LARGEST_DUAL = 2**28
"""Numbers that Lx may have where a method without it is the default: 1 GiB, of which Condat-Vu holds five at once.

For the packaged grey potential, 4 million pixels.
"""

_CORNER = 32

SHRINKAGE = 0.15
"""Douglas-Rachford: the step size times the penalty's weight, on images in [0, 1].

For wavelets, noise of 0.0025, 0.01 and 0.04 and four blurs, the best of the step sizes tried (ratios of 2 to 4) is
within a factor 3 of it. It takes a fifth of the steps of FISTA.
"""

SPLIT_BALANCE, SMOOTH_SPLIT_BALANCE = 0.0033, 4.0
"""Condat-Vu with data term and penalty both split off: the primal step size is the first over the penalty's weight, or
the second over Lip(grad R).

A slice of the body of 512 x 512 from 60 views, by ``proved-ct``, is after 177 steps of 7.0, 3.5, 2.5 and 1.8 over the
constant 1.9, 0.8, 0.6 and 1.2 HU from its limit at 1e5 photons a ray, and 0.50, 0.08, 0.22 and 0.76 HU at 1e4. By total
variation, at 1e5 photons, steps of 0.0055, 0.0028, 0.0019 and 0.0014 over the weight leave 4.4, 2.0, 1.3 and 2.0 HU.
More views want shorter steps, very noisy ones longer.
"""

FARTHEST = 1e3
"""How many times longer, or shorter, than the package's own a step may be where any converges.

Of a box blur, Condat-Vu with the resolvent is as good after 1000 steps at 600 times its own step; at 60,000 times it
is noise, though its steps are short.
"""

_PROVED_PAIRS = (Tomography, WeightedTomography)
"""Both maps apply the same weights, so that the gap is proved; to measure it too would take 70 projections."""

RESOLVENT_RELAXATION = 1.9
"""Without a gradient the relaxation may be anything below 2; 1.9 takes half the steps of 1."""


@dataclass(frozen=True)
class Pair:
    """The operator, its constants, and the surrogate where there is one.

    Attributes:
        operator: A.
        properties: Its constants.
        gap: ||K - A^T|| / ||A||, as measured before the first step, from below, or proved.
        gap_upper: The same from above, by an estimate, or proved; ``None`` where it was not looked at.
        surrogate: The operator whose adjoint is K, or ``None``.
        mismatch: The constants of K A + shift Id, or ``None``.
    """

    operator: LinearOperator
    properties: OperatorProperties
    gap: Constant
    surrogate: LinearOperator | None = None
    mismatch: Mismatch | None = None
    gap_upper: Constant | None = None


@dataclass(frozen=True)
class Method:
    """An algorithm with its steps and its certificate.

    Attributes:
        name: One of :data:`recon.specs.solve_config.METHODS`.
        stepsize: The primal step size; ``None`` where there is none.
        dual_stepsize: The dual one; ``None`` where there is none.
        interval: Step sizes under which the theorem holds, both ends excluded; ``None`` where any will do.
        certificate: What is guaranteed.
        algorithm: Measurement to algorithm.
        relaxation: Of the algorithm.
        bound: From measurement and images to what bounds their distance to the matched solution; ``None`` where that is
            what the certificate speaks of.
        backward: From measurement and images to the problem that they solve instead, where the prior is evaluated
            inexactly; else ``None``.
        tolerance: The distance to the limit, over the scale, at which to stop unless told otherwise.
        early: The residual at which a method without a prior stops before its limit; ``None``: never.
        proved_distance: From measurement and images to bounds of their distance to the limit, where the sum is proved
            to be strongly monotone and the resolvent is evaluated exactly; else ``None``.
        rounding: The relative error of a prior in half precision, as measured; else zero.
        closed_form: Whether nothing is iterated.
    """

    name: str
    stepsize: float | None
    dual_stepsize: float | None
    interval: tuple[float, float] | None
    certificate: Certificate
    algorithm: Callable[[Tensor], solvers.Algorithm[Any]]
    relaxation: float = 1.0
    bound: Callable[[Tensor, Tensor], tuple[ErrorBound, ...]] | None = None
    backward: Callable[[Tensor, Tensor], tuple[BackwardError, ...]] | None = None
    tolerance: float = TOLERANCE
    early: float | None = None
    proved_distance: Callable[[Tensor, Tensor], tuple[ErrorBound, ...]] | None = None
    rounding: float = 0.0
    closed_form: bool = False

    def remarked(self, remarks: tuple[Remark, ...]) -> "Method":
        """The same with remarks on its certificate."""
        return replace(self, certificate=replace(self.certificate, remarks=(*self.certificate.remarks, *remarks)))


def examine(  # noqa: PLR0913  each is an independent choice of the caller
    operator: LinearOperator,
    surrogate: LinearOperator | None,
    example: Tensor,
    *,
    shift: float | str | None = None,
    seed: int = 0,
    refuse: bool = True,
) -> Pair:
    """Measure a pair of maps; refuse an adjoint that is none, unless a surrogate was declared.

    The package's own projectors are taken at their word. Of a pair that proves its adjoint, the lower bound is enough;
    of any other the estimate from above is looked at too.

    Args:
        operator: A.
        surrogate: An operator whose adjoint is K, or ``None``.
        example: A zero image, (1, 1, height, width).
        shift: As in :class:`recon.specs.solve_config.SolveConfig`.
        seed: Of the measurement.
        refuse: Whether to raise; else the certificates say what is wrong.

    Raises:
        GuaranteeError: ``A_adjoint`` is not the adjoint, and no surrogate was declared.
    """
    properties = operators.properties_of(operator, example, seed=seed)
    if surrogate is None and isinstance(operator, _PROVED_PAIRS):
        return Pair(operator, properties, properties.adjoint_gap, gap_upper=properties.adjoint_gap)
    if surrogate is None:
        return _examined(operator, properties, example, seed, refuse)
    mismatch = operators.mismatch_of(operator, surrogate, example)
    kappa = operators.shift_for(mismatch) if shift == "auto" else float(shift or 0.0)
    if kappa:
        mismatch = operators.mismatch_of(operator, surrogate, example, shift=kappa)
    return Pair(operator, properties, mismatch.adjoint_gap, surrogate, mismatch)


def _examined(
    operator: LinearOperator, properties: OperatorProperties, example: Tensor, seed: int, refuse: bool
) -> Pair:
    """A pair without a surrogate, its gap measured whatever the operator says of itself."""
    known = properties.adjoint_gap
    gap = operators.adjoint_gap(operator, example, seed=seed)
    if known.evidence is Evidence.PROVED and gap.value <= ROUNDING:
        return Pair(operator, properties, gap, gap_upper=known)
    upper = operators.adjoint_gap_upper(operator, example, seed=seed)
    if upper.value < gap.value:  # double precision sees less of it than single does
        upper = replace(upper, value=gap.value)
    if refuse:
        refuse_gap(operator, gap, upper, example.dtype)
    if gap.value > ROUNDING or known.evidence is not Evidence.PROVED:
        properties = replace(properties, adjoint_gap=gap)
    if is_gap(gap, upper, example.dtype) and gap.value <= ROUNDING:
        properties = replace(properties, adjoint_gap=replace(upper, error=0.0))
    return Pair(operator, properties, gap, gap_upper=upper)


def choose_method(  # noqa: PLR0913, PLR0917  the problem, and what a user may say of the method
    pair: Pair,
    prior: Prior,
    name: str | None = None,
    stepsize: float | None = None,
    weight: float | None = None,
    noise: float | None = None,
    like: Tensor | None = None,
    matched: float | None = None,
) -> Method:
    """The method that was asked for, or the one that follows from the operator and the prior.

    By default: with a surrogate, forward-backward; for a penalty g(Lx), Condat-Vu, but FISTA where it has a Lipschitz
    gradient and there is no closed form of the data's resolvent, or no room for Lx; neither needs an inner iteration.
    For another penalty of known weight, Douglas-Rachford where the data term has a resolvent in closed form; for
    another proximity operator, FISTA; for a single resolvent Douglas-Rachford, again with a closed form, because it
    takes tens of steps where forward-backward takes a thousand; for anything else, forward-backward.

    Args:
        pair: The operator, as examined.
        prior: The prior.
        name: The method; ``None``: the default.
        stepsize: The primal step size; ``None``: inside the theorem's interval.
        weight: Of the prior's penalty, to which the steps are balanced, where the image has the spread of a photograph
            on [0, 1]; it takes no part in the problem.
        noise: The standard deviation of the noise, by which Condat-Vu bounds the residual where the prior is a single
            resolvent.
        like: Images of the result's shape, of which the size is looked at; ``None``: they are small.
        matched: The step size of Douglas-Rachford that the level of a single resolvent is matched to.

    Raises:
        UsageError: The method does not fit the operator or the prior.
    """
    chosen = name or _default(pair, prior, weight, like, matched)
    if prior.constraint is not None and chosen not in _CONSTRAINED:
        raise UsageError(
            f"method is {chosen!r}, and the prior {prior.name!r} has bounds; expected {' or '.join(_CONSTRAINED)}, or "
            "no low= and high=, because the others cannot keep an image within bounds."
        )
    if pair.mismatch is not None:
        if chosen not in _MISMATCHED:
            raise UsageError(
                f"method is {chosen!r} with a surrogate; expected {' or '.join(_MISMATCHED)}, because the others need "
                "the exact adjoint."
            )
        method = _MISMATCHED[chosen](pair, pair.mismatch, prior, stepsize)
        return _with_distance(method, pair, prior, pair.mismatch.symmetric_part_min)
    if chosen == "condat_vu" and prior.split is None and prior.resolvent(1.0).properties.proximity is None:
        return _residual_ball(pair, prior, stepsize, noise)
    if chosen == "douglas_rachford":
        method = _douglas_rachford(pair, prior, stepsize, weight, matched)
    elif chosen in _BALANCED:
        method = _BALANCED[chosen](pair, prior, stepsize, weight)
    else:
        method = _MATCHED[chosen](pair, prior, stepsize)
    return _with_distance(method, pair, prior, pair.properties.gram_min)


def _with_distance(method: Method, pair: Pair, prior: Prior, monotone: Constant) -> Method:
    """The method with a proved bound of the distance to its limit, where the sum is strongly monotone.

    A constraint is no part of the resolvent, and the limit is then another.
    """
    if prior.constraint is not None or method.name == "davis_yin" or method.stepsize is None:
        return method
    s = method.stepsize if method.interval is not None else 1 / _squared_norm(pair.properties)
    s = method.stepsize if prior.resolvent(1.0).properties.proximity is None else s
    resolvent = prior.resolvent(s)
    known = resolvent.properties
    strong = derive(lambda m, least: m / s + least, strength(known), monotone, how="l + m/s")
    if known.error.value or strong.evidence is not Evidence.PROVED or not strong.value > 0:
        return method

    def distance(y: Tensor, x: Tensor) -> tuple[ErrorBound, ...]:
        data = LeastSquares(pair.operator, y) if pair.mismatch is None else _mismatched_data(pair, pair.mismatch, y)
        return proofs.limit_error_bound(data, resolvent, x, s, monotone)

    return replace(method, proved_distance=distance)


def _default(pair: Pair, prior: Prior, weight: float | None, like: Tensor | None, matched: float | None = None) -> str:
    if pair.mismatch is not None:
        return "forward_backward"
    if prior.smooth is not None and prior.constraint is None and not _splits(pair, prior, like):
        return "fista"
    if prior.split is not None:
        return "condat_vu"
    if prior.resolvent(1.0).properties.proximity is None:
        return "forward_backward" if matched is None else "douglas_rachford"
    return "douglas_rachford" if weight and isinstance(pair.operator, HasDataResolvent) else "fista"


def _splits(pair: Pair, prior: Prior, like: Tensor | None) -> bool:
    """Whether Condat-Vu is the better one for a penalty with a gradient."""
    if prior.split is None or not isinstance(pair.operator, HasDataResolvent | HasDataSplit):
        return False
    return like is None or dual_size(prior.split, like) <= LARGEST_DUAL


def dual_size(split: Split, like: Tensor) -> int:
    """How many numbers L x has for images of that shape; of images of any size from a corner."""
    of_any = split.operator.domain.shape == (-1, -1)
    some = like[:1, ..., :_CORNER, :_CORNER] if of_any else like[:1]
    return like.numel() * split.operator.A(torch.zeros_like(some)).numel() // max(1, some.numel())


def _squared_norm(properties: OperatorProperties) -> float:
    """||A||^2 from above, as far as is known."""
    square = (properties.norm.value + properties.norm.error) ** 2
    if square == 0:
        raise GuaranteeError("The operator is zero: its norm is 0, so the measurement says nothing about the image.")
    return square


def _forward_backward(pair: Pair, prior: Prior, stepsize: float | None) -> Method:
    limit = 2 / _squared_norm(pair.properties)
    # what is measured is the pixels themselves: one step of 1 is J(y)
    s = stepsize or (1.0 if isinstance(pair.operator, operators.Identity) else INSIDE * limit)
    resolvent = prior.resolvent(s)
    certificate = proofs.certify_forward_backward(pair.properties, resolvent.properties, s)
    return Method(
        "forward_backward", s, None, (0.0, limit), certificate,
        lambda y: solvers.forward_backward(LeastSquares(pair.operator, y), resolvent, s),
        backward=_backward(pair, resolvent, s),
    )  # fmt: skip


def _tseng(pair: Pair, prior: Prior, stepsize: float | None) -> Method:
    limit = 1 / _squared_norm(pair.properties)
    s = stepsize or INSIDE_TSENG * limit
    resolvent = prior.resolvent(s)
    certificate = proofs.certify_tseng(pair.properties, resolvent.properties, s)
    return Method(
        "tseng", s, None, (0.0, limit), certificate,
        lambda y: solvers.tseng(LeastSquares(pair.operator, y), resolvent, s),
        backward=_backward(pair, resolvent, s),
    )  # fmt: skip


def _fista(pair: Pair, prior: Prior, stepsize: float | None) -> Method:
    if prior.smooth is not None and prior.smooth.lipschitz.value > 0:
        return _smooth_fista(pair, prior, prior.smooth, stepsize)
    limit = 1 / _squared_norm(pair.properties)
    s = stepsize or limit
    resolvent = prior.resolvent(s)
    certificate = proofs.certify_fista(pair.properties, resolvent.properties, s)
    return Method(
        "fista", s, None, (0.0, limit), certificate,
        lambda y: solvers.fista(LeastSquares(pair.operator, y), resolvent, s),
        backward=_backward(pair, resolvent, s),
    )  # fmt: skip


def _backward(
    pair: Pair, resolvent: Resolvent, stepsize: float
) -> Callable[[Tensor, Tensor], tuple[BackwardError, ...]] | None:
    if not resolvent.properties.error.value:
        return None
    return lambda y, x: proofs.backward_error(LeastSquares(pair.operator, y), resolvent, x, stepsize, pair.properties)


def _smooth_fista(pair: Pair, prior: Prior, smooth: Smooth, stepsize: float | None) -> Method:
    """FISTA with the gradient of the penalty, the data term by its resolvent where that has a closed form."""
    implicit = isinstance(pair.operator, HasDataResolvent)
    limit = 1 / (smooth.lipschitz.value + (0.0 if implicit else _squared_norm(pair.properties)))
    s = stepsize or limit
    certificate = proofs.certify_smooth_fista(
        pair.properties, smooth.lipschitz, s, implicit=implicit,
        attains=prior.resolvent(1.0).properties.attains,
    )  # fmt: skip

    def algorithm(y: Tensor) -> solvers.Algorithm[Any]:
        data = LeastSquares(pair.operator, y)
        if implicit:
            return solvers.fista(smooth.gradient, Resolvent(data.resolvent(s), _DATA_RESOLVENT, "the data term"), s)
        return solvers.fista(lambda x: data(x) + smooth.gradient(x), priors.identity(), s)

    return Method("fista", s, None, (0.0, limit), certificate, algorithm)


def _douglas_rachford(
    pair: Pair, prior: Prior, stepsize: float | None, weight: float | None, matched: float | None = None
) -> Method:
    if not isinstance(pair.operator, HasDataResolvent):
        raise UsageError(
            f"method is 'douglas_rachford', and {type(pair.operator).__name__} has no closed form of the resolvent of "
            "its data term; expected a method that takes the gradient, such as forward_backward."
        )
    least, r = 1 / _squared_norm(pair.properties), RESOLVENT_RELAXATION if matched else 1.0
    if prior.resolvent(1.0).properties.proximity is None:  # a single resolvent, matched to the longest step if to none
        least = matched or (1.0 if isinstance(pair.operator, operators.Identity) else 2 * INSIDE * least)
    s = _near(stepsize, max(SHRINKAGE / weight, least) if weight else least, "douglas_rachford")
    resolvent = prior.resolvent(s)
    certificate = proofs.certify_douglas_rachford(pair.properties, resolvent.properties, r)
    return Method(
        "douglas_rachford", s, None, None, certificate,
        lambda y: solvers.douglas_rachford(LeastSquares(pair.operator, y).resolvent(s), resolvent, r), r,
    )  # fmt: skip


def _davis_yin(pair: Pair, prior: Prior, stepsize: float | None) -> Method:
    limit = 2 / _squared_norm(pair.properties)
    s = stepsize or INSIDE * limit
    resolvent, constraint = prior.resolvent(s), prior.constraint or priors.box(0.0, 1.0)
    certificate = proofs.certify_davis_yin(pair.properties, resolvent.properties, constraint.properties, s)
    return Method(
        "davis_yin", s, None, (0.0, limit), certificate,
        lambda y: solvers.davis_yin(LeastSquares(pair.operator, y), resolvent, constraint, s),
    )  # fmt: skip


def _condat_vu(pair: Pair, prior: Prior, stepsize: float | None, weight: float | None) -> Method:
    if isinstance(pair.operator, HasDataResolvent) and prior.constraint is None:
        return _primal_dual(pair, prior, stepsize, weight)
    if isinstance(pair.operator, HasDataSplit):
        return _all_split(pair, pair.operator, prior, stepsize, weight)
    split = _split(prior)
    limit = 2 / _squared_norm(pair.properties)
    s = stepsize or (GRADIENT_BALANCE if prior.smooth is None else SMOOTH_GRADIENT_BALANCE) * limit
    if s >= limit:
        raise UsageError(
            f"stepsize is {s:g} with method 'condat_vu'; expected a number in (0, {limit:.4g}), that is below "
            "2 / ||A||^2, because beyond it no dual step is left."
        )
    dual = operators.properties_of(split.operator)
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
            LeastSquares(pair.operator, y), primal, split.operator, dual_resolvent, s, t, local=split.local
        ),
    )  # fmt: skip


def _primal_dual(pair: Pair, prior: Prior, stepsize: float | None, weight: float | None) -> Method:
    """Condat-Vu with the resolvent of the data term in place of its gradient, which has no limit on the step size."""
    split, size, r = _split(prior), math.sqrt(_squared_norm(pair.properties)), RESOLVENT_RELAXATION
    balanced = RESOLVENT_BALANCE / (size * math.sqrt(weight)) if weight else 10 / size**2
    if prior.smooth is not None and prior.smooth.lipschitz.value > 0:
        balanced = SMOOTH_BALANCE / prior.smooth.lipschitz.value
    s = _near(stepsize, min(max(balanced, 1 / size**2), 100 / size**2), "condat_vu")
    dual = operators.properties_of(split.operator)
    t = _dual_step(INSIDE / s, dual)
    dual_resolvent = split.conjugate_resolvent(t)
    certificate = proofs.certify_condat_vu(
        None, _data_resolvent(pair), dual, dual_resolvent.properties, s, t, r,
        attains=prior.resolvent(1.0).properties.attains,
    )  # fmt: skip

    def algorithm(y: Tensor) -> solvers.Algorithm[Any]:
        data = LeastSquares(pair.operator, y).resolvent(s)
        return solvers.condat_vu(None, data, split.operator, dual_resolvent, s, t, r, local=split.local)

    return Method("condat_vu", s, t, None, certificate, algorithm, r)


def _residual_ball(pair: Pair, prior: Prior, stepsize: float | None, noise: float | None) -> Method:
    """Condat-Vu with J in the primal and ||Ax - y|| at most what the noise explains: a zero of M + A^T N(A .).

    N is a cone, so that neither of the step sizes enters the solution, and J keeps the level of the noise itself.
    """
    if noise is None:
        raise UsageError(
            f"method is 'condat_vu' with {prior.name}, a single resolvent, and no noise level is known; expected "
            "--noise SIGMA, because the residual is bounded by what the noise explains."
        )
    size = math.sqrt(_squared_norm(pair.properties))
    s = _near(stepsize, 1 / size, "condat_vu")
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
        RESOLVENT_RELAXATION,
    )  # fmt: skip


def _all_split(
    pair: Pair, operator: HasDataSplit, prior: Prior, stepsize: float | None, weight: float | None
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
        balanced = SMOOTH_SPLIT_BALANCE / prior.smooth.lipschitz.value
    s = _near(stepsize, balanced, "condat_vu")
    t = INSIDE / (s * from_above(dual.norm).value ** 2)

    def dual_resolvent(y: Tensor) -> Resolvent:
        conjugate = priors.proximity_operator(data.conjugate_resolvent(y, t), "the data term's conjugate", attains=None)
        return priors.separable(together, conjugate, split.conjugate_resolvent(t))

    nothing = pair.operator.A(data.operator.domain.zeros(1, 1))
    certificate = proofs.certify_condat_vu(
        None, primal.properties, dual, dual_resolvent(nothing).properties, s, t, r,
        attains=prior.resolvent(1.0).properties.attains,
    )  # fmt: skip
    return Method(
        "condat_vu", s, t, None, certificate,
        lambda y: solvers.condat_vu(None, primal, together, dual_resolvent(y), s, t, r), r,
    )  # fmt: skip


def _dual_step(room: float, dual: OperatorProperties) -> float:
    """The dual step t with ``t ||L||^2 = room``; where L is zero, as the differences of a single pixel, any will do."""
    size = from_above(dual.norm).value
    return room / size**2 if size > 0 else 1.0


def _near(asked: float | None, own: float, method: str) -> float:
    """The step size that was asked for, else the package's own."""
    if asked is None:
        return own
    if not own / FARTHEST <= asked <= own * FARTHEST:
        raise UsageError(
            f"stepsize is {asked:g} with method {method!r}; expected a number from {own / FARTHEST:.2g} to "
            f"{own * FARTHEST:.2g}, because any converges, but one so far from {own:.2g} not in a budget of steps."
        )
    return asked


def _split(prior: Prior) -> Split:
    if prior.split is None:
        raise UsageError(
            f"method is 'condat_vu', and the prior {prior.name!r} is not a penalty g(Lx) with a closed form of g; "
            "expected tv, or another method, such as forward_backward."
        )
    return prior.split


_DATA_RESOLVENT = ResolventProperties(
    lipschitz_Q=Proved(1.0, "the data term is convex, so its proximity operator is firmly nonexpansive"),
    proximity=Fact(Evidence.PROVED, "the data term ||Ax - y||^2 / 2 is convex, and its proximity operator closed-form"),
)


def _data_resolvent(pair: Pair) -> ResolventProperties:
    """What is known of the resolvent of the data term: as believable as that the operator's two maps are a pair."""
    known, gap = _DATA_RESOLVENT, pair.properties.adjoint_gap
    q = derive(lambda *_: 1.0, known.lipschitz_Q, gap, how=known.lipschitz_Q.how)
    error = derive(lambda *_: 0.0, known.error, gap, how=known.error.how)
    return replace(known, lipschitz_Q=q, error=error)


def _mismatched_forward_backward(pair: Pair, mismatch: Mismatch, prior: Prior, stepsize: float | None) -> Method:
    limit = 2 * mismatch.cocoercivity.value
    s = stepsize or INSIDE * (limit if 0 < limit < math.inf else 2 / _norm_of(mismatch))
    resolvent = prior.resolvent(s)
    certificate = proofs.certify_mismatched_forward_backward(mismatch, resolvent.properties, s)
    if not certificate.holds:
        contracting = proofs.certify_contractive_forward_backward(mismatch, resolvent.properties, s)
        certificate = contracting if contracting.holds else certificate
    return Method(
        "forward_backward", s, None, (0.0, limit), certificate,
        lambda y: solvers.forward_backward(_mismatched_data(pair, mismatch, y), resolvent, s),
        bound=_distance(pair, mismatch, resolvent, s),
    )  # fmt: skip


def _mismatched_tseng(pair: Pair, mismatch: Mismatch, prior: Prior, stepsize: float | None) -> Method:
    limit = 1 / _norm_of(mismatch)
    s = stepsize or INSIDE_TSENG * limit
    resolvent = prior.resolvent(s)
    certificate = proofs.certify_mismatched_tseng(mismatch, resolvent.properties, s)
    return Method(
        "tseng", s, None, (0.0, limit), certificate,
        lambda y: solvers.tseng(_mismatched_data(pair, mismatch, y), resolvent, s),
        bound=_distance(pair, mismatch, resolvent, s),
    )  # fmt: skip


def _distance(
    pair: Pair, mismatch: Mismatch, resolvent: Resolvent, stepsize: float
) -> Callable[[Tensor, Tensor], tuple[ErrorBound, ...]]:
    return lambda y, x: proofs.mismatch_error_bound(
        _mismatched_data(pair, mismatch, y), resolvent, x, stepsize, pair.properties
    )


def _mismatched_data(pair: Pair, mismatch: Mismatch, measurement: Tensor) -> LeastSquares:
    assert pair.surrogate is not None  # noqa: S101  a mismatch is of a surrogate
    return LeastSquares(pair.operator, measurement, pair.surrogate.A_adjoint, mismatch.shift)


def _norm_of(mismatch: Mismatch) -> float:
    size = mismatch.norm.value + mismatch.norm.error
    if size == 0:
        raise GuaranteeError("The surrogate undoes the operator to zero: ||K A|| is 0, so no step can be taken.")
    return size


_CONSTRAINED = ("condat_vu", "davis_yin")
_MATCHED: dict[str, Callable[[Pair, Prior, float | None], Method]] = {
    "forward_backward": _forward_backward,
    "tseng": _tseng,
    "fista": _fista,
    "davis_yin": _davis_yin,
}
_BALANCED: dict[str, Callable[[Pair, Prior, float | None, float | None], Method]] = {
    "condat_vu": _condat_vu,
}
_MISMATCHED: dict[str, Callable[[Pair, Mismatch, Prior, float | None], Method]] = {
    "forward_backward": _mismatched_forward_backward,
    "tseng": _mismatched_tseng,
}
