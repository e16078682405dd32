"""A packaged or trained denoiser as a module of torch: batches, any size, NumPy or torch."""

from pathlib import Path

import torch
from torch import nn

from recon.errors import UsageError
from recon.front.arrays import Pixels, as_tensor, like
from recon.priors import ResolventProperties
from recon.specs.configured_prior import PriorContext
from recon.specs.grammar import Spec
from recon.specs.priors import read_prior


class Denoiser(nn.Module):
    """A firmly nonexpansive denoiser at one noise level; build it with :func:`denoiser`.

    Attributes:
        properties: What is known of it, with evidence.
    """

    def __init__(self, spec: Spec, noise: float) -> None:
        super().__init__()
        context = PriorContext(noise, channels=None, blurs=False)
        self._resolvent = read_prior(spec, context).prior.resolvent(1.0)
        self.properties: ResolventProperties = self._resolvent.properties
        self.noise = noise

    @torch.no_grad()
    def forward(self, x: Pixels) -> Pixels:
        """Denoise an image on [0, 1].

        Args:
            x: A tensor (batch, channels, height, width), or an array (height, width) or (height, width, channels).

        Returns:
            The same kind and shape.
        """
        return like(x, self._resolvent(as_tensor(x, "denoiser")))


def denoiser(name: str, noise: float) -> Denoiser:
    """A packaged denoiser, or one of a folder of ``recon train``.

    Args:
        name: As ``recon models`` lists it, or the name of a folder.
        noise: The standard deviation of the noise, of images on [0, 1].

    Raises:
        UsageError: There is none of that name, or the noise is no positive number.
    """
    if not noise > 0:
        raise UsageError(f"denoiser: noise={noise!r}; expected a positive number, of images on [0, 1].")
    return Denoiser(Spec("folder" if Path(name).is_dir() else "model", value=name), noise)
