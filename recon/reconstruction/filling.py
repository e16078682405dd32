"""Missing pixels and borders, filled from what surrounds them: where an iteration begins."""

import torch
from torch import Tensor
from torch.nn import functional

from recon.operators import ValidBlur
from recon.operators.psf import psf_centre


def filled(values: Tensor, known: Tensor) -> Tensor:
    """An image whose unknown pixels are interpolated from ever coarser means of the known ones (push and pull).

    Gortler, Grzeszczuk, Szeliski and Cohen 1996, *The lumigraph*, section 3.4, with means of 2 x 2 pixels and bilinear
    interpolation.

    Args:
        values: ``(batch, channels, height, width)``, real.
        known: ``(height, width)``, bool.

    Returns:
        The same where pixels are known; zero everywhere where none is.
    """
    if bool(known.all()):
        return values
    if not bool(known.any()):
        return torch.zeros_like(values)
    weights = known.to(values)[None, None]
    share = _halved(weights)
    means = _halved(torch.where(known, values, values.new_zeros(()))) / share.clamp(min=torch.finfo(values.dtype).tiny)
    coarse = filled(means, share[0, 0] > 0)
    around = functional.interpolate(coarse, values.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(known, values, around)


def continued(values: Tensor, blur: ValidBlur) -> Tensor:
    """A blurred image, continued by its outermost pixels to the image that the blur takes."""
    (height, width), (centre_row, centre_column) = blur.psf.shape, psf_centre(tuple(blur.psf.shape))
    left, top = width - 1 - centre_column, height - 1 - centre_row
    return functional.pad(values, (left, width - 1 - left, top, height - 1 - top), mode="replicate")


def _halved(x: Tensor) -> Tensor:
    """Means of 2 x 2 pixels; at an odd end of those that are there."""
    return functional.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
