"""Masks and point spread functions: the single grey plane of a file.

Nothing here needs torch, so that a file which is neither is refused before it loads.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon import io
from recon.errors import InputError

Plane = NDArray[Any]

_UNSURE = (0.25, 0.75)
"""Of the largest value of a mask: between these, a pixel is nearly as likely measured as not."""


def read_plane(path: Path, what: str) -> Plane:
    """The plane of a file, (height, width), in the precision of the file.

    Args:
        path: The file.
        what: ``"PSF"`` or ``"mask"``, for the sentence of an error.

    Raises:
        InputError: It cannot be read, or is not a single opaque grey plane of real numbers.
    """
    image = io.read(path)
    pixels = image.pixels
    if pixels.shape[0] != 1:
        raise InputError(f"{path}: the {what} has {pixels.shape[0]} frames; expected a single one.")
    if pixels.shape[1] != 1 and bool((pixels != pixels[:, :1]).any()):
        raise InputError(f"{path}: the {what} is a colour image; expected a single channel of grey values.")
    if np.iscomplexobj(pixels):
        raise InputError(f"{path}: the {what} is complex; expected real numbers.")
    if image.alpha is not None and (clear := int(np.count_nonzero(image.alpha != _opaque(image.alpha)))):
        raise InputError(
            f"{path}: {clear} of the {image.alpha.size} pixels of the {what} are transparent; expected an opaque "
            "image, because it is not known what transparent means there."
        )
    plane: Plane = pixels[0, 0]
    return plane


def _opaque(alpha: io.Array) -> float:
    return float(np.iinfo(alpha.dtype).max) if alpha.dtype.kind in "iu" else 1.0


def read_mask(path: Path) -> tuple[NDArray[np.bool_], str]:
    """Return what a mask says is measured, (height, width), and a remark where it has more than two values.

    Zero is not measured and the other value is. With more values, as JPEG and resampling leave them, what is above half
    of the largest is measured.

    Raises:
        InputError: It is no mask: it cannot be read, has negative values, or measures nothing.
    """
    plane = read_plane(path, "mask").astype(np.float64)
    largest, values = float(plane.max()), np.unique(plane)
    if values[0] < 0:
        raise InputError(
            f"{path}: the mask has negative values, down to {values[0]:g}; expected 0 where nothing was measured and "
            "one other value where something was."
        )
    if largest == 0:
        raise InputError(f"{path}: the mask is zero everywhere; expected at least one pixel that is measured.")
    if len(values) == 1 or (len(values) == 2 and values[0] == 0):
        return plane > 0, ""
    mask = plane > largest / 2
    low, high = (share * largest for share in _UNSURE)
    unsure = float(np.mean((plane > low) & (plane < high)))
    return mask, (
        f"the mask has {len(values)} values and not two, as JPEG or resampling leaves them: above {largest / 2:g}, "
        f"half of the largest, counts as measured ({mask.mean():.1%} of the pixels; {unsure:.1%} have values near the "
        "threshold); PNG, TIFF and NPY keep a mask as it is"
    )
