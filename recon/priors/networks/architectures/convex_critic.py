"""Convex critics: scores of images that are convex, smooth and 1-Lipschitz by construction."""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.errors import InputError, UsageError
from recon.evidence import Proved
from recon.operators.convolution_norms import ROUNDING, absolute_norm, convolution_norm, peak_norm
from recon.priors.networks.architectures.lipschitz_network import cosines
from recon.priors.networks.architectures.network import Config, Derived, Model, drawn
from recon.priors.networks.layers.convolution import analyse, check_padding, packed, synthesise
from recon.priors.networks.layers.nonexpansive import MARGIN

_TINY = 1e-12
_FIRST_CORNER = 0.01
"""Of an image on [0, 1]: the widths of the rounded corners when training begins, beyond the least."""

_LARGEST = 100.0
"""Of a weight, which may be a logarithm."""


@dataclass(frozen=True)
class ConvexCriticConfig(Config):
    """A critic ``R(x) = sum over places p and channels k of <c_1, z_1> + ... + <c_m, z_m>``.

    ``z_1 = |W x|`` with rounded corners, for a bank W of filters without a mean that stay inside of the image, and
    ``z_l = (V_l z_(l-1) - b_l)_+`` with rounded corners, where V_l and all c_l are nonnegative.

    Attributes:
        features: Filters of the bank; a full bank of cosines has ``channels size^2 - channels``.
        size: Their height and width, odd.
        depth: Layers after the bank.
        hidden: Channels of each.
        window: Height and width of their kernels, odd.
        corner: The least width of the rounded corners, on the scale of the images: the smaller, the steeper the
            gradient of R may change.
        factor: What the weight of R is of the noise that the adjoint of the operator makes in a pixel; the training
            fills it in.
    """

    features: int = 48
    size: int = 7
    depth: int = 1
    hidden: int = 16
    window: int = 3
    corner: float = 0.002
    factor: float = 1.0

    @property
    def reach(self) -> int:
        """How many pixels away a place of the last layer can depend on the image."""
        return self.size // 2 + self.depth * (self.window // 2)

    @property
    def least_side(self) -> int:
        """Height and width of the smallest image."""
        return 2 * self.reach + 1

    def check(self) -> None:
        """See :meth:`Config.check`."""
        super().check()
        check_padding(self.padding, ("zero",))
        if self.size % 2 == 0 or self.window % 2 == 0 or not (3 <= self.size <= 31 and 1 <= self.window <= 31):
            raise UsageError(
                f"ConvexCritic: size={self.size!r}, window={self.window!r}; expected odd numbers of at most 31, the "
                "first at least 3: kernels with a middle."
            )
        if not (self.features >= 1 and self.hidden >= 1 and 0 <= self.depth <= 4):
            raise UsageError(
                f"ConvexCritic: features={self.features!r}, hidden={self.hidden!r}, depth={self.depth!r}; expected at "
                "least 1 filter and 1 channel, and 0 to 4 layers after the bank."
            )
        if not 1e-6 <= self.corner <= 1:
            raise UsageError(
                f"ConvexCritic: corner={self.corner!r}; expected 1e-6 to 1, on the scale of the images: without "
                "rounded corners the gradient jumps."
            )
        if not 1e-6 <= self.factor <= 1e6:
            raise UsageError(f"ConvexCritic: factor={self.factor!r}; expected 1e-6 to 1e6, of a weight.")


