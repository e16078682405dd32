"""The proximity operator of the conjugate of a ridge penalty, whose weights may differ from pixel to pixel."""

from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from recon._values import ByValue
from recon.priors.networks.architectures.ridge_potential import LEAST_ROWS, STRIP
from recon.priors.networks.layers.profiles import Pieces
from recon.priors.networks.layers.splines import lookup, piece_index


@final
@dataclass(frozen=True, eq=False, repr=False)
class RidgeConjugate(ByValue):
    """The proximity operator of ``sigma g*`` with ``g(z) = w sum_ip m_ip psi_i(z_ip)``, exact.

    By Moreau's decomposition it is ``u - sigma x`` with x the proximity operator of ``g / sigma`` at ``u / sigma``, the
    solution of ``x + (w m / sigma) psi'(x) = u / sigma``. So it is ``w m psi'(x)``, which has no cancellation.

    Attributes:
        pieces: psi', one for each channel.
        weight: w > 0, a tensor of one number.
        sigma: The dual step size.
        mask: m, ``(batch or 1, channels, height, width)``; ``None``: 1 everywhere.
    """

    pieces: Pieces
    weight: Tensor
    sigma: float
    mask: Tensor | None = None
    _copies: dict[tuple[torch.dtype, torch.device, bool], tuple[Tensor | None, Tensor]] = field(
        default_factory=dict, repr=False, compare=False
    )
    _filled: dict[torch.dtype, Any] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, u: Tensor) -> Tensor:
        """The image of ``(batch, channels, height, width)``, in the precision and on the device of ``u``."""
        return self.of_rows(0, u)

    def times(self, scale: float) -> "RidgeConjugate":
        """``x -> c R(x / c)``: of ``c w`` and ``c sigma``."""
        return RidgeConjugate(self.pieces, scale * self.weight, scale * self.sigma, self.mask)

    def of_rows(self, top: int, u: Tensor) -> Tensor:
        """The image of the rows from ``top`` on."""
        if self._by_loops(u):
            return self._looped(top, u, u, 0.0, 1.0)
        if self.mask is None:
            return self.pieces.conjugate_resolvent(self.weight.view(1, 1), self.sigma)(u)
        mask, tables = self._like(u, last=False)
        assert mask is not None  # noqa: S101  a copy of the one there is
        return by_search(u, mask[:, :, top : top + u.shape[2]], float(self.weight), self.sigma, tables)

    def relaxed(self, top: int, u: Tensor, z: Tensor, step: float, relaxation: float) -> Tensor:
        """``(1 - r) u + r R(u + t z)`` of the rows from ``top`` on, in one pass where the CPU's loops do it."""
        if self._by_loops(u) and self._by_loops(z) and u.shape == z.shape:
            return self._looped(top, u, z, step, relaxation)
        return torch.lerp(u, self.of_rows(top, torch.add(u, z, alpha=step)), relaxation)

    def _by_loops(self, u: Tensor) -> bool:
        graph = torch.is_grad_enabled() and (u.requires_grad or self.weight.requires_grad)
        return type(u) is Tensor and not (u.is_cuda or graph or u.dtype not in _REAL) and u.numel() > 0

    def _looped(self, top: int, u: Tensor, z: Tensor, step: float, relaxation: float) -> Tensor:
        from recon.priors.networks.layers import conjugate_kernels as kernels  # noqa: PLC0415  numba is slow to import

        last = is_channels_last(u)
        u, z = (each if is_in_order(each, last=last) else _ordered(each, last=last) for each in (u, z))
        out = torch.empty_like(u)
        mask, pieces = self._like(u, last=last)
        if u.dtype not in self._filled:
            self._filled[u.dtype] = kernels.filled(pieces.numpy())
        tables = self._filled[u.dtype]
        kind = tables.dtype.type
        images = [u, z, out]
        if mask is not None:
            images.append(mask[:, :, top : top + u.shape[2]].expand(len(u), -1, -1, -1))
        batch, channels, height, width = u.shape
        shape = (batch, height, width, channels) if last else (batch, channels, height, width)
        strides = np.array([_strides(image, last) for image in images])
        of_u, of_z, of_out, *of_mask = map(_memory, images)
        known = (shape, strides, of_u, of_z, of_out, kind(step), kind(relaxation), tables)
        if not of_mask:
            plain = kernels.by_pixels if last else kernels.by_planes
            plain(*known)
            return out
        masked = kernels.masked_by_pixels if last else kernels.masked_by_planes
        masked(*known, *of_mask, kind(float(self.weight)), kind(1 / self.sigma))
        return out

    @torch.no_grad()
    def _like(self, u: Tensor, *, last: bool) -> tuple[Tensor | None, Tensor]:
        """The mask and the tables in the precision, on the device and in the layout of ``u``."""
        key = (u.dtype, u.device, last)
        if key not in self._copies:
            pieces = self.pieces
            if self.mask is None:
                image = pieces.conjugate_resolvent(self.weight.view(1, 1), self.sigma)
                tables, mask = [image.starts, image.intercepts, image.slopes], None
            else:
                tables, mask = [pieces.knots, pieces.values, pieces.slopes], _ordered(self.mask.to(u), last=last)
            self._copies[key] = mask, torch.stack(tables, 1).to(u).contiguous()
        return self._copies[key]


