"""The cases that parametrise the tests of laws: add one line, meet every test."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from recon.priors import (
    Prior,
    Resolvent,
    box,
    box_prior,
    conjugate,
    identity,
    l1_prior,
    l2_ball,
    no_prior,
    scaled,
    soft_threshold,
    tikhonov,
    tikhonov_prior,
    total_variation,
    total_variation_prior,
    wavelet_prior,
    wavelet_shrinkage,
)

PRIOR_IMAGE = (2, 7, 10)
"""Channels, height and width of the images that every resolvent of PRIORS takes."""


@dataclass(frozen=True)
class ResolventCase:
    """A resolvent under a name; ``differentiable`` says that autograd passes through it."""

    name: str
    make: Callable[[], Resolvent]
    differentiable: bool = True


PRIORS = [
    ResolventCase("identity", identity),
    ResolventCase("box", lambda: box(-0.5, 0.5)),
    ResolventCase("half-line", lambda: box(0, float("inf"))),
    ResolventCase("tikhonov", lambda: tikhonov(0.3)),
    ResolventCase("tikhonov-zero", lambda: tikhonov(0)),
    ResolventCase("tikhonov-strong", lambda: tikhonov(5)),
    ResolventCase("soft-threshold", lambda: soft_threshold(0.4)),
    ResolventCase("l2-ball", lambda: l2_ball(torch.full((1, *PRIOR_IMAGE), 0.25), 3.0)),
    ResolventCase("wavelet-haar", lambda: wavelet_shrinkage(0.3, "haar", levels=2)),
    ResolventCase("wavelet-db4", lambda: wavelet_shrinkage(0.3)),
    ResolventCase("wavelet-cycle-spinning", lambda: wavelet_shrinkage(0.3, "db2", shifts=3)),
    ResolventCase("tv", lambda: total_variation(0.3, accuracy=1e-6), differentiable=False),
    ResolventCase("tv-anisotropic", lambda: total_variation(0.3, isotropic=False, accuracy=1e-6), differentiable=False),
    ResolventCase("tv-joint", lambda: total_variation(0.3, joint=True, accuracy=1e-6), differentiable=False),
    ResolventCase("conjugate-of-box", lambda: conjugate(box(-0.5, 0.5), 0.7)),
    ResolventCase("conjugate-of-wavelet", lambda: conjugate(wavelet_shrinkage(0.3), 2.0)),
    ResolventCase("scaled", lambda: scaled(soft_threshold(0.4), 0.5)),
]

ENERGIES: dict[str, Prior] = {
    "none": no_prior(),
    "box": box_prior(-0.5, 0.5),
    "tikhonov": tikhonov_prior(0.3),
    "l1": l1_prior(0.3),
    "wavelet": wavelet_prior(0.3),
    "tv": total_variation_prior(0.3, accuracy=1e-6),
    "tv-anisotropic": total_variation_prior(0.3, isotropic=False, accuracy=1e-6),
    "tv-joint": total_variation_prior(0.3, accuracy=1e-6, joint=True),
}
"""The priors that have a value, whose resolvents must minimise it."""
