"""Arrays of shape (frames, rows, columns, samples) as coded pieces, and pieces of one frame back.

Frames are cut into bands of rows, so that memory is bounded, and bands into samples. A band of integers is predicted
from the one that came before it in the same sample, but in every ``group``-th frame, and a colour from the first colour
of its pixel: a frame is had from at most ``group`` frames.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from recon.io.content import damage
from recon.io.decoded import RefusedError
from recon.io.image import Array
from recon.packing.floats import decode_floats, encode_floats
from recon.packing.planes import MOST_COLUMNS, MOST_PIXELS, decode_plane, encode_plane, refers
from recon.packing.workers import Workers

_FEW_PIXELS = 2**21
"""Frames of at most so many pixels are coded both ways to find out whether the frame before helps."""


@dataclass(frozen=True)
class Plan:
    """The pieces of an array.

    Attributes:
        shape: (frames, rows, columns, samples).
        dtype: As numpy writes it.
        group: How many frames depend on each other; 1 where none does.
        before: Whether the first frame is predicted from the last frame of the file before.
    """

    shape: tuple[int, int, int, int]
    dtype: str
    group: int = 1
    before: bool = False

    @property
    def band(self) -> int:
        """Rows of a band."""
        return max(1, min(self.shape[1], MOST_PIXELS // self.shape[2]))

    @property
    def bands(self) -> int:
        """Bands of a frame."""
        return -(-self.shape[1] // self.band)

    @property
    def pieces(self) -> int:
        """Of all frames."""
        return self.shape[0] * self.bands * self.shape[3]

    @property
    def is_whole(self) -> bool:
        """Return whether the numbers are integers."""
        return np.dtype(self.dtype).kind != "f"

    def runs(self, frames: range) -> list[range]:
        """Frames, beginning with the first of a group, in runs that do not depend on each other."""
        return [range(start, min(start + self.group, frames.stop)) for start in frames[:: self.group]]

    def rows(self, band: int) -> int:
        return min(self.band, self.shape[1] - band * self.band)

    def fits(self) -> bool:
        """Return whether the codec takes such arrays."""
        return self.shape[2] <= MOST_COLUMNS


Bands = dict[tuple[int, int], Array]
"""Planes of the frame before, by band and sample."""


ALONE = Workers()


def encode(
    pixels: Array, plan: Plan, tolerance: float, before: Bands | None, workers: Workers = ALONE
) -> Iterator[bytes]:
    """The pieces of an array, in the order in which they are decoded."""
    first: Bands = dict(before or {}) if plan.before else {}

    def coded(run: range) -> list[bytes]:
        return list(_encode_run(pixels, plan, run, tolerance, dict(first) if run.start == 0 else {}, workers))

    for pieces in workers.map(coded, plan.runs(range(plan.shape[0]))):
        yield from pieces


def _encode_run(  # noqa: PLR0913, PLR0917  what a run of frames needs
    pixels: Array, plan: Plan, run: range, tolerance: float, kept: Bands, workers: Workers
) -> Iterator[bytes]:
    for frame in run:
        for band in range(plan.bands):
            rows = slice(band * plan.band, band * plan.band + plan.rows(band))
            first: Array | None = None
            for sample in range(plan.shape[3]):
                plane = np.ascontiguousarray(pixels[frame, rows, :, sample])
                if not plan.is_whole:
                    with workers.core():
                        floats = encode_floats(plane, tolerance)
                    yield floats
                    continue
                whole = as_integers(plane)
                reference = first if first is not None else kept.get((band, sample))
                with workers.core():
                    coded = encode_plane(whole, reference, int(tolerance))
                    if tolerance >= 1:
                        whole = decode_plane(coded, whole.shape, reference if refers(coded) else None)
                yield coded
                first = whole if first is None else first
                kept[band, sample] = whole


def decode(
    plan: Plan, piece: Callable[[int], bytes], frames: range, before: Callable[[], Bands], workers: Workers = ALONE
) -> Iterator[tuple[int, Array, Bands]]:
    """Bands of some frames, each with its frame's number, (rows, columns, samples), and the planes kept so far.

    ``piece`` gives the bytes of one piece by its number, ``before`` the last planes of the file before.
    """
    start = frames.start - frames.start % plan.group if plan.group > 1 else frames.start
    runs = plan.runs(range(start, frames.stop))
    first = before() if plan.before and start == 0 else {}

    def decoded(run: range) -> Iterator[tuple[int, Array, Bands]]:
        kept = dict(first) if run.start == 0 else {}
        for frame in run:
            for band in range(plan.bands):
                with workers.core():
                    planes = _band(plan, frame, band, piece, kept)
                if frame in frames:
                    yield frame, np.stack(planes, axis=-1), kept

    if workers.jobs == 1 or len(runs) == 1:  # one band after another, in little memory
        for run in runs:
            yield from decoded(run)
    else:
        size = math.prod(plan.shape[1:]) * np.dtype(plan.dtype).itemsize
        for bands in workers.map(lambda run: list(decoded(run)), runs, lambda run: len(run) * size):
            yield from bands


def _band(plan: Plan, frame: int, band: int, piece: Callable[[int], bytes], kept: Bands) -> list[Array]:
    dtype, shape = np.dtype(plan.dtype), (plan.rows(band), plan.shape[2])
    planes: list[Array] = []
    first: Array | None = None
    for sample in range(plan.shape[3]):
        data = piece((frame * plan.bands + band) * plan.shape[3] + sample)
        if not plan.is_whole:
            with damage("packed"):
                planes.append(decode_floats(data, shape, plan.dtype))
            continue
        reference = first if first is not None else kept.get((band, sample))
        with damage("packed"):
            whole = decode_plane(data, shape, reference if refers(data) else None)
        first = whole if first is None else first
        kept[band, sample] = whole
        planes.append(from_integers(whole, dtype))
    return planes


def as_integers(plane: Array) -> Array:
    """Integers as int64; those of unsigned 64 bits modulo 2^64."""
    return plane.astype(np.int64)


def from_integers(plane: Array, dtype: np.dtype) -> Array:
    """Undo :func:`as_integers`."""
    if dtype.itemsize < 8:
        limits = np.iinfo(dtype)
        if plane.min() < limits.min or plane.max() > limits.max:
            raise RefusedError("a plane has values beyond its type.")
    return plane.astype(dtype)


def helps(plane: Array, before: Array) -> bool:
    """Return whether a plane of integers takes fewer bytes when it is predicted from another of its shape."""
    if plane.shape != before.shape or plane.size > _FEW_PIXELS:
        return plane.shape == before.shape
    return len(encode_plane(plane, before)) < len(encode_plane(plane))
