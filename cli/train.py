"""The command ``recon train``: from folders of images to a folder with a network."""

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recon.evidence import Evidence

from . import terminal
from .common import NUMBER, WHOLE_NUMBER, talk_options

if TYPE_CHECKING:
    from recon.evidence import Constant
    from recon.training import Now, Outcome
    from recon.training.critic import CriticResult
    from recon.training.unrolled import UnrolledResult
    from recon.training.validation import ValidationResult

TERMINATED = 143


@click.command("train")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE.toml",
    help="The configuration of the training.",
)
@click.option("--from", "start", metavar="model:NAME|DIR",
              help="Go on from a network on the noisy images of --data, without --config.")  # fmt: skip
@click.option("--loss", metavar="NAME", help="With --from: sure or r2r, which need no clean images.  [default: sure]")
@click.option("--data", required=True, multiple=True, metavar="DIR", help="Training images; repeatable.")
@click.option("--validation", multiple=True, metavar="DIR",
              help="Validation images; repeatable. With --from, those of --data if left out.")  # fmt: skip
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A new folder for the network.",
)
@click.option("--resume", is_flag=True, help="Continue the run in the folder.")
@click.option("--steps", type=WHOLE_NUMBER, metavar="N", help="Number of steps, in place of that of the configuration.")
@click.option("--operator", metavar="SPEC",
              help="The data are measurements of this operator, and clean images are not needed.")  # fmt: skip
@click.option("--noise", metavar="SIGMA|estimate",
              help="Noise level on the scale of the images, in place of training.noise; or its estimate.")  # fmt: skip
@click.option(
    "--processes", type=WHOLE_NUMBER, default=1, metavar="N", help="Number of processes that share each batch."
)
@click.option("--search", is_flag=True,
              help="Search the network for violations at the end, as recon certify prior does.")  # fmt: skip
@click.option("--sweep", metavar="KEY=V,V,...",
              help="A run for each value of a number of [network], with a table and a figure.")  # fmt: skip
@click.option("--tensorboard", "board", type=click.Path(path_type=Path), metavar="DIR",
              help="Also write the curves for TensorBoard, where it is installed.")  # fmt: skip
@click.option("--device", default="auto", metavar="NAME", help="Device: auto, cpu, cuda or cuda:N.  [default: auto]")
@click.option("--json", "as_json", is_flag=True, help="Print the card of the network as JSON.")
@talk_options
def command(data: tuple[str, ...], validation: tuple[str, ...], output: Path, **given: Any) -> None:
    """Train a denoiser that is a resolvent, a critic for --alarm, or step sizes for --method slista. DIR receives the
    network, its card, the log, figures and a checkpoint.

    --resume continues a run that was interrupted or killed, with the same result. Images are files, folders or
    patterns such as 'scans/**/*.png'.

    For example: recon train --config models/NAME/config.toml --data photos --validation others -o runs/first

    --from adapts a network to the noisy images at hand, with a loss that needs no clean ones:

    recon train --from model:proved-gray --data noisy.png --loss sure -o runs/noisy
    """
    if given["processes"] < 1:
        raise click.UsageError(f"--processes is {given['processes']}; expected at least 1.")
    start = given["start"]
    _check_start(given)
    _check_options(given, bool(validation))
    from recon.reconstruction.file_names import expand_inputs, require_files
    from recon.specs.input_checks import refuse_unreadable

    training = expand_inputs(data)
    validating = expand_inputs(validation) if validation else training
    require_files([*training, *validating])
    refuse_unreadable(training)  # before torch loads
    refuse_unreadable(validating)
    from recon.device import choose_device
    from recon.training import Images, for_measurements, noise_stated, prepare, read_recipe

    if _is_of_steps(output, given):
        _train_steps(training, validating if validation else [], output, given)
        return
    images = Images(training, validating, without_clean=not validation)
    recipe = None if given["config_file"] is None else read_recipe(given["config_file"])
    if start is not None:
        recipe = _adapting(start, training, given["loss"] or "sure", given["noise"])
    elif given["operator"] is not None:
        recipe = for_measurements(recipe, given["operator"])
    if given["noise"] is not None and start is None:
        recipe = noise_stated(given["noise"], recipe, training, terminal.say)
    device = choose_device(given["device"], terminal.say)
    if given["sweep"] is not None:
        _sweep(given, recipe, images, output, device)
        return
    new = not output.exists()
    wanted = prepare(output, recipe, given["resume"], given["steps"])
    with _signals() as received:
        try:
            outcome = _train(wanted, images, output, device, given["processes"], received, given["board"])
        finally:
            if new:
                _remove_if_empty(output)
    _require_end(outcome, output, received)
    if given["search"] and wanted.network.family not in ("Critic", "Unrolled"):  # all is proved, or nothing known
        _search(output)
    _report(outcome, output, given["as_json"], wanted.solves)


