"""The HTML page: laws of its display copies, known answers of its figures, and that no record can break out of it."""

import copy
import html
import json
import math
import random
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import RECORD, contents, data_of, decoded, meta_of, pictures, structure

from recon.errors import OutputError
from recon.report.page import Contents, Group, Layer, Scale, Slice, page_text, wavelet, write_page
from recon.report.page.markup import general, plain, short
from recon.report.page.measures import edge_widths, measure, regions
from recon.report.page.packing import Budget

# Display copies


@pytest.mark.parametrize("size", [(48, 64), (17, 33), (1, 5), (64, 16)])
def test_wavelets_and_their_inverse_are_the_identity(size):
    image = np.random.default_rng(0).normal(size=size)
    assert np.allclose(wavelet.inverse(wavelet.transform(image)), image, atol=1e-12)


@pytest.mark.parametrize("size", [(48, 64), (17, 33), (16, 16), (5, 5)])
def test_the_bands_are_all_coefficients_once(size):
    count = np.zeros(size, int)
    for band in wavelet.bands(*size):
        count[band] += 1
    assert (count == 1).all()


def packed(layer, share=10**9):
    (found,) = Budget(share, 1).pack([layer]).values()
    return found


@given(
    st.integers(0, 2**32 - 1), st.sampled_from([(1, 7, 9), (3, 8, 5), (1, 20, 33)]), st.sampled_from([0.5, 1.0, 3.0])
)
def test_an_exact_copy_is_the_values(seed, shape, step):
    values = np.random.default_rng(seed).integers(-3000, 3000, shape) * step
    found = packed(Layer("after", "", values, step=step))
    assert found.meta["exact"]
    assert np.array_equal(decoded(found.text, found.meta), values)


def test_missing_values_stay_missing():
    values = pictures()[0]
    values[0, :5, 7:] = np.nan
    for share in (10**9, 1500):
        found = packed(Layer("before", "", values, step=1.0), share)
        again = decoded(found.text, found.meta)
        assert np.array_equal(np.isnan(again), np.isnan(values))
        assert (found.meta["coder"] == "wavelet") == (share == 1500)


def test_a_copy_that_does_not_fit_says_how_far_it_is_from_the_values():
    values = pictures(size=(96, 128), noise=30.0)[0]
    before, last = packed(Layer("before", "", values, step=1.0)), 0.0
    for part in (0.7, 0.4, 0.2):
        found = packed(Layer("before", "", values, step=1.0), part * len(before.text))
        assert len(found.text) <= part * len(before.text)
        assert not found.meta["exact"]
        apart = np.abs(decoded(found.text, found.meta) - values)
        assert found.meta["error"] == pytest.approx([math.sqrt(np.square(apart).mean()), apart.max()])
        assert found.meta["error"][0] > last
        last = found.meta["error"][0]


def test_floating_point_values_have_at_least_twelve_bits_and_one_bright_pixel_takes_none():
    values = np.random.default_rng(0).random((1, 32, 32))
    values[0, 3, 4] = 1e6
    found = packed(Layer("after", "", values))
    apart = np.abs(decoded(found.text, found.meta) - values)
    apart[0, 3, 4] = 0
    assert apart.max() < 1 / 4096
    assert not found.meta["exact"]


def test_a_large_picture_is_averaged_and_says_so():
    values = np.broadcast_to(np.arange(5000.0), (1, 10, 5000))
    found = packed(Layer("after", "", values, step=1.0))
    assert found.meta["averaged"] == 3
    assert found.meta["shape"] == [1, 4, 1667]
    assert not found.meta["exact"]


def test_the_pictures_of_a_long_series_fit_into_the_page():
    one = page_text(contents(1, size=(128, 128)))
    budget = 15 * 10**4
    page = page_text(contents(12, size=(128, 128)), budget)
    data = sum(map(len, re.findall(r'<script type="text/plain"[^>]*>([^<]*)<', page)))
    assert 0.7 * budget < data <= budget
    assert all(layer["exact"] for layer in meta_of(one)["groups"][0]["slices"][0]["layers"] if "id" in layer)


# Figures


