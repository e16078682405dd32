"""Peers that may be missing: a benchmark leaves them out and says so."""

import importlib
import sys
from typing import Any


def optional(module: str, package: str) -> Any:
    """The module, or ``None`` with one line on stderr, which leaves the document of ``--json`` alone."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        print(f"{package} is left out: {error}. To have it beside us: pip install {package}", file=sys.stderr)
        return None
