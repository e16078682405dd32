"""Comparisons that leave room for rounding, which differs between machines and between releases of libraries."""

from collections.abc import Sequence
from itertools import pairwise

import torch

ROOM = {torch.float64: 1e-12, torch.float32: 1e-5}
"""Of a number that a precision gives, relative to it: some hundreds of units in the last place."""


def at_most(value: float, bound: float, dtype: torch.dtype = torch.float64) -> bool:
    """Whether ``value`` <= ``bound``, where the two may be equal in exact arithmetic."""
    return value <= bound + ROOM[dtype] * abs(bound)


def never_falls(values: Sequence[float], dtype: torch.dtype = torch.float64) -> bool:
    """Whether no number is below the one before it."""
    return all(at_most(before, after, dtype) for before, after in pairwise(values))


def never_rises(values: Sequence[float], dtype: torch.dtype = torch.float64) -> bool:
    """Whether no number is above the one before it."""
    return all(at_most(after, before, dtype) for before, after in pairwise(values))
