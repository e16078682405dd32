"""Weights of priors matched to the noise.

A weight of total variation or of wavelets has the units of the grey values, so its rule is ``S f(noise / S)`` with a
scale S of the image that has these units as well: the result in the units of the input is then the same whatever range
is mapped to [0, 1]. S is the contrast of the image (:func:`recon.methods.contrast.contrast`) less that of its noise,
over that of a photograph on [0, 1], :data:`PHOTOGRAPH`.

Each f is the power law through the weights of the highest mean PSNR, found on a grid of ratios of sqrt(2) for white
noise of 0.001 to 0.08 on central crops of 192 x 192 of every other image of a validation list of 32 photographs
(grey, [0, 1]), never on a test image. Deblurring: three camera-shake kernels, a Gaussian of 1.6 pixels and a box of 9,
circular. For total variation on that grid the rule for deblurring loses 0.1 dB in the mean and at most 0.5 dB on one
kernel; camera shake wants twice the weight that a box wants. For wavelets: two whole images, ratios of 1.4 to 2, noise
of 0.0025 to 0.05.

``tests/benchmarks/calibration.py`` prints such grids: *contrast* of S, and others of :func:`power_below` and
:func:`free_stepsize`.
"""

import math
from typing import Protocol

PHOTOGRAPH = 0.031
"""The contrast of a photograph on [0, 1]: the geometric mean of central crops of 128 x 128 of ten of the validation
list's images, without noise.

How far the rules with S are below the best weight for each image, in dB in the mean, and in brackets the same with
S = 1; on those crops, and on six training slices of CT, averaged to 256 x 256, on the range of -1024 to 3071 HU:

* total variation: denoising photographs at 0.02 to 0.157 0.21 (0.39), after camera shake 0.29 (0.31); denoising CT
  slices at 5 to 100 HU 0.12 (1.60);
* joint total variation of colours, with :data:`JOINT`: denoising 0.21 (0.56), after camera shake 0.30 (0.93);
* wavelets: denoising photographs 0.21 (0.21), after camera shake 0.39 (0.31); denoising CT slices 0.09 (1.33).

With the contrast as it is measured, noise and all, these are 0.21, 0.29 and 0.18 for total variation, and 1.29, 0.77
and 0.50 for the joint one and for wavelets. Of blocks of 4, 8 and 16 pixels, of the mean, root mean, median and third
quartile of the differences between them, of the standard deviation and of the widths between percentiles, the median of
blocks of 4 is the best of each, or within 0.04 dB of it.
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


PROJECTED = 0.92
"""What a weight for projections is of the weight for the same noise in the pixels themselves.

It was found with S = 1 and the range of -1000 to 3071 HU: on three CT slices of the validation patients, 256 x 256, 45
and 180 parallel views, 1e4 to 1e6 photons a ray, the best of the factors 1/8, 1/4, .. 4 of the rule with 1.4 in place
of 0.92 was 1 or 2 but for the least noise, where all of them are within 0.1 dB. S of a filtered back-projection of such
slices is 0.6 to 0.95 with 45 views, 0.4 to 0.8 with 60 and 0.1 to 0.4 with 180; its root has the mean 0.92 / 1.4.
"""


IN_VOLUMES = 0.4
"""What that weight is multiplied by for a volume, whose differences have three directions.

On a volume between two CT slices, 20 x 42 x 42, 40 and 120 views of a cone, 1e4 and 1e5 photons a ray, the best of the
factors 1/16, 1/8, .. 2 was 1/2 each time; on the Shepp-Logan phantom, which is flat between edges, 1/4.
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
