"""The loops of :mod:`.kernels.planar` for a GPU, in triton: the same formula and the same care for positions.

Both directions gather and every number is summed by one thread in one order, so two runs agree to the last bit. Slices
of a batch share their rays: a thread finds the weights once for ``SLICES`` of them.

A warp projects neighbouring rays of one view, and a block some neighbouring views, which read the same pixels at the
same time. A thread back-projects a small patch, to which a ray is found in double precision.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recon.operators.tomography.projectors.footprints import ARCTANGENT

MOST_SLICES = 4
"""That a thread sums at once: more would need more registers than a multiprocessor has for enough threads."""

VIEWS, RAYS = tl.constexpr(4), tl.constexpr(32)
"""Projected by a block of threads, one ray each."""

TALL, WIDE = tl.constexpr(2), tl.constexpr(4)
"""Rows and columns of a patch."""

DOWN, ACROSS = tl.constexpr(16), tl.constexpr(8)
"""Patches of a block of threads, one each: 32 x 32 pixels."""

C0, C1, C2, C3, C4, C5, C6, C7 = (tl.constexpr(coefficient) for coefficient in ARCTANGENT)


@dataclass(frozen=True)
class Seen:
    """What back-projection knows of a scan, on one device and in double precision where not said otherwise.

    Attributes:
        kind: ``parallel``, ``flat`` or ``arc``.
        scan: Of :class:`Footprints`, the corner's x and y, ``axis``, ``centre``, ``step`` and its inverse.
        directions: ``cosine`` and ``sine``, (views, 2).
        bends: Cosine and sine of the rays' bends, (detector pixels, 2), for an arc.
        turns: As :func:`kernels.back_project_arc` takes them, in the precision of the image, for an arc.
        reach: As in :class:`Footprints`.
        margin: Likewise.
    """

    kind: str
    scan: Tensor
    directions: Tensor
    bends: Tensor
    turns: Tensor
    reach: int
    margin: int


def project(
    images: Tensor, start: Tensor, slope: Tensor, length: Tensor, along_columns: Tensor, slices: int | None = None
) -> Tensor:
    """(batch, rows, columns) -> (batch, views, detector pixels).

    Args:
        images: On the device of all others.
        start: As in :class:`Rays`, in double precision, as is ``slope``.
        length: Likewise, in the precision of the images.
        along_columns: Likewise, 0 or 1.
        slices: How many slices a thread sums, a power of two.
    """
    (batch, rows, columns), (views, pixels) = images.shape, start.shape
    both_ways, out = _both_ways(images), images.new_empty(batch, views, pixels)
    slices = slices or min(MOST_SLICES, 1 << (batch - 1).bit_length())
    grid = triton.cdiv(views, VIEWS.value) * triton.cdiv(pixels, RAYS.value), triton.cdiv(batch, slices)
    with _on(images):
        _project[grid](
            out, both_ways, start, slope, length, along_columns, batch, views, pixels, rows, columns,
            both_ways.shape[2], slices, images.dtype == torch.float32, num_warps=VIEWS.value * RAYS.value // 32,
            enable_fp_fusion=True,
        )  # fmt: skip
    return out


def back_project(weighted: Tensor, seen: Seen, rows: int, columns: int, slices: int | None = None) -> Tensor:
    """(batch, views, detector pixels), the sinograms times ``gain``, -> (batch, rows, columns)."""
    batch, views, pixels = weighted.shape
    padded = torch.nn.functional.pad(weighted, (seen.margin, seen.margin))
    out = weighted.new_empty(batch, rows, columns)
    slices = slices or min(MOST_SLICES, 1 << (batch - 1).bit_length())
    tiles = triton.cdiv(rows, DOWN.value * TALL.value) * triton.cdiv(columns, ACROSS.value * WIDE.value)
    with _on(weighted):
        _back_project[tiles, triton.cdiv(batch, slices)](
            out, padded, seen.scan, seen.directions, seen.bends, seen.turns, seen.turns.shape[1] // 2, batch, views,
            pixels, seen.margin, rows, columns, seen.kind, seen.reach, slices,
            num_warps=DOWN.value * ACROSS.value // 32, enable_fp_fusion=True,
        )  # fmt: skip
    return out


def _both_ways(images: Tensor) -> Tensor:
    """(batch, 2, side, side + 4): by rows and by columns, with zeros around, so that nothing read lies outside."""
    batch, rows, columns = images.shape
    side = max(rows, columns)
    both = images.new_zeros(batch, 2, side, side + 4)
    both[:, 0, :rows, 2 : columns + 2] = images
    both[:, 1, :columns, 2 : rows + 2] = images.mT
    return both


def _on(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Triton launches on the current device, whichever its arguments are on."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


@triton.jit(do_not_specialize=["batch", "views", "pixels", "rows", "columns", "side"])
def _project(
    out, both_ways, start, slope, length, along_columns, batch, views, pixels, rows, columns, side,
    SLICES: tl.constexpr, FIXED: tl.constexpr,
):  # fmt: skip
    """One ray a thread; ``FIXED`` walks with 32 binary digits after the point."""
    thread, across = tl.arange(0, VIEWS * RAYS), tl.cdiv(pixels, RAYS)
    view = tl.program_id(0) // across * VIEWS + thread // RAYS
    pixel = tl.program_id(0) % across * RAYS + thread % RAYS
    exists, ray = (view < views) & (pixel < pixels), view * pixels + pixel
    by_columns = tl.load(along_columns + ray, exists, 0) != 0
    begin, step = tl.load(start + ray, exists, -2.0), tl.load(slope + ray, exists, 0.0)
    first, last = _lines_inside(begin, step, tl.where(by_columns, columns, rows), tl.where(by_columns, rows, columns))
    item, stride = _items(SLICES)[:, None], side + 4
    image = both_ways + tl.minimum(item, batch - 1) * (2 * side * stride)
    image += tl.where(by_columns, side * stride, 0)[None, :] + 2
    total = tl.zeros((SLICES, VIEWS * RAYS), both_ways.dtype.element_ty)
    if FIXED:
        begin, step = _fixed(begin), _fixed(step)
    position = begin + step * first
    for line in tl.range(first, last, loop_unroll_factor=4):
        if FIXED:
            left = (position >> 32).to(tl.int32)
            weight = ((position & 0xFFFFFFFF) >> 1).to(tl.int32).to(tl.float32) * (1.0 / 2147483648.0)
            position += step
        else:
            position = begin + step * line
            left = tl.floor(position).to(tl.int32)
            weight = position - left
        at = image + (line * stride + tl.minimum(tl.maximum(left, -2), side))[None, :]
        value, other = tl.load(at), tl.load(at + 1)
        total += value + weight[None, :] * (other - value)
    total *= tl.load(length + ray, exists, 0.0)[None, :]
    tl.store(out + item * (views * pixels) + ray[None, :], total, (item < batch) & exists[None, :])


@triton.jit
def _items(SLICES: tl.constexpr):
    """The slices of a block, which may be more than there are."""
    return (tl.program_id(1) * SLICES + tl.arange(0, SLICES)).to(tl.int64)


@triton.jit
def _lines_inside(start, slope, lines, width):
    """The lines on which some ray of the block is near the image, and perhaps one more."""
    slope = tl.where(tl.abs(slope) < 1e-12, 1e-12, slope)
    enter, leave = (-1.0 - start) / slope, (width - start) / slope
    first, last = tl.minimum(enter, leave), tl.maximum(enter, leave)
    first = tl.maximum(tl.minimum(first, lines + 1.0), 1.0).to(tl.int32) - 1
    last = tl.maximum(tl.minimum(last, lines - 1.0), -1.0).to(tl.int32) + 1
    return tl.min(first, 0), tl.max(tl.where(first < last, last, 0), 0)


@triton.jit
def _fixed(position):
    return tl.floor(position * 4294967296.0 + 0.5).to(tl.int64)


@triton.jit(do_not_specialize=["straight", "batch", "views", "pixels", "margin", "rows", "columns"])
def _back_project(
    out, padded, scan, directions, bends, turns, straight, batch, views, pixels, margin, rows, columns,
    KIND: tl.constexpr, REACH: tl.constexpr, SLICES: tl.constexpr,
):  # fmt: skip
    """One patch a thread, by the formulas of :func:`kernels.back_project_flat` and its like."""
    real = padded.dtype.element_ty
    stride, inner = pixels + 2 * margin, REACH - 1
    patch, across = tl.arange(0, DOWN * ACROSS), tl.cdiv(columns, ACROSS * WIDE)
    top = (tl.program_id(0) // across * DOWN + patch // ACROSS) * TALL
    left = (tl.program_id(0) % across * ACROSS + patch % ACROSS) * WIDE
    x = tl.load(scan) + left + (WIDE - 1) / 2
    y = tl.load(scan + 1) - top - (TALL - 1) / 2
    axis, centre, step, dense = tl.load(scan + 2), tl.load(scan + 3), tl.load(scan + 4), tl.load(scan + 5)
    narrow, dense = step.to(real), dense.to(real)
    pixel = tl.arange(0, TALL * WIDE)[:, None]
    right = (pixel % WIDE).to(real) - (WIDE - 1) / 2
    below = (pixel // WIDE).to(real) - (TALL - 1) / 2
    item = _items(SLICES)[:, None, None]
    sinogram = padded + tl.minimum(item, batch - 1) * (views * stride)
    total = tl.zeros((SLICES, TALL * WIDE, DOWN * ACROSS), real)
    for view in range(views):
        c, s = tl.load(directions + 2 * view), tl.load(directions + 2 * view + 1)
        steep, steeper = c.to(real) * narrow, s.to(real) * narrow
        ray, middle, deep, rightwards, upwards = _beside(x, y, c, s, axis, centre, step, dense, bends, pixels, KIND)
        rightwards, upwards = rightwards.to(real)[None, :], upwards.to(real)[None, :]
        aside = middle.to(real)[None, :] + upwards * right + rightwards * below
        if KIND == "parallel":
            width, shadow = narrow, aside * dense
        elif KIND == "flat":
            width = (deep * step).to(real)[None, :] - steeper * right - steep * below
            shadow = aside / _positive(width)
        else:
            width = deep.to(real)[None, :] + rightwards * right - upwards * below
            shadow = _angle(aside, width) * dense
        # where there are no rays any more, it does not matter how far beyond
        lowest, highest = inner - 1.0 * margin - ray, pixels + margin - 1.0 * REACH - 1.0 - ray
        shadow = tl.minimum(tl.maximum(shadow, lowest.to(real)[None, :]), highest.to(real)[None, :])
        nearest = tl.floor(shadow).to(tl.int32) - inner
        at = sinogram + (view * stride + margin + ray[None, :] + nearest)[None, :, :]
        turn = turns + straight + nearest
        for tap in tl.range(2 * REACH, loop_unroll_factor=4):
            weight = _weight(
                nearest.to(real) + tap, turn + tap, 2 * straight + 1, aside, width, rightwards, upwards, steep, steeper,
                KIND,
            )  # fmt: skip
            total += tl.maximum(weight, 0.0)[None, :, :] * tl.load(at + tap)
    row, column = top[None, :] + pixel // WIDE, left[None, :] + pixel % WIDE
    exists = (item < batch) & ((row < rows) & (column < columns))[None, :, :]
    tl.store(out + item * (rows * columns) + (row * columns + column)[None, :, :], total, exists)


@triton.jit
def _beside(x, y, c, s, axis, centre, step, dense, bends, pixels, KIND: tl.constexpr):
    """The ray nearest to the middle of a patch, how that lies beside it and how deep, and the ray's direction.

    Single precision finds a ray that may not be the nearest; how the middle lies beside it must be exact.
    """
    aside, depth = x * c + y * s, y * c - x * s + axis
    if KIND == "parallel":
        ray_coordinate = aside.to(tl.float32)
    elif KIND == "flat":
        ray_coordinate = aside.to(tl.float32) / _positive(depth.to(tl.float32))
    else:
        ray_coordinate = _angle(aside.to(tl.float32), depth.to(tl.float32))
    ray = ray_coordinate * dense.to(tl.float32) + (centre.to(tl.float32) + 0.5)
    ray = tl.floor(tl.minimum(tl.maximum(ray, 0.0), pixels - 1.0)).to(tl.int32)
    if KIND == "parallel":
        return ray, aside - (ray - centre) * step, depth, -s + 0 * x, c + 0 * x
    if KIND == "flat":
        along = (ray - centre) * step
        return ray, aside - along * depth, depth, along * c - s, along * s + c
    forth, along = tl.load(bends + 2 * ray), tl.load(bends + 2 * ray + 1)
    deep = aside * along + depth * forth
    return ray, aside * forth - depth * along, deep, c * along - s * forth, c * forth + s * along


@triton.jit
def _weight(k, turn, rest, aside, width, rightwards, upwards, steep, steeper, KIND: tl.constexpr):
    """The steepness of the ray number k from the nearer one, less how far a pixel lies beside it."""
    if KIND == "parallel":
        return tl.maximum(tl.abs(rightwards), tl.abs(upwards)) - tl.abs(aside - k * width)
    if KIND == "flat":
        steepness = tl.maximum(tl.abs(rightwards + k * steep), tl.abs(upwards + k * steeper))
        return steepness - tl.abs(aside - k * width)
    sine, versine = tl.load(turn), tl.load(turn + rest)
    right = rightwards + (upwards * sine - rightwards * versine)
    up = upwards - (rightwards * sine + upwards * versine)
    return tl.maximum(tl.abs(right), tl.abs(up)) - tl.abs(aside - (width * sine + aside * versine))


@triton.jit
def _positive(depth):
    """A depth, or next to nothing behind the source, where no pixel of the image is."""
    return tl.maximum(depth, 1e-30)


@triton.jit
def _angle(aside, depth):
    """atan2(aside, depth) to 1e-7: it only chooses which rays to look at."""
    a, b = tl.abs(aside), tl.abs(depth)
    ratio = tl.minimum(a, b) / _positive(tl.maximum(a, b))
    z = ratio * ratio
    angle = ratio * (C0 + z * (C1 + z * (C2 + z * (C3 + z * (C4 + z * (C5 + z * (C6 + z * C7)))))))
    angle = tl.where(a > b, 1.5707963267948966 - angle, angle)
    angle = tl.where(depth < 0, 3.141592653589793 - angle, angle)
    return tl.where(aside > 0, angle, -angle)
