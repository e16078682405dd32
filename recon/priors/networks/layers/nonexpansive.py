"""Layers that are nonexpansive by construction, at every image size, for zero and circular padding.

Each derives what it applies from free parameters, and says from what it applies how large its Lipschitz constant can
be: ``bound()`` trusts no normalisation that went before it.
"""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.errors import UsageError
from recon.operators.convolution_norms import ROUNDING, absolute_norm, convolution_norm, peak_norm
from recon.operators.orthogonal_convolution import orthogonal_norm
from recon.priors.networks.architectures.network import Derived, drawn
from recon.priors.networks.layers.activations import VECTOR_ACTIVATIONS, activation
from recon.priors.networks.layers.convolution import convolve, convolve_adjoint
from recon.priors.networks.layers.splines import LinearSpline

MARGIN = 1e-6
"""By how much a layer stays below 1, so that a bound in double precision of weights rounded to single still does."""

_TINY = 1e-12


class Layer(Derived):
    """A nonexpansive layer.

    Attributes:
        reach: How many rows away a pixel of the image can depend on.
    """

    reach = 1

    @abstractmethod
    def bound(self) -> float:
        """An upper bound of the Lipschitz constant of what is applied."""

    @abstractmethod
    def applied_kernel(self) -> Tensor:
        """The kernel K of the convolution that is applied, (out, in, height, width), as an orthogonal one is wanted."""


class Scaled(Layer):
    """A convolution divided by a sound bound of its norm: lifts an image to features, or lowers it back."""

    def __init__(self, before: int, after: int, padding: str, size: int = 3) -> None:
        super().__init__()
        self.padding, self.reach = padding, size // 2
        shape, factor = (after, before, size, size), 0.3 / (size * math.sqrt(max(before, after)))
        self.kernel = drawn(shape, lambda: torch.randn(shape) * factor)

    def derive(self) -> tuple[Tensor, ...]:
        return (self.kernel * ((1 - MARGIN) / peak_norm(self.kernel).clamp(min=_TINY)),)

    def forward(self, x: Tensor) -> Tensor:
        (kernel,) = self.derived()
        return convolve(x, kernel, None, self.padding)

    def applied_kernel(self) -> Tensor:
        return self.derived()[0]

    def bound(self) -> float:
        return convolution_norm(self.derived()[0]).value


