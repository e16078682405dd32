"""Norms of differences in double precision, widened by their rounding so that they prove."""

import math

import torch
from torch import Tensor

from recon.operators.rounding import EPS, rounded_up

_EPS_SINGLE = torch.finfo(torch.float32).eps
_SQUARINGS = 3
_STEPS = 12


def frobenius_above(matrix: Tensor) -> float:
    """||M||_F from above: a sum of n squares in double precision is wrong by at most n roundings, relatively."""
    return float(torch.linalg.vector_norm(matrix)) * (1 + matrix.numel() * EPS)


def norm_above(matrix: Tensor, squarings: int = _SQUARINGS) -> float:
    """||M|| from above: ``||M||^2 = ||M^H M||``, and of what is left after some such steps the Frobenius norm.

    With k steps it exceeds the norm by at most the root of degree 2^(k+1) of the rank. The products are taken in single
    precision: M, scaled to ``||M||_F = 1``, moves by at most one rounding unit, and each product of matrices by at most
    ``gamma_n`` in the Frobenius norm (Higham 2002, section 3.5). Both are added.
    """
    above = frobenius_above(matrix)
    if not squarings or not 0 < above < math.inf:
        return above
    single = torch.complex64 if matrix.is_complex() else torch.float32
    scaled = (matrix / above).to(single)
    small = scaled if matrix.shape[0] >= matrix.shape[1] else scaled.mH
    rounding = 4 * (max(matrix.shape) + 2) * _EPS_SINGLE
    square = norm_above((small.mH @ small).to(matrix.dtype), squarings - 1) + rounding
    return min(above, rounded_up(above * (math.sqrt(square) + 2 * _EPS_SINGLE)))


def norm_below(matrix: Tensor, seed: int = 0) -> float:
    """||M|| from below: by how much one vector is stretched, which power iteration looks for."""
    drawn = torch.randn(matrix.shape[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = drawn.to(matrix.dtype)
    value = 0.0
    for _ in range(_STEPS):
        x = x / max(float(torch.linalg.vector_norm(x)), 1e-300)
        y = matrix @ x
        value = max(value, float(torch.linalg.vector_norm(y)))
        x = matrix.mH @ y
        if not float(torch.linalg.vector_norm(x)) > 0:
            break
    return value * (1 - 4 * (max(matrix.shape) + 2) * EPS) - 4 * max(matrix.shape) * EPS * 1e-3 * value
