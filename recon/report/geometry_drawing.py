"""The drawing of a scan: source, detector, axis and volume to scale, in mm."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recon.io.atomic import replacing
from recon.report._style import ACCENT, DPI, GREY, INCHES, INK, SECOND, STYLE, require_figure_suffix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from recon.operators.tomography import Geometry

Points = NDArray[np.float64]

_MOST_MARKS = 720
"""Views drawn one by one: more are a closed ring on paper, and a slow and heavy one in a vector format."""
_VOLUME = (INK, "#d1d5dbb0", 1.2)
_BEAM = (ACCENT, ACCENT + "14", 1.0)
_ARROWS = 12
_RING = 1.35
"""Where parallel rays are drawn to begin, in radii of what lies inside."""


def draw_geometry(geometry: "Geometry", path: str | Path, *, overwrite: bool = False) -> None:
    """Draw a scan from above, and a cone from the side as well: source, rays, detector, volume and what is seen of it.

    The first view is drawn in full, of the others the place of the source (of parallel rays, where they come from).

    Args:
        geometry: The scan.
        path: The file to make; its suffix (``.png``, ``.pdf``, ``.svg``) decides the format.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: The file cannot be written.
    """
    require_figure_suffix(path)
    import matplotlib as mpl  # noqa: PLC0415 - only who draws pays for it

    with mpl.rc_context(STYLE):
        figure = _figure(geometry)
        with replacing(path, overwrite=overwrite) as temporary:
            figure.savefig(temporary, dpi=DPI, metadata={} if temporary.suffix == ".pdf" else None)


def _figure(geometry: "Geometry") -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    is_cone = geometry.kind == "cone"
    places = [["above", "side"], ["above", "legend"]] if is_cone else [["above", "legend"]]
    shape = {"height_ratios": (2, 1), "width_ratios": (1, 1)} if is_cone else {"width_ratios": (3.4, 1)}
    figure = Figure(figsize=(INCHES, 6.0 if is_cone else 7.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic(places, **shape)
    _draw_from_above(axes["above"], geometry)
    _finish(axes["above"], "from above", "x (mm)", "y (mm)")
    if is_cone:
        _draw_from_the_side(axes["side"], geometry)
        _finish(axes["side"], "from the side, first view", "along its central ray (mm)", "z (mm)")
    axes["legend"].set_axis_off()
    axes["legend"].legend(
        *axes["above"].get_legend_handles_labels(), loc="upper left", ncols=1 + is_cone, frameon=False
    )
    figure.suptitle(_title(geometry), x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK)
    figure.supxlabel(_caption(geometry), x=0.01, ha="left", fontsize=8.5, color=GREY)
    return figure


def _draw_from_above(axes: "Axes", geometry: "Geometry") -> None:
    _outline(axes, _volume_corners(geometry), "volume", _VOLUME)
    axes.plot(*geometry.volume.offset, marker="o", markersize=3, color=INK, linestyle="", label="centre of the volume")
    axes.plot(
        0, 0, marker="+", markersize=11, markeredgewidth=1.4, color=SECOND, linestyle="", label="axis of rotation"
    )
    turn = tuple(np.linspace(0, 360, 181))
    if geometry.field_of_view > 0:
        circle = _turned(np.array([[0.0, geometry.field_of_view]]), turn)[:, 0]
        axes.plot(*circle.T, color=SECOND, linestyle=(0, (4, 3)), linewidth=1.1, label="seen in every view")
    radius = _orbit_radius(geometry)
    orbit = _turned(np.array([[0.0, -radius]]), _some(geometry.angles, _MOST_MARKS))[:, 0]
    axes.plot(*_turned(np.array([[0.0, radius]]), turn)[:, 0].T, color="#d1d5db", linewidth=0.7, zorder=0.5)
    what = "rays come from" if geometry.kind == "parallel" else "source"
    axes.plot(*orbit.T, marker="o", markersize=1.6, color=GREY, linestyle="", label=f"{what}, each view")
    first = geometry.angles[:1]
    beam, detector = (_turned(points, first)[0] for points in _first_view(geometry, radius))
    _outline(axes, beam, "rays of the first view", _BEAM)
    axes.plot(*detector.T, color=INK, linewidth=2.6, solid_capstyle="butt", label="detector, first view")
    axes.plot(
        *orbit[0], marker="o", markersize=6, color=ACCENT, linestyle="", label=f"{what}, first view ({first[0]:g}°)"
    )
    if geometry.kind == "parallel":
        _arrows(axes, geometry, radius)
    if len(geometry.angles) > 1:
        _sense_of_rotation(axes, geometry, radius)


def _draw_from_the_side(axes: "Axes", geometry: "Geometry") -> None:
    to_axis, distance = geometry.distances
    rows, slices = geometry.vertical
    (low, high), (bottom, top) = slices.extent, rows.extent
    angle = math.radians(geometry.angles[0])
    forth = _volume_corners(geometry) @ np.array([-math.sin(angle), math.cos(angle)])
    near, far = forth.min(), forth.max()
    corners = np.array([[near, low], [far, low], [far, high], [near, high]])
    _outline(axes, corners, "volume", _VOLUME)
    axes.axvline(0, color=SECOND, linewidth=1.1, linestyle=(0, (8, 3, 2, 3)))
    axes.axhline(0, color="#d1d5db", linewidth=0.7, zorder=0.5)
    beam = np.array([[-to_axis, 0.0], [distance - to_axis, bottom], [distance - to_axis, top]])
    _outline(axes, beam, "rays of the first view", _BEAM)
    axes.plot([distance - to_axis] * 2, [bottom, top], color=INK, linewidth=2.6, solid_capstyle="butt")
    axes.plot(-to_axis, 0, marker="o", markersize=6, color=ACCENT)


def _first_view(geometry: "Geometry", radius: float) -> tuple[Points, Points]:
    """The outline of the beam and the detector, (points, 2) each, in the frame where rays run along the second axis."""
    detector = geometry.detector
    half = detector.pixels * detector.pitch / 2
    u = np.linspace(detector.offset - half, detector.offset + half, 65)
    if geometry.kind == "parallel":
        plate = np.stack((u, np.full_like(u, radius)), 1)
        return np.concatenate((plate, plate[::-1] * (1, -1))), plate
    to_axis, distance = geometry.distances
    source = np.array([[0.0, -to_axis]])
    if detector.shape == "flat":
        plate = np.stack((u, np.full_like(u, distance)), 1) + source
    else:
        plate = distance * np.stack((np.sin(u / distance), np.cos(u / distance)), 1) + source
    return np.concatenate((source, plate)), plate


def _turned(points: Points, angles: tuple[float, ...]) -> Points:
    """Points of the frame that turns with the source, seen from outside: (views, points, 2)."""
    t = np.deg2rad(np.asarray(angles))[:, None, None]
    axis, forth = np.concatenate((np.cos(t), np.sin(t)), 2), np.concatenate((-np.sin(t), np.cos(t)), 2)
    turned: Points = points[None, :, :1] * axis + points[None, :, 1:] * forth
    return turned


def _volume_corners(geometry: "Geometry") -> Points:
    volume = geometry.volume
    (rows, columns), (x, y) = volume.pixels, volume.offset
    right, up = columns * volume.pitch / 2, rows * volume.pitch / 2
    return np.array([[x - right, y - up], [x + right, y - up], [x + right, y + up], [x - right, y + up]])


def _orbit_radius(geometry: "Geometry") -> float:
    if geometry.kind != "parallel":
        return geometry.distances[0]
    return _RING * max(geometry.volume.radius, geometry.field_of_view)


def _some(angles: tuple[float, ...], most: int) -> tuple[float, ...]:
    """At most so many of the views, the first among them, evenly chosen."""
    return angles[:: math.ceil(len(angles) / most)]


def _arrows(axes: "Axes", geometry: "Geometry", radius: float) -> None:
    ends = _turned(np.array([[0.0, -radius], [0.0, -0.84 * radius]]), _some(geometry.angles, _ARROWS))
    for begin, end in ends:
        axes.annotate("", end, begin, arrowprops={"arrowstyle": "-|>", "color": GREY, "linewidth": 0.8, "shrinkA": 0})


def _sense_of_rotation(axes: "Axes", geometry: "Geometry", radius: float) -> None:
    """An arrow outside of the orbit, from the first view towards the second."""
    sense = 1 if geometry.angles[1] >= geometry.angles[0] else -1
    arc = geometry.angles[0] + sense * np.linspace(4, 24, 21)
    places = _turned(np.array([[0.0, -1.07 * radius]]), tuple(arc))[:, 0]
    axes.plot(*places.T, color=ACCENT, linewidth=1.2)
    style = {"arrowstyle": "-|>", "color": ACCENT, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", places[-1] + (places[-1] - places[-2]), places[-2], arrowprops=style)


def _outline(axes: "Axes", points: Points, label: str, colours: tuple[str, str, float]) -> None:
    """A closed outline; ``colours`` are of the edge and of the face, and the height above the paper."""
    from matplotlib.patches import Polygon  # noqa: PLC0415

    edge, face, order = colours
    axes.add_patch(
        Polygon(points, closed=True, edgecolor=edge, facecolor=face, linewidth=1.0, label=label, zorder=order)
    )


def _finish(axes: "Axes", title: str, across: str, up: str) -> None:
    axes.set_title(title, loc="left")
    axes.set_aspect("equal")
    axes.autoscale_view()
    axes.margins(0.05)
    axes.set_xlabel(across, fontsize=8)
    axes.set_ylabel(up, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _title(geometry: "Geometry") -> str:
    kind = {"parallel": "parallel beam", "fan": f"fan, {geometry.detector.shape} detector", "cone": "cone, flat panel"}
    first, *others = geometry.angles
    views = f"{len(others) + 1} views over {_coverage(geometry.angles):g}°" if others else f"one view at {first:g}°"
    magnified = "" if geometry.kind == "parallel" else f" · magnification {geometry.magnification:.2f}"
    return f"{kind[geometry.kind]} · {views}{magnified}"


def _coverage(angles: tuple[float, ...]) -> float:
    """The span of the views in degrees; with the step after the last one where that closes a half or full turn."""
    span = max(angles) - min(angles)
    closed = span + span / max(len(angles) - 1, 1)
    return round(closed if math.isclose(closed, 180 * round(closed / 180), abs_tol=1e-6) else span, 3)


def _caption(geometry: "Geometry") -> str:
    detector, volume = geometry.detector, geometry.volume
    sides = " x ".join(str(side) for side in geometry.image_shape)
    extents = [side * volume.pitch for side in volume.pixels]
    wide = f"{detector.pixels * detector.pitch:.4g}"
    if geometry.kind == "cone":
        rows, slices = geometry.vertical
        extents = [slices.pixels * slices.pitch, *extents]
        panel = f"{rows.pixels} x {detector.pixels} pixels, {rows.pixels * rows.pitch:.4g} x {wide} mm"
    else:
        panel = f"{detector.pixels} pixels, {wide} mm"
    size = " x ".join(f"{extent:.4g}" for extent in extents)
    lines = [f"volume {sides} pixels, {size} mm · detector {panel}"]
    seen = f"every view sees {geometry.field_of_view:.4g} mm around the axis"
    if geometry.kind != "parallel":
        to_axis, distance = geometry.distances
        seen = f"source to axis {to_axis:.5g} mm, to detector {distance:.5g} mm · {seen}"
    return "\n".join([*lines, seen])
