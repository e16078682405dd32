"""Networks whose Q is nonexpansive by construction."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from recon._suggest import suggestion
from recon.errors import UsageError
from recon.evidence import Constant, Proved
from recon.operators.convolution_norms import ROUNDING, absolute_norm
from recon.priors.networks.architectures.network import LATER, Config, Network, NoiseLevel, noise_map
from recon.priors.networks.layers.activations import VECTOR_ACTIVATIONS
from recon.priors.networks.layers.convolution import check_padding
from recon.priors.networks.layers.nonexpansive import (
    AbbaLayer,
    Layer,
    OrthogonalConvolution,
    OrthogonalLayer,
    RescaledLayer,
    ResidualLayer,
    Scaled,
    activation_module,
)
from recon.priors.networks.layers.splines import LinearSpline
from recon.priors.networks.layers.strip_evaluation import Stage, through

LAYERS = ("sll", "aol", "orthogonal", "orthogonal_convolution", "abba")
_SIZED = ("sll", "orthogonal_convolution")
_EXPONENT = 0.3
"""With which the training of a rescaled network begins: a threshold falls a little faster than the noise."""

_REACH, _THRESHOLD = 5.0, 1.5
"""The last knot of a spline and the threshold that training begins with, over the noise of a cosine coefficient."""

_STEEP, _REFLECTING = 7.0, -4.0
"""Logits of the slopes 0.998 and -0.96."""


@dataclass(frozen=True)
class LipschitzConfig(Config):
    """A network ``Q = q lower(layer_m(... layer_1(lift(x))))`` of nonexpansive layers.

    Attributes:
        layers: ``"sll"`` (residual), ``"aol"`` (rescaled), ``"orthogonal"`` (shifts and a mixing of channels),
            ``"orthogonal_convolution"`` (larger orthogonal kernels) or ``"abba"`` (nonnegative).
        features: Channels between the layers.
        depth: How many layers.
        hidden: Filters of a residual layer; 0: as many as features.
        activation: ``"spline"``, or one that is a proximity operator; for aol and orthogonal also ``"maxmin"`` and
            ``"abs"``, and for abba ``"abs"``. ``"squash"`` and ``"softmax"`` act on vectors of channels, of all layers
            but abba, whose proof compares changes entry by entry.
        contraction: q, at most 1: below 1 the prior is strongly monotone with the constant (1 - q)/(1 + q).
        conditioned: Whether the noise level is one more channel of the input, which leaves Q nonexpansive in x.
        rescaled: Whether a conditioned network is told of the noise level s by the scale of its input instead,
            ``Q(x, s) = c Q_1(x / c)`` with ``c = s (s / h)^a``, h the highest level and a learnable. Noise of every
            level then looks alike, and Q has the Lipschitz constant of Q_1.
        size: Height and width of the kernels of the layers, odd; of sll and orthogonal_convolution.
        ends: Height and width of the kernels that lift an image to features and lower it back, odd.
        group: Channels of a vector for ``"squash"`` and ``"softmax"``, a divisor of the channels; 0: all of them.
    """

    layers: str = "sll"
    features: int = 64
    depth: int = 10
    hidden: int = 0
    activation: str = "relu"
    contraction: float = 1.0
    conditioned: bool = False
    rescaled: bool = field(default=False, metadata={LATER: "0.5.0"})
    size: int = field(default=3, metadata={LATER: "0.5.0"})
    ends: int = field(default=3, metadata={LATER: "0.5.0"})
    group: int = field(default=0, metadata={LATER: "0.5.0"})

    @property
    def knots(self) -> float:
        """The last knot of the splines after orthogonal convolutions, by the noise of a cosine coefficient."""
        noise = 1.0 if self.rescaled else self.noise_range[1]
        return _REACH * noise / self.ends if noise else 1.0

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
        if self.size % 2 == 0 or self.ends % 2 == 0 or min(self.size, self.ends) < 1 or max(self.size, self.ends) > 31:
            raise UsageError(
                f"Lipschitz: size={self.size!r}, ends={self.ends!r}; expected odd numbers of 1 to 31, the heights and "
                "widths of kernels with a middle."
            )
        if self.size != 3 and self.layers not in _SIZED:
            raise UsageError(
                f"Lipschitz: size={self.size!r} for {self.layers} layers; expected 3, because only the kernels of "
                f"{' and '.join(_SIZED)} layers have another."
            )
        if self.rescaled and not (self.conditioned and self.noise_range[0] > 0):
            raise UsageError(
                f"Lipschitz: rescaled with conditioned={self.conditioned!r} and noise_range={self.noise_range!r}; "
                "expected a conditioned network with positive levels, because its input is divided by them."
            )
        if self.group and self.activation not in VECTOR_ACTIVATIONS:
            raise UsageError(
                f"Lipschitz: group={self.group!r} with activation={self.activation!r}; expected 0, because only "
                f"{' and '.join(VECTOR_ACTIVATIONS)} act on groups of channels."
            )
        if self.layers == "abba" and (self.features % 2 or self.activation in ("maxmin", *VECTOR_ACTIVATIONS)):
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
        features, padding = config.features, config.padding
        told = config.conditioned and not config.rescaled
        self.lift = Scaled(config.channels + told, features, padding, config.ends)
        self.lower = Scaled(features, config.channels, padding, config.ends)
        if config.rescaled:
            self.exponent = nn.Parameter(torch.full((1,), _EXPONENT))
        self.layers = nn.ModuleList(_layer(config) for _ in range(config.depth))
        if self.lift.kernel.is_meta:
            return  # only sizes are wanted
        if config.layers == "orthogonal_convolution" and features >= config.channels * config.ends**2:
            self._begin_with_cosines()
            return
        middle = config.ends // 2
        with torch.no_grad():  # towards the identity: the image rests in the first channels, in and out
            for index in range(config.channels):
                self.lift.kernel[index, index, middle, middle] += 1
                self.lower.kernel[index, index, middle, middle] += 1

    @torch.no_grad()
    def _begin_with_cosines(self) -> None:
        """Lift by the orthonormal cosine transform of all patches, over their side, and lower by the transpose.

        That is an isometry, and its inverse. With splines the first layer then reflects what is below a threshold, and
        the others are near the identity, so that J begins as soft thresholding of the coefficients but the means.
        """
        config, side = self.config, self.config.ends
        lift, lower = torch.zeros_like(self.lift.kernel), torch.zeros_like(self.lower.kernel)
        basis = cosines(side).to(lift) / side
        for index in range(config.channels):
            channels = slice(index, index + config.channels * side**2, config.channels)
            lift[channels, index] = basis
            lower[index, channels] = basis.flip(1, 2)
        self.lift.kernel.copy_(lift)
        self.lower.kernel.copy_(lower)
        for number, layer in enumerate(self.layers):
            spline = layer.act
            if isinstance(spline, LinearSpline):
                spline.theta.fill_(_STEEP)
                if number == 0:
                    half, below = spline.intervals // 2, round(_THRESHOLD / _REACH * spline.intervals / 2)
                    spline.theta[config.channels :, half - below : half + below] = _REFLECTING

    @property
    def conditioned(self) -> bool:
        """Whether the network wants to be told the noise level."""
        return self.config.conditioned

    def Q(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        self.check_input(x, noise_level)
        if self.config.rescaled:
            scale = self._scale(x, noise_level)
            return scale * self._chained(x / scale)
        return self._chained(torch.cat([x, noise_map(x, noise_level)], 1) if self.conditioned else x)

    def check_input(self, x: Tensor, noise_level: NoiseLevel) -> None:
        """See :meth:`Network.check_input`; what divides by the noise level needs a positive one besides."""
        super().check_input(x, noise_level)
        if self.config.rescaled and isinstance(noise_level, int | float) and not 0 < noise_level < math.inf:
            raise UsageError(f"Lipschitz: noise_level={noise_level!r}; expected a positive finite number.")

    def _scale(self, x: Tensor, noise_level: NoiseLevel) -> Tensor:
        """``s (s / h)^a`` of the noise level s of each image, (batch, 1, 1, 1), h the highest."""
        level = noise_map(x, noise_level)[:, :, :1, :1]
        return level * (level / self.config.noise_range[1]) ** self.exponent.to(level)

    def _chained(self, z: Tensor) -> Tensor:
        layers = [layer for layer in (self.lift, *self.layers, self.lower) if isinstance(layer, Layer)]
        stages = [Stage(layer, layer.reach) for layer in layers]
        z = z.to(self.lift.kernel.dtype)  # a copy in half precision has its layers in it, and no more
        return self.config.contraction * through(stages, z, self._widest, self.config.padding)

    def applied_kernels(self) -> list[Tensor]:
        """See :meth:`Network.applied_kernels`."""
        return [layer.applied_kernel() for layer in (self.lift, *self.layers, self.lower) if isinstance(layer, Layer)]

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


def _layer(config: LipschitzConfig) -> Layer:
    features, padding = config.features, config.padding
    if config.layers == "sll":
        hidden = config.hidden or features
        act = activation_module(config.activation, hidden, monotone=True, group=config.group)
        return ResidualLayer(features, hidden, padding, act, config.size)
    reach = config.knots if config.layers == "orthogonal_convolution" else 1.0
    act = activation_module(config.activation, features, monotone=False, reach=reach, group=config.group)
    if config.layers == "orthogonal_convolution":
        return OrthogonalConvolution(features, padding, act, config.size)
    if config.layers == "aol":
        return RescaledLayer(features, padding, act)
    if config.layers == "abba":
        return AbbaLayer(features, padding, act)
    return OrthogonalLayer(features, padding, act)


def cosines(side: int) -> Tensor:
    """The orthonormal basis of cosines of side x side patches, ``(side^2, side, side)``, the constant one first."""
    place = torch.arange(side, dtype=torch.float64)
    rows = torch.cos(math.pi * (place + 0.5) * place[:, None] / side)
    rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return torch.einsum("ai,bj->abij", rows, rows).flatten(0, 1)
