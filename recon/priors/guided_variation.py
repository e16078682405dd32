"""Total variation whose weights follow a guide: weak where the guide has edges, strong where it is flat."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from recon._values import remembered
from recon.errors import UsageError
from recon.priors.closed_forms import box
from recon.priors.edge_mask import BOUNDS, SMOOTHING, edge_mask
from recon.priors.guided import GuidedPrior
from recon.priors.prior import MaskRange, Prior, total_variation_prior
from recon.priors.resolvent import Resolvent
from recon.priors.total_variation import (
    FLAT,
    Spacing,
    total_variation,
    total_variation_split,
    total_variation_value,
)

_MOST_SMOOTHING = 100
"""Pixels."""


@remembered
def guided_total_variation_prior(  # noqa: PLR0913, PLR0917  the options of total_variation
    weight: float,
    isotropic: bool = True,
    joint: bool = False,
    image_shape: tuple[int, ...] | None = None,
    bounds: tuple[float, float] | None = None,
    spacing: Spacing = FLAT,
    smoothing: float = SMOOTHING,
    accuracy: float = 1e-4,
    max_steps: int = 10_000,
) -> GuidedPrior:
    """``w sum_p m(p) |(D x)(p)|`` with the mask m of a guide; see :mod:`recon.priors.edge_mask`.

    Once the guide is given the penalty is convex and finite, its proximity operator is firmly nonexpansive, and what
    holds of total variation holds of it. The map from the data to the result need not be nonexpansive where the
    guide depends on the data.

    Args:
        weight: w, in the units of the image; at least zero.
        isotropic: See :func:`recon.priors.total_variation_value`.
        joint: Likewise. All channels of an image have one mask in either case.
        image_shape: See :func:`recon.priors.total_variation_split`; a guide has this size.
        bounds: Within which the image must lie; an infinite one is none.
        spacing: See :func:`recon.priors.total_variation_value`.
        smoothing: Standard deviation, in pixels of a slice, of the Gaussian that averages the gradients of a guide. The
            default suits a first reconstruction, 0 a sharp guide, as another modality.
        accuracy: Of the proximity operator, which is iterated, relative to its input.
        max_steps: The budget of that iteration.

    Raises:
        UsageError: An argument is outside its range; when given a guide: it has another size, or pixels that are not
            finite.
    """
    if not 0 <= smoothing <= _MOST_SMOOTHING:
        raise UsageError(
            f"guided_total_variation_prior: smoothing={smoothing!r}; expected a number of pixels from 0 to "
            f"{_MOST_SMOOTHING}."
        )
    unguided = total_variation_prior(weight, isotropic, accuracy, max_steps, joint, image_shape, bounds, spacing)
    of_mask = partial(
        masked_total_variation_prior, weight=weight, isotropic=isotropic, joint=joint, bounds=bounds, spacing=spacing,
        accuracy=accuracy, max_steps=max_steps,
    )  # fmt: skip
    return GuidedPrior("total variation", unguided, partial(_given, of_mask, image_shape, smoothing, spacing), BOUNDS)


def _given(
    of_mask: Callable[[Tensor], Prior],
    image_shape: tuple[int, ...] | None,
    smoothing: float,
    spacing: Spacing,
    guide: Tensor,
) -> Prior:
    if image_shape is not None and tuple(guide.shape[2:]) != tuple(image_shape):
        raise UsageError(
            f"guided_total_variation_prior: the guide has shape {tuple(guide.shape)}; expected (batch, channels, "
            f"{', '.join(map(str, image_shape))}), because it weighs each pixel of the image."
        )
    return of_mask(edge_mask(guide, smoothing, spacing))


@remembered
def masked_total_variation_prior(  # noqa: PLR0913, PLR0917  the options of total_variation
    mask: Tensor,
    weight: float,
    isotropic: bool = True,
    joint: bool = False,
    bounds: tuple[float, float] | None = None,
    spacing: Spacing = FLAT,
    accuracy: float = 1e-4,
    max_steps: int = 10_000,
) -> Prior:
    """``w sum_p m(p) |(D x)(p)|`` for a mask made from a guide.

    Args:
        mask: m, ``(batch, 1, height, width)``, between the bounds :data:`BOUNDS`.
        weight: w; with the others as for :func:`guided_total_variation_prior`.
        isotropic: See there.
        joint: See there.
        bounds: See there.
        spacing: See there.
        accuracy: See there.
        max_steps: See there.

    Raises:
        UsageError: An argument is outside its range.
    """
    of_weight = partial(
        total_variation, isotropic=isotropic, accuracy=accuracy, max_steps=max_steps, joint=joint, spacing=spacing,
        mask=mask,
    )  # fmt: skip
    of_weight(weight)  # refuses what is wrong now, not at the first step
    value = partial(total_variation_value, isotropic=isotropic, joint=joint, spacing=spacing, mask=mask)
    return Prior(
        "total variation, given the guide",
        partial(_at_stepsize, of_weight, weight),
        split=total_variation_split(weight, isotropic, tuple(mask.shape[2:]), joint, spacing, mask),
        value=partial(_times, weight, value),
        constraint=None if bounds is None else box(*bounds),
        mask=_range(mask),
    )


def _range(mask: Tensor) -> MaskRange:
    if not len(mask):
        return MaskRange(1.0, 1.0, 1.0, BOUNDS)  # of no images
    return MaskRange(float(mask.min()), float(mask.max()), float(mask.mean(dtype=torch.float64)), BOUNDS)


def _at_stepsize(of_weight: Callable[[float], Resolvent], weight: float, stepsize: float) -> Resolvent:
    return of_weight(stepsize * weight)


def _times(weight: float, value: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return weight * value(x)
