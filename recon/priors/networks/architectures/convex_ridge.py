"""Proximity operators of learned convex potentials."""

import math
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.errors import UsageError
from recon.evidence import Constant, Proved
from recon.operators.convolution_norms import convolution_norm
from recon.priors.networks.architectures.network import LATER, Config, Derivative, Network, NoiseLevel, drawn
from recon.priors.networks.architectures.ridge_potential import Ridge
from recon.priors.networks.architectures.ridge_prox import DEFAULT, InnerSolver, prox, solve_curved
from recon.priors.networks.layers.convolution import PADDINGS, check_padding, compose
from recon.priors.networks.layers.filter_bank import GRID, FilterBank
from recon.priors.networks.layers.lifting import BANDS, LiftingFilters
from recon.priors.networks.layers.profiles import profile
from recon.types import Map

MOST_SCALES = 4
"""Of a lifting: filters of the fourth have 69 x 69 pixels where a prediction sees 5 x 5."""

_WEIGHT, _SCALE = 25.0, 0.2
"""What training starts from: the weight, and the scales relative to the response of each filter to the noise. A scale
well above that response would make the potential quadratic, and a linear filter what training has to leave first."""


@dataclass(frozen=True)
class ConvexRidgeConfig(Config):
    """The prox of a sum of convex ridge functions of learned filters; see :mod:`.ridge_potential`.

    Zero padding serves photographs better than ``"valid"``, which leaves pixels near the border noisy: after a short
    training for noise of 25/255, the outer ten pixels of crops of 160 x 160 cost 0.1 dB with the one and 1.1 dB with
    the other.

    Attributes:
        widths: Output channels of the convolutions whose composition makes the filters; the last is their number.
        size: Of each convolution, odd: three of 5 x 5 make filters of 13 x 13.
        profile: ``"spline"`` or ``"huber"``.
        pieces: Intervals of a spline, or terms of a mixture.
        group: Filters whose responses enter by their Euclidean length.
        levels: Noise levels, equally spaced in the logarithm over the noise range, at which the weight and the scales
            are free; between them their logarithms are interpolated. 1: a network for one level.
        lifting: Scales of a linear lifting whose details are the filters, in place of convolutions; 0: none. Then
            ``size`` is that of the window of a prediction, and ``widths`` the number of its bands, three a scale.
        one_shot: ``J = Id - grad R`` with R 1-smooth, instead of the prox of R: exact and without an inner iteration,
            and a proximity operator too, of another function.
    """

    widths: tuple[int, ...] = (4, 8, 32)
    size: int = 5
    profile: str = "spline"
    pieces: int = 24
    group: int = 1
    levels: int = 1
    one_shot: bool = False
    lifting: int = field(default=0, metadata={LATER: "0.9.0"})

    def check(self) -> None:
        """See :meth:`Config.check`."""
        super().check()
        check_padding(self.padding, PADDINGS)
        if not self.widths or min(self.widths) < 1 or self.size < 1 or self.size % 2 == 0:
            raise UsageError(
                f"ConvexRidge: widths={self.widths!r} and size={self.size!r}; expected at least one number of "
                "channels, and an odd size."
            )
        if self.lifting:
            self._check_lifting()
        if self.group < 1 or self.widths[-1] % self.group:
            raise UsageError(
                f"ConvexRidge: group={self.group!r} for {self.widths[-1]} filters; expected a divisor of their number."
            )
        if self.levels < 1 or (self.levels > 1) != (self.noise_range[0] < self.noise_range[1]):
            raise UsageError(
                f"ConvexRidge: levels={self.levels!r} for noise_range={self.noise_range!r}; expected 1 for a single "
                "noise level, and at least 2 for a range."
            )
        if not self.noise_range[0] > 0:
            raise UsageError(
                f"ConvexRidge: noise_range={self.noise_range!r}; expected positive levels, which set its scales."
            )

    def _check_lifting(self) -> None:
        if not 0 < self.lifting <= MOST_SCALES or self.size < 3 or self.channels != 1:
            raise UsageError(
                f"ConvexRidge: lifting={self.lifting!r} with size={self.size!r} and channels={self.channels!r}; "
                f"expected 1 to {MOST_SCALES} scales, a window of at least 3 pixels, and grey images."
            )
        if self.widths != (BANDS * self.lifting,):
            raise UsageError(
                f"ConvexRidge: widths={self.widths!r} with lifting={self.lifting!r}; expected "
                f"({BANDS * self.lifting},), because a scale has {BANDS} bands of details."
            )


