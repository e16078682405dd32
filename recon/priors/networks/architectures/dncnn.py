"""The reference denoiser: nothing in its construction makes it nonexpansive, a penalty in its training tries to."""

import copy
import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.errors import UsageError
from recon.evidence import Assumed, Constant
from recon.priors.networks.architectures.network import Config, Derivative, Network, NoiseLevel, noise_map
from recon.priors.networks.layers.convolution import check_padding, convolve, packed, reversed_kernel
from recon.priors.networks.layers.high_pass import details
from recon.priors.networks.layers.strip_evaluation import Stage, through
from recon.types import Map

_LEAST_DEPTH = 2
_COARSEST = 1024

_GREY = 0.5
"""Added to details for the layers, which then see what looks like an image."""


@dataclass(frozen=True)
class DnCNNConfig(Config):
    """A DnCNN without batch normalisation (Pesquet, Repetti, Terris, Wiaux 2021).

    Attributes:
        features: Channels between the layers.
        depth: Convolutions of 3 x 3.
        slope: Of the leaky rectifiers, for negative numbers.
        conditioned: Whether the noise level is one more channel of the input.
        coarse: The standard deviation, in pixels, of a Gaussian; what it passes of an image J leaves as it is, and the
            layers see and change only the details. 0: they see the image. With it ||Q'|| <= 1 costs no brightness.
        divisor: What R is divided by, where Q is R on the details, at least 1: R = Id - 2 N with N the layers.
            ||Q'|| is at most 1 if that of R is no larger than the divisor.
        clip: The largest detail that the layers see, with its sign: R is R o P with P the projection onto that box, so
            that ||R'|| is asked for on the box only. Half of what a detail has beyond it J takes away, because passing
            that too would cost the bound: not for bright spots on dark, where details come close to 1. Photographs have
            hardly any beyond 0.75 with ``coarse = 8``. 0: no limit.
    """

    features: int = 64
    depth: int = 20
    slope: float = 0.01
    conditioned: bool = False
    coarse: float = 0.0
    divisor: float = 1.0
    clip: float = 0.0

    def check(self) -> None:
        """See :meth:`Config.check`."""
        super().check()
        check_padding(self.padding)
        if not (self.depth >= _LEAST_DEPTH and self.features >= 1 and 0 <= self.slope <= 1):
            raise UsageError(
                f"DnCNN: depth={self.depth!r}, features={self.features!r} and slope={self.slope!r}; expected at least "
                "2 layers, 1 feature and a slope in [0, 1]."
            )
        if not (0 <= self.coarse <= _COARSEST and 1 <= self.divisor < math.inf):
            raise UsageError(
                f"DnCNN: coarse={self.coarse!r} and divisor={self.divisor!r}; expected 0 to {_COARSEST} pixels, and a "
                "number of at least 1."
            )
        if not 0 <= self.clip < math.inf:
            raise UsageError(
                f"DnCNN: clip={self.clip!r}; expected a number above 0, or 0 for no limit, because it is the largest "
                "detail that the layers see."
            )
        for name, value, without in (("divisor", self.divisor, 1), ("clip", self.clip, 0)):
            if value != without and not self.coarse:
                raise UsageError(
                    f"DnCNN: {name}={value!r} with coarse=0; expected coarse > 0, because on whole images it changes "
                    "the brightness."
                )


