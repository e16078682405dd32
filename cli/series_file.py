"""``recon solve`` of a DICOM series to one file: NIfTI, TIFF, OME-TIFF, Zarr or NPY."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import terminal

if TYPE_CHECKING:
    from recon.batch.plan import Contents
    from recon.batch.series import Series
    from recon.specs.solve_config import SolveConfig


def one_series(contents: "Contents", output: Path | None) -> "Series | None":
    """The series that becomes one file: the inputs are its slices, and the output is named like a stack."""
    from recon.io.files import suffix_of
    from recon.reconstruction.file_names import STACK_SUFFIXES

    if output is None or (output.is_dir() and suffix_of(output) != ".zarr") or suffix_of(output) not in STACK_SUFFIXES:
        return None
    alone = len(contents.series) == 1 and not contents.files and not contents.failed
    return contents.series[0] if alone and len(contents.series[0].slices) > 1 else None


def solve_series(one: "Series", output: Path, config: "SolveConfig", given: dict[str, Any]) -> None:
    """Solve a series, or show the plan, and write the result to one file.

    Raises:
        ConsistencyError: The slices are not parallel and at one distance.
    """
    from recon.batch.series import volume_doubt
    from recon.errors import ConsistencyError

    doubt = volume_doubt(one)
    if doubt:
        raise ConsistencyError(f"{one.folder}: {doubt.rstrip('?')}.")
    from recon.batch.series_file import read_series
    from recon.reconstruction.run import Target, check_target

    from .solve import report_run, show_plan_of, solve_read

    paths = tuple(each.source.path for each in one.slices)
    if not given["dry_run"] or output.parent.is_dir():
        check_target(Target(output, given["figure"], given["overwrite"], None, given["alarm_map"]), paths)
    image, inputs = read_series(one, config, output, terminal.say)
    if given["dry_run"]:
        show_plan_of(image, output, config, given)
        return
    volume = {"slices": len(one.slices), "series_sha256": one.inputs_sha256, "pitch": one.pitch}
    run = solve_read(image, inputs, output, config, given, volume)
    if given["report"] is not None:
        from .report import of_run

        of_run(run.record, paths, given)
    report_run(run, given["as_json"])
