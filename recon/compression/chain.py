"""A chain of convolutions or matrices with activations, whose layers can be taken one by one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from recon.errors import UsageError
from recon.priors.networks.layers.convolution import wrap
from recon.types import Map


@final
@dataclass(frozen=True)
class Convolution:
    """What a convolution is besides its kernel.

    Attributes:
        padding: Rows and columns that are added on each side.
        circular: Whether they are the other end of the image instead of zeros.
        stride: Along rows and columns.
        dilation: Likewise.
    """

    padding: tuple[int, int]
    circular: bool = False
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)

    def padded(self, x: Tensor) -> Tensor:
        """The images with what is added."""
        rows, columns = self.padding
        return wrap(x, self.padding) if self.circular else functional.pad(x, (columns, columns, rows, rows))

    def apply(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """The correlation of ``(batch, in, height, width)`` with a kernel."""
        return functional.conv2d(self.padded(x), kernel, bias, self.stride, 0, self.dilation)

    def patches(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """``(batch, in * size, places)``: what each entry of the output sees."""
        return functional.unfold(self.padded(x), size, self.dilation, 0, self.stride)


def _same(x: Tensor) -> Tensor:
    return x


@final
@dataclass(frozen=True)
class Link:
    """A layer ``x -> R(W before(x) + b)``.

    Attributes:
        name: In the network.
        weight: ``(out, in, height, width)`` of a convolution, ``(out, in)`` of a matrix.
        bias: ``(out,)``; ``None``: there is none.
        convolution: ``None`` for a matrix, which takes ``(batch, in)``.
        activation: R, on tensors with the channels in dimension 1.
        before: What happens to the input first.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    convolution: Convolution | None = None
    activation: Map = _same
    before: Map = _same

    def linear(self, x: Tensor) -> Tensor:
        """``W before(x) + b``."""
        z, inputs = self.before(x), self.weight.shape[1]
        wanted, axes = ("(batch, features)", 2) if self.convolution is None else ("(batch, channels, height, width)", 4)
        if z.ndim != axes or z.shape[1] != inputs:
            raise UsageError(f"{self.name}: its input has shape {tuple(z.shape)}; expected {wanted}, {inputs} of them.")
        if self.convolution is None:
            return functional.linear(z, self.weight, self.bias)
        return self.convolution.apply(z, self.weight, self.bias)

    def __call__(self, x: Tensor) -> Tensor:
        return self.activation(self.linear(x))

    def rows(self, x: Tensor, places: Tensor) -> Tensor:
        """What the layer sees at some places, ``(places, in)``; see :func:`places`."""
        z = self.before(x)
        if self.convolution is None:
            return z[places]
        size = (self.weight.shape[2], self.weight.shape[3])
        each = self.weight.shape[1] * size[0] * size[1]
        found = z.new_empty(len(places), each)
        per = self.convolution.patches(z[:1], size).shape[2]
        for index in range(len(z)):  # one image at a time: all patches of all would fill the memory
            mine = (places // per == index).nonzero()[:, 0]
            if len(mine):
                seen = self.convolution.patches(z[index : index + 1], size)[0]
                found[mine] = seen[:, places[mine] % per].mT
        return found

    def with_weights(self, weight: Tensor, bias: Tensor | None) -> "Link":
        """The same layer with other weights."""
        return replace(self, weight=weight, bias=bias)


def at_places(z: Tensor, places: Tensor) -> Tensor:
    """The channels of an output at some places, ``(places, channels)``."""
    return z[places] if z.ndim == 2 else z.flatten(2).permute(0, 2, 1).flatten(0, 1)[places]


def draw_places(z: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most so many different places of an output, in order: of every image alike."""
    total = z.numel() // z.shape[1]
    return torch.randperm(total, generator=generator)[:count].sort().values


def through(links: Sequence[Link], x: Tensor) -> Tensor:
    """The output of a chain."""
    for link in links:
        x = link(x)
    return x
