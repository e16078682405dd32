"""Volumes to train on: blocks of stacks, as of NIfTI, TIFF and NPY files."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from recon.errors import InputError
from recon.operators.symmetries import turned
from recon.training.data import FileReader, Notify, Pixels, unit
from recon.training.tables import DataConfig

Shape = tuple[int, int, int]


@final
@dataclass(frozen=True)
class VolumeBlocks:
    """The blocks of volumes, as a :class:`recon.training.data.Source`.

    Attributes:
        volumes: Each (slices, 1, height, width), as it is stored.
        shape: (slices, height, width) of a block.
        augment: Whether blocks are flipped and turned within their slices.
        units: Of the files that they are from, in words.
    """

    volumes: tuple[Pixels, ...]
    shape: Shape
    augment: bool
    units: str = ""

    @property
    def count(self) -> int:
        """How many volumes there are."""
        return len(self.volumes)

    @property
    def pixels(self) -> int:
        """Of all volumes."""
        return sum(volume.size for volume in self.volumes)

    def draw(self, count: int, generator: torch.Generator, frames: int = 1) -> Tensor:
        """``(1, count, 1, slices, height, width)`` on the [0, 1] scale."""
        del frames
        return torch.stack([self._one(generator) for _ in range(count)])[None]

    def _one(self, generator: torch.Generator) -> Tensor:
        volume = self.volumes[int(torch.randint(len(self.volumes), (1,), generator=generator))]
        sides = (volume.shape[0], *volume.shape[2:])
        first = [
            int(torch.randint(have - want + 1, (1,), generator=generator))
            for have, want in zip(sides, self.shape, strict=True)
        ]
        way = int(torch.randint(8, (1,), generator=generator))
        return turned(block_of(volume, first, self.shape), way if self.augment else 0)

    def fingerprint(self) -> str:
        """A hash of every voxel in its order."""
        total = hashlib.sha256()
        for volume in self.volumes:
            total.update(f"{volume.shape}{volume.dtype}".encode())
            total.update(volume.tobytes())
        return total.hexdigest()


def block_of(volume: Pixels, first: Sequence[int], shape: Shape) -> Tensor:
    """A block (1, slices, height, width) of a stored volume, on the [0, 1] scale."""
    z, top, left = first
    slices, height, width = shape
    return torch.from_numpy(unit(volume[z : z + slices, 0, top : top + height, left : left + width]))[None]


def read_volumes(  # noqa: PLR0913, PLR0917  what to read, how, and how much of it
    files: Sequence[Path], config: DataConfig, shape: Shape, augment: bool, say: Notify, units: str = ""
) -> VolumeBlocks:
    """The volumes of many files, each a stack of slices.

    Raises:
        InputError: Files cannot be read, or do not go together, or none holds a block.
    """
    reader, kept, small = FileReader(config, 1, shape[0], units), [], 0
    room = config.memory_mb * 2**20
    for file in files:
        for volume in reader.read(file):
            if any(have < want for have, want in zip(volume.shape[2:], shape[1:], strict=True)):
                small += 1
            elif volume.nbytes <= room:
                room -= volume.nbytes
                kept.append(volume)
            else:
                say(f"{file.name}: does not fit into the {config.memory_mb} MB of data.memory_mb and is not read")
    reader.report(say)
    if small:
        say(f"{small} volumes are smaller than a block of {_words(shape)} voxels and are skipped")
    if not kept:
        raise InputError(
            f"{len(files)} files hold no volume; expected at least one of {_words(shape)} voxels that fits into "
            f"{config.memory_mb} MB, as a stack of slices in one file."
        )
    return VolumeBlocks(tuple(kept), shape, augment, reader.units)


def _words(shape: Shape) -> str:
    return " x ".join(map(str, shape))
