"""The page: one HTML file with its style, its script, its texts and its pictures.

Its Content-Security-Policy lets nothing be loaded, and nothing run but the script whose hash it names: whatever a
record holds stays text.
"""

import base64
import hashlib
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any, final

from recon.io.atomic import replacing
from recon.report.page.chart import chart, curves_of
from recon.report.page.markup import (
    Markup,
    definitions,
    for_script,
    joined,
    listed,
    mapping,
    plain,
    short,
    table,
    tag,
    void,
)
from recon.report.page.measures import Change, Region, median_of
from recon.report.page.packing import Budget, Packed
from recon.report.page.pictures import Layer, Scale, Slice, robust_limits
from recon.report.page.record_text import (
    badges,
    certificate_of,
    claims_of,
    ending,
    is_proved_bound,
    parameters,
    replay_lines,
    residual_lines,
    tolerance_of,
    volume_of,
)

BUDGET = 44 * 10**6
"""Characters of all pictures of a page together: a page of a long series stays below 50 MB."""


@final
@dataclass(frozen=True, eq=False)
class Group:
    """Slices that belong together: those of a series, the frames of a file, or one image.

    Attributes:
        name: What a reader chooses it by.
        slices: In their order.
        count: How many, about: the pictures of each get an equal share of the page.
        described: What it is, such as ``CT, 40 slices of 512 x 512 pixels``.
    """

    name: str
    slices: Iterable[Slice]
    count: int
    described: str = ""


@final
@dataclass(frozen=True, eq=False)
class Contents:
    """What a page shows.

    Attributes:
        title: Its first line.
        groups: One or more.
        remarks: What a reader must know first, a sentence each, as of records that cannot be read.
    """

    title: str
    groups: Sequence[Group]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Shown:
    """A slice whose pictures are packed."""

    slice: Slice
    meta: dict[str, Any]
    packed: dict[str, Packed] = field(repr=False)


