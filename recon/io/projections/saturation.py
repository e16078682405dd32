"""Counts that are no measurement of the light: at the end of the detector's scale, or far above the flat field."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.io.image import Array

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

BRIGHT = 1.2
"""A transmission that noise and a drifting source do not explain."""

_SIGMAS = 6.0
_FULL_SCALES = tuple(2.0**bits - 1 for bits in (10, 12, 14, 16))
"""The largest values of detectors whose files hold more bits."""

_FEWEST, _SPIKE = 16, 4
"""How often the largest value occurs where the scale ends there, and how many times as often as the next lower one."""

_FEW_LINES, _FEW_VALUES = 0.1, 0.01
"""Of the views and of the columns, and of the other counts, that may be far above the flat field: if more are, the
flat field is the one that is wrong."""

_LISTED = 5


def saturated(raw: Array, share: Floats, bright: Floats, light: Floats) -> Mask:
    """The counts (views, pixels) that are saturated.

    A count is saturated at the largest value of its type, or of a common detector if the counts pile up there, unless
    the flat field is there too; and where it is far above the flat field while few others are.

    Args:
        raw: The counts.
        share: The transmissions, (counts - dark) / (flat - dark).
        bright: The flat field, (pixels,).
        light: The flat field less the dark field.
    """
    return _full(raw, bright) | too_bright(share, light)


def _full(raw: Array, bright: Floats) -> Mask:
    largest = raw.max()
    ends = raw.dtype.kind in "iu" and largest == np.iinfo(raw.dtype).max
    if not ends and float(largest) in _FULL_SCALES:
        at_end, below = np.count_nonzero(raw == largest), np.count_nonzero(raw == largest - 1)
        ends = bool(at_end >= _FEWEST and at_end > _SPIKE * below)
    full: Mask = np.broadcast_to(ends, raw.shape) & (raw == largest) & (bright < float(largest))
    return full


def too_bright(share: Floats, light: Floats | float) -> Mask:
    """The transmissions (views, pixels) far above 1, if they are few: else another exposure explains them.

    Few are some views, some columns, and single counts beside them.

    Args:
        share: The transmissions.
        light: The counts of a transmission of 1, whose noise is that of photons.
    """
    spread = _SIGMAS / np.sqrt(np.maximum(light, 1.0))
    bright: Mask = share > np.maximum(BRIGHT, 1 + spread)
    views, columns = bright.mean(axis=1) > 0.5, bright.mean(axis=0) > 0.5
    few = all(np.count_nonzero(lines) <= max(1.0, _FEW_LINES * lines.size) for lines in (views, columns))
    single = bright & ~views[:, None] & ~columns
    return bright if few and np.count_nonzero(single) <= _FEW_VALUES * bright.size else np.zeros_like(bright)


@dataclass(frozen=True)
class Saturation:
    """The saturated part of a slice.

    Attributes:
        views: The views that are for the most part.
        columns: The columns that are for the most part.
        count: How many counts are, in all.
    """

    views: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()
    count: int = 0

    @classmethod
    def of(cls, where: Mask) -> "Saturation":
        """Sum up a mask (views, pixels)."""
        views, columns = (np.flatnonzero(where.mean(axis=axis) > 0.5) for axis in (1, 0))
        return cls(tuple(map(int, views)), tuple(map(int, columns)), int(np.count_nonzero(where)))


def saturation_note(slices: list[Saturation], size: int, layer: str) -> tuple[str, ...]:
    """A sentence that counts saturated counts, and names their views and columns; none where nothing is.

    Args:
        slices: Of each slice.
        size: How many counts there are.
        layer: What the slices are called.
    """
    count = sum(one.count for one in slices)
    if not count:
        return ()
    return (
        f"{count} of {size} counts are saturated, at the largest value of the detector or more than {BRIGHT:g} times "
        f"the flat field{_places(slices, layer)}; they were interpolated and have weight 0.",
    )


def photon_weights(values: Array, photons: float, layer: str = "slice") -> tuple[Array, tuple[str, ...]]:
    """The counts (slices, views, pixels) that line integrals stand for: 0 where they are far above the photons sent.

    Args:
        values: The line integrals.
        photons: How many photons a ray brings where nothing is in its way.
        layer: What the slices are called.

    Returns:
        The weights, of the type of the values; and a sentence where some rays are too bright.
    """
    share = np.exp(-values.astype(np.float64))
    full = np.stack([too_bright(one, photons) for one in share])
    weights = np.where(full, 0.0, photons * share).astype(values.dtype)
    if not full.any():
        return weights, ()
    places = _places([Saturation.of(one) for one in full], layer)
    return weights, (
        f"{np.count_nonzero(full)} of {full.size} line integrals are of rays with more than {BRIGHT:g} times the "
        f"photons that were sent{places}; they have weight 0.",
    )


def _places(slices: list[Saturation], layer: str) -> str:
    named = [
        f"{kind} {number}" + (f" of {layer} {index}" if len(slices) > 1 else "")
        for index, one in enumerate(slices)
        for kind, numbers in (("view", one.views), ("column", one.columns))
        for number in numbers
    ]
    more = f" and {len(named) - _LISTED} more" if len(named) > _LISTED else ""
    return f", among them {', '.join(named[:_LISTED])}{more} (counted from 0)" if named else ""
