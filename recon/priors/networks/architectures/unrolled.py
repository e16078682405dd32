"""Unrolled reconstructions: a few steps, each with a step size and a network, or with a dictionary.

Of the operator A only ``A`` and ``A_adjoint`` are needed, over ||A|| here, and likewise y. Forward-backward has
``f_n(x) = D_n(x - s_n A^T (A x - y)) - x``; primal-dual goes from (x, h) to ``h' = (h + r_n (A x - y)) / (1 + r_n)``
and ``x' = D_n(x - s_n A^T h')``; f_n is the change of both. Of a scan, filtered back-projection may take the place of
A^T: without the ramp, what differs from pixel to pixel hardly enters A^T A, and a few steps do not bring it back. The
steps are put together in momentum form (:mod:`recon.priors.networks.layers.momentum`). D_n adds a few convolutions to
the image, and may hand channels beside the image on to D_{n+1} (Adler, Oktem 2018). Sparse coding has a dictionary in
its place: see :mod:`.unrolled_codes`.

No theorem says that such a map is near the truth, or stable, on any image. It is made for one operator and one noise,
and knows both: :meth:`Unrolled.distance_of`.
"""

import math
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from recon.errors import UsageError
from recon.priors.networks.architectures.network import LATER, Config, Model, NoiseLevel
from recon.priors.networks.architectures.unrolled_codes import SparseCoding, coefficients_of
from recon.priors.networks.architectures.unrolled_steps import ForwardBackward, PrimalDual, Scaled
from recon.priors.networks.layers.momentum import MomentumForm
from recon.types import LinearOperator

CODING = "sparse-coding"
METHODS = ("forward-backward", "primal-dual", CODING)
GRADIENTS = ("adjoint", "filtered")
PROBES = 256
"""Numbers that tell an operator from others: signed sums over all that it measures of one image."""

SAME = 1e-3
"""The largest relative distance of what one operator measures of that image, in any precision and on any device."""

_LARGEST_STEPS = 1000
_LARGEST_SCALES = 6
_SINCE, _SINCE_CODES = {LATER: "0.8.0"}, {LATER: "0.10.0"}


