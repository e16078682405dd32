"""The loops of total variation of a volume, a slice at a time, compiled by numba at first use and cached.

Planes of a slice are (height, width); the dual variable has three, the differences to the next slice, row and column. A
row is one thread's and the sums of rows are added in their order, so that the result does not depend on the threads.
"""

from typing import Any

import numba
import numpy as np

Array = Any

_compiled = numba.njit(parallel=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy", cache=True, nogil=True)

_inlined = numba.njit(error_model="numpy", inline="always")


@_compiled
def ascend(here: Array, above: Array, has_above: bool, step: float, radius: float, per: Array, isotropic: bool) -> None:
    """``p <- projection of p + step D x`` in a slice, x the extrapolated image, on balls (or intervals) of a radius.

    Args:
        here: (5, height, width), of which the dual planes are overwritten.
        above: The next slice.
        has_above: Whether there is one.
        step: The dual step size.
        radius: Of the balls.
        per: What differences along slices, rows and columns are multiplied by, (3,).
        isotropic: Whether the three differences are one vector.
    """
    height, width = here.shape[1:]
    real = here.dtype.type
    up, down, right = real(step) * per[0], real(step) * per[1], real(step) * per[2]
    most = real(radius)
    if not has_above:
        up = real(0)
    for row in numba.prange(height):
        bar, next_row, high = here[1, row], here[1, min(row + 1, height - 1)], above[1, row]
        z, y, x = here[2, row], here[3, row], here[4, row]
        for column in range(width):
            aside = bar[min(column + 1, width - 1)]
            a = z[column] + up * (high[column] - bar[column])
            b = y[column] + down * (next_row[column] - bar[column])
            c = x[column] + right * (aside - bar[column])
            if isotropic:
                shrink = most / max(most, np.sqrt(a * a + b * b + c * c))
                z[column], y[column], x[column] = a * shrink, b * shrink, c * shrink
            else:
                z[column], y[column] = min(max(a, -most), most), min(max(b, -most), most)
                x[column] = min(max(c, -most), most)


@_compiled
def descend(
    here: Array, below: Array, has_below: bool, data: Array, step: float, momentum: float, per: Array,
    low: float, high: float,
) -> None:  # fmt: skip
    """``x <- (x + step (y - D^T p)) / (1 + step)`` in a slice, within bounds, and its extrapolation.

    Args:
        here: (5, height, width), of which the image planes are overwritten.
        below: The slice before.
        has_below: Whether there is one.
        data: y, (height, width).
        step: The primal step size.
        momentum: Of the extrapolation.
        per: As in :func:`ascend`.
        low: The least value.
        high: The largest.
    """
    height, width = here.shape[1:]
    real = here.dtype.type
    s, theta, whole = real(step), real(momentum), real(1 / (1 + step))
    least, most = real(low), real(high)
    under = per[0] if has_below else real(0)
    for row in numba.prange(height):
        image, bar, wanted = here[0, row], here[1, row], data[row]
        z, y, x, z_below = here[2, row], here[3, row], here[4, row], below[2, row]
        y_before, times = here[3, max(row - 1, 0)], per[1] if row else real(0)
        for column in range(width):
            before = x[column - 1] if column else real(0)
            pulled = (
                under * z_below[column] - per[0] * z[column]
                + times * y_before[column] - per[1] * y[column]
                + per[2] * (before - x[column])
            )  # fmt: skip
            old = image[column]
            new = (old + s * (wanted[column] - pulled)) * whole
            new = min(max(new, least), most)
            image[column] = new
            bar[column] = new + theta * (new - old)


@_inlined
def _inside(z: float, y: float, x: float, radius: float, isotropic: bool) -> float:
    """What takes a dual vector into the ball of a radius, in double precision."""
    a, b, c = np.float64(z), np.float64(y), np.float64(x)
    size = np.sqrt(a * a + b * b + c * c) if isotropic else max(abs(a), abs(b), abs(c))
    return radius / max(radius, size)


@_compiled
def energies(
    here: Array, above: Array, has_above: bool, below: Array, has_below: bool, data: Array, radius: float,
    per: Array, isotropic: bool, low: float, high: float, out: Array,
) -> None:  # fmt: skip
    """The parts of a slice in ``||x - y||^2 / 2``, ``w TV(x)`` and the dual function, in double precision.

    The dual function at ``q = D^T p`` is the least of ``(x - y)^2 / 2 + q x`` over the bounds, where p is projected
    again in double precision: rounding left it slightly outside of the balls.

    Args:
        here: As in :func:`ascend`, as are ``above``, ``has_above``, ``radius``, ``per`` and ``isotropic``.
        below: As in :func:`descend`, as are ``has_below``, ``data``, ``low`` and ``high``.
        out: (height, 3), filled with the sums of each row.
    """
    height, width = here.shape[1:]
    for row in numba.prange(height):
        image, wanted = here[0, row], data[row]
        next_row, high_slice = here[0, min(row + 1, height - 1)], above[0, row]
        z, y, x = here[2, row], here[3, row], here[4, row]
        z_below, y_below, x_below = below[2, row], below[3, row], below[4, row]
        one = max(row - 1, 0)
        z_before, y_before, x_before = here[2, one], here[3, one], here[4, one]
        misfit, variation, dual = 0.0, 0.0, 0.0
        for column in range(width):
            value, known = np.float64(image[column]), np.float64(wanted[column])
            up = (np.float64(high_slice[column]) - value) * per[0] if has_above else 0.0
            down = (np.float64(next_row[column]) - value) * per[1]
            right = (np.float64(image[min(column + 1, width - 1)]) - value) * per[2]
            if isotropic:
                variation += np.sqrt(up * up + down * down + right * right)
            else:
                variation += abs(up) + abs(down) + abs(right)
            misfit += (value - known) * (value - known)
            q = 0.0
            inside = _inside(z[column], y[column], x[column], radius, isotropic)
            if has_above:
                q -= inside * z[column] * per[0]
            if row < height - 1:
                q -= inside * y[column] * per[1]
            if column < width - 1:
                q -= inside * x[column] * per[2]
            if has_below:
                q += _inside(z_below[column], y_below[column], x_below[column], radius, isotropic) * (
                    z_below[column] * per[0]
                )
            if row:
                q += _inside(z_before[column], y_before[column], x_before[column], radius, isotropic) * (
                    y_before[column] * per[1]
                )
            if column:
                q += _inside(z[column - 1], y[column - 1], x[column - 1], radius, isotropic) * (x[column - 1] * per[2])
            best = min(max(known - q, low), high)
            dual += 0.5 * (best - known) * (best - known) + q * best
        out[row, 0], out[row, 1], out[row, 2] = 0.5 * misfit, radius * variation, dual
