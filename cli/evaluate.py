"""The command ``recon evaluate``: PSNR and SSIM over a folder of clean images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import terminal
from .common import NUMBER, config_option, talk_options
from .solve import OPERATOR_HELP, problem_options
from .uncertainty import UNCERTAINTY_HELP, checked_level, read_calibration_file, settings_of, settings_options

if TYPE_CHECKING:
    from recon.evaluation.evaluate import Score
    from recon.evaluation.tune import Tuned
    from recon.specs.solve_config import SolveConfig


@click.command("evaluate")
@click.option(
    "--data",
    required=True,
    multiple=True,
    metavar="DIR",
    help="Clean images: a folder, files or a pattern; repeatable.",
)
@click.option(
    "--operator", "operators", required=True, multiple=True, metavar="SPEC", help=f"{OPERATOR_HELP} Repeatable."
)
@problem_options
@click.option(
    "--tune",
    "tuning",
    multiple=True,
    metavar="DIR",
    help="Other clean images, on which the weight or the noise level of the prior is first tuned.",
)
@click.option(
    "--uncertainty", is_flag=True, help="Print the coverage of intervals, their width, and its correlation with errors."
)
@click.option("--uncertainty-method", metavar="NAME", help=f"Of --uncertainty: {UNCERTAINTY_HELP}")
@settings_options
@click.option("--calibrate", metavar="CAL.json", help="Of --uncertainty: a file of recon calibrate.")
@click.option("--level", type=NUMBER, metavar="P", help="Of --uncertainty: the level of the intervals.  [default: 0.9]")
@click.option("--range", "value_range", metavar="LO:HI", help="Grey values, in the files' units, that become 0 and 1.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@talk_options
def command(data: tuple[str, ...], operators: tuple[str, ...], **given: Any) -> None:
    """Simulate measurements of clean images, reconstruct them, and print a table of PSNR and SSIM.

    The noise of image k has the seed N + k. Figures are on the 0..1 scale, to which results are clipped; the border
    that boundary=valid leaves out is not scored. PSNR and SSIM are scikit-image's with
    data_range=1. With boundary=circular the simulation wraps around as the model does.

    For example: recon evaluate --data photos --operator blur:gaussian=1.6 --noise 0.01
    """
    from recon.reconstruction.file_names import expand_inputs, require_files
    from recon.specs.input_checks import look_at_operator
    from recon.specs.solve_config import read_config

    own = ("config_file", "as_json", "value_range", "tuning", *_OF_UNCERTAINTY)
    options = {key: value for key, value in given.items() if key not in own} | {"range": given["value_range"]}
    if given["photons"] is not None:
        raise click.UsageError(
            "--photons is no level of noise here; expected --noise alone, because evaluate adds white noise: "
            "recon simulate counts photons."
        )
    _refuse_without_uncertainty(given)
    if given["noise"] is None:
        raise click.UsageError("Missing option '--noise'; expected the level to simulate.", click.get_current_context())
    configs = [read_config(given["config_file"], {**options, "operator": spec}) for spec in operators]
    files = expand_inputs(data)
    require_files(files)
    for config in configs:
        look_at_operator(config.operator)  # before torch loads, as the images
    if not given["as_json"]:  # a machine is given its table of failures whatever it takes
        _refuse_all_unreadable(files)
    tuned = _tune(configs, given["tuning"], files) if given["tuning"] else []
    configs = [each.config for each in tuned] or configs
    if given["uncertainty"]:
        _cover(configs, files, given)
        return
    from recon.evaluation.evaluate import evaluate

    total, progress, scores = len(files) * len(configs), terminal.ProgressLine("evaluate"), []

    def done(score: "Score") -> None:
        scores.append(score)
        progress.label = f"image {len(scores) + 1} of {total}"
        if score.error:
            progress.close()
            terminal.say(score.error)
        terminal.detail(f"{score.name}: {score.psnr:.2f} dB, SSIM {score.ssim:.4f}, {score.status}")

    try:
        evaluate(configs, files, terminal.once(), progress.update, done)
    finally:
        progress.close()
    _print(scores, [str(config.operator) for config in configs], tuned, given["as_json"])


_OF_UNCERTAINTY = (
    "uncertainty", "uncertainty_method", "chains", "steps", "temperature", "samples", "no_transforms", "calibrate",
    "level",
)  # fmt: skip


def _refuse_without_uncertainty(given: dict[str, Any]) -> None:
    stated = [name for name in _OF_UNCERTAINTY[1:] if given[name] not in (None, False)]
    if stated and not given["uncertainty"]:
        raise click.UsageError(f"--{stated[0].replace('_', '-')} is given without --uncertainty; expected both.")


def _cover(configs: "list[SolveConfig]", files: "list[Path]", given: dict[str, Any]) -> None:
    """Print how intervals compare with the truth, for each operator."""
    calibration = read_calibration_file(given["calibrate"])
    level = checked_level(given["level"]) or (0.9 if calibration is None else calibration.level)
    from recon.evaluation.calibrate import cover, summary

    progress, documents = terminal.ProgressLine("evaluate"), []
    for config in configs:
        settings = settings_of(given, config.seed)
        try:
            covered = cover(
                config, (), settings, files, level, calibration, terminal.once(),
                lambda number, total, seen: progress.show(f"{number} of {total}: {seen}"),
            )  # fmt: skip
        finally:
            progress.close()
        found = summary(covered, level, calibration)
        documents.append({"operator": str(config.operator), **found, "images": [each.to_json() for each in covered]})
    if given["as_json"]:
        terminal.result_json({"uncertainty": documents})
        return
    for document in documents:
        rows = [_coverage_row(image) for image in document["images"]]
        rows.append(_coverage_row({**document, "name": "mean", "status": ""}))
        terminal.result(terminal.table([document["operator"], *_COVERAGE.values(), "status"], rows) + "\n")
        said = document["statement"] or f"factors of a normal law at level {level:g}: no coverage is claimed"
        terminal.result(said)


_COVERAGE = {
    "pixels": "pixels",
    "regions": "regions",
    "width": "width",
    "region_width": "of regions",
    "rank_correlation": "rank corr.",
    "block_correlation": "of regions",
}


def _coverage_row(image: dict[str, Any]) -> list[str]:
    return [image["name"], *(_number(image[key], 3) for key in _COVERAGE), image["status"]]


def _refuse_all_unreadable(files: "list[Path]") -> None:
    from recon.errors import BatchError, InputError
    from recon.specs.input_checks import refuse_unreadable

    try:
        refuse_unreadable(files)
    except InputError as error:
        terminal.say(str(error))
        raise BatchError(f"{len(files)} of {len(files)} images failed, so there are no means.") from None


def _tune(configs: "list[SolveConfig]", where: tuple[str, ...], files: "list[Path]") -> "list[Tuned]":
    from recon.errors import UsageError
    from recon.reconstruction.file_names import expand_inputs, require_files
    from recon.specs.input_checks import refuse_unreadable

    others = expand_inputs(where)
    require_files(others)
    refuse_unreadable(others)
    from recon.evaluation.tune import tune

    both = {file.resolve() for file in others} & {file.resolve() for file in files}
    if both:
        raise UsageError(
            f"{min(both)}: the image is in --data and in --tune; expected it in one of them, because figures on what "
            "was tuned on say nothing."
        )
    found, progress = [], terminal.ProgressLine("tune")
    for config in configs:

        def done(value: float, score: "Score") -> None:
            progress.label = f"tune: {value:.3g}"
            terminal.detail(f"{value:.3g}: {score.name}: {score.psnr:.2f} dB")

        try:
            found.append(tune(config, others, terminal.once(), done))
        finally:
            progress.close()
        best = max(psnr for _, psnr in found[-1].tried)
        terminal.say(f"{config.operator}: {found[-1].name}={found[-1].value:g} is best on the images of --tune, with "
                     f"{best:.2f} dB")  # fmt: skip
    return found


def _print(scores: "list[Score]", operators: list[str], tuned: "list[Tuned]", as_json: bool) -> None:
    from recon.errors import BatchError
    from recon.evaluation.evaluate import mean

    means = [(name, mean(score for score in scores if score.operator == name)) for name in operators]
    if as_json:
        terminal.result_json(
            {
                "mean": mean(scores),
                "operators": [{"operator": name, "mean": figures} for name, figures in means],
                "images": [score.to_json() for score in scores],
                "tuned": [
                    {
                        "prior": str(each.config.prior),
                        "name": each.name,
                        "value": each.value,
                        "tried": [list(pair) for pair in each.tried],
                    }
                    for each in tuned
                ],
            }
        )
    else:
        for name, figures in means:
            rows = [_row(score) for score in scores if score.operator == name]
            rows.append(["mean", *(_number(figures[key], digits) for key, digits in _COLUMNS), ""])
            terminal.result(terminal.table([name, "PSNR in", "PSNR", "SSIM", "status"], rows) + "\n")
        if len(means) > 1:
            rows = [[name, *(_number(figures[key], digits) for key, digits in _COLUMNS)] for name, figures in means]
            terminal.result(terminal.table(["operator", "PSNR in", "PSNR", "SSIM"], rows))
    failed = sum(score.status == "failed" for score in scores)
    if failed == len(scores):
        raise BatchError(f"{failed} of {failed} images failed, so there are no means.")
    if failed:
        raise BatchError(f"{failed} of {len(scores)} images failed; the means are of the others.")


_COLUMNS = (("psnr_input", 2), ("psnr", 2), ("ssim", 4))


def _row(score: "Score") -> list[str]:
    return [score.name, *(_number(getattr(score, key), digits) for key, digits in _COLUMNS), score.status]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"  # noqa: PLR0124  NaN
