"""Display copies of pictures as text, of more than the 8 bits that pictures in a page have: window and level need them.

A copy is exact where there is room: each pixel less what its neighbours predict, compressed. Else it is the rounded
coefficients of a wavelet transform, and the page says how far it is from the file. A browser undoes both with
``DecompressionStream`` and loops over the pixels.
"""

import base64
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.io.image import Array
from recon.report.page import wavelet
from recon.report.page.pictures import Layer, Scale, display_copy, robust_limits

MISSING = 0
"""The number of a pixel without a value; those with one have 1 to LARGEST."""

LARGEST = 65535
_LEVELS = 4096
_DEAD = 0.62
"""Of a step, below which a coefficient is rounded to zero: most of those are noise of the rounding."""

_ROOM = 0.8
"""Of its share: a slice that takes less lets the next one be finer, by a quarter or so."""

COARSEST = 24
"""Of the steps by which a copy gets coarser, each a factor of the square root of two: after so many it does not."""

Numbers = NDArray[np.uint16]


@dataclass(frozen=True)
class Packed:
    """A display copy.

    Attributes:
        text: Base 64 of the compressed numbers.
        meta: What is needed to read and to show it, as plain values.
    """

    text: str
    meta: dict[str, Any]


class Budget:
    """The characters that the pictures of a page may take together.

    What a slice leaves is for those after it. How coarse a layer is begins where the slice before ended, as slices of a
    series are alike.
    """

    def __init__(self, total: int, slices: int) -> None:
        self._left, self._slices = float(total), slices
        self._coarser: dict[str, int] = {}
        self._finer = False

    def pack(self, layers: Sequence[Layer]) -> dict[str, Packed]:
        """The display copies of the layers of the next slice; the largest is made coarser until all fit."""
        share = self._left / max(1, self._slices)
        copies = {layer.name: _Copy(layer) for layer in layers if layer.values is not None}
        coarser = {name: max(0, self._coarser.get(name, 0) - self._finer) for name in copies}
        texts = {name: copy.text(coarser[name]) for name, copy in copies.items()}
        while sum(map(len, texts.values())) > share:
            able = [name for name in texts if coarser[name] < COARSEST]
            if not able:
                break
            name = max(able, key=lambda each: len(texts[each]))
            coarser[name] += 1
            texts[name] = copies[name].text(coarser[name])
        used = sum(map(len, texts.values()))
        self._finer = used < _ROOM * share
        self._left -= used
        self._slices -= 1
        self._coarser |= coarser
        return {name: Packed(text, copies[name].meta(coarser[name])) for name, text in texts.items()}


