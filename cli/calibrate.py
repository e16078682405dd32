"""The command ``recon calibrate``: factors of the widths of intervals, from clean images."""

from pathlib import Path
from typing import Any

import click

from . import terminal
from .common import NUMBER, config_option, talk_options
from .solve import OPERATOR_HELP
from .uncertainty import rule, rule_options


@click.command("calibrate")
@click.option(
    "--data",
    required=True,
    multiple=True,
    metavar="DIR",
    help="Clean images of the kind that is to be measured: a folder, files or a pattern; repeatable.",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="CAL.json", help="The file.")
@click.option("--operator", metavar="SPEC", help=OPERATOR_HELP)
@rule_options
@click.option(
    "--level", type=NUMBER, default="0.9", metavar="P", help="Share of the pixels to be covered.  [default: 0.9]"
)
@click.option("--range", "value_range", metavar="LO:HI", help="Grey values, in the files' units, that become 0 and 1.")
@config_option
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print the calibration as JSON.")
@talk_options
def command(data: tuple[str, ...], **given: Any) -> None:
    """Measure clean images by simulation, reconstruct them, and write the factors that make intervals cover the truth.

    Of a further image of the same kind at most 1 - P of the pixels lie outside of their intervals, in expectation: at
    0.9 from at least 9 images. The file holds for one operator, prior, noise level, method and version; recon
    uncertainty --calibrate CAL.json reads it. The noise of the
    simulations follows from --seed, and is other than that of recon simulate and recon evaluate with the same seed.

    For example: recon calibrate --data photos --operator blur:gaussian=1.6 --noise 0.01 -o cal.json
    """
    from recon.io.atomic import check_output
    from recon.reconstruction.file_names import expand_inputs, require_files
    from recon.specs.input_checks import look_at_operator, refuse_unreadable

    config, priors, settings = rule(given)
    if config.noise is None:
        raise click.UsageError(
            "Missing option '--noise'; expected the level to simulate, of white noise: the photons of a ray have none "
            "that is fixed beforehand.",
            click.get_current_context(),
        )
    files = expand_inputs(data)
    require_files(files)
    check_output(given["output"], overwrite=given["overwrite"], inputs=files)
    look_at_operator(config.operator)
    refuse_unreadable(files)
    from recon.evaluation.calibrate import calibrate
    from recon.uncertainty.calibration import write_calibration

    progress = terminal.ProgressLine("calibration")
    try:
        found = calibrate(
            config, priors, settings, files, given["level"], terminal.once(),
            lambda number, total, seen: progress.show(f"{number} of {total}: {seen}"),
        )  # fmt: skip
    finally:
        progress.close()
    write_calibration(given["output"], found, given["overwrite"])
    if given["as_json"]:
        terminal.result_json(found.to_json())
        return
    pixel, region = found.factors.pixel, found.factors.region
    terminal.result(
        f"{given['output']}: from {found.images} images, factors {pixel:.3g} of pixels, {region:.3g} of regions"
    )
    terminal.result(found.statement)