class DnCNN(Network):
    """J(x) = x - N(x) with N plain convolutions and leaky rectifiers, so Q = Id - 2 N; or C N C, with C the details.

    The product of the norms of its layers says nothing (1e17 for the published weights): what is known of Q is what
    is measured.
    """

    config: DnCNNConfig

    def __init__(self, config: DnCNNConfig = DnCNNConfig()) -> None:
        super().__init__()
        config.check()
        self.config = config
        widths = [config.channels + config.conditioned, *[config.features] * (config.depth - 1), config.channels]
        self.kernels = nn.ParameterList(torch.empty(after, before, 3, 3) for before, after in pairwise(widths))
        self.biases = nn.ParameterList(torch.zeros(width) for width in widths[1:])
        for kernel in () if self.kernels[0].is_meta else self.kernels:
            nn.init.kaiming_normal_(kernel, a=config.slope)
        if not self.kernels[0].is_meta:  # as of drawn()
            nn.init.normal_(self.kernels[-1], std=1e-3)  # close to the identity at first

    @property
    def conditioned(self) -> bool:
        """Whether the network wants to be told the noise level."""
        return self.config.conditioned

    def residual(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        """Return what J takes away: N(x); or C N(P C x), with what P and a divisor add, see :meth:`_taken`."""
        self.check_input(x, noise_level)
        if not self.config.coarse:
            return self._layers(x, noise_level)
        z = self._details(x)
        seen = self._seen(z)
        return self._details(self._taken(z, seen, self._layers(seen + _GREY, noise_level)))

    def _details(self, x: Tensor) -> Tensor:
        return details(x, self.config.coarse)

    def _seen(self, z: Tensor) -> Tensor:
        return z.clamp(-self.config.clip, self.config.clip) if self.config.clip else z

    def _taken(self, z: Tensor, seen: Tensor, noise: Tensor) -> Tensor:
        """``(z - R/c)/2`` with ``R = Pz - 2 N(Pz)``, c the divisor, ``seen = Pz`` and ``noise = N(Pz)``."""
        share = 1 / self.config.divisor
        if seen is z and share == 1:
            return noise.to(z)
        return (z - share * seen) / 2 + share * noise.to(z)

    def layer_input(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        """What the first layer is given for images: these or their details, with the noise level as a channel."""
        self.check_input(x, noise_level)
        return self._told(self._seen(self._details(x)) + _GREY if self.config.coarse else x, noise_level)

    def _told(self, x: Tensor, noise_level: NoiseLevel) -> Tensor:
        return torch.cat([x, noise_map(x, noise_level)], 1) if self.conditioned else x

    def _layers(self, x: Tensor, noise_level: NoiseLevel) -> Tensor:
        z = self._told(x, noise_level)
        hidden = [Stage(partial(self._layer, kernel, bias), 1) for kernel, bias in self._hidden()]
        last = Stage(lambda z: convolve(z, self.kernels[-1], self.biases[-1], self.config.padding), 1)
        z = z.to(self.kernels[0].dtype)  # a copy in half precision has its layers in it, and no more
        return through([*hidden, last], z, self.config.features, self.config.padding)

    def _layer(self, kernel: Tensor, bias: Tensor, z: Tensor) -> Tensor:
        z = convolve(z, kernel, bias, self.config.padding)
        return functional.leaky_relu(z, self.config.slope, inplace=not z.requires_grad)

    def Q(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        return x - 2 * self.residual(x, noise_level)

    def forward(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        return x - self.residual(x, noise_level)

    def divided(self, number: float) -> Self:
        """A copy with that many times the divisor.

        Raises:
            UsageError: The layers see whole images, or the number is below 1.
        """
        if not number >= 1:
            raise UsageError(f"DnCNN.divided: number={number!r}; expected at least 1: more than Q is not wanted.")
        return self._with(replace(self.config, divisor=self.config.divisor * number))

    def clipped(self, clip: float) -> Self:
        """A copy with another clip, of which other things may have been measured.

        Raises:
            UsageError: The layers see whole images, or it is no number above 0.
        """
        return self._with(replace(self.config, clip=clip))

    def _with(self, config: DnCNNConfig) -> Self:
        config.check()
        twin = copy.deepcopy(self)
        twin.config = config
        return twin

    def lipschitz_Q(self, noise_level: NoiseLevel = None) -> Constant:
        return Assumed(1.0, "the training penalised ||Q'|| above 1, which proves nothing")

    def applied_kernels(self) -> list[Tensor]:
        """See :meth:`Network.applied_kernels`; of the branch that is subtracted."""
        return list(self.kernels)

    def derivative(self, x: Tensor, noise_level: NoiseLevel = None) -> Derivative:
        """Q'(x) as plain convolutions, with the slopes at x kept as masks.

        That is exact where Q is differentiable, as the network is piecewise linear. The applications can be
        differentiated with respect to the kernels, as a penalty wants it: the masks do not move under small changes.
        """
        self.check_input(x, noise_level)
        coarse, inside = bool(self.config.coarse), None
        if coarse:
            z = self._details(x)
            x = self._seen(z) + _GREY
            inside = (z.abs() < self.config.clip).to(z) if self.config.clip else None
        masks = self._masks(x, noise_level)
        padding, channels = self.config.padding, self.config.channels
        *hidden, last = [packed(kernel) for kernel in self.kernels]
        *hidden_back, last_back = [packed(reversed_kernel(kernel)) for kernel in self.kernels]

        def seen(v: Tensor) -> Tensor:
            return v if inside is None else inside * v

        def through_details(apply: Map) -> Map:
            def change(v: Tensor) -> Tensor:
                if not coarse:
                    return v - 2 * apply(v)
                z = self._details(v)
                return v - 2 * self._details(self._taken(z, seen(z), apply(z)))

            return change

        def forward(v: Tensor) -> Tensor:
            z = functional.pad(seen(v), (0, 0, 0, 0, 0, 1)) if self.conditioned else seen(v)
            for kernel, mask in zip(hidden, masks, strict=True):
                z = convolve(z, kernel, None, padding).mul_(mask)
            return convolve(z, last, None, padding)

        def transpose(u: Tensor) -> Tensor:
            z = convolve(u, last_back, None, padding)
            for kernel, mask in zip(reversed(hidden_back), reversed(masks), strict=True):
                z = convolve(z.mul_(mask), kernel, None, padding)
            return seen(z[:, :channels])

        return Derivative(through_details(forward), through_details(transpose))

    def changes(self, x: Tensor, noise_level: NoiseLevel = None) -> Derivative:
        """``Q'(x) C``, of at most the norm of Q'(x): constants, for which Q' has gain 1 at every x, have none here."""
        whole = self.derivative(x, noise_level)
        if not self.config.coarse:
            return whole
        return Derivative(lambda v: whole.forward(self._details(v)), lambda u: self._details(whole.transpose(u)))

    def changed_part(self, v: Tensor) -> Tensor:
        """See :meth:`Network.changed_part`: Q keeps constants."""
        return self._details(v) if self.config.coarse else v

    @torch.no_grad()
    def _masks(self, x: Tensor, noise_level: NoiseLevel) -> list[Tensor]:
        z, masks = self._told(x, noise_level), []
        for kernel, bias in self._hidden():
            z = convolve(z, packed(kernel), bias, self.config.padding)
            masks.append(torch.where(z > 0, 1.0, self.config.slope).to(z))
            z = z.mul_(masks[-1])
        return masks

    def _hidden(self) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self.kernels, self.biases, strict=True))[:-1]
