"""What a run record says, as text: whatever is in it, of whatever type."""

import math
import re
from collections.abc import Mapping, Sequence

from recon.report.page.certificate_words import certificate_section, evidence_of
from recon.report.page.chart import is_closed_form
from recon.report.page.markup import (
    Markup,
    definitions,
    general,
    joined,
    listed,
    mapping,
    number,
    plain,
    short,
    table,
    tag,
)

_GOOD = ("converged", "completed")
_BAD = ("diverged", "not finite")

_DEEPEST = 6
"""Weaker certificates below one another that are read."""

_CONFIGURATION = (
    ("operator", "operator"), ("prior", "prior"), ("method", "method"), ("noise", "noise level"),
    ("guide", "guide"), ("surrogate", "surrogate of the adjoint"), ("shift", "shift of the surrogate's map"),
    ("window", "filter window"), ("stepsize", "step size"), ("iterations", "largest number of steps"),
    ("tolerance", "tolerance"), ("range", "range of grey values"), ("shape", "shape"),
    ("water", "attenuation of water in 1/mm"), ("photons", "photons per ray"), ("flat", "flat field"),
    ("dark", "dark field"), ("seed", "seed"),
    ("deterministic", "deterministic"), ("device", "device"), ("require_certificate", "certificate required"),
    ("volume", "slices solved together, as a volume"), ("memory", "largest memory in bytes"),
)  # fmt: skip

_PLAN = (
    ("prior", "prior, with its weight"), ("method", "method"), ("noise", "noise level, on 0..1"),
    ("noise_in_units", "noise level, in units"), ("stepsize", "step size"), ("dual_stepsize", "dual step size"),
    ("relaxation", "relaxation"), ("tolerance", "tolerance"), ("operator_norm", "norm of the operator"),
    ("adjoint_gap", "gap of the adjoint"), ("shift", "shift"), ("device", "device"),
    ("slice_distance", "distance of slices, in pixels"),
)  # fmt: skip


def badges(records: Sequence[Mapping[str, object]]) -> list[tuple[str, str]]:
    """Pairs of a kind (good, bad, doubt) and a few words, for the head of the page."""
    found: dict[tuple[str, str], int] = {}
    for record in records:
        known = _of_maps(record) if is_of_uncertainty(record) else [_status(record), _verdict(record)]
        for pair in (*known, *_alarm(record)):
            found[pair] = found.get(pair, 0) + 1
    many = len(records) > 1
    return [
        (kind, f"{text}, {count} of {len(records)} runs" if many else text) for (kind, text), count in found.items()
    ]


def _of_maps(record: Mapping[str, object]) -> list[tuple[str, str]]:
    """The status of maps of uncertainty, and what is known of their intervals."""
    status = plain(record.get("status"), 40)
    known = mapping(record.get("calibration"))
    calibrated = ("good", "coverage proved on average") if known else ("doubt", "no coverage is claimed")
    return [("bad" if status == "not mixed" else "good", f"mean and standard deviation: {status}"), calibrated]


def _status(record: Mapping[str, object]) -> tuple[str, str]:
    if is_closed_form(record):
        return "good", "computed in closed form"
    status = plain(record.get("status"), 40)
    kind = "good" if status in _GOOD else "bad" if status in _BAD else "doubt"
    return kind, {"out of steps": "out of steps: not converged"}.get(status, status or "no status")


def _alarm(record: Mapping[str, object]) -> list[tuple[str, str]]:
    """The verdict of a critic, where one judged."""
    is_alarm = mapping(record.get("alarm")).get("alarm")
    if not isinstance(is_alarm, bool):
        return []
    return [("bad", "ALARM of the critic") if is_alarm else ("good", "no alarm of the critic")]


def _verdict(record: Mapping[str, object]) -> tuple[str, str]:
    evidence, is_weaker = evidence_of(mapping(record.get("certificate")))
    which = " by a weaker theorem" if is_weaker else ""
    return {
        "proved": ("doubt" if is_weaker else "good", f"convergence proved{which}"),
        "measured": ("doubt", f"convergence as far as measured{which}"),
        "assumed": ("doubt", f"convergence under assumptions{which}"),
    }.get(evidence, ("bad", "no theorem guarantees it"))