class ConvexCritic(Model):
    """A convex score R of images of any size, with proved constants.

    *Convexity*. |.| with rounded corners is convex, and so is each later channel: a convex nondecreasing function of
    nonnegative combinations of convex functions (Amos, Xu, Kolter 2017). R is even, and a sum with nonnegative weights.

    *Gradient*. With g_m = c_m, ``g_l = c_l + V_(l+1)^T g_(l+1)`` summed over the kernel, the derivative of R by a
    response of the bank k lies in ``[-g_1k, g_1k]``, as all slopes are at most 1 and nothing is negative. So
    ``||grad R(x)|| <= ||W|| ||g_1|| sqrt(P)`` with P the places of a response. The weights are divided by ||W|| and
    ||g_1||, so that ``R / sqrt(P)`` is 1-Lipschitz for the Euclidean norm, at every image size; ``w R`` weighs every
    place alike whatever the size.

    *Second derivative*. That of ``<g_l, z_l>`` by z_(l-1) is at most ``diag(g_l / (4 e_l))`` in the response, e_l the
    widths of the corners (``diag(g_1 / e_1)`` in the first), and the rest is ``<V_l^T g_l slopes, z_(l-1)>``, of which
    the same is said. So grad R has the Lipschitz constant
    ``||diag(g_1/e_1)^(1/2) W||^2 + sum_l ||diag(g_l / 4 e_l)^(1/2) V_l ... V_2||^2 ||W||^2``, where the norm of
    nonnegative kernels between slopes in [0, 1] is at most that of the product of their sums.
    """

    config: ConvexCriticConfig

    def __init__(self, config: ConvexCriticConfig = ConvexCriticConfig()) -> None:
        super().__init__()
        config.check()
        self.config = config
        self.bank = Bank(config)
        self.mixing = Mixing(config)

    def forward(self, x: Tensor) -> Tensor:
        """``R(x) / sqrt(P)`` of each image, ``(batch,)``: 1-Lipschitz."""
        return self.value(x) / math.sqrt(self.places(x))

    def check_weights(self) -> None:
        """Refuse weights whose exponentials say nothing.

        Raises:
            InputError: One is not a number, or far from those of any training.
        """
        largest = max(float(parameter.detach().abs().max()) for parameter in self.parameters())
        if not largest <= _LARGEST:
            raise InputError(
                f"ConvexCritic: the largest weight is {largest:g}; expected at most {_LARGEST:g}, because logarithms "
                "beyond that are of no critic that was trained."
            )

    def places(self, x: Tensor) -> int:
        """P, how many places a filter has in an image."""
        return math.prod(side - self.config.size + 1 for side in x.shape[-2:])

    def value(self, x: Tensor) -> Tensor:
        """R of each image, ``(batch,)``, in the precision of the image.

        Args:
            x: ``(batch, channels, height, width)`` on the scale that the critic was made for.

        Raises:
            UsageError: The images have other channels, or are too small.
        """
        self.check_input(x)
        shares, mixing = self.mixing.layers(), self.mixing
        z = _modulus(self._responses(x), mixing.corner(0))
        total = _weighed(z, shares[0][0])
        for index, (share, kernel) in enumerate(shares[1:], start=1):
            z = _rectified(_mixed(z, kernel, mixing.thresholds[index - 1]), mixing.corner(index))
            total = total + _weighed(z, share)
        return total

    def gradient(self, x: Tensor) -> Tensor:
        """grad R, at the size of x: one pass forward and one back, differentiable by the weights."""
        self.check_input(x)
        (kernel,), shares, mixing = self.bank.derived(), self.mixing.layers(), self.mixing
        u, corner = self._responses(x), mixing.corner(0)
        root = (u.square() + corner.square()).sqrt()
        slopes, z = [u / root], u.square() / (root + corner)
        for index, (_, matrix) in enumerate(shares[1:], start=1):
            p = _mixed(z, matrix, mixing.thresholds[index - 1]) / mixing.corner(index)
            slopes.append(p.sigmoid())
            z = _softplus(p) * mixing.corner(index)
        back = shares[-1][0].view(1, -1, 1, 1) * slopes[-1]
        for index in range(len(shares) - 1, 0, -1):
            pulled = functional.conv_transpose2d(back, shares[index][1])
            back = (pulled + shares[index - 1][0].view(1, -1, 1, 1)) * slopes[index - 1]
        return synthesise(back, kernel, "valid", (x.shape[-2], x.shape[-1]))

    def lipschitz(self) -> Proved:
        """Of ``R / sqrt(P)``: a bound of the norm of its gradient, of every image of every size."""
        return self.frozen().applied_lipschitz()

    def smoothness(self) -> Proved:
        """Of R: a bound of the Lipschitz constant of its gradient, of every image of every size."""
        return self.frozen().applied_smoothness()

    def applied_lipschitz(self) -> Proved:
        """The bound of :meth:`lipschitz` of what is applied, however that was made; in double precision only."""
        norm = convolution_norm(self.bank.derived()[0])
        slopes = float(torch.linalg.vector_norm(self.mixing.pulled()[0])) * ROUNDING
        return Proved(norm.value * slopes, "||W|| ||g||, g the largest derivatives by the responses of the bank W")

    def applied_smoothness(self) -> Proved:
        """The bound of :meth:`smoothness` likewise."""
        (kernel,), mixing, pulled = self.bank.derived(), self.mixing, self.mixing.pulled()
        scaled = kernel * (pulled[0] / mixing.corner(0).flatten()).sqrt().view(-1, 1, 1, 1)
        total, norm, chain = convolution_norm(scaled).value ** 2, convolution_norm(kernel).value, list[Tensor]()
        for index, (_, matrix) in enumerate(mixing.layers()[1:], start=1):
            root = (pulled[index] / (4 * mixing.corner(index).flatten())).sqrt()
            total += (absolute_norm(*chain, matrix * root.view(-1, 1, 1, 1)).value * norm) ** 2
            chain.append(matrix)
        return Proved(total * ROUNDING, "the sum over the layers of their curvature times what reaches them")

    def check_input(self, x: Tensor) -> None:
        """Refuse what the critic cannot take; see :meth:`value`."""
        config = self.config
        if x.ndim != 4 or x.shape[1] != config.channels or not x.is_floating_point():
            raise UsageError(
                f"ConvexCritic: the image has shape {tuple(x.shape)} and type {x.dtype}; expected (batch, "
                f"{config.channels}, height, width) of real numbers, as the critic was made for."
            )
        if min(x.shape[-2:]) < config.least_side:
            raise UsageError(
                f"ConvexCritic: the image has {x.shape[-2]} x {x.shape[-1]} pixels; expected at least "
                f"{config.least_side} along each axis, because its layers stay inside of the image."
            )

    def _responses(self, x: Tensor) -> Tensor:
        return analyse(x, self.bank.derived()[0], "valid")


