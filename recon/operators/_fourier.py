"""Discrete Fourier transforms of the last two dimensions, and what convolution needs beside them."""

from typing import Any, cast

import torch
from torch import Tensor

from recon._batches import on_any_batch
from recon._malloc import keep_freed_memory

_fft: Any = torch.fft  # torch leaves these functions untyped


def rfft2(x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
    """The half spectrum of a real image, first padded with zeros to ``grid``."""
    keep_freed_memory()
    return on_any_batch(lambda x: cast(Tensor, _fft.rfft2(x, s=grid)), x, 2)


def irfft2(spectrum: Tensor, grid: tuple[int, int]) -> Tensor:
    """The real image on ``grid`` that has this half spectrum."""
    return on_any_batch(lambda spectrum: cast(Tensor, _fft.irfft2(spectrum, s=grid)), spectrum, 2)


def fft2(x: Tensor, norm: str = "backward") -> Tensor:
    """The full spectrum; ``norm="ortho"`` makes it unitary."""
    keep_freed_memory()
    return on_any_batch(lambda x: cast(Tensor, _fft.fft2(x, norm=norm)), x, 2)


def ifft2(spectrum: Tensor, norm: str = "backward") -> Tensor:
    """The inverse of :func:`fft2`."""
    return on_any_batch(lambda spectrum: cast(Tensor, _fft.ifft2(spectrum, norm=norm)), spectrum, 2)


def to_corner(x: Tensor) -> Tensor:
    """Moves the entry ``(H // 2, W // 2)`` to ``(0, 0)``."""
    return cast(Tensor, _fft.ifftshift(x, dim=(-2, -1)))


def to_middle(x: Tensor) -> Tensor:
    """Moves the entry ``(0, 0)`` to ``(H // 2, W // 2)``."""
    return cast(Tensor, _fft.fftshift(x, dim=(-2, -1)))


def transfer_function(psf: Tensor, grid: tuple[int, int], centre: tuple[int, int]) -> Tensor:
    """The half spectrum of a kernel placed on a periodic grid, its index ``centre`` at the origin.

    Args:
        psf: (h, w), not larger than the grid.
        grid: (height, width).
        centre: (row, column) of the kernel.
    """
    placed = torch.zeros(grid, dtype=psf.dtype, device=psf.device)
    placed[: psf.shape[0], : psf.shape[1]] = psf
    return rfft2(placed.roll((-centre[0], -centre[1]), dims=(0, 1)))


def fast_length(length: int) -> int:
    """The least even number (or 1) not below ``length`` that has no prime factor above 5."""
    if length == 1:
        return 1
    candidate = length + length % 2
    while not _is_smooth(candidate):
        candidate += 2
    return candidate


def _is_smooth(number: int) -> bool:
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number == 1
