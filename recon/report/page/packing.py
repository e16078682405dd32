"""Display copies of pictures as text: rounded to a step, predicted from their neighbours, compressed.

A browser undoes it with ``DecompressionStream`` and a loop over the pixels, and gets more than 8 bits a pixel, which
window and level need. Of noise, that is as short as any code: white noise rounded to its standard deviation takes 2.05
bits a pixel, and a code with an error as small takes 1.8 at least (the rate-distortion function of a Gaussian). A JPEG
is shorter because it takes noise away, which a comparison of noise must not.
"""

import base64
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.io.image import Array
from recon.report.page.pictures import Layer, Scale, display_copy, robust_limits

MISSING = 0
"""The stored number of a pixel without a value; those with one have 1 to LARGEST."""

LARGEST = 65535
_LEVELS = 4096


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
    """The bytes of text that the pictures of a page may take together.

    What a slice leaves is for those after it. The step by which a layer is coarser than its own begins where the
    slice before ended, as slices of a series are alike.
    """

    def __init__(self, total: int, slices: int) -> None:
        self._left, self._slices = float(total), slices
        self._coarser: dict[str, int] = {}

    def pack(self, layers: Sequence[Layer]) -> dict[str, Packed]:
        """The display copies of the layers of the next slice; the largest is made coarser until all fit."""
        share = self._left / max(1, self._slices)
        for name, level in self._coarser.items():
            self._coarser[name] = max(0, level - 1)
        copies = {layer.name: _Copy(layer) for layer in layers if layer.values is not None}
        packed = {name: copy.packed(self._coarser.get(name, 0)) for name, copy in copies.items()}
        while sum(len(each.text) for each in packed.values()) > share:
            able = [name for name in packed if packed[name].meta["levels"] > _FEWEST]
            if not able:
                break
            name = max(able, key=lambda each: len(packed[each].text))
            self._coarser[name] = self._coarser.get(name, 0) + 1
            packed[name] = copies[name].packed(self._coarser[name])
        self._left -= sum(len(each.text) for each in packed.values())
        self._slices -= 1
        return packed


_FEWEST = 24
"""Levels of grey below which a picture is not made coarser, whatever the budget."""


class _Copy:
    """The display copy of a layer, to be packed with one step or another."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.values, self.averaged = display_copy(np.asarray(layer.values, np.float64))
        finite = self.values[np.isfinite(self.values)]
        self.low, self.high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        self.limits = layer.limits or robust_limits(self.values, *((0.1, 99.9) if _is_shared(layer) else (0.5, 99.5)))
        if layer.scale is Scale.SIGNED and layer.limits is None:
            bound = max(map(abs, self.limits))
            self.limits = (-bound, bound)
        self.exact = layer.step > 0 and self.averaged == 1
        self.step = layer.step or (self.limits[1] - self.limits[0]) / _LEVELS
        # what lies far outside of the limits is cut off, so that one bright pixel does not cost all others their levels
        reach = 15 * (self.limits[1] - self.limits[0])
        if not self.exact:
            self.low, self.high = max(self.low, self.limits[0] - reach), min(self.high, self.limits[1] + reach)
        smallest = (self.high - self.low) / (LARGEST - 1)
        if not self.step >= smallest:
            self.step, self.exact = smallest or 1.0, False

    def packed(self, coarser: int) -> Packed:
        step = self.step * 4 ** (coarser // 4) * (1.0, 1.5, 2.0, 3.0)[coarser % 4]
        # multiples of the step themselves, so that values which are whole numbers stay whole
        first = math.floor(self.low / step + 0.5)
        numbers = np.rint(np.clip(np.nan_to_num(self.values, nan=self.low), self.low, self.high) / step) - first + 1
        stored = np.where(np.isfinite(self.values), np.clip(numbers, 1, LARGEST), MISSING).astype(np.uint16)
        text, predictor = _compressed(stored)
        channels, rows, columns = stored.shape
        meta: dict[str, Any] = {
            "label": self.layer.label,
            "unit": self.layer.unit,
            "scale": self.layer.scale.value,
            "shape": [channels, rows, columns],
            "aspect": self.layer.aspect,
            "averaged": self.averaged,
            "offset": (first - 1) * step,
            "step": step,
            "exact": self.exact and coarser == 0,
            "limits": list(self.limits),
            "levels": int((self.high - self.low) / step) + 1,
            "predictor": predictor,
        }
        return Packed(text, meta)


def _is_shared(layer: Layer) -> bool:
    return layer.scale is Scale.WINDOW


def _compressed(stored: NDArray[np.uint16]) -> tuple[str, str]:
    """The shorter text of two predictors, and the name of the predictor."""
    found = {name: _deflated(predict(stored)) for name, predict in PREDICTORS.items()}
    name = min(found, key=lambda each: len(found[each]))
    return base64.b64encode(found[name]).decode("ascii"), name


def _deflated(differences: NDArray[np.uint16]) -> bytes:
    """Differences with their sign in the last bit, all low bytes and then all high bytes."""
    signed = differences.astype(np.int16).astype(np.int32)
    folded = ((signed << 1) ^ (signed >> 31)).astype(np.uint16).ravel()
    data = (folded & 0xFF).astype(np.uint8).tobytes() + (folded >> 8).astype(np.uint8).tobytes()
    packer = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    return packer.compress(data) + packer.flush()


def _neighbours(stored: NDArray[np.uint16]) -> tuple[Array, Array, Array]:
    """The pixels to the left, above, and above left; zeros beyond the border."""
    padded = np.pad(stored.astype(np.int32), ((0, 0), (1, 0), (1, 0)))
    return padded[:, 1:, :-1], padded[:, :-1, 1:], padded[:, :-1, :-1]


def _less_mean(stored: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Less the mean of the pixels to the left and above: the better one for noise."""
    left, above, _ = _neighbours(stored)
    found: NDArray[np.uint16] = (stored.astype(np.int32) - ((left + above) >> 1)).astype(np.uint16)
    return found


def _less_median(stored: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Less the median of left, above, and left + above - above left: the better one for smooth pictures with edges."""
    left, above, corner = _neighbours(stored)
    median = np.clip(left + above - corner, np.minimum(left, above), np.maximum(left, above))
    found: NDArray[np.uint16] = (stored.astype(np.int32) - median).astype(np.uint16)
    return found


PREDICTORS = {"mean": _less_mean, "median": _less_median}


def unpacked(packed: Packed) -> Array:
    """The values of a display copy, as the page's script has them; for tests and other readers of a page."""
    channels, rows, columns = packed.meta["shape"]
    data = np.frombuffer(zlib.decompress(base64.b64decode(packed.text)), np.uint8).astype(np.int32)
    folded = data[: data.size // 2] + 256 * data[data.size // 2 :]
    differences = ((folded >> 1) ^ -(folded & 1)).reshape(channels, rows, columns)
    stored = np.zeros((channels, rows + 1, columns + 1), np.int64)
    for row, column in np.ndindex(rows, columns):
        left, above, corner = stored[:, row + 1, column], stored[:, row, column + 1], stored[:, row, column]
        if packed.meta["predictor"] == "mean":
            guess = (left + above) >> 1
        else:
            guess = np.clip(left + above - corner, np.minimum(left, above), np.maximum(left, above))
        stored[:, row + 1, column + 1] = (guess + differences[:, row, column]) & 0xFFFF
    numbers = stored[:, 1:, 1:]
    return np.where(numbers == MISSING, np.nan, packed.meta["offset"] + packed.meta["step"] * numbers)