def ending(record: Mapping[str, object]) -> str:
    """How a run ended, and how far its image is from the limit, in a sentence or two."""
    if is_closed_form(record):
        return "The result was computed in closed form; nothing was iterated."
    status, steps = plain(record.get("status"), 40), number(record.get("steps"))
    distance = mapping(record.get("distance"))
    relative = number(distance.get("relative"))
    taken = "" if steps is None else f" after {general(steps, 7)} step{'s' * (steps != 1)}"
    sentence = plain(record.get("sentence"))
    if status == "converged" and is_proved_bound(record):
        sentence = "It stopped because the proved bound of the distance to the solution fell below the tolerance."
    text = f"The run ended as “{status}”{taken}. {sentence}"
    if is_of_uncertainty(record):
        return f"{text} The certificate is about the solution from which the maps were made."
    if relative is None or not listed(record.get("history")):
        return text
    kind = distance.get("evidence")
    if relative >= 1 and kind != "proved":
        return f"{text} How far the image is from the limit is not known."
    size = f"{100 * relative:.2g} % of its norm{_per_pixel(record)}"
    known = f"at most {size}, as is proved" if kind == "proved" else f"about {size}, as estimated from the last steps"
    return f"{text} The distance of the image from the limit is {known}."


def _per_pixel(record: Mapping[str, object]) -> str:
    """The distance as a root mean square over the pixels, in the units of the image; empty where it does not follow."""
    plan, value = mapping(record.get("plan")), number(mapping(record.get("distance")).get("value"))
    limits, sides = mapping(plan.get("range")), [number(each) for each in listed(plan.get("image_shape"))]
    low, high = number(limits.get("low")), number(limits.get("high"))
    channels = number(next(iter(listed(plan.get("measurement_shape"))[1:2]), 1))
    pixels = math.prod(each or 0 for each in (*sides, channels))
    if value is None or low is None or high is None or not sides or not pixels >= 1:
        return ""
    unit = plain(limits.get("units"), 20)
    return f" ({short(value * abs(high - low) / math.sqrt(pixels))}{f' {unit}' if unit else ''} root mean square)"


def is_proved_bound(record: Mapping[str, object]) -> bool:
    """Whether a run was stopped by a proved bound of the distance, as by a duality gap: then both curves are it."""
    looks = [mapping(each) for each in listed(record.get("history"))]
    both = bool(looks) and all(each.get("residuals") == each.get("distances") for each in looks)
    return both and mapping(record.get("distance")).get("evidence") == "proved"


def volume_of(record: Mapping[str, object]) -> str | None:
    """The hash of the series that a slice was solved with as a volume; ``None`` of a run by itself."""
    found = mapping(record.get("batch")).get("series_sha256")
    together = mapping(record.get("config")).get("volume") is True
    return found if together and isinstance(found, str) and found else None


def certificate_of(record: Mapping[str, object], end: str) -> Markup:
    """The certificate of a record, with the bounds that were computed for its result."""
    shown = certificate_section(mapping(record.get("certificate")), end)
    bounds = [mapping(each) for each in listed(record.get("error_bounds"))]
    backward = [mapping(each) for each in listed(record.get("backward_errors"))]
    lines = [
        f"Distance of the result to what the exact adjoint would have given, on the 0..1 scale: {_length(each)}"
        for each in bounds
    ]
    lines += [f"Backward error, on the 0..1 scale: {_length(each)}" for each in backward]
    guide = record.get("guide")
    if isinstance(guide, dict):
        lines.append(_guide(guide))
    return joined([shown, tag("ul", *(tag("li", line) for line in lines))]) if lines else shown


