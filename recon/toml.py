"""TOML files, read with errors that say what is wrong with them."""

import tomllib
from pathlib import Path

from recon.errors import ReconError, UsageError

MOST_BYTES = 2**20
"""Of a file that somebody wrote by hand; more is another kind of file, or an attack."""


def read_toml(path: Path, kind: str, failure: type[ReconError] = UsageError) -> dict[str, object]:
    """The table of a TOML file.

    Args:
        path: The file.
        kind: What the file describes, for the message.
        failure: The class of the error.

    Raises:
        ReconError: Of the class ``failure``: the file is missing, unreadable, too large or not TOML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise failure(f"{path}: the {kind} file cannot be read ({error.strerror}).") from error
    except ValueError as error:  # a null character
        raise failure(f"{str(path)!r}: the {kind} file cannot be read ({error}).") from error
    if len(content) > MOST_BYTES:
        raise failure(f"{path}: the {kind} file has more than {MOST_BYTES} bytes; expected a text of fewer.")
    return parse_toml(content, str(path), kind, failure)


def parse_toml(content: bytes, origin: str, kind: str, failure: type[ReconError] = UsageError) -> dict[str, object]:
    """The table that a text in UTF-8 states, as :func:`read_toml`; an error begins with ``origin``."""
    try:
        return tomllib.loads(content.decode("utf-8"))
    except ValueError as error:  # not UTF-8, or not TOML
        raise failure(f"{origin}: the {kind} file is not valid TOML ({error}).") from error
    except RecursionError as error:
        raise failure(f"{origin}: the {kind} file is nested too deeply to be a {kind}.") from error
