"""numpy's own file, without pickles, its header believed only as far as the file is long."""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from recon.io.decoded import Decoded, RefusedError, check_size, from_axes, to_axes
from recon.io.image import Array, Source, integer_grid

_LONGEST_TEXT = 10_000  # numpy's own bound for untrusted files
_CHANNELS = (1, 3, 4)
SHAPES = "(H, W), (N, H, W), (N, 1, H, W) or (N, 3, H, W), or (H, W, C) or (N, H, W, C) with C = 1, 3 or 4 channels"
"""What arrays are read."""

LONGEST_HEADER = _LONGEST_TEXT + 12
"""How many bytes may come before the values."""


def decode_npy(data: bytes, limit: int) -> Decoded:
    """Arrays of numbers, of the shapes in :data:`SHAPES`; a last axis of 4 is red, green, blue and opacity."""
    header = read_header(data)
    layout = layout_of(header.shape)
    pixels = to_axes(read_array(data, header, limit), layout)
    source, alpha = Source("npy", layout, str(pixels.dtype)), None
    notes: tuple[str, ...] = ()
    if pixels.shape[1] == 4:
        if pixels.dtype.kind not in "iuf":
            raise RefusedError(f"it holds 4 channels of {pixels.dtype}; expected real numbers, because one is opacity.")
        pixels, alpha = pixels[:, :3], pixels[:, 3:]
        notes = ("The four channels of the array were read as red, green, blue and opacity.",)
    return Decoded(pixels, source, integer_grid(pixels.dtype), alpha, notes=notes)


def encode_npy(path: Path, pixels: Array, layout: str) -> None:
    """Write pixels of shape (frames, channels, height, width) with the axes of ``layout``."""
    with path.open("wb") as handle:
        npy_format.write_array(handle, np.ascontiguousarray(from_axes(pixels, layout)), allow_pickle=False)


@dataclass(frozen=True)
class Header:
    """The declaration in the first bytes of a file.

    Attributes:
        shape: Of the array, not yet believed.
        fortran: Whether the first axis is the fastest.
        dtype: Of plain numbers.
        start: Where the values begin, in bytes.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    start: int

    @property
    def end(self) -> int:
        """Where the values end, in bytes."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize


def read_header(data: bytes) -> Header:
    """The header of a file, of which ``data`` is the beginning: at least :data:`LONGEST_HEADER` bytes, if it has them.

    Raises:
        RefusedError: It is damaged, or declares anything but plain numbers.
    """
    stream = io.BytesIO(data)
    try:
        version = npy_format.read_magic(stream)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran, dtype = read(stream, max_header_size=_LONGEST_TEXT)
    except RefusedError:
        raise
    except Exception:  # a hostile header reaches deep into ast and numpy.dtype
        raise RefusedError("the NPY header is cut off or damaged.") from None
    if dtype.hasobject or dtype.kind not in "biufc" or dtype.itemsize > 16 or dtype == np.longdouble:
        raise RefusedError(f"it holds an array of {dtype.name}; expected plain numbers.")
    return Header(shape, fortran, dtype, stream.tell())


def read_array(data: bytes, header: Header, limit: int) -> Array:
    """The array of a whole file, in the machine's byte order.

    Raises:
        RefusedError: It declares more than ``limit`` values, or more than are there.
    """
    check_size(header.shape, limit)
    check_length(header, len(data))
    flat = np.frombuffer(data, header.dtype, math.prod(header.shape), header.start)
    return flat.reshape(header.shape, order="F" if header.fortran else "C").astype(header.dtype.newbyteorder("="))


def check_length(header: Header, size: int) -> None:
    """Refuse a file of so many bytes that is shorter than its header says."""
    if size < header.end:
        there, declared = size - header.start, header.end - header.start
        raise RefusedError(f"it ends after {there} bytes of {declared}: the file is cut off.")


def layout_of(shape: tuple[int, ...]) -> str:
    """The axes of an array of that shape, a letter of FCHW each.

    Raises:
        RefusedError: It may be read in several ways, or in none.
    """
    if len(shape) == 2:
        return "HW"
    if len(shape) == 3 and shape[2] == 2:
        raise RefusedError(
            f"it holds an array of shape {shape}, which may be 2 channels or {shape[0]} images of 2 columns; expected "
            f"{SHAPES}."
        )
    if len(shape) == 3:
        return "HWC" if shape[2] in _CHANNELS else "FHW"
    if len(shape) == 4 and shape[3] == 3:
        return "FHWC"
    if len(shape) == 4 and shape[1] in (1, 3):
        return "FCHW"
    if len(shape) == 4 and shape[3] in _CHANNELS:
        return "FHWC"
    raise RefusedError(f"it holds an array of shape {shape}; expected {SHAPES}.")
