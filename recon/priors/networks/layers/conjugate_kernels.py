"""The loops of a step with the conjugate of a ridge penalty, compiled by numba at first use and cached.

``(1 - r) u + r R(u + t z)``, with R the proximity operator of ``sigma g*``, in one pass over the responses z: the
memory is what takes the time. They are taken line by line: a row of a channel, or the channels of a pixel, as they lie
in memory. The piece of each response is found by passing over the line, once for a few pieces, which vectorises, and
ends with the largest response: most are as small as the noise, and lie in one of the first few pieces.
"""

from typing import Any

import numba
import numpy as np

_compiled = numba.njit(parallel=True, cache=True, nogil=True)
_inlined = numba.njit(cache=True, nogil=True, inline="always")

Array = Any
Shape = tuple[int, int, int, int]


TOGETHER = 4
"""Pieces that are tried in one pass over a line: a pass for each of them takes half as long again."""


@_inlined
def _line(memory: Array, strides: Array, first: int, second: int, third: int, length: int) -> Array:
    """Numbers that lie side by side."""
    begin = first * strides[0] + second * strides[1] + third * strides[2]
    return memory[begin : begin + length]


@_inlined
def _finish(u: Array, w: Array, found: Array, relaxation: Any, out: Array) -> None:
    """The sign of ``w = u + t z``, and the relaxation."""
    for j in range(u.size):
        image = found[j] if w[j] > 0 else -found[j]
        out[j] = (1 - relaxation) * u[j] + relaxation * image


@_compiled
def by_planes(
    shape: Shape, strides: Array, u: Array, z: Array, out: Array, step: Any, relaxation: Any, tables: Array
) -> None:
    """For arrays ``(batch, channels, height, width)`` whose rows are whole in memory.

    Args:
        shape: The four numbers.
        strides: Of u, z and out, a row each, from one item, channel and row to the next.
        u: The memory of the dual variable, from its first number on: what is known to lie side by side is vectorised.
        z: That of the responses.
        out: That of what is written.
        step: t.
        relaxation: r.
        tables: Of R, for each channel, where its pieces begin, their intercepts and their slopes, ``(channels, 3,
            pieces)``. After the first piece they are a multiple of :data:`TOGETHER`: :func:`filled` sees to it.
    """
    batch, channels, height, width = shape
    for task in numba.prange(batch * channels):
        n, c = task // channels, task % channels
        starts, intercepts, slopes = tables[c, 0], tables[c, 1], tables[c, 2]
        w, size, found = np.empty(width, u.dtype), np.empty(width, u.dtype), np.empty(width, u.dtype)
        for i in range(height):
            before, responses = _line(u, strides[0], n, c, i, width), _line(z, strides[1], n, c, i, width)
            for j in range(width):
                w[j] = before[j] + step * responses[j]
                size[j] = abs(w[j])
                found[j] = intercepts[0] + slopes[0] * size[j]
            for k in range(1, starts.size, TOGETHER):
                start_0, start_1, start_2, start_3 = starts[k], starts[k + 1], starts[k + 2], starts[k + 3]
                b_0, b_1, b_2, b_3 = intercepts[k], intercepts[k + 1], intercepts[k + 2], intercepts[k + 3]
                s_0, s_1, s_2, s_3 = slopes[k], slopes[k + 1], slopes[k + 2], slopes[k + 3]
                beyond = np.int32(0)
                for j in range(width):
                    v, image = size[j], found[j]
                    image = b_0 + s_0 * v if start_0 <= v else image
                    image = b_1 + s_1 * v if start_1 <= v else image
                    image = b_2 + s_2 * v if start_2 <= v else image
                    image = b_3 + s_3 * v if start_3 <= v else image
                    found[j] = image
                    beyond += np.int32(start_3 <= v)
                if beyond == 0:
                    break
            _finish(before, w, found, relaxation, _line(out, strides[2], n, c, i, width))


