"""The loops of a step with the conjugate of a ridge penalty, compiled by numba at first use and cached.

``(1 - r) u + r R(u + t z)``, with R the proximity operator of ``sigma g*``, in one pass over the responses z: the
memory is what takes the time. They are taken line by line: a row of a channel, or the channels of a pixel, as they lie
in memory. The piece of each response is found by passing over the line once for each piece, which vectorises, and ends
with the largest response: most are as small as the noise, and lie in one of the first few pieces.
"""

from typing import Any

import numba
import numpy as np

_compiled = numba.njit(parallel=True, cache=True, nogil=True)
_inlined = numba.njit(cache=True, nogil=True, inline="always")

Array = Any


@_inlined
def _finish(u: Array, w: Array, found: Array, relaxation: Any, out: Array) -> None:
    """The sign of ``w = u + t z``, and the relaxation."""
    for j in range(u.size):
        image = found[j] if w[j] > 0 else -found[j]
        out[j] = (1 - relaxation) * u[j] + relaxation * image


@_compiled
def by_planes(u: Array, z: Array, step: Any, relaxation: Any, tables: Array, out: Array) -> None:
    """For arrays ``(batch, channels, height, width)`` that lie in this order.

    Args:
        u: The dual variable.
        z: The responses.
        step: t.
        relaxation: r.
        tables: Of R, for each channel, where its pieces begin, their intercepts and their slopes,
            ``(channels, 3, pieces)``.
        out: What is written.
    """
    batch, channels, height, width = u.shape
    for task in numba.prange(batch * channels):
        n, c = task // channels, task % channels
        starts, intercepts, slopes = tables[c, 0], tables[c, 1], tables[c, 2]
        w, size, found = np.empty(width, u.dtype), np.empty(width, u.dtype), np.empty(width, u.dtype)
        for i in range(height):
            for j in range(width):
                w[j] = u[n, c, i, j] + step * z[n, c, i, j]
                size[j] = abs(w[j])
                found[j] = intercepts[0] + slopes[0] * size[j]
            for k in range(1, starts.size):
                start, intercept, slope, beyond = starts[k], intercepts[k], slopes[k], np.int32(0)
                for j in range(width):
                    is_beyond = start <= size[j]
                    found[j] = intercept + slope * size[j] if is_beyond else found[j]
                    beyond += np.int32(is_beyond)
                if beyond == 0:
                    break
            _finish(u[n, c, i], w, found, relaxation, out[n, c, i])


@_compiled
def by_pixels(u: Array, z: Array, step: Any, relaxation: Any, tables: Array, out: Array) -> None:
    """The same for arrays ``(batch, height, width, channels)`` that lie in this order."""
    batch, height, width, channels = u.shape
    starts, intercepts, slopes = _by_piece(tables)
    for task in numba.prange(batch * height):
        n, i = task // height, task % height
        w, size, found = np.empty(channels, u.dtype), np.empty(channels, u.dtype), np.empty(channels, u.dtype)
        piece = np.empty(channels, np.int32)
        for j in range(width):
            for c in range(channels):
                w[c] = u[n, i, j, c] + step * z[n, i, j, c]
                size[c], piece[c] = abs(w[c]), 0
            for k in range(1, starts.shape[0]):
                start, beyond = starts[k], np.int32(0)
                for c in range(channels):
                    is_beyond = np.int32(start[c] <= size[c])
                    piece[c] += is_beyond
                    beyond += is_beyond
                if beyond == 0:
                    break
            for c in range(channels):
                found[c] = intercepts[piece[c], c] + slopes[piece[c], c] * size[c]
            _finish(u[n, i, j], w, found, relaxation, out[n, i, j])


