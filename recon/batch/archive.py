"""Contents of a zip archive, its names and sizes checked before anything of it is read."""

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from recon.batch.source import Source
from recon.errors import InputError
from recon.reconstruction.file_names import SUFFIXES

MOST_MEMBERS = 10**6
MOST_BYTES = 2**38
"""Of all members together."""


def is_zip(path: Path, head: bytes) -> bool:
    """Return whether a file is an archive of files: NPZ, which is one of arrays, is none."""
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06")) or path.suffix.lower() in (".npz", *SUFFIXES):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except Exception:  # a damaged one may raise anything
        return path.suffix.lower() == ".zip"
    return path.suffix.lower() == ".zip" or not names or not all(name.endswith(".npy") for name in names)


def members(path: Path) -> Iterator[Source]:
    """The files in an archive, in the order of their names.

    Raises:
        InputError: It is cut off, climbs out of its folder, or is larger than any archive of images.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except OSError as error:
        raise InputError(f"{path}: the archive cannot be read ({error.strerror}).") from None
    except Exception:  # a damaged one may raise anything
        raise InputError(f"{path}: the archive is cut off or damaged; expected a whole zip file.") from None
    _refuse_excess(path, infos)
    for info in sorted(infos, key=lambda info: info.filename):
        yield Source(path, _inside(path, info.filename), info.filename, walked=True)


def _refuse_excess(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    total = sum(info.file_size for info in infos)
    if len(infos) > MOST_MEMBERS or total > MOST_BYTES:
        raise InputError(
            f"{path}: the archive says that it holds {len(infos)} files of {total} bytes together; expected at most "
            f"{MOST_MEMBERS} files and {MOST_BYTES} bytes."
        )


def _inside(path: Path, name: str) -> PurePosixPath:
    """A member's name, which becomes the name of an output."""
    relative = PurePosixPath(name.replace("\\", "/"))
    if relative.is_absolute() or ".." in relative.parts or ":" in relative.parts[0] or "\0" in name:
        raise InputError(
            f"{path}: the archive holds a name that leads out of its folder; expected names inside of it, because "
            "outputs are named like inputs. It may be made to overwrite files."
        )
    return relative
