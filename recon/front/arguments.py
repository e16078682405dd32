"""The arguments of :func:`recon.reconstruct`, refused by name where they are of another kind."""

import functools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from recon.errors import ReconError, UsageError

Test = Callable[[Any], bool]
Given = ParamSpec("Given")
Found = TypeVar("Found")

_OPTION = re.compile(
    r"--(noise|range|iterations|tolerance|photons|water|shift|stepsize|shape|seed|device|method|prior|guide|operator)\b"
    r"( (?:[A-Z]+(?:[:,][A-Z]+)?\b|[0-9][0-9.e+-]*[0-9]|[0-9]|condat_vu\b|cpu\b|cuda\b))?"
)
"""An option of the command line that is an argument here, with its value or the name of one."""


def in_python(remark: str) -> str:
    """Return a remark of the chain with arguments in place of options: ``range=(LO, HI)`` for ``--range LO:HI``."""

    def argument(found: re.Match[str]) -> str:
        name, value = found[1], (found[2] or "").strip()
        if not value:
            return name
        parts = re.split("[:,]", value)
        return f"{name}=({', '.join(parts)})" if len(parts) > 1 else f"{name}={value}"

    return _OPTION.sub(argument, remark)


def errors_in_python(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """Return a function whose errors name its arguments, as :func:`in_python` does, and no options."""

    @functools.wraps(function)
    def wrapped(*arguments: Given.args, **named: Given.kwargs) -> Found:
        try:
            return function(*arguments, **named)
        except ReconError as error:
            error.args = tuple(in_python(each) if isinstance(each, str) else each for each in error.args)
            raise

    return wrapped


def is_number(value: object) -> bool:
    """Return whether a value is a finite real number, and no truth value."""
    return (
        isinstance(value, int | float | np.integer | np.floating)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def is_count(value: object) -> bool:
    """Return whether a value is a whole number of at least 0."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 0


def _is_pair(value: object, test: Test) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(map(test, value))


def _is_noise(value: Any) -> bool:
    return isinstance(value, str) or (is_number(value) and value >= 0)


_EXPECTED: dict[str, tuple[Test, str]] = {
    "noise": (_is_noise, "a standard deviation of at least 0, or one with a unit, such as '12HU'"),
    "guide": (
        lambda value: isinstance(value, np.ndarray | Tensor | str | Path),
        "an image of the size of the result, or the name of its file",
    ),
    "method": (lambda value: isinstance(value, str), "the name of a method"),
    "range": (lambda value: _is_pair(value, is_number), "two numbers, (low, high)"),
    "axes": (lambda value: isinstance(value, str), "a letter of FCHW for each axis"),
    "water": (is_number, "a number in 1/mm"),
    "photons": (is_number, "a number"),
    "shift": (lambda value: value == "auto" or is_number(value), "a number, or 'auto'"),
    "stepsize": (is_number, "a number"),
    "iterations": (is_count, "a whole number"),
    "tolerance": (is_number, "a number"),
    "shape": (lambda value: _is_pair(value, is_count), "two whole numbers, (height, width)"),
    "notify": (callable, "a function of a line"),
    "progress": (callable, "a function of step, budget and distance"),
}


def check_arguments(given: dict[str, Any]) -> None:
    """Refuse arguments of another kind; ``None`` leaves one out.

    Args:
        given: By name.

    Raises:
        UsageError: Which argument is what, and what was expected.
    """
    for name, value in given.items():
        test, expected = _EXPECTED[name]
        if value is not None and not test(value):
            raise UsageError(f"reconstruct: {name}={value!r}; expected {expected}.")


def check_seed_and_device(seed: object, device: object) -> tuple[int, str]:
    """The seed and the device as the configuration takes them.

    Raises:
        UsageError: They are of another kind.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise UsageError(f"reconstruct: seed={seed!r}; expected a whole number of at least 0.")
    if not isinstance(device, str | torch.device):
        raise UsageError(f"reconstruct: device={device!r}; expected 'cpu', 'cuda', 'cuda:N' or 'auto'.")
    return int(seed), str(device)


def check_measurement(given: object) -> None:
    """Refuse what is neither an array nor a tensor with values.

    Raises:
        UsageError: What it is.
    """
    if isinstance(given, np.ma.MaskedArray):
        raise UsageError(
            "the measurement is a masked array; expected one without a mask, as recon.inpaint(mask) takes it."
        )
    if not isinstance(given, np.ndarray | Tensor):
        raise UsageError(f"the measurement is a {type(given).__name__}; expected a NumPy array or a tensor.")
    if isinstance(given, Tensor) and (given.layout != torch.strided or given.dtype in (torch.bfloat16, torch.float16)):
        kind = "sparse" if given.layout != torch.strided else str(given.dtype)
        raise UsageError(
            f"the measurement is a {kind} tensor; expected a dense one, of floating point at least float32."
        )
    if 0 in given.shape or not given.ndim:
        raise UsageError(f"the measurement has the shape {tuple(given.shape)}; expected at least one pixel.")
