"""Priors whose weights follow a guide: a convex penalty, with every theorem, once the guide is given.

``R_m(x) = sum_ip m_ip phi_i((W x)_ip)`` with a mask ``m = M(u)``, ``0 < low <= m <= high``, of a guide u: a first
reconstruction, an earlier scan, another modality. With u fixed, R_m is convex, and what holds of a convex penalty holds
of it. Where the guide depends on the data, the map from the data to the result need not be nonexpansive.
Existence and stability of the two steps: Neumayer and Altekrueger 2024, arXiv 2406.12289.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import final

from torch import Tensor

from recon._values import Made
from recon.priors.calculus import scaled_prior, weighted_prior
from recon.priors.prior import Prior


@final
@dataclass(frozen=True, eq=False, repr=False)
class GuidedPrior(Made):
    """From a guide to a prior.

    Attributes:
        name: What a report calls it.
        unguided: The prior without a guide, m = 1, with which a first reconstruction is made.
        given: From a guide, (batch, channels, height, width) on the scale of the images, to the prior with its mask,
            whose range is in :attr:`recon.priors.Prior.mask`. No gradient flows through the guide.
        bounds: The least and the largest value of any mask.
    """

    name: str
    unguided: Prior
    given: Callable[[Tensor], Prior] = field(repr=False)
    bounds: tuple[float, float]

    def each(self, change: Callable[[Prior], Prior]) -> "GuidedPrior":
        """Return it with a change of every prior that it gives, which leaves the guide as it is."""
        return GuidedPrior(self.name, change(self.unguided), partial(_changed, self.given, change), self.bounds)

    def scaled(self, scale: float) -> "GuidedPrior":
        """Return ``R_c(x) = c^2 R(x / c)``, of a guide on the scale of x; see :func:`recon.priors.scaled_prior`."""
        of_guide = partial(_divided, self.given, scale)
        return replace(self, given=of_guide).each(partial(scaled_prior, scale=scale))

    def stronger(self, ratio: float) -> "GuidedPrior":
        """Return it with what a guide gives ``ratio`` times as strong; without a guide it stays as it is."""
        return replace(self, given=partial(_changed, self.given, partial(weighted_prior, weight=ratio)))

    def weighted(self, weight: float) -> "GuidedPrior":
        """Return ``w R``; see :func:`recon.priors.weighted_prior`."""
        return self.each(partial(weighted_prior, weight=weight))


def _changed(given: Callable[[Tensor], Prior], change: Callable[[Prior], Prior], guide: Tensor) -> Prior:
    prior = given(guide)
    return replace(change(prior), mask=prior.mask)


def _divided(given: Callable[[Tensor], Prior], scale: float, guide: Tensor) -> Prior:
    return given(guide / scale)
