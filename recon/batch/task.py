"""One input of a batch: what is read, how it is solved, and where the result goes."""

from dataclasses import dataclass, field
from pathlib import Path

from recon.batch.source import Source
from recon.io import Derivation
from recon.reconstruction.record import record_path
from recon.specs.solve_config import SolveConfig


@dataclass(frozen=True)
class Stamp:
    """By what a record is known to be of a batch, and its result to be the one that would be made again.

    Attributes:
        request: The hash of the configuration that was asked for.
        series: The hash of the set of slices from which noise and range were estimated; empty where nothing was.
        configuration: The hash of the configuration with what was estimated.
    """

    request: str
    series: str = ""
    configuration: str = ""

    def to_json(self) -> dict[str, str]:
        """Return it as a record keeps it."""
        return {"request_sha256": self.request, "series_sha256": self.series, "config_sha256": self.configuration}


@dataclass(frozen=True)
class Task:
    """One input.

    Attributes:
        label: What it is called in all that is said: the name of its result below the folder of results.
        source: The input.
        sha256: Of its content.
        output: The result.
        config: How it is solved; of a series, with what was estimated for it.
        stamp: What its record says of the batch.
        derivation: What a DICOM result says of the run; ``None`` for other files.
        resolved: Whether the configuration leaves nothing to be estimated.
        overwrite: Whether the output may be replaced.
        again: Whether an earlier attempt at the task may have left results.
        figure: Where a figure goes.
        keep_interrupted: Whether Ctrl-C leaves the last iterate.
        alarm: The critic that judges the result, as :func:`recon.reconstruction.alarm.find_alarm` takes it, or empty.
    """

    label: str
    source: Source
    sha256: str
    output: Path
    config: SolveConfig
    stamp: Stamp
    derivation: Derivation | None = None
    resolved: bool = False
    overwrite: bool = False
    again: bool = False
    figure: Path | None = None
    keep_interrupted: bool = False
    alarm: str = ""

    @property
    def record(self) -> Path:
        """The run record."""
        return record_path(self.output)

    @property
    def of_projections(self) -> bool:
        """Whether the input is projections, which are read from their file."""
        return self.config.operator.name == "ct"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a task in plain values, which a worker sends back.

    Attributes:
        label: Of the task.
        status: That of the run, ``"failed"``, ``"interrupted"`` or ``"done before"``.
        steps: That it took.
        seconds: That the solver took.
        record: The run record.
        said: Remarks.
        error: Why it failed.
        stop: Whether all others would fail as it did, as on a full disk.
        exit_code: That of the error.
        alarm: Whether a critic gave alarm; ``None`` where none judged.
    """

    label: str
    status: str
    steps: int = 0
    seconds: float = 0.0
    record: Path | None = None
    said: tuple[str, ...] = field(default=())
    error: str = ""
    stop: bool = False
    exit_code: int = 0
    alarm: bool | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no result."""
        return bool(self.error)
