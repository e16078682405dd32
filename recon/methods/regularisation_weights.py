"""Weights of priors matched to the noise.

A weight of total variation or of wavelets has the units of the grey values, so its rule is ``S f(noise / S)`` with a
scale S of the image that has these units as well: the result in the units of the input is then the same whatever range
is mapped to [0, 1]. S is the contrast of the image (:func:`recon.methods.contrast.contrast`) less that of its noise,
over that of a photograph on [0, 1], :data:`PHOTOGRAPH`.

Each f is the power law through the weights of the highest mean PSNR on validation images; docs/calibration.md has the
images, the grids and what the rules lose, and ``tests/benchmarks/calibration.py`` prints such grids.
"""

import math
from typing import Protocol

PHOTOGRAPH = 0.031
"""The contrast of a photograph on [0, 1]: the geometric mean of central crops of 128 x 128 of ten of the validation
list's images, without noise.
"""

NOISE_ALONE = 0.238
"""The contrast of white noise without an image, in its standard deviations: 0.674 sqrt(2) / 4.

It is taken off in quadrature, down to :data:`LEAST` of it.
"""

LEAST = 0.7
"""Of the contrast of noise alone, that an image is taken to have: what cannot be told from noise.

A weight is then at most 1.08 times the noise for total variation in the pixels themselves, also where the noise that
was stated is not there.
"""

JOINT = 1.4
"""By how much joint total variation of three colours wants more than that of each colour by itself."""


class Matched(Protocol):
    """A rule: from noise, whether the operator blurs, and S to a weight."""

    def __call__(self, noise: float, blurs: bool = True, scale: float = 1.0) -> float: ...


def scale_of(contrast: float, noise: float) -> float:
    """S of an image.

    Args:
        contrast: Its contrast, that of its noise included.
        noise: The standard deviation of its noise, on the same scale.
    """
    alone = NOISE_ALONE * noise
    return max(math.sqrt(max(contrast**2 - alone**2, 0.0)), LEAST * alone) / PHOTOGRAPH


def tv_weight(noise: float, blurs: bool = True, scale: float = 1.0) -> float:
    """The weight of total variation for a noise level.

    Args:
        noise: The standard deviation.
        blurs: Whether the operator mixes pixels; else it samples them (identity, inpainting, k-space).
        scale: S; 1: that of a photograph on [0, 1].
    """
    return _power(1.1, 1.6, noise, scale) if blurs else _power(2.5, 1.5, noise, scale)


def joint_tv_weight(noise: float, blurs: bool = True, scale: float = 1.0) -> float:
    """The weight of joint total variation of three colours; arguments as in :func:`tv_weight`."""
    return JOINT * tv_weight(noise, blurs, scale)


def wavelet_weight(noise: float, blurs: bool = True, scale: float = 1.0) -> float:
    """The weight of wavelet shrinkage for a noise level; arguments as in :func:`tv_weight`."""
    return _power(7.0, 1.85, noise, scale) if blurs else _power(4.5, 1.6, noise, scale)


def _power(factor: float, exponent: float, noise: float, scale: float) -> float:
    """``S f(noise / S)`` with ``f(t) = factor t^exponent``."""
    return factor * scale * math.pow(noise / scale, exponent) if scale else 0.0


CALIBRATED = 0.001, 0.1
"""The noise levels, on the [0, 1] scale, for which :func:`potential_weight` was looked at, and a bit beyond."""


def potential_weight(noise: float, level: float) -> float:
    """Return the factor of a learned potential where the operator mixes pixels.

    Its strength grows with about level^1.5, as that of :func:`tv_weight` for single pixels does. The factor is
    calibrated (docs/calibration.md); it loses at most 0.15 dB, and which level it is matters as little.

    Args:
        noise: The standard deviation, on the [0, 1] scale.
        level: The noise level at which the potential is taken.
    """
    return 0.4 * math.pow(noise, 1.6) / math.pow(level, 1.5)


CODED = 0.35
"""What the weight of the coefficients of a dictionary is of that for denoising, where the operator mixes pixels.

Of :func:`code_weight`; docs/calibration.md has the grid.
"""