def claims_of(record: Mapping[str, object]) -> object:
    """What a certificate says without its numbers, and how the run ended: what records of like slices share."""
    found: list[object] = [plain(record.get("status"), 40)]
    level: object = record.get("certificate")
    while isinstance(level, dict) and len(found) < _DEEPEST:
        conditions = [mapping(each) for each in listed(level.get("conditions"))]
        told = [
            (plain(each.get("name")), each.get("holds") is True, plain(each.get("evidence"))) for each in conditions
        ]
        found.append((plain(level.get("theorem")), level.get("holds") is True, tuple(told)))
        level = level.get("weaker")
    return tuple(found)


def _guide(guide: Mapping[str, object]) -> str:
    """How much the guide of a run matters."""
    changed, apart = number(guide.get("changed")), number(guide.get("from_guide"))
    moved = "How much the guide matters is not known"
    if changed is not None:
        moved = f"The result is {100 * changed:.2g} % of the image from the first reconstruction, as measured"
    elif apart is not None:
        moved = f"The result is {100 * apart:.2g} % of the image from the guide, as measured"
    weights = [general(number(each), 3) for each in listed(guide.get("weights"))[:2]]
    return (
        f"{moved}; its weights are {' to '.join(weights) or 'not known'}, mean {general(number(guide.get('mean')), 3)}."
    )


def _length(entry: Mapping[str, object]) -> str:
    value = number(entry.get("value"))
    if value is None:
        return f"not known: {plain(entry.get('how'))}"
    relative = number(entry.get("relative"))
    part = "" if relative is None else f", {100 * relative:.2g} % of the image"
    return f"{short(value)}{part} ({plain(entry.get('evidence'), 20)}: {plain(entry.get('how'))})"


def tolerance_of(record: Mapping[str, object]) -> float | None:
    """The tolerance of a run, if it is a positive number that a drawing can show."""
    found = number(mapping(record.get("plan")).get("tolerance"))
    return found if found is not None and 1e-12 < found < 1 else None


def remarks_of(record: Mapping[str, object]) -> tuple[str, ...]:
    """The remarks that the check of the residual left in a record."""
    return tuple(
        plain(each) for each in listed(mapping(record.get("residual_check")).get("remarks")) if isinstance(each, str)
    )


