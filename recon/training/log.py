"""The log of a run: a CSV file, a line a step."""

import csv
import math
import time
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import final

from recon.errors import OutputError
from recon.io import replacing

NAME = "log.csv"
FLUSH_SECONDS = 5.0
"""How old the file may be while a training runs."""


@final
@dataclass(frozen=True)
class Row:
    """A step; what was not looked at is NaN, and empty in the file.

    Attributes:
        step: Its number, from 1.
        loss: Of the batch.
        rate: The learning rate.
        constraint: The largest ||Q'|| seen on the batch.
        seconds: Since the beginning.
        psnr: Of the validation images, the mean over the noise levels, in dB.
        lipschitz: ||Q'|| by a converged iteration at validation images, or the bound that is proved.
        restored: PSNR of reconstructions of the validation images.
        metric: The user's own, of the validation images.
        orthogonality: The sum of L_orth over the convolutions: of each step where it is penalised, else when the
            validation images are looked at.
        auroc: Of a critic on the validation images, the mean over the kinds of artefacts.
        held_out: The loss on validation images that are not clean.
        tail_index: Of the noise of the gradient, at each validation: descriptive, and biased for laws that are not
            stable; see :func:`recon.training.statistics.tail_index`.
        effective_rate: The learning rate over the squared norm of weights whose scale has no effect.
        nonzero: Of a sparse coding, the share of coefficients of the validation images that are not zero.
        atoms: Of its atoms, how many have one.
    """

    step: int
    loss: float
    rate: float
    constraint: float = math.nan
    seconds: float = 0.0
    psnr: float = math.nan
    lipschitz: float = math.nan
    restored: float = math.nan
    metric: float = math.nan
    orthogonality: float = math.nan
    auroc: float = math.nan
    held_out: float = math.nan
    tail_index: float = math.nan
    effective_rate: float = math.nan
    nonzero: float = math.nan
    atoms: float = math.nan


_COLUMNS = tuple(item.name for item in fields(Row))


class Log:
    """The rows, in memory and on disk.

    Args:
        folder: Of the run.
        steps: Rows beyond this step, which the state that goes on does not know, are forgotten.

    Raises:
        OutputError: The file cannot be written.
    """

    def __init__(self, folder: Path, steps: int = 0) -> None:
        self.path = folder / NAME
        self.rows = [row for row in read_rows(self.path) if row.step <= steps]
        self._waiting: list[Row] = []
        self._flushed = time.monotonic()
        with replacing(self.path, overwrite=True) as temporary:
            temporary.write_text("".join(map(_line, [_COLUMNS, *map(_texts, self.rows)])), encoding="utf-8")

    def add(self, row: Row) -> None:
        """One row more, written now and then, and by :meth:`flush`."""
        self.rows.append(row)
        self._waiting.append(row)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits.

        Raises:
            OutputError: The disk is full, or the file cannot be written for another reason.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(_line(_texts(row)) for row in self._waiting))
        except OSError as error:
            raise OutputError(f"{self.path}: the log cannot be written ({(error.strerror or '').lower()}).") from error
        self._waiting, self._flushed = [], time.monotonic()


def _texts(row: Row) -> tuple[str, ...]:
    return tuple("" if value != value else f"{value:.8g}" for value in astuple(row))  # noqa: PLR0124  NaN


def _line(texts: tuple[str, ...]) -> str:
    return ",".join(texts) + "\n"


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, as far as it is whole."""
    if not path.is_file():
        return []
    found = []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for texts in list(csv.reader(file))[1:]:
            try:
                values = [float(text) if text else math.nan for text in texts]
                found.append(Row(int(values[0]), *values[1:]))
            except (ValueError, TypeError, IndexError):  # a line that was cut off
                break
    return found
