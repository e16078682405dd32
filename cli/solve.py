"""The command ``recon solve``: from a measurement to an image, with a certificate."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recon.methods.catalogue import with_prior, without_prior

from . import terminal
from .common import NUMBER, WHOLE_NUMBER, talk_options

if TYPE_CHECKING:
    from recon.reconstruction.run import Result, Run, Target
    from recon.specs.solve_config import SolveConfig

Command = TypeVar("Command", bound=Callable[..., Any])

OPERATOR_HELP = (
    "The forward operator: identity, blur:psf=FILE, blur:gaussian=1.6, blur:motion=15,angle=30, blur:defocus=3, "
    "blur:box=5 (boundary=circular|valid), inpaint:mask=FILE, downsample:factor=2, mri:mask=FILE, "
    "ct:GEOMETRY.toml, python:FILE.py:CALLABLE, or a TOML file."
)
PRIOR_HELP = (
    "model:NAME (recon models lists them), a FOLDER of recon train, none, box, tikhonov:weight=W, l1:weight=W, "
    "tv:weight=W[,smoothing=C], wavelet:weight=W, deepinv:CLASS, python:FILE.py:CALLABLE, or a TOML file. Default: "
    "the packaged potential for such images where the operator has a fast method with it, else tv; weights are matched "
    "to the noise."
)


METHOD_HELP = (
    f"{', '.join(with_prior())}; without a prior {', '.join(without_prior())}. Default: chosen for operator and prior."
)
_PROBLEM_OPTIONS = (
    click.option("--prior", metavar="SPEC", help=PRIOR_HELP),
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
    click.option("--method", metavar="NAME", help=METHOD_HELP),
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


@click.command("solve")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", metavar="OUT", help="The image to write; a folder for several inputs.")
@click.option("--operator", metavar="SPEC", help=OPERATOR_HELP)
@problem_options
@click.option("--range", "value_range", metavar="LO:HI", help="Grey values, in the file's units, that become 0 and 1.")
@click.option("--shape", metavar="H,W", help="Size of the image, where the operator does not determine it.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE.toml",
    help="Read options from a TOML file; the command line goes before it.",
)
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Draw measurement, result, residual and convergence.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing outputs (never an input).")
@click.option("--keep-interrupted", is_flag=True, help="On Ctrl-C, write the last image.")
@click.option("--dry-run", is_flag=True, help="Print the plan and the certificate, and do not run.")
@click.option("--json", "as_json", is_flag=True, help="Print the run record (or the plan) as JSON.")
@talk_options
def command(inputs: tuple[str, ...], **given: Any) -> None:
    """Reconstruct INPUT (files, folders or globs) and write OUT with its record OUT.run.json.

    For example: recon solve blurred.png -o sharp.png --operator blur:psf=kernel.npy --noise 0.01
    """
    from recon.reconstruction.file_names import expand_inputs, in_place_order, make_folder, name_outputs
    from recon.specs.solve_config import read_config

    own = ("output", "config_file", "figure", "overwrite", "keep_interrupted", "dry_run", "as_json", "value_range")
    options = {key: value for key, value in given.items() if key not in own}
    values = {**options, "range": given["value_range"]}
    if options["operator"] is None and given["config_file"] is None and len(inputs) == 1:
        values |= _from_sidecar(Path(inputs[0]), values)
    config = read_config(given["config_file"], values)
    if given["output"] is None and not given["dry_run"]:
        raise click.UsageError(
            "Missing option '-o'; expected the name of the image to write.", click.get_current_context()
        )
    files = in_place_order(expand_inputs(inputs))
    outputs = [None] * len(files) if given["output"] is None else name_outputs(files, given["output"], inputs)
    if given["figure"] is not None and len(files) > 1:
        raise click.UsageError(
            f"--figure is of one image, and {len(files)} inputs are given.", click.get_current_context()
        )
    if given["dry_run"]:
        _show_plans(files, outputs, config, given)
    elif len(files) == 1:
        if outputs[0] != Path(given["output"]):
            make_folder(outputs[0].parent)
        _report(_solve_one(files[0], outputs[0], config, given), given["as_json"])
    else:
        _solve_many(files, outputs, config, given)


def _from_sidecar(measurement: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Return the options that the command line leaves out and the sidecar of a simulated measurement has."""
    from recon.reconstruction.sidecar import sidecar_path, sidecar_values

    if not sidecar_path(measurement).is_file():
        return {}
    taken = {key: value for key, value in sidecar_values(measurement).items() if values[key] is None}
    shown = ", ".join(f"{key} {value}" for key, value in taken.items() if value is not None)
    terminal.say(f"taken from {sidecar_path(measurement).name}: {shown}")
    return taken


def _target(output: Path, given: dict[str, Any]) -> "Target":
    from recon.reconstruction.run import Target

    return Target(output, given["figure"], given["overwrite"], given.get("series_uid"))


