"""The loops of projection and back-projection on the CPU: one formula, compiled by numba at first use and cached.

The weight of a pixel in a ray is ``max(0, 1 - d) length``, with d their distance along the line in pixels. Projection
reads it as a linear interpolation of the image at the ray, back-projection as a hat around the pixel in the detector:
both gather, so no two threads write to the same place and the result does not depend on their order.

Both must find the same d to the last digits that a weight has, or they are not each other's transpose. So no large
number is rounded to single precision: there, projection walks in fixed point, and back-projection sees a small patch
from its middle, beside a ray that is found in double precision. The innermost loops are such that LLVM turns them into
vectors.
"""

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic, overload

from recon.operators.tomography.projectors.footprints import ARCTANGENT, ROUNDED

_FAST = {"contract", "nsz", "arcp"}
_compiled = numba.njit(parallel=True, fastmath={*_FAST, "reassoc"}, error_model="numpy", cache=True, nogil=True)
# Sums in the order that is written: numba runs what it has just compiled as it was optimised once, and what it loads
# from its cache as it was optimised twice, and sums in any order then differ in their last digits from run to run.
_ordered = numba.njit(parallel=True, fastmath=_FAST, error_model="numpy", cache=True, nogil=True)
_inlined = numba.njit(fastmath=_FAST, error_model="numpy", inline="always")

Array = Any
Real = Any

PATCH = 4
"""Back-projection does square patches of this side together: a vector of the widest registers, and never far apart."""

HALF = (PATCH - 1) * 0.71
"""No pixel of a patch is further from its middle."""

TINY = 1e-30


@intrinsic
def _neighbours(context: Any, array: Any, index: Any) -> Any:
    """``array[index], array[index + 1]`` of a flat array.

    Two neighbours in single precision are one load of 64 bits, and one gather where two would be needed: gathers are
    what the loops below wait for.
    """
    signature = numba.types.UniTuple(array.dtype, 2)(array, index)

    def generate(target: Any, builder: Any, types: Any, values: Any) -> Any:
        data = target.make_array(types.args[0])(target, builder, values[0]).data
        first = builder.gep(data, [values[1]])
        if array.dtype == numba.types.float32:
            both = builder.load(builder.bitcast(first, ir.IntType(64).as_pointer()))
            both.align = 4
            high = builder.lshr(both, ir.Constant(ir.IntType(64), 32))
            loaded = [builder.bitcast(builder.trunc(half, ir.IntType(32)), ir.FloatType()) for half in (both, high)]
        else:
            second = builder.gep(first, [ir.Constant(ir.IntType(32), 1)])
            loaded = [builder.load(first), builder.load(second)]
        return target.make_tuple(builder, types.return_type, loaded)

    return signature, generate


@_compiled
def project(
    by_rows: Array, by_columns: Array, start: Array, slope: Array, length: Array, along_columns: Array
) -> Array:
    """The sinogram (views, detector pixels) of an image.

    Args:
        by_rows: (rows, columns + 4): two zeros on either side of each row.
        by_columns: The transposed image, padded in the same way.
        start: As in :class:`Rays`, as are ``slope``, ``length`` and ``along_columns``.
    """
    views, pixels = start.shape
    out = np.empty((views, pixels), by_rows.dtype)
    for view in numba.prange(views):
        for pixel in range(pixels):
            image = by_columns if along_columns[view, pixel] else by_rows
            out[view, pixel] = _along(image, start[view, pixel], slope[view, pixel]) * length[view, pixel]
    return out


@_inlined
def _along(image: Array, start: float, slope: float) -> Any:
    lines, stride = image.shape
    first, last = _inside(start, slope, lines, stride - 4)
    flat = image.ravel()
    begin, step = _position(start + 2.0, flat), _position(slope, flat)
    total = image.dtype.type(0)
    for line in range(first, last):
        left, weight = _whole_and_part(begin + step * line, flat)
        value, other = _neighbours(flat, line * stride + left)
        total += value + weight * (other - value)
    return total


