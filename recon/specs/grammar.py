"""Grammar of the specifications of operators and priors.

Grammar (``SPEC`` of the command line)::

    SPEC  = NAME | NAME ":" ITEM *( "," ITEM ) | FILE.toml | FOLDER
    ITEM  = KEY "=" VALUE | VALUE          (a bare VALUE only as the first item: ct:geometry.toml, python:FILE.py:make)
    VALUE = any characters but a comma | '"' any characters, a double quote written twice '"'

So a value is read literally, colons, equal signs, blanks inside it and Windows' backslashes included; only one that
holds a comma, starts with a double quote, or (as the first item) looks like ``key=...`` is put in double quotes:
``blur:psf="a,b.npy"``. A head of one letter before a colon is a Windows drive, not a name: ``C:\\blur.toml`` is a file.

A TOML file says the same, one key a line: ``name = "blur"``, ``psf = "k.npy"``; a bare value has the key ``value``.
File names in it are relative to the folder of the TOML file. A folder is the specification ``folder:PATH``.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recon._toml import read_toml
from recon.errors import UsageError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]+")
_KEY = r"\s*(?P<key>[A-Za-z_][A-Za-z0-9_-]*)\s*="
_ITEM = re.compile(rf'(?:{_KEY})?+\s*+(?:"(?P<quoted>(?:[^"]|"")*)"\s*|(?!")(?P<plain>[^,]*))(?P<comma>,|\Z)')


@dataclass(frozen=True)
class Spec:
    """A name with its bare value and its options, all of them still text.

    Attributes:
        name: What is meant: ``blur``, ``tv``, ``python``.
        options: Key to text, in the user's order.
        value: The bare value (``ct:geometry.toml``), or ``None``.
        folder: What relative file names in it are relative to; empty for the working directory.
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    value: str | None = None
    folder: str = ""

    def __str__(self) -> str:
        """The one line that :func:`parse_spec` reads back to this specification."""
        items = [] if self.value is None else [_quoted(self.value, bare=True)]
        items += [f"{key}={_quoted(text)}" for key, text in self.options.items()]
        return f"{self.name}:{','.join(items)}" if items else self.name

    def path(self, text: str) -> Path:
        """The file that ``text`` names in this specification."""
        return _path(self.folder, text)


def parse_spec(text: str, kind: str = "specification", folder: str = "") -> Spec:
    """Read a ``SPEC``; see the grammar above.

    Args:
        text: What the user wrote.
        kind: "operator" or "prior": what an error calls it.
        folder: What relative file names are relative to.

    Raises:
        UsageError: The text does not follow the grammar, or the TOML file cannot be read.
    """
    stripped = text.strip()
    if not stripped:
        raise UsageError(f"The {kind} is empty; expected NAME, NAME:KEY=VALUE,KEY=VALUE or FILE.toml.")
    if "\0" in stripped:
        raise UsageError(f"The {kind} {text!r} holds a null character, which no name and no file can have.")
    head, colon, body = stripped.partition(":")
    if not _NAME.fullmatch(head):
        return _from_file(stripped, kind, folder)
    if not colon:
        return Spec(head, folder=folder)
    return _from_items(stripped, head, body, folder)


def spec_from_table(table: Mapping[str, object], kind: str, folder: str = "") -> Spec:
    """The specification that a TOML table states: ``name``, and the options as further keys.

    Raises:
        UsageError: No name, or an option that is neither text, number nor truth value.
    """
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f'The {kind} table has name = {name!r}; expected a name in quotes, as in name = "blur".')
    texts = {key: _text_of(value, kind, key) for key, value in table.items() if key != "name"}
    return Spec(name, texts, texts.pop("value", None), folder)


def _from_file(text: str, kind: str, folder: str) -> Spec:
    path = _path(folder, text)
    if os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises on a name that is too long
        return Spec("folder", {}, text, folder)
    if not text.lower().endswith(".toml"):
        raise UsageError(f"The {kind} {text!r} is neither NAME, NAME:KEY=VALUE,KEY=VALUE, a folder nor a TOML file.")
    return spec_from_table(read_toml(path, kind), kind, str(path.parent))


def _path(folder: str, text: str) -> Path:
    return Path(folder) / os.path.expanduser(text)  # noqa: PTH111  Path.expanduser raises on a user it does not know


def _from_items(text: str, name: str, body: str, folder: str) -> Spec:
    value: str | None = None
    options: dict[str, str] = {}
    position, more = 0, True
    while more:
        match = _ITEM.match(body, position)
        if match is None:
            raise UsageError(
                f"{text}: the double quotes in {body[position:].strip()!r} do not close before a comma or the end; "
                "inside quotes a double quote is written twice."
            )
        key, quoted, plain = match["key"], match["quoted"], match["plain"]
        item = plain.strip() if quoted is None else quoted.replace('""', '"')
        if quoted is None and not item:
            after = key or (name if position == 0 else ",")
            raise UsageError(f"{text}: {after!r} is followed by nothing; expected a value there.")
        if key is None and position > 0:
            raise UsageError(f"{text}: {item!r} is not KEY=VALUE; a value that holds a comma is put in double quotes.")
        if key is None:
            value = item
        elif key in options:
            raise UsageError(f"{text}: the key {key!r} is given twice; expected it once, because only one can hold.")
        else:
            options[key] = item
        position, more = match.end(), bool(match["comma"])
    return Spec(name, options, value, folder)


def _quoted(value: str, bare: bool = False) -> str:
    plain = value == value.strip() and value and "," not in value and not value.startswith('"')
    if plain and not (bare and re.match(_KEY, value)):
        return value
    return '"' + value.replace('"', '""') + '"'


def _text_of(value: object, kind: str, key: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise UsageError(f"The {kind} table has {key} = {value!r}; expected text, a number, true or false.")


def portable(path: Path, folder: Path) -> str:
    """``path`` relative to ``folder`` with forward slashes; absolute where they share no root (Windows drives)."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return path.resolve().as_posix()