def _solve_one(
    file: Path, output: Path, config: "SolveConfig", given: dict[str, Any], say: Callable[[str], None] = terminal.say
) -> "Run":
    from recon.specs.input_checks import read_first

    terminal.detail(f"{file}: reading")
    found = read_first(file, config)  # before torch loads, so that what cannot be read is refused at once
    from recon.reconstruction.plan import make_plan
    from recon.reconstruction.run import check_format, check_target, execute, files_of, read_image, write_run
    from recon.solvers import Status

    target = _target(output, given)
    check_target(target, (file,))
    image = read_image(file, config, say, found)
    plan = make_plan(config, image, say)
    check_target(target, files_of(plan, file), plan.problem.template)
    check_format(plan, output)
    terminal.detail(f"{file}: {plan.method.name}, {plan.problem.prior.spec}, on {plan.problem.device}")
    progress = terminal.ProgressLine(file.name)
    try:
        result = execute(plan, progress.update)
    finally:
        progress.close()
    if result.status is Status.INTERRUPTED and not given["keep_interrupted"]:
        raise KeyboardInterrupt(f"after {result.steps} steps; nothing was written")
    run = write_run(result, file, target, say)
    if (line := _shortfall(result)) is not None:
        say(f"{output}: {line}")
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt(f"after {result.steps} steps; the last iterate is in {output}")
    return run


def _shortfall(result: "Result") -> str | None:
    """Return a sentence on what a run did not reach and what to do about it; ``None`` where it did."""
    from recon.solvers import Status

    hope = "" if result.plan.method.certificate.strongest else ", but nothing guarantees that more steps help"
    if result.status is Status.OUT_OF_STEPS:
        budget, tolerance = result.plan.problem.config.budget, result.plan.tolerance
        if result.distance.relative <= tolerance:
            return (
                f"the budget of {budget} steps ran out before all variables of the method converged (the image is "
                f"{result.distance.brief} of itself from the limit); --iterations gives more{hope}"
            )
        return (
            f"the budget of {budget} steps ran out before the distance to the limit was within {tolerance:g} of the "
            f"image ({result.distance.brief}); --iterations gives more, --tolerance asks less{hope}"
        )
    if result.status is Status.STALLED and result.plan.method.rounding:
        return f"the steps stay at a relative residual of {result.residual:.1e} as the prior is rounded; " + (
            "precision=float32 goes on"
        )
    return result.status.sentence if result.status in (Status.STALLED, Status.DRIFTING) else None


def _report(run: "Run", as_json: bool) -> None:
    if as_json:
        terminal.result_json(run.document)
        return
    result = run.result
    terminal.result(f"{', '.join(map(str, run.paths))}: {result.outcome}, {result.seconds:.1f} s")
    terminal.result(f"method: {result.plan.method.name}, prior: {result.plan.problem.prior.spec}")
    if (mismatch := result.plan.pair.mismatch) is not None and mismatch.shift:
        chosen = ", chosen by auto" if result.plan.problem.config.shift == "auto" else ""
        terminal.result(f"shift: {mismatch.shift:.4g} added to the surrogate's map{chosen}")
    terminal.result(f"record: {run.record}")
    terminal.result(str(result.plan.method.certificate))
    if not result.plan.method.closed_form:
        terminal.result(f"distance to the limit: {result.distance}")
    for bound in result.bounds:
        terminal.result(f"distance to the matched solution, on the 0..1 scale: {bound}")
    for error in result.backward_errors:
        terminal.result(f"backward error, on the 0..1 scale: {error}")


def _solve_many(files: list[Path], outputs: list[Path], config: "SolveConfig", given: dict[str, Any]) -> None:
    from recon.errors import BatchError, ReconError
    from recon.io import new_series_uid
    from recon.reconstruction.file_names import make_folder

    say = terminal.once()
    make_folder(outputs[0].parent)
    given = {**given, "series_uid": new_series_uid()}
    rows, documents, failed = [], [], 0
    for file, output in zip(files, outputs, strict=True):
        try:
            run = _solve_one(file, output, config, given, say)
        except ReconError as error:
            failed += 1
            terminal.say(str(error))
            rows.append([file.name, "failed", "", "", str(error)])
            documents.append({"input": len(rows), "status": "failed", "error": str(error)})
            continue
        result = run.result
        rows.append([file.name, result.status.value, str(result.steps), f"{result.seconds:.1f}", str(output)])
        documents.append(run.document)
    if given["as_json"]:
        terminal.result_json(documents)
    else:
        terminal.result(terminal.table(["input", "status", "steps", "seconds", "output"], rows))
    if failed == len(files):
        raise BatchError(f"all {failed} inputs failed and nothing is written; the table says why.")
    if failed:
        raise BatchError(f"{failed} of {len(files)} inputs failed; the others are written, as the table says.")


def _show_plans(files: list[Path], outputs: list[Any], config: "SolveConfig", given: dict[str, Any]) -> None:
    from recon.reconstruction.record import record_path
    from recon.specs.input_checks import read_first

    plans = []
    for file, output in zip(files, outputs, strict=True):
        found = read_first(file, config)  # before torch loads
        from recon.reconstruction.plan import make_plan
        from recon.reconstruction.run import check_target, read_image

        if output is not None and output.parent.is_dir():
            check_target(_target(output, given), (file,))
        plan = make_plan(config, read_image(file, config, terminal.say, found), terminal.say)
        writes = [str(path) for path in (output, output and record_path(output), given["figure"]) if path]
        plans.append({**plan.to_json(), "certificate": plan.method.certificate.to_json(), "outputs": writes})
        if not given["as_json"]:
            terminal.result(plan.describe())
            terminal.result(f"\nwould write: {', '.join(writes) or 'nothing, as -o is not given'}")
    if given["as_json"]:
        terminal.result_json(plans[0] if len(plans) == 1 else plans)
