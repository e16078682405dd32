"""Figure of the atoms of learned dictionaries."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from recon.io.atomic import replacing
from recon.report._sampling import draw_pixel_by_pixel, whole_pixels
from recon.report._style import DPI, INCHES, STYLE, require_figure_suffix

Picture = NDArray[Any]

_WIDE = 1.6
"""The columns of a table of atoms for each row."""


@final
@dataclass(frozen=True)
class AtomPictures:
    """The atoms of a dictionary.

    Attributes:
        title: What they are.
        atoms: Each ``(height, width, channels)``, of any sign.
    """

    title: str
    atoms: tuple[Picture, ...]


def atoms_sheet(dictionaries: Sequence[AtomPictures], path: str | Path) -> None:
    """Draw atoms in rows, each from black to white by its own largest value, with zero in the middle.

    Args:
        dictionaries: One panel each, below each other.
        path: The file, which is replaced.

    Raises:
        OutputError: It cannot be written, or not in that format.
    """
    import matplotlib  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    require_figure_suffix(path)
    mosaics = [mosaic(each.atoms) for each in dictionaries]
    inches = sum(INCHES * picture.shape[0] / picture.shape[1] + 0.3 for picture in mosaics)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(INCHES, whole_pixels(inches, DPI)), dpi=DPI, layout="constrained")
        panels = figure.subplots(len(mosaics), 1, squeeze=False)[:, 0]
        for axes, each, picture in zip(panels, dictionaries, mosaics, strict=True):
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(each.title, loc="left", pad=3)
            axes.set_axis_off()
        draw_pixel_by_pixel(figure)
        with replacing(path, overwrite=True) as temporary:
            figure.savefig(temporary, dpi=figure.dpi)


def mosaic(atoms: Sequence[Picture]) -> Picture:
    """A picture on [0, 1] of atoms in rows, with white lines of a pixel between them.

    Args:
        atoms: Each ``(height, width, channels)``; of other numbers of channels than 3 the mean is shown.
    """
    columns = max(1, math.ceil(math.sqrt(_WIDE * len(atoms))))
    height, width, channels = atoms[0].shape
    rows = math.ceil(len(atoms) / columns)
    found = np.ones((rows * (height + 1) - 1, columns * (width + 1) - 1, 3))
    for index, atom in enumerate(atoms):
        top, left = (index // columns) * (height + 1), (index % columns) * (width + 1)
        shown = atom if channels == 3 else atom.mean(2, keepdims=True)
        largest = max(float(np.abs(shown).max()), float(np.finfo(np.float32).tiny))
        found[top : top + height, left : left + width] = 0.5 + shown / (2 * largest)
    return found
