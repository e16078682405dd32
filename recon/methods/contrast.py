"""The contrast and the spread of an image: scales of its grey values, to which weights and step sizes are matched.

In other units they change by the factor of the units, and a shift leaves them as they are.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

BLOCK = 4
"""Pixels along a side of a block; :data:`recon.methods.regularisation_weights.PHOTOGRAPH` says how it was chosen."""


@torch.no_grad()
def contrast(image: Tensor, seen: Tensor | None = None) -> float:
    """The median difference of neighbouring blocks of 4 x 4 pixels, each the mean of its own.

    Noise that is independent from pixel to pixel adds about a quarter of its standard deviation, in quadrature.

    Args:
        image: (..., height, width), real or complex, of which a difference counts by its modulus.
        seen: Which pixels were measured, (height, width); ``None``: all.

    Returns:
        The contrast: zero for an image without two blocks, or where most of them are alike.
    """
    planes = image.reshape(-1, 1, *image.shape[-2:])
    side = min(BLOCK, *(max(1, length // 2) for length in image.shape[-2:]))
    if seen is None:
        return _median_step(_means(planes, side), None)
    shares = _means(seen.to(planes.device).double()[None, None], side)
    kept = torch.where(seen.to(planes.device), planes, 0)  # what is not measured may be NaN
    return _median_step(_means(kept, side) / shares, shares.expand(len(planes), -1, -1, -1) > 0)


def _means(planes: Tensor, side: int) -> Tensor:
    if planes.is_complex():
        return torch.complex(_means(planes.real, side), _means(planes.imag, side))
    return avg_pool2d(planes.double(), side)


def _median_step(means: Tensor, known: Tensor | None) -> float:
    steps = []
    for axis in (-2, -1):
        last = means.shape[axis] - 1
        step = (means.narrow(axis, 1, last) - means.narrow(axis, 0, last)).abs()
        if known is not None:
            step = step[known.narrow(axis, 1, last) & known.narrow(axis, 0, last)]
        steps.append(step.flatten())
    together = torch.cat(steps)
    return float(together.median()) if together.numel() else 0.0


@torch.no_grad()
def spread(image: Tensor, seen: Tensor | None = None) -> float:
    """The standard deviation of the grey values; arguments as in :func:`contrast`."""
    values = image if seen is None else image[..., seen.to(image.device)]
    exact = values.to(torch.complex128 if values.is_complex() else torch.float64)
    return float((exact - exact.mean()).abs().square().mean().sqrt()) if exact.numel() else 0.0
