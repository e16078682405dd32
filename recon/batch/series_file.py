"""A DICOM series as the image of one file."""

from collections.abc import Callable
from pathlib import Path

from recon.batch.series import Series
from recon.batch.volume_work import read_slice
from recon.io import Image
from recon.reconstruction.record import InputFile
from recon.reconstruction.slice_stack import as_one_file
from recon.specs.solve_config import SolveConfig


def read_series(
    one: Series, config: SolveConfig, output: Path, say: Callable[[str], None]
) -> tuple[Image, list[InputFile]]:
    """The slices of a series as one image, in the format that ``output`` names, and what a record says of their files.

    Raises:
        InputError: A slice cannot be read.
        ConsistencyError: The slices differ in size or units.
        OutputError: The result is NIfTI, and the slices do not say where they are.
    """
    called = [f"{one.folder}, slice {number}" for number in range(1, len(one.slices) + 1)]
    read = [
        read_slice(each.source, each.sha256, name, config.range, say)
        for each, name in zip(one.slices, called, strict=True)
    ]
    return as_one_file([image for image, _ in read], one.pitch, one.folder, output), [entry for _, entry in read]
