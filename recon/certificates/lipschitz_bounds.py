"""Upper bounds of the Lipschitz constants of networks from those of their parts: proved, if the parts are."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recon.errors import UsageError
from recon.evidence import Constant, Proved, derive
from recon.operators.convolution_norms import absolute_norm, circular_norm, convolution_norm
from recon.operators.orthogonal_convolution import orthogonal_norm, residual_upper
from recon.priors.networks import DnCNN, Network

ROUNDING = 1 + 1e-12

_SHOWN = 1e6
"""To so many parts of 1 a bound of a norm is rounded up where it is printed."""


def product_bound(*parts: Constant) -> Constant:
    """The constant of a composition: the product of the constants of its parts."""
    return derive(lambda *values: math.prod(values) * ROUNDING, *parts, how=f"the product of {len(parts)} bounds")


def skip_bound(identity: float, branch: float, part: Constant) -> Constant:
    """The constant of ``x -> a x + b F(x)``: ``|a| + |b| Lip(F)``, all that is known without more of F."""
    return derive(
        lambda value: (abs(identity) + abs(branch) * value) * ROUNDING,
        part,
        how=f"|{identity:g}| + |{branch:g}| Lip(F); {part.how}",
    )


def combettes_pesquet_bound(
    kernels: Sequence[Tensor], slopes: tuple[float, float] = (0.0, 1.0), padding: str = "zero", grid: int | None = None
) -> Constant:
    """A bound of ``W_m A_(m-1) W_(m-1) ... A_1 W_1`` that is never above the product of the norms.

    *Theorem* (after Combettes and Pesquet 2020, SIAM J. Math. Data Sci. 2, for averaged activations). Let A_i be
    averaged with the constant a_i. With ``t_0 = 1``,

        t_m = sum_(i < m) c_i prod_(i < j < m) (1 - a_j) ||W_m ... W_(i+1)|| t_i,    c_0 = 1, c_i = a_i for i > 0,

    bounds the constant. For a_i = 1/2 it is their theta_m / 2^(m-1). *Proof*: write A_i = (1 - a_i) Id + a_i N_i with
    N_i nonexpansive. For a linear B, B A_i T = (1 - a_i) B T + a_i B N_i T; the second term has the constant
    a_i ||B|| Lip(T), the first is of the same kind with the linear map B W_i before A_(i-1).

    A pointwise activation with slopes in [l, 1] is averaged with (1 - l)/2. For *zero* padding the truncation to the
    image after each activation, a pointwise factor 0 or 1, is counted as a part of the activation: its slopes then
    start at min(l, 0), and the convolutions between are those of the infinite plane, whose products have symbols. The
    number of norms is m (m + 1) / 2, each on a grid that grows with the composed kernel: meant for small networks.

    Args:
        kernels: ``(out, in, height, width)``, the first applied first; 1 x 1 makes dense layers.
        slopes: The infimum and the supremum of the slopes of every activation; the supremum at most 1.
        padding: ``"zero"`` or ``"circular"``.
        grid: Frequencies an axis; left out, as fine as each composed kernel needs.

    Raises:
        UsageError: There is no kernel, the slopes are not those of a nonexpansive activation, or the padding is
            another one.
    """
    low, high = slopes
    if not -1 <= low <= high <= 1:
        raise UsageError(f"combettes_pesquet_bound: slopes={slopes!r}; expected an interval within [-1, 1].")
    if padding not in ("zero", "circular"):
        raise UsageError(f"combettes_pesquet_bound: padding={padding!r}; expected 'zero' or 'circular'.")
    averaged = (1 - (min(low, 0.0) if padding == "zero" else low)) / 2
    totals = [1.0]
    for last in range(1, len(kernels) + 1):
        terms = [
            (averaged if first else 1.0)
            * (1 - averaged) ** (last - 1 - first)
            * convolution_norm(*kernels[first:last], grid=grid).value
            * totals[first]
            for first in range(last)
        ]
        totals.append(sum(terms) * ROUNDING)
    if not kernels:
        raise UsageError("combettes_pesquet_bound: no kernel was given; expected at least one.")
    return Proved(totals[-1], f"Combettes and Pesquet 2020, {len(kernels)} layers averaged with {averaged:g}")


def abba_bound(layers: Sequence[tuple[Tensor, Tensor]]) -> Constant:
    """The constant of ``A_m W_m ... A_1 W_1`` with ``W_i = [A_i B_i; B_i A_i]``, A_i, B_i >= 0, over all image sizes.

    *Theorem* (Neacsu et al. 2024, *ABBA neural networks*; proved here). For pointwise 1-Lipschitz activations
    it is at most ``||(A_m + B_m) ... (A_1 + B_1)||``, the norm of the product of the matrices of sums over the offsets,
    and reaches it where all slopes are one. *Proof*: changes are bounded entry by entry by the nonnegative operators
    ``W_i``; in the coordinates (u + v, u - v)/sqrt(2) their product is that of the A_i + B_i beside that of the
    A_i - B_i, of which no entry is larger.

    Args:
        layers: (A, B), each ``(out, in, height, width)``, the first applied first; 1 x 1 makes dense layers.

    Raises:
        UsageError: There is no layer, an entry is negative, A and B differ in shape, or one does not fit the next.
    """
    for first, second in layers:
        if first.shape != second.shape:
            raise UsageError(
                f"abba_bound: A has shape {tuple(first.shape)} and B {tuple(second.shape)}; expected the same, because "
                "both halves have as many channels."
            )
        least = min(float(first.min()), float(second.min()))
        if not least >= 0:
            raise UsageError(
                f"abba_bound: an entry is {least:g}; expected none below 0, because the closed form is of nonnegative "
                "kernels (absolute_norm takes any, as a bound)."
            )
    found = absolute_norm(*(first + second for first, second in layers))
    return Proved(found.value, f"Neacsu et al. 2024, {len(layers)} layers: {found.how}")


def network_bounds(network: DnCNN) -> dict[str, Constant]:
    """Every bound of Lip(Q) for a network that is not nonexpansive by construction; each holds, the least is the best.

    Q = Id - 2 N, so each is ``1 + 2 Lip(N)``; it is no larger on details, or divided.
    """
    kernels = [kernel.detach().double() for kernel in network.kernels]
    norms = [convolution_norm(kernel) for kernel in kernels]
    coefficients = [orthogonal_norm(kernel) for kernel in kernels]
    return {
        "orthogonal": skip_bound(1, -2, product_bound(*coefficients)),
        "product": skip_bound(1, -2, product_bound(*norms)),
        "absolute": skip_bound(1, -2, absolute_norm(*kernels)),
    }


@torch.no_grad()
def orthogonality(network: Network) -> Constant | None:
    """The sum of the residuals of orthogonality of a network's convolutions, as they are applied; 0 if all are
    orthogonal.

    See :mod:`recon.operators.orthogonal_convolution`. ``None`` for a network that is no chain of convolutions.
    """
    kernels = [kernel.double() for kernel in network.frozen().applied_kernels()]
    if not kernels:
        return None
    total = sum(residual_upper(kernel) for kernel in kernels)
    largest = max(orthogonal_norm(kernel).value for kernel in kernels)
    above = math.ceil(largest * _SHOWN) / _SHOWN  # what is printed is a bound, too
    how = f"L_orth of {len(kernels)} convolutions as applied, by which no norm exceeds {above:.6f} at any image size"
    return Proved(total * ROUNDING, how)


@torch.no_grad()
def fold_batch_norm(kernel: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The kernel and the bias of a convolution followed by a batch normalisation with fixed statistics, float64.

    Args:
        kernel: ``(out, in, height, width)``.
        bias: ``(out,)``, or none.
        norm: The normalisation after it, in evaluation mode.

    Raises:
        UsageError: It is in training mode, keeps no statistics, or has another number of channels.
    """
    if norm.training or norm.running_mean is None or norm.running_var is None:
        raise UsageError(
            "fold_batch_norm: the batch normalisation takes its statistics from the batch; expected evaluation mode, "
            "because a map that depends on the other images of a batch has no kernel, and no bound."
        )
    if norm.num_features != kernel.shape[0]:
        raise UsageError(f"fold_batch_norm: {norm.num_features} channels after a kernel that gives {kernel.shape[0]}.")
    gain = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        gain = gain * norm.weight.double()
    offset = -norm.running_mean.double() if bias is None else bias.double() - norm.running_mean.double()
    shift = norm.bias.double() if norm.affine else torch.zeros_like(offset)
    return kernel.double() * gain.view(-1, 1, 1, 1), offset * gain + shift


__all__ = [
    "abba_bound",
    "absolute_norm",
    "circular_norm",
    "combettes_pesquet_bound",
    "convolution_norm",
    "fold_batch_norm",
    "network_bounds",
    "orthogonality",
    "product_bound",
    "skip_bound",
]
