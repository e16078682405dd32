"""Weights of priors matched to the noise."""


def tv_weight(noise: float) -> float:
    """The weight of total variation for a noise level on the [0, 1] scale."""
    return 0.1 * noise


def wavelet_weight(noise: float) -> float:
    """The weight of wavelet shrinkage for a noise level on the [0, 1] scale."""
    return 0.1 * noise