def _check_options(given: dict[str, Any], validates: bool) -> None:
    """Refuse options that lack another one."""
    start = given["start"]
    if given["config_file"] is None and not given["resume"] and start is None:
        raise click.UsageError("Missing option '--config'; expected a TOML file, unless --resume goes on with a run.")
    if not validates and start is None:
        raise click.UsageError("Missing option '--validation'; expected images, unless --from goes on from a network.")
    for option in ("noise", "operator", "sweep"):
        if given[option] is not None and given["config_file"] is None and start is None:
            raise click.UsageError(f"--{option} with --resume alone; expected --config too, or what the run says.")


def _is_of_steps(output: Path, given: dict[str, Any]) -> bool:
    """Return whether step sizes are to be learned, and no network."""
    from recon.training.steps import is_run_of_steps
    from recon.training.steps_recipe import steps_recipe_in

    if given["config_file"] is not None:
        return steps_recipe_in(given["config_file"]) is not None
    return bool(given["resume"]) and is_run_of_steps(output)


def _train_steps(training: list[Path], validation: list[Path], output: Path, given: dict[str, Any]) -> None:
    """Learn step sizes, and report what they leave."""
    from recon.device import choose_device
    from recon.training import Images
    from recon.training.steps import StepsNow, prepare_steps, train_steps
    from recon.training.steps_recipe import steps_recipe_in

    for option, stated in (
        ("--processes", given["processes"] > 1), ("--search", given["search"]), ("--tensorboard", given["board"]),
        ("--operator", given["operator"]), ("--noise", given["noise"]), ("--sweep", given["sweep"]),
        ("--from", given.get("start") is not None),
    ):  # fmt: skip
        if stated:
            raise click.UsageError(
                f'{option} with mode = "steps"; expected none of it, because a few numbers are learned, no network.'
            )
    device = choose_device(given["device"], terminal.say)
    new = not output.exists()
    images = Images(training, validation)
    recipe = None if given["config_file"] is None else steps_recipe_in(given["config_file"])
    wanted = prepare_steps(output, recipe, given["resume"], given["steps"])
    progress = terminal.ProgressLine(output.name)

    def watch(now: StepsNow) -> None:
        left = f"{round(now.seconds_left)} s left"
        progress.show(f"step {now.step} of {now.steps}, gap over that of ISTA {now.loss:.3g}, {left}")

    with _signals() as received:
        try:
            outcome = train_steps(wanted, images, output, device, terminal.say, watch, lambda: bool(received))
        finally:
            progress.close()
            if new:
                _remove_if_empty(output)
    if outcome.step < outcome.steps:
        how = f"after step {outcome.step} of {outcome.steps}; the state is saved, and --resume -o {output} goes on"
        if signal.SIGTERM in received:
            terminal.say(f"terminated {how}")
            raise SystemExit(TERMINATED)
        raise KeyboardInterrupt(how)
    _report_steps(outcome, output, given["as_json"])


def _report_steps(outcome: Any, output: Path, as_json: bool) -> None:
    if as_json:
        import json

        terminal.result_json(json.loads((output / "steps.json").read_text(encoding="utf-8")))
        return
    terminal.result(f"{output}: {outcome.step} steps, {outcome.seconds:.1f} s")
    terminal.result(f"step sizes times ||A||^2: {' '.join(f'{factor:.3g}' for factor in outcome.factors)}")
    heads = ["weight", "ISTA", "FISTA", "learned", "learned / ISTA", "duality gap", "2 ||A||^2 / L_S"]
    rows = [
        [f"{each.weight:.4g}", f"{each.ista:.2e}", f"{each.fista:.2e}", f"{each.learned:.2e}", f"{each.ratio:.3f}",
         f"{each.duality_gap:.2e}", f"{2 / each.curvature:.3f}"]
        for each in outcome.figures
    ]  # fmt: skip
    terminal.result(terminal.table(heads, rows))
    terminal.result(
        f"after {len(outcome.factors)} steps on the validation images: what the energy is above the least one, over "
        "itself. The estimate is that of ISTA; the steps lead to it faster."
    )


