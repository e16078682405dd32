"""A sweep: the same training with several values of a number of the architecture, and its errors over the parameters.

It draws how training and test error follow the size of a network, as in studies of double descent (Belkin, Hsu, Ma,
Mandal 2019). It describes these runs, and says nothing of others.
"""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from recon._suggest import suggestion
from recon.errors import InputError, OutputError, UsageError
from recon.io import replacing
from recon.report import sweep_curves
from recon.training.config import Recipe
from recon.training.log import NAME as LOG
from recon.training.log import read_rows

TABLE, FIGURE, CARD = "sweep.csv", "sweep.png", "card.json"
_LAST = 0.1
"""Of the steps, over which the loss of the training is averaged."""

_NOT_SIZES = ("channels", "noise_range")


@final
@dataclass(frozen=True)
class Sweep:
    """A key of the table ``[network]`` and its values.

    Attributes:
        key: The key.
        values: Different ones, as they were written.
    """

    key: str
    values: tuple[str, ...]

    def folder(self, output: Path, value: str) -> Path:
        """The folder of the run with a value."""
        return output / f"{self.key}={value}"

    def recipe(self, given: Recipe, value: str) -> Recipe:
        """The recipe of the run with a value; of a list it is the last number, and the others keep their ratio to it.

        Raises:
            UsageError: No network can have it.
        """
        try:
            found = _with(getattr(given.network, self.key), float(value))
            return replace(given, network=replace(given.network, **{self.key: found}))
        except UsageError as error:
            raise UsageError(f"--sweep {self.key}={value}: {error}") from error


@final
@dataclass(frozen=True)
class SweptRun:
    """The figures of one run of a sweep.

    Attributes:
        value: Of the key.
        parameters: Of the network.
        training: The mean loss of the last tenth of the steps.
        test: On the validation images: the mean squared error, or the loss where they are not clean.
        psnr: Of the validation images in dB; NaN where they are not clean.
    """

    value: str
    parameters: int
    training: float
    test: float
    psnr: float

    def to_json(self) -> dict[str, object]:
        """Plain values; what is not known is ``None``."""
        numbers = {"training_loss": self.training, "test_error": self.test, "psnr": self.psnr}
        known = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
        return {"value": float(self.value), "parameters": self.parameters, **known}


def claim(output: Path, resume: bool) -> None:
    """Make the folder of a sweep, which with ``resume`` may hold runs.

    Raises:
        OutputError: There is something in it, and it is not to go on; or it cannot be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        taken = any(output.iterdir())
    except OSError as error:
        raise OutputError(f"{output}: the folder cannot be made ({(error.strerror or '').lower()}).") from error
    if taken and not resume:
        raise OutputError(
            f"{output}: it is not empty; expected a new folder, or --resume to go on with a sweep, because runs are "
            "never overwritten."
        )
    if taken and (output / CARD).exists():
        raise OutputError(f"{output}: a run is in it; expected the folder of a sweep.")


def parse_sweep(text: str, recipe: Recipe) -> Sweep:
    """The sweep that ``KEY=VALUE,VALUE,...`` states for a recipe.

    Raises:
        UsageError: The key is no size of the network, or the values are no two different numbers.
    """
    key, _, listed = text.partition("=")
    values = tuple(part.strip() for part in listed.split(",") if part.strip())
    key = key.strip()
    known = [each.name for each in dataclasses.fields(recipe.network) if _is_size(recipe.network, each.name)]
    if key not in known:
        raise UsageError(
            f"--sweep {text}: {key!r} is no number of a {recipe.network.family} network; {suggestion(key, known)}."
        )
    for value in values:
        if not _is_finite(value):
            raise UsageError(f"--sweep {text}: {value!r} is no number; expected some, as in {key}=4,8,16.")
    if len({float(value) for value in values}) < max(2, len(values)):
        raise UsageError(f"--sweep {text}: expected two different values or more, each once, as in {key}=4,8,16.")
    if recipe.network.family in ("Critic", "ConvexCritic"):
        raise UsageError(
            f"--sweep {text} with a {recipe.network.family}; expected a denoiser, because a critic has no error."
        )
    sweep = Sweep(key, values)
    for value in values:
        sweep.recipe(recipe, value)  # all are refused before one is trained
    return sweep


def result_of(folder: Path, value: str) -> SweptRun:
    """The figures of a run, from its card and its log.

    Raises:
        InputError: They cannot be read.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        psnr = [each["psnr"] for each in card["figures"]]
        parameters, held_out = int(card["parameters"]), card.get("held_out", math.nan)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: the card of the run cannot be read ({error}); expected a finished run.") from error
    known = [each for each in psnr if each is not None]
    errors = [10 ** (-each / 10) for each in known]
    test = sum(errors) / len(errors) if errors else math.nan if held_out is None else float(held_out)
    losses = [row.loss for row in read_rows(folder / LOG)]
    last = losses[-max(1, round(_LAST * len(losses))) :] if losses else [math.nan]
    return SweptRun(value, parameters, sum(last) / len(last), test, sum(known) / len(known) if known else math.nan)


def is_finished(sweep: Sweep, value: str, output: Path, steps: int) -> bool:
    """Return whether a run of a sweep has all of its steps, or ended early and is in the table."""
    try:
        card = json.loads((sweep.folder(output, value) / CARD).read_text(encoding="utf-8"))
        if int(card["training"]["step"]) >= steps:
            return True
        if not card["recipe"]["validation"]["patience"] or int(card["recipe"]["training"]["steps"]) != steps:
            return False
        listed = (output / TABLE).read_text(encoding="utf-8").splitlines()[1:]
        return value in [line.partition(",")[0] for line in listed]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_sweep(output: Path, sweep: Sweep, runs: Sequence[SweptRun]) -> None:
    """Write the table and the figure of the runs that are there.

    Raises:
        OutputError: They cannot be written.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([sweep.key, "parameters", "training_loss", "test_error", "psnr"])
    rows.writerows([[run.value, run.parameters, *map(_cell, (run.training, run.test, run.psnr))] for run in runs])
    with replacing(output / TABLE, overwrite=True) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    panels = {
        "loss of the training, last tenth of the steps": [(run.parameters, run.training) for run in runs],
        "error on validation images": [(run.parameters, run.test) for run in runs],
    }
    sweep_curves(panels, [f"{sweep.key} = {run.value}" for run in runs], output / FIGURE)


def _is_size(network: Any, name: str) -> bool:
    value = getattr(network, name)
    numbers = value if isinstance(value, tuple) and value else (value,)
    plain = all(isinstance(each, int | float) and not isinstance(each, bool) for each in numbers)
    return plain and name not in _NOT_SIZES


def _with(before: Any, value: float) -> Any:
    if isinstance(before, tuple):
        factor = value / before[-1] if before[-1] else 1.0
        return (*(_like(each, factor * each) for each in before[:-1]), _exactly(before[-1], value))
    return _exactly(before, value)


def _like(before: float, value: float) -> float:
    return max(1, round(value)) if isinstance(before, int) else value


def _exactly(before: float, value: float) -> float:
    if isinstance(before, int) and not value.is_integer():
        raise UsageError("expected a whole number, because the recipe has one there.")
    return int(value) if isinstance(before, int) else value


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _cell(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""
