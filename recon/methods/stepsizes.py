"""The noise that a step along the gradient of the data leaves in a pixel, to which a single resolvent is matched."""

import math

import torch

from recon.methods.entry import INSIDE, MethodEntry
from recon.types import LinearOperator

_PROBES = 4
"""Random images by which the mean column is measured: 1 % of its norm on 64 x 64 pixels, less on more."""


def longest_step(squared_norm: float, entry: MethodEntry) -> float:
    """The default step size of a method, just inside of its theorem's interval, as a single resolvent is matched to."""
    return (entry.longest_step or 2 * INSIDE) / squared_norm


def mean_column(operator: LinearOperator, example: torch.Tensor, seed: int = 0) -> float:
    """The root mean square norm of A's columns: for a blur the Frobenius norm of its kernel.

    ``E ||A v||^2 = ||A||_F^2`` for random signs v (Hutchinson 1990).

    Args:
        operator: A.
        example: An image, (1, 1, height, width).
        seed: Of the signs.
    """
    generator = torch.Generator().manual_seed(seed)
    signs = 2 * torch.randint(2, (_PROBES, *example.shape[1:]), generator=generator) - 1
    total = sum(float(operator.A(v[None].to(example)).abs().double().square().sum()) for v in signs)
    return math.sqrt(total / signs.numel())
