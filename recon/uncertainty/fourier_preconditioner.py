"""The circulant matrix nearest to a Hessian, and its inverse and root as a preconditioner.

Of all matrices that the Fourier transform diagonalises, the nearest to H in the Frobenius norm has the eigenvalues
``diag(F H F^*)`` (T. Chan 1988): the mean over all places p of the transform of the column ``H e_p``, its phase taken
off. The mean of some places is taken, and the columns are differences of gradients.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from recon._values import remembered
from recon.evidence import Measured
from recon.operators.spectral import Effort, extreme_eigenvalues
from recon.solvers.sampler import Preconditioner
from recon.types import Map

PLACES = 24
"""Columns of the Hessian that are looked at."""

LEAST = 1e-3
"""Of the largest eigenvalue, that none is taken to be below."""

SAFETY = 1.3
"""On the measured constant, because the Hessian is looked at in one place of the space only."""

_LANCZOS = Effort(tolerance=3e-2, applications=24)


@remembered
def fourier_preconditioner(symbol: Tensor) -> Preconditioner:
    """``P = F^* symbol^-1 F`` on images of that size.

    Args:
        symbol: Hermitian and positive definite matrices of channels by channels, (height, width // 2 + 1, channels,
            channels), conjugate at opposite frequencies.
    """
    values, vectors = torch.linalg.eigh(symbol)
    inverse, root = ((vectors * gain.unsqueeze(-2)) @ vectors.mH for gain in (1 / values, values.rsqrt()))
    return Preconditioner("fourier", partial(_filtered, inverse), partial(_filtered, root))


def _filtered(gain: Tensor, x: Tensor) -> Tensor:
    spectrum = torch.fft.rfft2(x)
    matrices = gain.to(spectrum)
    if matrices.shape[-1] == 1:
        spectrum = spectrum * matrices[..., 0, 0]
    else:
        spectrum = torch.einsum("hwij,bjhw->bihw", matrices, spectrum)
    found: Tensor = torch.fft.irfft2(spectrum, s=x.shape[-2:])
    return found


@torch.no_grad()
def hessian_symbol(gradient: Map, point: Tensor, difference: float, seed: int) -> Tensor:
    """The blocks of the circulant matrix nearest to the Hessian at a point, about; of one for all frames.

    Args:
        gradient: Of a convex function, for images like ``point``: (frames, channels, height, width).
        point: Where; the first frame is looked at.
        difference: How far apart two gradients are taken.
        seed: Of the places.

    Returns:
        As :func:`fourier_preconditioner` takes it.
    """
    _, channels, height, width = point.shape
    generator = torch.Generator().manual_seed(seed)
    places = torch.stack([torch.randint(0, side, (PLACES,), generator=generator) for side in (height, width)], 1)
    rows, columns = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    total = torch.zeros(height, width // 2 + 1, channels, channels, dtype=torch.complex128)
    for top, left in places.tolist():
        phase = torch.exp(2j * torch.pi * (rows[:, None] * top + columns * left)).to(torch.complex128)
        for channel in range(channels):
            impulse = torch.zeros_like(point)
            impulse[:, channel, top, left] = difference
            column = (gradient(point + impulse) - gradient(point - impulse))[0] / (2 * difference)
            total[..., channel] += (torch.fft.rfft2(column.double().cpu()) * phase).permute(1, 2, 0) / PLACES
    values, vectors = torch.linalg.eigh((_of_real(total) + _of_real(total).mH) / 2)
    values = values.clamp(min=LEAST * float(values.max()))
    found: Tensor = (vectors * values.unsqueeze(-2)) @ vectors.mH
    return found


def _of_real(symbol: Tensor) -> Tensor:
    """Of one channel the real part: that of a symmetric matrix is real, and the phase of a few columns is noise."""
    return symbol.real.to(symbol.dtype) if symbol.shape[-1] == 1 else symbol


def preconditioned_constant(gradient: Map, point: Tensor, difference: float, by: Preconditioner) -> Measured:
    """The largest eigenvalue of ``R^T H R`` at a point, with a margin.

    Args:
        gradient: Of the function whose Hessian is H.
        point: Where; the first frame is looked at.
        difference: How far apart two gradients are taken.
        by: The preconditioner, with its root R.
    """
    first = point[:1].expand(len(point), *point.shape[1:])

    def hessian(v: Tensor) -> Tensor:
        along = by.root(v)
        unit = difference / float(along.abs().max().clamp(min=torch.finfo(v.dtype).tiny))
        step = unit * along
        return by.root((gradient(first + step) - gradient(first - step))[:1] / (2 * unit))

    _, largest = extreme_eigenvalues(hessian, point[:1], _LANCZOS)
    value = SAFETY * (largest.value + largest.error)
    return replace(
        largest, value=value, how=f"{SAFETY:g} times the largest eigenvalue at the solution, by {largest.how}"
    )