_REAL = (torch.float32, torch.float64)


@final
@dataclass(frozen=True, eq=False, repr=False)
class GroupedConjugate(ByValue):
    """The same where g is a function of the lengths of groups of channels: each length is mapped.

    Attributes:
        along: What maps the lengths, one channel for each group.
        group: How many channels a group has.
    """

    along: RidgeConjugate
    group: int

    def __call__(self, u: Tensor) -> Tensor:
        """The image of ``(batch, channels, height, width)``."""
        return self.of_rows(0, u)

    def times(self, scale: float) -> "GroupedConjugate":
        """See :meth:`RidgeConjugate.times`."""
        return GroupedConjugate(self.along.times(scale), self.group)

    def of_rows(self, top: int, u: Tensor) -> Tensor:
        """See :meth:`RidgeConjugate.of_rows`; a few rows at a time, which stay in the cache."""
        rows = max(LEAST_ROWS, STRIP // max(1, u[..., 0, :].numel()))
        strips = torch.split(u, rows, 2)
        return torch.cat([self._strip(top + rows * index, strip) for index, strip in enumerate(strips)], 2)

    def relaxed(self, top: int, u: Tensor, z: Tensor, step: float, relaxation: float) -> Tensor:
        """See :meth:`RidgeConjugate.relaxed`."""
        return torch.lerp(u, self.of_rows(top, torch.add(u, z, alpha=step)), relaxation)

    def _strip(self, top: int, u: Tensor) -> Tensor:
        grouped = torch.unflatten(u, 1, (-1, self.group))
        length = grouped.square().sum(2).sqrt()
        mapped = self.along.of_rows(top, length)
        ratio = torch.where(length > 0, mapped / length.clamp(min=torch.finfo(u.dtype).tiny), 0.0)
        return (grouped * ratio.unsqueeze(2)).flatten(1, 2)


def ridge_conjugate(
    pieces: Pieces, weight: Tensor, group: int, sigma: float, mask: Tensor | None = None
) -> RidgeConjugate | GroupedConjugate:
    """The map of a ridge whose functions are of single responses, or of the lengths of groups of them."""
    along = RidgeConjugate(pieces, weight, sigma, mask)
    return along if group == 1 else GroupedConjugate(along, group)


def is_channels_last(u: Tensor) -> bool:
    """Whether the channels of an image lie beside each other, also of some rows of such an image."""
    return u.shape[1] > 1 and u.stride(1) == 1 and u.stride(3) == u.shape[1]


def is_in_order(u: Tensor, *, last: bool) -> bool:
    """Whether the lines of an image, its rows or with ``last`` the channels of its pixels, are whole in memory."""
    return is_channels_last(u) if last else u.stride(3) == 1


def _ordered(u: Tensor, *, last: bool) -> Tensor:
    return u.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _strides(u: Tensor, last: bool) -> tuple[int, ...]:
    """From one line to the next, in numbers."""
    batch, channels, height, width = u.stride()
    return (batch, height, width) if last else (batch, channels, height)


def _memory(u: Tensor) -> Any:
    """The numbers from the first of an image to its last, those of others between them included."""
    length = 1 + sum((size - 1) * stride for size, stride in zip(u.shape, u.stride(), strict=True))
    return torch.as_strided(u.detach(), (length,), (1,)).numpy()


def by_search(u: Tensor, mask: Tensor, weight: float, sigma: float, tables: Tensor) -> Tensor:
    """The masked map by bisection of the pieces, in whole tensors.

    Args:
        u: The dual variable, ``(batch, channels, height, width)``.
        mask: m, of one item or as many.
        weight: w.
        sigma: The dual step size.
        tables: As of :func:`recon.priors.networks.layers.conjugate_kernels.masked_by_planes`.
    """
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
