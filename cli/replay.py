"""The command ``recon replay``: repeat a recorded run."""

from pathlib import Path

import click

from . import terminal
from .common import talk_options


@click.command("replay")
@click.argument("record", type=click.Path(path_type=Path), metavar="RUN.json")
@click.argument("places", nargs=-1, type=click.Path(path_type=Path), metavar="[INPUT...]")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="OUT", help="Also write the result.")
@click.option("--overwrite", is_flag=True, help="Replace existing outputs (never an input).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@talk_options
def command(record: Path, places: tuple[Path, ...], output: Path | None, overwrite: bool, as_json: bool) -> None:
    """Repeat a recorded run, and say whether the result is the same to the bit and the recorded output unchanged.

    Inputs are read from the paths in the record and must have the recorded SHA-256. A DICOM input is recorded by its
    hash only, because its name may identify a patient: it is searched for beside the record, in the working directory
    and in INPUT (files or folders).
    """
    from recon.reconstruction.record import read_record

    read_record(record)  # before torch loads
    from recon.reconstruction.output_check import OutputState
    from recon.reconstruction.replay import replay
    from recon.reconstruction.run import Target, check_target, write_run
    from recon.reconstruction.tiles.record import write_tiled
    from recon.reconstruction.tiles.solve import TiledResult
    from recon.solvers import Status

    from .tiles import watching

    if output is not None:
        check_target(Target(output, overwrite=overwrite), (record,))
    progress = terminal.ProgressLine(record.name)
    try:
        again = replay(record, places, terminal.say, progress.update, watching(progress))
    finally:
        progress.close()
    result = again.result
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt(f"after {result.steps} steps; nothing was written")
    written: tuple[Path, ...] = ()
    if output is not None:
        target = Target(output, overwrite=overwrite)
        if isinstance(result, TiledResult):
            written = write_tiled(result, again.measurement, target, terminal.say).paths
        else:
            written = write_run(result, again.measurement, target, terminal.say).paths
    if as_json:
        terminal.result_json(
            {
                "identical": again.identical,
                "result_identical": again.same_result,
                "recorded_outputs": [{"path": str(each.path), "state": each.state.value} for each in again.outputs],
                "status": result.status.value,
                "steps": result.steps,
                "changed": list(again.changed),
                "outputs": [str(path) for path in written],
            }
        )
        return
    verdict = "identical to the recorded result" if again.same_result else "not identical to the recorded result"
    but = ", but a recorded output was altered" if again.same_result and not again.identical else ""
    terminal.result(f"{record}: {result.outcome}, {verdict}{but}")
    for each in again.outputs:
        if each.state is not OutputState.UNCHANGED:
            terminal.result(each.sentence)
    for line in again.changed:
        terminal.result(f"changed since: {line}")
    for path in written:
        terminal.result(f"written: {path}")