@pytest.mark.parametrize("spread", [1.0, 1.5, 2.0])
def test_the_width_of_a_blurred_edge_is_that_of_the_blur(spread):
    """From 10 to 90 % a step blurred by a Gaussian rises in 2.563 standard deviations, in any direction."""
    rows, columns = np.mgrid[:96, :96] - 47.5
    for angle in (0.0, 0.5, 1.1):
        distance = np.cos(angle) * columns + np.sin(angle) * rows
        image = 100 * np.vectorize(lambda d: 0.5 * (1 + math.erf(d / spread / math.sqrt(2))))(distance)
        before, after = edge_widths(image, image, np.ones(image.shape, bool))
        assert len(before) >= 5
        assert np.median(before) == pytest.approx(2.563 * spread, rel=0.06)
        assert np.array_equal(before, after)


def test_what_was_changed_is_measured():
    random_ = np.random.default_rng(0)
    clean = np.full((128, 128), 100.0)
    clean[32:96, 40:88] = 300.0
    before = clean + random_.normal(0, 10.0, clean.shape)
    after = clean + 2 + random_.normal(0, 2.0, clean.shape)
    found = measure(before[None], after[None], unit="HU", pixel=0.5)
    assert found.noise == pytest.approx((10, 2), rel=0.08)
    assert found.mean[1] - found.mean[0] == pytest.approx(2, abs=0.3)
    assert found.rms == pytest.approx(math.sqrt(104 + 4), rel=0.03)
    assert found.edges > 5
    levels = [region.before[0] for region in found.regions]
    assert levels == sorted(levels)
    assert min(levels) == pytest.approx(100, abs=5)
    assert max(levels) == pytest.approx(300, abs=5)
    for region in found.regions:
        block = slice(region.row, region.row + region.side), slice(region.column, region.column + region.side)
        assert region.before == pytest.approx((before[block].mean(), before[block].std()))


def test_nothing_is_measured_where_nothing_is():
    flat = np.zeros((64, 64))
    assert not len(edge_widths(flat, flat, np.ones(flat.shape, bool))[0])
    assert regions(flat, flat, np.zeros(flat.shape, bool)) == ()
    tiny = measure(np.zeros((1, 4, 4)), np.zeros((1, 4, 4)))
    assert tiny.edges == 0
    assert math.isnan(tiny.width[0])
    hole = measure(np.full((1, 64, 64), np.nan), flat[None])
    assert math.isnan(hole.rms)


def test_numbers_are_for_people():
    assert [short(v) for v in (0.0, 0.8, 12.345, -1234.5, 1e-7, math.nan, None)] == [
        "0", "0.800", "12.3", "−1234", "1.00e−07", "–", "–",
    ]  # fmt: skip
    assert general(88.0) == "88"


# The page


def test_a_page_is_one_whole_document_that_loads_nothing():
    page = page_text(contents(3))
    found = structure(page)
    assert not found.wrong
    assert not found.open
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in found.elements}
    attributes = [(name, value or "") for _, attrs in found.elements for name, value in attrs.items()]
    assert not [name for name, _ in attributes if name.startswith("on") or name in ("src", "href", "style", "srcset")]
    assert "http" not in re.sub(r'http-equiv="', "", page)
    (policy,) = [attrs["content"] for tag, attrs in found.elements if attrs.get("http-equiv")]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    identities = [value for name, value in attributes if name == "id"]
    assert len(identities) == len(set(identities))


def test_the_same_contents_give_the_same_page():
    assert page_text(contents(2)) == page_text(contents(2))


def test_the_first_picture_is_before_the_texts_and_the_others_after():
    page = page_text(contents(5))
    meta = meta_of(page)
    first = meta["groups"][0]["slices"][meta["first"][1]]["layers"][0]["id"]
    other = meta["groups"][0]["slices"][0]["layers"][0]["id"]
    assert page.index(f'id="{first}"') < page.index("What was changed") < page.index(f'id="{other}"')


def test_the_values_of_a_page_are_those_of_its_pictures():
    page = page_text(contents(2))
    for number, each in enumerate(meta_of(page)["groups"][0]["slices"]):
        for layer, values in zip(each["layers"], pictures(number), strict=False):
            assert np.array_equal(decoded(data_of(page, layer["id"]), layer), values)


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "page.html"
    write_page(path, contents())
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        write_page(path, contents(2))
    assert path.read_bytes() == before
    write_page(path, contents(2), overwrite=True)
    assert path.read_bytes() != before

    def broken():
        yield next(iter(contents().groups[0].slices))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_page(tmp_path / "other.html", Contents("", [Group("", broken(), 2)]))
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


def certificate(**changes):
    return {**RECORD, "certificate": {**RECORD["certificate"], **changes}}


def text_of(record):
    page = page_text(contents(1, record))
    return html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)))


