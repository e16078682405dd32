"""Check of a periodic blur against the border of the measurement, before anything is solved."""

import torch
from torch import Tensor

from recon.operators import CircularBlur
from recon.types import LinearOperator

_NOTHING = 0.03
"""Of the largest gain of a blur: frequencies below it pass as good as not at all."""

_LEAST = 16
"""Of such frequencies along the axes, for a mean that says something."""

_MOST = 4.0
"""Noise levels there: measurements of periodic images stay below, and cropped photographs are above unless their border
is alike all around: ``tests/reconstruction/test_border_check.py``."""


@torch.no_grad()
def border_warning(operator: LinearOperator, measurement: Tensor, noise: float | None) -> str | None:
    """Warn if a measurement has what no periodic image can have, blurred by this operator.

    A jump between opposite edges has frequencies along the axes, and the blur lets nothing of some of them through:
    what a measurement has there is noise, or the image does not continue at the opposite edge.

    Args:
        operator: A.
        measurement: (frames, channels, height, width).
        noise: The standard deviation of its noise; ``None``: not known.
    """
    if not isinstance(operator, CircularBlur) or not noise or measurement.is_complex():
        return None
    gain = operator.symbol.abs()
    lost = gain < _NOTHING * gain.max()
    lost[1:, 1:] = False  # off the axes
    if int(lost.sum()) < _LEAST:
        return None
    spectrum = torch.fft.rfft2(measurement.cpu().double(), norm="ortho")
    times = float(spectrum[..., lost].abs().square().mean().sqrt()) / noise
    if not times > _MOST:
        return None
    return (
        f"where the blur lets nothing through, the measurement has {times:.2g} times the noise level: the image does "
        "not go on at the opposite edge, as boundary=circular takes it (a photograph needs boundary=valid), or the "
        "noise level is too low"
    )
