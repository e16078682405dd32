"""Learnable piecewise linear functions, one a channel, whose slopes stay in an interval by construction."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from recon.errors import UsageError


class LinearSpline(nn.Module):
    """One continuous piecewise linear function a channel, zero at zero, on an even number of equal intervals.

    Beyond the outermost knots the outermost slopes go on. The slopes are ``low + (high - low) sigmoid(theta)``, so
    that no step of an optimiser leaves the interval: with ``(0, 1)`` each function is a proximity operator, with
    ``(-1, 1)`` it is nonexpansive.

    Args:
        channels: How many functions.
        slopes: The interval.
        intervals: Between the outermost knots, even, at least 2.
        reach: The outermost knots lie at minus and plus this number.
    """

    def __init__(
        self, channels: int, slopes: tuple[float, float] = (-1.0, 1.0), intervals: int = 20, reach: float = 1.0
    ) -> None:
        super().__init__()
        if intervals < 2 or intervals % 2:
            raise UsageError(f"LinearSpline: intervals={intervals!r}; expected an even number, so that zero is a knot.")
        self.slopes, self.intervals, self.reach = slopes, intervals, reach
        self.theta = nn.Parameter(torch.zeros(channels, intervals))
        with torch.no_grad():  # a leaky rectifier to begin with
            self.theta[:, : intervals // 2] = -2.0
            self.theta[:, intervals // 2 :] = 2.0

    def pieces(self) -> tuple[Tensor, Tensor]:
        """The intercept and the slope of each piece, ``(channels, intervals)``."""
        low, high = self.slopes
        slopes = low + (high - low) * torch.sigmoid(self.theta)
        half, spacing = self.intervals // 2, 2 * self.reach / self.intervals
        knots = torch.arange(-half, half, device=slopes.device) * spacing
        right = slopes[:, half:].cumsum(1) * spacing
        left = slopes[:, :half].flip(1).cumsum(1).flip(1) * -spacing
        values = torch.cat([left, functional.pad(right[:, :-1], (1, 0))], 1)
        return values - slopes * knots.to(slopes), slopes

    def forward(self, x: Tensor) -> Tensor:
        intercepts, slopes = self.pieces()
        half = self.intervals // 2
        with torch.no_grad():
            piece = (x * (half / self.reach)).floor_().clamp_(-half, half - 1).to(torch.int32)
            index = piece_index(piece.add_(half).clamp_(min=0), self.intervals)  # NaN, which has no piece, to the first
        return torch.addcmul(lookup(intercepts, index), lookup(slopes, index), x)


def piece_index(piece: Tensor, pieces: int) -> Tensor:
    """The place of each piece in the flat table of all channels; channels are dimension 1."""
    first = torch.arange(piece.shape[1], device=piece.device).mul_(pieces).view(1, -1, *[1] * (piece.ndim - 2))
    return piece.to(torch.int32).add_(first.to(torch.int32))


def lookup(table: Tensor, index: Tensor) -> Tensor:
    """``table.flatten()[index]``, which keeps the layout of the index; ten times faster than advanced indexing."""
    last = index.ndim == 4 and not index.is_contiguous() and index.is_contiguous(memory_format=torch.channels_last)
    ordered = index.permute(0, 2, 3, 1) if last else index
    found = table.flatten().index_select(0, ordered.reshape(-1)).view(ordered.shape)
    return found.permute(0, 3, 1, 2) if last else found