@_compiled
def by_pixels(
    shape: Shape, strides: Array, u: Array, z: Array, out: Array, step: Any, relaxation: Any, tables: Array
) -> None:
    """The same for arrays ``(batch, height, width, channels)``, the channels of whose pixels are whole in memory."""
    batch, height, width, channels = shape
    starts, intercepts, slopes = _by_piece(tables)
    for task in numba.prange(batch * height):
        n, i = task // height, task % height
        w, size, found = np.empty(channels, u.dtype), np.empty(channels, u.dtype), np.empty(channels, u.dtype)
        piece = np.empty(channels, np.int32)
        for j in range(width):
            before, responses = _line(u, strides[0], n, i, j, channels), _line(z, strides[1], n, i, j, channels)
            for c in range(channels):
                w[c] = before[c] + step * responses[c]
                size[c], piece[c] = abs(w[c]), 0
            for k in range(1, starts.shape[0], TOGETHER):
                start_0, start_1, start_2, start_3 = starts[k], starts[k + 1], starts[k + 2], starts[k + 3]
                beyond = np.int32(0)
                for c in range(channels):
                    v, is_beyond = size[c], np.int32(start_3[c] <= size[c])
                    piece[c] += np.int32(start_0[c] <= v) + np.int32(start_1[c] <= v)
                    piece[c] += np.int32(start_2[c] <= v) + is_beyond
                    beyond += is_beyond
                if beyond == 0:
                    break
            for c in range(channels):
                found[c] = intercepts[piece[c], c] + slopes[piece[c], c] * size[c]
            _finish(before, w, found, relaxation, _line(out, strides[2], n, i, j, channels))


@_compiled
def masked_by_planes(
    shape: Shape,
    strides: Array,
    u: Array,
    z: Array,
    out: Array,
    step: Any,
    relaxation: Any,
    tables: Array,
    mask: Array,
    weight: Any,
    inverse: Any,
) -> None:
    """The same where ``g(z) = w sum_ip m_ip psi_i(z_ip)``.

    R is then ``w m psi'(x)`` where ``x + a psi'(x) = |u + t z| / sigma`` and ``a = w m / sigma``. A piece of psi' with
    intercept b and slope s, at this x, is ``(b + s v) / (1 + a s)`` of the right side v.

    Args:
        shape: As of :func:`by_planes`, and so are the others.
        strides: Of u, z, out and the mask; of a mask for all items the first is 0.
        u: The dual variable.
        z: The responses.
        out: What is written.
        step: t.
        relaxation: r.
        tables: Of psi', for each channel, the knots, the values there and the slopes behind, ``(channels, 3, pieces)``.
        mask: m.
        weight: w.
        inverse: One over sigma.
    """
    batch, channels, height, width = shape
    for task in numba.prange(batch * channels):
        n, c = task // channels, task % channels
        knots, values, slopes = tables[c, 0], tables[c, 1], tables[c, 2]
        intercepts = values - slopes * knots
        w, a, v = np.empty(width, u.dtype), np.empty(width, u.dtype), np.empty(width, u.dtype)
        intercept, slope = np.empty(width, u.dtype), np.empty(width, u.dtype)
        for i in range(height):
            before, responses = _line(u, strides[0], n, c, i, width), _line(z, strides[1], n, c, i, width)
            weights = _line(mask, strides[3], n, c, i, width)
            for j in range(width):
                w[j] = before[j] + step * responses[j]
                v[j], a[j] = abs(w[j]) * inverse, weight * weights[j] * inverse
            slope[:], intercept[:] = slopes[0], intercepts[0]
            for k in range(1, knots.size, TOGETHER):
                knot_0, knot_1, knot_2, knot_3 = knots[k], knots[k + 1], knots[k + 2], knots[k + 3]
                value_0, value_1, value_2, value_3 = values[k], values[k + 1], values[k + 2], values[k + 3]
                b_0, b_1, b_2, b_3 = intercepts[k], intercepts[k + 1], intercepts[k + 2], intercepts[k + 3]
                s_0, s_1, s_2, s_3 = slopes[k], slopes[k + 1], slopes[k + 2], slopes[k + 3]
                beyond = np.int32(0)
                for j in range(width):
                    right, share, b, s = v[j], a[j], intercept[j], slope[j]
                    is_0, is_1 = knot_0 + share * value_0 <= right, knot_1 + share * value_1 <= right
                    is_2, is_3 = knot_2 + share * value_2 <= right, knot_3 + share * value_3 <= right
                    b = b_0 if is_0 else b
                    s = s_0 if is_0 else s
                    b = b_1 if is_1 else b
                    s = s_1 if is_1 else s
                    b = b_2 if is_2 else b
                    s = s_2 if is_2 else s
                    b = b_3 if is_3 else b
                    s = s_3 if is_3 else s
                    intercept[j], slope[j] = b, s
                    beyond += np.int32(is_3)
                if beyond == 0:
                    break
            for j in range(width):
                v[j] = weight * weights[j] * (intercept[j] + slope[j] * v[j]) / (1 + a[j] * slope[j])
            _finish(before, w, v, relaxation, _line(out, strides[2], n, c, i, width))


