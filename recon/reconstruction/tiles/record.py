"""Output and run record of a run in tiles."""

from dataclasses import dataclass
from pathlib import Path

from recon import io
from recon.device import Notify
from recon.errors import OutputError, UsageError
from recon.io.files import suffix_of
from recon.reconstruction.record import input_file, now, record_path, versions, write_record
from recon.reconstruction.run import Target, check_target, files_of, input_files
from recon.reconstruction.tiles.plan import TilePlan
from recon.reconstruction.tiles.solve import TiledResult
from recon.specs.solve_config import to_json

_WRITTEN = (".tif", ".tiff", ".npy")
"""Formats that are written from a file without a copy in memory."""


@dataclass(frozen=True)
class TiledRun:
    """A run in tiles on disk.

    Attributes:
        result: The run.
        paths: The files of the result.
        record: The run record.
        document: What the record says.
    """

    result: TiledResult
    paths: tuple[Path, ...]
    record: Path
    document: dict[str, object]


def check_tiled_output(plan: TilePlan, output: Path | None, figure: Path | None, alarm: str | None = None) -> None:
    """See that a result of tiles can be written, before any work is done.

    Raises:
        OutputError: Its format needs the whole image in memory.
        UsageError: A figure or the verdict of a critic is wanted, which would, too.
    """
    if figure is not None:
        raise UsageError(
            f"--figure is {figure} with an image that is solved in tiles; expected --report PAGE.html, because a "
            "figure is drawn from the whole image in memory."
        )
    if alarm is not None:
        raise UsageError(
            f"--alarm is {alarm} with an image that is solved in tiles; expected none, or a larger --memory, because a "
            "critic judges the whole image in memory."
        )
    if output is not None and suffix_of(output) not in _WRITTEN:
        raise OutputError(
            f"{output}: a result that is solved in tiles is written in strips; expected {', '.join(_WRITTEN)}."
        )


def write_tiled(result: TiledResult, measurement: Path, target: Target, say: Notify) -> TiledRun:
    """Write a result of tiles and its record.

    Raises:
        OutputError: Something cannot be written.
    """
    first = result.plan.first
    check_target(target, files_of(first, measurement), result.image)
    inputs = input_files(first, measurement)
    written = io.write(result.image, target.output, overwrite=target.overwrite, inputs=files_of(first, measurement))
    if written.clipped:
        say(f"{target.output}: {written.clipped} value(s) did not fit into the file's range and were clipped")
    for note in written.notes:
        say(f"{target.output}: {note}")
    record = record_path(target.output)
    seams = result.seams
    document: dict[str, object] = {
        "status": result.status.value,
        "sentence": result.status.sentence,
        "steps": result.steps,
        "distance": result.distance.to_json(),
        "frames": [],
        "seconds": round(result.seconds, 3),
        "peak_bytes": result.peak_bytes,
        "ended": now(),
        "certificate": result.certificate.to_json() | {"tiles": f"of each tile; {seams}"},
        "error_bounds": [],
        "backward_errors": [],
        "duality_gap": None,
        "duality_gaps": [],
        "guide": None,
        "first": None,
        "residual_check": None,
        "config": to_json(result.plan.config, record.parent),
        "plan": result.plan.plan_json(),
        "tiles": {
            **result.plan.to_json(),
            "seams": seams.to_json(),
            "runs": [tile.to_json() for tile in result.tiles],
        },
        "versions": versions(),
        "inputs": [entry.to_json(record.parent) for entry in inputs],
        "outputs": [{"path": path.name, "sha256": input_file("output", path).sha256} for path in written.paths],
        "result_sha256": result.sha256,
        "history": [],
    }
    write_record(record, document, target.overwrite)
    return TiledRun(result, written.paths, record, document)
