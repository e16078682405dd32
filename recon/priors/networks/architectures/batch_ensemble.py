"""Ensembles of denoisers that share their kernels: BatchEnsemble, and its latent-posterior variant LP-BNN.

Member k of a layer with kernel W has the kernel ``W[o, i] s_k[o] r_k[i]`` with vectors s_k and r_k of its own (Wen,
Tran and Ba 2020). A member is a :class:`DnCNN`, and an ensemble hardly larger than one. In LP-BNN (Franchi et al. 2020)
the vectors r_k go through a small variational autoencoder, ``r = 1 + dec(z)`` with z drawn from the normal distribution
of mean mu(r_k - 1) and standard deviation sd(r_k - 1): anew in each step of a training, and once for a member after it.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.errors import UsageError
from recon.evidence import Assumed, Constant
from recon.priors.networks.architectures.dncnn import DnCNN, DnCNNConfig
from recon.priors.networks.architectures.network import Config, Network, NoiseLevel, drawn, noise_map
from recon.priors.networks.layers.convolution import check_padding, convolve

_MOST_MEMBERS = 64
_SPREAD = 0.1
"""Of the factors of a member about 1, at first: with signs, as others have it, a residual network does not learn."""

_SEED = 0
"""Of the latent vectors of the members that are used after training, so that a member is one network."""

_DIVERGENCE_WEIGHT = 1e-3
"""Of the divergence of the posterior from the normal distribution, beside the error of the reconstructed vectors."""


@dataclass(frozen=True)
class BatchEnsembleConfig(Config):
    """An ensemble of DnCNNs without batch normalisation that share their kernels.

    Attributes:
        members: How many there are.
        features: Channels between the layers.
        depth: Convolutions of 3 x 3.
        slope: Of the leaky rectifiers, for negative numbers.
        conditioned: Whether the noise level is one more channel of the input.
        latent: Of LP-BNN, the length of a latent vector; 0: BatchEnsemble.
    """

    members: int = 4
    features: int = 32
    depth: int = 8
    slope: float = 0.01
    conditioned: bool = False
    latent: int = 0

    def check(self) -> None:
        """See :meth:`Config.check`."""
        super().check()
        check_padding(self.padding)
        if not 2 <= self.members <= _MOST_MEMBERS:
            raise UsageError(
                f"BatchEnsemble: members={self.members!r}; expected 2 to {_MOST_MEMBERS}, because one has no spread."
            )
        if self.latent < 0:
            raise UsageError(f"BatchEnsemble: latent={self.latent!r}; expected 0, or the length of a latent vector.")
        self.of_member.check()

    @property
    def of_member(self) -> DnCNNConfig:
        """The architecture of one member."""
        return DnCNNConfig(
            channels=self.channels, padding=self.padding, noise_range=self.noise_range, features=self.features,
            depth=self.depth, slope=self.slope, conditioned=self.conditioned,
        )  # fmt: skip

    @property
    def widths(self) -> list[int]:
        """Channels before, between and after the layers."""
        return [self.channels + self.conditioned, *[self.features] * (self.depth - 1), self.channels]


class LatentFactors(nn.Module):
    """The autoencoder of the vectors r of a layer, shape (members, channels)."""

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.mean = _linear(channels, latent)
        self.log_variance = _linear(channels, latent)
        self.decoded = _linear(latent, channels, _SPREAD)

    def forward(self, factors: Tensor, noise: Tensor) -> Tensor:
        """The reconstructed vectors for standard normal ``noise``, shape (members, latent)."""
        z = self.mean(factors - 1) + torch.exp(self.log_variance(factors - 1) / 2) * noise
        found: Tensor = 1 + self.decoded(z)
        return found

    def loss(self, factors: Tensor, noise: Tensor) -> Tensor:
        """The squared error of the vectors and the weighted divergence of their posterior from N(0, 1)."""
        mean, log_variance = self.mean(factors - 1), self.log_variance(factors - 1)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
        found: Tensor = (self(factors, noise) - factors).square().mean() + _DIVERGENCE_WEIGHT * divergence
        return found


def _linear(before: int, after: int, gain: float = 1.0) -> nn.Linear:
    layer = nn.Linear(before, after)
    if not layer.weight.is_meta:
        nn.init.normal_(layer.weight, std=gain / math.sqrt(before))
        nn.init.zeros_(layer.bias)
    return layer


class BatchEnsemble(Network):
    """J(x) is the mean of the J of all members; in training each image of a batch has a member of its own.

    Nothing in it makes Q nonexpansive.
    """

    config: BatchEnsembleConfig

    def __init__(self, config: BatchEnsembleConfig = BatchEnsembleConfig()) -> None:
        super().__init__()
        config.check()
        self.config = config
        pairs, count = list(pairwise(config.widths)), config.members
        shared = DnCNN(config.of_member)
        self.kernels = shared.kernels
        self.biases = nn.ParameterList(torch.zeros(count, after) for _, after in pairs)
        self.inputs = nn.ParameterList(_about_one(count, before) for before, _ in pairs)
        self.outputs = nn.ParameterList(_about_one(count, after) for _, after in pairs)
        latent = (LatentFactors(before, config.latent) for before, _ in pairs) if config.latent else ()
        self.latent = nn.ModuleList(latent)
        self.noise: list[Tensor] = []

    @property
    def conditioned(self) -> bool:
        """Whether the network wants to be told the noise level."""
        return self.config.conditioned

    def draw(self, generator: torch.Generator) -> None:
        """Draw the latent vectors of the next step of a training."""
        shape = (self.config.members, self.config.latent)
        self.noise = [torch.randn(shape, generator=generator).to(self.kernels[0]) for _ in self.latent]

    def prior_loss(self) -> Tensor:
        """Return what LP-BNN adds to the loss of a batch, for the vectors that were drawn; 0 of a BatchEnsemble."""
        losses = [
            layer.loss(factors, noise)  # type: ignore[operator]
            for layer, factors, noise in zip(self.latent, self.inputs, self.noise, strict=False)
        ]
        return torch.stack(losses).mean() if losses else self.kernels[0].new_zeros(())

    def member(self, number: int) -> DnCNN:
        """One member as a network of its own, numbered from 1.

        Of LP-BNN the latent vectors of a member are always the same draw.

        Raises:
            UsageError: There is none of that number.
        """
        if not 1 <= number <= self.config.members:
            raise UsageError(
                f"BatchEnsemble: member={number}; expected 1 to {self.config.members}, as many as the network has."
            )
        index, weights = number - 1, {}
        with torch.no_grad():
            for layer, kernel in enumerate(self.kernels):
                scale = self.outputs[layer][index][:, None] * self._fixed_inputs(layer)[index]
                weights[f"kernels.{layer}"] = kernel * scale[:, :, None, None]
                weights[f"biases.{layer}"] = self.biases[layer][index]
        with torch.device("meta"):
            found = DnCNN(self.config.of_member)
        found.load_state_dict(weights, assign=True)
        return found.eval().requires_grad_(False)

    def _fixed_inputs(self, layer: int) -> Tensor:
        factors: Tensor = self.inputs[layer]
        if not self.config.latent:
            return factors
        generator = torch.Generator().manual_seed(_SEED + layer)
        noise = torch.randn((self.config.members, self.config.latent), generator=generator)
        found: Tensor = self.latent[layer](factors, noise.to(factors))
        return found

    def residual(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        """Return what J takes away: the mean over the members; in training, of each image by one member."""
        self.check_input(x, noise_level)
        if self.training:
            return self._assigned(x, noise_level)
        members = (self.member(number) for number in range(1, self.config.members + 1))
        return torch.stack([member.residual(x, noise_level) for member in members]).mean(0)

    def _assigned(self, x: Tensor, noise_level: NoiseLevel) -> Tensor:
        """Image i goes through member i modulo their number."""
        config = self.config
        chosen = torch.arange(len(x), device=x.device) % config.members
        z = torch.cat([x, noise_map(x, noise_level)], 1) if self.conditioned else x
        for layer, kernel in enumerate(self.kernels):
            factors: Tensor = self.inputs[layer]
            if self.noise:
                factors = self.latent[layer](factors, self.noise[layer])
            z = convolve(z * factors[chosen][:, :, None, None], kernel, None, config.padding)
            scale, bias = (each[layer][chosen][:, :, None, None] for each in (self.outputs, self.biases))
            z = z * scale + bias
            if layer + 1 < config.depth:
                z = functional.leaky_relu(z, config.slope)
        return z

    def Q(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        return x - 2 * self.residual(x, noise_level)

    def forward(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        return x - self.residual(x, noise_level)

    def lipschitz_Q(self, noise_level: NoiseLevel = None) -> Constant:
        return Assumed(1.0, "nothing makes the members of an ensemble nonexpansive")


def _about_one(members: int, channels: int) -> nn.Parameter:
    return drawn((members, channels), lambda: 1 + _SPREAD * torch.randn(members, channels))
