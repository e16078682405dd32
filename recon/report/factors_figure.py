"""Figure of the supports of the factors of a matrix."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recon.io.atomic import replacing
from recon.io.image import Array
from recon.report._style import DPI, GREY, SECOND, STYLE, require_figure_suffix

_CELLS = 160
"""Of a picture, along its longer side: larger matrices show the share of each cell that is not zero."""

_PER_ROW = 6
_WIDTH = 10.0


@dataclass(frozen=True, eq=False)
class FactorPicture:
    """A factor of a matrix.

    Attributes:
        shape: Rows and columns.
        rows: Of the entries that may be other than zero.
        columns: The same.
        numbers: How many of them are stored as numbers: none of a permutation.
    """

    shape: tuple[int, int]
    rows: Array
    columns: Array
    numbers: int


def factors_figure(path: Path, factors: Sequence[FactorPicture], title: str, *, overwrite: bool = False) -> None:
    """Draw where each factor of a product is not zero, the leftmost first.

    Raises:
        OutputError: The suffix is none of a figure, or the file cannot be written.
    """
    require_figure_suffix(path)
    from matplotlib import rc_context  # noqa: PLC0415  loaded where figures are drawn
    from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    across = min(len(factors), _PER_ROW)
    down = math.ceil(len(factors) / across)
    colours = LinearSegmentedColormap.from_list("support", ["white", SECOND])
    with rc_context(STYLE), replacing(path, overwrite=overwrite) as temporary:
        figure = Figure(figsize=(_WIDTH, 0.6 + down * (_WIDTH / max(across, 3) + 0.35)), layout="constrained")
        figure.suptitle(title, fontsize=10)
        axes = figure.subplots(down, across, squeeze=False).ravel()
        for number, (panel, factor) in enumerate(zip(axes, factors, strict=False), 1):
            cells = _cells(factor)
            panel.imshow(cells, cmap=colours, vmin=0, vmax=max(float(cells.max()), 1e-9), interpolation="nearest")
            what = f"{factor.numbers} numbers" if factor.numbers else "permutation"
            panel.set_title(f"{number}: {what}")
            panel.set_xlabel(f"{factor.shape[0]} x {factor.shape[1]}", color=GREY)
            panel.set_xticks([])
            panel.set_yticks([])
        for panel in axes[len(factors) :]:
            panel.set_axis_off()
        figure.savefig(temporary, dpi=DPI)


def _cells(factor: FactorPicture) -> Array:
    """The number of entries that are not zero in each cell of a grid, a cell being an entry where there is room."""
    sides = [min(side, _CELLS) for side in factor.shape]
    places = [
        index.astype(np.int64) * cells // side
        for index, cells, side in zip((factor.rows, factor.columns), sides, factor.shape, strict=True)
    ]
    counts = np.bincount(places[0] * sides[1] + places[1], minlength=sides[0] * sides[1])
    return np.minimum(counts, np.percentile(counts[counts > 0], 90)).reshape(sides[0], sides[1]).astype(np.float64)
