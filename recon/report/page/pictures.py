"""The pictures of a page: slices, each with the same few layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, final

import numpy as np

from recon.io.image import Array
from recon.report.page.measures import Change

MAX_SIDE = 2048
"""Pixels along the longer side of a display copy; larger pictures are averaged."""


class Scale(StrEnum):
    """The grey scale or colours of a layer."""

    WINDOW = "window"
    """Shares window and level with the other layers of this kind."""

    SIGNED = "signed"
    """Symmetric about zero, with a fixed bound: blue below, red above."""

    OWN = "own"
    """From its own low end to its own high end, such as a sinogram."""


@final
@dataclass(frozen=True, eq=False)
class Layer:
    """A layer of a slice: one more picture of it.

    Attributes:
        name: A short word that is the same in all slices: ``before`` and ``after`` are compared, others are shown.
        label: What it is, for a person.
        values: Shape (channels, height, width), in ``unit``; NaN where there is none. Channels are 1, or 3 for RGB.
            ``None`` with ``difference``.
        scale: How it is shown.
        unit: Of the values; empty where none is known.
        limits: Of :attr:`Scale.SIGNED` the bound and its negative, of :attr:`Scale.OWN` what is black and white;
            ``None``: the percentiles 0.5 and 99.5.
        step: The distance of neighbouring values that need not be told apart; 0: 1/4096 of their range.
        aspect: The height of a pixel over its width.
        difference: The names of two layers of one size: this one is the first less the second, which takes no place
            in the page.
        title: What a reader chooses it by; by default the name.
        shared: Whether it is the same for all slices of the group, and is in the page once.
    """

    name: str
    label: str
    values: Array | None
    scale: Scale = Scale.WINDOW
    unit: str = ""
    limits: tuple[float, float] | None = None
    step: float = 0.0
    aspect: float = 1.0
    difference: tuple[str, str] | None = None
    title: str = ""
    shared: bool = False

    def __post_init__(self) -> None:
        if not self.title:
            object.__setattr__(self, "title", self.name)


@final
@dataclass(frozen=True)
class MapFigures:
    """The values of a map of a slice, in its unit.

    Attributes:
        title: Of the layer.
        unit: Of the values; empty where none is known.
        median: The percentile 50 over the pixels that have a value.
        high: The percentile 95.
        largest: The largest value.
    """

    title: str
    unit: str
    median: float
    high: float
    largest: float


@final
@dataclass(frozen=True, eq=False)
class Slice:
    """A slice, or a single image, with what is said of it.

    Attributes:
        name: Of the file, or the file and the frame.
        layers: Its pictures.
        window: What is black and white at first, in units; ``None``: the percentiles 0.1 and 99.9.
        change: What the reconstruction changed; ``None`` where there is nothing to compare.
        remarks: Sentences that belong beside the pictures.
        missing: Why the result is not shown, such as that its file was altered; at the head of the page.
        maps: The values of the maps among the layers.
        record: The run record.
        frame: Which of the frames of its record it is.
        facts: Pairs of a name and a text that are shown with the parameters, as of the files that were found.
    """

    name: str
    layers: tuple[Layer, ...]
    record: Mapping[str, object] = field(repr=False)
    window: tuple[float, float] | None = None
    change: Change | None = None
    remarks: tuple[str, ...] = ()
    frame: int = 0
    facts: tuple[tuple[str, str], ...] = ()
    missing: tuple[str, ...] = ()
    maps: tuple[MapFigures, ...] = ()


def factor_of(shape: Sequence[int]) -> int:
    """How many pixels along each side of an image of (height, width) are averaged to one on a page."""
    return -(-max(shape) // MAX_SIDE)


def display_copy(values: Array) -> tuple[Array, int]:
    """The values, and how many pixels along each side were averaged to one so that the sides are not too long."""
    factor = factor_of(values.shape[-2:])
    return (values, 1) if factor == 1 else (averaged(values, factor), factor)


def averaged(values: Array, factor: int) -> Array:
    """Means of ``factor`` x ``factor`` pixels, (channels, height, width), over those that are there; else NaN."""
    channels, rows, columns = values.shape
    padded = np.full((channels, -(-rows // factor) * factor, -(-columns // factor) * factor), np.nan)
    padded[:, :rows, :columns] = values
    blocks = padded.reshape(channels, padded.shape[1] // factor, factor, padded.shape[2] // factor, factor)
    present = np.isfinite(blocks)
    count = present.sum(axis=(2, 4))
    total = np.where(present, blocks, 0.0).sum(axis=(2, 4))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def robust_limits(values: Array, low: float, high: float) -> tuple[float, float]:
    """Two percentiles of the values that are there; 0 and 1 where they are one, or none is there."""
    seen: Any = values[np.isfinite(values)]
    if not seen.size:
        return 0.0, 1.0
    first, last = (float(number) for number in np.percentile(seen, (low, high)))
    if not first < last:
        first, last = float(seen.min()), float(seen.max())
    return (first, last) if first < last else (first, first + 1.0)
