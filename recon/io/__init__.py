"""Files to pixels with units, and back.

Reading does not import torch, so that an unreadable file is refused before it loads; what needs it is in
:mod:`recon.io.tensors`, which loads on first use.
"""

from typing import TYPE_CHECKING, Any

from recon.io.atomic import check_output, replacing
from recon.io.decoded import MAX_PIXELS
from recon.io.dicom.derivation import Derivation
from recon.io.dicom.parametric_map import HIGH, LOW, MEAN, STANDARD_DEVIATION, WORST_CHANGE, Quantity
from recon.io.dicom.position import differing_places, display_window, positions_along_normal
from recon.io.dicom.writer import new_series_uid
from recon.io.files import Written, check_kind, check_units, decode, output_paths, read, write, write_map
from recon.io.image import Array, Grid, Image, Slices, Source, ValueRange, from_array
from recon.io.projections.counts import line_integrals
from recon.io.projections.files import Projections, check_projections, read_projections
from recon.io.volume import nifti_header_of, read_volume

if TYPE_CHECKING:
    from recon.io.tensors import to_tensor, with_tensor

__all__ = [
    "HIGH",
    "LOW",
    "MAX_PIXELS",
    "MEAN",
    "STANDARD_DEVIATION",
    "WORST_CHANGE",
    "Array",
    "Derivation",
    "Grid",
    "Image",
    "Projections",
    "Quantity",
    "Slices",
    "Source",
    "ValueRange",
    "Written",
    "check_kind",
    "check_output",
    "check_projections",
    "check_units",
    "decode",
    "differing_places",
    "display_window",
    "from_array",
    "line_integrals",
    "new_series_uid",
    "nifti_header_of",
    "output_paths",
    "positions_along_normal",
    "read",
    "read_projections",
    "read_volume",
    "replacing",
    "to_tensor",
    "with_tensor",
    "write",
    "write_map",
]


def __getattr__(name: str) -> Any:
    if name not in ("to_tensor", "with_tensor"):
        raise AttributeError(f"module 'recon.io' has no attribute {name!r}")
    from recon.io import tensors  # noqa: PLC0415  brings torch

    return getattr(tensors, name)
