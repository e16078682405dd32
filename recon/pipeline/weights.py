"""Weights of priors matched to the noise.

Each rule is the power law through the weights of the highest mean PSNR, found on a grid of ratios of sqrt(2) for white
noise of 0.001 to 0.08 on central crops of 192 x 192 of every other image of a validation list of 32 photographs
(grey, [0, 1]), never on a test image. Deblurring: three camera-shake kernels, a Gaussian of 1.6 pixels and a box of 9,
circular. For total variation on that grid the rule for deblurring loses 0.1 dB in the mean and at most 0.5 dB on one
kernel; camera shake wants twice the weight that a box wants. For wavelets: two whole images, ratios of 1.4 to 2, noise
of 0.0025 to 0.05.
"""

import math
from collections.abc import Callable


def tv_weight(noise: float, blurs: bool = True) -> float:
    """The weight of total variation for a noise level on the [0, 1] scale.

    Args:
        noise: The standard deviation.
        blurs: Whether the operator mixes pixels; else it samples them (identity, inpainting, k-space).
    """
    return 1.1 * math.pow(noise, 1.6) if blurs else 2.5 * math.pow(noise, 1.5)


def wavelet_weight(noise: float, blurs: bool = True) -> float:
    """The weight of wavelet shrinkage for a noise level on the [0, 1] scale; arguments as in :func:`tv_weight`."""
    return 7.0 * math.pow(noise, 1.85) if blurs else 4.5 * math.pow(noise, 1.6)


BLURRED = 0.2
"""What a learned potential is multiplied by where the operator mixes pixels, at the level of the noise.

For the packaged grey potential, one camera shake and noise of 0.01 on three crops of 192 x 192 of the validation list,
the best of 0.14, 0.2, 0.28 and 0.4, by 0.2 dB; no other noise level or kernel was looked at.
"""


PROJECTED = 1.4
"""What a weight for projections is of the weight for the same noise in the pixels themselves.

On three CT slices of the validation patients, 256 x 256, 45 and 180 parallel views, 1e4 to 1e6 photons a ray, the best
of the factors 1/8, 1/4, .. 4 was 1 or 2 but for the least noise, where all of them are within 0.1 dB.
"""


IN_VOLUMES = 0.4
"""What that weight is multiplied by for a volume, whose differences have three directions.

On a volume between two CT slices, 20 x 42 x 42, 40 and 120 views of a cone, 1e4 and 1e5 photons a ray, the best of the
factors 1/16, 1/8, .. 2 was 1/2 each time; on the Shepp-Logan phantom, which is flat between edges, 1/4.
"""


def projected_weight(noise: float, column_norm: float, matched: Callable[[float, bool], float]) -> float:
    """The weight for a measurement by projections, from the rule for single pixels.

    With every column of A of norm q, ``||A x - y||^2`` is about ``q^2 ||x - z||^2`` with noise of ``noise / q`` in z,
    so the rule w is used as ``q^2 w(noise / q)``.

    Args:
        noise: The standard deviation of the scaled line integrals.
        column_norm: q.
        matched: The rule for single pixels, as :func:`tv_weight`.
    """
    return PROJECTED * column_norm**2 * matched(noise / column_norm, False)
