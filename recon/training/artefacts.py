"""Planted artefacts: lines, rings, patches of another image, noise, blur and ringing, on images of any size."""

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

Draw = Callable[[float, float], float]
"""A number between two, each equally likely."""

_BLUR = (1.0, 2.5)
_KERNEL, _WIDER, _INVERSE_SNR = (0.9, 2.2), (1.2, 1.7), (1e-3, 3e-2)
"""Of a restoration with a wrong kernel: the width of the true one, the factor of the assumed one, and what the power of
the transfer function is increased by, which limits how far frequencies are amplified."""
_MOST_RINGING = 3.0
"""Times what a restoration has that ripples are amplified, at most."""
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
            does; of ripples the root mean square. Blur has a width instead.
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


def _ripples(image: Tensor, _other: Tensor, amplitude: float, uniform: Draw, _generator: torch.Generator) -> Tensor:
    """What a restoration with a Gaussian kernel that is too wide adds to one with the true kernel."""
    width, inverse = uniform(*_KERNEL), math.exp(uniform(*map(math.log, _INVERSE_SNR)))
    assumed, reach = width * uniform(*_WIDER), min(24, min(image.shape[-2:]) - 1)
    padded = functional.pad(image[None], (reach,) * 4, mode="reflect")[0]
    rows, columns = (torch.fft.fftfreq(side, dtype=image.dtype).square() for side in padded.shape[-2:])
    power = -2 * math.pi**2 * (rows[:, None] + columns)
    true, wrong = ((power * each**2).exp() for each in (width, assumed))
    gain = true * (wrong / (wrong.square() + inverse) - true / (true.square() + inverse))
    change = torch.fft.ifft2(torch.fft.fft2(padded) * gain).real[..., reach:-reach, reach:-reach]
    scale = min(_MOST_RINGING, amplitude / max(float(change.square().mean().sqrt()), 1e-9))
    return _added(image, scale * change)


def _stripes(image: Tensor, _other: Tensor, amplitude: float, uniform: Draw, generator: torch.Generator) -> Tensor:
    """An offset of each row, or of each column, as sensors that are read line by line leave them."""
    along = 0 if uniform(0, 1) < 0.5 else 1
    lines = torch.randn((image.shape[-2], 1) if along == 0 else (1, image.shape[-1]), generator=generator)
    return _added(image, amplitude * lines.to(image))


KINDS: Final = {
    "streaks": _streaks,
    "rings": _rings,
    "paste": _paste,
    "noise": _noise,
    "blur": _blur,
    "ripples": _ripples,
    "stripes": _stripes,
}
"""The artefacts by name."""

RECONSTRUCTIONS = "reconstructions"
"""Images that have artefacts of their own, in place of a planted one."""


def _added(image: Tensor, change: Tensor) -> Tensor:
    """The sum, that goes nowhere below 0 but where the image does: less than nothing would give every artefact away."""
    return torch.maximum(image + change, image.clamp(max=0))


def _grid(image: Tensor) -> tuple[Tensor, Tensor, int]:
    height, width = image.shape[-2:]
    rows = torch.arange(height, dtype=image.dtype)[:, None].expand(height, width)
    columns = torch.arange(width, dtype=image.dtype)[None].expand(height, width)
    return rows, columns, min(height, width)
