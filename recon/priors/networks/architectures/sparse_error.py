"""Bounds of how far an image is from the exact result of a sparse coding, rounding included.

For ``P(a) = 1/2 ||y - D a||^2 + g(a)`` of :mod:`.sparse_code` with minimiser a* and ``x* = D a*``:

- *Of codes a.* With xi a subgradient of P at a, ``||D (a - a*)||^2 + ||a - a*||^2 <= <xi, a - a*>``, because the misfit
  has the Hessian ``D^T D`` and g is 1-strongly convex. With ``s = ||a - a*||`` that is ``||D (a - a*)||^2 <=
  ||xi|| s - s^2 <= ||xi||^2 / 4``: the distance of ``D a`` from x* is at most half the length of the least subgradient.
- *Of a dual point u.* ``||u - u*|| <= ||grad F(u)||``, because F is 1-strongly convex.

*Rounding.* Both are evaluated in double precision, whatever the precision of the iteration, for the weights as they
are in the precision of the images, and with the worst case of :mod:`.convolution_rounding`.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from recon.operators.rounding import UNIT, gamma, norms_of
from recon.priors.networks.architectures.convolution_rounding import ConvolutionRounding
from recon.priors.networks.architectures.sparse_code import SparseCode, subgradient


@final
@dataclass(frozen=True)
class Coded:
    """Codes, and what is known of them.

    Attributes:
        codes: ``(shifts * images, m, rows, columns)``.
        u: ``y - D a`` in double precision.
        error: A bound of the distance of each u from the exact one, ``(shifts * images,)``, in double precision.
    """

    codes: Tensor
    u: Tensor
    error: Tensor


def of_dual(code: SparseCode, y: Tensor, u: Tensor) -> Tensor:
    """A bound of ``||u - u*||`` for each of the images, which come once for each shift: ``||grad F(u)||``."""
    wide, y, u = code.to(torch.float64), y.double(), u.double()
    rounding = _rounding(code)
    codes = wide.codes(u)
    less = u - y
    gradient = less + wide.image_of(codes, (u.shape[-2], u.shape[-1]))
    of_codes = rounding.analysis(norms_of(u)) + UNIT * norms_of(codes)
    of_image = rounding.synthesis(norms_of(codes)) + rounding.absolute * of_codes
    total = norms_of(gradient) + of_image + gamma(2) * (norms_of(less) + norms_of(gradient))
    return _summed(rounding, total, codes, (y, u))


def of_codes(code: SparseCode, y: Tensor, codes: Tensor, before: Coded, which: Tensor) -> Coded:
    """The codes with ``y - D a``, and with half the length of the least subgradient for those that are asked for.

    Args:
        code: The sparse coding.
        y: Images once for each shift.
        codes: Of these, changed later by others.
        before: What is known of those that are not asked for.
        which: Which of them are.
    """
    wide, y, found = code.to(torch.float64), y.double(), codes.double()
    rounding = _rounding(code)
    u = y - wide.image_of(found, (y.shape[-2], y.shape[-1]))
    analysed = wide.analysed(wide.embedded(u))
    least = subgradient(found, analysed, wide.repeated_threshold(len(y)))
    of_residual = rounding.synthesis(norms_of(found)) + UNIT * norms_of(u) * (1 + 2 * UNIT)
    of_analysis = rounding.analysis(norms_of(u)) + rounding.absolute * of_residual
    of_sums = 2 * gamma(2) * (norms_of(found) + norms_of(analysed) + norms_of(least))
    error = _summed(rounding, (norms_of(least) + of_analysis + of_sums) / 2 + of_residual, found, (y, u))
    chosen = which.view(-1, 1, 1, 1)
    return Coded(
        torch.where(chosen, codes, before.codes),
        torch.where(chosen, u, before.u),
        torch.where(which, error, before.error),
    )


def _rounding(code: SparseCode) -> ConvolutionRounding:
    return ConvolutionRounding(code.kernel, code.absolute_norm.value)


def _summed(rounding: ConvolutionRounding, total: Tensor, codes: Tensor, images: tuple[Tensor, Tensor]) -> Tensor:
    is_zero = norms_of(images[0]) + norms_of(images[1]) == 0
    return rounding.summed(total, codes[0].numel() + images[0][0].numel(), is_zero)
