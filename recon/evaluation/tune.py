"""The search for the one free parameter of a prior: its weight, or the noise level of a single resolvent."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from recon import io
from recon.device import Notify
from recon.errors import InputError, UsageError
from recon.evaluation.evaluate import UNIT, Score, as_image, evaluate, mean, simulated
from recon.reconstruction.plan import make_plan
from recon.specs.grammar import Spec
from recon.specs.operators import read_operator
from recon.specs.solve_config import SolveConfig

RATIO = math.sqrt(2)
"""Between two values that are tried."""

_MOST = 16
"""Values tried at most, in all: a factor of 256 in one direction."""


@final
@dataclass(frozen=True)
class Tuned:
    """The result of a search.

    Attributes:
        config: With the best value.
        name: Of the parameter.
        value: The best one.
        tried: Every value with its mean PSNR, in ascending order.
    """

    config: SolveConfig
    name: str
    value: float
    tried: tuple[tuple[float, float], ...]


def tune(
    config: SolveConfig,
    files: Sequence[Path],
    say: Notify,
    done: Callable[[float, Score], None] = lambda value, score: None,
) -> Tuned:
    """The value of the free parameter with the highest mean PSNR on validation images.

    From the value that is matched to the noise it goes uphill by ratios of sqrt(2) until the mean falls on both sides.

    Args:
        config: What to do.
        files: Clean images that nothing is reported on.
        say: Where remarks go.
        done: Called with each value and score.

    Raises:
        UsageError: The prior has no such parameter.
        InputError: No image could be scored.
    """
    prior, name = free_parameter(config, files[0], say)
    start = float(prior.options[name])
    means: dict[int, float] = {}

    def height(step: int) -> float:
        if step not in means:
            value = start * RATIO**step
            scores = evaluate([_with(config, prior, name, value)], files, say, done=lambda score: done(value, score))
            found = mean(scores)["psnr"]
            if found is None:
                raise InputError(f"no image of the {len(files)} for --tune could be scored: {scores[0].error}")
            means[step] = found
        return means[step]

    best = 0
    while len(means) < _MOST:
        higher = max((best - 1, best + 1), key=height)
        if height(higher) <= height(best):
            break
        best = higher
    tried = tuple((start * RATIO**step, means[step]) for step in sorted(means))
    value = _rounded(start * RATIO**best)
    return Tuned(_with(config, prior, name, value), name, value, tried)


def free_parameter(config: SolveConfig, file: Path, say: Notify) -> tuple[Spec, str]:
    """The prior with the values that are matched to the noise, and the name of the one to search for.

    Raises:
        UsageError: The prior has none.
    """
    image, family = io.read(file, value_range=config.range), read_operator(config.operator, say)
    _, y, stated = simulated(config, family, family.on((image.height, image.width)), image, config.seed)
    measured = as_image(y, image.value_range if family.geometry is None else UNIT)
    problem = make_plan(stated, measured, say).problem
    prior = problem.scale.inverse.of_spec(problem.prior.spec)
    for name in ("weight", "sigma"):
        if name in prior.options:
            return prior, name
    raise UsageError(f"--tune with the prior {prior}; expected one with a weight or a noise level to search for.")


def _with(config: SolveConfig, prior: Spec, name: str, value: float) -> SolveConfig:
    return replace(config, prior=replace(prior, options={**prior.options, name: repr(_rounded(value))}))


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
