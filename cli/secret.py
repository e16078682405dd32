"""The secret of de-identification: a file with random bytes, which is made when it is first needed."""

import os
import secrets
from pathlib import Path

from recon.errors import InputError, OutputError, UsageError

_BYTES = 32
_LONGEST = 4096


def read_or_make(file: Path | None) -> bytes:
    """The secret in a file.

    Args:
        file: The file; ``None``: ``secret`` in the data folder of recon.

    Raises:
        UsageError: What de-identifies is not installed.
        InputError: The file cannot be read, or is too short to be secret.
        OutputError: It cannot be made.
    """
    from recon.io.dicom.deidentify import PACKAGE, is_installed

    if not is_installed():
        raise UsageError(f"--deidentify needs the package {PACKAGE}; expected recon-imaging[deidentify].")
    path = file or _default()
    try:
        return _read(path)
    except FileNotFoundError:
        return _make(path)
    except OSError as error:
        raise InputError(f"{path}: the secret cannot be read ({error.strerror}).") from None


def _default() -> Path:
    folder = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(folder) / "recon" / "secret"


def _read(path: Path) -> bytes:
    with path.open("rb") as handle:
        found = handle.read(_LONGEST + 1)
    if not _BYTES // 2 <= len(found) <= _LONGEST:
        raise InputError(
            f"{path}: the secret has {len(found)} bytes; expected {_BYTES // 2} to {_LONGEST}, which nobody can guess."
        )
    return found


def _make(path: Path) -> bytes:
    made = secrets.token_bytes(_BYTES)
    try:
        if path == _default():
            path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(made)
    except FileExistsError:  # another run was quicker
        return _read(path)
    except OSError as error:
        raise OutputError(f"{path}: the secret cannot be made ({error.strerror}).") from None
    return made
