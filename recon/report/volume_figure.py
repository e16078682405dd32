"""The figure of a reconstructed volume: three slices at right angles, a view of the scan, and convergence."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon.io.atomic import replacing
from recon.io.image import Array
from recon.report._sampling import whole_pixels
from recon.report._style import DPI, INCHES, INK, STYLE, require_figure_suffix
from recon.report.figure import (
    _caption,
    _draw_caption,
    _draw_history,
    _draw_picture,
    _draw_residual,
    _limits,
    _windowed,
)
from recon.report.run_figure import RunFigure

if TYPE_CHECKING:
    from torch import Tensor


def volume_figure(
    path: str | Path, run: RunFigure, *, spacing: tuple[float, ...] = (1.0, 1.0, 1.0), overwrite: bool = False
) -> None:
    """Draw the middle slices of a volume along its three axes, the first view with its residual, and convergence.

    Args:
        path: The file to make; its suffix (``.png``, ``.pdf``, ``.svg``) decides the format.
        run: A measurement of shape (..., views, panel rows, panel columns) and a result (..., slices, rows, columns);
            upright slices have the last one above.
        spacing: The distance of slices, rows and columns, in any unit.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: the file cannot be written.
    """
    require_figure_suffix(path)
    import matplotlib as mpl  # noqa: PLC0415 - only who draws pays for it
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    shown, window, measured_range = _middles(_last_three(run.result), spacing), run.window, run.range_of_measurement
    view, error = (_last_three(tensor)[0][::-1] for tensor in (run.measurement, run.residual))
    limits = _limits([picture for _, picture, _ in shown]) if window is None else _windowed(window, run.value_range)
    with mpl.rc_context(STYLE):
        tallest = max(picture.shape[0] * aspect / picture.shape[1] for _, picture, aspect in shown)
        height = INCHES / 3 * min(tallest, 2.0) + INCHES / 3 + 1.0
        engine = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.04, wspace=0.02, hspace=0.02)
        figure = Figure(figsize=(INCHES, whole_pixels(height, DPI)), dpi=DPI, layout=engine)
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, 3, squeeze=False)
        for place, (name, picture, aspect) in zip(axes[0], shown, strict=True):
            _draw_picture(place, picture, limits, name)
            place.set_aspect(aspect)
            place.set_anchor("N")
        _draw_picture(axes[1, 0], view, _limits([view]), "first view, own scale")
        _draw_residual(axes[1, 1], error * measured_range.width, measured_range.units, "A x - y")
        _draw_history(axes[1, 2], run.history, run.distances)
        figure.suptitle(run.title, x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK, parse_math=False)
        _draw_caption(figure, _caption(run.value_range, limits, run.certificate_sentence))
        with replacing(path, overwrite=overwrite) as temporary:
            figure.savefig(temporary, dpi=figure.dpi, metadata={} if temporary.suffix == ".pdf" else None)


def _last_three(tensor: "Tensor") -> Array:
    array: Array = tensor.detach().cpu().double().reshape(-1, *tensor.shape[-3:])[0].numpy()
    return np.nan_to_num(array)


def _middles(volume: Array, spacing: tuple[float, ...]) -> list[tuple[str, Array, float]]:
    """For each axis a name, the slice through the middle, and the height of a pixel by its width."""
    slices, rows, columns = (side // 2 for side in volume.shape)
    apart, down, across = spacing
    return [
        (f"slice {slices}: x to the right, y up", volume[slices], down / across),
        (f"row {rows}: x to the right, z up", volume[::-1, rows], apart / across),
        (f"column {columns}: y to the left, z up", volume[::-1, :, columns], apart / down),
    ]
