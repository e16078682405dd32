"""Reasons why the pixels of a DICOM file cannot be decoded: cut off, a package is missing, or damaged."""

import importlib.util
import io
from typing import Any

from recon.io.decoded import RefusedError
from recon.io.formats.jpeg import ends, frame_header

TOOLS = "'gdcmconv --raw' of GDCM or 'dcmdjpeg' of DCMTK"
"""What makes an uncompressed copy."""

_PACKAGES = {  # by the start of the coding's name
    "JPEG 2000": "python-gdcm",
    "High-Throughput": "pylibjpeg-openjpeg with pylibjpeg",
    "RLE": "python-gdcm",
    "JPEG": "python-gdcm",
}
_MODULES = {"python-gdcm": "gdcm", "pylibjpeg-openjpeg with pylibjpeg": "openjpeg"}
_IN_PIXELS = "the DICOM file is cut off within its pixels"


def refuse_cut_off(dataset: Any, data: bytes, kind: str) -> None:
    """Refuse a file without pixels that should have some: pydicom reads what is cut off as if it ended there.

    Args:
        dataset: What was read.
        data: The file.
        kind: The name of its storage class.
    """
    import pydicom  # noqa: PLC0415 - takes time, and few need it

    handle = io.BytesIO(data)
    header = pydicom.dcmread(handle, force=True, stop_before_pixels=True)
    if handle.tell() < len(data):
        raise RefusedError(f"{_IN_PIXELS}; expected a whole file, so copy it again from its source.")
    if len(dataset) == 0 and len(header) == 0:
        raise RefusedError("the DICOM file is cut off or damaged within its header; expected a whole file.")
    if "Rows" in dataset or "Columns" in dataset or "Image Storage" in kind:
        raise RefusedError(
            "the DICOM file is cut off: its header announces an image and no pixels follow; expected a whole file."
        )


def package_of(coding: str) -> str | None:
    """The package that decodes what is called so."""
    return next((found for start, found in _PACKAGES.items() if coding.startswith(start)), None)


def undecodable(dataset: Any, coding: str, error: Exception) -> RefusedError:
    """The refusal of coded pixels on which the decoders failed."""
    streams = _streams(dataset)
    if "JPEG" in coding and streams and not all(map(ends, streams)):
        return RefusedError(f"{_IN_PIXELS}: their {coding} coding ends without its end mark; expected a whole file.")
    package = package_of(coding)
    absent = package is not None and importlib.util.find_spec(_MODULES[package]) is None
    found = frame_header(streams[0]) if streams and "2000" not in coding else None
    if found is not None and not found.is_common and absent:
        return RefusedError(
            f"its pixels are {found.coding} with {found.bits} bits a sample, which needs the package {package}, or an "
            f"uncompressed copy made by {TOOLS}."
        )
    hint = f", or needs the package {package}" if absent and not coding.startswith("RLE") else ""
    return RefusedError(f"its {coding} coding cannot be decoded: it is cut off or damaged{hint}.")


def unfinished(dataset: Any, coding: str) -> tuple[str, ...]:
    """A note where pixels were decoded from streams without an end mark, which some decoders fill up."""
    streams = _streams(dataset) if "JPEG" in coding else []
    if all(map(ends, streams)):
        return ()
    return ("The coded pixels end without their end mark: the file may be cut off, and parts of the image made up.",)


def _streams(dataset: Any) -> list[bytes]:
    """The coded frames; none where they cannot be told apart."""
    from pydicom.encaps import generate_frames  # noqa: PLC0415

    try:
        count = int(dataset.get("NumberOfFrames") or 1)
        return list(generate_frames(dataset.PixelData, number_of_frames=count))
    except Exception:  # in a damaged file anything
        return []