class Filters(FilterBank):
    """Filters that are made by composing convolutions, and evaluated as one.

    Composing shares what filters have in common; one convolution with the filters themselves is the cheaper one on an
    image, and has no truncation in the middle that would part it from its symbol.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], size: int) -> None:
        super().__init__()
        inputs = (channels, *widths[:-1])
        self.kernels = nn.ParameterList(
            drawn((after, before, size, size), partial(_kernel, after, before, size))
            for before, after in zip(inputs, widths, strict=True)
        )

    def composed(self) -> Tensor:
        """See :meth:`FilterBank.composed`."""
        first, *others = self.kernels
        composed: Tensor = first - first.mean((2, 3), keepdim=True)
        for kernel in others:
            composed = compose(composed, kernel)
        return composed


class ConvexRidge(Network):
    """J = prox of R, or Id - grad R: symmetric, hence the proximity operator of a convex function, for all weights.

    Args:
        config: The architecture.
        solver: How the inner iteration of a prox is run; with ``steps`` it is fit for training, not for a proof.
    """

    config: ConvexRidgeConfig

    def __init__(self, config: ConvexRidgeConfig, solver: InnerSolver = DEFAULT) -> None:
        super().__init__()
        config.check()
        self.config, self.solver = config, solver
        groups = config.widths[-1] // config.group
        self.filters: FilterBank = (
            LiftingFilters(config.lifting, config.size)
            if config.lifting
            else Filters(config.channels, config.widths, config.size)
        )
        self.profile = profile(config.profile, groups, config.pieces)
        self.log_weight = nn.Parameter(torch.full((config.levels,), 0.0 if config.one_shot else math.log(_WEIGHT)))
        self.log_scale = nn.Parameter(torch.empty(config.levels, groups))
        if not self.log_scale.is_meta:  # where sizes are all that is wanted
            with torch.no_grad():
                response = self.filters.derive()[0].square().sum((1, 2, 3)).view(groups, -1).sum(1).sqrt()
                self.log_scale.copy_((_SCALE * response).log())

    @property
    def conditioned(self) -> bool:
        """Whether the network wants to be told the noise level."""
        return self.config.levels > 1

    @property
    def iterates(self) -> bool:
        """See :attr:`Network.iterates`."""
        return not self.config.one_shot

    def ridge(self, noise_level: NoiseLevel = None) -> Ridge:
        """The potential R at a noise level."""
        (kernel,) = self.filters.derived()
        weight, scale = self._strengths(noise_level)
        return Ridge(kernel, weight, scale, self.profile, self.config.group, self.config.padding)

    def forward(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        self.check_input(x, noise_level)
        ridge = self.ridge(noise_level)
        return x - ridge.gradient(x) if self.config.one_shot else prox(ridge, x, self.solver, self._share(noise_level))

    def Q(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        return 2 * self.forward(x, noise_level) - x

    def lipschitz_Q(self, noise_level: NoiseLevel = None) -> Constant:
        if not self.config.one_shot:
            return Proved(1.0, "the proximity operator of a convex function, whatever the weights (Moreau 1965)")
        smoothness = self.smoothness(noise_level)
        return Proved(max(1.0, 2 * smoothness.value - 1), f"Q = Id - 2 grad R with 0 <= R'' <= 1; {smoothness.how}")

    def smoothness(self, noise_level: NoiseLevel = None) -> Proved:
        """An upper bound of the Lipschitz constant of grad R, in double precision, rounded upwards."""
        twin = self.frozen()
        (kernel,), (weight, _) = twin.filters.derived(), twin._strengths(noise_level)
        norm = convolution_norm(kernel, grid=GRID)
        return Proved(float(weight.max()) * norm.value**2 * (1 + 1e-12), f"w ||W||^2; {norm.how}")

    def derivative(self, x: Tensor, noise_level: NoiseLevel = None) -> Derivative:
        """Q'(x), symmetric; for the prox by a linear solve at its image, to the accuracy of the solver."""
        self.check_input(x, noise_level)
        ridge = self.ridge(noise_level)
        if self.config.one_shot:
            curvature = ridge.curvature(x)
            return _symmetric(lambda v: v - 2 * curvature(v))
        return self._prox_derivative(ridge, x)

    def _prox_derivative(self, ridge: Ridge, x: Tensor) -> Derivative:
        with torch.no_grad():
            point = prox(ridge, x, self.solver)
        return _symmetric(lambda v: 2 * solve_curved(ridge, point, v, self.solver.adjoint_accuracy) - v)

    def _share(self, noise_level: NoiseLevel) -> Tensor | float:
        """Of the accuracy that is asked for: in training finer where there is less noise that could hide an error."""
        if not (self.training and self.conditioned):
            return 1.0
        level = torch.as_tensor(noise_level).to(self.log_weight).reshape(-1)
        return level / self.config.noise_range[1]

    def check_input(self, x: Tensor, noise_level: NoiseLevel) -> None:
        """See :meth:`Network.check_input`; the noise level must be positive besides."""
        super().check_input(x, noise_level)
        if isinstance(noise_level, int | float) and not (noise_level > 0 and math.isfinite(noise_level)):
            raise UsageError(f"ConvexRidge: noise_level={noise_level!r}; expected a positive finite number.")

    def _strengths(self, noise_level: NoiseLevel) -> tuple[Tensor, Tensor]:
        """w and s: logarithms interpolated over log noise; beyond the range J follows ``J_t(x) = t J(x/t)``."""
        low, high = self.config.noise_range
        if not self.conditioned:
            log_weight, log_scale = self.log_weight.view(-1), self.log_scale + math.log(low)
        else:
            level = torch.as_tensor(noise_level).to(self.log_weight).reshape(-1).log()
            last = self.config.levels - 1
            place = ((level - math.log(low)) * (last / math.log(high / low))).clamp(0, last)
            hats = (1 - (place[:, None] - torch.arange(last + 1).to(place)).abs()).clamp(min=0)
            log_weight, log_scale = hats @ self.log_weight, hats @ self.log_scale + level[:, None]
        if self.config.one_shot:
            log_weight = -functional.softplus(-log_weight)  # at most 0: ||R''|| <= 1
        return log_weight.exp().view(-1, 1, 1, 1), log_scale.exp()[..., None, None]


def _kernel(after: int, before: int, size: int) -> Tensor:
    return torch.randn(after, before, size, size) / math.sqrt(before * size)


def _symmetric(apply: Map) -> Derivative:
    return Derivative(apply, apply)
