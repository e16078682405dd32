"""Masks of a penalty on gradients, made from those of a guide: small where it has edges, large where it is flat.

With t(p) the length of the gradient of the guide at a pixel p, averaged over a neighbourhood, the mask is
``m(p) = k (1 + t(p) / s)^-a``, clipped to bounds, where k makes the mean 1 before the clipping and s is a share of the
mean of t. So it is the same for a guide times a number and plus another, which may have been made by another modality.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from recon.errors import UsageError
from recon.priors.finite_differences import FiniteDifferences
from recon.priors.total_variation import FLAT, Spacing

BOUNDS = 0.1, 2.0
"""Of every mask."""

EXPONENT = 0.4
"""a; with :data:`SHARE` and :data:`SMOOTHING` it was chosen on validation images, see docs/calibration.md."""

SHARE = 0.25
"""What s is of the mean length of the gradients."""

SMOOTHING = 3.0
"""Of a guide that is a first reconstruction, whose edges are uncertain, in pixels."""

_TRUNCATE = 4.0
"""Standard deviations to which a Gaussian reaches."""

_ROUNDINGS = 8
"""Rounding units of the largest grey value: gradients of less are none."""


@torch.no_grad()
def edge_mask(guide: Tensor, smoothing: float = SMOOTHING, spacing: Spacing = FLAT) -> Tensor:
    """Return the mask of a guide, ``(batch, 1, height, width)``, in its precision but at least single.

    Gradients are forward differences, in one length over all axes and channels (and over the real and imaginary part),
    so that they lie where the differences of the image do. A constant guide has the mask 1; differences that may be
    rounding errors count as little.

    Args:
        guide: Images ``(batch, channels, height, width)``; with a spacing of three lengths volumes.
        smoothing: Standard deviation of the Gaussian that averages the lengths, in pixels of a slice.
        spacing: See :func:`recon.priors.total_variation_value`.

    Raises:
        UsageError: The guide has another shape, or pixels that are not finite.
    """
    rank = len(spacing)
    _check_guide(guide, rank)
    axes = tuple(range(-rank, 0))
    real = torch.view_as_real(guide).movedim(-1, 1).flatten(1, 2) if guide.is_complex() else guide
    normalised, rounding = _normalised(real)
    lengths = _gradient_lengths(normalised, spacing)
    for axis, h in zip(axes, spacing, strict=True):
        lengths = _averaged(lengths, axis, smoothing / h)
    unit = torch.maximum(SHARE * _mean(lengths, axes), rounding / min(spacing))
    law = (1 + lengths / unit).pow(-EXPONENT)
    return (law / _mean(law, axes)).clamp(*BOUNDS)


def _check_guide(guide: Tensor, rank: int) -> None:
    if guide.ndim != rank + 2 or not (guide.is_floating_point() or guide.is_complex()) or 0 in guide.shape[1:]:
        raise UsageError(
            f"guide: it has shape {tuple(guide.shape)} and type {guide.dtype}; expected real or complex (batch, "
            f"channels, {'slices, ' * (rank == 3)}height, width)."
        )
    if not bool(guide.isfinite().all()):
        raise UsageError(
            "guide: it has pixels that are not finite; expected finite ones, because the mask is made of their "
            "differences."
        )


def _normalised(guide: Tensor) -> tuple[Tensor, Tensor]:
    """Each guide on [0, 1] over all channels, zero where it is constant, and its rounding errors on that scale."""
    items = tuple(range(1, guide.ndim))
    wanted = torch.promote_types(guide.dtype, torch.float32)
    exact = guide.double()
    peak = exact.abs().amax(items, keepdim=True)
    exact = exact / torch.where(peak > 0, peak, 1.0)  # the span of two finite numbers may be infinite
    low, high = exact.amin(items, keepdim=True), exact.amax(items, keepdim=True)
    span = torch.where(high > low, high - low, 1.0)
    rounding = _ROUNDINGS * torch.finfo(guide.dtype).eps / span
    return ((exact - low) / span).to(wanted), rounding.to(wanted)


def _gradient_lengths(guide: Tensor, spacing: Spacing) -> Tensor:
    differences = FiniteDifferences((-1,) * len(spacing), spacing).A(guide)
    return differences.square_().sum((1, -len(spacing) - 1)).sqrt_().unsqueeze(1)


def _mean(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """In double precision, lest the mean of many ones be another number."""
    return x.mean(axes, keepdim=True, dtype=torch.float64).to(x.dtype)


def _averaged(x: Tensor, axis: int, width: float) -> Tensor:
    """Along an axis, by a Gaussian; beyond the border is what is at the border."""
    if not width:
        return x
    reach = math.ceil(_TRUNCATE * width)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device) / width).square())
    lines = x.movedim(axis, -1)
    padded = functional.pad(lines.reshape(-1, 1, lines.shape[-1]), (reach, reach), mode="replicate")
    smooth = functional.conv1d(padded, (kernel / kernel.sum()).view(1, 1, -1))
    return smooth.view(lines.shape).movedim(-1, axis)