def residual_lines(records: Sequence[Mapping[str, object]]) -> list[str]:
    """What the residual says, a sentence each."""
    checks = [mapping(record.get("residual_check")) for record in records]
    pairs = [
        (inside, noise)
        for each in checks
        if (inside := number(each.get("inside"))) is not None and (noise := number(each.get("noise"))) and noise > 0
    ]
    if not pairs:
        return [
            "What the result would measure was not compared with the measurement and its noise: the noise level is not "
            "known, or the method takes no account of it."
        ]
    ratios = sorted(inside / noise for inside, noise in pairs)
    middle, source = ratios[len(ratios) // 2], plain(checks[0].get("noise_source"), 20)
    asked = mapping(records[0].get("config")).get("noise")
    if source == "stated" and asked is None and mapping(records[0].get("batch")).get("series_sha256"):
        source = "that of the whole series"
    each = "" if len(pairs) == 1 else f" (median of {len(pairs)} runs, {short(ratios[0])} to {short(ratios[-1])})"
    units = _noise_in_units(records[0])
    return [
        "Over the object, what the result would measure differs from what was measured by a root mean square of "
        f"{short(middle)} times the noise level{each}; this is the residual A x − y. With the right operator, noise "
        "and strength it is about as large as the noise, a little less where the prior is weak. The noise "
        f"level{units} was {source}."
    ]


def _noise_in_units(record: Mapping[str, object]) -> str:
    plan = mapping(record.get("plan"))
    value, unit = number(plan.get("noise_in_units")), plain(mapping(plan.get("range")).get("units"), 20)
    geometry = plain(plan.get("operator")).startswith("ct")
    return (
        ""
        if value is None
        else f", {short(value)}{' in the line integrals' if geometry else f' {unit}' if unit else ''},"
    )


def is_of_uncertainty(record: Mapping[str, object]) -> bool:
    """Whether a record is one of ``recon uncertainty``, whose result is a mean."""
    return record.get("command") == "uncertainty"


def replay_lines(records: Sequence[Mapping[str, object]], facts: Sequence[Sequence[tuple[str, str]]]) -> list[Markup]:
    """The line that does a run again; of several, that of the middle one."""
    if is_of_uncertainty(records[len(records) // 2]):
        return [tag("p", "recon uncertainty with the parameters above, and the recorded seed, makes the same maps.")]
    if any(volume_of(record) for record in records):
        text = (
            "recon solve with the whole series and the parameters below does the run again: its slices are one volume."
        )
        return [tag("p", text)]
    known = dict(facts[len(facts) // 2])
    name = known.get("run record", "OUT.run.json")
    entry = mapping(next(iter(listed(records[len(records) // 2].get("inputs"))), None))
    places = "" if isinstance(entry.get("path"), str) else " INPUT_OR_ITS_FOLDER"
    line = f"recon replay {_quoted(name)}{places}"
    also = "" if len({id(record) for record in records}) == 1 else " For another slice, take its record."
    text = (
        "This repeats the run on the same input files, which are found by their hashes, and says whether the result is "
        f"identical to the bit.{also}"
    )
    return [tag("pre", tag("code", line), tabindex="0", role="region", aria_label="Command"), tag("p", text)]


def _quoted(name: str) -> str:
    import shlex  # noqa: PLC0415

    return shlex.quote(plain(name))


def parameters(record: Mapping[str, object], facts: Sequence[tuple[str, str]]) -> Markup:
    """What was asked for, what was chosen, the files with their hashes, and the versions."""
    config, plan = mapping(record.get("config")), mapping(record.get("plan"))
    titles = {plain(plan.get("method")): plain(plan.get("method_title"), 80)}
    asked = [(name, _told(key, config, titles)) for key, name in _CONFIGURATION if config.get(key) not in (None, False)]
    chosen = [(name, _told(key, plan, titles)) for key, name in _PLAN if plan.get(key) not in (None, 0, 0.0)]
    limits = mapping(plan.get("range"))
    low, high = number(limits.get("low")), number(limits.get("high"))
    if low is not None and high is not None:
        chosen.append(
            (
                "grey values that become 0 and 1",
                f"{general(low)} and {general(high)} {plain(limits.get('units'), 20)}".strip(),
            )
        )
    seconds, peak = number(record.get("seconds")), number(record.get("peak_bytes"))
    run = [
        ("ended", plain(record.get("ended"), 40)),
        ("time in the solver", "" if seconds is None else f"{seconds:.1f} s"),
        ("largest memory", "" if peak is None else f"{peak / 2**20:.0f} MiB"),
    ]
    versions = ", ".join(
        f"{plain(name, 40)} {plain(value, 40)}" for name, value in list(mapping(record.get("versions")).items())[:30]
    )
    return joined(
        [
            tag("h3", "Asked for"), definitions(asked),
            tag("h3", "Chosen and known before the first step"), definitions(chosen),
            tag("h3", "Files"), _files(record),
            tag("h3", "Run"), definitions([pair for pair in (*run, *facts, ("versions", versions)) if pair[1]]),
        ]
    )  # fmt: skip


def _told(key: str, values: Mapping[str, object], titles: Mapping[str, str]) -> str:
    """One value; of a method its name for people, with that for ``--method`` behind it."""
    found = _brief(values[key])
    title = titles.get(found) if key == "method" else None
    return f"{title} (--method {found})" if title and title != found else found


def _brief(value: object) -> str:
    """A number without zeros at its end, or a text in which files are named without their folders."""
    found = number(value)
    return general(found) if found is not None else re.sub(r"[^,:=]*[/\\\\]", "", plain(value))


def _files(record: Mapping[str, object]) -> Markup:
    rows = []
    for kind in ("inputs", "outputs"):
        for each in map(mapping, listed(record.get(kind))):
            role = plain(each.get("role"), 40) or "result"
            name = plain(each.get("path"), 4000).replace("\\", "/").rpartition("/")[2] or "name not recorded"
            rows.append((role, plain(name, 120), tag("code", plain(each.get("sha256"), 64))))
    return table(("what", "file", "SHA-256"), rows, "Files of the run, by their hashes")
