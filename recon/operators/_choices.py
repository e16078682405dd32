"""The refusal of a name that is not known, with the nearest one that is."""

import difflib
from collections.abc import Iterable

from recon.errors import UsageError


def unknown(what: str, given: object, known: Iterable[str]) -> UsageError:
    """The error for a name that is not among ``known``: the nearest of them, and all.

    Args:
        what: What the name is of, as in ``surrogate``.
        given: The name.
        known: Those that exist.
    """
    names = list(known)
    near = difflib.get_close_matches(str(given), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"There is no {what} {given!r}; {hint}known: {', '.join(names) or 'none'}.")
