"""Files to pixels with units, and back."""

from recon.imaging.atomic import check_output, replacing
from recon.imaging.decoded import MAX_PIXELS
from recon.imaging.dicom_write import new_series_uid
from recon.imaging.files import Written, check_units, output_paths, read, write
from recon.imaging.image import Grid, Image, Slices, ValueRange, from_array, to_tensor, with_tensor

__all__ = [
    "MAX_PIXELS",
    "Grid",
    "Image",
    "Slices",
    "ValueRange",
    "Written",
    "check_output",
    "check_units",
    "from_array",
    "new_series_uid",
    "output_paths",
    "read",
    "replacing",
    "to_tensor",
    "with_tensor",
    "write",
]
