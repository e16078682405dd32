"""Output: remarks and a progress line on stderr, results on stdout."""

import json
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

REDRAW_SECONDS = 0.1


@dataclass
class Settings:
    """The options -q, -v and --debug, wherever they stand on the command line."""

    verbosity: int = 0
    debug: bool = False


settings = Settings()


def complain(line: str) -> None:
    """Print one line on stderr, also with -q; characters that are not printable become question marks."""
    click.echo("".join(letter if letter.isprintable() else "?" for letter in f"recon: {line}"), err=True)


def say(line: str) -> None:
    """Print one line on stderr, unless -q is given."""
    if settings.verbosity >= 0:
        complain(line)


def detail(line: str) -> None:
    """Print one line on stderr, with -v only."""
    if settings.verbosity > 0:
        complain(line)


def once() -> Callable[[str], None]:
    """Return a :func:`say` that prints each line once, for the inputs of a batch."""
    said: set[str] = set()

    def say_once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    return say_once


def result(text: str) -> None:
    """Print a result on stdout."""
    click.echo(text)


def result_json(document: object) -> None:
    """Print a result as one JSON document on stdout."""
    click.echo(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first one to the left, numbers to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]).rstrip()
        for line in lines
    )


def warnings_as_lines() -> None:
    """Python's warnings become lines like any other, without the source line that raised them."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        say(str(message))

    warnings.showwarning = show  # type: ignore[assignment]


class ProgressLine:
    """A line on a terminal that is redrawn at most ten times a second; nothing where stderr is no terminal."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.shown = False
        self.last = 0.0
        self.wanted = settings.verbosity >= 0 and sys.stderr.isatty()

    def update(self, step: int, steps: int, distance: float) -> None:
        near = f", about {distance:.1e} of the image from the limit" if distance < 1 else ""
        self.show(f"step {step} of at most {steps}{near}")

    def show(self, what: str) -> None:
        now = time.monotonic()
        if not self.wanted or now - self.last < REDRAW_SECONDS:
            return
        self.last, self.shown = now, True
        text = f"{self.label}: {what}"
        width = shutil.get_terminal_size().columns - 1
        click.echo(f"\r\033[K{text[:width]}", err=True, nl=False)

    def close(self) -> None:
        if self.shown:
            click.echo("\r\033[K", err=True, nl=False)
            self.shown = False
