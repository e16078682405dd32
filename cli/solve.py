"""The command ``recon solve``: from a measurement to an image, with a certificate."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recon.methods.catalogue import with_prior, without_prior

from . import terminal
from .common import NUMBER, WHOLE_NUMBER, config_option, talk_options

if TYPE_CHECKING:
    from recon.io import Derivation, Image
    from recon.reconstruction.record import InputFile
    from recon.reconstruction.run import Run, Target
    from recon.specs.solve_config import SolveConfig

_NOT_OF_THE_CONFIGURATION = (
    "output",
    "config_file",
    "figure",
    "report",
    "alarm",
    "alarm_map",
    "overwrite",
    "keep_interrupted",
    "dry_run",
    "as_json",
    "value_range",
    "jobs",
    "scheduler",
    "allow_localisers",
    "allow_derived",
    "allow_unordered",
    "show_paths",
    "deidentify",
    "secret_file",
)

Command = TypeVar("Command", bound=Callable[..., Any])

OPERATOR_HELP = (
    "The forward operator: identity, blur:psf=FILE, blur:gaussian=1.6, blur:motion=15,angle=30, blur:defocus=3, "
    "blur:box=5 (boundary=circular|valid), inpaint:mask=FILE, downsample:factor=2, mri:mask=FILE, "
    "ct:GEOMETRY.toml, matrix:MATRIX.npy, factors:OPERATOR.npz (of recon factorize), python:FILE.py:CALLABLE, or a "
    "TOML file."
)
PRIOR_HELP = (
    "model:NAME (recon models lists them), a FOLDER of recon train, none, box, tikhonov:weight=W, l1:weight=W, "
    "tv:weight=W[,smoothing=C], wavelet:weight=W, deepinv:CLASS, python:FILE.py:CALLABLE, or a TOML file. Default: "
    "model:guided-gray or guided-color for photographs and proved-ct for CT slices where the operator has a fast "
    "method with it, else tv; weights are matched to the noise."
)


METHOD_HELP = (
    f"{', '.join(with_prior())}; without a prior {', '.join(without_prior())}. Default: chosen for operator and prior."
)
_PRIOR = click.option("--prior", metavar="SPEC", help=PRIOR_HELP)
_METHOD = click.option("--method", metavar="NAME[:folder=DIR]", help=METHOD_HELP)
_PROBLEM_OPTIONS = (
    _PRIOR,
    click.option(
        "--guide",
        metavar="FILE",
        help="An image that decides where the prior smooths, as an earlier scan: of tv and the guided models. Default: "
        "of a guided model, a first reconstruction without a guide.",
    ),
    click.option(
        "--noise",
        metavar="SIGMA",
        help="Standard deviation of the noise, on the 0..1 scale or in units: 12HU. Default: estimated.",
    ),
    click.option(
        "--water", type=NUMBER, metavar="MU", help="ct: attenuation of water in 1/mm. The result is then in HU."
    ),
    click.option(
        "--photons",
        type=NUMBER,
        metavar="N",
        help="ct: photons per ray without an object. Rays are then weighted by their statistics.",
    ),
    click.option(
        "--flat", metavar="FILE|N", help="ct: file of the flat field, or its counts. The input is then read as counts."
    ),
    click.option("--dark", metavar="FILE|N", help="ct: file of the dark field, or its counts."),
    _METHOD,
    click.option(
        "--window",
        metavar="NAME",
        help="Filter window of method fbp: ram-lak, shepp-logan, cosine, hamming or hann.  [default: hann]",
    ),
    click.option(
        "--stepsize", type=NUMBER, metavar="G", help="Step size. Default: just inside the interval of the theorem."
    ),
    click.option("--surrogate", metavar="SPEC", help="An operator whose adjoint is used in place of the true adjoint."),
    click.option(
        "--shift",
        metavar="KAPPA|auto",
        help="With --surrogate: multiple of the identity that is added to make the map monotone.",
    ),
    click.option("--iterations", type=WHOLE_NUMBER, metavar="N", help="Largest number of steps.  [default: 1000]"),
    click.option(
        "--tolerance",
        type=NUMBER,
        metavar="T",
        help="Stop when the estimated distance to the limit is this fraction of the image.  [default: 0.002]",
    ),
    click.option(
        "--require-certificate",
        is_flag=True,
        default=None,
        help="Refuse to run where no theorem guarantees convergence.",
    ),
    click.option("--seed", type=WHOLE_NUMBER, metavar="N", help="Seed of random numbers.  [default: 0]"),
    click.option(
        "--deterministic",
        is_flag=True,
        default=None,
        help="Refuse algorithms whose result depends on the order of threads.",
    ),
    click.option("--device", metavar="NAME", help="Device: auto, cpu, cuda or cuda:N.  [default: auto]"),
)


def problem_options(command: Command) -> Command:
    """Add the options of a problem and its solution, which solve and evaluate share."""
    for option in reversed(_PROBLEM_OPTIONS):
        command = option(command)
    return command


def options_beside_prior(command: Command) -> Command:
    """Add the same but for --prior and --method, which mean something else where uncertainty is asked for."""
    for option in reversed(_PROBLEM_OPTIONS):
        command = command if option in (_PRIOR, _METHOD) else option(command)
    return command


@click.command("solve")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", metavar="OUT", help="The image to write; a folder for several inputs.")
@click.option("--operator", metavar="SPEC", help=OPERATOR_HELP)
@problem_options
@click.option("--range", "value_range", metavar="LO:HI", help="Grey values, in the file's units, that become 0 and 1.")
@click.option(
    "--volume",
    is_flag=True,
    default=None,
    help="Reconstruct the slices of a stack, or of each DICOM series, together, with tv in three directions.",
)
@click.option(
    "--slice-distance",
    type=NUMBER,
    metavar="D",
    help="--volume: distance of two slices, in pixels of a slice. Default: as the file has it, else 1.",
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="Memory that a run may take, as 2GiB. A larger image is solved in overlapping tiles whose seams are measured; "
    "with --volume, what does not fit is kept in a file meanwhile.",
)
@click.option("--shape", metavar="H,W", help="Size of the image, where the operator does not determine it.")
@config_option
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Draw measurement, result, residual and convergence.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="PAGE.html",
    help="Write a page: before and after, residual, convergence, what was changed, certificate; see recon report.",
)
@click.option(
    "--alarm",
    metavar="[NAME|FOLDER]",
    is_flag=False,
    flag_value="auto",
    help="Judge each result by a critic: a packaged one by its NAME, a FOLDER of recon train, or auto, the packaged "
    "one for such images.",
)
@click.option(
    "--alarm-map",
    type=click.Path(path_type=Path),
    metavar="FILE.npy",
    help="With --alarm: write the score over each pixel, less the threshold (NPY or TIFF).",
)
@click.option("--overwrite", is_flag=True, help="Replace existing outputs (never an input).")
@click.option("--keep-interrupted", is_flag=True, help="On Ctrl-C, write the last image.")
@click.option("--dry-run", is_flag=True, help="Print the plan and the certificate, and do not run.")
@click.option("--json", "as_json", is_flag=True, help="Print the run record (or the plan) as JSON.")
@click.option("--jobs", type=WHOLE_NUMBER, metavar="N", help="Of several inputs: worker processes.  [default: 1]")
@click.option("--scheduler", metavar="ADDRESS", help="Of several inputs: a Dask scheduler, tcp://HOST:PORT.")
@click.option("--allow-localisers", is_flag=True, help="Take localisers, which are set aside else.")
@click.option("--allow-derived", is_flag=True, help="Take DICOM images made of others, and results of recon.")
@click.option("--allow-unordered", is_flag=True, help="Take series whose order is in doubt, by their numbers.")
@click.option("--deidentify", is_flag=True, help="DICOM results by the standard's basic confidentiality profile.")
@click.option(
    "--secret",
    "secret_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Of --deidentify: what pseudonyms follow from; made if missing.  [default: secret in recon's data folder]",
)
@click.option("--show-paths", is_flag=True, help="Name inputs where names of patients could be in them.")
@talk_options
def command(inputs: tuple[str, ...], **given: Any) -> None:
    """Reconstruct INPUT (files, folders, zip archives, DICOMDIRs or globs) and write OUT with its record OUT.run.json.

    Of several inputs, OUT is a folder: a folder for each DICOM series, solved with one strength; other files as they
    were named. What is no input is set aside and said. Run again, and only what is not done is done. A single DICOM
    series becomes one file where OUT is named like NIfTI, TIFF, OME-TIFF, Zarr or NPY.

    For example: recon solve blurred.png -o sharp.png --operator blur:psf=kernel.npy --noise 0.01
    """
    from recon.specs.solve_config import read_config

    options = {key: value for key, value in given.items() if key not in _NOT_OF_THE_CONFIGURATION}
    values = {**options, "range": given["value_range"]}
    given["secret"] = _secret(given)
    if given["alarm_map"] is not None and given["alarm"] is None:
        raise click.UsageError("--alarm-map without --alarm; expected both, because the map is that of its critic.")
    if given["report"] is not None:
        from .report import check

        check(given["report"], given["overwrite"], tuple(path for path in map(Path, inputs) if path.is_file()))
    alone = _is_one_file(inputs, given["output"])
    if alone:
        values = stated_or_simulated(Path(inputs[0]), given["config_file"], values)
    config = read_config(given["config_file"], values)
    if given["output"] is None and not given["dry_run"]:
        raise click.UsageError(
            "Missing option '-o'; expected the name of the image to write.", click.get_current_context()
        )
    if alone:
        _solve_alone(Path(inputs[0]), config, given)
        return
    from . import batch

    batch.solve(inputs, config, given, _solve_alone)


def _secret(given: dict[str, Any]) -> bytes | None:
    """Return what pseudonyms follow from, where results are de-identified."""
    if not given["deidentify"]:
        if given["secret_file"] is not None:
            raise click.UsageError("--secret is of --deidentify; expected both.", click.get_current_context())
        return None
    from .secret import read_or_make

    return read_or_make(given["secret_file"])


def _is_one_file(inputs: tuple[str, ...], output: str | None) -> bool:
    """Return whether one file is to become one file: any other call is a batch."""
    from recon.batch.discover import stands_for_many

    if len(inputs) != 1 or stands_for_many(inputs[0]):
        return False
    if output is not None and output.lower().endswith(".zarr"):
        return True
    return output is None or not (output.endswith(("/", "\\")) or os.path.isdir(output))  # noqa: PTH112


def _solve_alone(file: Path, config: "SolveConfig", given: dict[str, Any]) -> None:
    output = None if given["output"] is None else Path(given["output"])
    if config.memory is not None and not config.volume:
        from .tiles import solve_in_tiles

        if solve_in_tiles(file, output, config, given):
            return
    if given["dry_run"] or output is None:
        _show_plan(file, output, config, given)
    else:
        run = _solve_one(file, output, config, given)
        if given["report"] is not None:
            from .report import of_run

            of_run(run.record, (file,), given)
        report_run(run, given["as_json"])


def stated_or_simulated(measurement: Path, config_file: Path | None, values: dict[str, Any]) -> dict[str, Any]:
    """Return the options with those of the sidecar of a simulated measurement, where no operator is stated."""
    if values["operator"] is not None or config_file is not None:
        if values["operator"] is not None and values.get("noise") is None and values.get("photons") is None:
            _say_unread(measurement)
        return values
    return values | _from_sidecar(measurement, values)


def _say_unread(measurement: Path) -> None:
    """Say that the noise that a sidecar states is not taken."""
    from recon.reconstruction.sidecar import sidecar_path

    if sidecar_path(measurement).is_file():
        terminal.say(
            f"{sidecar_path(measurement).name} states the noise of the simulation, and is not read where --operator is "
            "stated: leave --operator out, or state --noise or --photons"
        )


def _from_sidecar(measurement: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Return the options that the command line leaves out and the sidecar of a simulated measurement has."""
    from recon.reconstruction.sidecar import sidecar_path, sidecar_values

    if not sidecar_path(measurement).is_file():
        return {}
    taken = {key: value for key, value in sidecar_values(measurement).items() if values[key] is None}
    shown = ", ".join(f"{key} {value}" for key, value in taken.items() if value is not None)
    terminal.say(f"taken from {sidecar_path(measurement).name}: {shown}")
    return taken


