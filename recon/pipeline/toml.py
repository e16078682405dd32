"""TOML files, read with errors that say what is wrong with them."""

import tomllib
from pathlib import Path

from recon.errors import UsageError


def read_toml(path: Path, kind: str) -> dict[str, object]:
    """The table of a TOML file.

    Args:
        path: The file.
        kind: What the file describes, for the message.

    Raises:
        UsageError: The file is missing, unreadable or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: the {kind} file cannot be read ({error.strerror}).") from error
    except ValueError as error:  # not UTF-8, not TOML, or not a name that a file can have
        raise UsageError(f"{path}: the {kind} file is not valid TOML ({error}).") from error
    except RecursionError as error:
        raise UsageError(f"{path}: the {kind} file is nested too deeply to be a {kind}.") from error
