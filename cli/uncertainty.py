"""The command ``recon uncertainty``: a reconstruction with maps of its standard deviation, and intervals."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from . import terminal
from .common import NUMBER, WHOLE_NUMBER, config_option, talk_options
from .solve import OPERATOR_HELP, PRIOR_HELP, options_beside_prior

if TYPE_CHECKING:
    from recon.reconstruction.plan import Plan
    from recon.specs.grammar import Spec
    from recon.specs.solve_config import SolveConfig
    from recon.uncertainty.calibration import Calibration
    from recon.uncertainty.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

UNCERTAINTY_HELP = (
    "kinetic, ula, sk-rock (chains), bootstrap or ensemble. Default: kinetic for a penalty with a gradient, as the "
    "packaged potentials have, ensemble for several priors, else bootstrap."
)
_SETTINGS = (
    click.option("--chains", type=WHOLE_NUMBER, metavar="N", help="Of chains: how many.  [default: 4]"),
    click.option(
        "--steps", type=WHOLE_NUMBER, metavar="N", help="Of chains: the largest number of gradients.  [default: 6400]"
    ),
    click.option(
        "--temperature",
        type=NUMBER,
        metavar="T",
        help="Of chains: that of the density; 1: as it is, less: what is near the solution.  [default: 0.04]",
    ),
    click.option("--samples", type=WHOLE_NUMBER, metavar="N", help="Of the bootstrap: how many.  [default: 24]"),
    click.option(
        "--no-transforms", is_flag=True, help="Of the bootstrap: do not shift and flip images before they are measured."
    ),
)
_RULE = (
    click.option(
        "--prior",
        "priors",
        multiple=True,
        metavar="SPEC",
        help=f"{PRIOR_HELP} Repeatable: of an ensemble; a BatchEnsemble network stands for its members.",
    ),
    click.option("--method", "uncertainty_method", metavar="NAME", help=UNCERTAINTY_HELP),
    click.option("--solver", metavar="NAME", help="Method of the solution, as --method of recon solve."),
    options_beside_prior,
)


def settings_options(command: Command) -> Command:
    """Add the options of the methods of uncertainty."""
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


def rule_options(command: Command) -> Command:
    """Add the options of a problem and of how its uncertainty is had, which uncertainty and calibrate share."""
    command = settings_options(command)
    for option in reversed(_RULE):
        command = option(command)
    return command


@click.command("uncertainty")
@click.argument("measurement", metavar="INPUT", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="MEAN.tif", help="The mean.")
@click.option("--std", type=click.Path(path_type=Path), metavar="STD.tif", help="The standard deviation of each pixel.")
@click.option("--operator", metavar="SPEC", help=OPERATOR_HELP)
@rule_options
@click.option(
    "--calibrate",
    metavar="CAL.json|DIR",
    help="A file of recon calibrate, or clean images of the same kind: gives intervals whose coverage is proved.",
)
@click.option("--level", type=NUMBER, metavar="P", help="Share of the pixels that intervals cover.  [default: 0.9]")
@click.option("--interval", metavar="LOW.tif,HIGH.tif", help="The ends of the intervals; needs --calibrate.")
@click.option("--range", "value_range", metavar="LO:HI", help="Grey values, in the file's units, that become 0 and 1.")
@click.option("--shape", metavar="H,W", help="Size of the image, where the operator does not determine it.")
@config_option
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Draw mean, standard deviation and the width of the intervals.",
)
@click.option("--allow-unmixed", is_flag=True, help="Exit with 0 though the chains have not mixed.")
@click.option("--overwrite", is_flag=True, help="Replace existing outputs (never an input).")
@click.option("--json", "as_json", is_flag=True, help="Print the run record as JSON.")
@talk_options
def command(measurement: Path, **given: Any) -> None:
    """Reconstruct INPUT, and write the mean, its standard deviation and intervals, in the units of the result.

    Chains sample the density whose mode is the solution of recon solve; they are run until split R-hat is at most 1.05
    and the effective sample size at least 100. Chains that do not get there have the status "not mixed": the maps are
    written with it, and the exit code is 5. The record is MEAN.tif.run.json. Maps are TIFF or NPY, and of DICOM images
    also DICOM (.dcm): Parametric Maps.

    For example: recon uncertainty blurred.tif -o mean.tif --std std.tif --operator blur:psf=kernel.npy --noise 0.01
    """
    from recon.uncertainty.outputs import Outputs, parse_interval

    config, priors, settings = rule(given)
    interval = given["interval"]
    if interval is not None and given["calibrate"] is None:
        raise click.UsageError(
            "--interval is given without --calibrate; expected both, because no coverage is known of other intervals.",
            click.get_current_context(),
        )
    if given["calibrate"] is not None and (config.noise is None or config.photons is not None):
        raise click.UsageError(
            "--calibrate without --noise, or with --photons; expected --noise alone, because intervals are proved "
            "for a level of white noise that is fixed beforehand.",
            click.get_current_context(),
        )
    ends = None if interval is None else parse_interval(interval)
    outputs = Outputs(given["output"], given["std"], ends, given["figure"], given["overwrite"])
    outputs.check((measurement,))
    from recon.specs.input_checks import read_first

    found = read_first(measurement, config)  # before torch loads
    level = checked_level(given["level"])
    where = given["calibrate"]
    of_folder = where is not None and not (Path(where).suffix.lower() == ".json" or Path(where).is_file())
    calibration = None if of_folder else read_calibration_file(where)
    from recon.evaluation.calibrate import require_fixed_scale
    from recon.reconstruction.run import files_of, read_image
    from recon.uncertainty.calibration import rule_of
    from recon.uncertainty.maps import NOT_MIXED
    from recon.uncertainty.quantify import check_settings, plans_of, quantify, with_method
    from recon.uncertainty.writing import write_maps

    plans = plans_of(config, priors, read_image(measurement, config, terminal.say, found), terminal.once())
    settings = with_method(plans, settings)
    check_settings(plans, settings)
    if where is not None:
        require_fixed_scale(plans[0])
    outputs.check(files_of(plans[0], measurement))
    outputs.check_source(plans[0].problem.template)
    if of_folder:
        calibration = _calibrated(where, plans, priors, settings, level or 0.9)
    if calibration is not None:
        calibration.check(rule_of(plans, settings), level, where)
        terminal.detail(calibration.statement)
    progress, started = terminal.ProgressLine("uncertainty"), time.perf_counter()
    try:
        quantified = quantify(plans, settings, progress.show)
    finally:
        progress.close()
    seconds = time.perf_counter() - started
    document = write_maps(quantified, plans, settings, calibration, measurement, outputs, terminal.say, seconds)
    _report(document, outputs.maps, given["as_json"])
    if quantified.maps.status == NOT_MIXED:
        _refuse_unmixed(quantified.maps.sentence, given["allow_unmixed"])


def rule(given: dict[str, Any]) -> "tuple[SolveConfig, tuple[Spec, ...], Settings]":
    """The configuration, the priors of an ensemble, and how uncertainty is had."""
    from recon.specs.ensembles import members_of
    from recon.specs.grammar import parse_spec
    from recon.specs.solve_config import SolveConfig, read_config

    names = SolveConfig.__dataclass_fields__
    values = {key: value for key, value in given.items() if key in names and key != "range"}
    priors = tuple(parse_spec(text, "prior") for text in given["priors"])
    if len(priors) == 1 and given["uncertainty_method"] in (None, "ensemble"):
        priors = members_of(priors[0]) or priors
    values |= {"range": given["value_range"], "method": given["solver"]}
    values["prior"] = given["priors"][0] if len(priors) == 1 else None
    config = read_config(given["config_file"], values)
    return config, priors if len(priors) > 1 else (), settings_of(given, config.seed)


def settings_of(given: dict[str, Any], seed: int) -> "Settings":
    """How uncertainty is had."""
    from recon.uncertainty.settings import Settings

    stated = {
        "method": given["uncertainty_method"],
        **{key: given[key] for key in ("chains", "steps", "temperature", "samples")},
    }
    chosen = {key: value for key, value in stated.items() if value is not None}
    return Settings(**chosen, transforms=not given["no_transforms"], seed=seed)


def checked_level(given: float | None) -> float | None:
    """The level of --level, refused where it is none."""
    from recon.certificates.risk_control import images_needed

    if given is not None:
        images_needed(given)  # refuses what is no level
    return given


def read_calibration_file(where: str | None) -> "Calibration | None":
    """The calibration in a file; none where no file is named."""
    if where is None:
        return None
    from recon.uncertainty.calibration import read_calibration

    return read_calibration(Path(where))


def _calibrated(
    where: str, plans: "list[Plan]", priors: "tuple[Spec, ...]", settings: "Settings", level: float
) -> "Calibration":
    """A calibration on clean images, with the noise of the measurement on the scale where its range is 0..1."""
    from recon.evaluation.calibrate import calibrate, config_of_clean
    from recon.reconstruction.file_names import expand_inputs, require_files

    files = expand_inputs((where,))
    require_files(files)
    progress = terminal.ProgressLine("calibration")
    try:
        return calibrate(
            config_of_clean(plans[0]), priors, settings, files, level, terminal.once(),
            lambda number, total, seen: progress.show(f"{number} of {total}: {seen}"),
        )  # fmt: skip
    finally:
        progress.close()


def _report(document: dict[str, object], paths: tuple[Path, ...], as_json: bool) -> None:
    if as_json:
        terminal.result_json(document)
        return
    terminal.result(f"{', '.join(map(str, paths))}: {document['status']}, {document['seconds']:.1f} s")
    terminal.result(f"method: {document['method']}, priors: {', '.join(document['priors'])}")  # type: ignore[arg-type]
    terminal.result(str(document["sentence"]))
    if document["guide"] is not None:
        terminal.result(f"guide: {document['guide']}")
    calibration = document["calibration"]
    if isinstance(calibration, dict):
        terminal.result(f"intervals: {calibration['statement']}")


def _refuse_unmixed(sentence: str, allowed: bool) -> None:
    from recon.errors import GuaranteeError

    if not allowed:
        raise GuaranteeError(f"{sentence} Expected more --steps, or --allow-unmixed.")
    terminal.say(sentence)