def _target(output: Path, given: dict[str, Any], derivation: "Derivation | None" = None) -> "Target":
    from recon.reconstruction.run import Target

    return Target(output, given["figure"], given["overwrite"], derivation, given["alarm_map"])


def _solve_one(file: Path, output: Path, config: "SolveConfig", given: dict[str, Any]) -> "Run":
    from recon.specs.input_checks import read_first

    called = str(file) if given["show_paths"] else "the input"
    terminal.detail(f"{called}: reading")
    found = read_first(file, config)  # before torch loads, so that what cannot be read is refused at once
    from recon.reconstruction.run import check_target, read_image

    check_target(_target(output, given), (file,))
    image = read_image(file, config, terminal.say, found)
    return solve_read(image, file, output, config, given)


def solve_read(  # noqa: PLR0913, PLR0917  what is solved, where it comes from and goes to
    image: "Image",
    inputs: "Path | Sequence[InputFile]",
    output: Path,
    config: "SolveConfig",
    given: dict[str, Any],
    volume: "dict[str, object] | None" = None,
) -> "Run":
    """Solve an image that has been read, and write the result.

    Args:
        image: The measurement.
        inputs: The file that it was read from, or its slices.
        output: The image to write.
        config: The configuration.
        given: The options of the command line.
        volume: What the record says of a volume of several files.
    """
    from recon.batch.run import derivation_of
    from recon.batch.strength import resolved
    from recon.reconstruction.plan import make_plan
    from recon.reconstruction.run import alarm_for, check_format, check_target, execute, files_of, write_run
    from recon.reconstruction.shortfall import shortfall
    from recon.solvers import Status

    called = str(inputs) if given["show_paths"] and isinstance(inputs, Path) else "the input"
    files = (inputs,) if isinstance(inputs, Path) else tuple(entry.path for entry in inputs)
    plan = make_plan(config, image, terminal.say)
    derivation = replace(derivation_of(resolved(config, plan.problem)), secret=given["secret"])
    target = _target(output, given, derivation)
    check_target(target, files_of(plan, *files), plan.problem.template)
    check_format(plan, output)
    alarm = alarm_for(given["alarm"], plan)
    terminal.detail(f"{called}: {plan.method.name}, {plan.problem.prior.spec}, on {plan.problem.device}")
    progress = terminal.ProgressLine(output.name)
    try:
        result = execute(plan, progress.update, output.parent)
    finally:
        progress.close()
    if result.status is Status.INTERRUPTED and not given["keep_interrupted"]:
        raise KeyboardInterrupt(f"after {result.steps} steps; nothing was written")
    run = write_run(result, inputs, target, terminal.say, volume=volume, alarm=alarm)
    if (line := shortfall(result)) is not None:
        terminal.say(f"{output}: {line}")
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt(f"after {result.steps} steps; the last iterate is in {output}")
    return run


