"""The ``recon`` command: a group whose sub-commands are loaded when they are called."""

import importlib
import signal

import click

from recon._version import __version__

from .common import debug_option
from .failures import exit_code_of, terminate
from .threads import sleep_while_waiting

COMMANDS = (
    "solve", "simulate", "train", "compress", "certify", "evaluate", "sensitivity", "uncertainty", "calibrate",
    "factorize", "models", "replay", "report", "pack", "unpack", "completion",
)  # fmt: skip

EPILOG = """Exit codes: 0 done, also when the steps ran out (a remark says so); 1 a fault of recon; 2 usage; 3 input
unreadable; 4 inputs inconsistent; 5 diverged, not mixed, or a required certificate is absent; 6 device; 7 output; 8
some inputs of a batch failed; 130 interrupted."""


class LazyGroup(click.Group):
    """Finds a sub-command in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"recon.cli.{cmd_name}").command
        return command


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="recon", message="%(prog)s %(version)s")
@debug_option
def recon() -> None:
    """Reconstruct images from blurred, noisy or indirect measurements, and say what is guaranteed about the result."""


def main(arguments: list[str] | None = None) -> None:
    """The console script: run, and leave with the documented exit code."""
    signal.signal(signal.SIGTERM, terminate)
    sleep_while_waiting()
    raise SystemExit(exit_code_of(recon, arguments))
