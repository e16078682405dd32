"""Networks whose layers are evaluated in bfloat16: faster where the hardware has it, and inexact.

What is proved is proved of the network in exact arithmetic: a rounded one is not even continuous. So the properties
stay those of the exact resolvent J, and the distance of what is computed from J is its error, as that of an inner
iteration is; it is measured, for nothing tells it in advance.
"""

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.evidence import Measured
from recon.priors.networks.architectures.convex_ridge import ConvexRidge
from recon.priors.networks.architectures.convolutional_sparse_coding import ConvolutionalSparseCoding
from recon.priors.networks.architectures.network import Network
from recon.types import Map

PRECISIONS: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}
"""By name the precision of the layers; ``None``: that of the image."""

_SIDE = 64


def layer_precision(network: Network, precision: str) -> torch.dtype | None:
    """The precision of that name, for a network that has layers for it.

    Raises:
        UsageError: It is unknown, or the network has none.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision is {precision!r}; expected {' or '.join(PRECISIONS)}.")
    dtype = PRECISIONS[precision]
    if dtype is not None and isinstance(network, ConvexRidge | ConvolutionalSparseCoding):
        why = (
            "only chains of convolutions of many channels have layers for it"
            if not network.iterates
            else "the gradient that proves how near its inner iteration is would be rounded too"
        )
        raise UsageError(
            f"precision is {precision!r} with a {network.config.family} network; expected float32, because {why}."
        )
    return dtype


@torch.no_grad()
def rounding_error(rounded: Map, exact: Map, images: Tensor) -> Measured:
    """The largest ||J~(x) - J(x)|| / ||x|| of a few images; others may have a larger one."""
    difference = (rounded(images) - exact(images)).flatten(1)
    size = torch.linalg.vector_norm(images.flatten(1), dim=1, dtype=torch.float64)
    error = torch.linalg.vector_norm(difference, dim=1, dtype=torch.float64)
    worst = float((error / size.clamp(min=torch.finfo(torch.float64).tiny)).max())
    count, rows, columns = len(images), *images.shape[-2:]
    how = f"layers in bfloat16 against single precision on {count} image(s) of {rows} x {columns}; a sample, no bound"
    return Measured(worst, how)


def examples(channels: int) -> Tensor:
    """Noise, a ramp and a step, on [0, 1]: where nothing is known of the images."""
    noise = torch.rand(channels, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0, 1, _SIDE).expand_as(noise)
    return torch.stack([noise, ramp, (ramp > 0.5).to(noise)])
