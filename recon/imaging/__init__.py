"""Files to pixels with units, and back.

Reading does not import torch, so that an unreadable file is refused before it loads; what needs it is in
:mod:`recon.imaging.tensors`, which loads on first use.
"""

from typing import TYPE_CHECKING, Any

from recon.imaging.atomic import check_output, replacing
from recon.imaging.counts import line_integrals
from recon.imaging.decoded import MAX_PIXELS
from recon.imaging.dicom_place import display_window, positions_along_normal
from recon.imaging.dicom_write import new_series_uid
from recon.imaging.files import Written, check_kind, check_units, output_paths, read, write
from recon.imaging.image import Array, Grid, Image, Slices, Source, ValueRange, from_array
from recon.imaging.projections import Projections, check_projections, read_projections
from recon.imaging.volume import read_volume

if TYPE_CHECKING:
    from recon.imaging.tensors import to_tensor, with_tensor

__all__ = [
    "MAX_PIXELS",
    "Array",
    "Grid",
    "Image",
    "Projections",
    "Slices",
    "Source",
    "ValueRange",
    "Written",
    "check_kind",
    "check_output",
    "check_projections",
    "check_units",
    "display_window",
    "from_array",
    "line_integrals",
    "new_series_uid",
    "output_paths",
    "positions_along_normal",
    "read",
    "read_projections",
    "read_volume",
    "replacing",
    "to_tensor",
    "with_tensor",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in ("to_tensor", "with_tensor"):
        raise AttributeError(f"module 'recon.imaging' has no attribute {name!r}")
    from recon.imaging import tensors  # noqa: PLC0415  brings torch

    return getattr(tensors, name)