def write_page(path: Path, contents: Contents, *, overwrite: bool = False) -> None:
    """Write a page, whole or not at all.

    Raises:
        OutputError: It exists and ``overwrite`` is false, or it cannot be written.
    """
    text = page_text(contents)
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page_text(contents: Contents, budget: int = BUDGET) -> str:
    """The page; the same contents give the same text.

    Args:
        contents: What it shows.
        budget: Characters that its pictures may take together; what does not fit is rounded, and the page says so.
    """
    packer = Budget(budget, sum(group.count for group in contents.groups))
    groups = [_shown_of(number, group, packer) for number, group in enumerate(contents.groups)]
    first = (0, len(groups[0]) // 2 if groups else 0)
    data = {
        (group, number): _data(shown) for group, members in enumerate(groups) for number, shown in enumerate(members)
    }
    style, script = _file("page.css"), _file("page.js")
    policy = (
        f"default-src 'none'; style-src '{_sha256(style)}'; script-src '{_sha256(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        void("meta", charset="utf-8"),
        void("meta", http_equiv="Content-Security-Policy", content=policy),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        void("meta", name="robots", content="noindex"),
        tag("title", contents.title),
        tag("style", Markup(style)),
    )
    body = tag(
        "body",
        _header(contents, groups),
        tag(
            "main",
            _viewer(contents.groups, groups),
            tag("script", _meta(contents.groups, groups, first), id="pictures-data", type="application/json"),
            data.pop(first, Markup("")),  # so that there is a picture before the rest is read
            tag("script", Markup(script)),
            *(
                _sections(number, group, groups[number], len(groups) == 1)
                for number, group in enumerate(contents.groups)
            ),
        ),
        _footer(),
        *data.values(),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _file(name: str) -> str:
    return (resources.files("recon.report.page") / name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _shown_of(number: int, group: Group, packer: Budget) -> list[_Shown]:
    found: list[_Shown] = []
    shared: dict[str, dict[str, Any]] = {}
    for at, each in enumerate(group.slices):
        packed = packer.pack([layer for layer in each.layers if layer.name not in shared])
        meta = _slice_meta(f"p-{number}-{at}", each, packed, shared)
        shared |= {layer["name"]: layer for layer, own in zip(meta["layers"], each.layers, strict=True) if own.shared}
        found.append(_Shown(_without_values(each), meta, packed))
    return found


def _without_values(each: Slice) -> Slice:
    """The slice without its pictures, which take much memory and are packed."""
    return replace(each, layers=())


def _slice_meta(
    identity: str, each: Slice, packed: Mapping[str, Packed], shared: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    size = next((each.meta["shape"][1:] for name, each in packed.items() if name == "after"), None)
    layers = [
        shared[layer.name] if layer.name in shared else _layer_meta(layer, f"{identity}-{at}", packed, size)
        for at, layer in enumerate(each.layers)
    ]
    window = each.window or next(
        (_window(layer) for layer in reversed(each.layers) if layer.scale is Scale.WINDOW), (0, 1)
    )
    regions = () if each.change is None else each.change.regions
    return {
        "name": plain(each.name),
        "layers": layers,
        "window": list(window),
        "regions": [[region.row, region.column, region.side] for region in regions],
    }


def _window(layer: Layer) -> tuple[float, float]:
    assert layer.values is not None  # noqa: S101  windows are of pictures of their own
    return layer.limits or robust_limits(layer.values, 0.1, 99.9)


def _layer_meta(
    layer: Layer, identity: str, packed: Mapping[str, Packed], size: Sequence[int] | None
) -> dict[str, Any]:
    named = {"name": layer.name, "title": layer.title, "label": plain(layer.label), "unit": plain(layer.unit, 20)}
    if layer.difference is not None:
        limits = layer.limits or (-1.0, 1.0)
        return {
            **named,
            "scale": layer.scale.value,
            "limits": list(limits),
            "difference": list(layer.difference),
            "here": True,
            "shape": packed[layer.difference[0]].meta["shape"],
        }
    meta = packed[layer.name].meta
    return {**meta, **named, "id": identity, "here": meta["shape"][1:] == size}


def _data(shown: _Shown) -> Markup:
    return joined(
        tag("script", Markup(shown.packed[layer["name"]].text), type="text/plain", id=layer["id"])
        for layer in shown.meta["layers"]
        if "id" in layer and layer["name"] in shown.packed
    )


def _meta(groups: Sequence[Group], shown: Sequence[Sequence[_Shown]], first: tuple[int, int]) -> Markup:
    entries = []
    for group, members in zip(groups, shown, strict=True):
        runs = _runs(members)
        slices = [{**each.meta, "run": runs[at]} for at, each in enumerate(members)]
        entries.append({"name": plain(group.name), "slices": slices})
    return for_script({"groups": entries, "first": list(first)})


def _runs(members: Sequence[_Shown]) -> list[int]:
    """The number of the record of each slice, among the different ones."""
    known: dict[int, int] = {}
    return [known.setdefault(id(each.slice.record), len(known)) for each in members]


# Texts


def _header(contents: Contents, groups: Sequence[Sequence[_Shown]]) -> Markup:
    parts: list[object] = [tag("h1", contents.title)]
    records = _records([each for members in groups for each in members])
    known = badges(records)
    missing = [line for members in groups for each in members for line in each.slice.missing]
    if missing:
        known = [("bad", "a result is altered or missing"), *(("doubt", f"recorded: {text}") for _, text in known)]
    parts.append(tag("ul", *(tag("li", text, class_=kind) for kind, text in known), class_="badges"))
    if contents.remarks or missing:
        parts.append(_box("To know first", dict.fromkeys([*contents.remarks, *missing]), "remarks altered"))
    return tag("header", *parts)


def _records(members: Iterable[_Shown]) -> list[Mapping[str, object]]:
    return _distinct([each.slice for each in members])


def _box(title: str, lines: Iterable[object], kind: str = "remarks") -> Markup:
    return tag("div", tag("b", title), tag("ul", *(tag("li", line) for line in lines)), class_=kind)


def _viewer(groups: Sequence[Group], shown: Sequence[Sequence[_Shown]]) -> Markup:
    choose = Markup("")
    if len(groups) > 1:
        options = [tag("option", group.name, value=at) for at, group in enumerate(groups)]
        choose = _field("group", "Series or file", tag("select", *options, id="group"))
    slices = tag(
        "div",
        tag("label", "Slice ", tag("span", id="slice-name"), for_="slice"),
        void("input", type="range", id="slice", min=0, max=0, value=0, step=1),
        class_="field grow",
        id="slice-field",
    )
    pictures = tag("fieldset", tag("legend", "Picture"), tag("div", id="modes", class_="choices"), id="picture-bar")
    dragged = (("divider", "the divider"), ("pan", "the picture"), ("window", "the window"))
    tools = tag(
        "fieldset",
        tag("legend", "Dragging moves"),
        tag(
            "div",
            *(
                tag("label", void("input", type="radio", name="tool", value=value, checked=at == 0 or None), text)
                for at, (value, text) in enumerate(dragged)
            ),
            class_="choices",
            id="tools",
        ),
    )  # fmt: skip
    divider = tag(
        "div",
        tag("label", "Divider", for_="divider"),
        void("input", type="range", id="divider", min=0, max=100, value=50),
        class_="field grow",
        id="divider-field",
    )
    stage = tag(
        "div",
        tag(
            "canvas",
            "The pictures need a browser with JavaScript.",
            id="canvas",
            tabindex=0,
            role="img",
            aria_label="pictures",
        ),
        tag("span", id="tag-left", class_="tag left"),
        tag("span", id="tag-right", class_="tag right"),
        class_="stage",
        id="stage",
    )
    zoom = tag(
        "fieldset",
        tag("legend", "Zoom"),
        tag("button", "−", type="button", id="zoom-out", aria_label="Zoom out"),
        " ",
        tag("button", "+", type="button", id="zoom-in", aria_label="Zoom in"),
        " ",
        tag("button", "whole", type="button", id="zoom-fit", aria_label="Show the whole picture"),
    )
    window = [
        _field("preset", "Window", tag("select", id="preset")),
        _field(
            "level",
            joined(["Level ", tag("span", id="level-unit")]),
            void("input", type="number", id="level", step="any"),
        ),
        _field(
            "width",
            joined(["Width ", tag("span", id="width-unit")]),
            void("input", type="number", id="width", step="any", min=0),
        ),
        tag("button", "as at first", type="button", id="reset-window"),
    ]
    regions = tag(
        "div",
        tag("label", void("input", type="checkbox", id="regions"), " mark the regions of the table"),
        id="regions-field",
    )
    below = [
        tag("output", id="readout", class_="readout", aria_live="off"),
        tag(
            "p",
            tag("canvas", id="key", class_="key", hidden=True, aria_hidden="true"),
            " ",
            tag("span", id="scale"),
            class_="caption",
        ),
        tag("div", divider, tools, zoom, class_="bar"),
        tag("div", *window, regions, class_="bar"),
    ]
    return tag(
        "section",
        tag("h2", "Pictures", id="pictures-title"),
        tag(
            "noscript", tag("p", "The pictures and their controls need JavaScript; the texts and tables below do not.")
        ),
        tag(
            "div",
            tag("div", choose, pictures, slices, class_="bar"),
            tag("p", "There is no picture to show: see the remarks.", id="empty", hidden=True),
            tag("div", stage, *below, _help(), id="shown"),
            class_="viewer",
            id="viewer",
            hidden=True,
        ),
        aria_labelledby="pictures-title",
    )


def _field(identity: str, label: object, content: Markup) -> Markup:
    return tag("div", tag("label", label, for_=identity), content, class_="field")


def _help() -> Markup:
    keys = (
        ("← →", "move the divider"), ("↑ ↓", "the slice before or after (also the wheel); Page Up and Down: ten"),
        ("+ − 0", "zoom in, out, the whole picture (also Ctrl and the wheel, a double click, two fingers)"),
        ("Shift and arrows", "move the picture"), ("b", "before and after in turn, at the same place"),
        ("right button", "drag: right for a wider window, up for a higher level"),
    )  # fmt: skip
    return tag("details", tag("summary", "Keys and mouse"), definitions(keys), class_="help")


def _sections(number: int, group: Group, members: Sequence[_Shown], alone: bool) -> Markup:
    """The texts of a group, with its name where it is not alone."""
    records = _records(members)
    name = tag("p", tag("b", group.name), class_="lead") if not alone else Markup("")
    described = tag("p", group.described, class_="lead") if group.described else Markup("")
    slices = [each.slice for each in members]
    parts = [
        name,
        described,
        _slice_remarks(slices),
        tag("h2", "What was changed, and by how much"),
        *_changes(slices),
        *_maps(slices),
        tag("h2", "Residual and convergence"),
        *_convergence(slices, records),
        tag("h2", "Certificate"),
        *_certificates(slices),
        tag("h2", "Parameters, and how to do it again"),
        *_parameters(slices),
    ]
    return tag("section", *parts, id=f"group-{number}", data_group=number, aria_label=group.name or "Report")


def _slice_remarks(slices: Sequence[Slice]) -> Markup:
    """Remarks of slices, each once, with the slices that it is of."""
    of: dict[str, list[int]] = {}
    for at, each in enumerate(slices):
        for remark in each.remarks:
            of.setdefault(plain(remark), []).append(at)
    if not of:
        return Markup("")
    lines = [remark if len(slices) == 1 else f"{_numbers(places)}: {remark}" for remark, places in of.items()]
    return _box("Remarks", lines)


def _numbers(places: Sequence[int]) -> str:
    """Slices by their numbers from 1 on, runs of them as 3–7."""
    runs = []
    for _, members in groupby(enumerate(places), lambda pair: pair[1] - pair[0]):
        found = [place + 1 for _, place in members]
        runs.append(str(found[0]) if len(found) == 1 else f"{found[0]}–{found[-1]}")
    shown = ", ".join(runs[:12]) + (f" and {len(runs) - 12} more" if len(runs) > 12 else "")
    return f"Slice{'s' * (len(places) > 1)} {shown}"


def _changes(slices: Sequence[Slice]) -> list[Markup]:
    known = [(at, each.change) for at, each in enumerate(slices) if each.change is not None]
    if not known:
        lost = any(each.missing for each in slices)
        why = "The result is not shown" if lost else "There is no picture of before to compare with"
        return [tag("p", f"{why}, so nothing is stated.")]
    changes = [change for _, change in known]
    many = len(changes) > 1
    parts = [_summary(changes, f"Medians over {len(changes)} slices" if many else "Before and after")]
    parts.append(tag("p", _HOW_MEASURED, class_="lead"))
    parts += [
        tag(
            "div",
            _regions_table(change, len(slices) > 1),
            data_slice=at,
            hidden=True if at != len(slices) // 2 else None,
        )
        for at, change in known
        if change.regions
    ]
    if many:
        rows = [(at + 1, slices[at].name, *_change_cells(change)) for at, change in known]
        header = ("slice", "file", "noise before", "after", "edge before", "after", "change (rms)")
        every = table(
            header,
            rows,
            f"Each slice; noise and change{_in(changes[0].unit)}, edges in pixels",
            numeric=(0, 2, 3, 4, 5, 6),
        )
        parts.append(tag("details", tag("summary", "Each slice"), every))
    return parts


def _maps(slices: Sequence[Slice]) -> list[Markup]:
    """The values of maps, such as standard deviations: of a slice, or over a series and of each slice."""
    titles = list(dict.fromkeys(figures.title for each in slices for figures in each.maps))
    if not titles:
        return []
    known = [(title, [(at, f) for at, each in enumerate(slices) for f in each.maps if f.title == title])
             for title in titles]  # fmt: skip
    many = len(slices) > 1
    rows = []
    for title, members in known:
        at, largest = max(members, key=lambda member: member[1].largest)
        place = f" in slice {at + 1}" if many else ""
        median, high = (statistics.median(getattr(f, key) for _, f in members) for key in ("median", "high"))
        rows.append((title, _digits(median), _digits(high), f"{_digits(largest.largest)}{place}", largest.unit))
    caption = f"Over {len(slices)} slices: medians of those of the slices, and the largest value" if many else "Values"
    parts = [
        tag("h2", "Maps"),
        table(("map", "median", "95th percentile", "largest", "unit"), rows, caption, numeric=(1, 2, 3)),
    ]
    if many:
        every = [
            (at + 1, slices[at].name, title, _digits(f.median), _digits(f.high), _digits(f.largest), f.unit)
            for title, members in known
            for at, f in members
        ]
        header = ("slice", "file", "map", "median", "95th percentile", "largest", "unit")
        of_each = table(header, every, "Each slice", numeric=(0, 3, 4, 5))
        parts.append(tag("details", tag("summary", "Each slice"), of_each))
    return parts


def _digits(value: float) -> str:
    return f"{value:.4g}"


_MICROSCOPE = 0.01
"""The side of a pixel in mm below which widths are stated in micrometres."""

_HOW_MEASURED = (
    "All figures are estimates from the two pictures. Noise is estimated from the finest detail in a picture, so that "
    "a smoothed picture reads low even where real detail was removed. A region of the table with a large standard "
    "deviation holds real structure. Edge "
    "width: the median distance in which the strongest edges rise from 10 to 90 %; a noisy profile reads short. Less "
    "noise with wider edges is smoothing."
)


def _in(unit: str) -> str:
    return f" in {plain(unit, 20)}" if unit else ""


def _summary(changes: Sequence[Change], caption: str) -> Markup:
    found, one = median_of(changes), changes[0]
    unit = _in(one.unit)
    rows: list[Sequence[object]] = [
        (f"Noise, standard deviation{unit}", *map(short, found["noise"]), _ratio(*found["noise"])),
        ("Width of edges, 10 to 90 %, in pixels", *map(short, found["width"]), _ratio(*found["width"])),
    ]
    if math.isfinite(one.pixel):
        unit_of, scale = ("mm", 1.0) if one.pixel >= _MICROSCOPE else ("µm", 1e3)
        rows.append((f"The same in {unit_of}", *(short(scale * each * one.pixel) for each in found["width"]), ""))
    means = [sum(each.mean[side] for each in changes) / len(changes) for side in (0, 1)]
    rows.append(
        (f"Mean of all pixels{unit}", short(means[0], 5), short(means[1], 5), f"{_signed(means[1] - means[0])}")
    )
    rows.append((f"After less before, root mean square{unit}", "", "", short(found["rms"])))
    return table(("figure", "before", "after", "change"), rows, caption, numeric=(1, 2, 3))


def _ratio(before: float, after: float) -> str:
    if not (math.isfinite(before) and math.isfinite(after) and before > 0):
        return "–"
    part = after / before - 1
    return f"{'+' if part >= 0 else '−'}{abs(part):.0%}".replace("%", " %")


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else ''}{short(value)}"


def _change_cells(change: Change) -> list[str]:
    return [short(value) for value in (*change.noise, *change.width, change.rms)]


def _regions_table(change: Change, many: bool) -> Markup:
    def row(number: int, region: Region) -> Sequence[object]:
        (mean, spread), (now, left) = region.before, region.after
        place = f"{region.row}, {region.column}"
        return number, place, short(mean, 4), short(now, 4), _signed(now - mean), short(spread), short(left)

    side, of = change.regions[0].side, " of the slice that is shown" if many else ""
    header = ("region", "row, column", "mean before", "after", "change", "std. dev. before", "after")
    caption = f"Most even regions of {side} × {side} pixels{of}, dark to bright{_in(change.unit)}"
    return table(
        header, [row(at, each) for at, each in enumerate(change.regions, 1)], caption, numeric=(0, 1, 2, 3, 4, 5, 6)
    )


def _convergence(slices: Sequence[Slice], records: Sequence[Mapping[str, object]]) -> list[Markup]:
    parts = [tag("p", line) for line in residual_lines(records)]
    # of a proved bound both curves are it, and one of them is drawn
    curves = [replace(found, distances=[]) if is_proved_bound(record) and found.residuals else found
              for record, found in ((each, curves_of(each)) for each in records)]  # fmt: skip
    many = len(records) > 1
    distances = any(each.distances for each in curves)
    title = f"Convergence of {len(records)} runs" if many else "Convergence"
    drawing = chart(curves, tolerance_of(records[0]) if records else None, title)
    if many:
        drawing = Markup(drawing.replace('class="chart"', 'class="chart many"', 1))
    if records and all(is_proved_bound(record) for record in records):
        named: tuple[object, ...] = (
            tag("b", "— proved upper bound of the distance of the image to the exact solution", class_="a"),
        )
    else:
        named = (tag("b", "— fixed-point residual", class_="a"), ", the step of all variables")
        if distances:
            named += (", and ", tag("b", "- - estimated distance of the image to its limit", class_="b"))
    legend = tag(
        "p", *named, ", relative to the norm of the image.", " Strong: the slice that is shown." if many else "",
        class_="legend",
    )  # fmt: skip
    return [*parts, drawing, *([legend] if any(each.any for each in curves) else [])]


def _certificates(slices: Sequence[Slice]) -> list[Markup]:
    """The certificates that say different things, each with the slices that it is of; numbers may differ."""
    of: dict[object, list[int]] = {}
    for at, each in enumerate(slices):
        of.setdefault(claims_of(each.record), []).append(at)
    many = len(_distinct(slices)) > 1
    found = []
    for places in of.values():
        record = slices[places[len(places) // 2]].record
        text = certificate_of(record, ending(record))
        told = f"{_numbers(places)} {'have' if len(places) > 1 else 'has'} this certificate. Its numbers are those of "
        about = tag("p", f"{told}slice {places[len(places) // 2] + 1}.", class_="lead") if many else ""
        found.append(joined([about, text]))
    if len(found) == 1:
        return found
    return [
        tag("details", tag("summary", _numbers(places)), text, open=at == 0 or None)
        for at, (places, text) in enumerate(zip(of.values(), found, strict=True))
    ]


def _distinct(slices: Sequence[Slice]) -> list[Mapping[str, object]]:
    """One record of each run: the slices of a volume have records of their own, and were solved in one."""
    return list({volume_of(each.record) or id(each.record): each.record for each in slices}.values())


def _parameters(slices: Sequence[Slice]) -> list[Markup]:
    if not slices:
        return []
    middle = slices[len(slices) // 2]
    parts = [
        *replay_lines([each.record for each in slices], [each.facts for each in slices]),
        parameters(middle.record, middle.facts),
    ]
    if len(slices) > 1:
        rows = [
            (
                at + 1,
                each.name,
                plain(each.record.get("status"), 40),
                plain(each.record.get("steps"), 12),
                *_hashes(each),
            )
            for at, each in enumerate(slices)
        ]
        header = ("slice", "file", "status", "steps", "SHA-256 of the input", "of the result")
        parts.append(
            tag("details", tag("summary", "Files of each slice"), table(header, rows, "Files", numeric=(0, 3)))
        )
    return parts


def _hashes(each: Slice) -> tuple[Markup, Markup]:
    """Of the input and of the result; of a volume those of the slice, where they are files of their own."""

    def digest(entries: Sequence[Mapping[str, object]]) -> Markup:
        entry = entries[each.frame] if each.frame < len(entries) else next(iter(entries), {})
        return tag("code", plain(entry.get("sha256"), 64))

    inputs = [mapping(entry) for entry in listed(each.record.get("inputs"))]
    measured = [entry for entry in inputs if entry.get("role") == "measurement"]
    return digest(measured or inputs), digest([mapping(entry) for entry in listed(each.record.get("outputs"))])


def _footer() -> Markup:
    text = (
        "This page loads nothing: pictures, texts and script are in it. It holds pixels of the images and what the run "
        "records say, and nothing else of DICOM headers. It is no medical device and no diagnosis."
    )
    return tag("footer", tag("p", text))
