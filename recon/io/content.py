"""Content of a file before anything is believed of it: its bytes, its kind, and the errors of reading it."""

import contextlib
import logging
import os
import stat
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from recon.errors import InputError, ReconError
from recon.io.decoded import RefusedError

MAX_BYTES = 2**32
"""How long a file may be that is read as a whole."""

LONGEST_MARK = 1024
"""How many bytes of a file tell its kind: of one that is packed by gzip, as many as its first numbers may take."""

GZIP = b"\x1f\x8b"

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png", "PNG"),
    (b"\xff\xd8\xff", "jpeg", "JPEG"),
    (b"\x93NUMPY", "npy", "NPY"),
    (b"II*\0", "tiff", "TIFF"),
    (b"MM\0*", "tiff", "TIFF"),
    (b"II+\0", "tiff", "TIFF"),
    (b"MM\0+", "tiff", "TIFF"),
    (b"PK\x03\x04", "npz", "ZIP or NPZ"),
    (b"\x89HDF", "hdf5", "HDF5 or MATLAB 7.3"),
    (b"GIF8", "", "GIF"),
    (b"BM", "", "BMP"),
    (b"RIFF", "", "WebP or other RIFF"),
    (b"%PDF", "", "PDF"),
    (b"\x1f\x8b", "", "gzip"),
    (b"MATLAB 5.0", "", "MATLAB"),
    (b"MATLAB 7.3", "", "MATLAB 7.3"),
    (b"NRRD", "", "NRRD"),
    (b"ObjectType", "", "MetaImage"),
    (b"\0\0\0\x0cjP  ", "", "JPEG 2000"),
    (b"8BPS", "", "Photoshop"),
    (b"SIMPLE  =", "", "FITS"),
    (b"\x5c\x01\0\0", "nifti", "NIfTI"),
    (b"\0\0\x01\x5c", "nifti", "NIfTI"),
    (b"\x1c\x02\0\0n+2\0", "nifti", "NIfTI-2"),
    (b"\0\0\x02\x1cn+2\0", "nifti", "NIfTI-2"),
)


def kind_of(head: bytes) -> str:
    """``png``, ``jpeg``, ``npy``, ``tiff``, ``npz``, ``hdf5`` or ``dicom``, by how a file begins; else ``""``."""
    if head[128:132] == b"DICM":  # first: the 128 bytes before may be a TIFF's
        return "dicom"
    head = unpacked_head(head)
    for magic, kind, _ in _MAGIC:
        if head.startswith(magic):
            return kind
    # DICOM without preamble: a first element of group 2 or 8, in either byte order
    if head[:4] in (b"\2\0\0\0", b"\2\0\1\0", b"\2\0\2\0") or head[:2] == b"\x08\0" or head[:3] == b"\0\x08\0":
        return "dicom"
    return ""


def unpacked_head(head: bytes) -> bytes:
    """The beginning of what a file holds that is packed by gzip, where that is NIfTI; of others as it is."""
    if not head.startswith(GZIP):
        return head
    try:
        inner = zlib.decompressobj(wbits=31).decompress(head, 16)
    except zlib.error:
        return head
    is_nifti = any(inner.startswith(magic) for magic, kind, _ in _MAGIC if kind == "nifti")
    return inner if is_nifti else head


def name_of(head: bytes) -> str:
    """The name of a file's kind, by how it begins; ``""`` where it is none that is known."""
    if kind_of(head) == "dicom":
        return "DICOM"
    head = unpacked_head(head)
    return next((name for magic, _, name in _MAGIC if head.startswith(magic)), "")


def foreign(head: bytes, expected: str) -> RefusedError:
    """The refusal of a file that is none of what was expected."""
    found = name_of(head)
    return RefusedError(f"the content is {f'a {found} file' if found else 'none of these'}; expected {expected}.")


@contextlib.contextmanager
def opened(path: Path, expected: str) -> Iterator[BinaryIO]:
    """A regular file that is not empty, open for reading."""
    # without O_NONBLOCK, opening a named pipe waits for a writer
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise RefusedError("it is a folder; expected a file.")
        if not stat.S_ISREG(found.st_mode):
            raise RefusedError("it is a pipe, a device or a socket; expected a regular file.")
        if found.st_size == 0:
            raise RefusedError(f"the file is empty; expected {expected}.")
        with open(descriptor, "rb", closefd=False) as handle:
            yield handle
    finally:
        os.close(descriptor)


def content(handle: BinaryIO) -> bytes:
    """The whole of a file that :func:`opened` opened."""
    size = os.fstat(handle.fileno()).st_size
    if size > MAX_BYTES:
        raise RefusedError(f"the file has {size} bytes; expected at most {MAX_BYTES}, to bound the memory.")
    handle.seek(0)
    return handle.read(size)


@contextlib.contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Make an :class:`InputError` that names the file of whatever a reader of it refuses."""
    try:
        yield
    except RefusedError as refusal:
        raise InputError(f"{printable(path)}: {refusal}") from None
    except MemoryError:
        raise InputError(f"{printable(path)}: there is not enough memory to read it.") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ReconError):
            raise
        reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else "not a valid name"
        raise InputError(f"{printable(path)}: the file cannot be opened ({reason}).") from None


@contextlib.contextmanager
def damage(kind: str) -> Iterator[None]:
    """Refuse a file on which a library below fails: damaged files raise anything there."""
    try:
        yield
    except (RefusedError, ReconError, MemoryError):
        raise
    except Exception as error:
        # the message is theirs, and may quote a patient's name out of a DICOM file
        raise RefusedError(f"the {kind.upper()} file is cut off or damaged.") from error


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep the warnings and logs of the libraries below from the user: they are noise, or quote the file."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "tifffile", "PIL", "nibabel.global", "zarr")]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def printable(name: object) -> str:
    """A name on one line, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(name))
