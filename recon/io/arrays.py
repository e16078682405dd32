"""Plain arrays in files that need not be images: one matrix in an NPY, or several arrays under names in an NPZ.

No pickles; what a header declares is believed only as far as the file is long.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format

from recon.errors import InputError
from recon.io.atomic import replacing
from recon.io.decoded import RefusedError
from recon.io.formats.npy import read_array, read_header
from recon.io.image import Array

MAX_NUMBERS = 2**27
"""Of a matrix, and of all arrays of a file together."""

_MOST_ARRAYS = 256
_DATE = (1980, 1, 1, 0, 0, 0)
_LIMIT = MAX_NUMBERS * 16


def read_matrix(path: Path) -> Array:
    """The array of two dimensions in an NPY file.

    Raises:
        InputError: It cannot be read, or is no such array of numbers.
    """
    data = _bytes(path)
    try:
        array = _decoded(data)
    except RefusedError as refused:
        raise InputError(f"{path}: {refused}") from None
    if array.ndim != 2:
        raise InputError(f"{path}: it holds an array of shape {array.shape}; expected a matrix, (rows, columns).")
    if array.dtype.kind in "fc" and (bad := array.size - int(np.count_nonzero(np.isfinite(array)))):
        raise InputError(f"{path}: {bad} of its {array.size} entries are NaN or infinite; expected finite numbers.")
    return array


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an NPZ file by their names.

    Raises:
        InputError: It cannot be read, is too large, or holds anything but arrays of numbers.
    """
    try:
        if path.stat().st_size > _LIMIT:
            raise RefusedError(f"it has {path.stat().st_size} bytes; expected at most {_LIMIT}, to bound the memory.")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MOST_ARRAYS or sum(member.file_size for member in members) > _LIMIT:
                raise RefusedError(f"it declares more than {_MOST_ARRAYS} arrays or {_LIMIT} bytes; expected fewer.")
            return {member.filename.removesuffix(".npy"): _member(archive, member) for member in members}
    except RefusedError as refused:
        raise InputError(f"{path}: {refused}") from None
    except OSError as error:
        raise InputError(f"{path}: it cannot be read ({error.strerror or error}).") from None
    except Exception:  # a hostile archive reaches deep into zipfile and zlib
        raise InputError(f"{path}: it is no NPZ file, or a damaged one; expected one of recon factorize.") from None


def write_arrays(path: Path, arrays: Mapping[str, Array], *, overwrite: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Write arrays under their names; the same arrays give the same bytes.

    Raises:
        OutputError: The file cannot be written.
    """
    with replacing(path, overwrite=overwrite, inputs=inputs) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w", force_zip64=True) as member:
                npy_format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    with archive.open(member) as handle:
        data = handle.read(member.file_size + 1)
    try:
        return _decoded(data)
    except RefusedError as refused:
        raise RefusedError(f"of the array {member.filename!r}, {refused}") from None


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > _LIMIT:
            raise InputError(f"{path}: it has {size} bytes; expected at most {_LIMIT}, to bound the memory.")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: it cannot be read ({error.strerror or error}).") from None
    except ValueError:
        raise InputError(f"{path}: no such file; a name cannot hold a null character.") from None


def _decoded(data: bytes) -> Array:
    if not data.startswith(b"\x93NUMPY"):
        raise RefusedError("it is no NPY file; expected an array as numpy.save writes it.")
    return read_array(data, read_header(data), MAX_NUMBERS)
