"""The command ``recon completion``: the script that completes commands and options in a shell."""

import click
from click.shell_completion import get_completion_class

from . import terminal
from .common import debug_option


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@debug_option
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    For bash: eval "$(recon completion bash)", in ~/.bashrc to keep it.
    """
    completer = get_completion_class(shell)
    if completer is None:
        raise click.UsageError(f"no completion is known for {shell}", context)
    terminal.result(completer(context.find_root().command, {}, "recon", "_RECON_COMPLETE").source())
