"""The output files that a record names, compared with what they should be."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import final

import numpy as np

from recon import io
from recon.errors import InputError
from recon.io import Image
from recon.io.atomic import is_store
from recon.io.image import Array
from recon.reconstruction.record import input_file


class OutputState(StrEnum):
    """The state of an output file."""

    UNCHANGED = "unchanged"
    ABSENT = "absent"
    SAME_PIXELS = "same pixels"
    OTHER_PIXELS = "other pixels"
    UNREADABLE = "unreadable"


@final
@dataclass(frozen=True)
class OutputFile:
    """An output file that a record names.

    Attributes:
        path: Where it should be.
        state: What has become of it.
        sentence: The same for a person.
    """

    path: Path
    state: OutputState
    sentence: str

    @property
    def altered(self) -> bool:
        """Whether it is there and its pixels are not known to be those of the run."""
        return self.state in (OutputState.OTHER_PIXELS, OutputState.UNREADABLE)


def check_outputs(
    document: Mapping[str, object], folder: Path, result: Callable[[Path], Image]
) -> tuple[OutputFile, ...]:
    """The output files that a record names, by their hashes, and where those differ by their pixels.

    Args:
        document: The record.
        folder: Where it lies, and its outputs beside it.
        result: From an output to the image that the run writes to it, wanted where a hash differs.
    """
    listed = document.get("outputs")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    named = [(folder / str(entry.get("path")), str(entry.get("sha256"))) for entry in entries]
    paths = [path for path, _ in named]
    return tuple(_checked(path, sha256, result, paths) for path, sha256 in named)


def _checked(path: Path, sha256: str, result: Callable[[Path], Image], paths: Sequence[Path]) -> OutputFile:
    if not (path.is_file() or is_store(path)):
        return OutputFile(path, OutputState.ABSENT, f"{path}: the recorded output is not there, so it was not checked")
    try:
        found = input_file("output", path).sha256
        if found == sha256:
            return OutputFile(path, OutputState.UNCHANGED, f"{path}: the recorded output is unchanged")
        now = io.read(path)
    except InputError as error:
        return OutputFile(path, OutputState.UNREADABLE, f"the recorded output was altered and cannot be read: {error}")
    differing = _difference(now, _written(path, result(path), paths))
    hashes = f"SHA-256 {found[:12]}..., recorded {sha256[:12]}..."
    if not differing:
        sentence = f"{path}: the recorded output was altered ({hashes}), but its pixels are those of the run"
        return OutputFile(path, OutputState.SAME_PIXELS, sentence)
    return OutputFile(
        path, OutputState.OTHER_PIXELS, f"{path}: the recorded output was altered ({hashes}): {differing}"
    )


def _written(path: Path, image: Image, paths: Sequence[Path]) -> Image:
    """Return what is read of ``path`` when the run has just written it, among its other frames."""
    name = path if len(paths) == 1 else path.with_name(path.stem.rpartition("_")[0] + path.suffix)
    with tempfile.TemporaryDirectory() as folder:
        written = io.write(image, Path(folder) / name.name).paths
        return io.read(written[paths.index(path)])


def _difference(found: Image, expected: Image) -> str:
    """Return what differs between the pixels of two images; empty where nothing does."""
    if found.pixels.shape != expected.pixels.shape:
        return f"it has {_size(found.pixels)} values, the run's result {_size(expected.pixels)}"
    equal = (found.pixels == expected.pixels) | (np.isnan(found.pixels) & np.isnan(expected.pixels))
    if not equal.all():
        return f"{np.count_nonzero(~equal)} of its {equal.size} values differ from those of the run"
    opacity, wanted = found.alpha, expected.alpha
    same = opacity is wanted or (opacity is not None and wanted is not None and np.array_equal(opacity, wanted))
    return "" if same else "its opacity differs from that of the run"


def _size(pixels: Array) -> str:
    return " x ".join(map(str, pixels.shape))
