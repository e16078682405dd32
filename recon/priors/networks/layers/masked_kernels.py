"""The loops of the masked conjugate on the CPU, compiled by numba at first use and cached.

One pass over the responses, in the order in which they lie in memory. The piece of a response is found by walking from
the first one: most responses are as small as the noise, and lie in one of the first few.
"""

from typing import Any

import numba

_compiled = numba.njit(parallel=True, cache=True, nogil=True)
_inlined = numba.njit(cache=True, nogil=True, inline="always")

Array = Any


@_inlined
def _entry(size: Any, strength: Any, inverse: Any, table: Array) -> Any:
    """``w m psi'(x)`` where ``x + (w m / sigma) psi'(x) = size / sigma``, with one over sigma."""
    a, v, piece = strength * inverse, size * inverse, 0
    while piece + 1 < table.shape[1] and table[0, piece + 1] + a * table[1, piece + 1] <= v:
        piece += 1
    slope = table[2, piece]
    intercept = table[1, piece] - slope * table[0, piece]
    return strength * (intercept + slope * (v - a * intercept) / (1 + a * slope))


@_compiled
def by_planes(u: Array, mask: Array, weight: Any, inverse: Any, tables: Array, out: Array) -> None:
    """For arrays ``(batch, channels, height, width)`` that lie in this order.

    Args:
        u: The dual variable.
        mask: m, of one item or as many.
        weight: w.
        inverse: One over the dual step size.
        tables: Of each channel the knots, the values there and the slopes behind, ``(channels, 3, pieces)``.
        out: What is written.
    """
    batch, channels, height, width = u.shape
    for task in numba.prange(batch * channels):
        n, c = task // channels, task % channels
        m = n if mask.shape[0] > 1 else 0
        table = tables[c]
        for i in range(height):
            for j in range(width):
                x = u[n, c, i, j]
                found = _entry(abs(x), weight * mask[m, c, i, j], inverse, table)
                out[n, c, i, j] = found if x > 0 else -found


@_compiled
def by_pixels(u: Array, mask: Array, weight: Any, inverse: Any, tables: Array, out: Array) -> None:
    """The same for arrays ``(batch, height, width, channels)`` that lie in this order."""
    batch, height, width, channels = u.shape
    for task in numba.prange(batch * height):
        n, i = task // height, task % height
        m = n if mask.shape[0] > 1 else 0
        for j in range(width):
            for c in range(channels):
                x = u[n, i, j, c]
                found = _entry(abs(x), weight * mask[m, i, j, c], inverse, tables[c])
                out[n, i, j, c] = found if x > 0 else -found
