"""The command ``recon sensitivity``: how far an image moves when a group of measurements changes."""

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import terminal
from .common import config_option, talk_options
from .solve import OPERATOR_HELP, problem_options, stated_or_simulated

if TYPE_CHECKING:
    from recon.reconstruction.sensitivity import Arm, Star
    from recon.specs.solve_config import SolveConfig

_NOT_OF_THE_CONFIGURATION = ("groups", "output", "worst", "config_file", "overwrite", "as_json", "value_range")

_MOST_ROWS, _SHOWN = 100, 20
"""Groups up to which a table has them all, and how many of the longest it has of more."""


@click.command("sensitivity")
@click.argument("measurement", metavar="INPUT")
@click.option("--operator", metavar="SPEC", help=OPERATOR_HELP)
@click.option(
    "--groups",
    required=True,
    metavar="GROUPS",
    help="views, detectors:N (N groups of neighbouring pixels), lines (of k-space), or blocks:HxW (of pixels).",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="STAR.png", help="Draw the arms.")
@click.option(
    "--worst",
    type=click.Path(path_type=Path),
    metavar="FILE.png|MAP.tif",
    help="Draw the change of the image that the group with the longest local arm can cause with a change of the size "
    "of the noise; with .tif, .npy or, for DICOM, .dcm that change as numbers in the units of the image.",
)
@problem_options
@click.option("--range", "value_range", metavar="LO:HI", help="Grey values, in the file's units, that become 0 and 1.")
@click.option("--shape", metavar="H,W", help="Size of the image, where the operator does not determine it.")
@config_option
@click.option("--overwrite", is_flag=True, help="Replace existing outputs (never an input).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@talk_options
def command(measurement: str, **given: Any) -> None:
    """Print how far the reconstruction of INPUT can move for a unit change of each group of its measurements.

    certified: a bound for every change, proved where its constants are. local: the norm of the derivative at the
    result. perturbed: a small random change, with the problem solved again.

    For example: recon sensitivity y.tif --operator ct:scan.toml --prior tikhonov:weight=0.1 --groups views
    """
    from recon.specs.groups import parse_groups, require_groups_of
    from recon.specs.input_checks import read_first
    from recon.specs.solve_config import read_config

    spec = parse_groups(given["groups"])
    options = {key: value for key, value in given.items() if key not in _NOT_OF_THE_CONFIGURATION}
    values = {**options, "range": given["value_range"]}
    file = Path(measurement)
    config: SolveConfig = read_config(given["config_file"], stated_or_simulated(file, given["config_file"], values))
    require_groups_of(spec, config.operator.name)
    found = read_first(file, config)  # before torch loads
    from recon.reconstruction.plan import make_plan
    from recon.reconstruction.run import files_of, read_image
    from recon.reconstruction.sensitivity import find_groups, sensitivity
    from recon.reconstruction.sensitivity_output import (
        check_figures,
        check_map,
        draw_star,
        draw_worst,
        is_map,
        write_worst,
    )

    figures = tuple(path for path in (given["output"], given["worst"]) if path is not None)
    check_figures(figures, (file,), given["overwrite"])
    plan = make_plan(config, read_image(file, config, terminal.say, found), terminal.say)
    check_figures(figures, files_of(plan, file), given["overwrite"])
    if is_map(given["worst"]):
        check_map(given["worst"], plan.problem.template)
    groups = find_groups(spec, plan)
    line = terminal.ProgressLine(f"{len(groups.members)} groups")
    try:
        star = sensitivity(
            plan, groups, config.seed, line.update, lambda what, done, count: line.show(f"{what}: {done} of {count}"),
            terminal.say,
        )  # fmt: skip
    finally:
        line.close()
    if given["output"] is not None:
        draw_star(star, given["output"], given["overwrite"])
    if is_map(given["worst"]):
        write_worst(star, given["worst"], (file, *files_of(plan, file)), given["overwrite"])
    elif given["worst"] is not None:
        draw_worst(star, given["worst"], given["overwrite"])
    _report(star, given["as_json"])


def _report(star: "Star", as_json: bool) -> None:
    from recon.evidence import weakest

    document = star.to_json()
    if as_json:
        terminal.result_json(document)
        return
    arms = list(star.arms)
    if len(arms) > _MOST_ROWS:
        arms = sorted(arms, key=lambda arm: -arm.local.value)[:_SHOWN]
        terminal.say(f"the {_SHOWN} longest of {len(star.arms)} arms are shown; --json has all")
    columns = ["certified", "local", "perturbed", *(["total"] if arms[0].total is not None else [])]
    terminal.result(terminal.table(["group", *columns], [[arm.name, *map(_cell, _values(arm))] for arm in arms]))
    terminal.result("")
    terminal.result(star.scale_in_words)
    bounded = [arm.certified for arm in star.arms if math.isfinite(arm.certified.value)]
    reasons = Counter(arm.reason for arm in star.arms if arm.reason)
    if bounded:
        terminal.result(f"certified: {weakest(*(arm.evidence for arm in bounded))}; {bounded[0].how}")
    else:
        terminal.result(f"certified: none; {next(iter(reasons), '')}")
    terminal.result(f"local: measured; {star.arms[0].local.how}")
    terminal.result(f"perturbed: measured; {star.arms[0].perturbed.how}")
    for reason, count in reasons.items() if bounded else ():
        terminal.result(f"{count} of {len(star.arms)} groups: {reason}")
    for note in star.notes:
        terminal.result(note)
    terminal.result(star.worst_in_words)


def _values(arm: "Arm") -> list[float]:
    known = (arm.certified, arm.local, arm.perturbed, arm.total)
    return [constant.value for constant in known if constant is not None]


def _cell(value: float) -> str:
    return f"{value:.4g}" if value < float("inf") else "none"