def _position(place: Real, like: Array) -> Any:
    """A place in pixels, from which steps are taken: with 32 binary digits after the point in single precision."""


@overload(_position, inline="always")
def _position_in(place: Real, like: Array) -> Any:
    def fixed(place: Real, like: Array) -> Any:
        return np.int64(np.rint(place * 4294967296.0))

    def floating(place: Real, like: Array) -> Any:
        return place

    return fixed if like.dtype == numba.float32 else floating


def _whole_and_part(position: Any, like: Array) -> Any:
    """A position that is not negative as an integer and what lies beyond it, in the precision of the image."""


@overload(_whole_and_part, inline="always")
def _whole_and_part_in(position: Any, like: Array) -> Any:
    def fixed(position: Any, like: Array) -> Any:
        part = np.int32((position & np.int64(0xFFFFFFFF)) >> 1)
        return np.int32(position >> 32), np.float32(part) * np.float32(2.0**-31)

    def floating(position: Any, like: Array) -> Any:
        whole = np.int32(position)
        return whole, position - whole

    return fixed if like.dtype == numba.float32 else floating


@numba.njit(inline="always")
def _inside(start: float, slope: float, lines: int, width: int) -> tuple[int, int]:
    """The lines on which the ray is less than a pixel from the image: -1 < start + slope line < width."""
    if slope == 0.0:
        return (0, lines) if -1.0 < start < width else (0, 0)
    enter, leave = (-1.0 - start) / slope, (width - start) / slope
    if enter > leave:
        enter, leave = leave, enter
    enter, leave = min(max(enter, -1.0), float(lines)), min(max(leave, -1.0), float(lines))
    return max(0, math.floor(enter) + 1), min(lines, math.ceil(leave))


