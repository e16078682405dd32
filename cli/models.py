"""``recon models``: the packaged denoisers with their measured figures."""

import click

from . import terminal
from .common import talk_options


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@talk_options
def command(as_json: bool) -> None:
    """List the packaged denoisers with their measured figures."""
    if as_json:
        terminal.result_json([])
        return
    terminal.say("no denoiser is packaged yet; the closed-form priors are none, box, tikhonov, l1, tv and wavelet")
