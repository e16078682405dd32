"""Networks whose Q is nonexpansive by construction."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recon._suggest import suggestion
from recon.errors import UsageError
from recon.evidence import Constant, Proved
from recon.operators.convolution_norms import ROUNDING, absolute_norm
from recon.priors.networks.architectures.network import Config, Network, NoiseLevel, noise_map
from recon.priors.networks.layers.convolution import check_padding
from recon.priors.networks.layers.nonexpansive import (
    AbbaLayer,
    Layer,
    OrthogonalLayer,
    RescaledLayer,
    ResidualLayer,
    Scaled,
)
from recon.priors.networks.layers.strip_evaluation import Stage, through

LAYERS = ("sll", "aol", "orthogonal", "abba")


@dataclass(frozen=True)
class LipschitzConfig(Config):
    """A network ``Q = q lower(layer_m(... layer_1(lift(x))))`` of nonexpansive layers.

    Attributes:
        layers: ``"sll"`` (residual), ``"aol"`` (rescaled), ``"orthogonal"`` or ``"abba"`` (nonnegative).
        features: Channels between the layers.
        depth: How many layers.
        hidden: Filters of a residual layer; 0: as many as features.
        activation: ``"spline"``, or one that is a proximity operator; for aol and orthogonal also ``"maxmin"`` and
            ``"abs"``, and for abba ``"abs"``.
        contraction: q, at most 1: below 1 the prior is strongly monotone with the constant (1 - q)/(1 + q).
        conditioned: Whether the noise level is one more channel of the input, which leaves Q nonexpansive in x.
    """

    layers: str = "sll"
    features: int = 64
    depth: int = 10
    hidden: int = 0
    activation: str = "relu"
    contraction: float = 1.0
    conditioned: bool = False

    def check(self) -> None:
        """See :meth:`Config.check`."""
        super().check()
        check_padding(self.padding)
        if self.layers not in LAYERS:
            raise UsageError(f"Lipschitz: layers={self.layers!r} is unknown; {suggestion(self.layers, LAYERS)}.")
        if not (self.depth >= 1 and self.features >= self.channels and self.hidden >= 0):
            raise UsageError(
                f"Lipschitz: depth={self.depth!r}, features={self.features!r}, hidden={self.hidden!r}; expected at "
                f"least 1 layer, {self.channels} features and 0 hidden filters."
            )
        if self.layers == "abba" and (self.features % 2 or self.activation == "maxmin"):
            raise UsageError(
                f"Lipschitz: features={self.features!r} and activation={self.activation!r} for abba layers; expected "
                "an even number and a pointwise activation, because they act on two halves, entry by entry."
            )
        if not 0 < self.contraction <= 1:
            raise UsageError(
                f"Lipschitz: contraction={self.contraction!r}; expected more than 0 and at most 1, because above 1 "
                "(Id + Q)/2 is not a resolvent."
            )


class LipschitzNetwork(Network):
    """J = (Id + Q)/2 with Q a composition of nonexpansive layers: firmly nonexpansive whatever the weights."""

    config: LipschitzConfig

    def __init__(self, config: LipschitzConfig = LipschitzConfig()) -> None:
        super().__init__()
        config.check()
        self.config = config
        features, padding, act = config.features, config.padding, config.activation
        self.lift = Scaled(config.channels + config.conditioned, features, padding)
        self.lower = Scaled(features, config.channels, padding)
        self.layers = nn.ModuleList(_layer(config, features, padding, act) for _ in range(config.depth))
        with torch.no_grad():  # towards the identity: the image rests in the first channels, in and out
            for index in range(config.channels):
                self.lift.kernel[index, index, 1, 1] += 1
                self.lower.kernel[index, index, 1, 1] += 1

    @property
    def conditioned(self) -> bool:
        """Whether the network wants to be told the noise level."""
        return self.config.conditioned

    def Q(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        self.check_input(x, noise_level)
        z = torch.cat([x, noise_map(x, noise_level)], 1) if self.conditioned else x
        layers = [layer for layer in (self.lift, *self.layers, self.lower) if isinstance(layer, Layer)]
        stages = [Stage(layer, layer.reach) for layer in layers]
        z = z.to(self.lift.kernel.dtype)  # a copy in half precision has its layers in it, and no more
        return self.config.contraction * through(stages, z, self._widest, self.config.padding)

    @property
    def _widest(self) -> int:
        return max(self.config.features, self.config.hidden)

    def lipschitz_Q(self, noise_level: NoiseLevel = None) -> Constant:
        """The product of the bounds of the layers, in double precision, rounded upwards."""
        twin = self.frozen()
        layers = [twin.lift, *twin.layers, twin.lower]
        abba = [layer.total() for layer in twin.layers if isinstance(layer, AbbaLayer)]
        if abba:
            inner = absolute_norm(*abba)
            ends = twin.lift.bound() * twin.lower.bound()
            return Proved(
                ends * inner.value * twin.config.contraction * ROUNDING,
                f"{inner.how}, of {len(abba)} abba layers, times the bounds of lift and lower, any size, "
                f"{self.config.padding} padding",
            )
        value = math.prod(layer.bound() for layer in layers if isinstance(layer, Layer)) * twin.config.contraction
        how = f"the product of the bounds of {len(layers)} {self.config.layers} layers, any size, {self.config.padding}"
        return Proved(value, f"{how} padding")


def _layer(config: LipschitzConfig, features: int, padding: str, act: str) -> Layer:
    if config.layers == "sll":
        return ResidualLayer(features, config.hidden or features, padding, act)
    if config.layers == "aol":
        return RescaledLayer(features, padding, act)
    if config.layers == "abba":
        return AbbaLayer(features, padding, act)
    return OrthogonalLayer(features, padding, act)