def code_weight(noise: float, level: float, blurs: bool = True) -> float:
    """Return the weight of the penalty of the coefficients of a dictionary that is taken at a noise level.

    Denoising at that level wants a weight of 1; for the noise s the density of the noise gives (s / level)^2.

    Args:
        noise: The standard deviation, on the [0, 1] scale; of projections that of the scaled line integrals.
        level: The noise level of the thresholds.
        blurs: Whether the operator mixes pixels; else it samples them.
    """
    return (CODED if blurs else 1.0) * (noise / level) ** 2


GUIDED_CALIBRATED = 0.0025, 0.04
"""The noise levels for which :func:`guided_factor` was looked at."""


def guided_factor(noise: float) -> float:
    """Return by how much a guided potential wants more weight than the unguided one, where the operator mixes pixels.

    The mask spares edges and texture, so the rest may be smoothed more. It was fitted on crops of validation images
    (docs/calibration.md): the factor matters by 0.1 dB from half of it to one and a half times.

    Args:
        noise: The standard deviation, on the [0, 1] scale.
    """
    low, high = GUIDED_CALIBRATED
    return min(1.1 * math.pow(high / min(max(noise, low), high), 0.3), 2.4)


def power_below(ratio: float) -> float:
    """Return the factor of a learned potential at the lower end of its range for less noise in the pixels.

    The strength of a potential grows with level^1.5, as :func:`potential_weight` says; within 0.05 dB of the best
    exponent (docs/calibration.md).

    Args:
        ratio: Of the noise level to the lower end.
    """
    return math.pow(ratio, 1.5)


STEP_CALIBRATED = 0.002, 0.05
"""The noise levels for which :func:`free_stepsize` was looked at, and a bit beyond."""


def free_stepsize(level: float, noise: float, unit_noise: float) -> float:
    """The step size of Douglas-Rachford for a single resolvent at a level, where the operator mixes pixels.

    What a step leaves in a pixel, ``s ||A_column|| noise``, would be half the level by the rule for forward-backward
    (Pesquet, Repetti, Terris, Wiaux 2021). With a free step the best is less for weaker noise: the rule is within
    0.05 dB of it, and takes 20 steps (docs/calibration.md).

    Args:
        level: The noise level at which the resolvent is taken.
        noise: The standard deviation, on the [0, 1] scale.
        unit_noise: The noise that a step of 1 along the gradient of the data leaves in a pixel.
    """
    return level / (12 * math.pow(noise, 0.6) * unit_noise)


def projected_potential_weight(noise: float, column_norm: float, level: float) -> float:
    """Return the same factor for a measurement by projections; see :func:`projected_weight`.

    The factor is calibrated on 60 parallel views of CT slices (docs/calibration.md).

    Args:
        noise: The standard deviation of the scaled line integrals.
        column_norm: q, the norm of the columns of A.
        level: As of :func:`potential_weight`.
    """
    return 1.1 * column_norm**2 * math.pow(noise / column_norm / level, 1.5)


PROJECTED = 0.92
"""What a weight for projections is of the weight for the same noise in the pixels themselves.

Found with S = 1, and divided by the mean root of S of a filtered back-projection (docs/calibration.md).
"""


IN_VOLUMES = 0.4
"""What that weight is multiplied by for a volume, whose differences have three directions.

Between the best of a volume of the body, 1/2, and of a phantom that is flat between edges, 1/4 (docs/calibration.md).
"""


IN_STACKS = 0.75
"""The same for stacks whose slices are measured one by one, pixel by pixel.

Of 24 slices of a chest, 1.28 pixels apart, with noise of 0.01 and 0.03 of the range the factors 0.7 and 0.85 are within
0.3 dB of each other, 0.3 and 0.6 dB better than slices one by one.
"""


def projected_weight(noise: float, column_norm: float, matched: Matched, scale: float = 1.0) -> float:
    """The weight for a measurement by projections, from the rule for single pixels.

    With every column of A of norm q, ``||A x - y||^2`` is about ``q^2 ||x - z||^2`` with noise of ``noise / q`` in z,
    so the rule w is used as ``q^2 w(noise / q)``.

    Args:
        noise: The standard deviation of the scaled line integrals.
        column_norm: q.
        matched: The rule for single pixels, as :func:`tv_weight`.
        scale: S of the image.
    """
    return PROJECTED * column_norm**2 * matched(noise / column_norm, False, scale)
