"""HTML from values that a stranger wrote: every text is escaped, every number is one."""

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence

LONGEST = 600
"""Characters of a text of a record that are shown."""

MANY = 200
"""Entries of a list of a record that are shown."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(value: object, longest: int = LONGEST) -> Markup:
    """A value as HTML text, also in an attribute: no markup, nothing unprintable, not longer than ``longest``."""
    if isinstance(value, Markup):
        return value
    text = html.escape(plain(value, longest), quote=True)
    if isinstance(value, str) and text:  # a blank at an end separates it from its neighbour
        text = f"{' ' * value[0].isspace()}{text}{' ' * value[-1].isspace()}"
    return Markup(text)


def plain(value: object, longest: int = LONGEST) -> str:
    """A value as one line of text; what is not printable, such as half a character, becomes a question mark."""
    if isinstance(value, str):
        text = value
    elif value is None:
        text = ""
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    else:
        text = _dumped(value)
    text = " ".join(text[: 4 * longest].split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _dumped(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return "(not shown)"


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """An element; attributes that are ``None`` are left out, ``_`` becomes ``-``, and one at the end is dropped."""
    return Markup(f"<{name}{_attributes(attributes)}>{''.join(map(escaped, content))}</{name}>")


def void(name: str, /, **attributes: object) -> Markup:
    """An element without content, such as ``input``."""
    return Markup(f"<{name}{_attributes(attributes)}>")


def _attributes(attributes: Mapping[str, object]) -> str:
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return "".join(
        f" {key}" if value is True else f' {key}="{escaped(value)}"' for key, value in pairs if value is not None
    )


def joined(parts: Iterable[object]) -> Markup:
    """Parts one after the other."""
    return Markup("".join(map(escaped, parts)))


def table(
    header: Sequence[object], rows: Iterable[Sequence[object]], caption: str, numeric: Sequence[int] = ()
) -> Markup:
    """A table that scrolls sideways where it is too wide; ``numeric`` columns are to the right."""
    kind = dict.fromkeys(numeric, "number")
    head = tag("tr", *(tag("th", cell, scope="col", class_=kind.get(at)) for at, cell in enumerate(header)))
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row", class_=kind.get(0)),
            *(tag("td", cell, class_=kind.get(at)) for at, cell in enumerate(row[1:], 1)),
        )
        for row in rows
    ]
    whole = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return tag("div", whole, class_="wide", tabindex="0", role="region", aria_label=caption)


def definitions(pairs: Iterable[tuple[object, object]]) -> Markup:
    """A list of names with their values."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs))


def number(value: object) -> float | None:
    """A number of a record, if it is a finite one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def short(value: float | None, digits: int = 3) -> str:
    """A number for a person; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    if abs(value) < 1:
        return f"{value:#.{digits}g}".replace("-", "−")
    return f"{value:.{max(0, digits - len(str(int(abs(value)))))}f}".replace("-", "−")


def general(value: float | None, digits: int = 5) -> str:
    """A number for a person, without zeros at its end."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}g}".replace("-", "−")


def mapping(value: object) -> Mapping[str, object]:
    """A table of a record; an empty one where it is something else."""
    return value if isinstance(value, dict) else {}


def listed(value: object) -> list[object]:
    """A list of a record, its first entries; an empty one where it is something else."""
    return value[:MANY] if isinstance(value, list) else []


def for_script(value: object) -> Markup:
    """Plain values as JSON in a script element, in which nothing ends the element or begins a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
