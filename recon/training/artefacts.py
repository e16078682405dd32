"""Planted artefacts: streaks, rings, patches of another image, noise and blur, on images of any size."""

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

Draw = Callable[[float, float], float]
"""A number between two, each equally likely."""

_BLUR = (1.0, 2.5)
_PASTED = (20, 64)
"""Height and width of a patch of another image, in pixels."""

_PLACES = 12
"""How many places of a patch are tried until the image changes there."""


def plant(kind: str, image: Tensor, other: Tensor, strength: tuple[float, float], generator: torch.Generator) -> Tensor:
    """One image with an artefact.

    Args:
        kind: One of :data:`KINDS`.
        image: ``(channels, height, width)``, on the scale where 0 is the least that there is: nothing becomes less.
        other: Of the same shape: where a patch comes from.
        strength: The least and the most of an amplitude, or of the standard deviation of noise; its logarithm is
            uniform. Of a patch, how much it must change the image, in the root mean square, if one of a few places
            does. Blur has a width instead.
        generator: Decides everything else.
    """

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))

    low, high = strength
    amplitude = math.exp(uniform(math.log(low), math.log(high)))
    return KINDS[kind](image, other, amplitude, uniform, generator)


def _streaks(image: Tensor, _other: Tensor, amplitude: float, uniform: Draw, _generator: torch.Generator) -> Tensor:
    """Bright and dark lines through a point, as metal, motion and few views leave them."""
    rows, columns, _ = _grid(image)
    row, column = uniform(0, 1) * image.shape[-2], uniform(0, 1) * image.shape[-1]
    first, spread = uniform(0, math.pi), uniform(0.3, math.pi)
    found, count = torch.zeros_like(rows), int(uniform(4, 14))
    for _ in range(count):
        angle, width = first + spread * uniform(0, 1), uniform(0.6, 2)
        apart = (rows - row) * math.cos(angle) - (columns - column) * math.sin(angle)
        along = (rows - row) * math.sin(angle) + (columns - column) * math.cos(angle)
        size = uniform(0.5, 1) * (1 if uniform(0, 1) < 0.5 else -1)
        one_way = torch.sigmoid(along / 2) if uniform(0, 1) < 0.3 else torch.ones_like(along)
        found += size * torch.exp(-0.5 * (apart / width).square()) * one_way
    return _added(image, amplitude * found)


def _rings(image: Tensor, _other: Tensor, amplitude: float, uniform: Draw, _generator: torch.Generator) -> Tensor:
    """Circles around a point, as a detector with unlike pixels leaves them."""
    rows, columns, side = _grid(image)
    row, column = uniform(0.1, 0.9) * image.shape[-2], uniform(0.1, 0.9) * image.shape[-1]
    distance = ((rows - row).square() + (columns - column).square()).sqrt()
    found = torch.zeros_like(rows)
    for _ in range(int(uniform(2, 8))):
        radius, width = uniform(4, max(6, 0.45 * side)), uniform(0.5, 1.5)
        size = uniform(0.5, 1) * (1 if uniform(0, 1) < 0.5 else -1)
        found += size * torch.exp(-0.5 * ((distance - radius) / width).square())
    return _added(image, amplitude * found)


def _paste(image: Tensor, other: Tensor, amplitude: float, uniform: Draw, _generator: torch.Generator) -> Tensor:
    """A rectangle of another image, where it changes this one by as much as is asked for, if a few places do."""
    height, width = image.shape[-2:]
    best, most = image, -1.0
    for _ in range(_PLACES):
        sides = [int(min(uniform(*_PASTED), size // 2)) for size in (height, width)]
        top, left = (int(uniform(0, size - side)) for size, side in zip((height, width), sides, strict=True))
        from_top, from_left = (int(uniform(0, size - side)) for size, side in zip((height, width), sides, strict=True))
        new = other[..., from_top : from_top + sides[0], from_left : from_left + sides[1]]
        old = image[..., top : top + sides[0], left : left + sides[1]]
        change = float((new - old).square().mean().sqrt())
        if change > most:
            best, most = image.clone(), change
            best[..., top : top + sides[0], left : left + sides[1]] = new
        if change >= amplitude:
            break
    return best


def _noise(image: Tensor, _other: Tensor, amplitude: float, _uniform: Draw, generator: torch.Generator) -> Tensor:
    return _added(image, amplitude * torch.randn(image.shape, generator=generator))


def _blur(image: Tensor, _other: Tensor, _amplitude: float, uniform: Draw, _generator: torch.Generator) -> Tensor:
    """A Gaussian blur; the border is continued by its own values."""
    sigma = uniform(*_BLUR)
    reach = min(math.ceil(3 * sigma), min(image.shape[-2:]) - 1)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
    kernel = (weights / weights.sum()).to(image)
    padded = functional.pad(image[:, None], (reach,) * 4, mode="reflect")
    return functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))[:, 0]


KINDS: Final = {"streaks": _streaks, "rings": _rings, "paste": _paste, "noise": _noise, "blur": _blur}
"""The artefacts by name."""


def _added(image: Tensor, change: Tensor) -> Tensor:
    """The sum, that goes nowhere below 0 but where the image does: less than nothing would give every artefact away."""
    return torch.maximum(image + change, image.clamp(max=0))


def _grid(image: Tensor) -> tuple[Tensor, Tensor, int]:
    height, width = image.shape[-2:]
    rows = torch.arange(height, dtype=image.dtype)[:, None].expand(height, width)
    columns = torch.arange(width, dtype=image.dtype)[None].expand(height, width)
    return rows, columns, min(height, width)