@_compiled
def masked_by_pixels(
    shape: Shape,
    strides: Array,
    u: Array,
    z: Array,
    out: Array,
    step: Any,
    relaxation: Any,
    tables: Array,
    mask: Array,
    weight: Any,
    inverse: Any,
) -> None:
    """The same for arrays ``(batch, height, width, channels)``, the channels of whose pixels are whole in memory."""
    batch, height, width, channels = shape
    knots, values, slopes = _by_piece(tables)
    intercepts = values - slopes * knots
    for task in numba.prange(batch * height):
        n, i = task // height, task % height
        w, a, v = np.empty(channels, u.dtype), np.empty(channels, u.dtype), np.empty(channels, u.dtype)
        piece = np.empty(channels, np.int32)
        for j in range(width):
            before, responses = _line(u, strides[0], n, i, j, channels), _line(z, strides[1], n, i, j, channels)
            weights = _line(mask, strides[3], n, i, j, channels)
            for c in range(channels):
                w[c] = before[c] + step * responses[c]
                v[c], a[c], piece[c] = abs(w[c]) * inverse, weight * weights[c] * inverse, 0
            for k in range(1, knots.shape[0], TOGETHER):
                knot_0, knot_1, knot_2, knot_3 = knots[k], knots[k + 1], knots[k + 2], knots[k + 3]
                value_0, value_1, value_2, value_3 = values[k], values[k + 1], values[k + 2], values[k + 3]
                beyond = np.int32(0)
                for c in range(channels):
                    right, share = v[c], a[c]
                    is_beyond = np.int32(knot_3[c] + share * value_3[c] <= right)
                    found = np.int32(knot_0[c] + share * value_0[c] <= right) + is_beyond
                    found += np.int32(knot_1[c] + share * value_1[c] <= right)
                    piece[c] += found + np.int32(knot_2[c] + share * value_2[c] <= right)
                    beyond += is_beyond
                if beyond == 0:
                    break
            for c in range(channels):
                b, s = intercepts[piece[c], c], slopes[piece[c], c]
                v[c] = weight * weights[c] * (b + s * v[c]) / (1 + a[c] * s)
            _finish(before, w, v, relaxation, _line(out, strides[2], n, i, j, channels))


def filled(tables: Array) -> Array:
    """Tables ``(channels, 3, pieces)`` with pieces behind that begin nowhere, as many as the loops go over."""
    more = -(tables.shape[2] - 1) % TOGETHER
    found = np.pad(tables, ((0, 0), (0, 0), (0, more)))
    found[:, 0, tables.shape[2] :] = np.inf
    return found


@_inlined
def _by_piece(tables: Array) -> Any:
    """Tables ``(channels, 3, pieces)`` as three of ``(pieces, channels)``, whose lines are as those of the pixels."""
    return (
        np.ascontiguousarray(tables[:, 0].T), np.ascontiguousarray(tables[:, 1].T), np.ascontiguousarray(tables[:, 2].T)
    )  # fmt: skip
