"""The figure of a reconstruction with its uncertainty."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.io.atomic import replacing
from recon.report._sampling import draw_pixel_by_pixel, whole_pixels
from recon.report._style import DPI, INCHES, STYLE, require_figure_suffix

Picture = NDArray[Any]

_SHOWN = 99.5
"""Percentile of a map of widths that is white."""


def uncertainty_figure(  # noqa: PLR0913, PLR0917  each is shown
    path: str | Path,
    mean: Picture,
    std: Picture,
    width: Picture | None,
    window: tuple[float, float],
    units: str,
    title: str,
    overwrite: bool = False,
) -> None:
    """Draw mean, standard deviation and, where there are intervals, their width.

    Args:
        path: The file.
        mean: (height, width), or (height, width, 3), in units.
        std: (height, width), the largest of the channels.
        width: Of the intervals, likewise; ``None``: there are none.
        window: What is black and white in the mean.
        units: Of all, or nothing.
        title: Above the figure.
        overwrite: Whether a file may be replaced.

    Raises:
        OutputError: It cannot be written, or not in that format.
    """
    import matplotlib  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    require_figure_suffix(path)
    panels = [("mean", mean, window, "gray"), ("standard deviation", std, _range_of(std), "magma")]
    if width is not None:
        panels.append(("width of the interval", width, _range_of(width), "magma"))
    with matplotlib.rc_context(STYLE):
        size = INCHES / len(panels)
        height = whole_pixels(size * mean.shape[0] / mean.shape[1] + 0.7, DPI)
        figure = Figure(figsize=(INCHES, height), dpi=DPI, layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
        for axes, (name, picture, (low, high), colours) in zip(figure.subplots(1, len(panels)), panels, strict=True):
            shown = np.clip((picture - low) / (high - low), 0, 1) if picture.ndim == 3 else picture
            drawn = axes.imshow(shown, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
            axes.set_title(f"{name}, {units}" if units else name, loc="left", pad=3)
            axes.set_axis_off()
            if picture.ndim == 2:
                figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.02)
        draw_pixel_by_pixel(figure)
        with replacing(path, overwrite=overwrite) as temporary:
            figure.savefig(temporary, dpi=figure.dpi)


def _range_of(picture: Picture) -> tuple[float, float]:
    high = float(np.percentile(picture, _SHOWN))
    return 0.0, high if high > 0 else 1.0
