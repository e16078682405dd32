"""The figure of a solve: measurement, result, residual and convergence."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.io.atomic import replacing
from recon.io.image import Array, ValueRange
from recon.report._sampling import draw_pixel_by_pixel, whole_pixels
from recon.report._style import ACCENT, DPI, GREY, GRID, INCHES, INK, STYLE, require_figure_suffix
from recon.report.run_figure import RunFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor


def solve_figure(path: str | Path, run: RunFigure, *, truth: "Tensor | None" = None, overwrite: bool = False) -> None:
    """Draw measurement, result, truth where there is one, residual and convergence, with a detail below each image.

    Args:
        path: The file to make; its suffix (``.png``, ``.pdf``, ``.svg``) decides the format.
        run: Images of shape (H, W), (C, H, W) or (frames, C, H, W), of which the middle frame is shown. Measurement,
            result and truth share one grey scale, but a measurement of another kind (complex, as four decades of its
            magnitude, or three times as wide) has its own.
        truth: The clean image, where it is known.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: the file cannot be written.
    """
    require_figure_suffix(path)
    import matplotlib as mpl  # noqa: PLC0415 - only who draws pays for it
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    measured = _frequencies(run.measurement) if run.measurement.is_complex() else _picture(run.measurement)
    shown = [("measurement", measured), ("result", _picture(run.result))]
    if truth is not None:
        shown.append(("truth", _picture(truth)))
    whole = limits = _limits([picture for _, picture in shown[1:]])
    if run.window is not None and all(picture.ndim == 2 for _, picture in shown):
        limits = _windowed(run.window, run.value_range)
    error, units = _plane(run.residual) * run.range_of_measurement.width, run.range_of_measurement.units
    columns = len(shown) + 1
    with mpl.rc_context(STYLE):
        aspect = shown[-1][1].shape[0] / shown[-1][1].shape[1]
        side = INCHES / columns * aspect * 0.96
        engine = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.04, wspace=0.02, hspace=0.02)
        size = (INCHES, whole_pixels(min(2 * side, 14.0) + 1.0, DPI))
        figure = Figure(figsize=size, dpi=DPI, layout=engine)
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, columns, squeeze=False)
        for column, (name, picture) in enumerate(shown):
            detail = _detail(picture, shown[-1][1].clip(*limits))
            own = _scale_of(name, picture, whole, run.measurement.is_complex())
            own = limits if own == whole else own
            label = name + _figures(name, picture, shown, truth is not None) + ("" if own == limits else ", own scale")
            _draw_picture(axes[0, column], picture, own, label)
            _stretch(axes[0, column], picture, shown[-1][1])
            if own != limits:  # pixels of another kind have no place in common with the result's
                axes[1, column].set_axis_off()
                continue
            _mark(axes[0, column], detail)
            _draw_picture(axes[1, column], picture[detail], own)
            axes[1, column].spines[:].set(color=ACCENT, linewidth=1.0)
        _draw_residual(axes[0, -1], error, units, "|A x - y|" if run.residual.is_complex() else "A x - y")
        _stretch(axes[0, -1], error, shown[-1][1])
        _draw_history(axes[1, -1], run.history, run.distances)
        figure.suptitle(run.title, x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK, parse_math=False)
        _draw_caption(figure, _caption(run.value_range, limits, run.certificate_sentence))
        with replacing(path, overwrite=overwrite) as temporary:
            figure.savefig(temporary, dpi=figure.dpi, metadata={} if temporary.suffix == ".pdf" else None)


def _draw_caption(figure: "Figure", caption: str) -> None:
    """Draw the caption below all, and the pictures pixel by pixel; it says how many of theirs make one."""
    style: dict[str, Any] = {"x": 0.01, "ha": "left", "fontsize": 8.5, "color": GREY}
    text = figure.supxlabel(_wrapped(f"{caption}  {_AVERAGES.format(9.9)}"), parse_math=False, **style)
    share = draw_pixel_by_pixel(figure)
    # a dollar in a file's name is a dollar
    text.set_text(_wrapped(f"{caption}  {_AVERAGES.format(share)}" if share > 1 else caption))


_AVERAGES = "Panels show averages of up to {0:.1f} x {0:.1f} pixels."


def _picture(tensor: "Tensor") -> Array:
    """The middle frame, shape (height, width) or (height, width, 3); colours are clipped to [0, 1]."""
    array = np.asarray(tensor.detach().cpu().abs() if tensor.is_complex() else tensor.detach().cpu(), np.float64)
    while array.ndim > 3:
        array = array[len(array) // 2]
    if array.ndim == 3:
        array = array.transpose(1, 2, 0).clip(0.0, 1.0) if array.shape[0] == 3 else array[len(array) // 2]
    return np.nan_to_num(array)


def _frequencies(tensor: "Tensor") -> Array:
    """The middle frame of complex numbers as four decades of magnitude, on [0, 1]."""
    magnitude = np.abs(_plane(tensor))
    floor = 1e-4 * float(magnitude.max()) or 1.0
    return np.asarray(np.log10(np.maximum(magnitude, floor) / floor) / 4)


def _scale_of(name: str, picture: Array, limits: tuple[float, float], is_complex: bool) -> tuple[float, float]:
    """The shared grey scale, but for a measurement of another kind, as a sinogram is: its own."""
    if name != "measurement" or picture.ndim == 3:
        return limits
    if is_complex:
        return 0.0, 1.0
    low, high = _limits([picture])
    return (low, high) if high - low > 3 * (limits[1] - limits[0]) else limits


def _plane(tensor: "Tensor") -> Array:
    """The middle frame, shape (height, width), of colours their mean."""
    array = np.asarray(tensor.detach().cpu().abs() if tensor.is_complex() else tensor.detach().cpu(), np.float64)
    while array.ndim > 3:
        array = array[len(array) // 2]
    return np.nan_to_num(array.mean(0) if array.ndim == 3 else array)


def _detail(picture: Array, reference: Array) -> tuple[slice, slice]:
    """The window, a quarter of each side, where ``reference`` has most contrast, at its place in ``picture``."""
    grey = reference.mean(2) if reference.ndim == 3 else reference
    height, width = grey.shape
    high, wide = max(4, height // 4), max(4, width // 4)
    if height < 16 or width < 16:
        return slice(0, picture.shape[0]), slice(0, picture.shape[1])
    edges = np.hypot(*np.gradient(grey))
    total = np.pad(np.clip(edges, 0, np.percentile(edges, 99)).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = total[high:, wide:] - total[:-high, wide:] - total[high:, :-wide] + total[:-high, :-wide]
    inner = sums[high // 4 : -(high // 4), wide // 4 : -(wide // 4)]  # away from the borders, where blur invents
    row, column = np.unravel_index(inner.argmax(), inner.shape)
    # a measurement of another size shows the same part of the scene
    down, right = picture.shape[0] / height, picture.shape[1] / width
    top, left = round((row + high // 4) * down), round((column + wide // 4) * right)
    return slice(top, top + max(1, round(high * down))), slice(left, left + max(1, round(wide * right)))


def _limits(pictures: Sequence[Array]) -> tuple[float, float]:
    """One grey scale for all: the percentiles 0.1 and 99.9 of what was made, all of [0, 1] for colours."""
    if any(picture.ndim == 3 for picture in pictures):
        return 0.0, 1.0
    low, high = (float(number) for number in np.percentile(np.concatenate([p.ravel() for p in pictures]), (0.1, 99.9)))
    return (low, high) if high - low > 1e-6 else (0.0, 1.0)


def _draw_picture(axes: "Axes", picture: Array, limits: tuple[float, float], name: str = "") -> None:
    axes.imshow(picture, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
    if name:
        axes.set_title(name, loc="left", pad=4)
    axes.set_xticks([])
    axes.set_yticks([])


def _stretch(axes: "Axes", picture: Array, result: Array) -> None:
    """Give a picture of another format, as a sinogram is, the result's own: its pixels need not be square."""
    format_of_result = result.shape[0] / result.shape[1]
    if not 0.5 < picture.shape[0] / picture.shape[1] / format_of_result < 2:
        axes.set_aspect("auto")
        axes.set_box_aspect(format_of_result)


