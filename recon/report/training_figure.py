"""Figures of a training: its curves, and a sheet of validation images."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recon.io.atomic import replacing
from recon.report._sampling import draw_pixel_by_pixel, whole_pixels
from recon.report._style import ACCENT, DPI, GREY, GRID, INCHES, SECOND, STYLE, require_figure_suffix

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = Sequence[tuple[int, float]]
Picture = NDArray[Any]

_MOST_POINTS = 400
"""Of a curve: more than that is averaged, because the loss of single batches hides the trend."""


def training_curve(curves: Mapping[str, Points], path: str | Path, dots: Mapping[str, Points] = {}) -> None:
    """Draw one panel for each curve over the steps; NaN is left out.

    Args:
        curves: Titles to points. The loss, which is positive, has a logarithmic scale.
        path: The file, which is replaced.
        dots: Titles to points that are marked beside the curve.

    Raises:
        OutputError: It cannot be written, or not in that format.
    """
    import matplotlib  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    require_figure_suffix(path)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(INCHES, 2.6), layout="constrained")
        for axes, (title, points) in zip(np.atleast_1d(figure.subplots(1, len(curves))), curves.items(), strict=True):
            _draw(axes, title, points)
            if marked := _known(dots.get(title, ())):
                axes.plot(*zip(*marked, strict=True), "o", color=ACCENT, markersize=3)
        with replacing(path, overwrite=True) as temporary:
            figure.savefig(temporary, dpi=DPI)


def sweep_curves(panels: Mapping[str, Points], names: Sequence[str], path: str | Path) -> None:
    """Draw one panel for each curve over the number of parameters; NaN is left out.

    Args:
        panels: Titles to points, (parameters, value); where all are positive the scale is logarithmic.
        names: Of the points, which are written beside them.
        path: The file, which is replaced.

    Raises:
        OutputError: It cannot be written, or not in that format.
    """
    import matplotlib  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    require_figure_suffix(path)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(INCHES, 2.8), layout="constrained")
        for axes, (title, points) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True):
            known = sorted(_known(points))
            axes.set_title(title, loc="left", pad=4)
            axes.set_xlabel("parameters", fontsize=8)
            axes.grid(True, which="major", axis="y", linewidth=0.4, color=GRID)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_xscale("log")
            if not known:
                axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes, color=GREY)
                continue
            if all(value > 0 for _, value in known):
                axes.set_yscale("log")
            axes.plot(*zip(*known, strict=True), color=SECOND, linewidth=1.2, marker="o", markersize=3)
            for (count, value), name in zip(points, names, strict=True):
                if math.isfinite(value):
                    axes.annotate(name, (count, value), (0, 5), textcoords="offset points", fontsize=6, ha="center")
            axes.margins(0.15, 0.2)
        with replacing(path, overwrite=True) as temporary:
            figure.savefig(temporary, dpi=DPI)


def image_sheet(rows: Sequence[Sequence[tuple[str, Picture]]], path: str | Path) -> None:
    """Draw a table of titled pictures, each ``(height, width)`` or ``(height, width, 3)`` on [0, 1].

    Args:
        rows: All of one length.
        path: The file, which is replaced.

    Raises:
        OutputError: It cannot be written, or not in that format.
    """
    import matplotlib  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    require_figure_suffix(path)
    columns = len(rows[0])
    with matplotlib.rc_context(STYLE):
        size = INCHES / columns
        height = whole_pixels((size + 0.25) * len(rows), DPI)
        figure = Figure(figsize=(INCHES, height), dpi=DPI, layout="constrained")
        for line, row in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
            for axes, (title, picture) in zip(line, row, strict=True):
                axes.imshow(np.clip(picture, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                axes.set_title(title, loc="left", pad=3)
                axes.set_axis_off()
        draw_pixel_by_pixel(figure)
        with replacing(path, overwrite=True) as temporary:
            figure.savefig(temporary, dpi=figure.dpi)


def _draw(axes: "Axes", title: str, points: Points) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    known = _known(points)
    axes.set_title(title, loc="left", pad=4)
    axes.set_xlabel("step", fontsize=8)
    axes.grid(True, which="major", axis="y", linewidth=0.4, color=GRID)
    axes.spines[["top", "right"]].set_visible(False)
    if not known:
        axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes, color=GREY)
        return
    if title.startswith("||Q'||"):
        axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle="--")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    steps, values = (np.array(each, float) for each in zip(*known, strict=True))
    if title.startswith("loss") and (values > 0).all():
        axes.set_yscale("log")
    width = -(-len(steps) // _MOST_POINTS)
    starts = np.arange(0, len(steps), width)
    counts = np.diff([*starts, len(steps)])
    axes.plot(
        np.add.reduceat(steps, starts) / counts,
        np.add.reduceat(values, starts) / counts,
        color=ACCENT if title.startswith("loss") else SECOND,
        linewidth=1.2,
        marker="o" if len(steps) < 40 else "",
        markersize=2.5,
    )


def _known(points: Points) -> list[tuple[int, float]]:
    return [(step, value) for step, value in points if math.isfinite(value)]
