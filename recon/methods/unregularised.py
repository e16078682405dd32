"""Parts that methods without a prior share: the early stop, and certificates that promise nothing."""

from recon.certificates import Certificate, stated

EARLY_RESIDUAL = 1e-3
"""The residual at which least squares without a prior stop by default, before their limit: there they fit the noise.
Found for conjugate gradients on few views (docs/calibration.md).
"""


def no_guarantee(theorem: str, conclusion: str, condition: str) -> Certificate:
    """A certificate whose one condition nobody can know beforehand."""
    return Certificate(theorem, conclusion, (stated(condition, None, "not known beforehand"),))
