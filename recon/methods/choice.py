"""Choice of the method: the one that was asked for, or the one that follows from operator and prior."""

from dataclasses import replace

import torch
from torch import Tensor

from recon import certificates as proofs
from recon.certificates import ErrorBound
from recon.certificates.conditions import strength
from recon.errors import UsageError
from recon.evidence import Constant, Evidence, derive
from recon.methods import coefficients
from recon.methods.catalogue import ENTRIES
from recon.methods.chambolle_pock import fits
from recon.methods.entry import MethodEntry, Requirement
from recon.methods.learned_steps import LearnedSteps
from recon.methods.mismatched import mismatched_data
from recon.methods.operator_pair import OperatorPair
from recon.methods.setting import LearnedSetting, Method, MethodSetting
from recon.operators import LeastSquares
from recon.operators.base import HasDataResolvent
from recon.operators.data_split import HasDataSplit
from recon.priors import Prior, Split

LARGEST_DUAL = 2**28
"""Numbers that Lx may have where a method without it is the default: 1 GiB, of which Condat-Vu holds five at once.

For the packaged grey potential, 4 million pixels.
"""

_CORNER = 32


def choose_method(  # noqa: PLR0913, PLR0917  the problem, and what a user may say of the method
    pair: OperatorPair,
    prior: Prior,
    name: str | None = None,
    stepsize: float | None = None,
    weight: float | None = None,
    noise: float | None = None,
    like: Tensor | None = None,
    matched: float | None = None,
    window: str | None = None,
    warm: bool = False,
    learned: LearnedSetting | None = None,
    stepsizes: LearnedSteps | None = None,
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
        window: Of filtered back-projection; ``None``: the smoothest.
        warm: Whether the first image is near the solution.
        learned: What a method of learned steps is told.
        stepsizes: The step sizes of ``slista``.

    Raises:
        UsageError: The method does not fit the operator or the prior.
    """
    entry = ENTRIES[name or _default(pair, prior, weight, like, matched)]
    _check_surrogate(entry, pair)
    if prior.constraint is not None and entry.takes_prior and not (entry.bounds or _projects(entry, prior)):
        able = " or ".join(each.name for each in ENTRIES.values() if each.bounds)
        raise UsageError(
            f"method is {entry.name!r}, and the prior {prior.name!r} has bounds; expected {able}, or "
            "no low= and high=, because the others cannot keep an image within bounds."
        )
    setting = MethodSetting(pair, prior, stepsize, weight, noise, matched, window, warm, learned, stepsizes)
    if prior.synthesis is not None:
        return coefficients.build(entry, setting, like)
    method = entry.build(setting)
    if not (entry.takes_prior and method.solves_sum):
        return method
    monotone = pair.properties.gram_min if pair.mismatch is None else pair.mismatch.symmetric_part_min
    return _with_distance(method, pair, prior, monotone)


def _projects(entry: MethodEntry, prior: Prior) -> bool:
    """Whether the bounds are a projection after steps along gradients, of which no resolvent is left."""
    return entry.name == "fista" and prior.smooth is not None and prior.smooth.lipschitz.value > 0


def _check_surrogate(entry: MethodEntry, pair: OperatorPair) -> None:
    given = pair.surrogate is not None
    if given and entry.surrogate is Requirement.REFUSED and entry.takes_prior:
        able = " or ".join(
            each.name for each in ENTRIES.values() if each.takes_prior and each.surrogate is Requirement.TAKEN
        )
        raise UsageError(
            f"method is {entry.name!r} with a surrogate; expected {able}, because the others need the exact adjoint."
        )
    if given and entry.surrogate is Requirement.REFUSED:
        raise UsageError(f"method is {entry.name!r} with a surrogate; expected none, as it takes the adjoint itself.")
    if not given and entry.surrogate is Requirement.NEEDED:
        raise UsageError(f"method is {entry.name!r} without a surrogate; expected one, as in --surrogate pixel-driven.")


def _with_distance(method: Method, pair: OperatorPair, prior: Prior, monotone: Constant) -> Method:
    """The method with a proved bound of the distance to its limit, where the sum is strongly monotone.

    A constraint is no part of the resolvent, and the limit is then another.
    """
    if prior.constraint is not None or method.stepsize is None:
        return method
    s = method.stepsize if method.interval is not None else 1 / pair.squared_norm
    s = method.stepsize if prior.resolvent(1.0).properties.proximity is None else s
    resolvent = prior.resolvent(s)
    known = resolvent.properties
    strong = derive(lambda m, least: m / s + least, strength(known), monotone, how="l + m/s")
    if known.error.value or strong.evidence is not Evidence.PROVED or not strong.value > 0:
        return method

    def distance(y: Tensor, x: Tensor) -> tuple[ErrorBound, ...]:
        data = LeastSquares(pair.operator, y) if pair.mismatch is None else mismatched_data(pair, pair.mismatch, y)
        return proofs.limit_error_bound(data, resolvent, x, s, monotone)

    return replace(method, proved_distance=distance)


def _default(
    pair: OperatorPair, prior: Prior, weight: float | None, like: Tensor | None, matched: float | None = None
) -> str:
    if pair.mismatch is not None:
        return "forward_backward"
    if fits(pair, prior) and (like is None or (like.is_cpu and like.dtype == torch.float32)):
        return "chambolle_pock"
    bounded = prior.constraint is not None and prior.split is not None
    smooth = prior.smooth is not None and not bounded and not _splits(pair, prior, like)
    if smooth or prior.synthesis is not None:
        return "fista"
    if prior.split is not None:
        return "condat_vu"
    if prior.resolvent(1.0).properties.proximity is None:
        return "forward_backward" if matched is None else "douglas_rachford"
    return "douglas_rachford" if weight and isinstance(pair.operator, HasDataResolvent) else "fista"


def _splits(pair: OperatorPair, prior: Prior, like: Tensor | None) -> bool:
    """Return whether Condat-Vu is the better one for a penalty with a gradient."""
    if prior.split is None or not isinstance(pair.operator, HasDataResolvent | HasDataSplit):
        return False
    return like is None or dual_size(prior.split, like) <= LARGEST_DUAL


def dual_size(split: Split, like: Tensor) -> int:
    """Return how many numbers L x has for images of that shape; of images of any size from a corner."""
    of_any = split.operator.domain.shape == (-1, -1)
    some = like[:1, ..., :_CORNER, :_CORNER] if of_any else like[:1]
    return like.numel() * split.operator.A(torch.zeros_like(some)).numel() // max(1, some.numel())
