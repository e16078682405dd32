"""A certificate in words that can be filed: what is proved, what was measured, what is assumed, what is not claimed."""

from collections.abc import Mapping, Sequence

from recon.report.page.markup import Markup, general, joined, listed, mapping, number, plain, table, tag

_KINDS = (
    (
        "proved",
        "What is proved",
        "was proved, not tested, for every measurement: of exact arithmetic, by numbers whose own rounding is included",
    ),
    (
        "measured",
        "What was measured",
        "was found by sampling or by an iteration: that can refute it, and does not prove it",
    ),
    ("assumed", "What is assumed", "was taken on somebody's word and not checked"),
)

NOT_CLAIMED = (
    "The certificate is about the iteration: that it comes to a solution of the problem as it was stated. It does not "
    "say that this solution is the object that was measured, that the operator is that of the instrument, that a "
    "detail in the picture is real, or that a detail which is missing was not there."
)


def certificate_section(certificate: Mapping[str, object], ending: str) -> Markup:
    """The paragraphs of a certificate of a run record, and the table of its conditions.

    Args:
        certificate: As a record has it; anything may be in it.
        ending: How the run ended, in a sentence.
    """
    held = _strongest(certificate)
    shown = certificate if held is None else held
    parts = [tag("p", *_verdict(certificate, held), class_="verdict")]
    parts += _kinds(_conditions(shown))
    failing = [each for each in _conditions(certificate) if each.get("holds") is not True]
    if failing:
        text = "Without these the theorem says nothing about this run."
        if held is not None:
            text = f"Without these the stronger theorem, {plain(certificate.get('theorem'))}, says nothing about it."
        parts += [tag("h3", "What does not hold"), tag("p", text), _list(failing)]
    parts += [tag("h3", "How near the run came"), tag("p", ending)]
    given = plain(mapping(shown.get("given")).get("not_claimed"))
    parts += [tag("h3", "What is not claimed"), tag("p", NOT_CLAIMED)]
    if given:
        what = plain(mapping(shown.get("given")).get("what"))
        parts.append(tag("p", f"As the theorem takes {what} as given, it does not claim {given}."))
    remarks = [mapping(each) for each in listed(certificate.get("remarks"))]
    if remarks:
        parts += [tag("h3", "Remarks"), tag("ul", *(tag("li", _remark(each)) for each in remarks))]
    tables = [_in_full(each) for each in ([certificate] if shown is certificate else [certificate, shown])]
    return joined([*parts, tag("details", tag("summary", "All conditions, as in the record"), *tables)])


def evidence_of(certificate: Mapping[str, object]) -> tuple[str, bool]:
    """The evidence of the theorem that holds by its conditions, empty where none does; whether it is a weaker one."""
    held = _strongest(certificate)
    return ("", False) if held is None else (_weakest(_conditions(held)), held is not certificate)


def _strongest(certificate: Mapping[str, object], depth: int = 0) -> Mapping[str, object] | None:
    """The theorem that holds, of a certificate and the weaker ones below it; by its conditions, not by its word."""
    conditions = _conditions(certificate)
    if certificate.get("holds") is True and conditions and all(each.get("holds") is True for each in conditions):
        return certificate
    weaker = certificate.get("weaker")
    return _strongest(weaker, depth + 1) if isinstance(weaker, dict) and depth < 5 else None


def _verdict(certificate: Mapping[str, object], held: Mapping[str, object] | None) -> list[object]:
    if not certificate:
        return ["The record holds no certificate."]
    if held is None:
        return [
            tag("strong", "No theorem guarantees this run."),
            f" The theorem that comes nearest is {_name(certificate)}; it would say: {_in_words(certificate)}.",
        ]
    weakest = _weakest(_conditions(held))
    how = {
        "proved": "It is proved, each condition included, that ",
        "measured": "As far as was measured, which is not a proof, ",
        "assumed": "Under assumptions that nobody has checked, ",
    }[weakest]
    given = plain(mapping(held.get("given")).get("what"))
    condition = f"given {given}, " if given else ""
    return [tag("strong", f"{how}{condition}{_in_words(held)}."), f" Theorem: {_name(held)}."]


def _in_words(certificate: Mapping[str, object]) -> str:
    """What a theorem says, without symbols; records of recon before 0.9 have it in symbols only."""
    found = plain(certificate.get("in_words"))
    if found:
        return found
    conclusion = plain(certificate.get("conclusion"))
    short = "with more steps the image approaches a solution of the problem as it was stated"
    return f"{short}: {conclusion}" if "converge" in conclusion else conclusion


