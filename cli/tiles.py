"""``recon solve --memory`` of an image that is larger than the memory: plan, run and results in tiles."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import terminal

if TYPE_CHECKING:
    from recon.reconstruction.tiles.plan import TilePlan
    from recon.reconstruction.tiles.record import TiledRun
    from recon.reconstruction.tiles.solve import Watch
    from recon.specs.solve_config import SolveConfig


def solve_in_tiles(file: Path, output: Path | None, config: "SolveConfig", given: dict[str, Any]) -> bool:
    """Solve an image in tiles, or show the plan; return False where the whole image fits, or may not be divided."""
    from recon.specs.input_checks import look_at_operator, map_first, may_have_tiles

    if not may_have_tiles(config):
        return False
    look_at_operator(config.operator)
    image = map_first(file, config)  # before torch loads, so that what cannot be read is refused at once
    from recon.reconstruction.run import Target, check_target, say_notes
    from recon.reconstruction.tiles.plan import plan_tiles

    target = Target(output, overwrite=given["overwrite"]) if output is not None else None
    if target is not None and (target.output.parent.is_dir() or not given["dry_run"]):
        check_target(target, (file,))
    plan = plan_tiles(config, image, terminal.say)
    if plan is None:
        return False
    say_notes(image, file.name, terminal.say)
    from recon.reconstruction.tiles.record import check_tiled_output

    check_tiled_output(plan, output, given["figure"], given["alarm"])
    if given["dry_run"] or target is None:
        _show(plan, output, given)
        return True
    run = _solved(plan, file, output, given)
    if given["report"] is not None:
        from .report import of_run

        of_run(run.record, (file,), given)
    _report(run, given["as_json"])
    return True


def _solved(plan: "TilePlan", file: Path, output: Path | None, given: dict[str, Any]) -> "TiledRun":
    from recon.reconstruction.run import Target, check_target, files_of
    from recon.reconstruction.tiles.record import write_tiled
    from recon.reconstruction.tiles.solve import solve_tiles

    assert output is not None  # noqa: S101  the caller saw to it
    target = Target(output, overwrite=given["overwrite"])
    check_target(target, files_of(plan.first, file))
    count = len(plan.division.tiles)
    terminal.say(f"{output}: in {count} tiles, because the whole image does not fit into --memory")
    progress = terminal.ProgressLine(output.name)
    try:
        result = solve_tiles(plan, watching(progress), output.parent)
    finally:
        progress.close()
    run = write_tiled(result, file, target, terminal.say)
    for line in (result.shortfall, result.seams.shortfall):
        if line is not None:
            terminal.say(f"{output}: {line}")
    return run


def watching(progress: terminal.ProgressLine) -> "Watch":
    """Return what shows how far a run in tiles is."""

    def watch(done: int, tiles: int, step: int, distance: float) -> None:
        near = f", about {distance:.1e} of it from the limit" if distance < 1 else ""
        progress.show(f"tile {done + 1} of {tiles}, step {step}{near}")

    return watch


def _report(run: "TiledRun", as_json: bool) -> None:
    if as_json:
        terminal.result_json(run.document)
        return
    result, first = run.result, run.result.plan.first
    terminal.result(f"{', '.join(map(str, run.paths))}: {result.outcome}, {result.seconds:.1f} s")
    terminal.result(f"method: {first.method.name}, prior: {first.problem.prior.spec}")
    terminal.result(f"record: {run.record}")
    terminal.result(f"{result.certificate}\n  of each tile; {result.seams}")
    if result.guide is not None:
        terminal.result(f"guide: {result.guide}")
    terminal.result(f"distance to the limit: {result.distance}")


def _show(plan: "TilePlan", output: Path | None, given: dict[str, Any]) -> None:
    from recon.reconstruction.record import record_path

    writes = [] if output is None else [str(output), str(record_path(output))]
    writes += [] if given["report"] is None else [str(given["report"])]
    if given["as_json"]:
        certificate = plan.first.method.certificate.to_json()
        terminal.result_json({**plan.plan_json(), "certificate": certificate, "outputs": writes})
        return
    terminal.result(plan.describe())
    terminal.result(f"\nwould write: {', '.join(writes) or 'nothing, as -o is not given'}")
