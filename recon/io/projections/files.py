"""Measured X-ray projections: files to line integrals with weights and angles."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from recon.errors import ConsistencyError, InputError, UsageError
from recon.io.content import content, damage, foreign, kind_of, opened, printable, refusals, silence
from recon.io.decoded import MAX_PIXELS, RefusedError, check_finite, check_size
from recon.io.formats.npy import LONGEST_HEADER, check_length, read_array, read_header
from recon.io.formats.tiff import check_tiff, decode_tiff
from recon.io.image import Array
from recon.io.projections.arrays import Rows, Scan, as_stack, check_rows
from recon.io.projections.counts import as_frames, line_integrals
from recon.io.projections.hdf5 import read_hdf5
from recon.io.projections.npz import check_npz, read_npz

KNOWN = "TIFF, NPY, NPZ or HDF5"
_FIELDS = "TIFF or NPY"
_UNBOUNDED = 2**62
"""No bound on what is declared: how much a scan may hold follows from its geometry, and is seen when it is read."""

_OPAQUE = 30.0
"""A line integral of which no detector sees anything: exp(-30) is 1e-13."""


@dataclass(frozen=True, eq=False)
class Projections:
    """Line integrals of the attenuation along X-rays, without unit.

    Attributes:
        values: (slices, views, pixels), float32 or float64, read-only; of a panel its rows take the slices' place.
        weights: Of the same shape, the inverses of the values' variances up to a factor (see
            :func:`recon.io.projections.counts.line_integrals`), 0 where nothing was measured; ``None`` where they are
            unknown.
        angles: Of the views, in degrees, (views,); ``None`` where the file has none.
        notes: What a reader had to say about the file, a sentence each; no patient data.
    """

    values: Array
    weights: Array | None = None
    angles: Array | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_parts(self)
        for name in ("values", "weights", "angles"):
            array = getattr(self, name)
            if array is not None:
                array = array.view()
                array.flags.writeable = False
                object.__setattr__(self, name, array)

    def __repr__(self) -> str:
        slices, views, pixels = self.values.shape
        weighted = "with weights" if self.weights is not None else "without weights"
        return f"Projections({slices} x {views} x {pixels}, {self.values.dtype}, {weighted})"


def read_projections(  # noqa: PLR0913  each is an independent choice of the caller
    path: str | Path,
    *,
    flat: str | Path | float | None = None,
    dark: str | Path | float | None = None,
    counts: bool | None = None,
    dataset: str | None = None,
    slices: Rows | None = None,
    panel: bool = False,
    max_values: int = MAX_PIXELS,
) -> Projections:
    """The projections in a TIFF, NPY, NPZ or HDF5 file; its content decides the format.

    TIFF: a page is a slice (views, pixels). NPY: (views, pixels) or (slices, views, pixels). NPZ: the array
    ``sinogram``, or the only one, shaped as in NPY, and ``angles_deg`` or ``angles``, in degrees. HDF5: (views, rows,
    columns), where a row of the detector is a slice, or (views, columns), with what stands beside it, as in
    :func:`recon.io.projections.hdf5.read_hdf5`; needs h5py.

    With ``panel``, as of a cone, TIFF, NPY and NPZ hold what HDF5 does: a page is a view (rows, columns), as in NPY
    (views, rows, columns), and the fields are (frames, rows, columns) or (rows, columns).

    Args:
        path: The file.
        flat: A TIFF or NPY file of the counts without the object, shaped as in
            :func:`recon.io.projections.counts.line_integrals`, or a number for all pixels; goes before the file's own.
        dark: Of the counts without the beam.
        counts: Whether the file holds photon counts, of which the logarithm is taken; by default, where there is a flat
            field.
        dataset: Of an HDF5 file, the path in it, as in ``/entry/data``.
        slices: The first slice that is wanted and the one after the last, counted from 0; by default all.
        panel: Whether a page is a view of a panel; else it is a slice.
        max_values: How many values an array may have.

    Raises:
        UsageError: Arguments that contradict each other.
        InputError: Whatever is wrong with a file, in one sentence.
        ConsistencyError: Shapes, or fields, that do not fit together.
    """
    if counts is False and (flat is not None or dark is not None):
        raise UsageError("counts is False and a flat or dark field was given; expected none with line integrals.")
    name = Path(path)
    with _about(name), refusals(name):
        scan = _scan(name, dataset, slices, panel, max_values)
    scan = replace(scan, layer="row" if panel else "slice")
    scan = replace(
        scan,
        flat=scan.flat if flat is None else _field(flat, scan, slices, panel, max_values),
        dark=scan.dark if dark is None else _field(dark, scan, slices, panel, max_values),
    )
    with _about(name), refusals(name):
        return _from_counts(scan) if _is_counts(scan, counts) else _from_integrals(scan)


def check_projections(path: str | Path, *, field: bool = False) -> None:
    """See that a file may hold projections, or a flat or dark field, by its beginning and by what it declares.

    Raises:
        InputError: It cannot, in one sentence.
    """
    name, expected = Path(path), _FIELDS if field else KNOWN
    with _about(name), refusals(name), opened(name, expected) as handle:
        head = handle.read(LONGEST_HEADER)
        handle.seek(0)
        kind = kind_of(head)
        if kind not in (("tiff", "npy") if field else ("tiff", "npy", "npz", "hdf5")):
            raise foreign(head, expected)
        with silence(), damage(kind):
            if kind == "npy":
                check_length(read_header(head), os.fstat(handle.fileno()).st_size)
            elif kind == "npz":
                check_npz(handle)
            elif kind == "tiff":
                check_tiff(content(handle), _UNBOUNDED)


def _scan(path: Path, dataset: str | None, rows: Rows | None, panel: bool, limit: int) -> Scan:
    with opened(path, KNOWN) as handle:
        head = handle.read(LONGEST_HEADER)
        handle.seek(0)
        kind = kind_of(head)
        if dataset is not None and kind != "hdf5":
            raise UsageError(f"dataset = {dataset!r} names a part of an HDF5 file; expected one.")
        with silence(), damage(kind):
            if kind == "hdf5":
                return read_hdf5(handle, dataset, rows, limit)
            if kind == "npz":
                sinogram, angles = read_npz(handle, limit)
                return _cut(as_stack(sinogram, panel), rows, angles)
            return _cut(as_stack(_array(handle, head, limit, KNOWN), panel), rows)


def _cut(stack: Array, rows: Rows | None, angles: Array | None = None) -> Scan:
    return Scan(stack[slice(*check_rows(rows, len(stack)))], len(stack), angles=angles)


def _array(handle: BinaryIO, head: bytes, limit: int, expected: str) -> Array:
    """The array of a TIFF or NPY file, of real numbers."""
    kind = kind_of(head)
    if kind == "npy":
        header = read_header(head)
        check_size(header.shape, limit)
        return _real(read_array(handle.read(header.end), header, limit))
    if kind != "tiff":
        raise foreign(head, expected)
    decoded = decode_tiff(content(handle), limit)
    frames, channels, *_ = decoded.pixels.shape
    if channels != 1 or decoded.alpha is not None:
        raise RefusedError("it is a TIFF with colours or opacity; expected grey, because a page is a sinogram.")
    return _real(decoded.pixels[0, 0] if frames == 1 else decoded.pixels[:, 0])


def _real(array: Array) -> Array:
    if array.dtype.kind not in "iuf":
        raise RefusedError(f"it holds numbers of type {array.dtype}; expected real ones.")
    return array


def _field(field: str | Path | float, scan: Scan, rows: Rows | None, panel: bool, limit: int) -> Array:
    """The frames of a flat or dark field, (slices, frames, pixels), of the slices that are wanted."""
    if isinstance(field, int | float):
        return as_frames(field, len(scan.values), scan.values.shape[2], "field", scan.layer)
    path = Path(field)
    with _about(path), refusals(path), opened(path, _FIELDS) as handle:
        head = handle.read(LONGEST_HEADER)
        handle.seek(0)
        with silence(), damage(kind_of(head)):
            frames = _array(handle, head, limit, _FIELDS)
        if panel and frames.ndim > 1:
            frames = as_stack(frames, panel)
        full = as_frames(frames, scan.total, scan.values.shape[2], "field", scan.layer)
        return full[slice(*check_rows(rows, scan.total))]


def _is_counts(scan: Scan, counts: bool | None) -> bool:
    integers = scan.values.dtype.kind in "iu"
    if counts is not False and scan.flat is None and (counts or integers):
        what = f"integers ({scan.values.dtype})" if integers else "counts"
        raise RefusedError(
            f"it holds {what} and no flat field; counts need a flat field, because only their ratio is known."
        )
    if scan.flat is None and scan.dark is not None and counts is None:
        raise UsageError("a dark field was given and no flat field; expected both, because counts need a flat field.")
    return scan.flat is not None if counts is None else counts


def _from_counts(scan: Scan) -> Projections:
    assert scan.flat is not None  # noqa: S101  (_is_counts saw to it)
    values, weights, notes = line_integrals(scan.values, scan.flat, scan.dark, scan.layer)
    return Projections(values, weights, scan.angles, (*scan.notes, *notes))


def _from_integrals(scan: Scan) -> Projections:
    values, notes = scan.values, scan.notes
    check_finite(values)
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
    if scan.flat is not None:
        notes = (*notes, "The flat field in the file was not used, because the values were said to be line integrals.")
    highest = float(values.max())
    if highest > _OPAQUE:
        notes = (
            *notes,
            f"The largest line integral is {highest:g}, of which nothing would be transmitted: are these counts, which "
            "need a flat field?",
        )
    return Projections(np.ascontiguousarray(values), None, scan.angles, notes)


def _check_parts(projections: Projections) -> None:
    values, weights, angles = projections.values, projections.weights, projections.angles
    if values.ndim != 3 or values.dtype not in (np.float32, np.float64):
        raise UsageError(
            f"Projections: the values have shape {values.shape} and type {values.dtype}; expected (slices, views, "
            "pixels) of float32 or float64."
        )
    if weights is not None and weights.shape != values.shape:
        raise UsageError(
            f"Projections: the weights have shape {weights.shape}; expected that of the values, {values.shape}."
        )
    if angles is None:
        return
    if angles.shape != values.shape[1:2]:
        raise ConsistencyError(
            f"there are {' x '.join(map(str, angles.shape))} angles and {values.shape[1]} views; expected as many, "
            "because each view has its angle."
        )
    if angles.dtype.kind not in "iuf" or not np.isfinite(angles).all():
        raise InputError("some angles are not finite real numbers; expected degrees.")


@contextlib.contextmanager
def _about(path: Path) -> Iterator[None]:
    """Let an error say which file it is about."""
    try:
        yield
    except (ConsistencyError, InputError) as error:
        name = printable(path)
        raise (error if str(error).startswith(name) else type(error)(f"{name}: {error}")) from None