@_ordered
def back_project_parallel(
    weighted: Array, cosine: Array, sine: Array, corner: Array, centre: float, step: float, reach: int,
    rows: int, columns: int,
) -> Array:  # fmt: skip
    """The image of a sinogram of parallel rays, in patches: (patches down, patches across, PATCH PATCH).

    Args:
        weighted: (views, detector pixels and zeros at both ends): the sinogram times ``gain``.
        cosine: As in :class:`Footprints`, as are ``sine``, ``corner``, ``step`` and ``reach``.
        centre: Likewise, counted from the first of the zeros.
        rows: Of the image.
        columns: Of the image.
    """
    views, stride = weighted.shape
    real, (flat, top) = weighted.dtype.type, (weighted.ravel(), stride - 2 * reach)
    out = np.zeros((-(-rows // PATCH), -(-columns // PATCH), PATCH * PATCH), weighted.dtype)
    for down in numba.prange(out.shape[0]):
        first, seen = np.empty(views, np.int32), np.empty((5, views), weighted.dtype)
        for view in range(views):
            seen[2, view], seen[3, view] = cosine[view], -sine[view]
            seen[4, view] = max(abs(cosine[view]), abs(sine[view]))
        for patch in range(out.shape[1]):
            x, y, wide, high = _middle(down, patch, rows, columns, corner)
            for view in range(views):
                aside = x * cosine[view] + y * sine[view]
                first[view], ray = _rays_around(aside / step + centre, HALF / step, reach, top)
                seen[0, view], seen[1, view] = ray - first[view], aside - (ray - centre) * step
            for view in range(views):
                ray = first[view]
                _add_parallel(
                    out, down, patch, real(wide), real(high), flat, view * stride + ray, real(top - ray), reach,
                    real(step), seen[0, view], seen[1, view], seen[2, view], seen[3, view], seen[4, view],
                )  # fmt: skip
    return out


@_inlined
def _middle(down: int, patch: int, rows: int, columns: int, corner: Array) -> Any:
    """The middle of a patch, and how far from it its outermost pixels are to the right and upwards."""
    wide, high = (min(columns - patch * PATCH, PATCH) - 1) / 2, (min(rows - down * PATCH, PATCH) - 1) / 2
    return corner[0] + patch * PATCH + wide, corner[1] - down * PATCH - high, wide, high


@_inlined
def _rays_around(middle: float, spread: float, reach: float, last: float) -> Any:
    """A ray before all that touch a patch, whose shadows lie up to ``spread`` from ``middle``, and the nearest to it.

    In the padded detector, of which the zeros at either end stand for all that lies beyond: no pixel looks at rays
    before the first or, beginning with that number, behind the ``last``.
    """
    low = middle - spread - reach
    return np.int32(min(max(low, 0.0), last)), np.int32(min(max(middle + 0.5, 0.0), last + reach))


@_inlined
def _add_parallel(
    out: Array, down: int, patch: int, wide: Real, high: Real, flat: Array, here: int, limit: Real, reach: int,
    step: Real, nearer: Real, middle: Real, rightwards: Real, downwards: Real, steepness: Real,
) -> None:  # fmt: skip
    """Add what a view gives to a patch: two rays at a time, the first of them up to ``limit`` rays from ``here``.

    The middle of the patch lies ``middle`` beside the ray number ``nearer`` from ``here``, a pixel to the right of
    another ``rightwards`` further, and one below another ``downwards`` further.
    """
    real = flat.dtype.type
    zero, inverse, skipped = real(0), real(1) / step, nearer - real(reach - 1)
    for tap in range(0, 2 * reach, 2):
        for pixel in range(PATCH * PATCH):
            aside = middle + rightwards * (real(pixel % PATCH) - wide) + downwards * (real(pixel // PATCH) - high)
            ray = np.int32(min(max(aside * inverse + skipped, zero), limit))
            left = aside - (real(ray) + (real(tap) - nearer)) * step
            value, other = _neighbours(flat, here + ray + tap)
            before, after = max(zero, steepness - abs(left)), max(zero, steepness - abs(left - step))
            out[down, patch, pixel] = out[down, patch, pixel] + before * value + after * other


@_ordered
def back_project_flat(
    weighted: Array, cosine: Array, sine: Array, corner: Array, axis: float, centre: float, step: float, reach: int,
    rows: int, columns: int,
) -> Array:  # fmt: skip
    """The same for a fan with a flat detector.

    Args:
        weighted: As for :func:`back_project_parallel`, as are the arguments that are not named here.
        axis: As in :class:`Footprints`.
    """
    views, stride = weighted.shape
    real, flat = weighted.dtype.type, weighted.ravel()
    far, top = max(float(reach), 2.0), stride - 4.0 * ((reach + 1) // 2)
    out = np.zeros((-(-rows // PATCH), -(-columns // PATCH), PATCH * PATCH), weighted.dtype)
    for down in numba.prange(out.shape[0]):
        first, touched, shadow = np.empty(views, np.int32), np.empty(views), np.empty(views)
        seen = np.empty((9, views), weighted.dtype)
        for view in range(views):
            seen[5, view], seen[6, view] = cosine[view], sine[view]
        for patch in range(out.shape[1]):
            x, y, wide, high = _middle(down, patch, rows, columns, corner)
            for view in range(views):
                c, s = cosine[view], sine[view]
                depth = y * c - x * s + axis
                shadow[view] = (x * c + y * s) / depth
                right, up = abs(shadow[view] * c - s), abs(shadow[view] * s + c)
                touched[view] = _touched_evenly(max(right, up), min(right, up), depth, step)
            for view in range(views):
                c, s = cosine[view], sine[view]
                aside, depth = x * c + y * s, y * c - x * s + axis
                spread = HALF * (1.0 + abs(shadow[view])) / (max(depth - HALF, TINY) * step)
                first[view], ray = _rays_around(shadow[view] / step + centre, spread, far, top)
                ray_coordinate = (ray - centre) * step
                right, up = ray_coordinate * c - s, ray_coordinate * s + c
                seen[0, view], seen[1, view], seen[2, view] = ray - first[view], aside - ray_coordinate * depth, depth
                seen[3, view], seen[4, view], seen[7, view] = right, up, max(abs(right), abs(up))
                seen[8, view] = math.copysign(step, right) * c if abs(right) > abs(up) else math.copysign(step, up) * s
            for view in range(views):
                ray = first[view]
                if touched[view] <= 1.0:
                    _add_flat_evenly(
                        out, down, patch, real(wide), real(high), flat, view * stride + ray, real(stride - 2 - ray), 2,
                        real(step), seen[0, view], seen[1, view], seen[2, view], seen[3, view], seen[4, view],
                        seen[5, view], seen[6, view], seen[7, view], seen[8, view],
                    )  # fmt: skip
                elif touched[view] <= 2.0:
                    _add_flat_evenly(
                        out, down, patch, real(wide), real(high), flat, view * stride + ray, real(stride - 4 - ray), 4,
                        real(step), seen[0, view], seen[1, view], seen[2, view], seen[3, view], seen[4, view],
                        seen[5, view], seen[6, view], seen[7, view], seen[8, view],
                    )  # fmt: skip
                else:
                    _add_flat(
                        out, down, patch, real(wide), real(high), flat, view * stride + ray, real(top - ray), reach,
                        real(step), seen[0, view], seen[1, view], seen[2, view], seen[3, view], seen[4, view],
                        seen[5, view], seen[6, view],
                    )  # fmt: skip
    return out


@_inlined
def _touched_evenly(steepness: float, other: float, depth: float, step: float) -> float:
    """How many rays on either side of its shadow a pixel of a patch may touch at most, or 9 where that is not certain.

    A ray is touched up to its steepness away. That differs within the patch by less than ``change``, and so does the
    other component of the direction; it is not certain where they may change places, or where the patch is so near to
    the source that the shadows of its pixels differ in size.
    """
    change = 2 * PATCH / depth + step
    wide, spacing = steepness + change, step * (depth - PATCH)
    even = min(steepness - other - 2 * change, depth - 4 * PATCH, 1.0 - step)
    return wide / spacing if even > 0.0 else 9.0


@_inlined
def _add_flat_evenly(
    out: Array, down: int, patch: int, wide: Real, high: Real, flat: Array, here: int, limit: Real, rays: int,
    step: Real, nearer: Real, middle: Real, deep: Real, rightwards: Real, upwards: Real, cosine: Real, sine: Real,
    steepness: Real, steepening: Real,
) -> None:  # fmt: skip
    """:func:`_add_flat` for two or four ``rays``, where their steepness grows from each to the next by ``steepening``.

    Two terms of a series are enough to find the shadow: what they leave out is less than the ``change`` for which
    :func:`_touched_evenly` leaves room.
    """
    real = flat.dtype.type
    zero, two, skipped = real(0), real(2), nearer - real(rays // 2 - 1)
    steep, steeper, deep_step, inverse = cosine * step, sine * step, deep * step, real(1) / (deep * step)
    for pixel in range(PATCH * PATCH):
        right, below = real(pixel % PATCH) - wide, real(pixel // PATCH) - high
        aside, width = middle + upwards * right + rightwards * below, deep_step - steeper * right - steep * below
        ray = np.int32(min(max(aside * inverse * (two - width * inverse) + skipped, zero), limit))
        k = real(ray) - skipped
        left, touching = aside - k * width, steepness + k * steepening
        if rays == 2:
            value, other = _neighbours(flat, here + ray)
            total = max(zero, touching - abs(left)) * value
            total += max(zero, touching + steepening - abs(left - width)) * other
        else:
            outer, value = _neighbours(flat, here + ray)
            other, last = _neighbours(flat, here + ray + 2)
            total = max(zero, touching - steepening - abs(left + width)) * outer
            total += max(zero, touching - abs(left)) * value
            total += max(zero, touching + steepening - abs(left - width)) * other
            total += max(zero, touching + two * steepening - abs(left - two * width)) * last
        out[down, patch, pixel] += total


@_inlined
def _touched(steepness: float, depth: float, step: float, reach: int) -> float:
    """How many rays on either side of its shadow a pixel of a patch may touch: 1 if that is certain, else ``reach``.

    A ray is touched up to its steepness away, which, like the depth, is not quite that in the middle of the patch.
    """
    return 1.0 if steepness + 2 * PATCH / depth <= step * (depth - PATCH) else float(reach)


@_inlined
def _add_flat(
    out: Array, down: int, patch: int, wide: Real, high: Real, flat: Array, here: int, limit: Real, reach: int,
    step: Real, nearer: Real, middle: Real, deep: Real, rightwards: Real, upwards: Real, cosine: Real, sine: Real,
) -> None:  # fmt: skip
    """As :func:`_add_parallel`, four rays at a time, where the nearer ray has the direction (rightwards, upwards).

    The directions of its neighbours differ by ``step (cosine, sine)``. A pixel to the right of another lies by the
    direction's component upwards further beside the ray, and one below by the component to the right.
    """
    real = flat.dtype.type
    zero, tiny, skipped = real(0), real(TINY), nearer - real(reach - 1)
    steep, steeper, deep_step = cosine * step, sine * step, deep * step
    for tap in range(0, 2 * reach, 4):
        for pixel in range(PATCH * PATCH):
            right, below = real(pixel % PATCH) - wide, real(pixel // PATCH) - high
            aside, width = middle + upwards * right + rightwards * below, deep_step - steeper * right - steep * below
            ray = np.int32(min(max(aside / max(width, tiny) + skipped, zero), limit))
            k = real(ray) + (real(tap) - nearer)
            value, other = _neighbours(flat, here + ray + tap)
            third, fourth = _neighbours(flat, here + ray + tap + 2)
            total = _flat_weight(aside, width, k, rightwards, upwards, steep, steeper) * value
            total += _flat_weight(aside, width, k + real(1), rightwards, upwards, steep, steeper) * other
            total += _flat_weight(aside, width, k + real(2), rightwards, upwards, steep, steeper) * third
            total += _flat_weight(aside, width, k + real(3), rightwards, upwards, steep, steeper) * fourth
            out[down, patch, pixel] += total


@_inlined
def _flat_weight(
    aside: Real, width: Real, k: Real, rightwards: Real, upwards: Real, steep: Real, steeper: Real
) -> Real:
    steepness = max(abs(rightwards + k * steep), abs(upwards + k * steeper))
    return max(type(aside)(0), steepness - abs(aside - k * width))


@_ordered
def back_project_arc(
    weighted: Array, cosine: Array, sine: Array, corner: Array, axis: float, centre: float, step: float, turns: Array,
    reach: int, rows: int, columns: int,
) -> Array:  # fmt: skip
    """The same for a fan whose detector is an arc around the source.

    Args:
        weighted: As for :func:`back_project_flat`, as are the arguments that are not named here.
        turns: Sine and versine (1 - cosine) of the multiples of ``step`` from ``-n`` to ``n``, (2, 2 n + 1), with n at
            least the columns of ``weighted``.
    """
    views, stride = weighted.shape
    real, flat = weighted.dtype.type, weighted.ravel()
    (turn_sine, turn_versine), straight = (turns[0], turns[1]), turns.shape[1] // 2
    bends, narrow = (np.arange(stride) - centre) * step, math.sin(step - ROUNDED)
    ray_sine, ray_cosine = np.sin(bends), np.cos(bends)
    out = np.zeros((-(-rows // PATCH), -(-columns // PATCH), PATCH * PATCH), weighted.dtype)
    for down in numba.prange(out.shape[0]):
        first, touched, shadow = np.empty(views, np.int32), np.empty(views), np.empty(views)
        seen = np.empty((5, views), weighted.dtype)
        for patch in range(out.shape[1]):
            x, y, wide, high = _middle(down, patch, rows, columns, corner)
            for view in range(views):
                c, s = cosine[view], sine[view]
                aside, depth = x * c + y * s, y * c - x * s + axis
                shadow[view], distance = _angle(aside, depth), math.sqrt(aside * aside + depth * depth)
                steepness = max(abs(aside * c - depth * s), abs(aside * s + depth * c)) / distance
                touched[view] = _touched(steepness, distance, narrow, reach)
            for view in range(views):
                c, s = cosine[view], sine[view]
                aside, depth = x * c + y * s, y * c - x * s + axis
                distance = math.sqrt(aside * aside + depth * depth)
                spread = HALF / (max(distance - HALF, TINY) * step)
                last = stride - 2.0 * touched[view]
                first[view], ray = _rays_around(shadow[view] / step + centre, spread, touched[view], last)
                forth, beside = ray_cosine[ray], ray_sine[ray]
                seen[0, view] = ray - first[view]
                seen[1, view], seen[2, view] = aside * forth - depth * beside, aside * beside + depth * forth
                seen[3, view], seen[4, view] = c * beside - s * forth, c * forth + s * beside
            for view in range(views):
                ray, around = first[view], int(touched[view])
                _add_arc(
                    out, down, patch, real(wide), real(high), flat, view * stride + ray,
                    real(stride - 2 * around - ray), around, real(step), seen[0, view], seen[1, view], seen[2, view],
                    seen[3, view], seen[4, view], turn_sine, turn_versine, straight,
                )  # fmt: skip
    return out


@_inlined
def _add_arc(
    out: Array, down: int, patch: int, wide: Real, high: Real, flat: Array, here: int, limit: Real, reach: int,
    step: Real, nearer: Real, middle: Real, deep: Real, rightwards: Real, upwards: Real, turn_sine: Array,
    turn_versine: Array, straight: int,
) -> None:  # fmt: skip
    """As :func:`_add_flat`, two rays at a time, with the depth along the nearer ray, from which the others turn."""
    real = flat.dtype.type
    zero, inverse, skipped = real(0), real(1) / step, nearer - real(reach - 1)
    for tap in range(0, 2 * reach, 2):
        turned = straight + tap - np.int32(nearer)
        for pixel in range(PATCH * PATCH):
            right, below = real(pixel % PATCH) - wide, real(pixel // PATCH) - high
            aside, depth = middle + upwards * right + rightwards * below, deep + rightwards * right - upwards * below
            ray = np.int32(min(max(_angle(aside, depth) * inverse + skipped, zero), limit))
            value, other = _neighbours(flat, here + ray + tap)
            sine, next_sine = _neighbours(turn_sine, turned + ray)
            versine, next_versine = _neighbours(turn_versine, turned + ray)
            before = _arc_weight(aside, depth, sine, versine, rightwards, upwards)
            after = _arc_weight(aside, depth, next_sine, next_versine, rightwards, upwards)
            out[down, patch, pixel] = out[down, patch, pixel] + before * value + after * other


@_inlined
def _arc_weight(aside: Real, depth: Real, sine: Real, versine: Real, rightwards: Real, upwards: Real) -> Real:
    right = rightwards + (upwards * sine - rightwards * versine)
    up = upwards - (rightwards * sine + upwards * versine)
    return max(type(aside)(0), max(abs(right), abs(up)) - abs(aside - (depth * sine + aside * versine)))


@_inlined
def _angle(aside: Real, depth: Real) -> Any:
    """atan2(aside, depth) to 1e-7, as LLVM can make a vector of it: it only chooses which rays to look at."""
    real = type(aside)
    a, b = abs(aside), abs(depth)
    ratio = min(a, b) / max(a, b, real(1e-30))
    square = ratio * ratio
    series = real(ARCTANGENT[7])
    for power in range(6, -1, -1):
        series = series * square + real(ARCTANGENT[power])
    angle = ratio * series
    angle = real(math.pi / 2) - angle if a > b else angle
    angle = real(math.pi) - angle if depth < real(0) else angle
    return angle if aside > real(0) else -angle
