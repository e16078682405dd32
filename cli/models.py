"""The command ``recon models``: the packaged networks with their figures."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import terminal
from .common import talk_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recon.catalogue import CriticModel, Model


@click.command("models")
@click.argument("name", required=False)
@click.option("--figure", type=click.Path(path_type=Path), metavar="FILE",
              help="Draw the atoms of the dictionary NAME.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@talk_options
def command(name: str | None, figure: Path | None, as_json: bool) -> None:
    """List the packaged networks: the Lipschitz constant of Q = 2J - Id, the range of noise, and the PSNR of denoising.

    The noise is the standard deviation on a scale of 0 to 255. Use one as --prior model:NAME; recon certify prior
    model:NAME shows what it guarantees. Critics, which --alarm takes, are listed below. With the NAME of one, or of a
    folder that recon train made, that one alone, with what it was trained on and its limits.
    """
    from recon.catalogue import critics, models

    if name is None and figure is not None:
        raise click.UsageError(
            "--figure without the NAME of a network; expected both, as in "
            "recon models runs/dictionary --figure atoms.png."
        )
    if name is not None:
        _show(name, as_json) if figure is None else _draw_atoms(name, figure)
        return
    found, judges = models(), critics()
    if as_json:
        terminal.result_json([each.to_json() for each in (*found, *judges)])
        return
    terminal.result(terminal.table(_NETWORKS, [_row(model) for model in found]))
    if judges:
        terminal.result("\n" + terminal.table(_CRITICS, [_judge(each) for each in judges]))


_NETWORKS = ("name", "images", "Lip(Q)", "noise on 255", "PSNR in dB", "kB")
_CRITICS = ("critic", "images", "Lip(score)", "false alarms", "AUROC", "kB")


def _show(name: str, as_json: bool) -> None:
    """Print what the card of one network says."""
    from recon.catalogue import about, critic_folders, folders, is_critic, read_critic, read_model

    packaged = folders() | critic_folders()
    folder = _folder(name, packaged)
    if is_critic(folder):
        critic = read_critic(folder)
        found, listed = critic.to_json(), terminal.table(_CRITICS, [_judge(critic)])
        use = f"--alarm {name}"
    else:
        model = read_model(folder)
        found, listed = model.to_json(), terminal.table(_NETWORKS, [_row(model)])
        use = f"--prior {'model' if name in packaged else 'folder'}:{name}"
    if as_json:
        terminal.result_json([found])
        return
    terminal.result(listed)
    for key, text in {**about(folder), "use": use}.items():
        terminal.result(f"{key}: {text}")


def _folder(name: str, packaged: "Mapping[str, Path]") -> Path:
    """The folder of a packaged network, or the one that is named."""
    folder = packaged.get(name, Path(name))
    if not folder.is_dir():
        from recon._suggest import unknown_name

        raise unknown_name(name, packaged, "packaged model or folder")
    return folder


def _draw_atoms(name: str, figure: Path) -> None:
    """Draw the atoms of a packaged network, or of one in a folder."""
    from recon.catalogue import folders
    from recon.report._style import require_figure_suffix

    require_figure_suffix(figure)
    folder = _folder(name, folders())
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
