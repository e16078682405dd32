"""Content of a file of projections, before anything is made of it."""

from dataclasses import dataclass

from recon.errors import UsageError
from recon.io.decoded import RefusedError
from recon.io.image import Array

Rows = tuple[int, int]
"""The first of some slices and the one after the last, counted from 0."""


@dataclass(frozen=True)
class Scan:
    """Arrays as a file has them.

    Attributes:
        values: (slices, views, pixels): counts, or line integrals; of a panel its rows take the slices' place.
        total: How many slices the file has; more than ``values``, where only some were asked for.
        flat: The flat field's frames, (slices, frames, pixels).
        dark: The dark field's.
        angles: In degrees, (views,).
        notes: A sentence each.
        layer: What the first axis is: a ``slice``, or a ``row`` of a panel.
    """

    values: Array
    total: int
    flat: Array | None = None
    dark: Array | None = None
    angles: Array | None = None
    notes: tuple[str, ...] = ()
    layer: str = "slice"


def as_stack(array: Array, panel: bool = False) -> Array:
    """(views, pixels) or (slices, views, pixels) as the latter; of a panel (views, rows, columns) or a single view."""
    if array.ndim not in (2, 3):
        expected = (
            "(rows, columns) or (views, rows, columns)" if panel else "(views, pixels) or (slices, views, pixels)"
        )
        raise RefusedError(f"it holds an array of shape {array.shape}; expected {expected}.")
    stack = array[None] if array.ndim == 2 else array
    return stack.swapaxes(0, 1) if panel else stack


def check_rows(rows: Rows | None, total: int) -> Rows:
    """The slices to read: by default all.

    Raises:
        UsageError: Not all of them are there.
    """
    if rows is None:
        return 0, total
    first, stop = rows
    if not 0 <= first < stop <= total:
        raise UsageError(
            f"slices {first}:{stop}: expected first < stop within 0:{total}, because these are the slices of the file."
        )
    return first, stop
