"""Intervals with a coverage that is proved in expectation: conformal risk control, images as exchangeable units."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from recon.errors import ConsistencyError, UsageError

_ROUNDING = 1e-12
"""Of a sum of shares."""


def images_needed(level: float) -> int:
    """The fewest calibration images for a level: with fewer, ``1/(n+1) > 1 - level``, and no factor can be chosen."""
    if not 0 < level < 1:
        raise UsageError(f"level is {level!r}; expected a number between 0 and 1, both excluded, as in 0.9.")
    return math.ceil(1 / (1 - level) - 1 - 1e-9)


def interval_factor(ratios: Sequence[Tensor], level: float) -> float:
    """The least factor of the width at which intervals are known to cover a share of the pixels.

    Theorem (Angelopoulos, Bates, Fisch, Lei, Schuster 2024, "Conformal risk control"). Let images i = 1..n+1 be
    exchangeable, and let the interval of pixel p be ``c_p +- f w_p``, with centre c and half-width w > 0 computed from
    the measurement of that image alone, by a rule fixed beforehand. The loss ``L_i(f)``, the share of the pixels of
    image i outside of their intervals, lies in [0, 1], falls as f grows and is continuous from the right. Let f be
    the least number with ``n/(n+1) mean_i L_i(f) + 1/(n+1) <= a`` over the images 1..n. Then ``E L_{n+1}(f) <= a``.

    Proof. Let g be the least factor with ``(1/(n+1)) sum of all n+1 losses <= a``. As ``L_{n+1} <= 1``, f satisfies
    this too, so ``g <= f`` and ``L_{n+1}(f) <= L_{n+1}(g)``. The factor g is a symmetric function of all n+1 images, so
    given the set of them each is as likely to be the last: ``E L_{n+1}(g)`` is the mean of all the losses at g, at most
    a.

    Nothing is said of a single image, or of a single pixel or edge: the share is an expectation over images of the
    user's own kind, those of the calibration included.

    Args:
        ratios: For each calibration image, ``|truth - c| / w`` of each of its pixels (or regions).
        level: 1 - a.

    Raises:
        ConsistencyError: There are fewer than 1/a - 1 images: ``1/(n+1)`` alone would exceed a.
        UsageError: The level is not between 0 and 1, or an image has no pixels.
    """
    needed, n = images_needed(level), len(ratios)
    if n < needed:
        raise ConsistencyError(
            f"{n} calibration image(s) at level {level:g}; expected at least {needed}, because with fewer no width "
            "is known to be enough."
        )
    if not all(image.numel() for image in ratios):
        raise UsageError("interval_factor: an image has no pixels; expected at least one.")
    allowed = ((1 - level) * (n + 1) - 1) / n  # of the mean loss
    values = torch.cat([image.flatten().double() for image in ratios])
    shares = torch.cat([torch.full((image.numel(),), 1 / (n * image.numel()), dtype=values.dtype) for image in ratios])
    values, order = values.sort(descending=True)
    loss = shares[order].cumsum(0)  # that of a factor just below each ratio
    too_small = (loss > allowed + _ROUNDING).nonzero()
    return float(values[too_small[0]]) if len(too_small) else 0.0
