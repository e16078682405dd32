"""Sparse coding networks with disturbed weights, solved accurately, and images for them."""

import torch
from torch import Tensor

from recon.priors.networks import ConvolutionalSparseCoding, ConvolutionalSparseCodingConfig, InnerSolver, make

FINE = InnerSolver(accuracy=1e-11, adjoint_accuracy=1e-11, max_steps=3000)


def network_of(
    config: ConvolutionalSparseCodingConfig, seed: int = 0, disturbed: float = 0.2, solver: InnerSolver = FINE
) -> ConvolutionalSparseCoding:
    torch.manual_seed(seed)
    network = make(config)
    assert isinstance(network, ConvolutionalSparseCoding)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(disturbed * torch.randn_like(parameter))
    network.solver = solver
    return network.frozen()


def image(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