def _name(certificate: Mapping[str, object]) -> str:
    return plain(certificate.get("theorem")) or "without a name"


def _weakest(conditions: Sequence[Mapping[str, object]]) -> str:
    kinds = {_kind(each) for each in conditions}
    return "assumed" if "assumed" in kinds else "measured" if "measured" in kinds else "proved"


def _kind(condition: Mapping[str, object]) -> str:
    """The evidence of a condition; what a record does not say in our words counts as assumed."""
    found = condition.get("evidence")
    return found if found in ("proved", "measured") and isinstance(found, str) else "assumed"


def _conditions(certificate: Mapping[str, object]) -> list[Mapping[str, object]]:
    return [mapping(each) for each in listed(certificate.get("conditions"))]


def _kinds(conditions: Sequence[Mapping[str, object]]) -> list[Markup]:
    found = []
    for kind, title, meaning in _KINDS:
        members = [each for each in conditions if _kind(each) == kind and each.get("holds") is True]
        if members:
            count = "One condition" if len(members) == 1 else f"{len(members)} conditions"
            verb = meaning if len(members) == 1 else _plural(meaning)
            found += [tag("h3", title), tag("p", f"{count} of the theorem {verb}:"), _list(members)]
    return found


def _plural(meaning: str) -> str:
    first, _, rest = meaning.partition(" ")
    many = {"holds": "hold", "was": "were"}
    text = f"{many[first]} {rest}"
    return text.replace("refute it, and does not prove it", "refute them, and does not prove them")


def _list(conditions: Sequence[Mapping[str, object]]) -> Markup:
    return tag(
        "ul",
        *(tag("li", *_named(each), f"{_figures(each)}. {_sentence(each)}") for each in conditions),
    )


def _named(condition: Mapping[str, object]) -> list[object]:
    """A condition in words, and in symbols where it is compared with a number."""
    name = plain(condition.get("name"))
    words, comma, symbols = name.partition(", ") if condition.get("relation") else (name, "", "")
    return [tag("b", _set(f"{words[:1].upper()}{words[1:]}")), f"{comma}{_set(symbols)}"]


def _set(text: str) -> str:
    """Formulas in plain characters, set with those that readers know."""
    for plainly, as_set in (("||", "‖"), ("^2", "²"), ("^T", "ᵀ"), (" - ", " − "), (" <= ", " ≤ "), (" >= ", " ≥ ")):
        text = text.replace(plainly, as_set)
    return text


def _figures(condition: Mapping[str, object]) -> str:
    relation = plain(condition.get("relation"), 4)
    if not relation:
        return ""
    value, bound = number(condition.get("value")), number(condition.get("bound"))
    sign = {"<=": "≤", ">=": "≥"}.get(relation, relation)
    holds = condition.get("holds") is True
    return f": {general(value, 4)} {sign if holds else f'is not {sign}'} {general(bound, 4)}"


def _sentence(condition: Mapping[str, object]) -> str:
    how = plain(condition.get("how"))
    text = f"{_set(how[:1].upper() + how[1:])}." if how else ""
    return f"Refuted by a counterexample. {text}" if condition.get("refuted") is True else text


def _remark(remark: Mapping[str, object]) -> str:
    low, high = general(number(remark.get("low"))), number(remark.get("high"))
    known = f"from {low} on" if high is None else f"{low} to {general(high)}"
    value = general(number(remark.get("value")))
    return f"{plain(remark.get('name'))} is {value}, outside of {known}: {plain(remark.get('how'))}"


def _in_full(certificate: Mapping[str, object]) -> Markup:
    """What a theorem says in symbols, and the table of its conditions."""
    conclusion = plain(certificate.get("conclusion"))
    return joined([tag("p", f"{_name(certificate)}: {_set(conclusion)}."), _table(certificate)])


def _table(certificate: Mapping[str, object]) -> Markup:
    rows = [
        (
            plain(each.get("name")),
            general(number(each.get("value")), 4),
            plain(each.get("relation"), 4),
            general(number(each.get("bound")), 4),
            each.get("holds") is True,
            plain(each.get("evidence")),
            plain(each.get("how")),
        )
        for each in _conditions(certificate)
    ]
    header = ("condition", "value", "relation", "bound", "holds", "evidence", "how")
    return table(header, rows, f"Conditions of {_name(certificate)}", numeric=(1, 3))
