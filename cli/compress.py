"""The command ``recon compress``: from a folder with a network to one with a smaller network."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import terminal
from .common import NUMBER, talk_options

if TYPE_CHECKING:
    from recon.reconstruction.certify import Report


@click.command("compress")
@click.argument("network", metavar="NETWORK")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR",
              help="A new folder for the smaller network.")  # fmt: skip
@click.option("--sparsity", type=NUMBER, metavar="S",
              help="The share of the weights that goes, as 0.8; of a potential with --structured, of its filters. "
                   "Required by --method inclusion.",
              )  # fmt: skip
@click.option("--method", default="inclusion", metavar="inclusion|decouple",
              help="Fewer weights by subdifferential inclusion; or matrices and convolutions of 1 x 1 of a network of "
                   "your own become few units with learned functions (extra decouple).  [default: inclusion]",
              )  # fmt: skip
@click.option("--rank", type=click.IntRange(1), metavar="R",
              help="How many units, with --method decouple.  [default: the fewest with an error of 0.001]")  # fmt: skip
@click.option("--structured", is_flag=True,
              help="Drop whole filters: what is left is a smaller dense network, which saves time too.")  # fmt: skip
@click.option("--data", multiple=True, metavar="DIR",
              help="Images of the kind that the network is for; repeatable. A quarter of them, at most eight, is kept "
                   "for the figures. Of a network of your own that begins with a matrix, NPY files of (samples, "
                   "features).  [default: photographs of scikit-image]")  # fmt: skip
@click.option("--noise", metavar="SIGMA|LO:HI", help="Noise levels of the samples, on [0, 1].  [default: those of the "
              "network; of one of your own, none]")  # fmt: skip
@click.option("--quick", is_flag=True,
              help="Search for violations for about a minute. Such a search can refute, and nothing else.")  # fmt: skip
@click.option("--uncertified", is_flag=True,
              help="Write the network also where a search refutes what the card of the dense one says.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, metavar="N", help="Seed of the samples.")
@click.option("--json", "as_json", is_flag=True, help="Print the card of the network as JSON.")
@talk_options
def command(  # noqa: PLR0913, PLR0917  one for each option
    network: str, output: Path, sparsity: float | None, method: str, rank: int | None, structured: bool,
    data: tuple[str, ...], noise: str | None,
    quick: bool, uncertified: bool, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Make a network smaller, without labels: a DnCNN, a ConvexRidge, a GuidedRidge, or a torch.nn.Sequential.

    NETWORK is model:NAME, a folder, or python:FILE.py:CALLABLE that makes a torch.nn.Sequential. Layer by layer the
    fewest weights are sought with which the layer still says what it said. The result is searched for violations again;
    its card says what was lost. A network whose card says that Q is nonexpansive stays one, or nothing is written. Of a
    Sequential a bound of the Lipschitz constant is proved, before and after.

    For example: recon compress model:proved-gray -o runs/small --sparsity 0.8 --data photos

    recon compress python:mine.py:network -o runs/small --method decouple --rank 8 --data samples.npy
    """
    levels = _levels(noise)
    own = network.startswith("python:")
    if method not in ("inclusion", "decouple"):
        raise click.UsageError(f"--method is {method!r}; expected inclusion or decouple.")
    if method == "inclusion" and sparsity is None:
        raise click.UsageError("Missing option '--sparsity': the share of the weights that goes, as 0.8.")
    if sparsity is not None and not 0 < sparsity < 1:
        raise click.UsageError(f"--sparsity is {sparsity:g}; expected more than 0 and less than 1, a share as in 0.8.")
    from recon.reconstruction.file_names import expand_inputs, require_files
    from recon.specs.input_checks import refuse_unreadable

    files = expand_inputs(data) if data else []
    require_files(files)
    if not own:
        refuse_unreadable(files)  # before torch loads
    from recon.compression import Listeners, Settings, compress_folder, compress_own
    from recon.compression.package import source_of

    line = terminal.ProgressLine(output.name)

    def say(what: str) -> None:
        line.close()
        terminal.say(what)

    def watch(done: int, count: int, name: str) -> None:
        line.show(f"{name}, {done + 1} of {count}")

    def certify(folder: Path) -> "Report":
        from recon.specs.grammar import Spec

        from .certify import searched

        line.close()
        return searched(Spec("folder", value=str(folder)), quick=quick, seed=seed)

    settings = Settings(sparsity, structured, levels, seed, uncertified, method, rank)
    try:
        listeners = Listeners(say, watch, certify)
        if own:
            card = compress_own(network, output, files, settings, listeners)
        else:
            card = compress_folder(source_of(network), output, files, settings, listeners)
    finally:
        line.close()
    if as_json:
        terminal.result_json(card)
        return
    if own:
        _print_own(output, card)
    else:
        _print(output, card)


def _levels(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        ends = [float(part) for part in text.split(":")]
    except ValueError:
        ends = []
    if not 1 <= len(ends) <= 2 or not 0 < ends[0] <= ends[-1] <= 10:
        raise click.UsageError(f"--noise is {text!r}; expected a positive level, or two as in 0.02:0.1.")
    return ends[0], ends[-1]


def _print(output: Path, card: dict[str, Any]) -> None:
    made = card["compression"]
    weights, kept = (sum(layer[key] for layer in made["layers"]) for key in ("weights", "kept"))
    terminal.result(f"{output}: {kept} of {weights} weights of {len(made['layers'])} layers")
    seconds = made["seconds"]["values"]
    rows = [
        ["bytes of the weights", *(f"{value}" for value in made["bytes"])],
        ["multiplications a pixel", *(f"{value}" for value in made["operations_per_pixel"])],
        [f"seconds, {' x '.join(map(str, made['seconds']['image']))}", *(f"{value:.4f}" for value in seconds)],
    ]
    for before, after in zip(made["figures_before"], card["figures"], strict=True):
        rows.append([f"PSNR, noise {before['noise']:.4g}", f"{before['psnr']:.2f}", f"{after['psnr']:.2f}"])
    known = (made["lipschitz_Q_before"], card["lipschitz_Q"])
    rows.append(["Lip(Q)", *(f"{each['value']:.6g} {each['evidence']}" for each in known)])
    terminal.result(terminal.table(["", "before", "after"], rows))
    for layer in made["layers"]:
        terminal.detail(f"{layer['name']}: {layer['kept']} of {layer['weights']} weights, error {layer['error']:.2e}")


def _print_own(output: Path, card: dict[str, Any]) -> None:
    made = card["compression"]
    terminal.result(f"{output}: error {card['error']:.2e} of the output on samples that were held out")
    bounds = (made["lipschitz_before"], card["lipschitz"])
    rows = [
        ["numbers", f"{made['parameters_before']}", f"{card['parameters']}"],
        ["numbers that are not 0", *(f"{value}" for value in made["nonzero"])],
        ["bytes of the weights", *(f"{value}" for value in made["bytes"])],
        ["multiplications an input", *(f"{value}" for value in made["operations"])],
        [f"seconds, {' x '.join(map(str, made['seconds']['input']))}",
         *(f"{value:.6f}" for value in made["seconds"]["values"])],
        ["Lipschitz constant, at most", *(f"{each['value']:.4g} {each['evidence']}" for each in bounds)],
    ]  # fmt: skip
    terminal.result(terminal.table(["", "before", "after"], rows))
    for layer in made["layers"]:
        units = f", {layer['rank']} units" if layer.get("rank") else ""
        terminal.detail(
            f"{layer['name']}: {layer['kept']} of {layer['weights']} numbers{units}, error {layer['error']:.2e}"
        )
