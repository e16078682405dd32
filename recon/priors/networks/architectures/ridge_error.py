"""A bound of how far an image is from the exact prox of a ridge potential, rounding included.

``F(x) = ||x - y||^2 / 2 + R(x)`` is 1-strongly convex, so that ``||x - prox_R(y)|| <= ||grad F(x)||`` for every x.

*Rounding.* ``grad R(x) = w W^T f(W x)`` is evaluated in double precision for the potential as it is in the precision of
the images: for their filters, weights, scales and mask, and for the pieces of psi'. With A a bound of || |W| || and
``||.||`` over an image,

- the responses ``z = W x`` are off by at most ``g_d A ||x||``, d the products of each (:mod:`.convolution_rounding`);
- f is evaluated at what was computed to within ``g_(p + 64) L |z|``, entry by entry: L bounds the slope of f, and the p
  values at the knots are sums of products of slopes at most L. A number that rounding puts in the piece next to its own
  is within a few units of the knot, where the two agree. f is L-Lipschitz, so that the error of z grows by at most L;
- ``W^T`` adds ``g_u A ||f||`` of its own, u the products of each pixel, and multiplies what came before by at most A.
"""

from dataclasses import replace

import torch
from torch import Tensor

from recon.operators.convolution_norms import absolute_norm
from recon.operators.rounding import gamma, norms_of
from recon.priors.networks.architectures.convolution_rounding import ConvolutionRounding
from recon.priors.networks.architectures.ridge_potential import Ridge, filtered
from recon.priors.networks.layers.profiles import Tabulated

_OPERATIONS = 64
"""More than a value of f takes beside the sums over the pieces and over a group."""

_SHORT = 1e-150
"""Of groups: lengths whose squares may underflow."""


def of_point(ridge: Ridge, y: Tensor, x: Tensor) -> Tensor:
    """A bound of ``||x - prox_R(y)||`` for each item, ``(batch,)``, in double precision: ``||grad F(x)||``."""
    wide, y, x = in_double_precision(ridge), y.double(), x.double()
    rounding = ConvolutionRounding(wide.kernel, absolute_norm(wide.kernel).value)
    sizes = norms_of(x)
    responses, influences = torch.zeros_like(sizes), torch.zeros_like(sizes)

    def act(top: int, part: Tensor) -> Tensor:
        nonlocal responses, influences
        found = wide.influence(top, part)
        responses, influences = torch.hypot(responses, norms_of(part)), torch.hypot(influences, norms_of(found))
        return found

    slope = wide.weight * filtered(x, wide.kernel, wide.padding, act)
    less = x - y
    gradient = less + slope
    weight, steepest = wide.weight.flatten(), _steepest(wide)
    pieces = wide.profile.pieces().knots.shape[1]
    of_influences = steepest * (rounding.analysis(sizes) + gamma(pieces + wide.group + _OPERATIONS) * responses)
    of_slope = weight * (rounding.synthesis(influences) + rounding.absolute * of_influences)
    total = norms_of(gradient) + of_slope + gamma(4) * (norms_of(less) + norms_of(slope) + norms_of(gradient))
    entries = x[0].numel() + y[0].numel() * len(wide.kernel)
    bound = rounding.summed(total, entries * (1 + _taps(wide)), sizes + norms_of(y) == 0)
    short = 0.0 if wide.group == 1 else _SHORT * entries * weight * steepest * rounding.absolute
    return bound + short * (sizes != 0).double()


def in_double_precision(ridge: Ridge) -> Ridge:
    """The same numbers in double precision."""
    mask = None if ridge.mask is None else ridge.mask.detach().double()
    return replace(
        ridge,
        kernel=ridge.kernel.detach().double(),
        weight=ridge.weight.detach().double(),
        scale=ridge.scale.detach().double(),
        profile=Tabulated(ridge.profile.pieces().double()),
        mask=mask,
    )


def _steepest(ridge: Ridge) -> Tensor:
    """A bound of the slope of f, ``(batch or 1,)``."""
    slope = ridge.profile.pieces().slopes.max().clamp(min=1)
    if ridge.mask is None or not ridge.mask.numel():
        return slope.expand(1)
    return slope * ridge.mask.amax((1, 2, 3))


def _taps(ridge: Ridge) -> int:
    """Of a filter: how often padding counts a number at most."""
    return ridge.kernel[0, 0].numel()
