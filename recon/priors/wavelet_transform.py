"""The periodised orthonormal wavelet transform of images of any size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from recon.errors import UsageError

ROUNDING = 1e-9
"""The accuracy to which tabulated filters are orthonormal."""


class Details(NamedTuple):
    """The detail coefficients of one level."""

    horizontal: Tensor
    vertical: Tensor
    diagonal: Tensor


@dataclass(frozen=True)
class WaveletTransform:
    """An orthonormal wavelet transform W of the last two dimensions: ``W^T W = W W^T = Id`` for every image size.

    An even length is halved by periodic convolution with the two orthonormal filters, which wrap as often as a short
    length asks. Where a length is odd, its last sample passes untouched into the approximation: a block-diagonal of
    an orthonormal transform and of the number one, hence still orthonormal.

    Attributes:
        lowpass: The scaling filter, of even length; the wavelet filter is its alternating flip.
        levels: How often the approximation is analysed again.
    """

    lowpass: tuple[float, ...]
    levels: int

    def analyse(self, x: Tensor) -> tuple[Tensor, list[Details]]:
        """The approximation, and the details from the finest level to the coarsest."""
        details = []
        for _ in range(self.levels):
            low, high = self._split(x, -1)
            (x, vertical), (horizontal, diagonal) = self._split(low, -2), self._split(high, -2)
            details.append(Details(horizontal, vertical, diagonal))
        return x, details

    def synthesise(self, approximation: Tensor, details: list[Details]) -> Tensor:
        """The inverse of :meth:`analyse`, which is its adjoint."""
        x = approximation
        for horizontal, vertical, diagonal in reversed(details):
            x = self._join(self._join(x, vertical, -2), self._join(horizontal, diagonal, -2), -1)
        return x

    @property
    def _filters(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        flipped = self.lowpass[::-1]
        return self.lowpass, tuple(-h if k % 2 else h for k, h in enumerate(flipped))

    def _split(self, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """Approximation and details along a dimension counted from the end.

        They are ``sum_k f[k] x[(2i + k) mod 2m]`` for the two filters f, where ``2m`` is the even part of the length.
        """
        half, odd = divmod(x.shape[dim], 2)
        if half == 0:
            return x, x.narrow(dim, 0, 0)
        pairs = torch.unflatten(x.narrow(dim, 0, 2 * half), dim, (half, 2)).unbind(dim)
        reach = len(self.lowpass) // 2 - 1
        phases = [_wrapped(phase, dim, after=reach) for phase in pairs]
        low, high = (
            _correlate([(f[k], phases[k % 2].narrow(dim, k // 2, half)) for k in range(len(f))]) for f in self._filters
        )
        if odd:
            low = torch.cat([low, x.narrow(dim, 2 * half, 1)], dim)
        return low, high

    def _join(self, low: Tensor, high: Tensor, dim: int) -> Tensor:
        """The adjoint of :meth:`_split`."""
        half = high.shape[dim]
        if half == 0:
            return low
        reach = len(self.lowpass) // 2 - 1
        bands = [_wrapped(low.narrow(dim, 0, half), dim, before=reach), _wrapped(high, dim, before=reach)]
        phases = [
            _correlate(
                [
                    (f[k], band.narrow(dim, reach - k // 2, half))
                    for f, band in zip(self._filters, bands, strict=True)
                    for k in range(phase, len(f), 2)
                ]
            )
            for phase in (0, 1)
        ]
        x = torch.stack(phases, dim).flatten(dim - 1, dim)
        return x if low.shape[dim] == half else torch.cat([x, low.narrow(dim, half, 1)], dim)


def orthonormal_wavelet(name: str, levels: int) -> WaveletTransform:
    """The transform with the filters of PyWavelets: ``haar``, ``db2`` ..., ``sym4`` ..., ``coif1`` ...

    Raises:
        UsageError: No such wavelet, one that is not orthogonal, or a number of levels that is not a natural number.
    """
    import pywt  # noqa: PLC0415  not needed by the other priors

    if levels < 0 or levels != int(levels):
        raise UsageError(f"wavelet: levels={levels!r}; expected a whole number of at least 0.")
    if name not in pywt.wavelist(kind="discrete"):
        raise UsageError(f"wavelet: {name!r} is not a discrete wavelet of PyWavelets; expected a name such as 'db4'.")
    wavelet = pywt.Wavelet(name)
    if not wavelet.orthogonal or _defect(wavelet.rec_lo) > ROUNDING:
        raise UsageError(
            f"wavelet: {name!r} is not orthonormal (its filter misses by {_defect(wavelet.rec_lo):.1g}), and "
            "thresholding is a proximity operator in an orthonormal basis only; expected haar, dbN, symN or coifN."
        )
    return WaveletTransform(tuple(float(h) for h in wavelet.rec_lo), int(levels))


def _defect(lowpass: Sequence[float]) -> float:
    """Return how far a filter is from ``sum_k h[k] h[k + 2m] = (m == 0)``.

    PyWavelets calls the discrete Meyer wavelet orthogonal; its truncated filter is so to 2e-3 only.
    """
    length = len(lowpass)
    products = (sum(lowpass[k] * lowpass[k + shift] for k in range(length - shift)) for shift in range(0, length, 2))
    return max(abs(product - (m == 0)) for m, product in enumerate(products))


def _wrapped(x: Tensor, dim: int, before: int = 0, after: int = 0) -> Tensor:
    """The periodic extension of ``x`` along ``dim`` by a number of samples at either end, contiguous."""
    length = x.shape[dim]
    if before + after == 0:
        return x.contiguous()
    if max(before, after) > length:
        index = torch.arange(-before, length + after, device=x.device) % length
        return x.index_select(dim, index)
    return torch.cat([x.narrow(dim, length - before, before), x, x.narrow(dim, 0, after)], dim)


def _correlate(terms: list[tuple[float, Tensor]]) -> Tensor:
    """The sum of factors times tensors."""
    (factor, first), *others = terms
    total = first * factor
    for factor, term in others:
        total.add_(term, alpha=factor)
    return total
