"""What a step compares: with clean images, with a second noisy one, or with nothing but the noisy image itself."""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from recon.priors.networks import Network
from recon.training.config import TrainingConfig
from recon.training.equilibrium import Restoration

_ALPHA = 0.15
"""Of recorruption: the share of the noise that goes into the target, as deepinv has it."""


@final
@dataclass(frozen=True)
class Sample:
    """What one step sees.

    Attributes:
        noisy: ``(batch, channels, height, width)``.
        target: Of the same shape: clean, or noisy independently of the first, or the first itself.
        level: The standard deviation of the noise of each patch, ``(batch,)``.
    """

    noisy: Tensor
    target: Tensor
    level: Tensor

    def part(self, begin: int, end: int) -> "Sample":
        """Some of the patches."""
        return Sample(self.noisy[begin:end], self.target[begin:end], self.level[begin:end])

    def to(self, device: torch.device) -> "Sample":
        """The same on another device."""
        return Sample(self.noisy.to(device), self.target.to(device), self.level.to(device))


def sample(
    frames: Tensor, config: TrainingConfig, generator: torch.Generator, restoration: Restoration | None = None
) -> Sample:
    """Noise as the loss wants it.

    Args:
        frames: ``(1 or 2, batch, channels, height, width)``.
        config: The loss and the noise levels.
        generator: What decides.
        restoration: What blurs clean images before the noise, if it is to be undone.
    """
    low, high = config.noise
    shares = torch.rand(frames.shape[1], generator=generator)
    level = low * (high / low) ** shares
    if config.loss == "noise2noise":
        return Sample(frames[0], frames[1], level)
    image = frames[0]
    if config.loss in ("sure", "r2r"):
        return Sample(image, image, level)
    noise = torch.randn(image.shape, generator=generator)
    measured = image if restoration is None else restoration.blur.A(image)
    return Sample(measured + level.view(-1, 1, 1, 1) * noise, image, level)


def fidelity(
    network: Network, data: Sample, config: TrainingConfig, seed: int, restoration: Restoration | None = None
) -> tuple[Tensor, Tensor]:
    """The loss of each patch, ``(batch,)``, and J of the noisy patches, or the reconstructions from them.

    SURE is deepinv's Monte Carlo estimate of the mean squared error (Ramani, Blu, Unser 2008), ``"r2r"`` its
    recorrupted-to-recorrupted loss (Pang et al. 2021), which makes pairs of independent noise out of one image.

    Args:
        network: In training.
        data: What the step sees.
        config: The loss, and the precision of its forward pass.
        seed: Of what the loss draws itself.
        restoration: The way from a measurement to what is compared, if there is one; else J.
    """
    level = data.level if network.conditioned else None
    if config.loss in ("sure", "r2r"):
        return _without_clean(network, data, config, seed)
    low = config.precision == "bfloat16"
    with torch.autocast(data.noisy.device.type, torch.bfloat16, enabled=low):
        found = network(data.noisy, level) if restoration is None else restoration.restore(network, data.noisy, level)
    difference = found.float() - data.target if low else found - data.target
    return (difference.abs() if config.loss == "l1" else difference.square()).mean((1, 2, 3)), found.detach()


def _without_clean(network: Network, data: Sample, config: TrainingConfig, seed: int) -> tuple[Tensor, Tensor]:
    import deepinv  # noqa: PLC0415  slow, and few need it

    level = data.level if network.conditioned else None
    sigma = config.noise[0]
    physics = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(sigma))

    def model(y: Tensor, *_: Any, **__: Any) -> Tensor:
        found: Tensor = network(y, level)
        return found

    if config.loss == "sure":
        found = model(data.noisy)
        loss = deepinv.loss.SureGaussianLoss(sigma, rng=torch.Generator(data.noisy.device).manual_seed(seed))
        values: Tensor = loss(data.noisy, found, physics, model)
        return values, found.detach()
    loss = deepinv.loss.R2RLoss(metric=_PerPatch(), alpha=_ALPHA, eval_n_samples=1)
    recorrupted = loss.adapt_model(_Callable(network, level)).train()
    with torch.random.fork_rng([] if data.noisy.device.type == "cpu" else [data.noisy.device]):
        torch.manual_seed(seed)  # deepinv draws from the shared generator
        found = recorrupted(data.noisy, physics, update_parameters=True)
    values = loss(found, data.noisy, physics, recorrupted)
    return values, found.detach()


class _Callable(torch.nn.Module):
    """The network at given levels, as deepinv calls a model."""

    def __init__(self, network: Network, level: Tensor | None) -> None:
        super().__init__()
        self.network, self.level = network, level

    def forward(self, y: Tensor, *_: Any) -> Tensor:
        found: Tensor = self.network(y, self.level)
        return found


class _PerPatch(torch.nn.Module):
    """The mean squared difference of each patch."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).square().mean((1, 2, 3))