def _mark(axes: "Axes", window: tuple[slice, slice]) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    rows, columns = window
    corner = (columns.start - 0.5, rows.start - 0.5)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=2.2))
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=ACCENT, linewidth=1.0))


def _draw_residual(axes: "Axes", error: Array, units: str, what: str) -> None:
    bound = float(np.percentile(np.abs(error), 99.5)) or 1.0
    drawn = axes.imshow(error, cmap="RdBu_r", vmin=-bound, vmax=bound, interpolation="nearest")
    axes.set_title(f"residual  {what}", loc="left", pad=4)
    axes.set_xticks([])
    axes.set_yticks([])
    # an inset, because a colour bar of its own place would push the columns apart
    inset = axes.inset_axes((1.02, 0.06, 0.045, 0.88))
    bar = axes.figure.colorbar(drawn, cax=inset, ticks=[-bound, 0, bound])
    label = _number(bound)
    bar.ax.set_yticklabels([f"-{label}", "0", label])
    bar.ax.set_title(units, fontsize=8, color=GREY, loc="left", pad=4)
    bar.outline.set_linewidth(0.4)


_CORNER: dict[str, Any] = {
    "xycoords": ("data", "axes fraction"), "textcoords": "offset points", "ha": "right", "fontsize": 8,
}  # fmt: skip


