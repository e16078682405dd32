"""To do a recorded run again."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recon import io
from recon.catalogue import folders
from recon.device import Notify
from recon.errors import InputError, UsageError
from recon.io import Image
from recon.reconstruction.output_check import OutputFile, check_outputs
from recon.reconstruction.record import find_input, find_slices, read_record, versions
from recon.reconstruction.run import ProgressCallback, Result, pixel_hash, read_image, solve_image, writable
from recon.reconstruction.slice_stack import as_one_file
from recon.reconstruction.tiles.plan import TilePlan, plan_tiles
from recon.reconstruction.tiles.solve import TiledResult, Watch, solve_tiles
from recon.solvers import Status
from recon.specs.input_checks import map_first
from recon.specs.solve_config import SolveConfig, config_from


@dataclass(frozen=True)
class Replay:
    """A run that was done again.

    Attributes:
        result: The new run.
        measurement: The input that was found.
        same_result: Whether the values are the recorded ones to the bit, before any rounding.
        changed: The packages whose versions differ, as "name old -> new".
        outputs: The files that the record names as outputs, and what has become of them.
    """

    result: Result | TiledResult
    measurement: Path
    same_result: bool
    changed: tuple[str, ...]
    outputs: tuple[OutputFile, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether the result is the recorded one, and no recorded output that is still there has other pixels."""
        return self.same_result and not any(output.altered for output in self.outputs)


def replay(
    record: Path,
    places: Sequence[Path],
    say: Notify,
    watch: ProgressCallback | None = None,
    watch_tiles: Watch | None = None,
) -> Replay:
    """Do a recorded run again, on inputs whose hashes are verified.

    Args:
        record: The run record.
        places: Where an input may lie that the record does not name or that has moved, besides the packaged networks.
        say: Where remarks go.
        watch: Called as the run goes on.
        watch_tiles: Called in its place as a run in tiles goes on.

    Raises:
        UsageError: The record is of another command.
        InputError: The record is none, or an input is not found.
        ConsistencyError: An input has changed.
        UsageError: The record is of a slice of a volume.
    """
    document = read_record(record)
    if document.get("command") is not None:
        raise UsageError(
            f"{record}: the record is of recon {document['command']}; expected one of recon solve, because only these "
            "are replayed: the seed in it gives the same maps again."
        )
    config = recorded_config(document, record)
    volume = document.get("volume")
    if isinstance(volume, dict) and "slice" in volume:
        raise UsageError(
            f"{record}: the run record is of a slice of a volume, and names that slice alone; expected recon solve "
            "with the whole series again, because all slices were solved together."
        )
    entries = document["inputs"]
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{record}: the run record names no input.")
    looked = [*places, record.parent, Path(), *folders().values()]
    measured = [entry for entry in entries if entry.get("role") == "measurement"]
    for entry in entries:
        if entry.get("role") == "guide":
            config = replace(config, guide=str(find_input(entry, record, looked)))  # not named where it is DICOM
        elif entry not in measured:
            find_input(entry, record, looked)
    result: Result | TiledResult
    if len(measured) > 1:
        paths = find_slices(measured, record, looked)
        image, measurement = _series(paths, volume, document, config, record), paths[0].parent
        result = solve_image(config, image, say, watch)
    else:
        measurement = find_input(entries[0], record, looked)
        tiles = _tiles(measurement, config, say) if "tiles" in document else None
        if tiles is None:
            result = solve_image(config, read_image(measurement, config, say), say, watch)
        else:
            result = solve_tiles(tiles, watch_tiles)
    recorded = document.get("versions")
    old = recorded if isinstance(recorded, dict) else {}
    changed = tuple(f"{name} {old.get(name)} -> {new}" for name, new in versions().items() if old.get(name) != new)
    found = result.sha256 if isinstance(result, TiledResult) else pixel_hash(result.solution.x)
    same = found == document.get("result_sha256")
    ended = result.status not in (Status.INTERRUPTED, Status.DIVERGED, Status.NOT_FINITE)
    outputs = check_outputs(document, record.parent, functools.partial(writable, result.image)) if ended else ()
    return Replay(result, measurement, same, changed, outputs)


def _tiles(measurement: Path, config: SolveConfig, say: Notify) -> TilePlan | None:
    """The plan of a run in tiles: their division follows from the memory that the record states."""
    return plan_tiles(config, map_first(measurement, config), say)


def _series(
    paths: Sequence[Path], volume: object, document: dict[str, object], config: SolveConfig, record: Path
) -> Image:
    """The slices of a series as one image, as ``recon solve`` made it of them."""
    pitch = volume.get("pitch") if isinstance(volume, dict) else None
    outputs = document.get("outputs")
    first = outputs[0] if isinstance(outputs, list) and outputs else None
    name = Path(str(first.get("path")) if isinstance(first, dict) else "volume.npy")
    images = [io.read(path, value_range=config.range) for path in paths]
    return as_one_file(images, float(pitch) if isinstance(pitch, int | float) else None, record.name, name)


def recorded_config(document: dict[str, object], record: Path) -> SolveConfig:
    """The configuration that a record states, its files relative to the record's folder."""
    config = document["config"]
    if not isinstance(config, dict):
        raise InputError(f"{record}: the run record's configuration is not a table.")
    return config_from(config, str(record.parent), str(record))
