"""The command ``recon models``: the packaged networks with their figures."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import terminal
from .common import talk_options

if TYPE_CHECKING:
    from recon.catalogue import CriticModel, Model


@click.command("models")
@click.argument("name", required=False)
@click.option("--figure", type=click.Path(path_type=Path), metavar="FILE",
              help="Draw the atoms of the dictionary NAME, a packaged network or a folder.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@talk_options
def command(name: str | None, figure: Path | None, as_json: bool) -> None:
    """List the packaged networks: the Lipschitz constant of Q = 2J - Id, the range of noise, and the PSNR of denoising.

    The noise is the standard deviation on a scale of 0 to 255. Use one as --prior model:NAME; recon certify prior
    model:NAME shows what it guarantees. Critics, which --alarm takes, are listed below.
    """
    from recon.catalogue import critics, models

    if (name is None) != (figure is None):
        given = f"NAME is {name!r} without --figure" if figure is None else "--figure without the NAME of a network"
        raise click.UsageError(f"{given}; expected both, as in recon models runs/dictionary --figure atoms.png.")
    if name is not None and figure is not None:
        _draw_atoms(name, figure)
        return
    found, judges = models(), critics()
    if as_json:
        terminal.result_json([each.to_json() for each in (*found, *judges)])
        return
    header = ["name", "images", "Lip(Q)", "noise on 255", "PSNR in dB", "kB"]
    terminal.result(terminal.table(header, [_row(model) for model in found]))
    if judges:
        head = ["critic", "images", "Lip(score)", "false alarms", "AUROC", "kB"]
        terminal.result("\n" + terminal.table(head, [_judge(each) for each in judges]))


def _draw_atoms(name: str, figure: Path) -> None:
    """Draw the atoms of a packaged network, or of one in a folder."""
    from recon.catalogue import folders
    from recon.report._style import require_figure_suffix

    require_figure_suffix(figure)
    folder = folders().get(name, Path(name))
    if not folder.is_dir():
        from recon._suggest import unknown_name

        raise unknown_name(name, folders(), "packaged model or folder")
    from recon.priors.networks import ConvolutionalSparseCoding, load
    from recon.report import atoms_sheet
    from recon.training.dictionary import pictures_of

    network = load(folder)
    if not isinstance(network, ConvolutionalSparseCoding):
        raise click.UsageError(
            f"--figure draws the atoms of a dictionary, and {name} is a {network.config.family} network; expected a "
            "ConvolutionalSparseCoding."
        )
    atoms_sheet(pictures_of(network), figure)
    terminal.result(str(figure))


def _row(model: "Model") -> list[str]:
    kinds = {1: "grey", 3: "colour"}
    low, high = (255 * level for level in model.noise_range)
    noise = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
    return [
        model.name,
        kinds.get(model.channels, str(model.channels)),
        model.known,
        noise,
        _figures(model),
        f"{model.bytes / 1000:.0f}",
    ]


def _judge(critic: "CriticModel") -> list[str]:
    auroc = ", ".join(f"{kind} {value:.3g}" for kind, value in critic.auroc.items())
    return [
        critic.name,
        critic.units or {1: "grey", 3: "colour"}.get(critic.channels, str(critic.channels)),
        f"{critic.lipschitz:.4g} {critic.evidence}",
        f"{100 * critic.false_alarms:.3g} % {critic.false_alarms_evidence}",
        auroc,
        f"{critic.bytes / 1000:.0f}",
    ]


def _figures(model: "Model") -> str:
    """Return the figures of the first test set, as ``BSD68 36.96 / 30.55 / 28.10 at 5 / 15 / 25``."""
    if not model.figures:
        return "-"
    data = model.figures[0].data
    first = [figure for figure in model.figures if figure.data == data]
    levels = " / ".join(f"{255 * figure.noise:.3g}" for figure in first)
    return f"{data} {' / '.join(f'{figure.psnr:.2f}' for figure in first)} at {levels}"
