"""Guided networks as the rest of the package wants them: from a guide to a prior."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from recon._values import remembered
from recon.errors import UsageError
from recon.evidence import Proved
from recon.priors.guided import GuidedPrior
from recon.priors.networks.architectures.guided_ridge import GuidedRidge
from recon.priors.networks.architectures.ridge_potential import Ridge
from recon.priors.networks.learned_resolvent import (
    ACCURACY,
    Frozen,
    RidgeFamily,
    name_of,
    split_of,
)
from recon.priors.prior import MaskRange, Prior
from recon.priors.smooth import Smooth

GIVEN = "given the guide"


@remembered
def guided_prior(network: GuidedRidge, noise_level: float | None = None, *, accuracy: float = ACCURACY) -> GuidedPrior:
    """A guided network at a noise level: from a guide to the prior of the masked potential.

    The mask is made from the guide once, in single precision, and clamped to the bounds of the network.

    Args:
        network: As :func:`recon.priors.networks.load` reads it.
        noise_level: Standard deviation of the noise on [0, 1], where the network depends on it.
        accuracy: Of the inner iteration of a prox, relative to the norm of the input.

    Raises:
        UsageError: It is no guided network, or a noise level is missing or superfluous.
    """
    if not isinstance(network, GuidedRidge):
        raise UsageError(
            f"guided_prior: the network is {type(network).__name__}; expected a GuidedRidge, because no other has a "
            "guide."
        )
    network.check_input(torch.zeros(1, network.config.channels, 1, 1), noise_level)
    frozen = Frozen(network, noise_level, accuracy)
    name = name_of(network, noise_level)
    unguided = _unguided(frozen, f"{name}, unguided")
    return GuidedPrior(name, unguided, partial(_given, frozen, unguided, name), network.config.mask_bounds)


def _given(frozen: Frozen, unguided: Prior, name: str, guide: Tensor) -> Prior:
    if not bool(guide.isfinite().all()):
        raise UsageError(f"{name}: the guide holds NaN or infinity; expected finite numbers.")
    network = frozen.like(guide)
    assert isinstance(network, GuidedRidge)  # noqa: S101  guided_prior sees to it
    with torch.no_grad():
        mask = network.guided(guide, frozen.noise_level).mask
    assert mask is not None  # noqa: S101  guided() makes one
    if not bool(mask.isfinite().all()):
        raise UsageError(
            f"{name}: the weights that the guide gives are not finite; expected a guide on the scale of the images, "
            f"whose numbers are about 1, and not {float(guide.abs().max()):.3g}."
        )
    return _masked(replace(frozen, mask=mask), unguided, f"{name}, {GIVEN}", mask)


def _unguided(frozen: Frozen, name: str) -> Prior:
    """The potential of a network without a mask."""
    known = frozen.network.smoothness(frozen.noise_level)  # type: ignore[operator]
    return Prior(
        name, RidgeFamily(name, frozen), split=split_of(_derived(frozen), f"conjugate of {name}"), value=frozen.value,
        smooth=Smooth(frozen.gradient, known),
    )  # fmt: skip


def _masked(frozen: Frozen, unguided: Prior, name: str, mask: Tensor) -> Prior:
    """The potential with a mask; what is known of the filters is taken over from the one without."""
    network = frozen.network
    assert isinstance(network, GuidedRidge)  # noqa: S101  guided_prior sees to it
    assert unguided.smooth is not None  # noqa: S101  a potential has a gradient
    assert unguided.split is not None  # noqa: S101  and filters
    bounds = torch.tensor(network.config.mask_bounds, dtype=torch.float64)
    low, high = bounds.to(mask).tolist()  # as the clamp rounds them
    seen = MaskRange(1.0, 1.0, 1.0, (low, high))  # of no pixels
    if mask.numel():
        seen = MaskRange(float(mask.min()), float(mask.max()), float(mask.mean()), (low, high))
    known = unguided.smooth.lipschitz
    known = Proved(known.value * seen.high * (1 + 1e-6), f"times the largest weight of the mask: {known.how}")
    split = split_of(replace(_derived(frozen), mask=mask), f"conjugate of {name}")
    return Prior(
        name, RidgeFamily(name, frozen), split=replace(split, operator=unguided.split.operator), value=frozen.value,
        smooth=Smooth(frozen.gradient, known), mask=seen,
    )  # fmt: skip


def _derived(frozen: Frozen) -> Ridge:
    """The potential of a network in double precision, derived once."""
    network = frozen.like(torch.zeros(1, dtype=torch.float64))
    assert isinstance(network, GuidedRidge)  # noqa: S101  guided_prior sees to it
    return network.ridge(frozen.noise_level)
