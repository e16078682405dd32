"""High-pass filter: a symmetric C with 0 <= C <= 1 that is blind to the mean.

``C^2 = Id - S`` with S a Gaussian blur of the image continued by its mirror images, so that both are diagonal in the
orthonormal basis of cosines of any image size. A network that sees only C x, and whose answer is filtered by C, has

    Q = S + C R C,    ||Q'|| <= max(1, ||R'||),

because ``(S^(1/2), C)`` is an isometry: what is coarse passes Q as it is, whatever is done to R. With P the projection
onto a box, ``Q = S + C R P C`` has ``Lip(Q) <= max(1, sup ||R'||)`` over that box alone.

From a scale of about 0.6 pixels on S is an average, and so is ``Id - C = sum_k a_k S^k`` with ``a_k > 0`` of sum 1, the
series of ``1 - (1 - t)^(1/2)``: the details of an image are no larger than its range.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.fft import fftfreq, irfft2, rfft2, rfftfreq

from recon._batches import on_any_batch


def details(x: Tensor, scale: float) -> Tensor:
    """C x.

    Args:
        x: Images ``(batch, channels, height, width)``.
        scale: The standard deviation of S's kernel, in pixels.
    """
    return on_any_batch(lambda images: _filtered(images, scale), x, 3)


def _filtered(x: Tensor, scale: float) -> Tensor:
    height, width = x.shape[-2:]
    image = x.to(torch.promote_types(x.dtype, torch.float32))  # there is no transform in half precision
    mirrored = torch.cat([image, image.flip(-1)], -1)
    mirrored = torch.cat([mirrored, mirrored.flip(-2)], -2)
    gain = _gain(height, width, scale, image.dtype, image.device)
    found: Tensor = irfft2(rfft2(mirrored) * gain, s=mirrored.shape[-2:])[..., :height, :width].to(x.dtype)
    return found


@lru_cache(maxsize=2)
@torch.inference_mode(False)  # what is kept may be wanted by a backward pass later
def _gain(height: int, width: int, scale: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``(1 - exp(-|omega|^2 scale^2 / 2))^(1/2)`` on the frequencies of a mirrored image."""
    down = fftfreq(2 * height, dtype=torch.float64, device=device)[:, None]
    right = rfftfreq(2 * width, dtype=torch.float64, device=device)
    squared = (2 * torch.pi) ** 2 * (down**2 + right**2)
    return torch.expm1(-squared * scale**2 / 2).neg().sqrt().to(dtype)
