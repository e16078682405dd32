"""A sinogram and its angles in numpy's archive: no pickles, and nothing unpacked beyond what a header declares."""

import zipfile
from typing import BinaryIO

from recon.io.content import printable
from recon.io.decoded import RefusedError, check_size
from recon.io.formats.npy import LONGEST_HEADER, read_array, read_header
from recon.io.image import Array

SINOGRAM = "sinogram"
ANGLES = ("angles_deg", "angles")
_LISTED = 5


def read_npz(handle: BinaryIO, limit: int) -> tuple[Array, Array | None]:
    """The array ``sinogram``, or else the only one, and ``angles_deg`` or ``angles`` in degrees, if there are any."""
    with zipfile.ZipFile(handle) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        angles = next((name for name in ANGLES if name in members), None)
        sinogram = _read(archive, members[_sinogram(list(members))], limit)
        return sinogram, None if angles is None else _read(archive, members[angles], limit)


def check_npz(handle: BinaryIO) -> None:
    """Refuse an archive that holds no sinogram, without unpacking it."""
    with zipfile.ZipFile(handle) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        with archive.open(members[_sinogram(list(members))]) as stream:
            read_header(stream.read(LONGEST_HEADER))


def _sinogram(names: list[str]) -> str:
    others = [name for name in names if name not in ANGLES]
    if SINOGRAM in others:
        return SINOGRAM
    if len(others) != 1:
        listed = ", ".join(printable(name)[:40] for name in others[:_LISTED])
        listed = f" ({listed}{', ...' if len(others) > _LISTED else ''})" if others else ""
        raise RefusedError(f"it holds {len(others)} arrays{listed}; expected one, or one called '{SINOGRAM}'.")
    return others[0]


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> Array:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RefusedError("its arrays are packed by another method than deflate, which numpy writes.")
    with archive.open(member) as stream:
        head = stream.read(LONGEST_HEADER)
        header = read_header(head)
        check_size(header.shape, limit)
        return read_array(head + stream.read(max(header.end - len(head), 0)), header, limit)