def test_a_certificate_says_no_more_than_its_conditions():
    assert "It is proved, each condition included, that the image comes near." in text_of(RECORD)
    condition = RECORD["certificate"]["conditions"][0]
    measured = text_of(certificate(conditions=[condition, {**condition, "evidence": "measured"}]))
    assert "As far as was measured, which is not a proof, the image comes near." in measured
    assumed = text_of(certificate(conditions=[{**condition, "evidence": "trust me"}]))
    assert "Under assumptions that nobody has checked" in assumed
    for broken in ([], [{**condition, "holds": False}], [{**condition, "holds": "yes"}], "all"):
        text = text_of(certificate(conditions=broken))
        assert "No theorem guarantees this run." in text
        assert "It is proved" not in text
    assert "Refuted by a counterexample." in text_of(
        certificate(conditions=[{**condition, "holds": False, "refuted": True}])
    )
    weaker = text_of(certificate(conditions=[{**condition, "holds": False}], holds=False, weaker=RECORD["certificate"]))
    assert "It is proved" in weaker
    assert "the stronger theorem" in weaker


def test_a_certificate_is_in_words_first_and_in_symbols_below():
    """Who files the page reads sentences; who checks it finds each formula, and old records are read as they are."""
    condition = {
        **RECORD["certificate"]["conditions"][0],
        "name": "the step sizes are small enough, L/2 - t ||D||^2", "how": "exact, 1 - ||D^T D||",
    }  # fmt: skip
    text = text_of(certificate(conditions=[condition]))
    first, _, below = text.partition("All conditions, as in the record")
    assert "x_k" not in first
    assert "x_k -> x*, ‖x*‖²" in below
    assert "The step sizes are small enough, L/2 − t ‖D‖²: 1 ≤ 1. Exact, 1 − ‖Dᵀ D‖." in first
    assert "L/2 - t ||D||^2" in below
    old = {key: value for key, value in RECORD["certificate"].items() if key != "in_words"}
    old |= {"conclusion": "the iterates converge to a zero"}
    said = "with more steps the image approaches a solution of the problem as it was stated: the iterates converge to"
    assert said in text_of({**RECORD, "certificate": old})


def test_a_run_of_one_look_is_seen_in_the_chart_in_the_colour_of_its_legend():
    """A proved bound stops some runs at the first look: a line of one point would be invisible."""
    bound = {"step": 8, "residuals": [4e-3], "distances": [4e-3]}
    record = {**RECORD, "steps": 8, "history": [bound], "distance": {**RECORD["distance"], "evidence": "proved"}}
    drawing = re.search(r'<svg.*?class="chart.*?</svg>', page_text(contents(1, record)), re.S)[0]
    assert re.findall(r'<g class="curve (\w+)"', drawing) == ["residual"]
    assert drawing.count("<circle") == 1


def test_a_badge_says_no_more_than_the_conditions():
    condition = RECORD["certificate"]["conditions"][0]
    assert "convergence proved" in text_of(RECORD)
    lies = text_of(certificate(conditions=[{**condition, "holds": False}]))  # the record still says "holds"
    assert "convergence proved" not in lies
    assert "no theorem guarantees it" in lies
    assert "convergence proved" not in text_of(certificate(conditions=[{**condition, "evidence": "measured"}]))


def volume_slice(number, count=3):
    """The record of a slice that was solved with the others, as a folder has it."""
    digests = [str(at) * 64 for at in range(count)]
    return {
        **RECORD,
        "config": {**RECORD["config"], "volume": True},
        "batch": {"series_sha256": "e" * 64},
        "inputs": [{"role": "measurement", "path": None, "sha256": digests[number], "bytes": 1}],
    }


def slices_with(records, frames=None):
    whole = contents(len(records))
    found = [replace(each, record=record, frame=at if frames else 0)
             for at, (each, record) in enumerate(zip(whole.groups[0].slices, records, strict=True))]  # fmt: skip
    return replace(whole, groups=[Group("series", found, len(found), "CT")])


def plain_text(page):
    return html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)))


def test_the_slices_of_a_volume_are_one_run():
    """The planted faults: eight runs that were one, and a command that is refused."""
    text = plain_text(page_text(slices_with([volume_slice(at) for at in range(3)])))
    assert "Convergence of" not in text and "median of" not in text
    assert "recon replay" not in text
    assert "recon solve with the whole series" in text
    assert "slices solved together, as a volume" in text
    apart = plain_text(page_text(slices_with([{**volume_slice(at), "batch": {}} for at in range(3)])))
    assert "Convergence of 3 runs" in apart and "recon replay" in apart


