"""A file, or a member of a zip archive, whose content is read as a whole."""

import functools
import hashlib
import os
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recon.errors import InputError
from recon.io.content import LONGEST_MARK, MAX_BYTES

LARGEST_RATIO = 500
"""By which the members of an archive may be compressed before it is taken for a bomb; images of one value have more."""

_SMALL = 2**24
"""Bytes up to which any ratio will do."""


@dataclass(frozen=True)
class Source:
    """The place of an input's bytes.

    Attributes:
        path: The file, or the archive.
        relative: The name below the folder, archive or pattern that the user gave.
        member: The name in the archive; ``None`` of a file.
        walked: Whether it was found, and not named.
    """

    path: Path
    relative: PurePosixPath
    member: str | None = None
    walked: bool = False

    @property
    def shown(self) -> str:
        """Its name for who asked to see names."""
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"

    def head(self) -> bytes:
        """Its beginning, as much as tells its kind.

        Raises:
            InputError: It cannot be read; the sentence does not name it.
        """
        return self._read(LONGEST_MARK)

    def content(self) -> bytes:
        """The whole.

        Raises:
            InputError: It cannot be read; the sentence does not name it.
        """
        return self._read(None)

    def _read(self, count: int | None) -> bytes:
        try:
            return self._of_file(count) if self.member is None else self._of_member(self.member, count)
        except InputError:
            raise
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno else "it is damaged"
            raise InputError(f"the file cannot be read ({reason}).") from None
        except MemoryError:
            raise InputError("there is not enough memory to read it.") from None
        except Exception:  # a damaged archive may raise anything
            if self.member is None:
                raise
            raise InputError("the member of the archive cannot be read: it is cut off, damaged or encrypted.") from None

    def _of_file(self, count: int | None) -> bytes:
        # without O_NONBLOCK, opening a named pipe waits for a writer
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(descriptor, "rb") as handle:
            found = os.fstat(handle.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise InputError("it is a folder, a pipe, a device or a socket; expected a regular file.")
            if count is None:
                _bound(found.st_size)
            return handle.read(found.st_size if count is None else count)

    def _of_member(self, member: str, count: int | None) -> bytes:
        archive = _archive(self.path, self.path.stat().st_mtime_ns)
        found = archive.getinfo(member)
        if count is None:
            _bound(found.file_size)
            refuse_bomb(found)
        with archive.open(found) as handle:
            return handle.read() if count is None else handle.read(count)


def refuse_bomb(member: zipfile.ZipInfo) -> None:
    """Refuse a member of an archive that is compressed more than images are.

    Raises:
        InputError: It is.
    """
    if member.file_size > _SMALL and member.file_size > LARGEST_RATIO * max(member.compress_size, 1):
        raise InputError(
            f"a member of the archive becomes {member.file_size} bytes of {member.compress_size}; expected at most "
            f"{LARGEST_RATIO} times as many, because such an archive is made to fill the memory."
        )


def _bound(size: int) -> None:
    if size > MAX_BYTES:
        raise InputError(f"the file has {size} bytes; expected at most {MAX_BYTES}, to bound the memory.")


@functools.lru_cache(maxsize=4)
def _archive(path: Path, _changed: int) -> zipfile.ZipFile:
    """An archive, whose directory is read once and not for each of its members."""
    return zipfile.ZipFile(path)


def sha256(data: bytes) -> str:
    """The hash of a content."""
    return hashlib.sha256(data).hexdigest()
