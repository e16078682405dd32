"""Outputs that are there whole or not at all."""

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from recon.errors import OutputError

_TEMPORARY = re.compile(r"\.recon-[0-9a-f]{16}(\..*)?")
_ENDING_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENODEV)
_LONGEST_SUFFIX = 16
STORE = ".zarr"
"""The suffix of a folder that is one output."""

_MARKS = ("zarr.json", ".zgroup", ".zarray")
_READ_BY_NAME = (".dcm", ".dicom", ".ima", "", ".json")
"""Suffixes of files that programs send or read when they are told to take a whole folder."""


def check_output(path: str | Path, *, overwrite: bool = False, inputs: Iterable[str | Path] = ()) -> Path:
    """Say now, before any work is done, whether ``path`` may be written; return it with its links followed.

    Raises :class:`OutputError` when the folder is missing or not writable, when the file exists and
    ``overwrite`` is false, when it is not a regular file, and when it is one of the ``inputs``, with or
    without ``overwrite``, because a measurement is never replaced by what was made of it.
    """
    given = Path(path)
    try:
        target = given.resolve()
        folder = target.parent
        if not given.name or (target.is_dir() and not (given.suffix.lower() == STORE and is_store(target))):
            raise OutputError(f"{given}: the output is a folder; expected the name of a file.")
        if not folder.exists():
            raise OutputError(f"{given}: there is no folder {given.parent} to write in; create it first.")
        if not folder.is_dir():
            raise OutputError(f"{given}: {given.parent} is not a folder, so nothing can be written in it.")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"{given}: the folder {given.parent} is not writable.")
        if any(_same_file(target, Path(other)) for other in inputs):
            raise OutputError(
                f"{given}: the output is one of the inputs; expected another name, because inputs are kept."
            )
        if target.exists():
            if not (stat.S_ISREG(target.stat().st_mode) or is_store(target)):
                raise OutputError(f"{given}: the output is not a regular file, so it cannot be replaced.")
            if not overwrite:
                raise OutputError(f"{given}: the file exists; expected a new name, or an explicit overwrite.")
    except (OSError, ValueError, RuntimeError) as error:
        raise OutputError(f"{_printable(given)}: the output cannot be written ({_reason(error)}).") from error
    return target


@contextlib.contextmanager
def replacing(path: str | Path, *, overwrite: bool = False, inputs: Iterable[str | Path] = ()) -> Iterator[Path]:
    """Yield a temporary file beside ``path`` that takes its place, whole and on disk, when the block ends well.

    The temporary name keeps the suffix of ``path``, but for DICOM and JSON: unfinished files must not be sent or read
    with the folder in which a killed process left them (:func:`remove_abandoned` removes those). If the block raises,
    the temporary file is removed and ``path`` is as it was. An ``OSError`` in the block (a full disk) becomes an
    :class:`OutputError`. Without ``overwrite``, a file that appeared under ``path`` in the meantime is not replaced
    either.
    """
    target = check_output(path, overwrite=overwrite, inputs=inputs)
    suffix = ".part" if target.suffix.lower() in _READ_BY_NAME else "".join(target.suffixes[-2:])[-_LONGEST_SUFFIX:]
    suffix = suffix if suffix.startswith(".") else target.suffix
    suffix = suffix if len(suffix) <= _LONGEST_SUFFIX else ".part"  # the name must not be longer than a name may be
    temporary = target.with_name(f".recon-{secrets.token_hex(8)}{suffix}")
    try:
        with _as_output_error(path):
            # created by hand, not by tempfile, so that the user's umask decides who may read the output
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temporary
            _flush(temporary)
            _rename(temporary, target, overwrite)
            _flush(target.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def would_end_all(error: OutputError) -> bool:
    """Return whether every other output would fail as this one did, as on a full disk."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in _ENDING_ALL


def is_store(path: str | Path) -> bool:
    """Return whether a path is a folder that holds a Zarr store."""
    return any(Path(path, mark).is_file() for mark in _MARKS)


@contextlib.contextmanager
def replacing_folder(path: str | Path, *, overwrite: bool = False, inputs: Iterable[str | Path] = ()) -> Iterator[Path]:
    """Yield a new folder beside ``path`` that takes its place when the block ends well; see :func:`replacing`.

    A store that is there is moved aside first, and removed last.
    """
    target = check_output(path, overwrite=overwrite, inputs=inputs)
    temporary = target.with_name(f".recon-{secrets.token_hex(8)}{STORE}")
    old = target.with_name(f".recon-{secrets.token_hex(8)}{STORE}")
    try:
        with _as_output_error(path):
            temporary.mkdir()
            yield temporary
            if target.exists():
                if not overwrite:
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                target.rename(old)
            temporary.rename(target)
            _flush(target.parent)
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _as_output_error(path: str | Path) -> Iterator[None]:
    """Raise an ``OSError`` of the block as an :class:`OutputError` of ``path``."""
    try:
        yield
    except FileExistsError as error:
        raise OutputError(f"{path}: the file exists; expected a new name, or an explicit overwrite.") from error
    except OSError as error:
        raise OutputError(
            f"{path}: the output could not be written ({_reason(error)}); nothing was left behind."
        ) from error


def remove_abandoned(folder: Path) -> int:
    """Remove the temporary files that killed processes left in a folder; return how many.

    The caller knows that no other process is writing there.
    """
    found = [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name) and not path.is_symlink()]
    found = [path for path in found if path.is_file() or path.suffix == STORE]
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(found)


def _rename(temporary: Path, target: Path, overwrite: bool) -> None:
    if not overwrite:
        try:
            os.link(temporary, target)  # unlike rename, it fails where the name has been taken meanwhile
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if target.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        else:
            return
    temporary.replace(target)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # some file systems refuse it for folders
            raise
    finally:
        os.close(descriptor)


def _same_file(target: Path, other: Path) -> bool:
    try:
        return target.samefile(other)
    except OSError:
        return False


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    if isinstance(error, OSError):  # numpy says how much it wrote, not why it stopped
        return "it is incomplete: the disk may be full"
    return str(error) or type(error).__name__


def _printable(path: Path) -> str:
    return str(path).encode("ascii", "backslashreplace").decode().replace("\x00", "\\0")
