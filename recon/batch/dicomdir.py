"""The files that a DICOMDIR names (PS3.3, annex F; PS3.10, section 8.6)."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from recon.io.content import silence

_DIRECTORY = "1.2.840.10008.1.3.10"


def is_directory(path: Path) -> bool:
    """Return whether a file is a DICOMDIR."""
    from pydicom.filereader import read_file_meta_info  # noqa: PLC0415

    try:
        with silence():
            return str(read_file_meta_info(path).get("MediaStorageSOPClassUID", "")) == _DIRECTORY
    except Exception:  # a damaged file may raise anything
        return False


def referenced(path: Path) -> tuple[PurePosixPath, ...] | None:
    """The files that the active records of a DICOMDIR name, relative to its folder; ``None`` where it is none.

    Names that lead out of the folder are left out: a medium holds its own files only.
    """
    import pydicom  # noqa: PLC0415 - takes time, and few need it

    try:
        with silence():
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            if str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) != _DIRECTORY:
                return None
            return tuple(dict.fromkeys(_names(dataset)))
    except Exception:  # a damaged file may raise anything
        return None


def _names(dataset: Any) -> Iterator[PurePosixPath]:
    for record in dataset.get("DirectoryRecordSequence") or ():
        parts = record.get("ReferencedFileID")
        if not parts or record.get("RecordInUseFlag", 0xFFFF) == 0:
            continue
        listed = [parts] if isinstance(parts, str) else [str(part) for part in parts]
        if all(part and part not in (".", "..") and not set("/\\\0:") & set(part) for part in listed):
            yield PurePosixPath(*listed)
