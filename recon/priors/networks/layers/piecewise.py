"""Odd piecewise linear maps, one a channel, with pieces of any lengths, at cost of a few lookups an entry."""

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from recon._values import ByValue
from recon.priors.networks.layers.splines import lookup, piece_index

_CELLS = 512
"""At most so many equal cells are laid over the pieces of a channel; 64 channels of them fill 128 KiB, a cache."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class OddPiecewise(ByValue):
    """``t -> sign(t) (intercept + slope |t|)`` with the intercept and the slope of the piece in which |t| lies.

    Attributes:
        starts: ``(channels, pieces)``, where each piece begins; the first is 0, ascending. The last goes on for ever.
        intercepts: Of each piece, of the same shape.
        slopes: Likewise.
    """

    starts: Tensor
    intercepts: Tensor
    slopes: Tensor
    _copies: dict[tuple[torch.dtype, torch.device], "_Tables"] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, t: Tensor) -> Tensor:
        """The image of ``(batch, channels, height, width)``, in the precision and on the device of ``t``."""
        tables, size = self._like(t), t.abs()
        index = tables.finder(size)
        return torch.addcmul(lookup(tables.intercepts, index), lookup(tables.slopes, index), size).copysign_(t)

    def _like(self, t: Tensor) -> "_Tables":
        key = (t.dtype, t.device)
        if key not in self._copies:
            self._copies[key] = _Tables(Finder(self.starts.to(t)), self.intercepts.to(t), self.slopes.to(t))
        return self._copies[key]


class Finder:
    """Index of the piece in which a number lies: by its equal cell and the starts in that cell, without a search.

    Numbers at the very start of a piece may be found in the one before, by rounding.

    Args:
        starts: ``(channels, pieces)``, as of :class:`OddPiecewise`.
    """

    def __init__(self, starts: Tensor) -> None:
        channels, self.pieces = starts.shape
        end = starts[:, -1:].clamp(min=torch.finfo(starts.dtype).tiny)
        finest = starts.diff(dim=1).amin(1, keepdim=True).clamp(min=torch.finfo(starts.dtype).tiny)
        self.cells = int((end / finest).amax().ceil().clamp(1, _CELLS)) if self.pieces > 1 else 1
        self.per_unit = (self.cells / end).clamp(max=torch.finfo(starts.dtype).max).view(-1, 1, 1)
        places = torch.arange(self.cells + 1, device=starts.device).to(starts)
        edges = (end * places / self.cells).contiguous()
        last = torch.searchsorted(starts.contiguous(), edges, right=True) - 1  # the piece where each cell begins
        rounds = int(last.diff(dim=1).amax())
        padded = torch.cat([starts, starts.new_full((channels, rounds + 1), torch.inf)], 1)
        self.first = last.to(torch.int32)
        self.next = [padded.gather(1, last + 1 + k) for k in range(rounds)]

    def __call__(self, size: Tensor) -> Tensor:
        """The place of each piece in the flat table of all channels, for ``(batch, channels, height, width)`` >= 0."""
        cell = (size * self.per_unit).clamp_(max=self.cells).to(torch.int32)
        index = piece_index(cell.clamp_(min=0), self.cells + 1)  # NaN, which has no cell, to the first
        piece = lookup(self.first, index)
        for start in self.next:
            piece += size >= lookup(start, index)
        return piece_index(piece, self.pieces)


@final
@dataclass(frozen=True)
class _Tables:
    finder: Finder
    intercepts: Tensor
    slopes: Tensor
