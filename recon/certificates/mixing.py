"""How well parallel chains agree: split R-hat and the effective sample size.

Both as Vehtari, Gelman, Simpson, Carpenter and Buerkner (Bayesian Analysis 16(2), 2021) define them, without the rank
normalisation: each chain is halved, W is the mean of the variances of the halves, B/n the variance of their means, and
``var+ = (n-1)/n W + B/n``. Split R-hat is ``sqrt(var+ / W)``: 1 where all halves agree, larger where one is elsewhere.

The autocorrelation at lag t is ``r_t = 1 - (W - mean of the autocovariances at t) / var+``, summed in pairs
``r_2k + r_2k+1`` while these are positive and made decreasing (Geyer 1992): the effective sample size is
``m n / (-1 + 2 sum of pairs)``, at most ``m n log10(m n)``. Both are *measured*: chains that all miss a region agree.
A trace that does not move agrees with itself; where none moves the chains stand still, and have not mixed.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.evidence import finite_or_none

R_HAT_LIMIT = 1.05
"""Above it chains are not mixed; Vehtari et al. ask 1.01 of a single number, and this is the largest of hundreds."""

ESS_WANTED = 100.0
"""The Monte Carlo error of a mean is then a tenth of the standard deviation."""

_ROUNDING = 1e-12
"""Of a mean of squares, and its square of values that are centred: a variance below it is that of a constant."""

_FEWEST = 4
"""Draws of half a chain, of which an autocovariance can be spoken of."""


@dataclass(frozen=True)
class Mixing:
    """The worst of many traces of the chains.

    Attributes:
        r_hat: The largest split R-hat; of :func:`recon.solvers.chains.sample` that of all pixels and regions.
        ess: The least effective sample size, of all chains together.
        traces: How many numbers of an image were followed, each with its square.
        draws: Of each chain.
        chains: How many there are.
        r_hat_limit: What R-hat may be.
        ess_wanted: What the effective sample size must be.
    """

    r_hat: float
    ess: float
    traces: int
    draws: int
    chains: int
    r_hat_limit: float = R_HAT_LIMIT
    ess_wanted: float = ESS_WANTED

    @property
    def mixed(self) -> bool:
        """Whether the chains agree, and are long enough."""
        return self.r_hat <= self.r_hat_limit and self.ess >= self.ess_wanted

    @property
    def sentence(self) -> str:
        """What was seen, for a person."""
        seen = f"split R-hat {self.r_hat:.3f} and effective sample size {self.ess:.0f} at the worst of {self.traces}"
        asked = f"at most {self.r_hat_limit:g} and at least {self.ess_wanted:g}"
        if self.mixed:
            return f"The chains agree: {seen} traces (measured)."
        return f"The chains have not mixed: {seen} traces, expected {asked}; the maps are those of unfinished chains."

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "mixed": self.mixed,
            "r_hat": finite_or_none(self.r_hat),
            "ess": finite_or_none(self.ess),
            "traces": self.traces,
            "draws": self.draws,
            "chains": self.chains,
            "r_hat_limit": self.r_hat_limit,
            "ess_wanted": self.ess_wanted,
        }


def split_r_hat(draws: Tensor) -> Tensor:
    """Split R-hat of each trace: (draws, chains, traces) to (traces,)."""
    halves = _halved(draws)
    within, total = _variances(halves)
    floor = _ROUNDING**2 * halves.abs().amax((0, 1)).square()
    ratio = torch.where(within > floor, total / within, torch.where(total > floor, torch.inf, 1.0))
    return ratio.sqrt()


def split_r_hat_of_moments(mean: Tensor, square: Tensor, draws: int) -> Tensor:
    """Split R-hat of each number from the moments of the halves of its chains, along axis 1.

    Args:
        mean: Of each half.
        square: The mean of the squares of each half.
        draws: Of each half.
    """
    rounding = _ROUNDING * square.amax(1)
    within = (square - mean.square()).mean(1)
    between = mean.var(1)
    total = within + between
    constant = torch.where(between > rounding, torch.inf, 1.0)
    ratio = torch.where(within > rounding, total / (within * draws / (draws - 1)), constant)
    return ratio.sqrt()


def effective_sample_size(draws: Tensor) -> Tensor:
    """The effective sample size of each trace, all chains together: (draws, chains, traces) to (traces,)."""
    halves = _halved(draws)
    n, m, _ = halves.shape
    within, total = _variances(halves)
    covariance = _autocovariance(halves).mean(1)  # (lags, traces)
    safe = total.clamp(min=torch.finfo(total.dtype).tiny)
    correlation = 1 - (within - covariance) / safe
    correlation[0] = 1.0
    pairs = correlation[: n // 2 * 2].view(n // 2, 2, -1).sum(1)
    positive = (pairs > 0).cumprod(0)
    decreasing = pairs.cummin(0).values * positive
    time = -1 + 2 * decreasing.sum(0)
    size = n * m / time.clamp(min=1 / math.log10(n * m))
    constant = total <= _ROUNDING**2 * halves.abs().amax((0, 1)).square()
    return torch.where(constant, torch.full_like(size, float(n * m)), size)


def mixing(draws: Tensor, ess_wanted: float = ESS_WANTED, r_hat_limit: float = R_HAT_LIMIT) -> Mixing:
    """The worst split R-hat and effective sample size of traces and of the squares of their deviations.

    The squares are looked at because a standard deviation is reported: a chain that oscillates has means that settle
    long before its spread does.

    Args:
        draws: (draws, chains, traces), what is left after the warm-up.
        ess_wanted: The least effective sample size that counts as enough.
        r_hat_limit: The largest split R-hat that counts as agreement.
    """
    n, chains, traces = draws.shape
    if n < 2 * _FEWEST or not bool(draws.isfinite().all()):
        return Mixing(math.inf, 0.0, traces, n, chains, r_hat_limit, ess_wanted)
    values = draws.double()
    if not bool((values != values[:1, :1]).any()):
        return Mixing(math.inf, 0.0, traces, n, chains, r_hat_limit, ess_wanted)  # no chain has made a step
    both = torch.cat([values, (values - values.mean((0, 1))).square()], 2)
    r_hat, ess = float(split_r_hat(both).max()), float(effective_sample_size(both).min())
    return Mixing(r_hat, ess, traces, n, chains, r_hat_limit, ess_wanted)


def _halved(draws: Tensor) -> Tensor:
    """(draws, chains, traces) to (draws / 2, 2 chains, traces), the middle one left out where they are odd."""
    half = draws.shape[0] // 2
    return torch.cat([draws[:half], draws[-half:]], 1).double()


def _variances(halves: Tensor) -> tuple[Tensor, Tensor]:
    """W and var+ of each trace."""
    n = halves.shape[0]
    within = halves.var(0).mean(0)
    between = halves.mean(0).var(0)
    return within, (n - 1) / n * within + between


def _autocovariance(halves: Tensor) -> Tensor:
    """Of each half and trace at every lag, by the Fourier transform: (lags, halves, traces), biased as is usual."""
    n = halves.shape[0]
    centred = halves - halves.mean(0)
    power = torch.fft.rfft(centred, 2 * n, dim=0).abs().square()
    found: Tensor = torch.fft.irfft(power, 2 * n, dim=0)[:n] / (n - 1)
    return found
