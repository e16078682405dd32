"""The loops of total variation of a volume, a slice at a time, compiled by numba at first use and cached.

Planes of a slice are (height, width); the dual variable has three, the differences to the next slice, row and column. A
row is one thread's and the sums of rows are added in their order, so that the result does not depend on the threads.
"""

from typing import Any

import numba
import numpy as np

Array = Any

_compiled = numba.njit(parallel=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy", cache=True, nogil=True)


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
        for column in range(width):  # an index that depends on the column alone, so that it is done eight at a time
            z[column] += up * (high[column] - bar[column])
            y[column] += down * (next_row[column] - bar[column])
        for column in range(width - 1):
            x[column] += right * (bar[column + 1] - bar[column])
        if isotropic:
            for column in range(width):
                a, b, c = z[column], y[column], x[column]
                shrink = most / max(most, np.sqrt(a * a + b * b + c * c))
                z[column], y[column], x[column] = a * shrink, b * shrink, c * shrink
        else:
            for column in range(width):
                z[column], y[column] = min(max(z[column], -most), most), min(max(y[column], -most), most)
                x[column] = min(max(x[column], -most), most)


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


@_compiled
def energies(
    here: Array, above: Array, has_above: bool, below: Array, has_below: bool, data: Array, per: Array,
    isotropic: bool, low: float, high: float, shrink: float, out: Array,
) -> None:  # fmt: skip
    """The parts of a slice in ``||x - y||^2 / 2``, ``TV(x)`` and the dual function, in double precision.

    The dual function at ``q = D^T p`` is the least of ``(x - y)^2 / 2 + q x`` over the bounds. The dual variable of the
    last slice, row and column is zero along its own axis.

    Args:
        here: As in :func:`ascend`, as are ``above``, ``has_above`` and ``isotropic``.
        below: As in :func:`descend`, as are ``has_below``, ``data``, ``low`` and ``high``.
        per: As in :func:`ascend`, in double precision.
        shrink: What p is multiplied by, so that its rounding leaves it in the balls.
        out: (height, 4), filled with the sums of each row, and the largest square of a length of p.
    """
    height, width = here.shape[1:]
    upwards, downwards, aside = per[0] if has_above else 0.0, per[1], per[2]
    under = per[0] if has_below else 0.0
    for row in numba.prange(height):
        image, wanted = here[0, row], data[row]
        next_row, high_slice = here[0, min(row + 1, height - 1)], above[0, row]
        z, y, x, z_below, y_before = here[2, row], here[3, row], here[4, row], below[2, row], here[3, max(row - 1, 0)]
        times = per[1] if row else 0.0
        q, across = np.empty(width), np.zeros(width)
        for column in range(width):
            q[column] = under * z_below[column] - per[0] * z[column] + times * y_before[column] - per[1] * y[column]
            q[column] -= per[2] * x[column]
        for column in range(width - 1):
            q[column + 1] += per[2] * x[column]
            across[column] = np.float64(image[column + 1]) - np.float64(image[column])
        misfit, variation, dual, longest = 0.0, 0.0, 0.0, 0.0
        for column in range(width):
            value, known = np.float64(image[column]), np.float64(wanted[column])
            up = (np.float64(high_slice[column]) - value) * upwards
            down = (np.float64(next_row[column]) - value) * downwards
            right = across[column] * aside
            a, b, c = np.float64(z[column]), np.float64(y[column]), np.float64(x[column])
            if isotropic:
                variation += np.sqrt(up * up + down * down + right * right)
                longest = max(longest, a * a + b * b + c * c)
            else:
                variation += abs(up) + abs(down) + abs(right)
                longest = max(longest, a * a, b * b, c * c)
            misfit += (value - known) * (value - known)
            pulled = shrink * q[column]
            best = min(max(known - pulled, low), high)
            dual += 0.5 * (best - known) * (best - known) + pulled * best
        out[row, 0], out[row, 1], out[row, 2], out[row, 3] = 0.5 * misfit, variation, dual, longest
