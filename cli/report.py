"""The command ``recon report``: recorded runs as one HTML page."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import terminal
from .common import talk_options

if TYPE_CHECKING:
    from recon.batch.report_folder import FoundRuns
    from recon.batch.run import Batch
    from recon.reconstruction.report_maps import MapFile
    from recon.reconstruction.run_report import Inputs


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN.json|FOLDER...")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="PAGE.html", help="The page to write."
)
@click.option(
    "--inputs",
    "places",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where to look for measurements that records do not name, as of DICOM; searched by hash. May be repeated.",
)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="FILE[:NAME]",
    help="Also show a map of the size of the result, with a scale and a unit of its own, such as std.tif of recon "
    "uncertainty; of several results a folder of maps that are named as they are. May be repeated.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing page.")
@click.option("--show-paths", is_flag=True, help="Name inputs where names of patients could be in them.")
@talk_options
def command(  # noqa: PLR0913, PLR0917  one for each option
    runs: tuple[Path, ...], output: Path, places: tuple[Path, ...], layers: tuple[str, ...], overwrite: bool,
    show_paths: bool,
) -> None:  # fmt: skip
    """Make one HTML page of recorded runs: pictures before and after, residual, convergence, figures, certificate.

    RUN.json is a run record, or the image that lies beside it; FOLDER is a folder of results, of which each series and
    each other file is shown. A picture is shown only where its file has the SHA-256 in the record. The page holds all
    that it shows, and loads nothing. A standard deviation that recon uncertainty wrote beside a result of the same
    measurement is shown too.

    For example: recon report sharp.png.run.json -o page.html
    """
    check(output, overwrite, runs)
    from recon.batch.report_folder import find_runs

    found = find_runs(runs)
    from recon.reconstruction.report_maps import distinct, parse_map
    from recon.reconstruction.run_report import Inputs

    maps = distinct([parse_map(text) for text in layers])
    _require_folders(maps, sum(len(group.records) for group in found.groups))
    write(found, output, Inputs(_existing(places)), overwrite, show_paths, maps)
    terminal.result(str(output))


def check(output: Path, overwrite: bool, inputs: tuple[Path, ...] = ()) -> None:
    """See that a page may be written there, before any work is done."""
    from recon.errors import OutputError
    from recon.io.atomic import check_output

    if output.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{output}: the suffix {output.suffix!r} names no page; expected .html.")
    check_output(output, overwrite=overwrite, inputs=inputs)


def _require_folders(maps: "tuple[MapFile, ...]", records: int) -> None:
    from recon.errors import UsageError

    for each in maps:
        if records > 1 and not each.path.is_dir():
            raise UsageError(
                f"{each.path}: one map for {records} results; expected a folder of maps that are named as the results."
            )


def write(  # noqa: PLR0913, PLR0917  what is shown, where, and how
    found: "FoundRuns", output: Path, inputs: "Inputs", overwrite: bool, show_paths: bool,
    maps: "tuple[MapFile, ...]" = (),
) -> None:  # fmt: skip
    """Write the page of runs that were found."""
    from recon.batch.report_folder import contents_of
    from recon.reconstruction.run_report import ReportOptions
    from recon.report.page import write_page

    options = ReportOptions(inputs, show_paths, terminal.say, maps)
    progress = terminal.ProgressLine(output.name)
    try:
        contents = contents_of(found, options, lambda done, total: progress.show(f"slice {done} of {total}"))
        write_page(output, contents, overwrite=overwrite)
    finally:
        progress.close()


def of_run(record: Path, places: tuple[Path, ...], given: dict[str, Any]) -> None:
    """Write the page of a run that has just ended, as ``recon solve --report`` does."""
    from recon.batch.report_folder import find_runs
    from recon.reconstruction.run_report import Inputs

    write(find_runs((record,)), given["report"], Inputs(places), given["overwrite"], given["show_paths"])


def of_batch(batch: "Batch", given: dict[str, Any]) -> None:
    """Write the page of a batch: of its results, those of earlier runs included."""
    from recon.batch.report_folder import find_batch
    from recon.reconstruction.run_report import Inputs

    found = find_batch(batch)
    if found is None:
        terminal.say(f"{given['report']}: there is no result to report on, so no page was written")
        return
    known = {task.sha256: task.source.content for task in batch.tasks if not task.of_projections}
    places = tuple(task.source.path for task in batch.tasks if task.of_projections)
    write(found, given["report"], Inputs(places, known), given["overwrite"], given["show_paths"])


def _existing(places: tuple[Path, ...]) -> tuple[Path, ...]:
    from recon.errors import InputError

    for place in places:
        if not place.exists():
            raise InputError(f"{place}: there is no such folder or file; expected where the measurements are.")
    return places
