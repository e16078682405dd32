"""Base of the networks: a resolvent J = (Id + Q)/2 with Q explicit."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self, final

import torch
from torch import Tensor, nn

from recon.errors import UsageError
from recon.evidence import Constant
from recon.priors.networks.architectures.ridge_prox import DEFAULT, InnerSolver
from recon.types import Map

NoiseLevel = float | Tensor | None
"""The standard deviation, one for all images or one a batch item; ``None`` for a network made for one level."""


LATER = "since"
"""In the metadata of a field: the version that brought it. The files of earlier ones leave it out."""


@dataclass(frozen=True)
class Config:
    """The architecture of a network: everything that its weights do not say.

    Attributes:
        channels: Of the images: 1 for grey, 3 for colour.
        padding: How images are continued; see :mod:`recon.priors.networks.layers.convolution`.
        noise_range: The noise levels that the network is made for, lowest first, on the scale of the images; the
            same number twice is one level.
    """

    channels: int = 1
    padding: str = "zero"
    noise_range: tuple[float, float] = (0.0, 0.0)

    def check(self) -> None:
        """Refuse what no network can have.

        Raises:
            UsageError: In one sentence.
        """
        low, high = self.noise_range
        if not 1 <= self.channels <= 64:
            raise UsageError(f"{self.family}: channels={self.channels!r}; expected 1 for grey or 3 for colour images.")
        if not (0 <= low <= high and math.isfinite(high)):
            raise UsageError(f"{self.family}: noise_range={self.noise_range!r}; expected two levels, lowest first.")

    @property
    def family(self) -> str:
        """The name of the class without ``Config``."""
        return type(self).__name__.removesuffix("Config")


@final
@dataclass(frozen=True)
class Derivative:
    """The derivative of a map at a point: v -> Q'(x) v and its transpose."""

    forward: Map
    transpose: Map