def test_each_slice_of_a_file_has_the_hash_of_its_own_input():
    inputs = [{"role": "measurement", "path": None, "sha256": str(at) * 64, "bytes": 1} for at in range(3)]
    record = {**RECORD, "inputs": inputs}
    text = plain_text(page_text(slices_with([record] * 3, frames=True)))
    files = text[text.index("Files of each slice") :]
    assert all(files.count(str(at) * 64) == 1 for at in (0, 2))
    assert "For another slice" not in text


def test_a_proved_distance_is_called_one_and_is_told_in_units():
    proved = {**RECORD, "distance": {"value": 64 * 48, "relative": 0.01, "evidence": "proved", "how": "a gap"}}
    assert "fixed-point residual" in text_of(proved)  # of a contraction the curve is the residual all the same
    proved["history"] = [{"step": 4, "residuals": [0.02], "distances": [0.02]}]
    proved["plan"] = {**RECORD["plan"], "image_shape": [48, 64], "measurement_shape": [1, 1, 48, 64],
                      "range": {"low": 0.0, "high": 0.125, "units": "HU"}}  # fmt: skip
    text = text_of(proved)
    assert "proved bound of the distance" in text and "estimated distance" not in text
    assert "proved upper bound of the distance" in text and "fixed-point residual" not in text
    assert f"({(64 * 48) ** 0.5 / 8:.3g} HU root mean square)" in text
    assert "fixed-point residual" in text_of(RECORD)


def test_widths_are_stated_in_a_unit_of_their_size():
    before, after = pictures()
    for pixel, said in ((0.5, "The same in mm"), (2e-4, "The same in µm")):
        whole = contents(1)
        (each,) = whole.groups[0].slices
        change = measure(before, after, unit="HU", pixel=pixel)
        page = page_text(replace(whole, groups=[Group("series", [replace(each, change=change)], 1, "CT")]))
        assert said in plain_text(page)


def test_a_page_without_its_result_is_not_green():
    whole = contents(1)
    (each,) = whole.groups[0].slices
    lost = replace(each, layers=(), change=None, missing=("after.dcm: the result is not there any more.",))
    page = page_text(replace(whole, groups=[Group("series", [lost], 1, "CT")]))
    text = plain_text(page)
    assert "a result is altered or missing" in text and "recorded: converged" in text
    assert 'class="good"' not in page
    assert "The result is not shown, so nothing is stated." in text


# Hostile records

ATTACK = "</script></style></title>\"'><img src=http://x onerror=alert(1)><!--<script>alert(2)</script>${7*7}"


def poisoned(value):
    """The same document, with an attack in place of every text and in every key that is free."""
    if isinstance(value, dict):
        return {key: poisoned(each) for key, each in value.items()}
    if isinstance(value, list):
        return [poisoned(each) for each in value]
    return ATTACK if isinstance(value, str) or value is None else value


def only_text(page):
    """That nothing of an attack has become an element."""
    found = structure(page)
    assert not found.wrong
    assert "img" not in {tag for tag, _ in found.elements}
    assert not [name for _, attrs in found.elements for name in attrs if name.startswith("on")]
    clean = structure(page_text(contents()))
    scripts = [attrs for tag, attrs in found.elements if tag == "script" and "type" not in attrs]
    assert scripts == [attrs for tag, attrs in clean.elements if tag == "script" and "type" not in attrs]


def test_every_text_of_a_record_stays_text():
    record = poisoned(RECORD)
    record["versions"] = {ATTACK: ATTACK}
    record["residual_check"] = {"remarks": [ATTACK], "noise": 1, "inside": 1, "noise_source": ATTACK}
    record["guide"] = {ATTACK: ATTACK}
    before, after = pictures()
    layers = (Layer("before", ATTACK, before, unit=ATTACK), Layer("after", ATTACK, after, unit=ATTACK))
    change = measure(before, after, unit=ATTACK)
    facts = ((ATTACK, ATTACK), ("run record", ATTACK))
    one = Slice(ATTACK, layers, record, None, change, (ATTACK,), 0, facts, (ATTACK,))
    page = page_text(
        Contents(ATTACK, [Group(ATTACK, [one, one], 2, ATTACK), Group(ATTACK, [one], 1, ATTACK)], (ATTACK,))
    )
    only_text(page)
    assert "&lt;img src=http" in page
    json.dumps(meta_of(page))


