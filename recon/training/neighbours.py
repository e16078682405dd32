"""The loss of splitting images: two images of half the size, of neighbouring pixels, one compared with the other."""

import torch
from torch import Tensor

from recon.priors.networks import Network
from recon.training.sample import Sample

CONSISTENCY = 2.0
"""The weight of the second term; Huang et al. have 2 for Gaussian noise."""

_PAIRS = ((0, 1), (1, 0), (0, 2), (2, 0), (1, 3), (3, 1), (2, 3), (3, 2))
"""Of neighbours among the four pixels of a cell, row by row, in either order."""


def pairs_of_neighbours(images: Tensor, generator: torch.Generator) -> Tensor:
    """Which pair each cell of 2 x 2 pixels is split into: (batch, 1, height // 2, width // 2), of 0 to 7."""
    batch, _, height, width = images.shape
    drawn = torch.randint(len(_PAIRS), (batch, 1, height // 2, width // 2), generator=generator)
    return drawn.to(images.dtype)


def halves(images: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """The two pixels of the pair of each cell, as two images of half the height and width."""
    batch, channels, height, width = images.shape
    rows, columns = height // 2, width // 2
    cells = images[..., : 2 * rows, : 2 * columns].reshape(batch, channels, rows, 2, columns, 2)
    cells = cells.transpose(3, 4).reshape(batch, channels, rows, columns, 4)
    places = torch.tensor(_PAIRS, device=images.device)[pairs.long()].expand(-1, channels, -1, -1, -1)
    first, second = cells.gather(4, places).unbind(4)
    return first, second


def difference_of_halves(network: Network, data: Sample, level: Tensor | None) -> tuple[Tensor, Tensor]:
    """The loss of each patch, (batch,), and J of the noisy patches.

    Neighbor2Neighbor (Huang, Li, Jia, Lu, Liu 2021): ``||J(y_1) - y_2||^2 + c ||J(y_1) - y_2 - (J(y)_1 - J(y)_2)||^2``
    for the halves y_1, y_2 of an image y, whose noise is independent. The second term takes out what neighbours differ
    by; no gradient flows through J(y). To hide every ninth pixel and learn to do without its own value, as Noise2Void
    does, was 0.6 dB worse in tests/benchmarks/measurement_only.py.
    """
    first, second = halves(data.noisy, data.draws)
    with torch.no_grad():
        whole: Tensor = network(data.noisy, level)
    differ = torch.sub(*halves(whole, data.draws))
    found: Tensor = network(first, level)
    error = found - second
    values = error.square().mean((1, 2, 3)) + CONSISTENCY * (error - differ).square().mean((1, 2, 3))
    return values, whole
