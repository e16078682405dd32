"""numpy's own file, without pickles, its header believed only as far as the file is long."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from recon.imaging.decoded import Decoded, RefusedError, check_size, from_axes, to_axes
from recon.imaging.image import Array, Source, integer_grid

_LONGEST_HEADER = 10_000  # numpy's own bound for untrusted files


def decode_npy(data: bytes, limit: int) -> Decoded:
    """Arrays (H, W), (H, W, 3), (N, H, W), (N, H, W, 3), (N, 1, H, W) or (N, 3, H, W) of numbers."""
    shape, fortran, dtype, start = _header(data)
    if dtype.hasobject or dtype.kind not in "biufc" or dtype.itemsize > 16 or dtype == np.longdouble:
        raise RefusedError(f"it holds an array of {dtype.name}; expected plain numbers.")
    layout = _layout(shape)
    check_size(shape, limit)
    count = int(np.prod(shape, dtype=np.int64))
    if len(data) - start < count * dtype.itemsize:
        raise RefusedError(f"it ends after {len(data) - start} bytes of {count * dtype.itemsize}: the file is cut off.")
    array = np.frombuffer(data, dtype, count, start).reshape(shape, order="F" if fortran else "C")
    array = array.astype(dtype.newbyteorder("="))
    return Decoded(to_axes(array, layout), Source("npy", layout, str(array.dtype)), integer_grid(array.dtype))


def encode_npy(path: Path, pixels: Array, layout: str) -> None:
    """Write pixels of shape (frames, channels, height, width) with the axes of ``layout``."""
    with path.open("wb") as handle:
        npy_format.write_array(handle, np.ascontiguousarray(from_axes(pixels, layout)), allow_pickle=False)


def _header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    stream = io.BytesIO(data)
    try:
        version = npy_format.read_magic(stream)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran, dtype = read(stream, max_header_size=_LONGEST_HEADER)
    except RefusedError:
        raise
    except Exception:  # a hostile header reaches deep into ast and numpy.dtype
        raise RefusedError("the NPY header is cut off or damaged.") from None
    return shape, fortran, dtype, stream.tell()


def _layout(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return "HW"
    if len(shape) == 3:
        return "HWC" if shape[2] == 3 else "FHW"
    if len(shape) == 4 and shape[3] == 3:
        return "FHWC"
    if len(shape) == 4 and shape[1] in (1, 3):
        return "FCHW"
    raise RefusedError(
        f"it holds an array of shape {shape}; expected (H, W), (H, W, 3), (N, H, W), (N, H, W, 3), "
        "(N, 1, H, W) or (N, 3, H, W)."
    )
