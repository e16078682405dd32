"""The files that maps are written to, checked before any work is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recon import io
from recon.errors import OutputError, UsageError
from recon.reconstruction.record import record_path
from recon.reconstruction.sensitivity_output import check_map
from recon.report import FIGURE_SUFFIXES

SUFFIXES = (".tif", ".tiff", ".npy", ".dcm", ".dicom")
"""Of maps, which are floating-point numbers in the units of the result; in DICOM Parametric Maps."""


@dataclass(frozen=True)
class Outputs:
    """Where maps are written.

    Attributes:
        mean: The centre of the intervals.
        std: The standard deviation.
        interval: The lower and the upper end, of pixels; ``None``: not written.
        figure: A figure; ``None``: none.
        overwrite: Whether files may be replaced.
    """

    mean: Path
    std: Path | None = None
    interval: tuple[Path, Path] | None = None
    figure: Path | None = None
    overwrite: bool = False

    @property
    def maps(self) -> tuple[Path, ...]:
        """The files of numbers."""
        return tuple(path for path in (self.mean, self.std, *(self.interval or ())) if path is not None)

    def check(self, inputs: Sequence[Path]) -> None:
        """See that everything may be written, before any work is done.

        Raises:
            OutputError: Something exists, is an input, cannot be written, or would be written twice.
        """
        for path in self.maps:
            if path.suffix.lower() not in SUFFIXES:
                raise OutputError(
                    f"{path}: the suffix {path.suffix!r} is no format of maps; expected {', '.join(SUFFIXES)}, which "
                    "hold floating-point numbers."
                )
        if self.figure is not None and self.figure.suffix.lower() not in FIGURE_SUFFIXES:
            raise OutputError(f"{self.figure}: no format of a figure; expected {', '.join(FIGURE_SUFFIXES)}.")
        paths = [*self.maps, record_path(self.mean), *([self.figure] if self.figure else [])]
        held = [io.check_output(path, overwrite=self.overwrite, inputs=inputs) for path in paths]
        if len(set(held)) < len(held):
            twice = next(path for path, place in zip(paths, held, strict=True) if held.count(place) > 1)
            raise OutputError(f"{twice}: two outputs have this name; expected a name for each.")

    def check_source(self, template: io.Image) -> None:
        """See that the maps of an image can be written in their formats, before any work is done.

        Raises:
            OutputError: One is of DICOM, and the image is not.
        """
        for path in self.maps:
            check_map(path, template)


def parse_interval(text: str) -> tuple[Path, Path]:
    """Read ``LOW,HIGH``, two file names.

    Raises:
        UsageError: They are not two.
    """
    names = text.split(",")
    if len(names) != 2 or not all(names):
        raise UsageError(f"interval is {text!r}; expected two files, as in low.tif,high.tif.")
    return Path(names[0]), Path(names[1])
