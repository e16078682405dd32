"""Photon counts to line integrals, by the law of Beer and Lambert, and how far each of them is to be believed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recon.errors import ConsistencyError, InputError
from recon.io.image import Array
from recon.io.projections.saturation import BRIGHT, Saturation, saturated, saturation_note

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_MANY = 0.01
_AIR = 0.01  # how far from 1 the transmission of air may be where the counts never change
_MOST_DEAD = 0.1
_LISTED = 5


def line_integrals(
    counts: Array, flat: ArrayLike, dark: ArrayLike | None = None, layer: str = "slice"
) -> tuple[Array, Array, tuple[str, ...]]:
    """The line integrals ``-log((counts - dark) / (flat - dark))``, their weights, and notes.

    The weights are the counts net of dark: of Poisson counts N the logarithm has the variance 1 / N to first order. In
    a detector whose unit is not one photon they hold up to a factor; they come from the measured counts, not from the
    expected ones, and so are biased where few photons arrive. A value has weight 0 where there is no light to take the
    logarithm of: counts that are not above dark, pixels whose flat field is not, and pixels whose counts are the same
    in all views; and where a count is saturated, see :func:`recon.io.projections.saturation.saturated`. Simulations
    without noise have pixels that never change too, which are taken as they are: those that transmit all, up to the
    detector's edge, and those that are more than a tenth of all, as of a round object about the axis. A value of weight
    0 is interpolated from its neighbours in the view; a view without any light is copied from the nearest.

    Frames are averaged by the mean of their middle half: a mean would let a single frame with a cosmic ray draw a ring
    into the image, and a median throws away more of the light (its variance is pi / 2 of the mean's, not 1.2).

    Args:
        counts: (slices, views, pixels), or (views, pixels) of one slice; not negative.
        flat: Counts without the object: (slices, frames, pixels), or a single frame (slices, pixels) where there are
            several slices, or (frames, pixels) where there is one, or (pixels,), or a number.
        dark: Counts without the beam, in the same shapes; by default zero.
        layer: What the first axis is called: ``row`` of a panel.

    Returns:
        Values and weights of the shape of ``counts``, in double precision if the counts are (or are integers of more
        than 16 bits), else in single; and what a user must know, a sentence each.

    Raises:
        InputError: Counts that are negative or not finite.
        ConsistencyError: Shapes that do not fit together, or a slice without any light.
    """
    stack = counts[None] if counts.ndim == 2 else counts
    if stack.ndim != 3 or stack.size == 0:
        raise ConsistencyError(
            f"the counts have shape {counts.shape}; expected (slices, views, pixels) or (views, pixels), none empty."
        )
    bright, bright_frames = _level(flat, stack.shape, "flat field", layer)
    black, black_frames = _level(0.0 if dark is None else dark, stack.shape, "dark field", layer)
    values, weights = np.empty(stack.shape, _result_type(stack)), np.empty(stack.shape, _result_type(stack))
    faults = []
    for index, one in enumerate(stack):
        _check_counts(one, "counts")
        values[index], weights[index], fault = _one_slice(one, bright[index], black[index], f"{layer} {index}")
        faults.append(fault)
    used = f"a flat field of {_frames(bright_frames)} and " + (
        "no dark field" if dark is None else f"a dark field of {_frames(black_frames)}"
    )
    notes = (f"The line integrals were computed from counts with {used}.", *_notes(faults, stack.size, layer))
    return values.reshape(counts.shape), weights.reshape(counts.shape), notes


@dataclass(frozen=True)
class _Faults:
    """The faults of a slice.

    Attributes:
        dead: Pixels that see nothing in all views, (pixels,).
        dark: How many counts of the other pixels are not above dark.
        bright: How many transmissions are far above 1.
        full: What is saturated.
    """

    dead: Mask
    dark: int
    bright: int
    full: Saturation


def as_frames(frames: ArrayLike, slices: int, pixels: int, what: str, layer: str = "slice") -> Array:
    """Flat or dark fields as (slices, frames, pixels).

    Raises:
        ConsistencyError: They are of another size than the counts.
    """
    given = np.asarray(frames)
    full = given.reshape(1, 1, -1) if given.ndim < 2 else given
    if given.ndim == 2:
        full = given[:, None] if slices > 1 else given[None]
    wanted = (1 if given.ndim < 2 else slices, full.shape[1] if full.ndim == 3 else 0, pixels if given.ndim else 1)
    if full.shape != wanted or full.size == 0:
        raise ConsistencyError(
            f"the {what} has shape {given.shape} and the counts have {slices} {layer}s of {pixels} pixels; expected "
            f"({slices}, frames, {pixels}), because each pixel of the detector has its own."
        )
    return np.broadcast_to(full, (slices, full.shape[1], pixels))


def _level(frames: ArrayLike, shape: tuple[int, ...], what: str, layer: str) -> tuple[Floats, int]:
    """The frames' level (slices, pixels), and how many frames there were."""
    full = as_frames(frames, shape[0], shape[2], what, layer)
    _check_counts(full, what)
    count = full.shape[1]
    away = (count + 1) // 4  # at either end: the middle half is kept
    middle = np.sort(full, axis=1)[:, away : count - away]
    level: Floats = middle.mean(axis=1, dtype=np.float64)
    return level, count


def _one_slice(raw: Array, bright: Floats, black: Floats, name: str) -> tuple[Floats, Floats, _Faults]:
    """Line integrals and weights (views, pixels) of the slice of that name."""
    light, net = bright - black, raw - black
    if not (light > 0).any():
        raise ConsistencyError(
            f"the flat field of {name} is at most {bright.max():g} where the dark field is {black.max():g}; "
            "expected more, because the flat field is taken with the beam on and the dark field without."
        )
    share = np.divide(net, light, out=np.zeros_like(net), where=light > 0)
    dead = (light <= 0) | _stuck(raw, share)
    full = saturated(raw, share, bright, light) & ~dead
    good = (net > 0) & ~dead & ~full
    if not good.any() and full.any():
        raise ConsistencyError(
            f"the counts of {name} are {raw.max():g} wherever they are above the dark field, the largest value of the "
            "detector; expected some below it, because nothing else was measured."
        )
    if not good.any():
        raise ConsistencyError(
            f"the counts of {name} are at most {raw.max():g} where the dark field is {black.max():g}; expected "
            "some above it, because nothing else was measured."
        )
    values = _filled(-np.log(share, out=np.zeros_like(share), where=good), good)
    bad, far = int(np.count_nonzero((net <= 0) & ~dead)), int(np.count_nonzero(share[good] > BRIGHT))
    return values, np.where(good, net, 0.0), _Faults(dead, bad, far, Saturation.of(full))


def _stuck(raw: Array, share: Floats) -> Mask:
    """Pixels whose counts never change, but for those that a noise-free simulation has too: see `line_integrals`."""
    if len(raw) == 1:
        return np.zeros(raw.shape[1], np.bool_)
    constant: Mask = (raw == raw[0]).all(axis=0)
    air = constant & (np.abs(share[0] - 1) < _AIR)
    left, right = np.logical_and.accumulate(air), np.logical_and.accumulate(air[::-1])[::-1]
    lit = constant & (share[0] > 0) & ~(left | right)
    if lit.all() or np.count_nonzero(lit) > max(1.0, _MOST_DEAD * lit.size):
        lit[:] = False
    stuck: Mask = lit | (constant & (share[0] <= 0))
    return stuck


def _filled(values: Floats, good: Mask) -> Floats:
    """Put linear interpolation of the good neighbours in the row where a value is not good."""
    pixels = values.shape[1]
    place = np.arange(pixels)
    before = np.maximum.accumulate(np.where(good, place, -1), axis=1)
    after = np.minimum.accumulate(np.where(good, place, pixels)[:, ::-1], axis=1)[:, ::-1]
    view, pixel = np.nonzero(~good & good.any(axis=1, keepdims=True))
    left, right = before[view, pixel], after[view, pixel]
    left, right = np.where(left < 0, right, left), np.where(right == pixels, left, right)
    along = (pixel - left) / np.maximum(right - left, 1)
    filled = values.copy()
    filled[view, pixel] = values[view, left] * (1 - along) + values[view, right] * along
    lit = np.flatnonzero(good.any(axis=1))
    for blank in np.flatnonzero(~good.any(axis=1)):
        filled[blank] = filled[lit[np.abs(lit - blank).argmin()]]
    return filled


def _check_counts(counts: Array, what: str) -> None:
    if counts.dtype.kind not in "iuf":
        raise InputError(f"the {what} are of type {counts.dtype}; expected real numbers, because they count photons.")
    if counts.dtype.kind == "f" and not np.isfinite(counts).all():
        bad = counts.size - int(np.count_nonzero(np.isfinite(counts)))
        raise InputError(f"{bad} of the {counts.size} values of the {what} are NaN or infinite; expected counts.")
    lowest = counts.min()
    if lowest < 0:
        bad = int(np.count_nonzero(counts < 0))
        raise InputError(
            f"{bad} of the {counts.size} values of the {what} are negative, down to {lowest:g}; expected counts as the "
            "detector gave them, because their noise is known from them."
        )


def _result_type(counts: Array) -> type[np.float32] | type[np.float64]:
    small = counts.dtype.itemsize <= (2 if counts.dtype.kind in "iu" else 4)
    return np.float32 if small else np.float64


def _notes(faults: list[_Faults], size: int, layer: str) -> tuple[str, ...]:
    places = [(index, int(pixel)) for index, fault in enumerate(faults) for pixel in np.flatnonzero(fault.dead)]
    dark, bright = sum(fault.dark for fault in faults), sum(fault.bright for fault in faults)
    notes: tuple[str, ...] = ()
    if places:
        names = [f"column {pixel}" + (f" of {layer} {index}" if len(faults) > 1 else "") for index, pixel in places]
        more = f" and {len(places) - _LISTED} more" if len(places) > _LISTED else ""
        notes += (
            f"Dead detector pixels, without light or with counts that never change: {', '.join(names[:_LISTED])}{more} "
            "(counted from 0); they were interpolated and have weight 0.",
        )
    if dark:
        notes += (f"{dark} of {size} counts are not above the dark field; they were interpolated and have weight 0.",)
    notes += saturation_note([fault.full for fault in faults], size, layer)
    if bright > _MANY * size:
        notes += (
            f"{bright} of {size} counts are more than {BRIGHT:g} times the flat field; expected hardly any, because "
            "nothing in the beam adds light: was the flat field taken with another exposure?",
        )
    return notes


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"
