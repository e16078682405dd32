"""Losses: against clean images, against a second noisy image, or of the noisy image alone."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.priors.networks import Network
from recon.training.equilibrium import Restoration
from recon.training.measurement_losses import fidelity_of_measurements, measured_sample
from recon.training.neighbours import difference_of_halves, pairs_of_neighbours
from recon.training.sample import RECORRUPTED, TAU, Sample
from recon.training.tables import WITHOUT_CLEAN, TrainingConfig

Loss = Callable[[Tensor, Tensor], Tensor]
"""From images found and clean ones, (batch, channels, height, width), to a number for each, (batch,)."""


def sample(
    frames: Tensor, config: TrainingConfig, generator: torch.Generator, restoration: Restoration | None = None
) -> Sample:
    """Noise as the loss wants it.

    Args:
        frames: ``(1 or 2, batch, channels, height, width)``.
        config: The loss and the noise levels.
        generator: What decides.
        restoration: What measures clean images before the noise, if it is to be undone.
    """
    low, high = config.noise
    shares = torch.rand(frames.shape[1], generator=generator)
    level = low * (high / low) ** shares
    if restoration is not None and config.loss in WITHOUT_CLEAN:
        return measured_sample(frames, config.loss, level, generator, restoration)
    nothing = torch.zeros(frames.shape[1], 0)
    if config.loss == "noise2noise":
        return Sample(frames[0], frames[1], level, nothing, nothing)
    image = frames[0]
    if config.loss in ("sure", "r2r"):
        return Sample(image, image, level, torch.randn(image.shape, generator=generator), nothing)
    if config.loss == "splitting":
        return Sample(image, image, level, pairs_of_neighbours(image, generator), nothing)
    measured = image if restoration is None else restoration.operator.A(image)
    noise = torch.randn(measured.shape, generator=generator)
    return Sample(measured + level.view(-1, 1, 1, 1) * noise, image, level, nothing, nothing)


def fidelity(
    network: Network,
    data: Sample,
    config: TrainingConfig,
    restoration: Restoration | None = None,
    own: Loss | None = None,
) -> tuple[Tensor, Tensor]:
    """The loss of each patch, ``(batch,)``, and J of the noisy patches, or the reconstructions from them.

    SURE is the Monte Carlo estimate of the mean squared error (Ramani, Blu, Unser 2008), ``"r2r"`` the
    recorrupted-to-recorrupted loss (Pang et al. 2021), which makes pairs of independent noise out of one image: as
    deepinv has them, with random numbers that are given. For two noisy images of a scene the comparison of one with
    the other is all there is to do (Lehtinen et al. 2018). ``"splitting"`` is :mod:`recon.training.neighbours`.

    Args:
        network: In training.
        data: What the step sees.
        config: The loss, and the precision of its forward pass.
        restoration: The way from a measurement to what is compared, if there is one; else J.
        own: What compares the images found with clean ones, in place of ``config.loss``: one number for each patch.

    Raises:
        UsageError: The own loss gives something else.
    """
    level = data.level if network.conditioned else None
    if restoration is not None and config.loss in WITHOUT_CLEAN:
        return fidelity_of_measurements(network, data, level, config.loss, restoration)
    if config.loss in ("sure", "r2r"):
        return (_sure if config.loss == "sure" else _recorrupted)(network, data, level, config.noise[0])
    if config.loss == "splitting":
        return difference_of_halves(network, data, level)
    low = config.precision == "bfloat16"
    with torch.autocast(data.noisy.device.type, torch.bfloat16, enabled=low):
        found = _found(network, data, level, restoration)
    if own is not None:
        return _checked(own(found.float(), data.target), len(found)), found.detach()
    difference = found.float() - data.target if low else found - data.target
    return (difference.abs() if config.loss == "l1" else difference.square()).mean((1, 2, 3)), found.detach()


def _found(network: Network, data: Sample, level: Tensor | None, restoration: Restoration | None) -> Tensor:
    if restoration is not None:
        return restoration.restore(network, data.noisy, level)
    found: Tensor = network(data.noisy, level, data.guide) if data.guided else network(data.noisy, level)
    return found


def _checked(values: Tensor, batch: int) -> Tensor:
    if not isinstance(values, Tensor) or tuple(values.shape) != (batch,):
        given = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise UsageError(f"the loss gives {given}; expected a tensor of shape ({batch},), a number for each patch.")
    return values


def _sure(network: Network, data: Sample, level: Tensor | None, sigma: float) -> tuple[Tensor, Tensor]:
    found: Tensor = network(data.noisy, level)
    moved: Tensor = network(data.noisy + TAU * data.draws, level)
    divergence = (data.draws * (moved - found)).mean((1, 2, 3)) / TAU
    return (found - data.noisy).square().mean((1, 2, 3)) + 2 * sigma**2 * divergence - sigma**2, found.detach()


def _recorrupted(network: Network, data: Sample, level: Tensor | None, sigma: float) -> tuple[Tensor, Tensor]:
    noisier = data.noisy + math.sqrt(RECORRUPTED / (1 - RECORRUPTED)) * sigma * data.draws
    other = (data.noisy - (1 - RECORRUPTED) * noisier) / RECORRUPTED  # its noise is independent of that of the first
    found: Tensor = network(noisier, level)
    return (found - other).square().mean((1, 2, 3)), found.detach()
