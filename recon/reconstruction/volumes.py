"""Stacks of images as volumes: which frames are the slices of one, and how far apart they are.

An image has one axis of frames. Of a hyperstack they are times, depths and channels; of other files slices. Solvers
take a volume for each time and channel, (volumes, colours, slices, height, width), each on its own.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recon.device import Notify
from recon.errors import ConsistencyError
from recon.io import Image
from recon.specs.solve_config import SolveConfig

DEPTH = "Z"
_UNNAMED = ("I", "Q")
"""What tifffile calls frames of which a file says no more than that they are there."""

_NAMES = {"T": "times", "C": "channels"}

SAMPLED = 32
"""Slices of a volume from which its noise and its contrast are estimated."""

_LIKELY = (0.02, 50.0)
"""The distance of two slices over that of two pixels."""


@dataclass(frozen=True)
class VolumeLayout:
    """The order of the frames of a stack.

    Attributes:
        axes: A letter for each axis of frames, the slowest first; Z are the slices.
        sizes: The length of each.
        distance: Of two slices, in pixels of a slice.
    """

    axes: str
    sizes: tuple[int, ...]
    distance: float = 1.0

    @property
    def slices(self) -> int:
        """How many slices a volume has."""
        return self.sizes[self.axes.index(DEPTH)]

    @property
    def volumes(self) -> int:
        """How many volumes there are, one for each time and channel."""
        return math.prod(self.sizes) // self.slices

    @property
    def spacing(self) -> tuple[float, float, float]:
        """The distance of slices, rows and columns, in pixels of a slice."""
        return self.distance, 1.0, 1.0

    def items(self, frames: Tensor) -> Tensor:
        """Frames (frames, colours, height, width) as volumes (volumes, colours, slices, height, width)."""
        place = self.axes.index(DEPTH)
        by_axis = frames.reshape(*self.sizes, *frames.shape[1:]).movedim(place, len(self.sizes) - 1)
        return by_axis.reshape(self.volumes, self.slices, *frames.shape[1:]).transpose(1, 2)

    def frames(self, items: Tensor) -> Tensor:
        """Undo :meth:`items`."""
        place = self.axes.index(DEPTH)
        others = [size for axis, size in enumerate(self.sizes) if axis != place]
        by_axis = items.transpose(1, 2).reshape(*others, self.slices, items.shape[1], *items.shape[3:])
        return by_axis.movedim(len(others), place).reshape(-1, items.shape[1], *items.shape[3:])


def layout_of(image: Image, config: SolveConfig, say: Notify) -> VolumeLayout:
    """Which frames of an image are slices, and how far apart.

    Raises:
        ConsistencyError: Its frames are times or channels, and none of them slices.
    """
    stack = image.source.stack
    axes, sizes = "Z", (image.frames,)
    if stack is not None and stack.fits(image.frames) and stack.axes:
        axes, sizes = stack.axes, stack.sizes
    if DEPTH not in axes:
        known = next((axis for axis in reversed(axes) if axis in _UNNAMED or axis not in _NAMES), None)
        if known is None:
            what = " and ".join(_NAMES[axis] for axis in axes)
            raise ConsistencyError(
                f"The {image.frames} frames of the input are {what}, and none are slices of a volume; expected a stack "
                "with depth, or no --volume."
            )
        axes = axes.replace(known, DEPTH)
    layout = VolumeLayout(axes, sizes)
    if layout.slices == 1:
        say("--volume: the volume has one slice, so that nothing lies beside it")
    return replace(layout, distance=_distance(image, layout.slices, config, say))


def _distance(image: Image, slices: int, config: SolveConfig, say: Notify) -> float:
    """The distance of two slices in pixels of a slice: as asked for, as the file has it, or 1."""
    pitch = None if image.slices is None else image.slices.pitch
    rows, columns = image.spacing or (math.nan, math.nan)
    if math.isfinite(rows) and abs(rows - columns) > 1e-3 * rows:
        say(
            f"the rows are {rows:.4g} mm apart and the columns {columns:.4g}: differences within a slice count alike, "
            "and those between slices by the distance of the columns"
        )
    stated = None if pitch is None or not math.isfinite(columns) else pitch / columns
    if config.slice_distance is not None:
        if stated is not None and not math.isclose(stated, config.slice_distance, rel_tol=0.01):
            say(f"--slice-distance is {config.slice_distance:g} pixels, and the file says {stated:.4g}")
        return config.slice_distance
    if stated is None:
        if slices > 1:
            say("the distance of the slices is not stated, and taken for that of pixels; --slice-distance states it")
        return 1.0
    if not _LIKELY[0] <= stated <= _LIKELY[1]:
        say(f"the slices are {stated:.3g} pixels apart, as the file says; --slice-distance states another")
    return stated


def sampled(image: Image, count: int = SAMPLED) -> Image:
    """Some of the frames of an image, evenly spaced."""
    if image.frames <= count:
        return image
    kept = np.unique(np.linspace(0, image.frames - 1, count).round().astype(int))
    return replace(
        image,
        pixels=image.pixels[kept],
        padding=None if image.padding is None else image.padding[kept],
        alpha=None,
    )


def some_of(frames: Tensor, count: int = SAMPLED) -> Tensor:
    """Some of the frames of a tensor, evenly spaced."""
    if len(frames) <= count:
        return frames
    return frames[torch.linspace(0, len(frames) - 1, count).round().long()]
