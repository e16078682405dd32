"""The options of a specification, typed and range-checked; every error repeats the user's own text."""

import math
from collections.abc import Sequence
from pathlib import Path

from recon._suggest import suggestion
from recon.errors import UsageError
from recon.specs.grammar import Spec


def expect_keys(spec: Spec, known: Sequence[str], *, value: str | None = None) -> None:
    """Refuse keys that are not ``known``, and a bare value where none is taken or none was given.

    Args:
        spec: The specification.
        known: The keys it may have.
        value: What the bare value is (``"FILE.toml"``); ``None`` where there is none.

    Raises:
        UsageError: A key is unknown, or the bare value is missing or too much.
    """
    for key in spec.options:
        if key not in known:
            if not known:
                raise UsageError(f"{spec}: {key!r} is not an option of {spec.name!r}, which takes none.")
            raise UsageError(f"{spec}: {spec.name!r} has no option {key!r}; {suggestion(key, known)}.")
    if value is None and spec.value is not None:
        options = f"options as KEY=VALUE, with the keys {', '.join(known)}" if known else "no options"
        raise UsageError(f"{spec}: {spec.value!r} is a bare value; {spec.name!r} takes {options}.")
    if value is not None and not spec.value:
        raise UsageError(f"{spec}: {spec.name!r} needs {value}; expected {spec.name}:{value}.")


def one_of(spec: Spec, keys: Sequence[str]) -> str:
    """The only key among ``keys`` that the specification has.

    Raises:
        UsageError: It has none of them, or several.
    """
    given = [key for key in keys if key in spec.options]
    if len(given) != 1:
        says = f"{' and '.join(given)} are given" if given else "none is given"
        raise UsageError(f"{spec}: {spec.name!r} needs exactly one of {', '.join(keys)}; {says}.")
    return given[0]


def number(spec: Spec, key: str, default: float | None = None, *, low: float, high: float = math.inf) -> float:
    """The finite number under ``key``, in [low, high].

    Raises:
        UsageError: It is missing without a default, not a number, or outside its range.
    """
    text = _text(spec, key, default)
    if isinstance(text, float):
        return text
    parsed = _parsed(text)
    if not low <= parsed <= high or math.isinf(parsed):
        raise UsageError(f"{spec}: {key} is {text!r}; expected a number {_between(low, high)}.")
    return parsed


def positive(spec: Spec, key: str, default: float | None = None, *, high: float = math.inf) -> float:
    """The finite number under ``key``, above zero and at most ``high``.

    Raises:
        UsageError: It is missing without a default, not a number, or outside its range.
    """
    text = _text(spec, key, default)
    parsed = _parsed(text)
    if not 0 < parsed <= high or math.isinf(parsed):
        most = "" if math.isinf(high) else f" and at most {high:g}"
        raise UsageError(f"{spec}: {key} is {text!r}; expected a finite number above 0{most}.")
    return parsed


def integer(spec: Spec, key: str, default: int | None = None, *, low: int, high: int) -> int:
    """The whole number under ``key``, in [low, high].

    Raises:
        UsageError: It is missing without a default, not a whole number, or outside its range.
    """
    text = _text(spec, key, None if default is None else float(default))
    if isinstance(text, float):
        return int(text)
    # isdecimal and the length keep int() from reading "1_0", other scripts' digits or a million digits
    digits = text[1:] if text[:1] in "+-" else text
    parsed = int(text) if digits.isascii() and digits.isdecimal() and len(digits) < 19 else None
    if parsed is None or not low <= parsed <= high:
        raise UsageError(f"{spec}: {key} is {text!r}; expected a whole number {_between(low, high)}.")
    return parsed


def choice(spec: Spec, key: str, choices: Sequence[str], default: str) -> str:
    """The word under ``key``, one of ``choices``.

    Raises:
        UsageError: It is another word.
    """
    text = spec.options.get(key, default)
    if text not in choices:
        raise UsageError(f"{spec}: {key} is {text!r}; expected {' or '.join(choices)}.")
    return text


def truth(spec: Spec, key: str, default: bool) -> bool:
    """Return whether ``key`` is true.

    Raises:
        UsageError: The text is neither true nor false.
    """
    return choice(spec, key, ("true", "false"), "true" if default else "false") == "true"


def file(spec: Spec, key: str) -> Path:
    """The file named under ``key``; whether it is there is seen when it is read.

    Raises:
        UsageError: The key is missing or its value is empty.
    """
    text = _text(spec, key, None)
    if not text or isinstance(text, float):
        raise UsageError(f"{spec}: {key} is empty; expected the name of a file.")
    return spec.path(text)


def _text(spec: Spec, key: str, default: float | None) -> str | float:
    if key in spec.options:
        return spec.options[key]
    if default is None:
        raise UsageError(f"{spec}: {spec.name!r} needs {key}=...; expected it, because it has no default.")
    return default


def _parsed(text: str | float) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _between(low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return "that is finite"
    return f"of at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"


def bounds(spec: Spec) -> tuple[float, float] | None:
    """``low`` and ``high``, infinite where one is left out; ``None`` where both are."""
    if not {"low", "high"} & spec.options.keys():
        return None
    low = number(spec, "low", -math.inf, low=-1e6, high=1e6)
    high = number(spec, "high", math.inf, low=-1e6, high=1e6)
    if not low < high:
        raise UsageError(f"{spec}: low is {low:g} and high is {high:g}; expected low below high.")
    return low, high
