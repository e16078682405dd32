"""The wavelet transform of Cohen, Daubechies and Feauveau, 9/7, by lifting (Daubechies and Sweldens 1998).

Its coefficients, rounded, are the display copies that are not exact: as short as JPEG 2000's but for the entropy coder,
of any depth, and without the steps that rounded grey values show. Borders are mirrored. The script of the page has the
same inverse.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]

LIFTS = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
SCALE = 1.230174104914001
LEVELS = 5
SMALLEST = 16
"""Of the shorter side, below which a level has no further one."""


def sizes(rows: int, columns: int) -> list[tuple[int, int]]:
    """The sizes of the images of all levels, the whole first, the one that is kept as it is last."""
    found = [(rows, columns)]
    while len(found) <= LEVELS and min(found[-1]) >= SMALLEST:
        found.append(((found[-1][0] + 1) // 2, (found[-1][1] + 1) // 2))
    return found


def transform(image: Plane) -> Plane:
    """The coefficients of an image (height, width), each level in the upper left corner of the one before."""
    found = image.copy()
    for rows, columns in sizes(*image.shape)[:-1]:
        part = found[:rows, :columns]
        part[:] = _lifted(_lifted(part).T).T
    return found


def inverse(coefficients: Plane) -> Plane:
    """The image of coefficients."""
    found = coefficients.copy()
    for rows, columns in reversed(sizes(*coefficients.shape)[:-1]):
        part = found[:rows, :columns]
        part[:] = _unlifted(_unlifted(part.T).T)
    return found


def bands(rows: int, columns: int) -> list[tuple[slice, slice]]:
    """The parts of a level's coefficients, coarse ones first: the order in which they are stored."""
    levels = sizes(rows, columns)
    low, wide = levels[-1]
    found = [(slice(0, low), slice(0, wide))]
    for (high, across), (half, part) in reversed(list(pairwise(levels))):
        found += [
            (slice(0, half), slice(part, across)),
            (slice(half, high), slice(0, part)),
            (slice(half, high), slice(part, across)),
        ]
    return found


def _lifted(image: Plane) -> Plane:
    """Along the rows: even ones smoothed, and then odd ones as details."""
    even, odd = image[0::2].copy(), image[1::2].copy()
    for at, weight in enumerate(LIFTS):
        _step(even, odd, at, weight, np.add)
    return np.concatenate([even * SCALE, odd / SCALE])


def _unlifted(image: Plane) -> Plane:
    half = (len(image) + 1) // 2
    even, odd = image[:half] / SCALE, image[half:] * SCALE
    for at, weight in reversed(list(enumerate(LIFTS))):
        _step(even, odd, at, weight, np.subtract)
    found = np.empty_like(image)
    found[0::2], found[1::2] = even, odd
    return found


def _step(even: Plane, odd: Plane, at: int, weight: float, combine: "Callable[..., Plane]") -> None:
    """Odd rows by their neighbours where ``at`` is even, else even rows."""
    if at % 2 == 0:
        after = np.concatenate([even[1:], even[-1:]])[: len(odd)]
        combine(odd, weight * (even[: len(odd)] + after), out=odd)
    else:
        before = np.concatenate([odd[:1], odd])[: len(even)]
        now = odd if len(odd) == len(even) else np.concatenate([odd, odd[-1:]])
        combine(even, weight * (before + now), out=even)