@dataclass(frozen=True)
class UnrolledConfig(Config):
    """An unrolled reconstruction.

    Attributes:
        features: Channels between the convolutions of a step; of sparse coding the number of atoms.
        depth: Convolutions of a step.
        size: Height and width of their kernels, odd; or those of the atoms.
        shared: Whether all steps have the same weights; else each its own.
        steps: T.
        method: One of :data:`METHODS`.
        momentum: b, of the momentum form; 0: each step is a residual one.
        dimensions: 2 for images, 3 for volumes.
        operator: What it was trained for, as it was specified; of no effect.
        shape: The image's shape then.
        units: The grey values that became 0 and 1 then, as in ``"-1000:3071 HU"``; empty: nothing is known.
        hidden: Channels beside the image that a step hands on to the next one.
        scales: Resolutions at which the convolutions of a step look at the image, each half as fine as the one before:
            2 or 3 let a small network see streaks, which cross the whole image.
        gradient: What takes a residual to an image: ``"adjoint"``, or of a scan ``"filtered"`` back-projection.
        unit: What counts as 1 in the convolutions, and the error that thresholds are for, on the scale of the images.
        stride: Of sparse coding: atoms lie on the points of a lattice of this spacing.
        shifts: Of sparse coding: the lattices along each axis, a divisor of the stride; images are the mean of theirs.
    """

    features: int = 32
    depth: int = 3
    size: int = 3
    shared: bool = False
    steps: int = 8
    method: str = "forward-backward"
    momentum: float = 0.8
    dimensions: int = 2
    operator: str = ""
    shape: tuple[int, ...] = ()
    units: str = ""
    hidden: int = field(default=0, metadata=_SINCE)
    scales: int = field(default=1, metadata=_SINCE)
    gradient: str = field(default="adjoint", metadata=_SINCE)
    unit: float = field(default=1.0, metadata=_SINCE)
    stride: int = field(default=4, metadata=_SINCE_CODES)
    shifts: int = field(default=1, metadata=_SINCE_CODES)

    def check(self) -> None:
        """See :meth:`Config.check`."""
        super().check()
        if self.padding != "zero":
            raise UsageError(f"Unrolled: padding={self.padding!r}; expected 'zero'.")
        if self.method == CODING:
            self._check_codes()
        elif not (1 <= self.features <= 1024 and 1 <= self.depth <= 64 and self.size % 2 and 1 <= self.size <= 31):
            raise UsageError(
                f"Unrolled: features={self.features!r}, depth={self.depth!r}, size={self.size!r}; expected 1 to 1024 "
                "channels, 1 to 64 convolutions, and an odd size of 1 to 31."
            )
        if not 1 <= self.steps <= _LARGEST_STEPS:
            raise UsageError(f"Unrolled: steps={self.steps!r}; expected 1 to {_LARGEST_STEPS}.")
        if self.method not in METHODS:
            raise UsageError(f"Unrolled: method={self.method!r}; expected {', '.join(METHODS[:-1])} or {METHODS[-1]}.")
        if self.method != CODING and (self.stride, self.shifts) != (UnrolledConfig.stride, UnrolledConfig.shifts):
            raise UsageError(
                f"Unrolled: stride={self.stride!r}, shifts={self.shifts!r} with method={self.method!r}; expected none, "
                f"because only atoms ({CODING}) lie on a lattice."
            )
        if not 0 <= self.momentum < 1:
            raise UsageError(f"Unrolled: momentum={self.momentum!r}; expected a number from 0 to below 1.")
        if self.dimensions not in (2, 3):
            raise UsageError(f"Unrolled: dimensions={self.dimensions!r}; expected 2 or 3.")
        if not (0 <= self.hidden <= 1024 and 1 <= self.scales <= _LARGEST_SCALES):
            raise UsageError(
                f"Unrolled: hidden={self.hidden!r}, scales={self.scales!r}; expected 0 to 1024 channels and 1 to "
                f"{_LARGEST_SCALES} resolutions."
            )
        if self.scales > 1 and self.depth == 1:
            raise UsageError(
                f"Unrolled: scales={self.scales!r} with depth=1; expected a depth of 2 or more, because coarser scales "
                "see the features of the first convolution."
            )
        if self.gradient not in GRADIENTS:
            raise UsageError(f"Unrolled: gradient={self.gradient!r}; expected {' or '.join(GRADIENTS)}.")
        if not (0 < self.unit < math.inf):
            raise UsageError(f"Unrolled: unit={self.unit!r}; expected a positive number.")

    def _check_codes(self) -> None:
        if not (1 <= self.features <= 1024 and 1 <= self.stride <= self.size <= 64):
            raise UsageError(
                f"Unrolled: features={self.features!r}, size={self.size!r}, stride={self.stride!r} with "
                f"method={CODING!r}; expected 1 to 1024 atoms of at most 64 x 64 pixels, and a stride of at most their "
                "size, because they have to cover an image."
            )
        if self.shifts < 1 or self.stride % self.shifts:
            raise UsageError(
                f"Unrolled: shifts={self.shifts!r} for stride={self.stride!r}; expected a divisor of the stride, so "
                "that the lattices lie evenly."
            )
        if self.dimensions != UnrolledConfig.dimensions:
            raise UsageError(f"Unrolled: method={CODING!r} with dimensions=3; expected 2, because atoms are pictures.")
        for name in ("depth", "hidden", "scales"):
            if getattr(self, name) != getattr(UnrolledConfig, name):
                raise UsageError(
                    f"Unrolled: {name}={getattr(self, name)!r} with method={CODING!r}; expected none, because a step "
                    "is one dictionary and no stack of convolutions."
                )

    @property
    def conditioned(self) -> bool:
        """Whether it wants to be told the noise level: where it was trained for more than one."""
        low, high = self.noise_range
        return low < high


