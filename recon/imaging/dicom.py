"""DICOM."""

from recon.imaging.decoded import Decoded, RefusedError


def decode_dicom(data: bytes, limit: int) -> Decoded:
    """Being written."""
    raise RefusedError(f"DICOM is being written {len(data)} {limit}.")