def _draw_history(
    axes: "Axes", history: Sequence[tuple[int, float]], distances: Sequence[tuple[int, float]] = ()
) -> None:
    points = [(step, value) for step, value in history if value > 0 and np.isfinite(value)]
    ended = next((step for step, value in history if value == 0), None)
    axes.set_title("fixed-point residual, relative", loc="left", pad=4)
    estimates = [(step, value) for step, value in distances if 0 < value < 1]
    if estimates and points:
        axes.set_title("convergence, relative to the image", loc="left", pad=4)
        axes.semilogy(
            *zip(*estimates, strict=True),
            color=GREY,
            linewidth=1.0,
            linestyle="--",
            marker=".",
            label="distance of the image to its limit",
        )
        axes.plot([], [], color=ACCENT, linewidth=1.3, label="step of all variables")
        axes.legend(fontsize=7, frameon=False, loc="lower left", handlelength=1.6)
    if points:
        steps, values = zip(*points, strict=True)
        axes.semilogy(steps, values, color=ACCENT, linewidth=1.3, marker="o" if len(points) < 12 else "", markersize=3)
        if ended is not None:  # which has no place on the axis
            axes.set_xlim(right=max(ended, *steps))
            axes.annotate(f"0 at step {ended}", (ended, 0), (-4, 4), **_CORNER)
    elif ended is not None:
        axes.text(0.5, 0.5, f"0 at step {ended}", ha="center", transform=axes.transAxes, color=GREY)
    else:
        axes.text(0.5, 0.5, "nothing was iterated", ha="center", transform=axes.transAxes, color=GREY)
    axes.set_xlabel("step", fontsize=8)
    axes.yaxis.tick_right()  # beside the colour bar's numbers, so that the columns keep their places
    axes.grid(True, which="major", axis="y", linewidth=0.4, color=GRID)
    axes.spines[["top", "left"]].set_visible(False)
    axes.tick_params(which="minor", right=False, labelright=False)


def _figures(name: str, picture: Array, shown: Sequence[tuple[str, Array]], known: bool) -> str:
    truth = shown[-1][1]
    if not known or name == "truth" or picture.shape != truth.shape:
        return ""
    error = float(np.mean((picture - truth) ** 2))
    return f"   {-10 * np.log10(error):.2f} dB" if error > 0 else ""


def _number(value: float) -> str:
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")


def _windowed(window: tuple[float, float], value_range: ValueRange) -> tuple[float, float]:
    """A window in units on the [0, 1] scale."""
    low, high = ((edge - value_range.low) / value_range.width for edge in window)
    return low, high


def _caption(value_range: ValueRange, limits: tuple[float, float], certificate_sentence: str) -> str:
    units = f" {value_range.units}" if value_range.units else ""
    black, white = (value_range.low + limit * value_range.width for limit in limits)
    return f"{certificate_sentence}  Grey scale: {_number(black)} to {_number(white)}{units}."


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 150))
