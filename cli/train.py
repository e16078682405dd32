"""The command ``recon train``: from folders of images to a folder with a network."""

from pathlib import Path
from typing import Any

import click

from . import terminal
from .common import NUMBER, WHOLE_NUMBER, talk_options
from .training_report import report
from .training_run import remove_if_empty, require_end, signals, train_network


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
@click.option("--data", multiple=True, metavar="DIR", help="Training images; repeatable.  [required]")
@click.option("--validation", multiple=True, metavar="DIR",
              help="Validation images; repeatable. With --from, those of --data if left out.")  # fmt: skip
@click.option("--artefacts", multiple=True, metavar="DIR",
              help="Of a critic that learns from them: images with artefacts of their own; repeatable.")  # fmt: skip
@click.option("--validation-artefacts", "held_out", multiple=True, metavar="DIR",
              help="Others, for its validation; repeatable.")  # fmt: skip
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
              help="The data are measurements of this operator, and clean images are not needed; of a "
              "ConvexCritic what measures the clean images.")  # fmt: skip
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
    """Train a denoiser that is a resolvent, a critic for --alarm, a convex critic for --prior, or step sizes for
    --method slista. DIR receives the network, its card, the log, figures and a checkpoint.

    --resume continues a run that was interrupted or killed, with the same result. Images are files, folders or
    patterns such as 'scans/**/*.png'.

    For example: recon train --config models/NAME/config.toml --data photos --validation others -o runs/first

    --from adapts a network to the noisy images at hand, with a loss that needs no clean ones:

    recon train --from model:proved-gray --data noisy.png --loss sure -o runs/noisy
    """
    if given["processes"] < 1:
        raise click.UsageError(f"--processes is {given['processes']}; expected at least 1.")
    _check_start(given)
    if not data:
        copies = ", those of the run, of which its folder has no copy" if given["resume"] else ""
        raise click.UsageError(f"Missing option '--data'; expected the images to train on{copies}.")
    if not validation and given["start"] is None:
        raise click.UsageError("Missing option '--validation'; expected images, unless --from goes on from a network.")
    from recon.reconstruction.file_names import expand_inputs, require_files
    from recon.specs.input_checks import refuse_unreadable

    training = expand_inputs(data)
    validating = expand_inputs(validation) if validation else training
    artefacts, held_out = expand_inputs(given["artefacts"]), expand_inputs(given["held_out"])
    require_files([*training, *validating, *artefacts, *held_out])
    refuse_unreadable(training)  # before torch loads
    refuse_unreadable([*validating, *artefacts, *held_out])
    from recon.device import choose_device
    from recon.training import Images, prepare

    if _is_of_steps(output, given):
        from .training_steps import train_step_sizes

        train_step_sizes(training, validating if validation else [], output, given)
        return
    images = Images(training, validating, not validation, artefacts, held_out)
    recipe = _recipe(given, training)
    device = choose_device(given["device"], terminal.say)
    if given["sweep"] is not None:
        from .training_sweep import sweep_over

        sweep_over(given, recipe, images, output, device)
        return
    new = not output.exists()
    wanted = prepare(output, recipe, given["resume"], given["steps"])
    with signals() as received:
        try:
            outcome = train_network(wanted, images, output, device, given["processes"], received, given["board"])
        finally:
            if new:
                remove_if_empty(output)
    require_end(outcome, output, received)
    if given["search"] and wanted.network.family not in (
        "Critic",
        "ConvexCritic",
        "Unrolled",
    ):  # all is proved, or nothing known
        _search(output)
    report(outcome, output, given["as_json"], wanted.solves)


def _is_of_steps(output: Path, given: dict[str, Any]) -> bool:
    """Return whether step sizes are to be learned, and no network."""
    from recon.training.steps import is_run_of_steps
    from recon.training.steps_recipe import steps_recipe_in

    if given["config_file"] is not None:
        return steps_recipe_in(given["config_file"]) is not None
    return bool(given["resume"]) and is_run_of_steps(output)


def _recipe(given: dict[str, Any], training: list[Path]) -> Any:
    """The recipe that the options state; ``None``: that of the run that goes on."""
    from recon.training import noise_stated, read_recipe, recipe_for_measurements

    if given["start"] is not None:
        return _adapting(given["start"], training, given["loss"] or "sure", given["noise"])
    if given["config_file"] is None:
        return None
    if given["operator"] is None:
        recipe = read_recipe(given["config_file"])
    else:
        recipe = recipe_for_measurements(given["config_file"], given["operator"])
    if given["noise"] is None:
        return recipe
    return noise_stated(given["noise"], recipe, training, terminal.say)


def _check_start(given: dict[str, Any]) -> None:
    """Refuse options that do not go together with --from, or need it or a configuration."""
    if given["start"] is None:
        if given["loss"] is not None:
            raise click.UsageError("--loss without --from; expected training.loss in the file of --config.")
        _require_config(given)
        return
    reasons = {
        "config_file": "a configuration names its own start: training.start",
        "resume": "a run that goes on has begun",
        "operator": "it goes on with denoising",
        "sweep": "a sweep trains networks from their beginning",
    }
    for name, why in reasons.items():
        if given[name]:
            option = name.removesuffix("_file")
            raise click.UsageError(f"--from {given['start']} with --{option}; expected one of them, because {why}.")


def _require_config(given: dict[str, Any]) -> None:
    """Refuse options without the configuration that they need."""
    if given["config_file"] is not None:
        return
    if not given["resume"]:
        raise click.UsageError("Missing option '--config'; expected a TOML file, unless --resume goes on with a run.")
    for option in ("noise", "operator", "sweep"):
        if given[option] is not None:
            raise click.UsageError(f"--{option} with --resume alone; expected --config too, or what the run says.")


def _adapting(start: str, files: list[Path], loss: str, noise: str | None) -> Any:
    """Return the recipe that goes on from a network on the images at hand."""
    from recon.training.adapt import adapting_recipe

    level = None if noise in (None, "estimate") else NUMBER.convert(noise, None, None)
    recipe = adapting_recipe(start, files, loss, level)
    terminal.say(f"going on from {start} with noise of {recipe.training.noise[0]:.3g} in the images")
    return recipe


def _search(output: Path) -> None:
    """Search the network of a run as ``recon certify prior`` does, and keep what is found in its card."""
    from recon.reconstruction.certify import keep
    from recon.specs.grammar import Spec

    from .certify import searched

    keep(searched(Spec("folder", value=str(output))))
