"""Missing pixels, filled from what surrounds them: where an iteration begins."""

import torch
from torch import Tensor
from torch.nn import functional


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


def _halved(x: Tensor) -> Tensor:
    """Means of 2 x 2 pixels; at an odd end of those that are there."""
    return functional.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
