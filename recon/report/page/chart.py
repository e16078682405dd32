"""The convergence of runs as a drawing in SVG that follows the page's colours."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from recon.report.page.markup import Markup, general, listed, mapping, number, tag

WIDTH, HEIGHT = 520, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 16, 44
POINTS = 60
"""Of a curve."""

_TINY = 1e-100
"""Below which, and above its inverse, a number of a record is none that a run has."""

_CLOSED_FORMS = ("fbp", "FDK")

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Curves:
    """The history of a run.

    Attributes:
        residuals: Pairs of a step and the relative fixed-point residual, the largest of all frames.
        distances: Pairs of a step and the estimated distance to the limit, relative to the image.
    """

    residuals: Points
    distances: Points

    @property
    def any(self) -> bool:
        """Whether there is something to draw."""
        return bool(self.residuals or self.distances)


def is_closed_form(record: Mapping[str, object]) -> bool:
    """Whether the result of a record was computed without an iteration, whose history then says nothing."""
    return mapping(record.get("plan")).get("method") in _CLOSED_FORMS


def curves_of(record: Mapping[str, object]) -> Curves:
    """The curves of a run record; what is not a positive number is left out."""
    if is_closed_form(record):
        return Curves([], [])
    history = record.get("history")
    looks = [mapping(each) for each in (history if isinstance(history, list) else [])]
    distances = _points(looks, "distances", 1.0)
    distances = [point for at, point in enumerate(distances) if not at or point[1] != distances[at - 1][1]]
    last, steps = number(mapping(record.get("distance")).get("relative")), number(record.get("steps"))
    if looks and last is not None and steps is not None and _TINY < last < 1 and steps > 0:
        distances = [*[point for point in distances if point[0] < steps], (steps, last)]
    return Curves(_points(looks, "residuals", math.inf), distances)


def _points(looks: Sequence[Mapping[str, object]], key: str, below: float) -> Points:
    found: Points = []
    for look in looks:
        step = number(look.get("step"))
        values = [value for each in listed(look.get(key)) if (value := number(each)) is not None]
        if step is not None and step >= 0 and values and _TINY < max(values) < min(below, 1 / _TINY):
            found.append((step, max(values)))
    if len(found) <= POINTS:
        return found
    return [found[round(at * (len(found) - 1) / (POINTS - 1))] for at in range(POINTS)]


def chart(runs: Sequence[Curves], tolerance: float | None, title: str) -> Markup:
    """One drawing of the curves of all runs, on a logarithmic axis; curves of run n are of the class ``run-n``."""
    every = [point for run in runs for point in run.residuals + run.distances]
    if not every:
        return tag("p", "The record has no steps of an iteration.")
    last = max([1.0, *(step for step, _ in every)])
    values = [value for _, value in every] + ([tolerance] if tolerance else [])
    low = math.floor(math.log10(min(values)))
    high = max(low + 1, math.ceil(math.log10(max(values))))

    def across(step: float) -> float:
        return round(_LEFT + step / last * (WIDTH - _LEFT - _RIGHT), 1)

    def down(value: float) -> float:
        return round(_TOP + (high - math.log10(value)) / (high - low) * (HEIGHT - _TOP - _BOTTOM), 1)

    parts = [tag("title", title), *_grid(last, low, high, across, down)]
    if tolerance:
        y = down(tolerance)
        parts.append(tag("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_="limit"))
        parts.append(tag("text", f"tolerance {general(tolerance)}", x=_LEFT + 5, y=y + 15))
    for at, run in enumerate(runs):
        for kind, points in (("distance", run.distances), ("residual", run.residuals)):
            if points:
                line = " ".join(f"{across(x)},{down(y)}" for x, y in points)
                seen = points if kind == "distance" or len(points) == 1 else []  # a line of one point is not seen
                marks = [tag("circle", cx=across(x), cy=down(y), r=3) for x, y in seen]
                curve = tag("polyline", points=Markup(line))
                parts.append(tag("g", curve, *marks, class_=f"curve {kind}", data_run=at))
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title, class_="chart")


def _grid(
    last: float, low: int, high: int, across: Callable[[float], float], down: Callable[[float], float]
) -> list[Markup]:
    parts: list[Markup] = []
    every = max(1, (high - low) // 6)
    for power in range(low, high + 1, every):
        y = down(10.0**power)
        parts.append(tag("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        label = tag("tspan", str(power).replace("-", "−"), dy=-5, class_="power")
        parts.append(tag("text", "10", label, x=_LEFT - 8, y=y + 4, text_anchor="end"))
    unit = 10 ** math.floor(math.log10(last))
    step = next(unit * part for part in (0.2, 0.5, 1, 2) if last / (unit * part) <= 6)
    for at in range(int(last // step) + 1):
        parts.append(tag("text", f"{at * step:g}", x=across(at * step), y=HEIGHT - _BOTTOM + 18, text_anchor="middle"))
    parts.append(tag("text", "step", x=(_LEFT + WIDTH - _RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle"))
    return parts
