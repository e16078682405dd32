"""Rotated and scaled pieces of training images."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional


@final
@dataclass(frozen=True)
class Warp:
    """How far patches are rotated and scaled at random.

    Attributes:
        rotation: The largest angle in degrees, either way.
        zoom: The largest factor by which what is seen becomes larger or smaller.
        shrink: Pixels along each axis of the images that are averaged to one of a patch.
    """

    rotation: float
    zoom: float
    shrink: int = 1

    def drawn(self, count: int, generator: torch.Generator) -> list[tuple[float, float]]:
        """Angles in degrees, and factors, whose logarithms are equally likely."""
        random = 2 * torch.rand(2, count, generator=generator, dtype=torch.float64) - 1
        angles, powers = random.tolist()
        return [(self.rotation * angle, self.zoom**power) for angle, power in zip(angles, powers, strict=True)]

    def needed(
        self, corner: tuple[int, int], side: int, shape: tuple[int, int]
    ) -> tuple[tuple[slice, slice], tuple[int, int]]:
        """Rows and columns that every piece of a square lies in, and the square's corner within them."""
        finer = side * self.shrink
        more = math.ceil(finer * (math.sqrt(2) * self.zoom - 1) / 2) + 1
        first = [max(0, place - more) for place in corner]
        last = [min(length, place + finer + more) for place, length in zip(corner, shape, strict=True)]
        rows, columns = (slice(begin, end) for begin, end in zip(first, last, strict=True))
        return (rows, columns), (corner[0] - first[0], corner[1] - first[1])

    def piece(self, image: Tensor, corner: tuple[int, int], side: int, angle: float, factor: float) -> Tensor:
        """A square of an image, rotated about its middle and enlarged; beyond its borders the image is mirrored.

        Pixels are interpolated linearly before ``shrink`` averages them.

        Args:
            image: (channels, height, width).
            corner: The first row and column of the square, were it not rotated and scaled.
            side: That of the result, (channels, side, side); the square has ``side * shrink`` pixels along each axis.
            angle: In degrees, counterclockwise.
            factor: Above 1 the square holds less of the image.
        """
        finer = side * self.shrink
        cosine, sine = (turn(math.radians(angle)) / factor for turn in (math.cos, math.sin))
        steps = torch.arange(finer, dtype=torch.float64) - (finer - 1) / 2
        down, right = steps[:, None], steps[None, :]
        middle = (finer - 1) / 2
        rows = corner[0] + middle + cosine * down + sine * right
        columns = corner[1] + middle - sine * down + cosine * right
        height, width = image.shape[-2:]
        grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1).to(image.dtype)
        found = functional.grid_sample(image[None], grid[None], padding_mode="reflection", align_corners=False)
        return functional.avg_pool2d(found, self.shrink)[0] if self.shrink > 1 else found[0]
