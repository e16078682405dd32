"""Sparse terms: a weight times the l1 norm of the coefficients in an orthonormal basis, some of which may be free."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from recon._values import Made, remembered
from recon.evidence import Evidence, Fact, Proved
from recon.priors.closed_forms import ATTAINS_SEMINORM, ATTAINS_STRONG, EVERYWHERE, shrink
from recon.priors.resolvent import ResolventProperties
from recon.priors.wavelet_transform import Details, WaveletTransform, orthonormal_wavelet
from recon.types import Map


@final
@dataclass(frozen=True, eq=False, repr=False)
class SparseTerm(Made):
    """The penalty ``x -> w ||(W x)_P||_1`` with W orthonormal: the coefficients outside of P are free.

    With thresholds and a ridge it is ``w sum_i t_i |z_i| + r/2 z_i^2`` over P.

    Attributes:
        weight: w, not negative.
        analyse: W, images (batch, ...) to coefficients (batch, ..., n), the free ones first.
        synthesise: W^T, from coefficients and the shape of the images.
        free: From the shape of images to the number of free coefficients of each channel.
        thresholds: t, a number or one for each coefficient with a penalty, as far as they differ.
        ridge: r, not negative.
    """

    weight: float | Tensor
    analyse: Map = field(repr=False)
    synthesise: Callable[[Tensor, Sequence[int]], Tensor] = field(repr=False)
    free: Callable[[Sequence[int]], int] = field(repr=False)
    thresholds: float | Tensor = 1.0
    ridge: float = 0.0

    def penalised(self, z: Tensor, shape: Sequence[int]) -> Tensor:
        """The coefficients with a penalty."""
        return z[..., self.free(shape) :]

    def value(self, z: Tensor, shape: Sequence[int]) -> Tensor:
        """The penalty of each batch item, from its coefficients."""
        penalised = self.penalised(z, shape)
        if self.ridge:
            each = _to(self.thresholds, z) * penalised.abs() + self.ridge / 2 * penalised.abs().square()
            return (each * self.weight).flatten(1).sum(1)
        return (penalised.abs() * self.weight).flatten(1).sum(1)

    def shrink(self, z: Tensor, stepsize: float | Tensor, shape: Sequence[int]) -> Tensor:
        """The coefficients after the proximity operator of ``s`` times the penalty."""
        count = self.free(shape)
        reach = stepsize * self.weight
        if not self.ridge:
            shrunk = shrink(z[..., count:], reach)
        else:
            shrunk = shrink(z[..., count:], reach * _to(self.thresholds, z)) / (1 + reach * self.ridge)
        return torch.cat([z[..., :count], shrunk], -1) if count else shrunk


def _to(value: float | Tensor, like: Tensor) -> float | Tensor:
    return value.to(like) if isinstance(value, Tensor) else value


def attained(term: SparseTerm) -> ResolventProperties:
    """What is known of the proximity operators of a sparse term."""
    how = "the proximity operator of a weighted l1 norm in an orthonormal basis"
    attains = ATTAINS_STRONG if term.ridge else ATTAINS_SEMINORM
    return ResolventProperties(Proved(1.0, how), Fact(Evidence.PROVED, how), attains, everywhere=EVERYWHERE)


@remembered
def l1_term(weight: float | Tensor) -> SparseTerm:
    """``w ||x||_1``, of which nothing is free."""
    return SparseTerm(weight, lambda x: x, lambda z, shape: z, lambda shape: 0)


@remembered
def wavelet_term(weight: float, wavelet: str, levels: int) -> SparseTerm:
    """``w ||W_detail x||_1``: the approximation is free. Coefficients are (batch, channels, n)."""
    transform = orthonormal_wavelet(wavelet, levels)

    def analyse(x: Tensor) -> Tensor:
        approximation, details = transform.analyse(x)
        return torch.cat([band.flatten(-2) for band in (approximation, *(b for level in details for b in level))], -1)

    def synthesise(z: Tensor, shape: Sequence[int]) -> Tensor:
        sizes = _band_sizes(transform, shape)
        flat = torch.split(z, [math.prod(size) for size in sizes], -1)
        approximation, *bands = (
            torch.unflatten(part, -1, size) if part.shape[-1] else part.reshape(*part.shape[:-1], *size)
            for part, size in zip(flat, sizes, strict=True)
        )
        return transform.synthesise(approximation, [Details(*bands[i : i + 3]) for i in range(0, len(bands), 3)])

    return SparseTerm(weight, analyse, synthesise, lambda shape: math.prod(_band_sizes(transform, shape)[0]))


def _band_sizes(transform: WaveletTransform, shape: Sequence[int]) -> list[tuple[int, int]]:
    """The sizes of the approximation, and of the details from the finest level to the coarsest."""
    rows, columns = shape[-2:]
    bands = []
    for _ in range(transform.levels):
        (low_rows, high_rows), (low_columns, high_columns) = _halves(rows), _halves(columns)
        bands += [(low_rows, high_columns), (high_rows, low_columns), (high_rows, high_columns)]  # as in Details
        rows, columns = low_rows, low_columns
    return [(rows, columns), *bands]


def _halves(length: int) -> tuple[int, int]:
    """The numbers of samples in the approximation and in the details of so many."""
    high = length // 2
    return length - high, high
