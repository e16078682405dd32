"""The Lipschitz star: arms of groups of measurements, and the change that the weakest can cause."""

import contextlib
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from recon.io.atomic import replacing
from recon.io.image import Array
from recon.report._style import ACCENT, DPI, GREY, GRID, INK, SECOND, STYLE, require_figure_suffix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.projections.polar import PolarAxes

_SIZE, _LINE = (10.0, 4.2), 0.15
_MOST_DOTS = 200
"""Groups up to which each has its own dots."""

_AT = math.radians(22.5)
"""Where the radii are written."""

_MOST_CIRCLES = 4
"""Whose numbers stand side by side below a half circle."""

_OF_AN_ARC = 24
"""Points."""


@dataclass(frozen=True, eq=False)
class StarFigure:
    """What a star shows.

    Attributes:
        kind: ``views``, ``detectors``, ``lines``, ``blocks`` or ``channels``.
        positions: Of the groups: an angle in degrees, a place, or (row, column).
        certified: Of each group; NaN where there is none.
        local: Of each group.
        perturbed: Of each group; NaN where there is none.
        total: Of each group, or nothing.
        axis: What the positions are, in words.
        title: One line above all.
        caption: Below all.
        image: The reconstruction, (height, width) or (height, width, 3), with black and white.
        limits: Black and white of the image.
        names: What the local arms are called, what the image is, and what the groups are of.
    """

    kind: str
    positions: Sequence[tuple[float, ...]]
    certified: Array
    local: Array
    perturbed: Array
    total: Array | None
    axis: str
    title: str
    caption: str
    image: Array
    limits: tuple[float, float]
    names: tuple[str, str, str] = ("local", "reconstruction", "measurement")


@dataclass(frozen=True, eq=False)
class WorstFigure:
    """What a picture of the weakest group shows.

    Attributes:
        image: The reconstruction, in units.
        limits: Black and white of it.
        change: Of the image, (height, width), in the same units.
        measured: The change of the measurement of the group, one row or a block, in units.
        title: One line above all.
        caption: Below all.
        units: Of the image.
    """

    image: Array
    limits: tuple[float, float]
    change: Array
    measured: Array
    title: str
    caption: str
    units: str


def star_figure(path: str | Path, star: StarFigure, *, overwrite: bool = False) -> None:
    """Draw the arms as a polar star, as a map over the groups, and beside the image that they are of.

    Args:
        path: The file to make; its suffix (``.png``, ``.pdf``, ``.svg``) decides the format.
        star: What is shown.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: The file cannot be written.
    """
    with _drawing(path, star.title, star.caption, overwrite) as figure:
        grid = figure.add_gridspec(1, 3, width_ratios=(1.15, 1.25, 1.0))
        _draw_star(cast("PolarAxes", figure.add_subplot(grid[0], projection="polar")), star)
        middle = figure.add_subplot(grid[1])
        if star.kind == "blocks":
            _draw_blocks(middle, star)
        else:
            _draw_map(middle, star)
        _draw_image(figure.add_subplot(grid[2]), star.image, star.limits, star.names[1])


def worst_figure(path: str | Path, worst: WorstFigure, *, overwrite: bool = False) -> None:
    """Draw the reconstruction, the change of it that the weakest group can cause, and the change of that group.

    Args:
        path: The file to make, as of :func:`star_figure`.
        worst: What is shown.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: The file cannot be written.
    """
    with _drawing(path, worst.title, worst.caption, overwrite) as figure:
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 1.0, 1.0))
        _draw_image(left, worst.image, worst.limits, "reconstruction")
        _draw_change(middle, worst.change, "change of the image", worst.units)
        if min(worst.measured.shape) == 1:
            right.plot(worst.measured.ravel(), color=ACCENT, linewidth=1.0)
            right.axhline(0, color=GRID, linewidth=0.8, zorder=0)
            right.set_box_aspect(worst.image.shape[0] / worst.image.shape[1])
            right.set_xlabel("entry of the group", fontsize=8)
            right.set_title("change of the measurement", loc="left", pad=4)
        else:
            _draw_change(right, worst.measured, "change of the measurement", "")


@contextlib.contextmanager
def _drawing(path: str | Path, title: str, caption: str, overwrite: bool) -> Iterator["Figure"]:
    """Yield a figure that is written to a file when the block ends well."""
    require_figure_suffix(path)
    import matplotlib as mpl  # noqa: PLC0415 - only who draws pays for it
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(STYLE):
        text = textwrap.wrap(caption, 150)
        size = (_SIZE[0], _SIZE[1] + _LINE * max(len(text) - 1, 0))
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK, parse_math=False)
        figure.supxlabel("\n".join(text), x=0.01, ha="left", fontsize=8.5, color=GREY, parse_math=False)
        yield figure
        with replacing(path, overwrite=overwrite) as temporary:
            figure.savefig(temporary, dpi=figure.dpi, metadata={} if temporary.suffix == ".pdf" else None)


