"""Docstrings as reStructuredText, where a norm is written ||A|| and a difference x_k."""

import importlib
import re
from typing import Any

from sphinx.application import Sphinx

_LITERAL = re.compile(r"(``.+?``|:[a-z:]+:`[^`]+`|`[^`]+`_)")


def _escape(line: str) -> str:
    """Escape bars and trailing underscores outside of literals and roles, so that they begin no markup."""
    parts = _LITERAL.split(line)
    for number in range(0, len(parts), 2):
        parts[number] = re.sub(r"(?<!\\)\|", r"\\|", parts[number])
        parts[number] = re.sub(r"(?<=\w)_(?=\W|$)", r"\\_", parts[number])
        parts[number] = re.sub(r"(?<![\w*])\*(?=[\s)]|\w+[\s),])", r"\\*", parts[number])
    return "".join(parts)


def _process(_app: Sphinx, _kind: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = [_escape(line) for line in lines]


def _click(_app: Sphinx, _context: Any, lines: list[str]) -> None:
    lines[:] = [line.replace("*", r"\*") for line in lines]


def _resolve(_app: Sphinx, _env: Any, node: Any, content: Any) -> Any:
    """A name that exists, but has no entry, is no dead reference: it is shown without a link."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].lstrip(".")
    documented = re.search(r"docstring of ([\w.]+)", node.source or content.source or "")
    module = documented[1] if documented else node.get("py:module") or ""
    parts = module.split(".") if module else []
    prefixes = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    for name in (target, *(f"{prefix}.{target}" for prefix in prefixes)):
        if _exists(name):
            return content
    return None


def _exists(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            fields = getattr(found, "__dataclass_fields__", {})
            if not hasattr(found, part) and part not in fields:
                return False
            found = getattr(found, part, None)
        return True
    return False


def _skip(_app: Sphinx, _kind: str, name: str, _thing: Any, _skip: bool, _options: Any) -> bool | None:
    """The functions of theorems have pages of their own."""
    return True if name.startswith("certify_") else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the step, before that of napoleon."""
    app.connect("autodoc-process-docstring", _process, priority=100)
    app.connect("autodoc-skip-member", _skip)
    app.connect("missing-reference", _resolve)
    app.connect("sphinx-click-process-description", _click)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