def report_run(run: "Run", as_json: bool) -> None:
    """Print what became of a run."""
    if as_json:
        terminal.result_json(run.document)
        return
    result = run.result
    terminal.result(f"{', '.join(map(str, run.paths))}: {result.outcome}, {result.seconds:.1f} s")
    of = "prior of the polishing step" if result.polishing else "prior"
    terminal.result(f"method: {result.plan.method.name}, {of}: {result.plan.problem.prior.spec}")
    if (mismatch := result.plan.pair.mismatch) is not None and mismatch.shift:
        chosen = ", chosen by auto" if result.plan.problem.config.shift == "auto" else ""
        terminal.result(f"shift: {mismatch.shift:.4g} added to the surrogate's map{chosen}")
    terminal.result(f"record: {run.record}")
    terminal.result(str(result.plan.method.certificate))
    if result.guide is not None:
        terminal.result(f"guide: {result.guide}")
    for polish in result.polishing:
        terminal.result(f"data residual, on the 0..1 scale: {polish}")
    if not result.plan.method.closed_form and result.plan.method.steps is None:
        terminal.result(f"distance to the limit: {result.distance}")
    for bound in result.bounds:
        terminal.result(f"distance to the matched solution, on the 0..1 scale: {bound}")
    for error in result.backward_errors:
        terminal.result(f"backward error, on the 0..1 scale: {error}")
    if result.gap is not None:
        terminal.result(f"duality gap, on the 0..1 scale: {result.gap}")
    if result.refused_steps:
        terminal.result(
            f"learned steps: {result.refused_steps} of {result.plan.method.steps} were replaced by those of ISTA, as "
            "the energy did not fall with them"
        )
    for line in run.judgement.lines if run.judgement is not None else ():
        terminal.result(line)


def _show_plan(file: Path, output: Path | None, config: "SolveConfig", given: dict[str, Any]) -> None:
    from recon.specs.input_checks import read_first

    found = read_first(file, config)  # before torch loads
    from recon.reconstruction.run import check_target, read_image

    if output is not None and output.parent.is_dir():
        check_target(_target(output, given), (file,))
    show_plan_of(read_image(file, config, terminal.say, found), output, config, given)


def show_plan_of(image: "Image", output: Path | None, config: "SolveConfig", given: dict[str, Any]) -> None:
    """Print the plan for an image that has been read, and what would be written."""
    from recon.reconstruction.plan import make_plan
    from recon.reconstruction.record import record_path
    from recon.reconstruction.run import alarm_for

    plan = make_plan(config, image, terminal.say)
    alarm_for(given["alarm"], plan)
    files = (output, output and record_path(output), given["figure"], given["report"], given["alarm_map"])
    writes = [str(path) for path in files if path]
    if given["as_json"]:
        certificate = plan.method.certificate.to_json()
        terminal.result_json({**plan.to_json(), "certificate": certificate, "outputs": writes})
        return
    terminal.result(plan.describe())
    terminal.result(f"\nwould write: {', '.join(writes) or 'nothing, as -o is not given'}")
