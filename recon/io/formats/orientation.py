"""Pixels turned upright, as the orientation 1 to 8 of TIFF and EXIF asks (TIFF 6.0, tag 274).

The orientation says where the stored rows and columns lie in the picture. Readers turn the pixels, and writers write
them upright without the tag, so that masks, kernels, flat fields and images are compared as they are seen.
"""

from dataclasses import replace

import numpy as np

from recon.io.decoded import Decoded
from recon.io.image import Array

TAG = 274
UPRIGHT = 1
_MIRRORED_COLUMNS, _MIRRORED_ROWS, _SWAPPED = (2, 3, 6, 7), (3, 4, 7, 8), (5, 6, 7, 8)


def swaps(orientation: int) -> bool:
    """Return whether rows become columns."""
    return orientation in _SWAPPED


def turned(array: Array, orientation: int) -> Array:
    """An array, its last two axes stored rows and columns, as it is seen; unknown orientations change nothing."""
    if swaps(orientation):
        array = array.swapaxes(-1, -2)
    if orientation in _MIRRORED_COLUMNS:
        array = array[..., ::-1]
    return array[..., ::-1, :] if orientation in _MIRRORED_ROWS else array


def upright(decoded: Decoded, orientation: int) -> Decoded:
    """Return what a file holds, turned as its orientation asks."""
    if orientation == UPRIGHT:
        return decoded
    spacing = decoded.spacing
    return replace(
        decoded,
        pixels=np.ascontiguousarray(turned(decoded.pixels, orientation)),
        alpha=None if decoded.alpha is None else np.ascontiguousarray(turned(decoded.alpha, orientation)),
        spacing=spacing[::-1] if spacing is not None and swaps(orientation) else spacing,
    )
