"""Training images: read once, kept in memory in few bytes, and sampled as patches."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon import io
from recon.errors import InputError, ReconError
from recon.io import Image, ValueRange
from recon.io.image import LUMA, robust_range
from recon.operators.symmetries import turned
from recon.training.tables import DataConfig
from recon.training.warping import Warp

Notify = Callable[[str], None]
Pixels = NDArray[Any]

_NAMED = 3
"""How many of the files at fault an error names."""


class Source(Protocol):
    """A source of patches.

    Attributes:
        units: Of the files that they are from, in words.
        count: How many images there are.
        pixels: How many pixels in all, about.
    """

    @property
    def units(self) -> str: ...

    @property
    def count(self) -> int: ...

    @property
    def pixels(self) -> int: ...

    def draw(self, count: int, generator: torch.Generator, frames: int = 1) -> Tensor: ...

    def fingerprint(self) -> str: ...


@final
@dataclass(frozen=True)
class Patches:
    """Images in memory, and the patches in them.

    Attributes:
        images: Each ``(frames, channels, height, width)``, of uint8, uint16 (255 and 65535 stand for 1) or float16.
        patch: The side of a patch.
        augment: Whether patches are flipped and turned.
        units: Of the files that they are from, in words.
        warp: How patches are rotated and scaled, if they are; images are then as fine as the files.
    """

    images: tuple[Pixels, ...]
    patch: int
    augment: bool
    units: str = ""
    warp: Warp | None = None

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(self.images)

    @property
    def pixels(self) -> int:
        """Of all images."""
        return sum(image.shape[-2] * image.shape[-1] for image in self.images)

    @property
    def bytes(self) -> int:
        """The memory of all images, in bytes."""
        return sum(image.nbytes for image in self.images)

    def draw(self, count: int, generator: torch.Generator, frames: int = 1) -> Tensor:
        """Patches, every place of every image as likely as any other.

        Args:
            count: How many.
            generator: What decides.
            frames: Different frames of the image that each patch is taken from.

        Returns:
            ``(frames, count, channels, patch, patch)`` on the [0, 1] scale.
        """
        side = self.patch * (self.warp.shrink if self.warp else 1)
        rooms = np.cumsum([(image.shape[2] - side + 1) * (image.shape[3] - side + 1) for image in self.images])
        places = torch.randint(int(rooms[-1]), (count,), generator=generator).numpy()
        ways = torch.randint(8, (count,), generator=generator).tolist()
        warps = self.warp.drawn(count, generator) if self.warp else [None] * count
        found = []
        for place, way, warp in zip(places, ways, warps, strict=True):
            index = int(np.searchsorted(rooms, place, side="right"))
            image = self.images[index]
            top, left = divmod(int(place) - (int(rooms[index - 1]) if index else 0), image.shape[3] - side + 1)
            chosen = torch.randperm(len(image), generator=generator)[:frames].numpy()
            patch = self._patch(image, chosen, (top, left), warp)
            found.append(turned(patch, way if self.augment else 0))
        return torch.stack(found, 1)

    def _patch(
        self, image: Pixels, frames: Pixels, corner: tuple[int, int], warp: tuple[float, float] | None
    ) -> Tensor:
        """Frames of the square at a corner, rotated and scaled if there is a warp for it."""
        if self.warp is None or warp is None:
            rows, columns = (slice(first, first + self.patch) for first in corner)
            return torch.from_numpy(unit(image[frames, :, rows, columns]))
        (rows, columns), inner = self.warp.needed(corner, self.patch, (image.shape[2], image.shape[3]))
        near = torch.from_numpy(unit(image[frames, :, rows, columns]))
        return torch.stack([self.warp.piece(frame, inner, self.patch, *warp) for frame in near])

    def fingerprint(self) -> str:
        """A hash of every pixel in its order."""
        total = hashlib.sha256()
        for image in self.images:
            total.update(f"{image.shape}{image.dtype}".encode())
            total.update(image.tobytes())
        return total.hexdigest()


def unit(pixels: Pixels) -> Pixels:
    """Stored numbers on the [0, 1] scale, in single precision."""
    largest = np.float32(np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1)
    found: Pixels = pixels.astype(np.float32) / largest
    return found


def read_patches(  # noqa: PLR0913, PLR0917  what to read, how, and how much of it
    files: Sequence[Path], config: DataConfig, channels: int, seed: int, say: Notify, frames: int = 1
) -> Patches:
    """The images of many files, in a random order, as many as fit into the memory that the configuration allows.

    Args:
        files: PNG, JPEG, TIFF, NPY or DICOM.
        config: The scale, the size of the patches, and the memory.
        channels: Those of the network.
        seed: Of the order.
        say: Where remarks go.
        frames: How many frames of a scene each image must have; with 1, every frame is an image.

    Raises:
        InputError: Files cannot be read, or do not go together, each named; or none is large enough.
    """
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed)).tolist()
    kept: list[Pixels] = []
    room, small = config.memory_mb * 2**20, 0
    warp = Warp(config.rotation, config.zoom, config.shrink) if config.warps else None
    reader = FileReader(replace(config, shrink=1) if warp else config, channels, frames)
    side = config.patch * (config.shrink if warp else 1)
    for count, index in enumerate(order):
        for image in reader.read(files[index]):
            if min(image.shape[2:]) < side:
                small += 1
            elif image.nbytes > room:
                room = 0
            else:
                room -= image.nbytes
                kept.append(image)
        if room == 0:
            say(f"{len(kept)} images fill the {config.memory_mb} MB of data.memory_mb; {len(files) - count - 1} "
                "files are not read")  # fmt: skip
            break
    reader.report(say)
    if small:
        say(f"{small} images are smaller than a patch of {side} x {side} and are skipped")
    if not kept:
        raise InputError(
            f"{len(files)} files hold no image for training; expected at least one of {side} x {side} "
            f"pixels that fits into {config.memory_mb} MB."
        )
    return Patches(tuple(kept), config.patch, config.augment, reader.units, warp)


def read_validation(  # noqa: PLR0913, PLR0917  what to read, how, and how much of it
    files: Sequence[Path],
    config: DataConfig,
    channels: int,
    count: int,
    crop: int,
    say: Notify,
    units: str = "",
    frames: int = 1,
) -> list[Tensor]:
    """The middle of the first images, each ``(frames, channels, height, width)`` on the [0, 1] scale.

    Args:
        files: PNG, JPEG, TIFF, NPY or DICOM.
        config: The scale.
        channels: Those of the network.
        count: How many images, at most.
        crop: Their height and width, at most.
        say: Where remarks go.
        units: Those of the training images; empty: any.
        frames: How many frames of a scene each image must have, at least; with 1, every frame is an image.

    Raises:
        InputError: Files cannot be read, or do not go together, each named; or there is none.
    """
    reader, found = FileReader(config, channels, frames, units), []
    for file in files:
        for image in reader.read(file):
            top, left = ((size - min(size, crop)) // 2 for size in image.shape[2:])
            found.append(torch.from_numpy(unit(image[:, :, top : top + crop, left : left + crop])))
        if len(found) >= count:
            break
    reader.report(say)
    if not found:
        raise InputError(f"{len(files)} files hold no image for validation; expected at least one.")
    return found[:count]


class FileReader:
    """Reads one file after the other, and remembers which could not be, and what they are in.

    Args:
        config: The scale.
        channels: Those of the network.
        frames: How many a file must have at least: with more than one, all of a file are kept together.
        units: What the values must be in; empty: whatever the first are in.
    """

    def __init__(self, config: DataConfig, channels: int, frames: int, units: str = "") -> None:
        self.config, self.channels, self.frames = config, channels, frames
        self.faults: list[str] = []
        self.units = units

    def read(self, file: Path) -> Iterable[Pixels]:
        try:
            image = io.read(file)
        except ReconError as error:
            self.faults.append(str(error))
            return []
        try:
            self._check_units(image)
            chosen = _shrunk(chosen_channels(image, self.channels, self.config), self.config.shrink)
            pixels = _stored(chosen, image, self.config)
            if len(pixels) < self.frames:
                raise InputError(f"there is {len(pixels)} frame; expected at least {self.frames} of one scene.")
        except ReconError as error:
            self.faults.append(f"{file}: {error}")
            return []
        return [pixels] if self.frames > 1 else [pixels[index : index + 1] for index in range(len(pixels))]

    def report(self, say: Notify) -> None:
        """Refuse or mention the files that could not be read."""
        if not self.faults:
            return
        named = " ".join(self.faults[:_NAMED]) + (" ..." if len(self.faults) > _NAMED else "")
        if not self.config.skip_damaged:
            files = "1 file" if len(self.faults) == 1 else f"{len(self.faults)} files"
            raise InputError(f"{files} cannot be trained on (data.skip_damaged = true leaves such out): {named}")
        say(f"{len(self.faults)} files are left out: {named}")

    def _check_units(self, image: Image) -> None:
        units = image.units or "no units"
        self.units = self.units or units
        if units != self.units:
            raise InputError(
                f"the values are in {units}; expected {self.units} as in the files before, because one network is "
                "trained on one scale."
            )


def chosen_channels(image: Image, channels: int, config: DataConfig) -> Pixels:
    """The pixels in units, in the channels that the network takes."""
    pixels = image.pixels
    if pixels.dtype.kind == "c":
        raise InputError("the pixels of a file are complex; expected real ones, because denoisers take images.")
    if image.padding is not None:
        pixels = np.where(image.padding, np.asarray(image.value_range.low, pixels.dtype), pixels)
    if pixels.shape[1] == channels:
        return pixels
    if channels == 1 and pixels.shape[1] == 3 and config.grey:
        grey: Pixels = (pixels * np.reshape(LUMA, (1, 3, 1, 1))).sum(1, keepdims=True)
        if pixels.dtype.kind == "u":
            grey = np.rint(grey).astype(pixels.dtype)
        return grey
    hint = "; data.grey = true makes grey images of them" if channels == 1 else ""
    raise InputError(f"an image has {pixels.shape[1]} channels; expected {channels}, as the network takes{hint}.")


def _shrunk(pixels: Pixels, factor: int) -> Pixels:
    """The means of squares of pixels, what is left over at the end cut off."""
    if factor == 1:
        return pixels
    height, width = (size // factor for size in pixels.shape[2:])
    if not (height and width):
        raise InputError(
            f"the image has {pixels.shape[2]} x {pixels.shape[3]} pixels; expected at least data.shrink = {factor} "
            "along each axis."
        )
    blocks = pixels[:, :, : height * factor, : width * factor].reshape(*pixels.shape[:2], height, factor, width, factor)
    means: Pixels = blocks.mean((3, 5), dtype=np.float64)
    return means


def _stored(pixels: Pixels, image: Image, config: DataConfig) -> Pixels:
    """The pixels on the [0, 1] scale as the smallest numbers that hold them well."""
    scale = scale_of(pixels, image, config)
    if pixels.dtype == np.uint8 and (scale.low, scale.high) == (0, 255):
        return pixels
    values = (pixels.astype(np.float64) - scale.low) / scale.width
    if config.clip:
        values = values.clip(0, 1)
    if values.min() >= 0 and values.max() <= 1:
        return np.rint(values * 65535).astype(np.uint16)
    half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise InputError(f"the values of an image reach {np.abs(values).max():.3g} on the scale where they should lie "
                         "in [0, 1]; expected another data.range or data.clip = true.")  # fmt: skip
    return half


def scale_of(pixels: Pixels, image: Image, config: DataConfig) -> ValueRange:
    """The grey values in the units of a file that become 0 and 1.

    Raises:
        InputError: They are attenuations, and the file is not in HU.
    """
    if config.scale == "attenuation":
        if image.units != "HU":
            raise InputError(f"the values are in {image.units or 'no units'}; expected HU, because data.scale is "
                             "'attenuation'.")  # fmt: skip
        low, high = (1000 * (end / config.water - 1) for end in config.range)
        return ValueRange(low, high)
    if config.range[0] < config.range[1]:
        return ValueRange(*config.range)
    return robust_range(pixels, about_one=False) if config.scale == "robust" else image.value_range
