"""A prior as the solvers want it: the family of its resolvents, with its splitting and its energy where they exist."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from recon._values import Made, remembered
from recon.evidence import Constant, Proved
from recon.priors.closed_forms import box, check_weight, identity, number_of, soft_threshold, tikhonov
from recon.priors.resolvent import Resolvent
from recon.priors.smooth import Smooth
from recon.priors.sparse import SparseTerm, l1_term, wavelet_term
from recon.priors.split import Split
from recon.priors.total_variation import (
    FLAT,
    Spacing,
    VariationTerm,
    total_variation,
    total_variation_split,
    total_variation_value,
)
from recon.priors.wavelets import LEVELS, WAVELET, wavelet_l1_value, wavelet_shrinkage

if TYPE_CHECKING:
    from recon.priors.synthesis import Synthesis


@final
@dataclass(frozen=True)
class MaskRange:
    """The range of the weights that a guide gave to a penalty, place by place.

    Attributes:
        low: The least.
        high: The largest.
        mean: Their mean.
        bounds: The least and the largest that any guide could have given.
    """

    low: float
    high: float
    mean: float
    bounds: tuple[float, float]


@final
@dataclass(frozen=True, eq=False, repr=False)
class Prior(Made):
    """The family ``s -> J_s`` of the resolvents of ``s A``.

    Attributes:
        name: What a report calls it.
        resolvent: From a step size ``s > 0`` to ``J_s``. Where A is the subdifferential of ``w g`` it is the proximity
            operator of ``s w g``; a learned prior is one resolvent, whatever s.
        split: The penalty as ``g(L x)``, for primal-dual methods; ``None`` where there is no such form.
        value: The penalty ``w g`` of each batch item, shape ``(batch,)``; ``None`` where there is none, as for a
            learned prior, which is not the gradient of any energy.
        constraint: The projection on a polyhedral set in which the image lies besides; ``None``: there is none. It is
            no part of ``resolvent``, so only methods that split can honour it.
        smooth: The gradient of ``w g`` where that is Lipschitz; ``None`` where it is not, or not known.
        mask: The range of the weights that a guide decided; ``None`` where no guide did.
        variation: The penalty where it is the total variation of each channel by itself, and the bounds; else
            ``None``.
        multiple: m where A is m Id, so that the solution is linear in the data; ``None`` where it is another map.
        sparse: The penalty as a weighted l1 norm in an orthonormal basis; ``None`` where it is another one.
        conjugate: From images z to ``(w g)*(z)`` of each batch item, where that is finite everywhere; else ``None``.
        strong: m where ``w g`` is known to be m-strongly convex; else ``None``.
        synthesis: The penalty as one of the coefficients of a dictionary, which are then the unknowns; else ``None``.
    """

    name: str
    resolvent: Callable[[float], Resolvent] = field(repr=False)
    split: Split | None = field(default=None, repr=False)
    value: Callable[[Tensor], Tensor] | None = field(default=None, repr=False)
    constraint: Resolvent | None = None
    smooth: Smooth | None = field(default=None, repr=False)
    mask: MaskRange | None = None
    variation: VariationTerm | None = None
    multiple: Constant | None = None
    sparse: SparseTerm | None = None
    conjugate: Callable[[Tensor], Tensor] | None = field(default=None, repr=False)
    strong: Constant | None = None
    synthesis: "Synthesis | None" = None


@remembered
def no_prior() -> Prior:
    """The zero penalty: plain least squares."""
    return Prior("none", lambda stepsize: identity(), value=lambda x: x.new_zeros(x.shape[0], dtype=x.dtype.to_real()))


@remembered
def box_prior(low: float = 0.0, high: float = 1.0) -> Prior:
    """The indicator of ``{x : low <= x <= high}``: zero inside, infinite outside."""
    projection = box(low, high)

    def value(x: Tensor) -> Tensor:
        outside = ((x < low) | (x > high) | x.isnan()).flatten(1).any(1)
        return torch.where(outside, torch.inf, 0.0).to(x.dtype)

    def conjugate(z: Tensor) -> Tensor:
        return _sum(torch.maximum(low * z, high * z))

    return Prior("box", lambda stepsize: projection, value=value, conjugate=conjugate)


@remembered
def tikhonov_prior(weight: float | Tensor) -> Prior:
    """``w/2 ||x||^2``."""
    check_weight("tikhonov", number_of(weight))
    return Prior(
        "tikhonov",
        lambda stepsize: tikhonov(stepsize * weight),
        value=lambda x: weight / 2 * _sum(x.abs() ** 2),
        multiple=Proved(float(number_of(weight)), "the gradient of w/2 ||x||^2 is w x"),
        conjugate=(lambda z: _sum(z.abs() ** 2) / (2 * number_of(weight))) if number_of(weight) > 0 else None,
    )


@remembered
def l1_prior(weight: float | Tensor) -> Prior:
    """``w ||x||_1``."""
    check_weight("l1", number_of(weight))
    return Prior(
        "l1",
        lambda stepsize: soft_threshold(stepsize * weight),
        value=lambda x: weight * _sum(x.abs()),
        sparse=l1_term(weight),
    )


@remembered
def wavelet_prior(weight: float, wavelet: str = WAVELET, levels: int = LEVELS, shifts: int = 1) -> Prior:
    """``w ||W_detail x||_1``; with more than one shift a proximal average, which has no simple value.

    Args:
        weight: w, in the units of the image; at least zero.
        wavelet: An orthogonal wavelet of PyWavelets.
        levels: How often the approximation is analysed.
        shifts: How many shifted transforms are averaged; see :func:`recon.priors.wavelet_shrinkage`.
    """
    wavelet_shrinkage(weight, wavelet, levels, shifts)  # refuses what is wrong now, not at the first step
    return Prior(
        "wavelet",
        lambda stepsize: wavelet_shrinkage(stepsize * weight, wavelet, levels, shifts),
        value=(lambda x: weight * wavelet_l1_value(x, wavelet, levels)) if shifts == 1 else None,
        sparse=wavelet_term(weight, wavelet, levels) if shifts == 1 else None,
    )


@remembered
def total_variation_prior(  # noqa: PLR0913, PLR0917  the options of total_variation, and the size
    weight: float,
    isotropic: bool = True,
    accuracy: float = 1e-4,
    max_steps: int = 10_000,
    joint: bool = False,
    image_shape: tuple[int, ...] | None = None,
    bounds: tuple[float, float] | None = None,
    spacing: Spacing = FLAT,
) -> Prior:
    """``w TV``, with its splitting; see :func:`recon.priors.total_variation`.

    Args:
        weight: w, in the units of the image; at least zero.
        isotropic: Whether the differences along all axes are one vector.
        accuracy: Of the proximity operator, which is iterated, relative to its input.
        max_steps: The budget of that iteration.
        joint: Whether the channels share their edges.
        image_shape: (height, width) makes the norm of the differences exact; ``None``: images of every size.
        bounds: Within which the image must lie; an infinite one is none.
        spacing: The distance of two neighbours along each axis, in pixels of a slice; of three axes for a volume.
    """
    total_variation(
        weight, isotropic, accuracy, max_steps, joint, spacing
    )  # refuses what is wrong now, not at the first step
    return Prior(
        "total variation",
        lambda stepsize: total_variation(stepsize * weight, isotropic, accuracy, max_steps, joint, spacing),
        split=total_variation_split(weight, isotropic, image_shape, joint, spacing),
        value=lambda x: weight * total_variation_value(x, isotropic, joint, spacing),
        constraint=None if bounds is None else box(*bounds),
        variation=None if joint else VariationTerm(weight, isotropic, spacing, bounds or (-math.inf, math.inf)),
    )


def _sum(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1)
