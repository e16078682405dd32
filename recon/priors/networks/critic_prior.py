"""A convex critic as a penalty: its value, its gradient, and its proximity operator by an inner iteration."""

import copy
from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

from recon._values import ByValue
from recon.errors import UsageError
from recon.evidence import Evidence, Fact, Proved
from recon.operators.rounding import rounded_up
from recon.priors.closed_forms import check_weight
from recon.priors.networks.architectures.convex_critic import ConvexCritic
from recon.priors.networks.learned_resolvent import ACCURACY, TRAINED_ON
from recon.priors.prior import Prior
from recon.priors.resolvent import Resolvent
from recon.priors.smooth import Smooth
from recon.priors.smooth_resolvent import smooth_resolvent

_ATTAINS = Fact(
    Evidence.PROVED,
    "the critic is convex and even, so a convex quadratic plus it is constant in each of its directions of recession, "
    "and attains its minimum (Rockafellar 1970, Theorem 27.1)",
)


def critic_prior(critic: ConvexCritic, weight: float, accuracy: float = ACCURACY) -> Prior:
    """``w R``, convex, with a gradient of proved Lipschitz constant, so that FISTA reaches a minimiser.

    The gradient has at most the norm ``w sqrt(N)`` on N pixels, N the places of a filter. With ``||A x - y||^2 / 2``
    the image of truth is stationary only where ``A^T e`` is ``w grad R``, e the noise, whence ``w`` about
    ``E ||A^T e|| / sqrt(N)`` (Lunz, Oktem, Schonlieb 2018, whose data term is not halved), if R is as steep there as
    it may be; ``critic.config.factor`` is what w was best at on validation images, over that number.

    Args:
        critic: As :func:`recon.priors.networks.load_convex_critic` reads it.
        weight: w; at least zero.
        accuracy: Of the proximity operator, relative to its input; solvers that take the gradient need none.

    Raises:
        UsageError: It is no convex critic, or the weight or the accuracy is out of range.
    """
    if not isinstance(critic, ConvexCritic):
        raise UsageError(
            f"critic_prior: the critic is a {type(critic).__name__}; expected a ConvexCritic, because of no other is "
            "it known that the score is convex and its gradient Lipschitz."
        )
    check_weight("critic_prior", weight)
    if not 0 < accuracy < 1:
        raise UsageError(f"critic_prior: accuracy={accuracy!r}; expected a number between 0 and 1, both excluded.")
    own = copy.deepcopy(critic).eval()  # a later training step must not change what a certificate speaks of
    known, frozen = own.smoothness(), _Frozen(own, weight)
    smooth = Smooth(frozen.gradient, Proved(rounded_up(weight * known.value), f"w Lip(grad R); {known.how}"))
    name = f"{weight:.4g} convex critic"
    return Prior(name, _Family(smooth, name, accuracy), value=frozen.value, smooth=smooth)


@final
@dataclass(frozen=True, eq=False)
class _Family(ByValue):
    """The family ``s -> prox of s w R``."""

    smooth: Smooth
    name: str
    accuracy: float

    def __call__(self, stepsize: float) -> Resolvent:
        return smooth_resolvent(self.smooth, self.name, self.accuracy, _ATTAINS, stepsize, values=TRAINED_ON)


@final
@dataclass(frozen=True, eq=False)
class _Frozen(ByValue):
    """The critic times a weight, with a copy for each precision and device that it meets."""

    critic: ConvexCritic
    weight: float
    _copies: dict[tuple[torch.dtype, torch.device], ConvexCritic] = field(
        default_factory=dict, repr=False, compare=False
    )

    def gradient(self, x: Tensor) -> Tensor:
        found: Tensor = self.weight * self._like(x).gradient(x)
        return found

    def value(self, x: Tensor) -> Tensor:
        return self.weight * self._like(x).value(x)

    def _like(self, x: Tensor) -> ConvexCritic:
        self.critic.check_input(x)
        place = (x.dtype, x.device)
        if place not in self._copies:
            self._copies[place] = self.critic.frozen(*place)
        return self._copies[place]


def of_slices(prior: Prior) -> Prior:
    """The penalty of a volume, ``(batch, channels, slices, height, width)``, that is the sum over its slices."""
    known, of_image = prior.smooth, prior.value
    assert known is not None  # noqa: S101  of critic_prior
    assert of_image is not None  # noqa: S101

    def gradient(x: Tensor) -> Tensor:
        slices = x.transpose(1, 2)
        return known.gradient(slices.flatten(0, 1)).reshape(slices.shape).transpose(1, 2)

    def value(x: Tensor) -> Tensor:
        return of_image(x.transpose(1, 2).flatten(0, 1)).view(len(x), -1).sum(1)

    return replace(prior, smooth=replace(known, gradient=gradient), value=value)