class ResidualLayer(Layer):
    """``x - 2 K^T T^-1 s(K x + b)``, an SLL layer (Araujo, Havens, Delattre, Allauzen, Hu 2023) of convolutions.

    *Theorem*. If s acts on each entry with slopes in [0, 1] and T is diagonal with T - K K^T positive semidefinite, the
    layer is nonexpansive. *Proof*: with D the diagonal of secant slopes, the square of the change is
    ||v||^2 - 4 <T^-1 D K v, K v> + 4 <K K^T T^-1 D K v, T^-1 D K v>, and the last term is at most
    4 <T^-1 D^2 K v, K v>, with D^2 <= D.

    T is constant on each channel: ``T_i = sum_j a_ij q_j / q_i`` with a_ij the sum of the absolute values of the
    correlation of the filters i and j, and q > 0 free. It dominates the symbol of K K^T at every frequency by
    Gershgorin's theorem for the matrix diag(1/q) |.| diag(q), hence K K^T for circular padding at every size (wrapping
    adds no absolute value) and for zero padding, where K is replaced by P K P and P K P K^T P <= P K K^T P <= T.

    Where rounding left T too small, with K K^T <= r T, the same lines give the constant sqrt(1 + 4 r (r - 1)).

    If s is firmly nonexpansive on groups of channels, T must be a multiple of the identity on each, the largest of its
    entries: then ``<T^-1 ds, ds> <= <T^-1 ds, dz>`` for the changes dz = K v and ds, as with D above.
    """

    def __init__(self, features: int, hidden: int, padding: str, act: nn.Module, size: int = 3) -> None:
        super().__init__()
        self.padding, self.reach = padding, 2 * (size // 2)
        shape = (hidden, features, size, size)
        self.kernel = drawn(shape, lambda: torch.randn(shape) / (size * math.sqrt(features)))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.log_q = nn.Parameter(torch.zeros(hidden))
        self.act = act

    def derive(self) -> tuple[Tensor, ...]:
        totals = weighted_correlations(self.kernel, self.log_q.exp())
        largest = totals.view(-1, self._group).amax(1, keepdim=True).expand(-1, self._group).flatten()
        return self.kernel, (2 - MARGIN) / (largest + _TINY)

    def forward(self, x: Tensor) -> Tensor:
        kernel, gains = self.derived()
        z = self.act(convolve(x, kernel, self.bias, self.padding))
        taken = convolve_adjoint(z, kernel * gains.view(-1, 1, 1, 1), self.padding)
        return x - taken if taken.requires_grad else taken.neg_().add_(x)

    def applied_kernel(self) -> Tensor:
        """``T^-1/2 K``: if it is orthogonal, the layer reflects where the slopes are one."""
        kernel, gains = self.derived()
        return kernel * (gains / 2).sqrt().view(-1, 1, 1, 1)

    def bound(self) -> float:
        kernel, gains = (tensor.double() for tensor in self.derived())
        least, most = gains.view(-1, self._group).aminmax(dim=1)
        if not float(gains.min()) > 0 or not torch.equal(least, most):
            return math.inf
        ratio = float((weighted_correlations(kernel, self.log_q.double().exp()) * gains).max()) / 2 * ROUNDING
        return math.sqrt(1 + 4 * ratio * max(ratio - 1, 0.0))

    @property
    def _group(self) -> int:
        """Channels on which T is a multiple of the identity."""
        return self.act.group if isinstance(self.act, Grouped) else 1


class RescaledLayer(Layer):
    """``s(K D x + b)``, an almost orthogonal layer (Prach and Lampert 2022) of convolutions.

    D is diagonal, ``D_j^-2 = sum_i a_ij q_i / q_j`` with a_ij the sum of the absolute values of the correlation of the
    input filters i and j: then D K^T K D has norm at most 1 (Perron and Frobenius: the spectral radius of a
    nonnegative matrix B is at most the largest (B v)_j / v_j, here with v = q / D), for zero and circular padding and
    every size, as in :class:`ResidualLayer`. The activation need only be nonexpansive.
    """

    def __init__(self, features: int, padding: str, act: nn.Module) -> None:
        super().__init__()
        self.padding = padding
        self.kernel = drawn((features, features, 3, 3), lambda: _near_rotation(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.log_q = nn.Parameter(torch.zeros(features))
        self.act = act

    def derive(self) -> tuple[Tensor, ...]:
        totals = weighted_correlations(self.kernel.transpose(0, 1), self.log_q.exp())
        return (self.kernel * ((1 - MARGIN) / (totals + _TINY).sqrt()).view(1, -1, 1, 1),)

    def forward(self, x: Tensor) -> Tensor:
        (kernel,) = self.derived()
        found: Tensor = self.act(convolve(x, kernel, self.bias, self.padding))
        return found

    def applied_kernel(self) -> Tensor:
        return self.derived()[0]

    def bound(self) -> float:
        """By Perron and Frobenius on what is applied, with the vector that the parameters name."""
        inward = self.derived()[0].double().transpose(0, 1)
        totals = weighted_correlations(self.kernel.double().transpose(0, 1), self.log_q.double().exp())
        vector = self.log_q.double().exp() * totals.clamp(min=_TINY).sqrt()
        return math.sqrt(float(weighted_correlations(inward, vector).max()) * ROUNDING)


class OrthogonalLayer(Layer):
    """``s(U S x + b)``: S shifts groups of channels by one pixel, U mixes the channels of a pixel orthogonally.

    On the infinite plane and with circular padding U S is an isometry, with zero padding what leaves the image is lost.
    ``U = (Id - A)^-1 (Id + A)`` with A skew (Cayley). Several such layers make every paraunitary filter bank that is a
    product of one-pixel factors.
    """

    def __init__(self, features: int, padding: str, act: nn.Module) -> None:
        super().__init__()
        self.padding = padding
        self.generator = drawn((features, features), lambda: torch.randn(features, features) / features)
        self.bias = nn.Parameter(torch.zeros(features))
        self.act = act
        self.groups = _shift_groups(features)

    def derive(self) -> tuple[Tensor, ...]:
        return (_cayley(self.generator) * (1 - MARGIN),)

    def forward(self, x: Tensor) -> Tensor:
        (mixing,) = self.derived()
        found: Tensor = self.act(functional.conv2d(self._shifted(x), mixing[..., None, None], self.bias))
        return found

    def applied_kernel(self) -> Tensor:
        """Return U, which the shifts leave orthogonal."""
        return self.derived()[0][..., None, None]

    def bound(self) -> float:
        return float(torch.linalg.matrix_norm(self.derived()[0].double(), 2)) * ROUNDING

    def _shifted(self, x: Tensor) -> Tensor:
        parts = list(torch.split(x, self.groups, 1))
        for index, (down, right) in enumerate(((0, 1), (0, -1), (1, 0), (-1, 0)), start=1):
            if index < len(parts):
                parts[index] = _shift(parts[index], down, right, self.padding)
        return torch.cat(parts, 1)


class OrthogonalConvolution(Layer):
    """``s(K x + b)`` with K an orthogonal convolution of odd size k = 2 r + 1, as many channels out as in.

    K is a composition of one orthogonal matrix and, along each axis, r pairs of ``P + (Id - P) S`` and ``R + (Id - R)
    S^-1``, with S the shift by a pixel and P, R orthogonal projections that mix the n channels of a pixel, of rank n -
    n // 2: the block convolutions of Li, Haque, Anil, Lucas, Grosse and Jacobsen (2019), *Preventing gradient
    attenuation in Lipschitz constrained convolutional networks*, centred. :class:`OrthogonalLayer` is one shift of
    groups of channels and one matrix.

    *Theorem*. K is unitary on the infinite plane, and with circular padding at every image size; with zero padding its
    norm is at most 1. *Proof*: S is unitary and commutes with P, and P (Id - P) = 0, so that ``F = P + (Id - P) S`` has
    ``F F* = P + (Id - P) S S* (Id - P) = Id``, and F* F is the same; a product of unitary operators is unitary. With
    circular padding the composed kernel, wrapped, is the product of the wrapped factors. Zero padding is a compression.

    ``P = U_1 U_1^T`` with U_1 the first columns of U, and each U is ``(Id - A)^-1 (Id + A)`` with A skew (Cayley). The
    two factors of a pair begin with almost the same projection, and cancel: training starts near the identity.
    """

    def __init__(self, features: int, padding: str, act: nn.Module, size: int = 3) -> None:
        super().__init__()
        self.padding, self.reach = padding, size // 2
        square = (features, features)
        self.generators = drawn((4 * self.reach, *square), lambda: _cancelling_pairs(features, self.reach))
        self.mixing = drawn(square, lambda: torch.randn(square) * (0.02 / features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.act = act

    def derive(self) -> tuple[Tensor, ...]:
        turns = _cayley(torch.cat([self.generators, self.mixing[None]]))
        kept = turns[:-1, :, : (turns.shape[-1] + 1) // 2]
        kernel = turns[-1][..., None, None]
        for index, projection in enumerate(kept @ kept.mT):
            kernel = _with_factor(kernel, projection, _WAYS[index % 4])
        return (kernel * (1 - MARGIN),)

    def forward(self, x: Tensor) -> Tensor:
        (kernel,) = self.derived()
        found: Tensor = self.act(convolve(x, kernel, self.bias, self.padding))
        return found

    def applied_kernel(self) -> Tensor:
        return self.derived()[0]

    def bound(self) -> float:
        """By how much what is applied differs from an isometry, whatever it was made from."""
        return orthogonal_norm(self.derived()[0]).value


_WAYS = ((0, 1, 0, 0), (1, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0))
"""Entries that a kernel gains to the left, to the right, above and below where it is not shifted: a pair an axis."""


def _cayley(generators: Tensor) -> Tensor:
    """Orthogonal matrices, of square ones."""
    skew = generators - generators.mT
    unit = torch.eye(skew.shape[-1], dtype=skew.dtype, device=skew.device)
    found: Tensor = torch.linalg.solve(unit - skew, unit + skew)
    return found


def _with_factor(kernel: Tensor, projection: Tensor, way: tuple[int, int, int, int]) -> Tensor:
    """A kernel, then ``P + (Id - P) S``: larger by a pixel on one side."""
    left, right, above, below = way
    kept = torch.einsum("oj,jikl->oikl", projection, kernel)
    return functional.pad(kept, way) + functional.pad(kernel - kept, (right, left, below, above))


class AbbaLayer(Layer):
    """``s([A B; B A] x + b)`` with A, B >= 0 between two halves of the channels (Neacsu et al. 2024).

    In the coordinates (u + v, u - v)/sqrt(2) of the halves the convolution is A + B beside A - B, and no entry of A - B
    exceeds that of A + B: its norm is that of A + B, for a nonnegative kernel the norm of its matrix of sums over the
    offsets, at every size. A network of such layers and pointwise 1-Lipschitz activations has a closed form, see
    :func:`recon.certificates.lipschitz_bounds.abba_bound`, that its layers one by one do not reach.
    """

    def __init__(self, features: int, padding: str, act: nn.Module) -> None:
        super().__init__()
        self.padding = padding
        half = features // 2
        self.kernels = drawn((2, half, half, 3, 3), lambda: _near_identity(half))
        self.bias = nn.Parameter(torch.zeros(features))
        self.act = act

    def derive(self) -> tuple[Tensor, ...]:
        entries = self.kernels.abs()
        norm = torch.linalg.matrix_norm(entries.sum((0, 3, 4)), 2)
        return (entries * ((1 - MARGIN) / norm.clamp(min=_TINY)),)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.act(convolve(x, self.applied_kernel(), self.bias, self.padding))
        return found

    def total(self) -> Tensor:
        """The kernel |A| + |B| of what is applied, whose norm is that of the layer."""
        return self.derived()[0].abs().sum(0)

    def applied_kernel(self) -> Tensor:
        ((first, second),) = self.derived()
        return torch.cat([torch.cat([first, second], 1), torch.cat([second, first], 1)])

    def bound(self) -> float:
        return absolute_norm(self.total()).value


class MaxMin(nn.Module):
    """The larger and the smaller of each pair of channels: a sort, hence nonexpansive, and a prox of nothing."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], 1)


def activation_module(name: str, channels: int, monotone: bool, reach: float = 1.0, group: int = 0) -> nn.Module:
    """The activation of a layer, nonexpansive, and firmly so, with slopes in [0, 1], where that is needed.

    Args:
        name: ``"spline"`` for a learnable one, one that is a proximity operator, of numbers or of vectors, or, where
            the slopes may be negative, ``"abs"`` or ``"maxmin"``.
        channels: How many channels it acts on.
        monotone: Whether the slopes must not be negative.
        reach: The last knot of a spline.
        group: Channels of the vectors that an activation of vectors takes; 0: all.

    Raises:
        UsageError: It is not nonexpansive, not monotone, or unknown.
    """
    if name == "spline":
        return LinearSpline(channels, (0.0, 1.0) if monotone else (-1.0, 1.0), reach=reach)
    if name in VECTOR_ACTIVATIONS:
        return Grouped(name, channels, group or channels)
    if monotone or name not in ("abs", "maxmin"):
        return Pointwise(activation(name).name)
    if name == "maxmin" and channels % 2:
        raise UsageError(f"maxmin: {channels} channels; expected an even number, because it sorts pairs.")
    return MaxMin() if name == "maxmin" else Pointwise("abs")


class Grouped(nn.Module):
    """An activation of vectors on successive groups of channels."""

    def __init__(self, name: str, channels: int, group: int) -> None:
        super().__init__()
        if group < 2 or channels % group:
            raise UsageError(
                f"{name}: groups of {group} of {channels} channels; expected at least 2, and a divisor of {channels}, "
                "because it acts on vectors."
            )
        self.name, self.group = name, group

    def forward(self, x: Tensor) -> Tensor:
        return VECTOR_ACTIVATIONS[self.name](torch.unflatten(x, 1, (-1, self.group)), 2).flatten(1, 2)


class Pointwise(nn.Module):
    """A pointwise function by its name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return x.abs() if self.name == "abs" else activation(self.name)(x)


def weighted_correlations(kernel: Tensor, q: Tensor) -> Tensor:
    """``sum_j a_ij q_j / q_i`` for each filter i, a_ij the sum of |correlation of the filters i and j|.

    Args:
        kernel: ``(filters, channels, height, width)``.
        q: One positive number a filter.
    """
    margin = (kernel.shape[2] - 1, kernel.shape[3] - 1)
    sums = functional.conv2d(kernel, kernel, padding=margin).abs().sum((2, 3))
    return (sums @ q) / q


def _cancelling_pairs(features: int, reach: int) -> Tensor:
    """Generators in pairs that are almost the same."""
    pairs = torch.randn(2 * reach, 1, features, features).expand(-1, 2, -1, -1).flatten(0, 1)
    apart = torch.randn(4 * reach, features, features)
    return pairs / math.sqrt(features) + apart * (0.02 / features)


def _near_rotation(features: int) -> Tensor:
    kernel = torch.randn(features, features, 3, 3) * 1e-2
    kernel[:, :, 1, 1] += torch.linalg.qr(torch.randn(features, features)).Q
    return kernel


def _near_identity(half: int) -> Tensor:
    kernels = torch.rand(2, half, half, 3, 3) / (90 * half)
    kernels[0, :, :, 1, 1] += torch.eye(half)
    return kernels


def _shift_groups(features: int) -> list[int]:
    """Channels that stay, and that go right, left, down and up: pairs of equal numbers."""
    moved = features // 5 if features >= 5 else 0
    return [features - 4 * moved, *[moved] * 4] if moved else [features]


def _shift(x: Tensor, down: int, right: int, padding: str) -> Tensor:
    """Images moved by a pixel, with zeros or the other end of the image coming in."""
    moved = x.roll((down, right), (-2, -1))
    if padding == "circular":
        return moved
    mask = torch.ones(x.shape[-2:], dtype=x.dtype, device=x.device)
    if down:
        mask[0 if down > 0 else -1, :] = 0
    if right:
        mask[:, 0 if right > 0 else -1] = 0
    return moved * mask
