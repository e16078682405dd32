"""What a network costs: bytes of its file, multiplications, seconds."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from recon.priors.networks import ConvexRidge, DnCNN, GuidedRidge, Network

SIDE, _ROUNDS = 128, 7


@torch.no_grad()
def operations(network: Network) -> int:
    """Multiplications a pixel by weights that are not 0.

    Of a potential those of one gradient, by the composed filters and their transpose, with those of one mask.
    """
    if isinstance(network, ConvexRidge):
        total = 2 * _nonzero([network.filters.derive()[0]])
        if isinstance(network, GuidedRidge) and network.mask.corrector is not None:
            total += _nonzero([p for p in network.mask.corrector.parameters() if p.ndim == 4])
        return total
    if isinstance(network, DnCNN):
        return _nonzero(list(network.kernels))
    return _nonzero(network.applied_kernels())


def _nonzero(kernels: Sequence[Tensor]) -> int:
    return sum(int((kernel != 0).sum()) for kernel in kernels)


@torch.no_grad()
def seconds(networks: Sequence[Network], level: float) -> list[float]:
    """The least of a few evaluations on one image of 128 x 128 with noise, which take turns.

    The least, because whatever else the machine does can only add to it.
    """
    generator = torch.Generator().manual_seed(0)
    taken: list[list[float]] = [[] for _ in networks]
    for _ in range(_ROUNDS):
        for network, times in zip(networks, taken, strict=True):
            x = 0.5 + level * torch.randn(1, network.config.channels, SIDE, SIDE, generator=generator)
            began = time.perf_counter()
            network(x, level if network.conditioned else None)
            times.append(time.perf_counter() - began)
    return [min(times) for times in taken]