class Model(nn.Module, ABC):
    """A network of an architecture that can be stored, and frozen to be evaluated."""

    config: Config

    def frozen(self, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Self:
        """A copy to be evaluated: its weights are derived in double precision, once, and then rounded to ``dtype``.

        The kernels are laid out as :func:`_layout` says, and the features take that over.
        """
        twin = copy.deepcopy(self).to(device="cpu", dtype=torch.float64).eval().requires_grad_(False)
        for module in twin.modules():
            if isinstance(module, Derived):
                module.freeze()
        twin = twin.to(device=device, dtype=dtype)
        layout = _layout(dtype, torch.device(device))
        for tensor in (*twin.parameters(), *twin.buffers()):
            if tensor.ndim == 4:  # torch refuses that layout for a stack of kernels
                tensor.data = tensor.data.contiguous(memory_format=layout)
        return twin

    @contextmanager
    def derived_once(self) -> Iterator[None]:
        """Within, layers derive what they apply a single time, with its graph: for many evaluations in one step."""
        layers = [module for module in self.modules() if isinstance(module, Derived)]
        try:
            for layer in layers:
                layer.held = layer.derived()
            yield
        finally:
            for layer in layers:
                layer.held = ()


class Network(Model):
    """A resolvent J = (Id + Q)/2; subclasses say what Q is, and what is known of its Lipschitz constant."""

    solver: InnerSolver = DEFAULT

    @property
    def iterates(self) -> bool:
        """Whether J is had by an inner iteration, which goes as far as ``solver`` says."""
        return False

    @property
    def conditioned(self) -> bool:
        """Whether the network wants to be told the noise level."""
        return False

    @abstractmethod
    def Q(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        """``2 J(x) - x``."""

    def forward(self, x: Tensor, noise_level: NoiseLevel = None) -> Tensor:
        """J(x) for images ``(batch, channels, height, width)`` of any size."""
        return (x + self.Q(x, noise_level)) / 2

    @abstractmethod
    def lipschitz_Q(self, noise_level: NoiseLevel = None) -> Constant:
        """Return what the weights alone say of the Lipschitz constant of Q, for every image of every size."""

    def derivative(self, x: Tensor, noise_level: NoiseLevel = None) -> Derivative:
        """Q'(x), by automatic differentiation: the graph is built once, each application is one backward pass."""
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            image = self.Q(point, noise_level)
            dual = torch.zeros_like(image, requires_grad=True)
            (pulled,) = torch.autograd.grad(image, point, dual, create_graph=True)

        def forward(v: Tensor) -> Tensor:  # the derivative of the linear map u -> Q'(x)^T u, transposed
            return torch.autograd.grad(pulled, dual, v, retain_graph=True)[0].detach()

        def transpose(u: Tensor) -> Tensor:
            return torch.autograd.grad(image, point, u, retain_graph=True)[0].detach()

        return Derivative(forward, transpose)

    def changes(self, x: Tensor, noise_level: NoiseLevel = None) -> Derivative:
        """Q'(x) without what Q keeps at every x, so that a search for a larger norm does not end there; here Q'(x)."""
        return self.derivative(x, noise_level)

    def changed_part(self, v: Tensor) -> Tensor:
        """Return the part of a direction that Q does not keep at every x, of at most the norm of v; here all of it."""
        return v

    def applied_kernels(self) -> list[Tensor]:
        """The kernels of the convolutions that are applied one after the other, ``(out, in, height, width)``.

        With their graph to the weights; none where the network is not such a chain.
        """
        return []

    def check_input(self, x: Tensor, noise_level: NoiseLevel) -> None:
        """Refuse what the network cannot take.

        Raises:
            UsageError: The number of channels differs, the tensor is no batch of real images, or the noise level is
                missing, or given to a network that takes none.
        """
        name, channels = self.config.family, self.config.channels
        if x.ndim != 4 or x.shape[1] != channels or not x.is_floating_point():
            kind = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
            raise UsageError(
                f"{name}: the image has shape {tuple(x.shape)} and type {x.dtype}; expected (batch, {channels}, "
                f"height, width) of real numbers, because the network was made for {kind} images."
            )
        if self.conditioned and noise_level is None:
            raise UsageError(f"{name}: no noise level was given; expected one, because the network depends on it.")
        if not self.conditioned and noise_level is not None:
            raise UsageError(
                f"{name}: noise_level={noise_level!r} for a network made for one level; expected none: use "
                "recon.priors.scaled for another level."
            )


def _layout(dtype: torch.dtype, device: torch.device) -> torch.memory_format:
    """Channels last where the libraries' convolutions are faster with it: on the CPU by a third in single precision."""
    faster = dtype == torch.bfloat16 or (dtype == torch.float32 and device.type == "cpu")
    return torch.channels_last if faster else torch.contiguous_format


class Derived(nn.Module):
    """A layer that computes what it applies from its parameters, and can be told to do so once and for all."""

    held: tuple[Tensor, ...] = ()

    @abstractmethod
    def derive(self) -> tuple[Tensor, ...]:
        """The tensors that are applied, from the parameters."""

    def derived(self) -> tuple[Tensor, ...]:
        """The tensors that are applied: those held, or the frozen ones where there are any."""
        if self.held:
            return self.held
        names = self._frozen_names()
        return tuple(getattr(self, name) for name in names) if names else self.derive()

    @property
    def is_frozen(self) -> bool:
        """Whether what is applied was kept, and does not follow the parameters."""
        return bool(self._frozen_names()) and not self.held

    def _frozen_names(self) -> list[str]:
        return sorted(name for name, _ in self.named_buffers(recurse=False) if name.startswith("frozen_"))

    def freeze(self) -> None:
        """Keep what is applied now."""
        with torch.no_grad():
            for index, tensor in enumerate(self.derive()):
                self.register_buffer(f"frozen_{index}", tensor.detach().clone(), persistent=False)


def drawn(shape: tuple[int, ...], draw: Callable[[], Tensor]) -> nn.Parameter:
    """A parameter with the numbers that training starts from; on ``meta``, where only sizes are wanted, with none.

    Arithmetic there makes torch import its compiler, which takes a second.
    """
    parameter = nn.Parameter(torch.empty(shape))
    return parameter if parameter.is_meta else nn.Parameter(draw())


def noise_map(x: Tensor, noise_level: NoiseLevel) -> Tensor:
    """The noise level as one more channel, constant over each image."""
    level = torch.as_tensor(noise_level, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1)
    return level.expand(x.shape[0], 1, *x.shape[-2:])