ODD = (
    None, True, False, 0, -1, 5e-324, 10**400, -(10**400), 1e308, float("nan"), float("inf"), "", "x" * 5000, "\ud800",
    "\0", "\u202e", [], {}, [[[]]], [None] * 500, {"a": {"b": []}}, ["converged"], {"value": "1"}, [1e308, -1e308],
)  # fmt: skip


def spots(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in children:
        yield from spots(each, (*path, key))


@pytest.mark.slow
def test_whatever_is_in_a_record_there_is_a_page():
    choose = random.Random(0)
    places = [path for path in spots(RECORD) if path]
    for _ in range(150):
        record = copy.deepcopy(RECORD)
        for path in choose.sample(places, 3):
            spot = record
            try:
                for key in path[:-1]:
                    spot = spot[key]
                spot[path[-1]] = choose.choice(ODD)
            except (KeyError, IndexError, TypeError, AttributeError):
                continue
        page = page_text(contents(1, record, size=(20, 20)))
        page.encode()
        assert len(page) < 2 * 10**5
        only_text(page)


def test_a_long_history_is_a_short_curve():
    looks = [{"step": k, "residuals": [1 / k] * 300, "distances": [0.5 / k]} for k in range(1, 20000)]
    assert len(page_text(contents(1, {**RECORD, "history": looks}))) < 10**5 + len(page_text(contents()))


def test_texts_are_short_and_printable():
    assert plain("a\n\tb\u202e\ud800") == "a b??"
    assert len(plain("x" * 10**6)) == 600
    deep = []
    for _ in range(10**5):
        deep = [deep]
    assert plain(deep) == "(not shown)"


def test_a_page_without_pictures_is_a_page():
    page = page_text(Contents("none", [Group("", [Slice("gone.png", (), RECORD, missing=("It is gone.",))], 1)]))
    assert "It is gone." in page
    only_text(page)
    assert not structure(page_text(Contents("nothing", []))).wrong


def test_layers_may_be_added():
    """More layers, with scales of their own, need nothing of the page."""
    before, after = pictures()
    spread = Layer("spread", "standard deviation", np.abs(before), Scale.OWN, "HU", (0.0, 20.0), title="uncertainty")
    page = page_text(Contents("", [Group("", [Slice("a", (Layer("after", "result", after), spread), RECORD)], 1)]))
    layers = meta_of(page)["groups"][0]["slices"][0]["layers"]
    assert [layer["title"] for layer in layers] == ["after", "uncertainty"]
    assert layers[1]["limits"] == [0.0, 20.0]


def test_a_layer_that_slices_share_is_in_the_page_once():
    before, after = pictures()
    view = Layer("measurement", "a view", before, Scale.OWN, shared=True)
    slices = [Slice(str(at), (Layer("after", "result", after + at), view), RECORD) for at in range(3)]
    page = page_text(Contents("", [Group("", slices, 3)]))
    found = [each["layers"][1] for each in meta_of(page)["groups"][0]["slices"]]
    assert len({layer["id"] for layer in found}) == 1
    assert page.count(f'id="{found[0]["id"]}"') == 1
    assert len(re.findall('<script type="text/plain"', page)) == 4


def test_files_are_named_without_their_folders():
    config = {
        "operator": "blur:psf=../../home/janedoe/kernel.npy,boundary=valid",
        "prior": "python:/srv/janedoe/own.py:make",
    }
    text = text_of({**RECORD, "config": config, "inputs": [{"path": "../janedoe/y.png", "sha256": "0"}]})
    assert "blur:psf=kernel.npy,boundary=valid" in text
    assert "python:own.py:make" in text
    assert "y.png" in text
    assert "janedoe" not in text


def test_a_method_has_its_name_and_the_key_where_it_is_typed():
    named = {**RECORD["plan"], "method": "condat_vu", "method_title": "Condat-Vu primal-dual splitting"}
    text = text_of({**RECORD, "plan": named, "config": {"method": "condat_vu"}})
    assert text.count("Condat-Vu primal-dual splitting (--method condat_vu)") == 2
    older = {**RECORD["plan"], "method": "condat_vu"}
    assert "condat_vu" in text_of({**RECORD, "plan": older})
    of_a_cone = {**RECORD["plan"], "method": "FDK", "method_title": "FDK"}  # which --method does not take
    assert "--method FDK" not in text_of({**RECORD, "plan": of_a_cone})
