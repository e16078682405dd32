"""The layers of a DnCNN as a chain."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.nn import functional

from recon.compression.chain import Convolution, Link
from recon.priors.networks import DnCNN, make


def links_of(network: DnCNN) -> list[Link]:
    """Its convolutions, each with the rectifier after it."""
    convolution, slope = Convolution((1, 1), network.config.padding == "circular"), network.config.slope
    last = len(network.kernels) - 1
    return [
        Link(f"kernels.{index}", kernel.detach(), bias.detach(), convolution)
        if index == last
        else Link(
            f"kernels.{index}", kernel.detach(), bias.detach(), convolution, lambda z: functional.leaky_relu(z, slope)
        )
        for index, (kernel, bias) in enumerate(zip(network.kernels, network.biases, strict=True))
    ]


def with_links(network: DnCNN, links: Sequence[Link]) -> DnCNN:
    """A DnCNN with the weights of a chain, whose number of features may be another one."""
    twin = make(replace(network.config, features=links[0].weight.shape[0]))
    assert isinstance(twin, DnCNN)  # noqa: S101  the architecture is one's
    with torch.no_grad():
        for link, kernel, bias in zip(links, twin.kernels, twin.biases, strict=True):
            kernel.copy_(link.weight)
            if link.bias is not None:
                bias.copy_(link.bias)
    return twin.eval()
