"""The patches or measurements of one step of a training, with the random numbers that its loss takes."""

from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

from recon.operators.symmetries import turned
from recon.types import Map

RECORRUPTED = 0.15
"""Of recorruption: the share of the noise that goes into the target, as deepinv has it."""

TAU = 0.01
"""The length of the step by which SURE takes a derivative, for images on [0, 1], as deepinv has it."""


@final
@dataclass(frozen=True)
class Sample:
    """The patches of one step.

    Attributes:
        noisy: ``(batch, channels, height, width)``.
        target: Of the same shape: clean, or noisy independently of the first, or the first itself.
        level: The standard deviation of the noise of each patch, ``(batch,)``.
        draws: Normal numbers for the loss to use, of the shape of the patches; of ``"splitting"`` what says how
            each is split; or nothing, ``(batch, 0)``. They are drawn for the whole batch, so that a
            loss does not depend on which process has which patch.
        guide: Of the shape of the noisy patches, for a network that takes one; or nothing, ``(batch, 0)``.
        moves: Of an equivariant loss: uniform numbers that decide a transformation of each image; or nothing.
        fresh: Likewise: noise of the shape of the measurements.
    """

    noisy: Tensor
    target: Tensor
    level: Tensor
    draws: Tensor
    guide: Tensor
    moves: Tensor = field(default_factory=lambda: torch.zeros(0))
    fresh: Tensor = field(default_factory=lambda: torch.zeros(0))

    def part(self, begin: int, end: int) -> "Sample":
        """Some of the patches."""
        return self._each(lambda tensor: tensor[begin:end])

    def turned(self, way: int) -> "Sample":
        """Return the same patches flipped and turned in one of the eight ways; without draws."""
        guide = turned(self.guide, way) if self.guided else self.guide
        return replace(self, noisy=turned(self.noisy, way), target=turned(self.target, way), guide=guide)

    @property
    def guided(self) -> bool:
        """Whether there are guides."""
        return self.guide.ndim == 4

    def to(self, device: torch.device) -> "Sample":
        """Return the same patches on another device."""
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, change: Map) -> "Sample":
        parts = (self.noisy, self.target, self.level, self.draws, self.guide, self.moves, self.fresh)
        return Sample(*map(change, parts))