@_compiled
def masked_by_planes(
    u: Array, z: Array, step: Any, relaxation: Any, mask: Array, weight: Any, inverse: Any, tables: Array, out: Array
) -> None:
    """The same where ``g(z) = w sum_ip m_ip psi_i(z_ip)``.

    R is then ``w m psi'(x)`` where ``x + a psi'(x) = |u + t z| / sigma`` and ``a = w m / sigma``. A piece of psi' with
    intercept b and slope s, at this x, is ``(b + s v) / (1 + a s)`` of the right side v.

    Args:
        u: The dual variable, ``(batch, channels, height, width)``.
        z: The responses.
        step: t.
        relaxation: r.
        mask: m, of one item or as many.
        weight: w.
        inverse: One over sigma.
        tables: Of psi', for each channel, the knots, the values there and the slopes behind, ``(channels, 3, pieces)``.
        out: What is written.
    """
    batch, channels, height, width = u.shape
    for task in numba.prange(batch * channels):
        n, c = task // channels, task % channels
        weights = mask[n if mask.shape[0] > 1 else 0, c]
        knots, values, slopes = tables[c, 0], tables[c, 1], tables[c, 2]
        intercepts = values - slopes * knots
        w, a, v = np.empty(width, u.dtype), np.empty(width, u.dtype), np.empty(width, u.dtype)
        intercept, slope = np.empty(width, u.dtype), np.empty(width, u.dtype)
        for i in range(height):
            for j in range(width):
                w[j] = u[n, c, i, j] + step * z[n, c, i, j]
                v[j], a[j] = abs(w[j]) * inverse, weight * weights[i, j] * inverse
            slope[:], intercept[:] = slopes[0], intercepts[0]
            for k in range(1, knots.size):
                knot, value, b, s, beyond = knots[k], values[k], intercepts[k], slopes[k], np.int32(0)
                for j in range(width):
                    is_beyond = knot + a[j] * value <= v[j]
                    slope[j] = s if is_beyond else slope[j]
                    intercept[j] = b if is_beyond else intercept[j]
                    beyond += np.int32(is_beyond)
                if beyond == 0:
                    break
            for j in range(width):
                v[j] = weight * weights[i, j] * (intercept[j] + slope[j] * v[j]) / (1 + a[j] * slope[j])
            _finish(u[n, c, i], w, v, relaxation, out[n, c, i])


@_compiled
def masked_by_pixels(
    u: Array, z: Array, step: Any, relaxation: Any, mask: Array, weight: Any, inverse: Any, tables: Array, out: Array
) -> None:
    """The same for arrays ``(batch, height, width, channels)`` that lie in this order."""
    batch, height, width, channels = u.shape
    knots, values, slopes = _by_piece(tables)
    intercepts = values - slopes * knots
    for task in numba.prange(batch * height):
        n, i = task // height, task % height
        weights = mask[n if mask.shape[0] > 1 else 0, i]
        w, a, v = np.empty(channels, u.dtype), np.empty(channels, u.dtype), np.empty(channels, u.dtype)
        piece = np.empty(channels, np.int32)
        for j in range(width):
            for c in range(channels):
                w[c] = u[n, i, j, c] + step * z[n, i, j, c]
                v[c], a[c], piece[c] = abs(w[c]) * inverse, weight * weights[j, c] * inverse, 0
            for k in range(1, knots.shape[0]):
                knot, value, beyond = knots[k], values[k], np.int32(0)
                for c in range(channels):
                    is_beyond = np.int32(knot[c] + a[c] * value[c] <= v[c])
                    piece[c] += is_beyond
                    beyond += is_beyond
                if beyond == 0:
                    break
            for c in range(channels):
                b, s = intercepts[piece[c], c], slopes[piece[c], c]
                v[c] = weight * weights[j, c] * (b + s * v[c]) / (1 + a[c] * s)
            _finish(u[n, i, j], w, v, relaxation, out[n, i, j])


@_inlined
def _by_piece(tables: Array) -> Any:
    """Tables ``(channels, 3, pieces)`` as three of ``(pieces, channels)``, whose lines are as those of the pixels."""
    return (
        np.ascontiguousarray(tables[:, 0].T), np.ascontiguousarray(tables[:, 1].T), np.ascontiguousarray(tables[:, 2].T)
    )  # fmt: skip
