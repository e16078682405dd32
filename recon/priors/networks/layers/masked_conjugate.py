"""The proximity operator of the conjugate of a masked ridge penalty, whose weights differ from pixel to pixel."""

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from recon._values import ByValue
from recon.priors.networks.layers.profiles import Pieces
from recon.priors.networks.layers.splines import lookup, piece_index


@final
@dataclass(frozen=True, eq=False, repr=False)
class MaskedConjugate(ByValue):
    """The proximity operator of ``sigma g*`` with ``g(z) = w sum_ip m_ip psi_i(z_ip)``, exact.

    By Moreau's decomposition it is ``u - sigma x`` with x the proximity operator of ``g / sigma`` at ``u / sigma``, the
    solution of ``x + (w m / sigma) psi'(x) = u / sigma``. So it is ``w m psi'(x)``, which has no cancellation.

    Attributes:
        pieces: psi', one for each channel.
        mask: m, ``(batch or 1, channels, height, width)``.
        weight: w > 0.
        sigma: The dual step size.
    """

    pieces: Pieces
    mask: Tensor
    weight: float
    sigma: float
    _copies: dict[tuple[torch.dtype, torch.device, bool], tuple[Tensor, Tensor]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __call__(self, u: Tensor) -> Tensor:
        """The image of ``(batch, channels, height, width)``, in the precision and on the device of ``u``."""
        return self.of_rows(0, u)

    def of_rows(self, top: int, u: Tensor) -> Tensor:
        """The image of the rows of responses from ``top`` on."""
        mask, tables = self._like(u)
        part = mask[:, :, top : top + u.shape[2]]
        if u.is_cuda or u.dtype not in (torch.float32, torch.float64) or not u.numel():
            return by_search(u, part, self.weight, self.sigma, tables)
        return by_loops(u, part, self.weight, self.sigma, tables)

    def _like(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The mask and the tables in the precision, on the device and in the layout of ``u``."""
        last = is_channels_last(u)
        key = (u.dtype, u.device, last)
        if key not in self._copies:
            table = self.pieces
            tables = torch.stack([table.knots, table.values, table.slopes], 1).to(u).contiguous()
            layout = torch.channels_last if last else torch.contiguous_format
            self._copies[key] = self.mask.to(u).contiguous(memory_format=layout), tables
        return self._copies[key]


def by_loops(u: Tensor, mask: Tensor, weight: float, sigma: float, tables: Tensor) -> Tensor:
    """By compiled loops on the CPU; arguments as in :func:`masked_kernels.by_planes`."""
    from recon.priors.networks.layers import masked_kernels as kernels  # noqa: PLC0415  numba is slow to import

    last = is_channels_last(u)
    u = u if last or u.stride(3) == 1 else u.contiguous()
    out = torch.empty_like(u)
    kind = u.numpy().dtype.type
    dual, weights, found = (t.permute(0, 2, 3, 1).numpy() if last else t.numpy() for t in (u, mask, out))
    loops = kernels.by_pixels if last else kernels.by_planes
    loops(dual, weights, kind(weight), kind(1 / sigma), tables.numpy(), found)
    return out


def is_channels_last(u: Tensor) -> bool:
    """Whether the channels of an image lie beside each other, also of some rows of such an image."""
    return u.shape[1] > 1 and u.stride(1) == 1 and u.stride(3) == u.shape[1]


def by_search(u: Tensor, mask: Tensor, weight: float, sigma: float, tables: Tensor) -> Tensor:
    """The same by bisection of the pieces, in whole tensors."""
    knots, values, slopes = (table.contiguous() for table in tables.unbind(1))
    pieces, strength, v = knots.shape[1], weight * mask.expand(len(u), -1, -1, -1), u.abs() / sigma
    a = strength / sigma
    first = piece_index(torch.zeros_like(v, dtype=torch.int32), pieces)
    piece = torch.zeros_like(first)
    step = 1 << (pieces - 1).bit_length()
    while step := step // 2:
        beyond = (piece + step).clamp(max=pieces - 1)
        start = lookup(knots, first + beyond) + a * lookup(values, first + beyond)
        piece = torch.where((piece + step < pieces) & (start <= v), beyond, piece)
    index = first + piece
    slope = lookup(slopes, index)
    intercept = lookup(values, index) - slope * lookup(knots, index)
    return (strength * (intercept + slope * (v - a * intercept) / (1 + a * slope))).copysign(u)
