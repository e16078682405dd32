"""Suggestions of names, in the words that all errors share."""

import difflib
from collections.abc import Iterable

from recon.errors import UsageError


def unknown_name(given: object, known: Iterable[str], what: str) -> UsageError:
    """The error for a name that is not among ``known``, with the nearest match and the whole list."""
    return UsageError(f"There is no {what} {given!r}; {suggestion(str(given), known)}.")


def suggestion(given: str, known: Iterable[str]) -> str:
    """The nearest of the ``known`` names, and all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known: {', '.join(names) or 'none'}"
