"""Files that the inputs of a command name, and the place of each result."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from recon.errors import InputError, OutputError, UsageError
from recon.io.atomic import is_store
from recon.io.files import KNOWN, suffix_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy", ".nii", ".nii.gz", ".zarr", ".dcm", ".dicom")
"""What is taken from a folder; a file that is named is read whatever it is called."""

STACK_SUFFIXES = (".nii", ".nii.gz", ".tif", ".tiff", ".npy", ".zarr")
"""Of formats that hold a stack in one file."""

_LOSSLESS = {".jpg": ".png", ".jpeg": ".png"}
_DICOM = (".dcm", ".dicom", "")


def expand_inputs(given: Sequence[str]) -> list[Path]:
    """The files that files, folders and globs stand for, each once, folders and globs in the order of their names.

    Raises:
        InputError: One of them stands for nothing.
    """
    found: dict[Path, None] = {}
    for text in given:
        for path in _expand(text):
            found.setdefault(path)
    return list(found)


def _expand(text: str) -> list[Path]:
    if "\0" in text:
        raise InputError(f"The input {text!r} holds a null character, which no file name has.")
    path = Path(text)
    if is_store(path):
        return [path]
    if os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises on a name that is too long
        files = sorted(child for child in path.iterdir() if child.is_file() and _is_image(child))
        if not files:
            raise InputError(f"{text}: the folder holds no image; expected {KNOWN} files in it.")
        return files
    if is_pattern(text):
        matches = sorted(Path(match) for match in glob.glob(text, recursive=True) if Path(match).is_file())  # noqa: PTH207
        if not matches:
            raise InputError(f"{text}: no file matches; expected a file, a folder or a pattern such as scans/*.png.")
        return matches
    return [path]


def is_pattern(text: str) -> bool:
    """Return whether a text is no name of a file, and has what makes a pattern."""
    return not os.path.exists(text) and any(letter in text for letter in "*?[")  # noqa: PTH110


def require_files(inputs: Sequence[Path]) -> None:
    """See that every input is there, where a result without one of them would mislead.

    Raises:
        InputError: One is not.
    """
    for path in inputs:
        if not os.path.exists(path):  # noqa: PTH110  Path.exists raises on a name that is too long
            raise InputError(f"{path}: there is no such file or folder; expected an image, or a folder of them.")


def _is_image(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    return suffix_of(path) in SUFFIXES or _has_dicom_mark(path)  # named by a UID, the suffix is a part of it


def _has_dicom_mark(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def name_outputs(inputs: Sequence[Path], output: str, given: Sequence[str] = ()) -> list[Path]:
    """Where the result of each input goes: ``output`` itself for a single one, else a file in the folder ``output``.

    A single input that ``given`` names by its folder or by a pattern goes to a folder too where ``output`` has no
    suffix, so that the number of files in a folder makes no difference.

    In a folder a result keeps the name of its input, JPEG becoming PNG, which loses nothing; results of DICOM files
    are numbered in the order of the inputs, because DICOM file names are often made of the
    patient's name.

    Raises:
        UsageError: Several inputs are given, and the output is named like an image.
        OutputError: Several inputs would be written to one file, or the folder is a file.
    """
    folder = Path(output)
    is_folder = os.path.isdir(folder)  # noqa: PTH112
    is_called_folder = output.endswith(("/", "\\"))
    stands_for_many = not folder.suffix and any(os.path.isdir(text) or is_pattern(text) for text in given)  # noqa: PTH112
    if len(inputs) == 1 and not is_folder and not is_called_folder and not stands_for_many:
        return [folder]
    if not is_folder and os.path.exists(folder):  # noqa: PTH110
        raise OutputError(f"{output}: {len(inputs)} inputs are given and the output is a file; expected a folder.")
    if suffix_of(folder) in SUFFIXES and not is_folder and not is_called_folder:
        raise UsageError(
            f"{output}: {len(inputs)} inputs are given and the output is named like one image; expected the name of a "
            "folder, because each input becomes a file in it."
        )
    names = [_name(path, number) for number, path in enumerate(inputs, start=1)]
    for name in names:
        if names.count(name) > 1:
            same = ", ".join(path.name for path, each in zip(inputs, names, strict=True) if each == name)
            raise OutputError(f"{output}: {same} would all be written to {name}; expected inputs of distinct names.")
    return [folder / name for name in names]


def _name(path: Path, number: int) -> str:
    suffix = path.suffix.lower()
    if suffix in _DICOM:
        return f"{number:04}.dcm"
    return path.stem + _LOSSLESS.get(suffix, path.suffix)


def make_folder(folder: Path) -> None:
    """Make the folder that results go to, unless it is there.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the folder cannot be made ({error.strerror}).") from error
