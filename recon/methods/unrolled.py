"""An unrolled reconstruction that recon train made: its steps, for its operator, and what is computed of the result."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recon import solvers
from recon.certificates import Certificate, Remark
from recon.errors import ReconError, UsageError
from recon.methods.operator_pair import OperatorPair
from recon.methods.setting import LearnedSetting, Method, MethodSetting, Polish
from recon.methods.unregularised import no_guarantee
from recon.operators import LeastSquares
from recon.operators.symmetries import Symmetry, symmetries_of, turned_back
from recon.priors import Prior
from recon.priors.networks import Unrolled, load_unrolled
from recon.priors.networks.architectures.unrolled import SAME
from recon.priors.networks.files.store import DESCRIPTION, WEIGHTS
from recon.types import LinearOperator

_LEAST = 1e-30


def build(setting: MethodSetting) -> Method:
    """The steps of the network in the folder.

    Raises:
        UsageError: No folder is stated, or the network is made for another operator or another scale, or has fewer
            steps, or wants to be told the noise.
        InputError: The folder cannot be read.
    """
    told = setting.learned
    if told is None or told.folder is None:
        raise UsageError(
            "method is 'unrolled' without a folder; expected --method unrolled:folder=DIR, a folder of recon train "
            'with mode = "unrolled".'
        )
    network, place = load_unrolled(told.folder), told.folder
    _require_operator(network, told, place)
    _require_scale(network, told, place)
    level = _level(network, setting.noise, place)
    steps = _steps(network, told.steps, place)
    group = _symmetries(setting.pair.operator, told)

    def algorithm(y: Tensor) -> solvers.Algorithm[Any]:
        return _algorithm(network.frozen(y.dtype, y.device), setting.pair.operator, y, level, steps, group)

    def polish(y: Tensor, x: Tensor, state: Unrolling) -> tuple[Polish, ...]:
        found = _polished(setting.pair, setting.prior, told.prior, setting.noise, y, x)
        if len(group) == 1:
            return found
        return tuple(replace(each, spread=float(spread)) for each, spread in zip(found, state.spread, strict=True))

    return Method(
        "unrolled", None, None, None, _certificate(network, steps, setting.noise, len(group)), algorithm,
        steps=steps, solves_sum=False, polish=polish, files=(Path(place, DESCRIPTION), Path(place, WEIGHTS)),
        copies=len(group),
    )  # fmt: skip


class Unrolling(NamedTuple):
    """The states of the network, their velocity, (batch, copies, ...), and what is made of them.

    Attributes:
        x: The mean of the images of all copies.
        state: Of each copy.
        v: Likewise.
        spread: The root mean square distance of the images from x, (batch,).
        at: How many steps were done.
    """

    x: Tensor
    state: Tensor
    v: Tensor
    spread: Tensor
    at: int


def _algorithm(  # noqa: PLR0913, PLR0917  internal: the parts of one run
    network: Unrolled,
    operator: LinearOperator,
    y: Tensor,
    level: float | None,
    steps: int,
    group: tuple[Symmetry, ...],
) -> solvers.Algorithm[Unrolling]:
    copies = torch.stack([each.reorder(y) for each in group], 1)
    unrolled = network.unroll(copies.flatten(0, 1), operator, level, steps)
    momentum = network.config.momentum

    def seen(state: Tensor, v: Tensor, at: int) -> Unrolling:
        images = unrolled.image(state.flatten(0, 1)).view(*copies.shape[:2], *unrolled.shape[1:])
        turned = torch.stack([turned_back(images[:, k], each.way) for k, each in enumerate(group)], 1)
        x = turned.mean(1)
        return Unrolling(x, state, v, (turned - x[:, None]).square().flatten(1).mean(1).sqrt(), at)

    def init(_start: Tensor) -> Unrolling:
        state = unrolled.start.view(*copies.shape[:2], *unrolled.start.shape[1:])
        return seen(state, torch.zeros_like(state), 0)

    def step(before: Unrolling) -> Unrolling:
        if before.at == steps:
            return before
        with torch.no_grad():
            change = unrolled.branches[before.at](before.state.flatten(0, 1))
            v = momentum * before.v + change.view_as(before.v)
        return seen(before.state + v, v, before.at + 1)

    return solvers.Algorithm("unrolled", init, step, lambda state: (state.x,))


def _symmetries(operator: LinearOperator, told: LearnedSetting) -> tuple[Symmetry, ...]:
    return symmetries_of(operator, torch.zeros(told.shape), told.symmetries)


def _certificate(network: Unrolled, steps: int, noise: float | None, copies: int) -> Certificate:
    config = network.config
    over = f", the mean over {copies} symmetric copies of the measurement" if copies > 1 else ""
    known = no_guarantee(
        f"an unrolled reconstruction of {steps} learned steps of {config.method}{over}",
        "no theorem says how near it is to the truth, or how stable",
        "the learned steps are right for such images",
    )
    low, high = config.noise_range
    seen = (
        Remark("the number of steps", steps, config.steps, config.steps, "what was trained"),
        Remark("the noise level", low if noise is None else noise, low, high, "what was trained, on the 0..1 scale"),
    )
    outside = tuple(each for each in seen if not each.low * (1 - SAME) <= each.value <= each.high * (1 + SAME))
    return Certificate(known.theorem, known.conclusion, known.conditions, outside)


def _require_operator(network: Unrolled, told: LearnedSetting, place: str) -> None:
    config = network.config
    try:
        apart = network.distance_of(told.on(config.shape))
    except ReconError:
        apart = math.inf
    if apart <= SAME:
        return
    size = " x ".join(map(str, config.shape))
    what = (
        f"what this operator measures of a test image differs by {100 * apart:.2g} % from what that one measured"
        if math.isfinite(apart)
        else f"this operator takes no images of {size} pixels, as that one does"
    )
    raise UsageError(
        f"{place}: the network was trained for {config.operator!r}, and {what}; expected that operator, because "
        "nothing is known of its steps with another."
    )


def _require_scale(network: Unrolled, told: LearnedSetting, place: str) -> None:
    trained = network.config.units
    if not trained or trained == told.scale:
        return
    hint = " (of projections --water MU and --range LO:HI state it)" if trained.endswith("HU") else ""
    raise UsageError(
        f"{place}: the network was trained on a scale where {trained} are 0 and 1, and here it is {told.scale}; "
        f"expected the same{hint}, because its steps depend on it."
    )


def _level(network: Unrolled, noise: float | None, place: str) -> float | None:
    if not network.conditioned:
        return None
    if noise is None:
        low, high = network.config.noise_range
        raise UsageError(
            f"{place}: the network was trained for noise of {low:g} to {high:g} on the 0..1 scale; expected --noise "
            "SIGMA, because its steps depend on it."
        )
    return noise


def _steps(network: Unrolled, asked: int | None, place: str) -> int:
    config = network.config
    if asked is None:
        return config.steps
    if asked > config.steps and not config.shared:
        raise UsageError(
            f"{place}: the network has {config.steps} steps with weights of their own, and iterations is {asked}; "
            f"expected at most {config.steps}, because nothing is known of another step."
        )
    return asked


@torch.no_grad()
def _polished(  # noqa: PLR0913, PLR0917  internal: what a method has
    pair: OperatorPair, prior: Prior, named: str, noise: float | None, y: Tensor, x: Tensor
) -> tuple[Polish, ...]:
    """What one step of forward-backward, with the step 1 / ||A||^2, makes of each image."""
    data = LeastSquares(pair.operator, y)
    step = 1 / pair.squared_norm
    moved = prior.resolvent(step)(x - step * data(x))
    moved = moved if prior.constraint is None else prior.constraint(moved)
    residual, change = data.residual(x), moved - x
    found = []
    for item in range(len(x)):
        size = float(torch.linalg.vector_norm(x[item].double()))
        found.append(
            Polish(
                float(residual[item].double().square().mean().sqrt()),
                math.nan if noise is None else noise,
                float(torch.linalg.vector_norm(change[item].double())) / max(size, _LEAST),
                step,
                named,
            )
        )
    return tuple(found)
