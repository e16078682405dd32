"""Result of the reader of one format for :func:`recon.io.read`, and its refusal."""

from dataclasses import dataclass

import numpy as np

from recon.io.image import Array, Grid, Slices, Source, ValueRange

MAX_PIXELS = 2**28
"""How many values (frames x channels x height x width) a file may declare before it is refused."""


class RefusedError(Exception):
    """The end of the sentence that begins with the file's name."""


@dataclass(frozen=True)
class Decoded:
    """Pixels of shape (frames, channels, height, width) in units, and what else a file said of them."""

    pixels: Array
    source: Source
    grid: Grid | None = None
    alpha: Array | None = None
    value_range: ValueRange | None = None
    units: str = ""
    spacing: tuple[float, float] | None = None
    padding: Array | None = None
    notes: tuple[str, ...] = ()
    slices: Slices | None = None


def check_size(shape: tuple[int, ...], limit: int) -> None:
    """Refuse what a header declares before anything of that size is allocated."""
    values = 1
    for length in shape:
        values *= int(length)
    text = " x ".join(str(length) for length in shape)
    if values <= 0 or any(length <= 0 for length in shape):
        raise RefusedError(f"it declares {text} pixels; expected at least one.")
    if values > limit:
        raise RefusedError(
            f"it declares {text} = {values} pixel values; expected at most {limit}, to bound the memory."
        )


def check_finite(pixels: Array) -> None:
    """Refuse NaN and infinity, and say how many there are."""
    if pixels.dtype.kind not in "fc":
        return
    bad = pixels.size - int(np.count_nonzero(np.isfinite(pixels)))
    if bad:
        raise RefusedError(f"{bad} of its {pixels.size} pixel values are NaN or infinite; expected finite numbers.")


def to_axes(array: Array, layout: str) -> Array:
    """Reorder an array whose axes are named by ``layout`` (of F, C, H, W) to all four axes in that order."""
    missing = [axis for axis in "FCHW" if axis not in layout]
    full = array.reshape((1,) * len(missing) + array.shape)
    order = [("".join(missing) + layout).index(axis) for axis in "FCHW"]
    return full.transpose(order)


def from_axes(pixels: Array, layout: str) -> Array:
    """Undo :func:`to_axes`; frames and channels that ``layout`` does not name but the pixels have are put in."""
    if "F" not in layout and pixels.shape[0] > 1:
        layout = "F" + layout
    if "C" not in layout and pixels.shape[1] > 1:
        layout = layout + "C"
    missing = [axis for axis in "FCHW" if axis not in layout]
    if "C" in missing and pixels.shape[1] != 1:
        raise ValueError(layout)
    order = ["FCHW".index(axis) for axis in "".join(missing) + layout]
    array = pixels.transpose(order)
    return array.reshape(array.shape[len(missing) :])
