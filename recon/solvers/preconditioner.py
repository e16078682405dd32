"""Preconditioners of a normal equation with a penalty: circulant matrices, alone or two of them with weights."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from recon.types import Map

_SIGNS, _PHASES, _AT_ONCE = 16, 32, 8
"""Images of random signs that give a diagonal, and of random phases that give one among frequencies."""

_LEAST = 1e-3
"""Of the largest value, to which the others are raised."""

_ENDS = (0.05, 0.95)
"""The quantiles of the penalty's diagonal that the two matrices are made for."""

_MOST_SORTED = 1_000_000


@final
@dataclass(frozen=True)
class Circulant:
    """The inverse of a circular convolution, positive.

    Attributes:
        symbol: Of the convolution, on all frequencies, the same for all channels.
    """

    symbol: Tensor

    def __call__(self, v: Tensor) -> Tensor:
        axes = tuple(range(2, v.ndim))
        if v.is_complex():
            found: Tensor = torch.fft.ifftn(torch.fft.fftn(v, dim=axes) / self.symbol, dim=axes)
            return found
        half = self.symbol[..., : v.shape[-1] // 2 + 1]
        found = torch.fft.irfftn(torch.fft.rfftn(v, dim=axes) / half, s=v.shape[2:], dim=axes)
        return found


@final
@dataclass(frozen=True)
class Weighted:
    """``sum_l W_l C_l^-1 W_l`` with circulant C_l and diagonal W_l.

    Attributes:
        parts: W_l, (1, channels, ...), and the inverse of C_l.
    """

    parts: tuple[tuple[Tensor, Circulant], ...]

    def __call__(self, v: Tensor) -> Tensor:
        found = [weight * inverse(weight * v) for weight, inverse in self.parts]
        return sum(found[1:], found[0])


def circulant(system: Map, like: Tensor) -> Circulant:
    """The circulant matrix nearest to a system (T. Chan 1988).

    Args:
        system: Symmetric, linear, not negative.
        like: An image that it takes, (1, channels, ...).
    """
    symbol = _symbol(system, like)
    return Circulant(symbol.clamp(min=_LEAST * float(symbol.max().clamp(min=torch.finfo(symbol.dtype).tiny))))


def weighted_circulants(gram: Map, penalty: Map | None, like: Tensor) -> Weighted:
    """Two circulant matrices where data and penalty do not weigh alike in all places.

    With ``k^2`` the diagonal of the gram, ``K^-1 gram K^-1`` is nearly a convolution where the data have weights
    (Fessler, Booth 1999, IEEE Trans. Image Process. 8), and so is the penalty where it has the strength of the place.
    One matrix is made for places of a weak penalty, another for those of a strong one, and between them each place has
    a part of both.

    Args:
        gram: Symmetric, linear, not negative.
        penalty: The same; ``None``: zero.
        like: An image that they take, (1, channels, ...).
    """
    root = _raised(_smoothed(_diagonal(gram, like), 5)).sqrt()
    data = _symbol(partial(_scaled, gram, root), like)
    data = data.clamp(min=_LEAST * float(data.max()))
    if penalty is None:
        return Weighted(((1 / root, Circulant(data)),))
    shape = _symbol(partial(_scaled, penalty, root), like).clamp(min=0)
    shape = shape / shape.mean().clamp(min=torch.finfo(shape.dtype).tiny)
    strength = _raised(_smoothed(_diagonal(penalty, like), 3) / root.square())
    low, high = _ends(strength)
    share = ((strength.log() - low.log()) / (high.log() - low.log()).clamp(min=1e-3)).clamp(0, 1)
    return Weighted(
        (
            ((1 - share).sqrt() / root, Circulant(data + low * shape)),
            (share.sqrt() / root, Circulant(data + high * shape)),
        )
    )


def _scaled(system: Map, root: Tensor, v: Tensor) -> Tensor:
    return system(v / root) / root


def _raised(values: Tensor) -> Tensor:
    return values.clamp(min=_LEAST * float(values.max().clamp(min=torch.finfo(values.dtype).tiny)))


def _ends(strength: Tensor) -> tuple[Tensor, Tensor]:
    values = strength.flatten()
    values = values[:: max(1, len(values) // _MOST_SORTED)]
    low, high = torch.quantile(values, torch.tensor(_ENDS, dtype=values.dtype, device=values.device))
    return low, high


def _diagonal(system: Map, like: Tensor) -> Tensor:
    """The diagonal of a system, (1, channels, ...), from images of random signs (Bekas, Kokiopoulou, Saad 2007)."""

    def signs(noise: Tensor) -> Tensor:
        return noise.real.sign().to(noise) if noise.is_complex() else noise.sign()

    def seen(probes: Tensor) -> Tensor:
        return (probes.conj() * system(probes)).real.sum(0, keepdim=True)

    return _mean_over_probes(signs, seen, _SIGNS, like)


def _symbol(system: Map, like: Tensor) -> Tensor:
    """The diagonal of a system among frequencies, of all channels alike, from images of unit phases."""
    axes = tuple(range(2, like.ndim))

    def phases(noise: Tensor) -> Tensor:
        spectrum = torch.fft.fftn(noise, dim=axes)
        spectrum = spectrum / spectrum.abs().clamp(min=torch.finfo(noise.dtype.to_real()).tiny)
        found: Tensor = torch.fft.ifftn(spectrum, dim=axes)
        return found if like.is_complex() else found.real

    def seen(probes: Tensor) -> Tensor:
        images = torch.fft.fftn(system(probes), dim=axes)
        found: Tensor = (torch.fft.fftn(probes, dim=axes).conj() * images).real.mean(1).sum(0)
        return found

    return _mean_over_probes(phases, seen, _PHASES, like)


def _mean_over_probes(make: Map, seen: Callable[[Tensor], Tensor], count: int, like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(())
    for _ in range(count // _AT_ONCE):
        noise = torch.randn(_AT_ONCE, *like.shape[1:], generator=generator, dtype=like.dtype).to(like.device)
        total = total.to(like.device) + seen(make(noise)) / count
    return total


def _smoothed(values: Tensor, width: int) -> Tensor:
    """Means over squares, or cubes, of neighbours."""
    pool = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}[values.ndim - 2]
    found: Tensor = pool(values, width, 1, width // 2, count_include_pad=False)
    return found