def _sweep(given: dict[str, Any], recipe: Any, images: Any, output: Path, device: Any) -> None:
    """Train once for each value, and write the table and the figure after each run."""
    from recon.training import parse_sweep, prepare
    from recon.training.sweep import TABLE, claim, is_finished, result_of, write_sweep

    if given["search"]:
        raise click.UsageError("--search with --sweep; expected one of them, because a search takes longer than a run.")
    sweep = parse_sweep(given["sweep"], recipe)
    claim(output, given["resume"])
    runs = []
    with _signals() as received:
        for value in sweep.values:
            folder = sweep.folder(output, value)
            begun = (folder / "config.toml").exists()
            wanted = prepare(folder, sweep.recipe(recipe, value), begun, given["steps"])
            if not (begun and is_finished(sweep, value, output, wanted.training.steps)):
                board = None if given["board"] is None else given["board"] / folder.name
                outcome = _train(wanted, images, folder, device, given["processes"], received, board)
                if received:
                    _require_end(outcome, output, received)
            runs.append(result_of(folder, value))
            write_sweep(output, sweep, runs)
    if given["as_json"]:
        terminal.result_json([run.to_json() for run in runs])
        return
    heads = [sweep.key, "parameters", "training loss", "test error", "PSNR"]
    rows = [[run.value, str(run.parameters), f"{run.training:.4g}", f"{run.test:.4g}", _decibels(run.psnr)]
            for run in runs]  # fmt: skip
    terminal.result(terminal.table(heads, rows))
    terminal.result(f"{output / TABLE}, and beside it a figure and the runs")


def _check_start(given: dict[str, Any]) -> None:
    """Refuse options that do not go together with --from, or need it."""
    if given["start"] is None:
        if given["loss"] is not None:
            raise click.UsageError("--loss without --from; expected training.loss in the file of --config.")
        return
    reasons = {
        "config_file": "a configuration names its own start: training.start",
        "resume": "a run that goes on has begun",
        "operator": "it goes on with denoising",
        "sweep": "it has one network",
    }
    for name, why in reasons.items():
        if given[name]:
            option = name.removesuffix("_file")
            raise click.UsageError(f"--from {given['start']} with --{option}; expected one of them, because {why}.")


def _adapting(start: str, files: list[Path], loss: str, noise: str | None) -> Any:
    """Return the recipe that goes on from a network on the images at hand."""
    from recon.training.adapt import adapting_recipe

    level = None if noise in (None, "estimate") else NUMBER.convert(noise, None, None)
    recipe = adapting_recipe(start, files, loss, level)
    terminal.say(f"going on from {start} with noise of {recipe.training.noise[0]:.3g} in the images")
    return recipe


def _remove_if_empty(folder: Path) -> None:
    """Remove the folder of a run that did not begin."""
    with suppress(OSError):
        folder.rmdir()


def _train(  # noqa: PLR0913, PLR0917  internal: what the options say
    recipe: Any, images: Any, output: Path, device: Any, processes: int, received: list[int], board: Path | None
) -> "Outcome":
    from recon.training import Listeners, tensorboard, train, train_together

    progress = terminal.ProgressLine(output.name)
    record = (lambda now: None) if board is None else tensorboard(board)

    def watch(now: "Now") -> None:
        progress.show(_progress(now))
        record(now)

    listeners = Listeners(terminal.say, watch, lambda: bool(received))
    try:
        if processes > 1:
            return train_together(processes, recipe, images, output, device, listeners)
        return train(recipe, images, output, device, listeners)
    finally:
        progress.close()


