"""Bounds of how far an image is from the exact result of a sparse coding, rounding included.

For ``P(a) = 1/2 ||y - D a||^2 + g(a)`` of :mod:`.sparse_code` with minimiser a* and ``x* = D a*``:

- *Of codes a.* With xi a subgradient of P at a, ``||D (a - a*)||^2 + ||a - a*||^2 <= <xi, a - a*>``, because the misfit
  has the Hessian ``D^T D`` and g is 1-strongly convex. With ``s = ||a - a*||`` that is ``||D (a - a*)||^2 <=
  ||xi|| s - s^2 <= ||xi||^2 / 4``: the distance of ``D a`` from x* is at most half the length of the least subgradient.
- *Of a dual point u.* ``||u - u*|| <= ||grad F(u)||``, because F is 1-strongly convex.

*Rounding.* Both are evaluated in double precision, whatever the precision of the iteration, for the weights as they
are in the precision of the images. In the standard model (Higham 2002, sections 3.1 and 3.5) a sum of n products, in
any order and with or without fused additions, is off by at most ``g_n sum |a_i| |b_i|``, ``g_n = n v / (1 - n v)`` and
``v = 2^-53``, and by ``n 2^-1074`` where products underflow. So an analysis is off by at most ``g_n || |D|^T |u| ||``,
and a synthesis by ``g_n || |D| |a| ||``, n the products of each number. A bound of the norm of |D|, which bounds that
of D too, makes these a few multiplications.

Convolutions in double precision are sums of products: by im2col on the CPU, and in cuDNN, whose fast algorithms
(Winograd, Fourier transforms), for which this does not hold, are of single and half precision.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from recon.priors.networks.architectures.sparse_code import SparseCode, subgradient

_UNIT = 2.0**-53
_LEAST = 2.0**-1074


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


def gamma(count: float) -> float:
    """``g_n = n v / (1 - n v)``."""
    return count * _UNIT / (1 - count * _UNIT)


def of_dual(code: SparseCode, y: Tensor, u: Tensor) -> Tensor:
    """A bound of ``||u - u*||`` for each of the images, which come once for each shift: ``||grad F(u)||``."""
    wide, y, u = code.to(torch.float64), y.double(), u.double()
    rounding = _Rounding(code)
    codes = wide.codes(u)
    less = u - y
    gradient = less + wide.image_of(codes, (u.shape[-2], u.shape[-1]))
    of_codes = rounding.analysis(_norms(u)) + _UNIT * _norms(codes)
    of_image = rounding.synthesis(_norms(codes)) + rounding.absolute * of_codes
    total = _norms(gradient) + of_image + gamma(2) * (_norms(less) + _norms(gradient))
    return rounding.summed(total, codes, (y, u))


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
    rounding = _Rounding(code)
    u = y - wide.image_of(found, (y.shape[-2], y.shape[-1]))
    analysed = wide.analysed(wide.embedded(u))
    least = subgradient(found, analysed, wide.repeated_threshold(len(y)))
    of_residual = rounding.synthesis(_norms(found)) + _UNIT * _norms(u) * (1 + 2 * _UNIT)
    of_analysis = rounding.analysis(_norms(u)) + rounding.absolute * of_residual
    of_sums = 2 * gamma(2) * (_norms(found) + _norms(analysed) + _norms(least))
    error = rounding.summed((_norms(least) + of_analysis + of_sums) / 2 + of_residual, found, (y, u))
    chosen = which.view(-1, 1, 1, 1)
    return Coded(
        torch.where(chosen, codes, before.codes),
        torch.where(chosen, u, before.u),
        torch.where(which, error, before.error),
    )


class _Rounding:
    """What double precision adds to an analysis and a synthesis, from the norms of their inputs."""

    def __init__(self, code: SparseCode) -> None:
        kernel, self.absolute = code.kernel, code.absolute_norm.value
        self.down = kernel[0].numel()  # products of a coefficient
        self.up = kernel[:, 0].numel()  # and of a pixel

    def analysis(self, norms: Tensor) -> Tensor:
        return gamma(self.down) * self.absolute * norms

    def synthesis(self, norms: Tensor) -> Tensor:
        return gamma(self.up) * self.absolute * norms

    def summed(self, total: Tensor, codes: Tensor, images: tuple[Tensor, Tensor]) -> Tensor:
        """A bound that is made of norms, with the rounding of these norms and of underflow."""
        entries = codes[0].numel() + images[0][0].numel()
        lost = _LEAST * (self.down + self.up) * entries * (1 + self.absolute) ** 2
        is_zero = _norms(images[0]) + _norms(images[1]) == 0  # where every product is zero, exactly
        return total * (1 + 2 * gamma(entries + 64)) + torch.where(is_zero, 0.0, lost)


def _norms(x: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return norms
