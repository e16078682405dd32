"""``recon train`` with ``mode = "steps"``: step sizes for ``--method slista``."""

from pathlib import Path
from typing import Any

import click

from . import terminal
from .training_run import remove_if_empty, require_end, signals

_ROUNDING = 1e-13
"""Of the energy: what steps leave below it comes from rounding."""


def train_step_sizes(training: list[Path], validation: list[Path], output: Path, given: dict[str, Any]) -> None:
    """Learn step sizes, and report what they leave."""
    from recon.device import choose_device
    from recon.training import Images
    from recon.training.steps import StepsNow, prepare_steps, train_steps
    from recon.training.steps_recipe import steps_recipe_in

    for option, stated in (
        ("--processes", given["processes"] > 1), ("--search", given["search"]), ("--tensorboard", given["board"]),
        ("--operator", given["operator"]), ("--noise", given["noise"]), ("--sweep", given["sweep"]),
        ("--from", given["start"] is not None), ("--artefacts", given["artefacts"]),
        ("--validation-artefacts", given["held_out"]),
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

    with signals() as received:
        try:
            outcome = train_steps(wanted, images, output, device, terminal.say, watch, lambda: bool(received))
        finally:
            progress.close()
            if new:
                remove_if_empty(output)
    require_end(outcome, output, received)
    _report_steps(outcome, output, given["as_json"])


def ratio_in_words(figures: Any) -> str:
    """What learned steps leave over what ISTA leaves; nothing where both are rounding errors of the energy."""
    return f"{figures.ratio:.3f}" if figures.ista > _ROUNDING else "rounding"


def _report_steps(outcome: Any, output: Path, as_json: bool) -> None:
    if as_json:
        import json

        terminal.result_json(json.loads((output / "steps.json").read_text(encoding="utf-8")))
        return
    terminal.result(f"{output}: {outcome.step} steps, {outcome.seconds:.1f} s")
    terminal.result(f"step sizes times ||A||^2: {' '.join(f'{factor:.3g}' for factor in outcome.factors)}")
    heads = ["weight", "ISTA", "FISTA", "learned", "learned / ISTA", "duality gap", "2 ||A||^2 / L_S"]
    rows = [
        [f"{each.weight:.4g}", f"{each.ista:.2e}", f"{each.fista:.2e}", f"{each.learned:.2e}", ratio_in_words(each),
         f"{each.duality_gap:.2e}", f"{2 / each.curvature:.3f}"]
        for each in outcome.figures
    ]  # fmt: skip
    terminal.result(terminal.table(heads, rows))
    terminal.result(
        f"after {len(outcome.factors)} steps on the validation images: what the energy is above the least one, over "
        "itself. The estimate is that of ISTA; the steps lead to it faster."
    )