def _progress(now: "Now") -> str:
    step = now.step
    parts = [f"step {step.number} of {now.steps}", f"loss {step.loss:.3g}"]
    if now.psnr == now.psnr:
        parts.append(f"{now.psnr:.2f} dB")
    if now.auroc == now.auroc:
        parts.append(f"AUROC {now.auroc:.3f}")
    if step.constraint == step.constraint:
        parts.append(f"||Q'|| {step.constraint:.3f}")
    minutes, seconds = divmod(round(now.seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    return ", ".join([*parts, f"{hours}:{minutes:02}:{seconds:02} left"])


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Note Ctrl-C and SIGTERM, so that the step ends and the state is saved; a second one stops at once."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: Any) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])
        terminal.say(
            "stopping after this step; Ctrl-C once more stops at once and loses the steps since the last checkpoint"
        )

    for number in before:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _require_end(outcome: "Outcome", output: Path, received: list[int]) -> None:
    """Say how to continue a run that was stopped, and end with the exit code of the signal."""
    if outcome.stopped_early:
        terminal.say(
            f"ended early, after step {outcome.step} of {outcome.steps}; the network of the best validation is kept"
        )
        return
    if outcome.step < outcome.steps:
        how = f"after step {outcome.step} of {outcome.steps}; the state is saved, and --resume -o {output} goes on"
        if signal.SIGTERM in received:
            terminal.say(f"terminated {how}")
            raise SystemExit(TERMINATED)
        raise KeyboardInterrupt(how)


def _search(output: Path) -> None:
    """Search the network of a run as ``recon certify prior`` does, and keep what is found in its card."""
    from recon.reconstruction.certify import keep
    from recon.specs.grammar import Spec

    from .certify import searched

    keep(searched(Spec("folder", value=str(output))))


def _report(outcome: "Outcome", output: Path, as_json: bool, solves: bool) -> None:
    from recon.training.validation import ValidationResult

    if as_json:
        import json

        terminal.result_json(json.loads((output / "card.json").read_text(encoding="utf-8")))
        return
    terminal.result(f"{output}: {outcome.step} steps, {outcome.seconds:.1f} s")
    if outcome.look is None:
        return
    from recon.training.unrolled import UnrolledResult

    if isinstance(outcome.look, UnrolledResult):
        _report_unrolled(outcome.look, output)
        return
    if not isinstance(outcome.look, ValidationResult):
        _report_critic(outcome.look)
        return
    rows = [[f"{each.noise:.4g}", _decibels(each.noisy), _decibels(each.psnr)] for each in outcome.look.figures]
    heads = ["noise", "PSNR in", "PSNR"]
    if solves and math.isnan(outcome.look.held_out):
        heads.append("PSNR restored")
        for row, each in zip(rows, outcome.look.figures, strict=True):
            row.append(f"{each.restored:.2f}" if each.restored == each.restored else "not converged")
    if math.isnan(outcome.look.held_out):
        terminal.result(terminal.table(heads, rows))
    else:
        terminal.result(f"loss on validation images: {outcome.look.held_out:.4g}")
    known = _known(output, outcome.look)
    terminal.result(f"Lip(Q) {'>=' if known.evidence is Evidence.MEASURED else '<='} {known}")
    if known.value > 1:
        terminal.result(
            "Above 1 it is no resolvent, and no solver has a guarantee with it; a [penalty] of more weight, or of a "
            "lower target, brings it down."
        )
    elif known.evidence is Evidence.ASSUMED:
        terminal.result(f"recon certify prior {output} searches for violations, and keeps in {output} what it finds.")


def _report_critic(look: "CriticResult") -> None:
    rows = [[each.kind, f"{each.auroc:.3f}", f"{100 * each.found:.0f} %"] for each in look.kinds]
    terminal.result(terminal.table(["artefact", "AUROC", "found"], rows))
    terminal.result(
        f"threshold {look.threshold:.4f}: of images like the {len(look.clean)} for validation at most "
        f"{100 * look.expected_false_alarms:.3g} % are expected to be false alarms"
    )
    terminal.result(f"Lip(score) <= {look.lipschitz}")


def _report_unrolled(look: "UnrolledResult", output: Path) -> None:
    rows = [
        [f"{each.noise:.4g}", _decibels(each.start), _decibels(each.psnr), f"{each.residual:.3g}"]
        for each in look.figures
    ]
    terminal.result(terminal.table(["noise", "PSNR start", "PSNR", "residual / noise"], rows))
    terminal.result(
        f"No guarantee comes with an unrolled reconstruction; recon solve --method unrolled:folder={output} states "
        "the residual of each result."
    )


def _known(output: Path, seen: "ValidationResult") -> "Constant":
    """Return what is known of Lip(Q): from the card after a search, else from the last validation."""
    from recon.priors.networks import measured_on_card

    return measured_on_card(output) or seen.claim


def _decibels(psnr: float) -> str:
    """Return a PSNR as text, and a dash where there was no clean image to compare with."""
    return "-" if math.isnan(psnr) else f"{psnr:.2f}"