class Bank(Derived):
    """Filters without a mean, divided by a sound bound of the norm of the bank; they begin as cosines of patches."""

    def __init__(self, config: ConvexCriticConfig) -> None:
        super().__init__()
        shape = (config.features, config.channels, config.size, config.size)
        self.kernel = drawn(shape, lambda: _first_bank(shape))

    def derive(self) -> tuple[Tensor, ...]:
        kernel = self.kernel - self.kernel.mean((2, 3), keepdim=True)
        return (kernel * ((1 - MARGIN) / peak_norm(kernel).clamp(min=_TINY)),)


class Mixing(Derived):
    """The nonnegative numbers: the share c_l of each channel, and the kernels V_l; divided by ||g_1||."""

    def __init__(self, config: ConvexCriticConfig) -> None:
        super().__init__()
        widths = [config.features, *[config.hidden] * config.depth]
        self.log_shares = nn.ParameterList(_constant(width, 0.0) for width in widths)
        self.log_corners = nn.ParameterList(_constant(width, math.log(_FIRST_CORNER)) for width in widths)
        self.thresholds = nn.ParameterList(nn.Parameter(torch.zeros(config.hidden)) for _ in range(config.depth))
        pairs = itertools.pairwise(widths)
        self.log_kernels = nn.ParameterList(_first_kernel(after, before, config.window) for before, after in pairs)
        self.least = config.corner

    def derive(self) -> tuple[Tensor, ...]:
        shares, kernels = [each.exp() for each in self.log_shares], [each.exp() for each in self.log_kernels]
        norm = torch.linalg.vector_norm(_pulled(shares, kernels)[0]).clamp(min=_TINY)
        return (*(share * ((1 - MARGIN) / norm) for share in shares), *kernels)

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """The shares of each layer, and the kernel before it; of the first, none."""
        found = self.derived()
        count = len(self.log_shares)
        return list(zip(found[:count], (found[0], *found[count:]), strict=True))

    def pulled(self) -> list[Tensor]:
        """g_l: the largest derivative of R by each channel of each layer."""
        layers = self.layers()
        return _pulled([share for share, _ in layers], [kernel for _, kernel in layers[1:]])

    def corner(self, index: int) -> Tensor:
        """The widths of the corners of a layer, ``(1, channels, 1, 1)``."""
        found: Tensor = self.least + self.log_corners[index].exp().view(1, -1, 1, 1)
        return found


def _pulled(shares: list[Tensor], kernels: list[Tensor]) -> list[Tensor]:
    found = [shares[-1]]
    for share, kernel in zip(shares[-2::-1], reversed(kernels), strict=True):
        through: Tensor = share + found[0] @ kernel.sum((2, 3))
        found.insert(0, through)
    return found


def _constant(width: int, value: float) -> nn.Parameter:
    return drawn((width,), lambda: torch.full((width,), value))


def _first_kernel(after: int, before: int, window: int) -> nn.Parameter:
    shape = (after, before, window, window)
    return drawn(shape, lambda: torch.randn(shape) - math.log(before * window**2))


def _first_bank(shape: tuple[int, ...]) -> Tensor:
    count, channels, size, _ = shape
    kernel = torch.randn(shape) * (0.3 / size)
    basis = cosines(size)[1:] / size
    for index in range(min(count, channels * len(basis))):
        kernel[index] = 0
        kernel[index, index % channels] = basis[index // channels]
    return kernel


def _modulus(u: Tensor, corner: Tensor) -> Tensor:
    """``sqrt(u^2 + e^2) - e``, without cancellation."""
    return u.square() / ((u.square() + corner.square()).sqrt() + corner)


def _rectified(p: Tensor, corner: Tensor) -> Tensor:
    """``e log(1 + exp(p / e))``."""
    return _softplus(p / corner) * corner


def _softplus(p: Tensor) -> Tensor:
    """``log(1 + exp(p))``; p itself only where nothing else can be told in double precision, or it would be a step."""
    return functional.softplus(p, threshold=50)


def _mixed(z: Tensor, kernel: Tensor, threshold: Tensor) -> Tensor:
    found: Tensor = functional.conv2d(z, packed(kernel), -threshold)
    return found


def _weighed(z: Tensor, share: Tensor) -> Tensor:
    found: Tensor = (z.sum((2, 3)) * share).sum(1)
    return found
