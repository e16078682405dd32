"""The inverse of the identity plus a convolution with the autocorrelation of filters, as a preconditioner."""

import torch
from torch import Tensor
from torch.nn import functional

from recon._batches import on_any_batch
from recon.types import Map


def gram_inverse(kernel: Tensor, weight: Tensor, like: Tensor, *, circular: bool) -> Map:
    """``(Id + w W^T W)^-1`` on images of that size: symmetric, positive definite, at most Id.

    W^T W is the convolution with the filters' autocorrelation; on the frequencies of the plane that is a matrix of
    channels by channels.

    Args:
        kernel: ``(filters, channels, k, k)``, of W.
        weight: w, ``(batch or 1, 1, 1, 1)``.
        like: Images.
        circular: Whether images are continued periodically; else by zeros.
    """
    reach = kernel.shape[-1] - 1
    more = 0 if circular else reach
    size = (like.shape[-2] + more, like.shape[-1] + more)
    first = kernel.transpose(0, 1)
    correlation = functional.conv2d(first, first, padding=reach)  # (channels, channels, 2 k - 1, 2 k - 1)
    symbol = torch.fft.rfft2(_wrapped(correlation, size)).permute(2, 3, 0, 1)
    gain = torch.linalg.inv(torch.eye(len(first)).to(symbol) + weight.unsqueeze(-1) * symbol)

    def apply(v: Tensor) -> Tensor:
        spectrum = on_any_batch(lambda v: torch.fft.rfft2(v, s=size), v, 2)
        image = torch.einsum("bhwij,bjhw->bihw", gain.expand(len(v), *gain.shape[1:]), spectrum)
        found = on_any_batch(lambda image: torch.fft.irfft2(image, s=size), image, 2)
        return found[..., : v.shape[-2], : v.shape[-1]]

    return apply


def _wrapped(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """A centred kernel on a torus of that size, its centre at the origin; what does not fit is added up."""
    for dim, length in zip((-2, -1), size, strict=True):
        reach = kernel.shape[dim] // 2
        index = (torch.arange(kernel.shape[dim], device=kernel.device) - reach) % length
        shape = [*kernel.shape]
        shape[dim] = length
        kernel = kernel.new_zeros(shape).index_add_(dim, index, kernel)
    return kernel
