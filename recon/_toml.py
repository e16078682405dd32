"""TOML files, read with errors that say what is wrong with them."""

import json
import math
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recon._suggest import suggestion
from recon.errors import ReconError, UsageError

MOST_BYTES = 2**20
"""Of a file that somebody wrote by hand; more is another kind of file, or an attack."""

_WHOLE = 2**53
"""The largest whole number below which every one has a float."""

_SHOWN = 60
"""Letters of a value in an error."""


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


def read_fields(
    kind: type, table: Mapping[str, object], origin: str, failure: type[ReconError] = UsageError, largest: int = 2**53
) -> dict[str, Any]:
    """The values that a table states for the fields of a dataclass, each of the field's type.

    Args:
        kind: The dataclass; its fields are bool, int, float, str, or tuples of these.
        table: Name to value; a field that is not stated is left out.
        origin: How an error begins.
        failure: The class of the error.
        largest: Of a whole number, and of the length of a list.

    Raises:
        ReconError: Of the class ``failure``: a name is unknown, or a value of another type or too large.
    """
    hints = typing.get_type_hints(kind)
    for name in sorted(table.keys() - hints.keys()):
        raise failure(f"{origin}: the key {name!r} is unknown; {suggestion(name, hints)}.")
    return {name: _typed(name, value, hints[name], (origin, failure, largest)) for name, value in table.items()}


def _typed(name: str, value: object, hint: object, where: tuple[str, type[ReconError], int]) -> object:
    origin, failure, largest = where
    items = typing.get_args(hint)
    if items:
        length = None if items[-1] is Ellipsis else len(items)
        if isinstance(value, list) and len(value) <= largest and (length is None or len(value) == length):
            return tuple(_typed(name, item, items[0], where) for item in value)
    elif hint is float:
        if isinstance(value, float) and math.isfinite(value):
            return value
        if type(value) is int and abs(value) <= _WHOLE:  # larger ones have no float, or another one
            return float(value)
    elif type(value) is hint and not (isinstance(value, int) and abs(value) > largest):
        return value
    raise failure(f"{origin}: {name} = {_shown(value)}; expected {_wanted(hint, largest)}.")


def _wanted(hint: object, largest: int) -> str:
    """Return in words what a field takes."""
    items = typing.get_args(hint)
    if not items:
        number = f"a whole number of at most {largest}"
        return {int: number, float: "a number", bool: "true or false", str: "text in quotes"}[typing.cast(type, hint)]
    kind = {int: "whole numbers", float: "numbers", str: "texts"}[items[0]]
    return f"a list of {kind}" if items[-1] is Ellipsis else f"a list of {len(items)} {kind}"


def _shown(value: object) -> str:
    """A value that was read, as its file has it, shortened."""
    text = json.dumps(value, default=str) if isinstance(value, str | bool | list | dict) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}.."


def write_value(value: object) -> str:
    """A value of a field as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(write_value(item) for item in value)}]"
    return json.dumps(value) if isinstance(value, str) else repr(value)
