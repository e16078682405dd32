"""DICOM."""

from recon.imaging.decoded import RefusedError
from recon.imaging.image import Image


def derived(image: Image) -> list[bytes]:
    """Being written."""
    raise RefusedError(f"DICOM is being written {image}.")


def notes(image: Image) -> tuple[str, ...]:
    """Being written."""
    return (repr(image),)
