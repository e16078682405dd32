"""Losses: against clean images, against a second noisy image, or of the noisy image alone."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from recon.errors import UsageError
from recon.priors.networks import Network
from recon.training.equilibrium import Restoration
from recon.training.measurement_losses import fidelity_of_measurements, measured_sample
from recon.training.sample import RECORRUPTED, TAU, Sample
from recon.training.tables import WITHOUT_CLEAN, TrainingConfig

Loss = Callable[[Tensor, Tensor], Tensor]
"""From images found and clean ones, (batch, channels, height, width), to a number for each, (batch,)."""

_NEIGHBOURS = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]
"""Of a pixel at (1, 1)."""

_PERIOD = 3
"""Of the lattice of pixels that splitting hides: neighbours of a hidden one are seen."""


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
        return Sample(image, image, level, hidden_pixels(image, generator), nothing)
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
    the other is all there is to do (Lehtinen et al. 2018). ``"splitting"`` hides pixels (Batson and Royer 2019).

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
        return _split(network, data, level)
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


def hidden_pixels(images: Tensor, generator: torch.Generator) -> Tensor:
    """One pixel of each square of 3 x 3, at a place of its own in each image.

    Returns:
        0 at pixels that are seen, and 1 to 8 at hidden ones: the number of the neighbour that takes their place.
    """
    batch, _, height, width = images.shape
    rows, columns = torch.randint(_PERIOD, (2, batch, 1, 1, 1), generator=generator)
    down = (torch.arange(height).view(1, 1, -1, 1) + rows) % _PERIOD == 0
    across = (torch.arange(width).view(1, 1, 1, -1) + columns) % _PERIOD == 0
    others = torch.randint(1, len(_NEIGHBOURS) + 1, (batch, 1, height, width), generator=generator)
    chosen: Tensor = torch.where(down & across, others, 0).to(images.dtype)
    return chosen.expand(images.shape)


def _split(network: Network, data: Sample, level: Tensor | None) -> tuple[Tensor, Tensor]:
    """The squared error at hidden pixels, which are found from all others.

    In their place stands a neighbour, drawn at random (Krull, Buchholz, Jug 2019), so that a hidden pixel looks like
    any other: what is learnt there is what is done everywhere. The mean of the neighbours would be trusted, as no
    noisy pixel may be, and of a trained network 1.7 dB of gain were left where others had 11. deepinv's SplittingLoss
    leaves zeros; a nonexpansive network moves an image by no more than noise does, and cannot fill holes.
    """
    hidden = (data.draws > 0).to(data.noisy.dtype)
    found: Tensor = network(_with_neighbours(data.noisy, data.draws), level)
    error = hidden * (found - data.noisy)
    return error.square().sum((1, 2, 3)) / hidden.sum((1, 2, 3)), found.detach()


def _with_neighbours(images: Tensor, chosen: Tensor) -> Tensor:
    """Images with neighbours in the place of hidden pixels; the border is continued by its mirror image."""
    height, width = images.shape[-2:]
    padded = functional.pad(images, (1, 1, 1, 1), mode="reflect")
    found = images
    for number, (row, column) in enumerate(_NEIGHBOURS, 1):
        found = torch.where(chosen == number, padded[..., row : row + height, column : column + width], found)
    return found
