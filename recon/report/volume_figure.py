"""One picture of a volume that was reconstructed: three slices at right angles, a view of the scan, and convergence."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon.io.atomic import replacing
from recon.io.image import Array, ValueRange
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

if TYPE_CHECKING:
    from torch import Tensor


def volume_figure(  # noqa: PLR0913 - a figure shows what it is given
    path: str | Path,
    measurement: "Tensor",
    result: "Tensor",
    residual: "Tensor",
    history: Sequence[tuple[int, float]],
    *,
    title: str,
    value_range: ValueRange,
    certificate_sentence: str,
    measured_range: ValueRange | None = None,
    distances: Sequence[tuple[int, float]] = (),
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
    window: tuple[float, float] | None = None,
    overwrite: bool = False,
) -> None:
    """Draw the middle slices of a volume along its three axes, the first view with its residual, and convergence.

    Args:
        path: The file to make; its suffix (``.png``, ``.pdf``, ``.svg``) decides the format.
        measurement: On the [0, 1] scale, shape (..., views, panel rows, panel columns).
        result: On the same scale, (..., slices, rows, columns); upright slices have the last one above.
        residual: ``A x - y``, as ``measurement``; drawn on a scale symmetric about zero, in units.
        history: Pairs of a step and its relative residual.
        title: One line above all.
        value_range: What 0 and 1 mean, in units.
        certificate_sentence: One sentence below all.
        distances: Pairs of a step and the estimated distance to the limit, over the same scale as the residual.
        measured_range: What 0 and 1 mean in the measurement, where that has other units.
        spacing: The distance of slices, rows and columns, in any unit.
        window: What is shown as black and as white, in units; ``None``: all values but the outermost.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: the file cannot be written.
    """
    require_figure_suffix(path)
    import matplotlib as mpl  # noqa: PLC0415 - only who draws pays for it
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    measured_range = measured_range or value_range
    shown = _middles(_last_three(result), spacing)
    view, error = (_last_three(tensor)[0][::-1] for tensor in (measurement, residual))
    limits = _limits([picture for _, picture, _ in shown]) if window is None else _windowed(window, value_range)
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
        _draw_history(axes[1, 2], history, distances)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK, parse_math=False)
        _draw_caption(figure, _caption(value_range, limits, certificate_sentence))
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
