"""``python:FILE.py:CALLABLE``: the user's own operator or prior."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recon.errors import UsageError
from recon.pipeline import options
from recon.pipeline.spec import Spec


def load_callable(spec: Spec) -> tuple[Path, Callable[..., Any]]:
    """The file and the callable that ``python:FILE.py:CALLABLE`` names; the file is executed.

    Raises:
        UsageError: The file cannot be read or run, or has no such callable.
    """
    options.expect_keys(spec, (), value="FILE.py:CALLABLE")
    file, colon, name = (spec.value or "").rpartition(":")
    if not colon or not file or not name.isidentifier():
        raise UsageError(f"{spec}: expected python:FILE.py:CALLABLE, with the name of a function or class at the end.")
    path = spec.path(file)
    if not os.path.isfile(path):  # noqa: PTH113  Path.is_file raises on a name that is too long
        raise UsageError(f"{spec}: there is no file {path}; expected a Python file.")
    module_spec = importlib.util.spec_from_file_location(f"recon_user_{path.stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise UsageError(f"{spec}: {path} is not a Python file; expected a name that ends in .py.")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:  # the user's own code may raise anything
        raise UsageError(f"{spec}: running {path} raised {error!r}.") from error
    made = getattr(module, name, None)
    if not callable(made):
        found = ", ".join(sorted(key for key, value in vars(module).items() if callable(value) and key[0] != "_"))
        raise UsageError(f"{spec}: {path} has no callable {name!r}; it has: {found or 'none'}.")
    return path, made
