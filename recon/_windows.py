"""The names of the windows of filtered back-projection; here, because options are checked without torch."""

WINDOWS = ("ram-lak", "shepp-logan", "cosine", "hamming", "hann")
"""From the sharpest to the smoothest. Their formulas: :mod:`recon.operators.tomography.projectors.ramp_filter`."""
