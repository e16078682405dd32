"""The loop that runs chains in parallel until they have mixed."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from recon.certificates.mixing import ESS_WANTED, R_HAT_LIMIT, Mixing, mixing, split_r_hat_of_moments
from recon.errors import GuaranteeError, UsageError
from recon.solvers.sampler import S, Sampler

BLOCK = 8
"""Pixels along the side of a region."""

FIRST = 100
"""Steps before chains are first looked at; then at doublings."""

_GRID = 16
"""Pixels, and regions, along a side whose traces are kept."""

Callback = Callable[[int, Mixing | None], None]
"""Called after each step with the number of steps, and with what was seen at the last look."""


@dataclass(frozen=True)
class Chains:
    """What chains have found.

    Attributes:
        mean: Of each frame, (frames, channels, height, width).
        variance: Of the pixels.
        block_variance: Of the means of regions of :data:`BLOCK` x :data:`BLOCK` pixels, (frames, channels, rows,
            columns).
        mixing: What the traces say.
        steps: Of each chain, the warm-up included.
    """

    mean: Tensor
    variance: Tensor
    block_variance: Tensor
    mixing: Mixing
    steps: int


@torch.no_grad()
def sample(  # noqa: PLR0913  each is an independent choice of the caller
    sampler: Sampler[S],
    starts: Tensor,
    chains: int,
    seed: int = 0,
    *,
    max_steps: int,
    ess_wanted: float = ESS_WANTED,
    r_hat_limit: float = R_HAT_LIMIT,
    callback: Callback | None = None,
) -> Chains:
    """Run chains until their traces agree and are long enough, or the budget is spent.

    They are looked at after 200, 400, 800, ... steps, as many as the budget holds; the first half of all steps is the
    warm-up, and left out of the moments. The traces are pixels on a grid of at most 16 x 16, and means of regions.
    Split R-hat is that of every pixel and region, because a hole of a few pixels may lie between the traces.

    Args:
        sampler: What to run.
        starts: (frames times chains, channels, height, width), all chains of a frame beside each other.
        chains: Of each frame, at least two, because one cannot disagree.
        seed: Of all noise.
        max_steps: Of each chain.
        ess_wanted: The least effective sample size.
        r_hat_limit: The largest split R-hat.
        callback: See :data:`Callback`.

    Raises:
        UsageError: There are fewer than two chains, or the starts are not a multiple of them.
        GuaranteeError: A chain has left the finite numbers.
    """
    if chains < 2 or len(starts) % chains:
        raise UsageError(f"sample: chains={chains} of {len(starts)} starts; expected at least 2, and a multiple of it.")
    state, reference = sampler.init(starts, seed), _of_frames(starts, chains).mean(1)
    seen: Mixing | None = None
    steps, end = 0, min(FIRST, max_steps)
    while True:
        moments, traces = _Moments(reference, chains, end - steps), []
        while steps < end:
            state = sampler.step(state)
            steps += 1
            moments.add(state.x)
            traces.append(_traces(state.x, chains))
            if callback is not None:
                callback(steps, seen)
        draws = torch.stack(traces)
        seen = mixing(draws, ess_wanted, r_hat_limit)
        seen = replace(seen, r_hat=max(seen.r_hat, moments.r_hat()))
        if not bool(state.x.isfinite().all()):
            raise GuaranteeError(
                f"{sampler.name} has left the finite numbers after {steps} steps: the step is too long for this "
                "density; nothing was written."
            )
        if (steps > FIRST and seen.mixed) or 2 * end > max_steps:
            return moments.found(seen, steps)
        end *= 2


class _Moments:
    """Sums of deviations from a reference, in double precision, of each half of each chain."""

    def __init__(self, reference: Tensor, chains: int, steps: int) -> None:
        self.reference, self.chains, self.steps, self.count = reference, chains, steps, 0
        self.halves: tuple[list[Tensor], list[Tensor]] = ([], [])

    def add(self, x: Tensor) -> None:
        away = _of_frames(x, self.chains).double() - self.reference.double().unsqueeze(1)
        regions = block_means(away.flatten(0, 1)).view(*away.shape[:3], *block_shape(away))
        parts = [away, away.square(), regions, regions.square()]
        half = self.halves[2 * self.count >= self.steps]
        half[:] = [known + part for known, part in zip(half, parts, strict=True)] if half else parts
        self.count += 1

    def r_hat(self) -> float:
        """The largest split R-hat of all pixels and regions."""
        first = self.steps - self.steps // 2
        counts = (first, self.steps - first)
        means = [[part / count for part in half] for half, count in zip(self.halves, counts, strict=True) if half]
        both = [torch.cat(parts, 1) for parts in zip(*means, strict=True)]
        found = (split_r_hat_of_moments(both[k], both[k + 1], min(counts)) for k in (0, 2))
        worst = max(float(each.max()) for each in found)
        return math.inf if math.isnan(worst) else worst

    def found(self, seen: Mixing, steps: int) -> Chains:
        sums = [sum(parts).sum(1) for parts in zip(*(half for half in self.halves if half), strict=True)]
        mean, square, block, block_square = (known / (self.count * self.chains) for known in sums)
        kind = self.reference.dtype
        return Chains(
            (self.reference + mean).to(kind),
            (square - mean.square()).clamp(min=0).to(kind),
            (block_square - block.square()).clamp(min=0).to(kind),
            seen,
            steps,
        )


def block_side(x: Tensor) -> int:
    """The side of the regions of images, which may be smaller than a region."""
    return min(BLOCK, x.shape[-2], x.shape[-1])


def block_shape(x: Tensor) -> tuple[int, int]:
    """How many whole regions there are along either side."""
    side = block_side(x)
    return x.shape[-2] // side, x.shape[-1] // side


def block_means(x: Tensor) -> Tensor:
    """The means of the whole regions of images (batch, channels, height, width)."""
    return functional.avg_pool2d(x, block_side(x))


def _of_frames(x: Tensor, chains: int) -> Tensor:
    return x.view(len(x) // chains, chains, *x.shape[1:])


def _traces(x: Tensor, chains: int) -> Tensor:
    """(chains, frames times traces), in single precision."""
    height, width = x.shape[-2:]
    down, across = -(-height // _GRID), -(-width // _GRID)
    pixels = x[..., down // 2 :: down, across // 2 :: across].flatten(1)
    regions = block_means(x)
    rows, columns = (-(-side // _GRID) for side in regions.shape[-2:])
    both = torch.cat([pixels, regions[..., ::rows, ::columns].flatten(1)], 1)
    return _of_frames(both, chains).transpose(0, 1).flatten(1).float()
