"""A constant in all entries of a matrix of two levels, as one factor more.

A display shows no negative light: for a Hadamard matrix H, a camera measures with (H + 1) / 2. Less its constant b, the
matrix is a butterfly product B, and a pattern that is bright everywhere is a row of it with equal numbers a. With the
unit vector e of that row, ``M = B + b 1 1^T = (I + (b / a) 1 e^T) B``: the correction of rank one is a factor with at
most two numbers in each row.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.operators.factorised import Entries

_TWO_LEVELS = 0.25
"""Of half the distance of the levels: the root of the mean squared deviation from them, at most; and of the mean of a
constant row, that from it."""


@dataclass(frozen=True)
class Offset:
    """A constant that all entries of a matrix have in common.

    Attributes:
        value: The constant.
        row: The row whose entries, less the constant, are nearest to equal.
        mean: Their mean.
    """

    value: float
    row: int
    mean: float

    def factor(self, size: int) -> Entries:
        """``I + (value / mean) 1 e^T``, of ``size`` rows, with e the unit vector of the row."""
        every = torch.arange(size)
        share = self.value / self.mean
        column = torch.full((size,), share, dtype=torch.float64)
        column[self.row] += 1.0
        others = every[every != self.row]
        return Entries(
            (size, size),
            torch.cat([every, others]),
            torch.cat([torch.full_like(every, self.row), others]),
            torch.cat([column, torch.ones(size - 1, dtype=torch.float64)]),
        )


def common_constant(matrix: Tensor, tolerance: float) -> float | None:
    """The constant in all entries of a real matrix whose entries lie about two levels: the mean of the levels.

    Args:
        matrix: (rows, columns), in double precision.
        tolerance: A constant that changes the matrix by less, in the operator norm, is none.

    Returns:
        ``None`` where the entries have other levels, or there is no such constant.
    """
    if matrix.is_complex():
        return None
    above = matrix >= (float(matrix.min()) + float(matrix.max())) / 2
    if bool(above.all()):
        return None
    low, high = float(matrix[~above].mean()), float(matrix[above].mean())
    value, half = (low + high) / 2, (high - low) / 2
    if float(((matrix - value).abs() - half).square().mean()) > (_TWO_LEVELS * half) ** 2:
        return None
    return value if abs(value) * math.sqrt(max(matrix.shape)) > tolerance * half else None


def find_offset(matrix: Tensor, value: float) -> Offset | None:
    """The row that carries a constant of a matrix; ``None`` where none of them is near to constant."""
    less = matrix - value
    means, spreads = less.mean(1), less.std(1)
    row = int((spreads / means.abs()).nan_to_num(nan=math.inf).argmin())  # of a row that is the constant itself, 0 / 0
    mean, spread = float(means[row]), float(spreads[row])
    return Offset(value, row, mean) if mean and spread <= _TWO_LEVELS * abs(mean) else None
