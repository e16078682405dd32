"""Which files are meant by the inputs of a command, and where each result goes."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from recon.errors import InputError, OutputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy", ".dcm", ".dicom")
"""What is taken from a folder; a file that is named is read whatever it is called."""

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
    if os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises on a name that is too long
        files = sorted(child for child in path.iterdir() if child.is_file() and _is_image(child))
        if not files:
            raise InputError(f"{text}: the folder holds no image; expected PNG, JPEG, TIFF, NPY or DICOM files in it.")
        return files
    if not os.path.exists(path) and any(letter in text for letter in "*?["):  # noqa: PTH110
        matches = sorted(Path(match) for match in glob.glob(text, recursive=True) if Path(match).is_file())  # noqa: PTH207
        if not matches:
            raise InputError(f"{text}: no file matches; expected a file, a folder or a pattern such as scans/*.png.")
        return matches
    return [path]


def _is_image(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    return path.suffix.lower() in SUFFIXES or (not path.suffix and _has_dicom_mark(path))


def _has_dicom_mark(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def name_outputs(inputs: Sequence[Path], output: str) -> list[Path]:
    """Where the result of each input goes: ``output`` itself for a single one, else a file in the folder ``output``.

    In a folder a result keeps the name of its input, JPEG becoming PNG, which loses nothing; results of DICOM files
    are numbered in the order of the inputs, because DICOM file names are often made of the patient's name.

    Raises:
        OutputError: Several inputs would be written to one file, or the folder is a file.
    """
    folder = Path(output)
    is_folder = os.path.isdir(folder)  # noqa: PTH112
    if len(inputs) == 1 and not is_folder and not output.endswith(("/", "\\")):
        return [folder]
    if not is_folder and os.path.exists(folder):  # noqa: PTH110
        raise OutputError(f"{output}: {len(inputs)} inputs are given and the output is a file; expected a folder.")
    names = [_name(path, number) for number, path in enumerate(inputs, start=1)]
    for name in names:
        if names.count(name) > 1:
            raise OutputError(
                f"{output}: several inputs would be written to {name}; expected inputs of distinct names."
            )
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
