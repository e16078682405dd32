"""The verdict of an alarm in a report: its figures, its remark and its map, from the run record alone."""

import math
from collections.abc import Mapping

import numpy as np

from recon.reconstruction.alarm import pixel_map
from recon.report.page import Layer, Scale
from recon.report.page.markup import listed, mapping, number, plain

_MOST = 4096
"""Windows along an axis of a record that is believed."""


def alarm_facts(document: Mapping[str, object], frame: int) -> tuple[tuple[str, str], ...]:
    """What is said of the alarm among the parameters of a frame; nothing where none was asked for."""
    alarm = mapping(document.get("alarm"))
    found = _frame(alarm, frame)
    score, threshold, radius = number(found.get("score")), number(alarm.get("threshold")), number(found.get("radius"))
    if score is None or threshold is None or radius is None:
        return ()
    unit = plain(alarm.get("units"), 20)
    rate = mapping(alarm.get("false_alarms"))
    share = number(rate.get("value"))
    known = plain(mapping(alarm.get("lipschitz")).get("evidence"), 20)
    facts = [
        ("alarm", f"{_verdict(found)}: score {score:.4f}, threshold {threshold:.4f}, {plain(alarm.get('critic'), 80)}"),
        ("certified radius", f"{radius:.4g} {unit}".strip() + f" in the Euclidean norm of all pixels ({known})"),
    ]
    if share is not None:
        how = f"{plain(rate.get('evidence'), 20)}: {plain(rate.get('how'), 200)}"
        facts.append(("false alarms", f"{100 * share:.3g} % ({how})"))
    return tuple(facts)


def alarm_remarks(document: Mapping[str, object], frame: int) -> tuple[str, ...]:
    """A sentence where the critic gave alarm."""
    found = _frame(mapping(document.get("alarm")), frame)
    if found.get("alarm") is not True:
        return ()
    return ("The critic gave alarm: the image has what it was trained to take for an artefact; see the picture alarm.",)


def alarm_layer(document: Mapping[str, object], frame: int, shape: tuple[int, int], aspect: float) -> Layer | None:
    """The map of a frame; ``None`` where the record has none that fits the picture."""
    alarm = mapping(document.get("alarm"))
    found = _frame(alarm, frame)
    threshold, window = number(alarm.get("threshold")), number(alarm.get("window"))
    rows, columns = (_places(found.get(key), side) for key, side in zip(("rows", "columns"), shape, strict=True))
    scores = [[number(value) for value in listed(row)] for row in listed(found.get("windows"))]
    fits = rows and columns and len(scores) == len(rows) and all(len(row) == len(columns) for row in scores)
    if not fits or threshold is None or not window or any(value is None for row in scores for value in row):
        return None
    values = pixel_map(np.array(scores, np.float64), (rows, columns), int(window), shape) - threshold
    bound = float(np.abs(values).max()) or 1.0
    if not math.isfinite(bound):
        return None
    label = "score of the highest window over each pixel, less the threshold: red gives alarm"
    return Layer("alarm", label, values[None], Scale.SIGNED, limits=(-bound, bound), aspect=aspect)


def _verdict(found: Mapping[str, object]) -> str:
    return "ALARM" if found.get("alarm") is True else "no alarm"


def _frame(alarm: Mapping[str, object], frame: int) -> Mapping[str, object]:
    frames = listed(alarm.get("frames"))
    return mapping(frames[frame]) if 0 <= frame < len(frames) else {}


def _places(value: object, side: int) -> list[int]:
    found = [number(each) for each in listed(value)]
    if len(found) > _MOST or any(each is None or not 0 <= each < side for each in found):
        return []
    return [int(each) for each in found if each is not None]
