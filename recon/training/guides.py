"""The guides of a network whose mask follows one, and what of it is trained."""

from dataclasses import replace
from typing import Any

import torch

from recon.priors.networks import ConvexRidge, GuidedRidge, Network
from recon.training.config import Recipe
from recon.training.sample import Sample


def with_guides(network: GuidedRidge, data: Sample, recipe: Recipe, generator: torch.Generator, begin: int) -> Sample:
    """The patches with their guides: each denoised by the unguided potential, some from another draw of noise.

    Args:
        network: In training.
        data: This process's part of the batch.
        recipe: The batch, the noise levels, and how guides are drawn.
        generator: What decides; numbers are drawn for the whole batch, so that a guide does not depend on the process.
        begin: The place of the first patch in the batch.
    """
    config, (low, high) = recipe.guide, recipe.training.noise
    shape = (recipe.training.batch, *data.target.shape[1:])
    mine = slice(begin, begin + len(data.noisy))
    chosen, where = torch.rand((2, shape[0]), generator=generator)[:, mine].to(data.level)
    noise = torch.randn(shape, generator=generator)[mine].to(data.noisy)
    shift = torch.rand(shape, generator=generator)[mine].to(data.noisy)
    is_other = (chosen < config.other).view(-1, 1, 1, 1)
    level = low * (high / low) ** where
    seen = torch.where(is_other, data.target + level.view(-1, 1, 1, 1) * noise, data.noisy)
    told = torch.where(is_other.flatten(), level, data.level) if network.conditioned else None
    guide = network.first(seen, told) + config.perturbation * (2 * shift - 1)
    return replace(data, guide=guide)


def guided_groups(network: Network, recipe: Recipe) -> list[dict[str, Any]]:
    """The parameters for the optimiser, each group with its share of the learning rate; fixed ones take no gradient."""
    if not isinstance(network, GuidedRidge):
        return [{"params": list(network.parameters()), "share": 1.0}]
    rate = recipe.guide.potential_rate
    mask = list(network.mask.parameters())
    others = [parameter for name, parameter in network.named_parameters() if not name.startswith("mask.")]
    if not rate:
        for parameter in others:
            parameter.requires_grad_(False)
        return [{"params": mask, "share": 1.0}]
    return [{"params": mask, "share": 1.0}, {"params": others, "share": rate}]


def inherits(network: Network, start: Network) -> bool:
    """Return whether a guided network takes over the potential of an unguided one."""
    return isinstance(network, GuidedRidge) and type(start) is ConvexRidge