class Unrolled(Model):
    """A reconstruction from measurements in a fixed number of learned steps.

    Args:
        config: Its architecture.
    """

    config: UnrolledConfig
    probe: Tensor
    norm: Tensor

    def __init__(self, config: UnrolledConfig) -> None:
        super().__init__()
        config.check()
        self.config = config
        made = {"primal-dual": PrimalDual, CODING: SparseCoding}.get(config.method, ForwardBackward)
        self.branches = nn.ModuleList(made(config) for _ in range(1 if config.shared else config.steps))
        self.register_buffer("probe", torch.zeros(PROBES))
        self.register_buffer("norm", torch.zeros(1))
        self.memory = "checkpoint"
        self.held: tuple[MomentumForm, ...] = ()

    @property
    def conditioned(self) -> bool:
        """Whether it wants to be told the noise level."""
        return self.config.conditioned

    @torch.no_grad()
    def settle(self, operator: LinearOperator, norm: float) -> None:
        """Take an operator for the one that the network is made for.

        Args:
            operator: A, on images of ``config.shape``.
            norm: ||A||, or a bound of it.
        """
        self.norm.fill_(norm)
        self.probe.copy_(probe_of(operator, self.config))

    @torch.no_grad()
    def distance_of(self, operator: LinearOperator) -> float:
        """How far what an operator measures of a test image is from what that of the training measured, relatively.

        Infinite where it takes no images of that shape. Above :data:`SAME` it is another operator.
        """
        own = self.probe.double().cpu()
        try:
            found = probe_of(operator, self.config).double()
        except (UsageError, RuntimeError, ValueError, TypeError, IndexError):
            return math.inf
        return float((found - own).norm() / own.norm().clamp(min=1e-30))

    def forward(
        self, y: Tensor, operator: LinearOperator, noise_level: NoiseLevel = None, steps: int | None = None
    ) -> Tensor:
        """The reconstruction.

        Args:
            y: Measurements, (batch, channels, ...).
            operator: That of the training, for images of any size that it takes.
            noise_level: The standard deviation of the noise, for a network that is conditioned on it.
            steps: How many steps are done; ``None``: as many as were trained.

        Raises:
            UsageError: The measurements are not real, of other channels, or steps are asked for that do not exist.
        """
        unrolled = self.unroll(y, operator, noise_level, steps)
        form = MomentumForm(self._chosen(steps), self.config.momentum, memory=self.memory)
        self.held = (form,)  # whose error a training may look at
        return unrolled.image(form(unrolled.start, *unrolled.context))

    def unroll(
        self, y: Tensor, operator: LinearOperator, noise_level: NoiseLevel = None, steps: int | None = None
    ) -> "Unrolling":
        """The steps for measurements, one by one; arguments and errors as of :meth:`forward`."""
        config = self.config
        scaled = Scaled(operator, float(self.norm), config.gradient == "filtered", config.unit)
        if not y.is_floating_point() or y.ndim < 3 or y.shape[1] != config.channels:
            raise UsageError(
                f"Unrolled: the measurement has shape {tuple(y.shape)} and type {y.dtype}; expected (batch, "
                f"{config.channels}, ...) of real numbers."
            )
        level = self._level(y, noise_level)
        with torch.no_grad():
            x = scaled.start(y)
        small = y / scaled.norm
        start = x
        beside = [x.new_zeros(len(x), config.hidden * math.prod(x.shape[2:]))] if config.hidden else []
        if config.method == "primal-dual":
            beside.append(torch.zeros_like(small).flatten(1))
        if config.method == CODING:
            beside.append(x.new_zeros(len(x), coefficients_of(config, x.shape)))
        if beside:
            start = torch.cat([x.flatten(1), *beside], 1)
        context = (scaled, small, level, x.shape)
        return Unrolling(start, x.shape, context, [_Bound(branch, context) for branch in self._chosen(steps)])

    def _chosen(self, steps: int | None) -> list[nn.Module]:
        count = self.config.steps if steps is None else steps
        branches = list(self.branches)
        if len(branches) == 1:
            return branches * count
        if not 1 <= count <= len(branches):
            raise UsageError(
                f"Unrolled: steps={count} of a network with {len(branches)}; expected at most as many, because each "
                "has weights of its own and nothing is known of another."
            )
        return branches[:count]

    def _level(self, y: Tensor, noise_level: NoiseLevel) -> Tensor:
        """The noise level over the highest one of the training, (batch,); ones where the network takes none.

        Raises:
            UsageError: It is missing.
        """
        if not self.conditioned:
            return y.new_ones(len(y))
        if noise_level is None:
            raise UsageError("Unrolled: no noise level was given; expected one, because the network depends on it.")
        level = torch.as_tensor(noise_level, dtype=y.dtype, device=y.device).reshape(-1)
        return (level / self.config.noise_range[1]).expand(len(y))


@final
@dataclass(frozen=True)
class _Bound:
    """A branch with all that it is given but the state."""

    branch: nn.Module
    context: tuple[Any, ...]

    def __call__(self, state: Tensor) -> Tensor:
        found: Tensor = self.branch(state, *self.context)
        return found


@final
@dataclass(frozen=True)
class Unrolling:
    """The steps of an unrolled reconstruction for given measurements.

    Attributes:
        start: The first state.
        shape: That of the images.
        context: What each branch is given beside the state.
        branches: From a state to the change of the velocity.
    """

    start: Tensor
    shape: torch.Size
    context: tuple[Any, ...]
    branches: list[_Bound]

    def image(self, state: Tensor) -> Tensor:
        """The image in a state."""
        if state.shape == self.shape:
            return state
        return state[:, : math.prod(self.shape[1:])].view(self.shape)


@torch.no_grad()
def probe_of(operator: LinearOperator, config: UnrolledConfig) -> Tensor:
    """Numbers that tell an operator from others, (PROBES,): of what it measures of an image of independent pixels.

    Each measured value enters one of them, with a sign.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, config.channels, *config.shape, generator=generator, dtype=torch.float64).float()
    measured = operator.A(image).double().flatten()
    signs = torch.randint(2, measured.shape, generator=generator).double() * 2 - 1
    found = torch.zeros(PROBES, dtype=torch.float64)
    found.index_add_(0, torch.arange(len(measured)) % PROBES, measured * signs)
    return found.float()
