"""Critics: 1-Lipschitz scores of images, window by window, by construction."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.errors import UsageError
from recon.evidence import Constant, Proved
from recon.operators.convolution_norms import ROUNDING, absolute_norm, peak_norm
from recon.operators.rounding import gamma
from recon.priors.networks.architectures.lipschitz_network import cosines
from recon.priors.networks.architectures.network import LATER, Config, Derived, Model, drawn
from recon.priors.networks.layers.convolution import check_padding
from recon.priors.networks.layers.nonexpansive import MARGIN, Layer, MaxMin, OrthogonalConvolution, Scaled

_TINY = 1e-12
_FIRST_BANDS = [0.004, 0.008, 0.028, 0.08]
"""Of a filtered image on [0, 1]: the width of each band when training begins."""
_SMOOTHING = 1e-6
"""Of the norm of a window, so that its derivative exists at zero."""


@dataclass(frozen=True)
class CriticConfig(Config):
    """A critic ``s(x) = max over windows w of h(z_w)``, or of ``h((z_w, u) / sqrt(2))`` with a context u.

    The features are ``split(layer_m(... layer_1(lift(x))))``: filters without a mean, orthogonal convolutions, and a
    split of each channel into bands of amplitude. z_w are the norms of each channel over a window; h is a
    maximum over heads of a minimum over pieces of affine functions whose gradients have norm 1. The context u has, of
    each channel, the mean over the windows of the image in which it is least: an artefact that is everywhere, as noise
    is, is there too, and a window is judged beside what is usual in its image.

    Attributes:
        fold: Pixels along each axis that become channels of one, which loses nothing: features are that much coarser.
        features: Channels before the split; a bank of cosines has ``channels ((fold ends)^2 - 1)``.
        depth: Orthogonal convolutions after the lift.
        size: Height and width of their kernels, odd, in folded pixels.
        ends: Height and width of the kernels that lift the image, odd, in folded pixels.
        bands: Thresholds of amplitude, which make one channel more bands than that.
        heads: Maxima in h: each may stand for another kind of artefact.
        pieces: Minima of each: all of what it asks for must be there.
        window: Height and width of a window of features, in pixels.
        stride: Pixels from one window to the next.
        context: Whether h sees u.
        share: Of the windows whose mean u is.
    """

    noise_range: tuple[float, float] = (0.01, 0.05)
    fold: int = 2
    features: int = 36
    depth: int = 0
    size: int = 3
    ends: int = 3
    bands: int = 4
    heads: int = 16
    pieces: int = 8
    window: int = 32
    stride: int = 16
    context: bool = field(default=False, metadata={LATER: "0.9.0"})
    share: float = field(default=0.25, metadata={LATER: "0.9.0"})

    @property
    def reach(self) -> int:
        """How many pixels away a feature can depend on the image."""
        return self.fold * (self.ends // 2 + self.depth * (self.size // 2))

    @property
    def least_side(self) -> int:
        """Height and width of the smallest image: a window, and what its features depend on."""
        return self.window + 2 * self.reach

    def check(self) -> None:
        """See :meth:`Config.check`."""
        super().check()
        check_padding(self.padding, ("zero",))
        if self.size % 2 == 0 or self.ends % 2 == 0 or not (1 <= self.size <= 31 and 1 <= self.ends <= 31):
            raise UsageError(
                f"Critic: size={self.size!r}, ends={self.ends!r}; expected odd numbers of 1 to 31, the heights and "
                "widths of kernels with a middle."
            )
        positive = min(self.heads, self.pieces) >= 1 and min(self.depth, self.bands) >= 0
        if not (positive and self.features >= 2 and self.features % 2 == 0):
            raise UsageError(
                f"Critic: features={self.features!r}, depth={self.depth!r}, bands={self.bands!r}, heads="
                f"{self.heads!r}, pieces={self.pieces!r}; expected an even number of features, a head and a piece, and "
                "nothing negative."
            )
        if not 0 < self.share <= 1:
            raise UsageError(f"Critic: share={self.share!r}; expected a share of the windows above 0 and at most 1.")
        if not 1 <= self.fold <= 8:
            raise UsageError(f"Critic: fold={self.fold!r}; expected 1 to 8 pixels.")
        if not self.fold <= self.stride <= self.window or self.stride % self.fold or self.window % self.fold:
            raise UsageError(
                f"Critic: window={self.window!r}, stride={self.stride!r}; expected multiples of fold={self.fold!r}, "
                "and a stride of at most the window, because no pixel may lie between two windows."
            )


class Critic(Model):
    """A score of images that is 1-Lipschitz for the Euclidean norm of their pixels: larger for artefacts.

    *Theorem*. ``|s(x) - s(y)| <= ||x - y||``. *Proof*: the lift, the layers and the split are nonexpansive; what a
    window keeps of the features is a projection; the norms of its channels differ by at most the norms of the
    differences, whose squares add up to at most that of the features; the inner product with a vector of norm 1 is
    1-Lipschitz, and so are minima, maxima and means of 1-Lipschitz functions. A context: the mean of the
    k lowest norms of a channel is the minimum over all means of k of them, so that it changes by no more than the norm
    of what changes in the channel; the squares of both halves add up to at most twice that of the whole change.

    Features near the border, which would depend on zeros outside of the image, belong to no window.
    """

    config: CriticConfig

    def __init__(self, config: CriticConfig = CriticConfig()) -> None:
        super().__init__()
        config.check()
        self.config = config
        features, padding = config.features, config.padding
        self.lift = Details(config.channels * config.fold**2, features, padding, config.ends)
        self.layers = nn.ModuleList(
            OrthogonalConvolution(features, padding, MaxMin(), config.size) for _ in range(config.depth)
        )
        self.split = Bands(features, config.bands)
        inputs = features * (config.bands + 1) * (2 if config.context else 1)
        self.out = Pieces(inputs, config.heads, config.pieces)
        if not self.lift.kernel.is_meta and features >= config.channels * ((config.fold * config.ends) ** 2 - 1):
            self._begin_with_cosines()

    @torch.no_grad()
    def _begin_with_cosines(self) -> None:
        """Lift by the orthonormal cosine transform of patches, over ``ends``: an isometry but for the means."""
        config, fold = self.config, self.config.fold
        basis = functional.pixel_unshuffle(cosines(fold * config.ends)[1:, None], fold).to(self.lift.kernel)
        lift = torch.zeros_like(self.lift.kernel)
        for index in range(config.channels):
            place = slice(index, index + config.channels * len(basis), config.channels)
            lift[place, index * fold**2 : (index + 1) * fold**2] = basis / config.ends
        self.lift.kernel.copy_(lift)

    def forward(self, x: Tensor) -> Tensor:
        """The score of each image, ``(batch,)``: the largest of its windows."""
        return self.scores(x).amax((1, 2))

    def scores(self, x: Tensor) -> Tensor:
        """The score of each window, ``(batch, rows, columns)``.

        Args:
            x: ``(batch, channels, height, width)`` on the scale that the critic was made for.

        Raises:
            UsageError: The images have other channels, or are smaller than a window with what it depends on.
        """
        self.check_input(x)
        z = self.lift(self._folded(x.to(self.lift.kernel.dtype)))
        for layer in self.layers:
            z = layer(z)
        inside = self._inside(z)
        norms = self._norms(self.split(inside))
        if self.config.context:
            norms = self._with_context(norms, inside.shape[-2:])
        found: Tensor = self.out(norms)
        return found

    def _with_context(self, norms: Tensor, sides: tuple[int, ...]) -> Tensor:
        """The norms, and the mean of the lowest of each channel; a window that is cut off would show too little."""
        window, stride = self.config.window // self.config.fold, self.config.stride // self.config.fold
        rows, columns = (1 + (side - window) // stride for side in sides)
        count = max(1, round(self.config.share * rows * columns))
        lowest = norms[..., :rows, :columns].flatten(2).topk(count, largest=False).values.mean(2)
        return torch.cat([norms, lowest[..., None, None].expand_as(norms)], 1) / math.sqrt(2)

    def places(self, height: int, width: int) -> tuple[list[int], list[int]]:
        """The first row, and the first column, of the pixels under each window of an image."""
        config = self.config

        def starts(side: int) -> list[int]:
            inside = side - side % config.fold - 2 * config.reach
            count = 1 + -(-(inside - config.window) // config.stride)
            return [config.reach + index * config.stride for index in range(count)]

        return starts(height), starts(width)

    def changes(self, difference: Tensor) -> Tensor:
        """The norm of a difference of images under each window, ``(batch, rows, columns)``."""
        found: Tensor = torch.linalg.vector_norm(self._norms(self._inside(self._folded(difference))), dim=1)
        return found

    def lipschitz(self) -> Constant:
        """The product of the bounds of the layers, in double precision, rounded upwards: of every image of any size."""
        twin = self.frozen()
        layers = [twin.lift, *twin.layers, twin.out]
        value = math.prod(layer.bound() for layer in layers if isinstance(layer, Layer | Pieces)) * ROUNDING
        return Proved(
            value,
            f"the product of the bounds of {len(layers)} layers; norms over windows, and the maximum over windows, are "
            "1-Lipschitz",
        )

    @torch.no_grad()
    def rounding(self, size: float, pixels: int) -> float:
        """A bound of how far a score in double precision is from the exact one, of the weights as they are frozen.

        A sum of n products in double precision is off by at most ``g_n = n v / (1 - n v)``, v = 2^-53, of the sum of
        their sizes (Higham 2002, section 3.1). For a convolution K of z that is ``g_n || |K| || ||z||`` in the norm;
        what is off before a layer is no larger after it, because all that follows is 1-Lipschitz.

        Args:
            size: The norm of the image, on the scale of the critic.
            pixels: Of the image.
        """
        twin, config, lost = self.frozen(), self.config, 0.0
        for layer in (twin.lift, *twin.layers):
            assert isinstance(layer, Layer)  # noqa: S101  all of them are
            kernel, bias = layer.applied_kernel(), getattr(layer, "bias", None)
            added = 0.0 if bias is None else float(torch.linalg.vector_norm(bias)) * math.sqrt(pixels)
            lost += gamma(kernel[0].numel() + 1) * (absolute_norm(kernel).value * size + added)
            size = size * layer.bound() + added
        lost += gamma(4 * (config.bands + 1)) * size
        window = (config.window // config.fold) ** 2
        lost += gamma(2 * window + 8 + pixels) * (size + _SMOOTHING * math.sqrt(config.features * (config.bands + 1)))
        weight, inputs = twin.out.derived()[0], twin.out.weight.shape[1]
        size += _SMOOTHING * math.sqrt(inputs)
        lost += gamma(inputs + 2) * (float(weight.norm(dim=1).max()) * size + float(twin.out.bias.abs().max()))
        return lost * ROUNDING

    def check_input(self, x: Tensor) -> None:
        """Refuse what the critic cannot take; see :meth:`scores`."""
        config = self.config
        if x.ndim != 4 or x.shape[1] != config.channels or not x.is_floating_point():
            raise UsageError(
                f"Critic: the image has shape {tuple(x.shape)} and type {x.dtype}; expected (batch, {config.channels}, "
                "height, width) of real numbers, as the critic was made for."
            )
        if min(x.shape[-2:]) < config.least_side:
            raise UsageError(
                f"Critic: the image has {x.shape[-2]} x {x.shape[-1]} pixels; expected at least {config.least_side} "
                f"along each axis, because a window of {config.window} sees {config.reach} pixels around it."
            )

    def _folded(self, x: Tensor) -> Tensor:
        """Squares of pixels as channels of one; what is left over at the end is cut off."""
        fold = self.config.fold
        height, width = (side - side % fold for side in x.shape[-2:])
        return functional.pixel_unshuffle(x[..., :height, :width], fold)

    def _inside(self, z: Tensor) -> Tensor:
        """Features that depend on no zeros around the image."""
        margin = self.config.reach // self.config.fold
        return z[..., margin : z.shape[-2] - margin, margin : z.shape[-1] - margin]

    def _norms(self, z: Tensor) -> Tensor:
        """The norm of each channel over each window, ``(batch, features, rows, columns)``; the last ones may be cut."""
        window, stride = self.config.window // self.config.fold, self.config.stride // self.config.fold
        below, right = (-(side - window) % stride for side in z.shape[-2:])
        squares = functional.pad(z.square(), (0, right, 0, below))
        return (functional.avg_pool2d(squares, window, stride) * window**2 + _SMOOTHING**2).sqrt()


class Details(Scaled):
    """A convolution by filters without a mean, divided by a sound bound of its norm."""

    def derive(self) -> tuple[Tensor, ...]:
        kernel = self.kernel - self.kernel.mean((1, 2, 3), keepdim=True)
        return (kernel * ((1 - MARGIN) / peak_norm(kernel).clamp(min=_TINY)),)


class Bands(nn.Module):
    """The modulus of each channel as a sum of bands: ``(r_0 - r_1) + ... + r_k`` with ``r_i = max(|z| - t_i, 0)``.

    Nonexpansive, with the bands as channels: each is monotone in |z|, so that their changes have one sign and add up to
    that of |z|, and the root of a sum of squares is at most the sum.
    """

    def __init__(self, features: int, bands: int) -> None:
        super().__init__()
        shape = (bands, features)
        first = torch.tensor(_FIRST_BANDS[:bands] + [_FIRST_BANDS[-1]] * (bands - len(_FIRST_BANDS)))
        self.log_steps = drawn(shape, lambda: first.log()[:, None].expand(shape).clone())

    def forward(self, z: Tensor) -> Tensor:
        above, parts = z.abs(), []
        for step in self.log_steps.exp():
            beyond = (above - step.view(-1, 1, 1)).relu()
            parts.append(above - beyond)
            above = beyond
        return torch.cat([*parts, above], 1)


class Pieces(Derived):
    """``max_k min_l <w_kl, z> + b_kl`` of the channels z, with ``||w_kl|| = 1``."""

    def __init__(self, features: int, heads: int, pieces: int) -> None:
        super().__init__()
        self.heads = heads
        self.weight = drawn((heads * pieces, features), lambda: torch.randn(heads * pieces, features))
        self.bias = nn.Parameter(torch.zeros(heads * pieces))

    def derive(self) -> tuple[Tensor, ...]:
        norms = torch.linalg.vector_norm(self.weight, dim=1, keepdim=True)
        return (self.weight * ((1 - MARGIN) / norms.clamp(min=_TINY)),)

    def forward(self, z: Tensor) -> Tensor:
        (weight,) = self.derived()
        values = functional.conv2d(z, weight[..., None, None], self.bias)
        return torch.unflatten(values, 1, (self.heads, -1)).amin(2).amax(1)

    def bound(self) -> float:
        """The largest norm of a gradient of what is applied."""
        return float(torch.linalg.vector_norm(self.derived()[0].double(), dim=1).max()) * ROUNDING
