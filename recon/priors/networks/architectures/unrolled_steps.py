"""The steps of an unrolled reconstruction: its operator over its norm, and the branches that a state goes through."""

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.errors import UsageError
from recon.operators.tomography import Geometry, Tomography, inverse
from recon.priors.networks.architectures.network import drawn
from recon.types import LinearOperator

if TYPE_CHECKING:
    from recon.priors.networks.architectures.unrolled import UnrolledConfig

START_WINDOW, GRADIENT_WINDOW = "hann", "hamming"
FIRST_FILTERED = 0.1
"""The step size with filtered back-projection that training starts from."""


@final
@dataclass(frozen=True)
class Scaled:
    """An operator over its norm, with a measurement taken apart from it.

    Attributes:
        operator: A.
        norm: ||A||, or a bound of it.
        filtered: Whether :meth:`back` is filtered back-projection.
        unit: What counts as 1 in the convolutions, on the scale of the images.
    """

    operator: LinearOperator
    norm: float
    filtered: bool = False
    unit: float = 1.0

    def A(self, x: Tensor) -> Tensor:
        return self._at_home(self.operator.A, x) / self.norm

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self._at_home(self.operator.A_adjoint, y) / self.norm

    def back(self, residual: Tensor) -> Tensor:
        """The image of a residual, as the gradient has it: ``A_adjoint``, or the image that would measure it.

        Raises:
            UsageError: The latter is asked for, and the operator is no scan.
        """
        if not self.filtered:
            return self.A_adjoint(residual)
        if not isinstance(self.operator, Tomography):
            raise UsageError(
                f"Unrolled: gradient='filtered' with {type(self.operator).__name__}; expected a scan (ct:...), because "
                "filtered back-projection inverts no other operator."
            )
        return self._at_home(_inverse(self.operator.geometry, GRADIENT_WINDOW), residual * self.norm)

    def start(self, y: Tensor) -> Tensor:
        """An image from a measurement: filtered back-projection, else the scaled back-projection A^T y."""
        operator = self.operator
        if isinstance(operator, Tomography):
            return self._at_home(_inverse(operator.geometry, START_WINDOW), y)
        small = y / self.norm
        back = self.A_adjoint(small)
        seen = self.A(back).flatten(1)
        share = (seen * small.flatten(1)).sum(1) / seen.square().sum(1).clamp(min=1e-30)
        return back * share.view(-1, *[1] * (back.ndim - 1))

    def _at_home(self, apply: Any, x: Tensor) -> Tensor:
        """Apply a map where it runs: that of a cone on the CPU, wherever the network is."""
        operator = self.operator
        on_cpu = isinstance(operator, Tomography) and operator.geometry.kind == "cone"
        found: Tensor = apply(x.cpu()).to(x.device) if on_cpu else apply(x)
        return found


@lru_cache(maxsize=4)
def _inverse(geometry: Geometry, window: str) -> Any:
    """Filtered back-projection, whose weights are computed once."""
    return inverse(geometry, window)


