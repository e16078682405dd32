"""``recon train --sweep``: one training for each value of a key, with a table and a figure."""

from pathlib import Path
from typing import Any

import click

from . import terminal
from .training_report import decibels
from .training_run import require_end, signals, train_network


def sweep_over(given: dict[str, Any], recipe: Any, images: Any, output: Path, device: Any) -> None:
    """Train once for each value, and write the table and the figure after each run."""
    from recon.training import parse_sweep, prepare
    from recon.training.sweep import TABLE, claim, is_finished, result_of, write_sweep

    if given["search"]:
        raise click.UsageError("--search with --sweep; expected one of them, because a search takes longer than a run.")
    sweep = parse_sweep(given["sweep"], recipe)
    claim(output, given["resume"])
    runs = []
    with signals() as received:
        for value in sweep.values:
            folder = sweep.folder(output, value)
            begun = (folder / "config.toml").exists()
            wanted = prepare(folder, sweep.recipe(recipe, value), begun, given["steps"])
            if not (begun and is_finished(sweep, value, output, wanted.training.steps)):
                board = None if given["board"] is None else given["board"] / folder.name
                outcome = train_network(wanted, images, folder, device, given["processes"], received, board)
                if received:
                    require_end(outcome, output, received)
            runs.append(result_of(folder, value))
            write_sweep(output, sweep, runs)
    if given["as_json"]:
        terminal.result_json([run.to_json() for run in runs])
        return
    heads = [sweep.key, "parameters", "training loss", "test error", "PSNR"]
    rows = [[run.value, str(run.parameters), f"{run.training:.4g}", f"{run.test:.4g}", decibels(run.psnr)]
            for run in runs]  # fmt: skip
    terminal.result(terminal.table(heads, rows))
    terminal.result(f"{output / TABLE}, and beside it a figure and the runs")