def _draw_star(axes: "PolarAxes", star: StarFigure) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - only who draws pays for it

    count = len(star.local)
    if star.kind == "views":
        angles = np.deg2rad([position[0] for position in star.positions])
        width = math.tau / max(count, 1)
        if count > 1:
            steps = np.diff(np.sort(angles % math.tau))
            width = float(np.median(steps[steps > 0])) if bool((steps > 0).any()) else width
        within_half = bool((angles >= 0).all() and (angles <= math.pi + 1e-9).all())
        if within_half:
            axes.set_thetalim(-width / 2, math.pi)
    else:
        angles = np.arange(count) * math.tau / max(count, 1)
        width = math.tau / max(count, 1)
        axes.set_theta_zero_location("N")
        axes.set_theta_direction(-1)
        if star.kind != "views":
            axes.set_xticks(math.tau * np.arange(4) / 4, [_short(star, k * count // 4) for k in range(4)])
    axes.bar(
        angles, star.local, width=0.9 * width, color=SECOND, alpha=0.55, linewidth=0, label=star.names[0], zorder=2
    )
    dots = "." if count <= _MOST_DOTS else ""
    line = "" if dots else "-"
    if bool(np.isfinite(star.perturbed).any()):
        axes.plot(
            angles, star.perturbed, dots + line, color=INK, markersize=3, linewidth=0.6, label="perturbed", zorder=3
        )
    if star.total is not None:
        axes.plot(angles, star.total, "x" + line, color="#009e73", markersize=3, linewidth=0.6, label="total", zorder=3)
    if bool(np.isfinite(star.certified).any()):
        arcs = _arcs(angles, star.certified, 0.9 * width)
        axes.plot(*arcs, "-", color=ACCENT, linewidth=1.2, label="certified", zorder=4)
    axes.set_rlim(0)
    axes.set_rticks(MaxNLocator(_MOST_CIRCLES).tick_values(0, axes.get_rmax())[1:])
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8}
    for radius in axes.get_yticks():  # a tick's own label lies below the bars
        axes.text(_AT, radius, f"{radius:.3g}", fontsize=7, ha="center", va="center", color=GREY, bbox=box, zorder=5)
    axes.set_yticklabels([])
    axes.tick_params(labelsize=7, pad=4)
    axes.grid(color=GRID, linewidth=0.5)
    axes.spines["polar"].set_color(GRID)
    axes.legend(fontsize=7, frameon=False, loc="upper right", bbox_to_anchor=(1.12, 1.16), handlelength=1.4)
    axes.set_title("arms: change of the image\nover that of the group", loc="left", pad=8, fontsize=9)


def _arcs(angles: Array, radii: Array, width: float) -> tuple[Array, Array]:
    """Angles and radii of an arc over each bar; a line from one bar to the next would cross them where they are few."""
    along = np.append(np.linspace(-width / 2, width / 2, _OF_AN_ARC), np.nan)
    return (angles[:, None] + along).ravel(), np.repeat(radii, len(along))


def _short(star: StarFigure, k: int) -> str:
    return ", ".join(f"{number:g}" for number in star.positions[k])


def _draw_map(axes: "Axes", star: StarFigure) -> None:
    places = np.array([position[0] for position in star.positions])
    order = np.argsort(places, kind="stable")
    axes.plot(places[order], star.local[order], color=SECOND, linewidth=1.2, label=star.names[0])
    axes.fill_between(places[order], star.local[order], color=SECOND, alpha=0.15, linewidth=0)
    if bool(np.isfinite(star.perturbed).any()):
        axes.plot(places[order], star.perturbed[order], ":", color=INK, linewidth=1.0, label="perturbed")
    if star.total is not None:
        axes.plot(places[order], star.total[order], "-.", color="#009e73", linewidth=1.0, label="total")
    if bool(np.isfinite(star.certified).any()):
        axes.plot(places[order], star.certified[order], "--", color=ACCENT, linewidth=1.2, label="certified")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(star.axis, fontsize=8)
    axes.set_title(f"the same arms along the {star.names[2]}", loc="left", pad=4)
    axes.grid(True, axis="y", linewidth=0.4, color=GRID)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_box_aspect(0.8)


def _draw_blocks(axes: "Axes", star: StarFigure) -> None:
    rows = sorted({position[0] for position in star.positions})
    columns = sorted({position[1] for position in star.positions})
    picture = np.asarray(star.local, np.float64).reshape(len(rows), len(columns))
    drawn = axes.imshow(picture, cmap="viridis", vmin=0, interpolation="nearest")
    axes.set_title(f"{star.names[0]} arm of each block", loc="left", pad=4)
    axes.set_xticks([])
    axes.set_yticks([])
    bar = axes.figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.03)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize=7)


def _draw_image(axes: "Axes", picture: Array, limits: tuple[float, float], name: str) -> None:
    axes.imshow(picture, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
    axes.set_title(name, loc="left", pad=4)
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_change(axes: "Axes", picture: Array, name: str, units: str) -> None:
    bound = float(np.abs(picture).max()) or 1.0
    drawn = axes.imshow(picture, cmap="RdBu_r", vmin=-bound, vmax=bound, interpolation="nearest")
    axes.set_title(name, loc="left", pad=4)
    axes.set_xticks([])
    axes.set_yticks([])
    bar = axes.figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.03, ticks=[-bound, 0, bound])
    label = np.format_float_positional(bound, precision=3, fractional=False, trim="-")
    bar.ax.set_yticklabels([f"-{label}", "0", label])
    bar.ax.tick_params(labelsize=7)
    bar.ax.set_title(units, fontsize=7, color=GREY, loc="left", pad=4)
    bar.outline.set_linewidth(0.4)
