"""Flexible activations: a cubic spline of its own for each channel, learned, with slopes that are bounded exactly."""

from typing import final

import torch
from torch import Tensor, nn

from recon.errors import UsageError
from recon.priors.networks.layers.splines import lookup, piece_index

PIECES = 8
"""Of a spline, where nothing else is asked for."""

MOST_PIECES = 4096

_CUBIC = ((1 / 6, 4 / 6, 1 / 6, 0.0), (-0.5, 0.0, 0.5, 0.0), (0.5, -1.0, 0.5, 0.0), (-1 / 6, 0.5, -0.5, 1 / 6))
"""Of the uniform B-splines on a piece: powers of the place in it, from 0 to 3, by coefficients."""


@final
class FlexibleActivation(nn.Module):
    """One continuously differentiable piecewise cubic function a channel, a straight line beyond its outermost knots.

    Between ``low`` and ``high`` of a channel lie equal pieces; the function is there the sum of the coefficients c_j
    times uniform B-splines of degree 3, so every cubic polynomial is among them. Its derivative is the sum of
    ``(c_(j+1) - c_j) / h``, h the length of a piece, times B-splines of degree 2, which are nonnegative and sum to 1:
    so every slope, also of the straight lines, lies between the least and the largest of these differences (de Boor
    2001, *A Practical Guide to Splines*, chapters IX and X).

    Args:
        channels: How many functions; the channels of a tensor are dimension 1.
        pieces: Of each.
    """

    def __init__(self, channels: int, pieces: int = PIECES) -> None:
        super().__init__()
        if channels < 1 or not 1 <= pieces <= MOST_PIECES:
            raise UsageError(
                f"FlexibleActivation: channels={channels!r}, pieces={pieces!r}; expected positive numbers, and at most "
                f"{MOST_PIECES} pieces."
            )
        self.channels, self.pieces = channels, pieces
        self.low = nn.Parameter(torch.full((channels,), -1.0), requires_grad=False)
        self.high = nn.Parameter(torch.full((channels,), 1.0), requires_grad=False)
        knots = torch.arange(-1, pieces + 2) * (2 / pieces) - 1
        self.coefficients = nn.Parameter(knots.repeat(channels, 1))  # the identity

    def forward(self, x: Tensor) -> Tensor:
        return values(table_of(self.coefficients), self.low, self.high, x)

    def slopes(self) -> tuple[Tensor, Tensor]:
        """Bounds of the slopes of each function, the least and the largest, in double precision."""
        coefficients, low, high = (each.detach().double() for each in (self.coefficients, self.low, self.high))
        found = coefficients.diff(dim=1) * (self.pieces / (high - low))[:, None]
        return found.amin(1), found.amax(1)

    def extra_repr(self) -> str:
        return f"{self.channels}, pieces={self.pieces}"


def table_of(coefficients: Tensor) -> Tensor:
    """The polynomials of splines, ``(4, channels, pieces + 2)``: powers of the place in a piece, with both lines."""
    change = torch.tensor(_CUBIC, dtype=coefficients.dtype, device=coefficients.device)
    inner = torch.einsum("kj,cpj->kcp", change, coefficients.unfold(1, 4, 1))
    first, last = inner[:, :, 0], inner[:, :, -1]
    slope = last[1] + 2 * last[2] + 3 * last[3]
    none = torch.zeros_like(slope)
    before = torch.stack([first[0] - first[1], first[1], none, none])
    after = torch.stack([last.sum(0), slope, none, none])
    return torch.cat([before[:, :, None], inner, after[:, :, None]], 2)


def values(table: Tensor, low: Tensor, high: Tensor, x: Tensor) -> Tensor:
    """The splines at x, whose channels are dimension 1."""
    return values_and_slopes(table, low, high, x, slopes=False)[0]


def values_and_slopes(
    table: Tensor, low: Tensor, high: Tensor, x: Tensor, slopes: bool = True
) -> tuple[Tensor, Tensor]:
    """The splines at x, whose channels are dimension 1, and their derivatives there."""
    pieces, shape = table.shape[2], (1, -1, *[1] * (x.ndim - 2))
    rate = ((pieces - 2) / (high - low)).view(shape)
    place = (x - low.view(shape)) * rate
    with torch.no_grad():
        piece = place.floor().clamp(-1, pieces - 2)
        index = piece_index((piece + 1).nan_to_num(0.0).to(torch.int32), pieces)
    u = place - piece
    a, b, c, d = (lookup(each, index) for each in table)
    found = torch.addcmul(a, u, torch.addcmul(b, u, torch.addcmul(c, u, d)))
    return found, (torch.addcmul(b, u, 2 * c + 3 * u * d) * rate if slopes else found)


def design(low: Tensor, high: Tensor, pieces: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """The B-splines at x of ``(samples, channels)`` and their derivatives, ``(channels, samples, pieces + 3)``."""
    count = pieces + 3
    each = torch.eye(count, dtype=x.dtype, device=x.device)
    table = table_of(each)  # every B-spline is a channel
    found = [values_and_slopes(table, a.expand(count), b.expand(count), t[:, None].expand(-1, count))
             for a, b, t in zip(low, high, x.mT, strict=True)]  # fmt: skip
    return torch.stack([value for value, _ in found]), torch.stack([slope for _, slope in found])