class _Copy:
    """The display copy of a layer, to be packed in one coarseness or another."""

    def __init__(self, layer: Layer) -> None:
        assert layer.values is not None  # noqa: S101  the caller saw to it
        self.layer = layer
        self.values, self.averaged = display_copy(np.asarray(layer.values, np.float64))
        self.there = np.isfinite(self.values)
        finite = self.values[self.there]
        self.low, self.high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        shared = layer.scale is Scale.WINDOW
        self.limits = layer.limits or robust_limits(self.values, *((0.1, 99.9) if shared else (0.5, 99.5)))
        if layer.scale is Scale.SIGNED and layer.limits is None:
            bound = max(map(abs, self.limits))
            self.limits = (-bound, bound)
        self.exact = layer.step > 0 and self.averaged == 1
        self.step = layer.step or (self.limits[1] - self.limits[0]) / _LEVELS
        if not self.exact:  # so that one bright pixel does not cost all others their levels
            reach = 15 * (self.limits[1] - self.limits[0])
            self.low, self.high = max(self.low, self.limits[0] - reach), min(self.high, self.limits[1] + reach)
        smallest = (self.high - self.low) / (LARGEST - 1)
        if not self.step >= smallest:
            self.step, self.exact = smallest or 1.0, False

    @cached_property
    def _filled(self) -> Array:
        return np.clip(np.where(self.there, self.values, self.low), self.low, self.high)

    @cached_property
    def _coefficients(self) -> Array:
        return np.stack([wavelet.transform(plane) for plane in self._filled])

    @cached_property
    def _predicted(self) -> tuple[str, str]:
        return _shortest(self._numbers(self.step))

    def _first(self, step: float) -> int:
        # multiples of the step themselves, so that values which are whole numbers stay whole
        return math.floor(self.low / step + 0.5)

    def _numbers(self, step: float) -> Numbers:
        numbers = np.rint(self._filled / step) - self._first(step) + 1
        return np.where(self.there, np.clip(numbers, 1, LARGEST), MISSING).astype(np.uint16)

    def _quantum(self, coarser: int) -> float:
        return float(self.step * 2 ** (0.5 * (coarser + 1)))

    def _rounded(self, coarser: int) -> NDArray[np.int64]:
        sizes = np.abs(self._coefficients) / self._quantum(coarser)
        return (np.sign(self._coefficients) * np.floor(sizes + 1 - _DEAD)).astype(np.int64)

    def text(self, coarser: int) -> str:
        """The copy; 0 is the finest."""
        if coarser == 0:
            return self._predicted[0]
        parts = [_bytes_of(_in_bands(self._rounded(coarser)), 3)]
        if not self.there.all():
            parts.append(self.there.astype(np.uint8).tobytes())
        return _deflated(b"".join(parts))

    def meta(self, coarser: int) -> dict[str, Any]:
        """What is needed to read it, and how far it is from the values."""
        step = self.step if coarser == 0 else (self.high - self.low) / (LARGEST - 1) or 1.0
        meta: dict[str, Any] = {
            "scale": self.layer.scale.value,
            "shape": list(self.values.shape),
            "aspect": self.layer.aspect,
            "averaged": self.averaged,
            "offset": (self._first(step) - 1) * step,
            "step": step,
            "exact": self.exact and coarser == 0,
            "limits": list(self.limits),
            "range": [self.low, self.high],
            "coder": self._predicted[1] if coarser == 0 else "wavelet",
        }
        if coarser:
            meta |= {"quantum": self._quantum(coarser), "holes": not self.there.all()}
            found = np.stack([wavelet.inverse(each) for each in self._rounded(coarser) * self._quantum(coarser)])
            apart = np.abs(np.clip(found, self.low, self.high) - self._filled)[self.there]
            meta["error"] = [float(np.sqrt(np.square(apart).mean())), float(apart.max())] if apart.size else [0.0, 0.0]
        return meta


def _deflated(data: bytes) -> str:
    packer = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    return base64.b64encode(packer.compress(data) + packer.flush()).decode("ascii")


def _bytes_of(numbers: NDArray[np.int64], count: int) -> bytes:
    """Numbers with their sign in the last bit, all lowest bytes first."""
    folded = np.where(numbers < 0, -2 * numbers - 1, 2 * numbers)
    return b"".join(((folded >> (8 * at)) & 0xFF).astype(np.uint8).tobytes() for at in range(count))


def _in_bands(coefficients: NDArray[np.int64]) -> NDArray[np.int64]:
    parts = [each[band].ravel() for each in coefficients for band in wavelet.bands(*each.shape)]
    return np.concatenate(parts)


# Exact copies


def _shortest(stored: Numbers) -> tuple[str, str]:
    """The shorter text of two predictors, and the name of the predictor."""
    found = {name: _deflated(_bytes_of(predict(stored), 2)) for name, predict in PREDICTORS.items()}
    name = min(found, key=lambda each: len(found[each]))
    return found[name], name


def _neighbours(stored: Numbers) -> tuple[Array, Array, Array]:
    """The pixels to the left, above, and above left; zeros beyond the border."""
    padded = np.pad(stored.astype(np.int64), ((0, 0), (1, 0), (1, 0)))
    return padded[:, 1:, :-1], padded[:, :-1, 1:], padded[:, :-1, :-1]


def _less(stored: Numbers, guess: Array) -> NDArray[np.int64]:
    """The difference, modulo 2^16, as a signed number of 16 bits."""
    return (stored.astype(np.int64) - guess).astype(np.uint16).astype(np.int16).astype(np.int64)


def _less_mean(stored: Numbers) -> NDArray[np.int64]:
    """Less the mean of the pixels to the left and above: the better one for noise."""
    left, above, _ = _neighbours(stored)
    return _less(stored, (left + above) >> 1)


def _less_median(stored: Numbers) -> NDArray[np.int64]:
    """Less the median of left, above, and left + above - above left: the better one for smooth pictures with edges."""
    left, above, corner = _neighbours(stored)
    return _less(stored, np.clip(left + above - corner, np.minimum(left, above), np.maximum(left, above)))


PREDICTORS = {"mean": _less_mean, "median": _less_median}