class ForwardBackward(nn.Module):
    """The branch of a step of forward-backward; the state is an image, with hidden channels in one row an item."""

    def __init__(self, config: "UnrolledConfig") -> None:
        super().__init__()
        self.hidden = config.hidden
        self.log_step = drawn((1,), lambda: torch.full((1,), first_log_step(config)))
        self.correction = Correction(config)

    def forward(self, state: Tensor, scaled: Scaled, y: Tensor, level: Tensor, shape: torch.Size) -> Tensor:
        if not self.hidden:
            return self._moved(state, scaled, y, level, None)[0] - state
        x, hidden, _ = parts_of(state, shape, self.hidden)
        moved, kept = self._moved(x, scaled, y, level, hidden)
        assert kept is not None  # noqa: S101  as many channels as there were
        return torch.cat([(moved - x).flatten(1), (kept - hidden).flatten(1)], 1)

    def _moved(
        self, x: Tensor, scaled: Scaled, y: Tensor, level: Tensor, hidden: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        change = scaled.back(scaled.A(x) - y)
        found: tuple[Tensor, Tensor | None] = self.correction(
            x - self.log_step.exp() * change, change, level, scaled.unit, hidden
        )
        return found


class PrimalDual(nn.Module):
    """The branch of a step of primal-dual, of images, hidden channels and dual variables in one row an item."""

    def __init__(self, config: "UnrolledConfig") -> None:
        super().__init__()
        self.hidden = config.hidden
        self.log_steps = drawn((2,), lambda: torch.tensor([first_log_step(config), 0.0]))
        self.correction = Correction(config)

    def forward(self, state: Tensor, scaled: Scaled, y: Tensor, level: Tensor, shape: torch.Size) -> Tensor:
        x, hidden, rest = parts_of(state, shape, self.hidden)
        h = rest.view(y.shape)
        primal, dual = self.log_steps.exp()
        moved = (h + dual * (scaled.A(x) - y)) / (1 + dual)
        change = scaled.back(moved)
        given = hidden if self.hidden else None
        found, kept = self.correction(x - primal * change, change, level, scaled.unit, given)
        changes = [found - x, moved - h] if kept is None else [found - x, kept - hidden, moved - h]
        return torch.cat([each.flatten(1) for each in changes], 1)


def first_log_step(config: "UnrolledConfig") -> float:
    """The logarithm of the step size that training starts from.

    A step of 1 with filtered back-projection has the noise of the measurement in its image again, whatever the steps
    before took out of it.
    """
    return math.log(FIRST_FILTERED) if config.gradient == "filtered" else 0.0


def parts_of(state: Tensor, shape: torch.Size, hidden: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images of a shape, hidden channels, and what follows them, (batch, numbers)."""
    pixels = math.prod(shape[2:])
    middle = math.prod(shape[1:])
    end = middle + hidden * pixels
    return state[:, :middle].view(shape), state[:, middle:end].view(shape[0], hidden, *shape[2:]), state[:, end:]


class Convolution(nn.Module):
    """A convolution over two or three axes, continued by zeros."""

    def __init__(self, channels: tuple[int, int], size: int, dimensions: int, zero: bool = False) -> None:
        super().__init__()
        given, made = channels
        shape = (made, given, *[size] * dimensions)
        spread = 0.0 if zero else math.sqrt(2 / (given * size**dimensions))
        self.kernel = drawn(shape, lambda: spread * torch.randn(shape))
        self.bias = drawn((made,), lambda: torch.zeros(made))
        self.apply_ = functional.conv2d if dimensions == 2 else functional.conv3d
        self.reach = size // 2

    def forward(self, x: Tensor) -> Tensor:
        return self.apply_(x, self.kernel, self.bias, padding=self.reach)


class Correction(nn.Module):
    """D: the image and what convolutions add to it.

    They see the image and the last change of the data over a unit, the level of the noise, and the hidden channels,
    of which they make new ones.
    """

    def __init__(self, config: "UnrolledConfig") -> None:
        super().__init__()
        given = 2 * config.channels + config.conditioned + config.hidden
        widths = [given, *[config.features] * (config.depth - 1), config.channels + config.hidden]
        pairs = list(itertools.pairwise(widths))
        self.layers = nn.ModuleList(
            Convolution(pair, config.size, config.dimensions, zero=index == len(pairs) - 1)
            for index, pair in enumerate(pairs)
        )
        if config.scales > 1:
            self.coarser = _Coarser(config, config.scales - 1)
        self.channels, self.conditioned, self.scales = config.channels, config.conditioned, config.scales

    def forward(
        self, x: Tensor, change: Tensor, level: Tensor, unit: float, hidden: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        parts = [x / unit, change / unit]
        if self.conditioned:
            parts.append(level.view(-1, *[1] * (x.ndim - 1)).expand(len(x), 1, *x.shape[2:]))
        if hidden is not None:
            parts.append(hidden)
        features = torch.cat(parts, 1)
        for index, layer in enumerate(self.layers[:-1]):
            features = torch.relu(layer(features))
            if index == 0 and self.scales > 1:
                features = features + self.coarser(features)
        found: Tensor = self.layers[-1](features)
        image = x + unit * found[:, : self.channels]
        return image, None if hidden is None else found[:, self.channels :]


class _Coarser(nn.Module):
    """Features as two convolutions at half the resolution make them, with those of coarser scales between the two."""

    def __init__(self, config: "UnrolledConfig", scales: int) -> None:
        super().__init__()
        pair = (config.features, config.features)
        self.down = Convolution(pair, config.size, config.dimensions)
        self.up = Convolution(pair, config.size, config.dimensions)
        self.coarser = _Coarser(config, scales - 1) if scales > 1 else None
        self.average = functional.avg_pool2d if config.dimensions == 2 else functional.avg_pool3d

    def forward(self, features: Tensor) -> Tensor:
        small = torch.relu(self.down(self.average(features, 2, ceil_mode=True)))
        if self.coarser is not None:
            small = small + self.coarser(small)
        return functional.interpolate(torch.relu(self.up(small)), size=features.shape[2:], mode="nearest")
