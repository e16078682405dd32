"""Options that several sub-commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from . import terminal

Command = TypeVar("Command", bound=Callable[..., Any])


class _Number(click.ParamType):
    """A number, refused in one sentence with the user's own text."""

    def __init__(self, kind: Callable[[str], float], name: str, example: str) -> None:
        self.kind, self.name, self.example = kind, name, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.kind(value)
        except ValueError:
            what = "a number" if param is None else str(param.name)
            raise click.UsageError(f"{what} is {value!r}; expected {self.name}, as in {self.example}.", ctx) from None


NUMBER = _Number(float, "a number", "0.5 or 1e-3")
WHOLE_NUMBER = _Number(int, "a whole number", "500")


def _set_debug(_context: click.Context, _option: click.Parameter, value: bool) -> None:
    terminal.settings.debug |= value


def _quieter(_context: click.Context, _option: click.Parameter, value: bool) -> None:
    terminal.settings.verbosity -= value


def _louder(_context: click.Context, _option: click.Parameter, value: int) -> None:
    terminal.settings.verbosity += value


def debug_option(command: Command) -> Command:
    """Add the option ``--debug``."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_set_debug,
        help="Print the traceback of an error.",
    )(command)


def threads_option(command: Command) -> Command:
    """Add ``--jobs`` of commands whose threads share this process."""
    return click.option(
        "--jobs",
        type=click.IntRange(1),
        metavar="N",
        help="Threads that work side by side; the result is the same for any number.  [default: one for each core]",
    )(command)


def config_option(command: Command) -> Command:
    """Add ``--config``, whose options the command line goes before."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        metavar="FILE.toml",
        help="Read options from a TOML file; the command line goes before it.",
    )(command)


def talk_options(command: Command) -> Command:
    """Add the options ``-q``, ``-v`` and ``--debug``."""
    remarks = "Print results and errors only."
    quiet = click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_quieter, help=remarks)
    loud = click.option("-v", "--verbose", count=True, expose_value=False, callback=_louder, help="Print more detail.")
    return quiet(loud(debug_option(command)))
