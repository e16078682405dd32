"""Weights of priors matched to the noise.

Each rule is the power law through the weights of the highest mean PSNR, found on a grid of ratios of sqrt(2) for white
noise of 0.001 to 0.08 on central crops of 192 x 192 of every other image of a validation list of 32 photographs
(grey, [0, 1]), never on a test image. Deblurring: three camera-shake kernels, a Gaussian of 1.6 pixels and a box of 9,
circular. For total variation on that grid the rule for deblurring loses 0.1 dB in the mean and at most 0.5 dB on one
kernel; camera shake wants twice the weight that a box wants. For wavelets: two whole images, ratios of 1.4 to 2, noise
of 0.0025 to 0.05.

``tests/benchmarks/calibration.py`` prints such grids of :func:`power_below` and :func:`free_stepsize`.
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


CALIBRATED = 0.001, 0.1
"""The noise levels, on the [0, 1] scale, for which :func:`potential_weight` was looked at, and a bit beyond."""


def potential_weight(noise: float, level: float) -> float:
    """What a learned potential is multiplied by where the operator mixes pixels.

    Its strength grows with about level^1.5, as that of :func:`tv_weight` for single pixels does. For the packaged grey
    potential at the levels 5, 10 and 20 on 255, a camera shake and a Gaussian of 1.6 pixels, noise of 0.0025, 0.01 and
    0.03, on four crops of 128 x 128 of the validation list, the best of the factors 0.12, 0.2, 0.35 and 0.6 is 0.2 to
    0.6, and 0.35 loses at most 0.15 dB at the lowest level. Which level it is matters little: up to 0.15 dB.

    Args:
        noise: The standard deviation, on the [0, 1] scale.
        level: The noise level at which the potential is taken.
    """
    return 0.4 * math.pow(noise, 1.6) / math.pow(level, 1.5)


def power_below(ratio: float) -> float:
    """What a learned potential at the lower end of its range is multiplied by for less noise in the pixels themselves.

    The strength of a potential grows with level^1.5, as :func:`potential_weight` says. Of the exponents 1.25, 1.5, 1.75
    and 2, on four crops of 128 x 128 of the validation list at 0.1, 0.25, 0.5 and 0.8 of the lower end, it is within
    0.05 dB of the best for the packaged potentials, grey and colour.

    Args:
        ratio: Of the noise level to the lower end.
    """
    return math.pow(ratio, 1.5)


STEP_CALIBRATED = 0.002, 0.05
"""The noise levels for which :func:`free_stepsize` was looked at, and a bit beyond."""


def free_stepsize(level: float, noise: float, unit_noise: float) -> float:
    """The step size of Douglas-Rachford for a single resolvent at a level, where the operator mixes pixels.

    What a step leaves in a pixel, ``s ||A_column|| noise``, would be half the level by the rule for forward-backward
    (Pesquet, Repetti, Terris, Wiaux 2021). With a free step the best is less for weaker noise: for a penalised DnCNN at
    0.039, six crops of 72 x 72 of the validation list, a camera shake, a box of 5 and Gaussians of 1.5 and 3 pixels,
    and noise of 0.0025, 0.005, 0.01, 0.02 and 0.04, the best ratios of the level to what
    a step leaves are 0.25 to 0.4, 0.4 to 0.6, 0.6 to 0.8, 1.1 to 1.5 and 1.5 to 2: the rule loses less than 0.05 dB. It
    takes 20 steps. For the Gaussian of 1.5 pixels levels of 0.01, 0.02 and 0.08 are up to 0.6, 0.3 and 0.1 dB worse.

    Args:
        level: The noise level at which the resolvent is taken.
        noise: The standard deviation, on the [0, 1] scale.
        unit_noise: The noise that a step of 1 along the gradient of the data leaves in a pixel.
    """
    return level / (12 * math.pow(noise, 0.6) * unit_noise)


def projected_potential_weight(noise: float, column_norm: float, level: float) -> float:
    """The same for a measurement by projections; see :func:`projected_weight`.

    For the packaged potential of CT slices, 60 parallel views of 160 x 160 pixels of two slices of the validation
    patients, and noise of 0.05, 0.2, 0.8 and 3 % of the longest line integral, the best of the factors 0.35, 0.7, 1.4
    and 2.8 is 0.7, 0.7, 1.4 and 1.4, and 1.3 to 1.6, 1.6, 0.6 to 1 and 0.3 dB above total variation.

    Args:
        noise: The standard deviation of the scaled line integrals.
        column_norm: q, the norm of the columns of A.
        level: As of :func:`potential_weight`.
    """
    return 1.1 * column_norm**2 * math.pow(noise / column_norm / level, 1.5)


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
