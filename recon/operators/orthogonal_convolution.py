"""The distance of a convolution from an orthogonal one, and the bound of its norm that follows, at every image size.

Let W be a kernel of M output and C input channels and k x l entries, and

    C_t = sum_s W_(s + t) W_s^T,    |t_1| < k, |t_2| < l,

the M x M coefficients of its correlation with itself: ``conv(K, K, padding k - 1, stride 1)`` in the notation of
Achour, Malgouyres and Mamalet (JMLR 23, 2022). They call

    L_orth(K) = sum_t ||C_t - delta_t Id||_F^2

the residual of orthogonality.

*Identities* (theirs, for stride 1). Let K be the circular convolution of N x N images, N >= 2 max(k, l) - 1.
If M <= C, then ``||K K^T - Id||_F^2 = N^2 L_orth(K)``; if M >= C, then ``||K^T K - Id||_F^2 = N^2 (L_orth(K) - (M -
C))``. *Proof*: K K^T is block circulant, with the blocks C_t at offsets t that do not meet modulo N, and each is there
N^2 times. For the second, ``||K^T K - Id_C||^2 = ||K^T K||^2 - 2 ||K||^2 + N^2 C`` and ``||K K^T|| = ||K^T K||`` in the
Frobenius norm. So ``L_orth(K) - (M - C)`` is ``L_orth(K^T)`` of the transposed kernel: :func:`orthogonality_residual`
is the smaller of both.

*Theorem*. Let D_t be the coefficients of that of K K^T and K^T K which has fewer channels, n, less those of Id, and L
the sum of their squared Frobenius norms. For zero and circular padding, at every image size,

    ||K||^2 <= lambda_max(Id + D_0) + sum_(t != 0) ||D_t||_F <= 1 + sqrt((2 k - 1) (2 l - 1) L),

and for circular padding and images of N x N the n N^2 singular values are at least ``sqrt(1 - sqrt((2 k - 1) (2 l - 1)
L))``, where that is real. *Proof*: the symbol of K K^T (or K^T K) is the trigonometric polynomial ``G(w) = Id + sum_t
D_t exp(-i <t, w>)``, a Hermitian matrix at each frequency w. Its largest eigenvalue is at most that of the constant
term and the norms of the others, which the Frobenius norms bound; the sum of at most (2 k - 1) (2 l - 1) of these is at
most the root of their number times that of L, by Cauchy and Schwarz. The squared singular values of the circular
convolution of any size are the eigenvalues of G on a grid of frequencies, and zero padding is a compression of the
infinite convolution, whose squared norm is the supremum of ||G(w)||.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from recon.errors import UsageError
from recon.evidence import Proved
from recon.operators.convolution_norms import ROUNDING

_EPSILON = 2 * torch.finfo(torch.float64).eps
"""What a product in a sum loses at most, with the sum."""


def orthogonality_residual(kernel: Tensor) -> Tensor:
    """L_orth of a kernel or of its transpose, whichever has fewer channels out: 0 exactly if K or K^T is an isometry.

    Args:
        kernel: ``(out, in, height, width)``, real; differentiable.
    """
    return _deviations(kernel).square().sum()


@torch.no_grad()
def residual_upper(kernel: Tensor) -> float:
    """An upper bound of the residual of a kernel, its rounding included, which near an isometry is as large as it is.

    A coefficient is a sum of at most n products, n the inputs times the entries, and the roundings of all offsets are
    together at most ``sqrt((2 k - 1) (2 l - 1)) n eps ||K||_F^2`` in the Frobenius norm, by Cauchy and Schwarz.

    Args:
        kernel: As of :func:`orthogonality_residual`.
    """
    exact = kernel.detach().double()
    root = math.sqrt(float(orthogonality_residual(exact)))
    offsets = math.sqrt((2 * exact.shape[2] - 1) * (2 * exact.shape[3] - 1))
    smaller = _smaller(exact)
    terms = smaller.numel() / len(smaller) + 2  # and the 1 that is taken away
    lost = _EPSILON * (offsets * terms * float(exact.square().sum()) + math.sqrt(len(smaller)))
    return (root + lost) ** 2 * ROUNDING


def residual_bound(residual: float, height: int, width: int) -> float:
    """The bound ``sqrt(1 + sqrt((2 k - 1) (2 l - 1) L))`` of the norm, of all that have this residual L.

    Args:
        residual: As :func:`orthogonality_residual` gives it.
        height: k, rows of the kernel.
        width: l, columns of the kernel.
    """
    return math.sqrt(1 + math.sqrt((2 * height - 1) * (2 * width - 1) * residual)) * ROUNDING


def orthogonal_norm(kernel: Tensor) -> Proved:
    """An upper bound of the norm for zero or circular padding and every image size: 1 where K or K^T is an isometry.

    Near an isometry it is nearer than that of :func:`recon.operators.convolution_norms.convolution_norm`, which looks
    at a grid of frequencies and pays for those between.

    Args:
        kernel: ``(out, in, height, width)``, real.

    Raises:
        UsageError: The kernel does not have four dimensions, or is not finite.
    """
    if kernel.ndim != 4 or min(kernel.shape) < 1 or not bool(kernel.isfinite().all()):
        raise UsageError(
            f"orthogonal_norm: the kernel has shape {tuple(kernel.shape)}; expected (out, in, height, width) above 0, "
            "of finite numbers, which have a bound."
        )
    largest_entry = float(kernel.detach().abs().max())
    if largest_entry == 0:
        return Proved(0.0, "all entries are zero")
    scale = 2.0 ** math.floor(math.log2(largest_entry))  # a power of two, which rounds nothing
    exact = kernel.detach().double() / scale  # the squares of numbers below 1e-160 would vanish
    height, width = exact.shape[2:]
    others = torch.linalg.vector_norm(_deviations(exact), dim=(0, 1))
    others[height - 1, width - 1] = 0
    rows = _smaller(exact).flatten(1)
    largest = float(torch.linalg.eigvalsh(rows @ rows.mT)[-1])  # not as 1 and a deviation, which of a small one cancel
    terms = others.numel() * exact.numel() / len(rows) + len(rows)  # of the sums, and of the eigenvalue
    lost = terms * _EPSILON * float(exact.square().sum())
    value = scale * math.sqrt(max(largest, 0.0) + float(others.sum()) + lost) * (1 + 4 * _EPSILON)
    return Proved(
        value, "the coefficients of K K^T, or of K^T K, of which all but the constant ones vanish if orthogonal"
    )


def _deviations(kernel: Tensor) -> Tensor:
    """D_t, ``(n, n, 2 height - 1, 2 width - 1)``."""
    smaller, (height, width) = _smaller(kernel), kernel.shape[2:]
    found = functional.conv2d(smaller, smaller, padding=(height - 1, width - 1))
    unit = torch.zeros_like(found)
    unit[:, :, height - 1, width - 1] = torch.eye(len(found), dtype=found.dtype, device=found.device)
    return found - unit


def _smaller(kernel: Tensor) -> Tensor:
    """The kernel or that of the transpose, whichever has fewer channels out."""
    return kernel if kernel.shape[0] <= kernel.shape[1] else kernel.transpose(0, 1).flip(2, 3)
