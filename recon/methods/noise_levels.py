"""A network at a noise level, also at one that it was not made for."""

from dataclasses import dataclass
from typing import final

from recon.certificates import Remark
from recon.methods.regularisation_weights import power_below
from recon.priors import GuidedPrior, Prior, relaxed_prior, scaled_prior, weighted_prior
from recon.priors.networks import ConvexRidge, Network

OF_PRIOR = "the noise level of the prior"
"""What a remark on a level outside of a network's range is about."""

_ROUNDED = 5e-3
"""Levels are kept to three digits: one so near the end of a range is that end."""


def rounded(value: float) -> float:
    """To the three digits that a record keeps."""
    return float(f"{value:.3g}")


def is_plain(network: Network) -> bool:
    """Return whether the network is not known to be the prox of anything."""
    return not isinstance(network, ConvexRidge)


def is_potential(network: Network) -> bool:
    """Return whether the network is the prox of a potential that can be multiplied."""
    return isinstance(network, ConvexRidge) and not network.config.one_shot


@final
@dataclass(frozen=True)
class NoiseLevelAdaptation:
    """The use of a network at a noise level; all of it keeps what is known of the network.

    Attributes:
        sigma: The noise level.
        level: The nearest in the network's range.
        scale: s in ``J_s(x) = s J(x / s)``.
        share: a in ``(1 - a) Id + a J``.
        factor: What the potential of a prox is multiplied by.
    """

    sigma: float
    level: float
    scale: float = 1.0
    share: float = 1.0
    factor: float = 1.0

    def of(self, prior: Prior) -> Prior:
        """The prior at the level as one for the noise level."""
        if self.share != 1:
            return relaxed_prior(prior, self.share)
        if self.factor != 1:
            return weighted_prior(prior, self.factor)
        return prior if self.scale == 1 else scaled_prior(prior, self.scale)

    def of_guided(self, prior: GuidedPrior) -> GuidedPrior:
        """The same of a guided prior, which is one of potentials."""
        if self.factor != 1:
            return prior.weighted(self.factor)
        return prior if self.scale == 1 else prior.scaled(self.scale)

    def remarks(self, network: Network) -> tuple[Remark, ...]:
        """That the level is outside of the range, and what is done."""
        low, high = network.config.noise_range
        if low == high or self == NoiseLevelAdaptation(
            self.sigma, self.level
        ):  # made for one level, and for any from there
            return ()
        return (
            Remark(
                OF_PRIOR, self.sigma, low, high,
                f"{self._done()}, so the theorem is what it was; how good the images are was not validated there",
            ),
        )  # fmt: skip

    def _done(self) -> str:
        level = f"{self.level:.4g}"
        if self.share != 1:
            return (
                f"{self.share:.3g} of what the network takes away at {level} is taken away, and "
                "(1 - a) Id + a J is firmly nonexpansive where J is"
            )
        if self.factor != 1:
            return f"the potential is used at {level}, multiplied by {self.factor:.3g}, and convex with any factor"
        return (
            f"the network is used at {level}, on images scaled by {1 / self.scale:.3g}, and J_s(x) = s J(x / s) "
            "is firmly nonexpansive where J is"
        )


def adaptation_of(network: Network, sigma: float) -> NoiseLevelAdaptation:
    """Return how a network is used for noise of ``sigma``.

    Above its range, at the upper end on the image divided by what is missing. Below it, the potential of a prox at the
    lower end is multiplied by less than 1, and a single resolvent takes away less, in proportion to the power of the
    noise: on brighter images both would see larger details than any that they were trained on. docs/calibration.md
    has what either costs.
    """
    low, high = network.config.noise_range
    if high == 0:
        return NoiseLevelAdaptation(sigma, sigma)  # made for any level, or for one that nobody stated
    level = min(max(sigma, low), high)
    if abs(sigma - level) <= _ROUNDED * level:
        return NoiseLevelAdaptation(sigma, level)
    ratio = sigma / level
    if ratio > 1:
        return NoiseLevelAdaptation(sigma, level, scale=ratio)
    if is_potential(network):
        return NoiseLevelAdaptation(sigma, level, factor=power_below(ratio))
    return (
        NoiseLevelAdaptation(sigma, level, share=ratio**2)
        if is_plain(network)
        else NoiseLevelAdaptation(sigma, level, scale=ratio)
    )
