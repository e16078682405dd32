"""Translation of exceptions to one sentence on stderr and the documented exit code."""

import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click
from click.exceptions import Exit, NoArgsIsHelpError
from click.shell_completion import shell_complete

from recon.errors import ReconError

from . import terminal

UNEXPECTED, USAGE, OUT_OF_MEMORY, INTERRUPTED, READER_GONE = 1, 2, 6, 130, 141


def exit_code_of(group: click.Group, arguments: list[str] | None) -> int:
    """Run a command line, say what went wrong in one sentence, and give the exit code."""
    terminal.settings = terminal.Settings()
    typed = sys.argv[1:] if arguments is None else arguments
    try:
        return _run(group, typed)
    except BaseException as error:
        if isinstance(error, SystemExit | GeneratorExit):
            raise
        if terminal.settings.debug:
            traceback.print_exception(error)
        return _explain(error, typed)


def _run(group: click.Group, arguments: list[str]) -> int:
    if instruction := os.environ.get("_RECON_COMPLETE"):
        return shell_complete(group, {}, "recon", "_RECON_COMPLETE", instruction)
    code = 0
    try:
        with group.make_context("recon", list(arguments)) as context:
            group.invoke(context)
    except Exit as ended:  # --help and --version
        code = ended.exit_code
    sys.stdout.flush()  # here, where a reader that has gone can still be told from a fault
    return code


def _explain(error: BaseException, typed: Sequence[str]) -> int:  # noqa: PLR0911  one line for each kind of failure
    match error:
        case NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
            return USAGE
        case click.ClickException():
            return _complain(_as_typed(_usage_sentence(error), typed), USAGE)
        case ReconError():
            return _complain(_as_typed(str(error), typed), error.exit_code)
        case KeyboardInterrupt() | click.Abort():
            return _complain(f"interrupted {error}.".replace(" .", "."), INTERRUPTED)
        case BrokenPipeError():
            _silence_stdout()
            return READER_GONE
        case _ if _out_of_memory(error):
            return _complain(
                "memory ran out; a smaller image, --device cpu or fewer jobs at once would need less.", OUT_OF_MEMORY
            )
    return _complain(
        f"an unexpected {type(error).__name__}: {_first_line(error)} This is a fault of recon; "
        "--debug shows where it happened.",
        UNEXPECTED,
    )


def _complain(sentence: str, code: int) -> int:
    terminal.complain(sentence)
    return code


def _as_typed(sentence: str, typed: Sequence[str]) -> str:
    """A sentence that begins with the key of an option, with the option and its number as the user typed them."""
    found = re.match(r"([a-z]+(?:_[a-z]+)*) is ([^\s;,]+)", sentence)
    if found is None:
        return sentence
    option = f"--{found[1].replace('_', '-')}"
    given = [typed[at + 1] for at, each in enumerate(typed[:-1]) if each == option]
    given += [each.partition("=")[2] for each in typed if each.startswith(f"{option}=")]
    if not given:
        return sentence
    value = given[-1] if _same_number(given[-1], found[2]) else found[2]
    return f"{option} is {value}{sentence[found.end() :]}"


def _same_number(typed: str, shown: str) -> bool:
    try:
        return float(typed) == float(shown)
    except ValueError:
        return False


def _usage_sentence(error: click.ClickException) -> str:
    sentence = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    return f"{sentence} See {context.command_path} --help." if context else sentence


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True  # torch's own class, by name: torch need not have been imported
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _first_line(error: BaseException) -> str:
    line = (str(error).strip() or "no message").splitlines()[0]
    return line if line.endswith((".", "!", "?")) else f"{line}."


def _silence_stdout() -> None:
    """The reader of stdout has gone: what is still buffered goes nowhere, without another error at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def terminate(*_: Any) -> NoReturn:
    """On SIGTERM: leave by the ordinary way out, so that temporary files are removed."""
    raise SystemExit(143)
