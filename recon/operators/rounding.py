"""Bounds of what double precision rounds away, by which a computed constant is widened before it is proved."""

import torch
from torch import Tensor

EPS = torch.finfo(torch.float64).eps
"""Twice the rounding unit of double precision."""

UNIT = EPS / 2
"""The rounding unit v of double precision: one operation is off by at most v times its result."""

LEAST = 2.0**-1074
"""What a product loses at most where it underflows."""

_FFT = 8.0
"""Rounding units times the levels of a Fourier transform and the absolute sum of its input: a bound of its error."""


def gamma(count: float) -> float:
    """``g_n = n v / (1 - n v)``, by which a sum of n products is off, relative to the sum of their sizes.

    In any order, with or without fused additions (Higham 2002, sections 3.1 and 3.5).
    """
    return count * UNIT / (1 - count * UNIT)


def fft_error(absolute_sum: float, *lengths: int) -> float:
    """A bound of the error of each value of a discrete Fourier transform, ``c eps levels ||h||_1``.

    Every value is a sum of inputs times numbers of modulus one, so that an error of a few rounding units at each level
    adds up to ``c eps log2(N) ||h||_1`` (Higham 2002, *Accuracy and Stability of Numerical Algorithms*, section 24.1).
    A prime factor p counts as p levels: a direct transform adds p terms there, and one by convolution (Bluestein) loses
    at most ``sqrt(2 p)`` of the norm. One level is for rounding the inputs and the result.

    Args:
        absolute_sum: ||h||_1, or more.
        lengths: Of the transform along each axis.
    """
    return _FFT * EPS * (1 + sum(_levels(length) for length in lengths)) * absolute_sum


def _levels(length: int) -> int:
    levels, factor = 0, 2
    while factor * factor <= length:
        while length % factor == 0:
            levels, length = levels + (1 if factor == 2 else factor), length // factor
        factor += 1
    return levels + (0 if length == 1 else 1 if length == 2 else length)


def rounded_up(value: float) -> float:
    """A number at least as large as what a few operations on positive numbers would give without rounding."""
    return value * (1 + 8 * EPS)


def sum_rounded_down(*terms: float) -> float:
    """A number no larger than the sum would be without rounding, of terms that may cancel."""
    return sum(terms) - 8 * EPS * sum(map(abs, terms))


def rounded_down(value: float) -> float:
    """Return the number widened downwards; never negative."""
    return max(value, 0.0) * (1 - 8 * EPS)


def norms_of(x: Tensor) -> Tensor:
    """The norm of each item in double precision, in which none vanishes or overflows, ``(batch,)``."""
    flat = x.flatten(1)
    flat = flat.abs() if flat.is_complex() else flat
    flat = flat.double()
    if not flat.shape[1]:
        return flat.new_zeros(len(flat))
    largest = flat.abs().amax(1, keepdim=True)
    scaled: Tensor = torch.linalg.vector_norm(flat / largest.clamp(min=torch.finfo(torch.float64).tiny), dim=1)
    return scaled * largest.squeeze(1).clamp(min=torch.finfo(torch.float64).tiny)
