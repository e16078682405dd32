"""Learned priors by specification: a folder is the network that it holds, at the level that the noise says."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cards import write_card

from recon import io, priors
from recon.certificates.ascent import Search
from recon.certificates.lipschitz_search import LipschitzLowerBound
from recon.errors import InputError, UsageError
from recon.evidence import Evidence, Measured
from recon.io import ValueRange, from_array
from recon.methods import network_search
from recon.methods.assumption_check import reconcile_with_search
from recon.methods.network_search import QUICK, WHOLE, Extent, about
from recon.methods.noise_levels import adaptation_of
from recon.methods.stepsizes import mean_column
from recon.operators import Blur, from_matrix, gaussian_psf
from recon.priors.networks import (
    ConvexRidgeConfig,
    Derivative,
    DnCNNConfig,
    LipschitzConfig,
    learned_prior,
    load,
    make,
    measured_on_card,
    save,
)
from recon.priors.networks.files.card import WHOLE_STEPS, is_whole
from recon.reconstruction import certify
from recon.reconstruction.certify import certify_operator, certify_prior, keep
from recon.reconstruction.plan import make_plan
from recon.reconstruction.problem import build_problem
from recon.reconstruction.run import execute
from recon.solvers import Status
from recon.specs import networks
from recon.specs.configured_prior import PriorContext
from recon.specs.grammar import Spec, parse_spec
from recon.specs.networks import read_model
from recon.specs.priors import is_single, needs_noise, read_prior
from recon.specs.solve_config import Noise, SolveConfig

RIDGE = ConvexRidgeConfig(widths=(2, 4), size=3, noise_range=(0.02, 0.2), levels=3)
ONE_LEVEL = LipschitzConfig(layers="orthogonal", features=4, depth=2, hidden=4, noise_range=(0.05, 0.05))
PENALISED = DnCNNConfig(depth=3, features=4, channels=3)
RANGED = replace(PENALISED, conditioned=True, noise_range=(0.1, 0.2))
TINY = Extent((12,), Search(steps=3, starts=2), boxes=((0.0, 1.0),), levels=2)
ASSUMED, MEASURED = Evidence.ASSUMED, Evidence.MEASURED
CAMERA = Path(__file__).parents[2] / "data" / "photographs" / "camera.png"
X = torch.rand(1, 1, 12, 14, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(params=[RIDGE, ONE_LEVEL, PENALISED], ids=["potential", "one level", "penalised"])
def config(request):
    return request.param


@pytest.fixture
def folder(tmp_path, config):
    torch.manual_seed(1)
    save(make(config), tmp_path / "net")
    return tmp_path / "net"


def plant(monkeypatch, value):
    """Searches that find a value, or what a function makes of the level: the level, the side and how each was."""
    seen = []

    def search(network, level, images, side, search, **_):
        seen.append((level, side, search))
        found = value(level) if callable(value) else value
        return LipschitzLowerBound(Measured(found, "a search that takes seconds"), X, X, "planted")

    monkeypatch.setattr(network_search, "hardest_of_network", search)
    return seen


def read(folder, noise=0.1, channels=1, column_norm=None, blurs=False, **options):
    spec = Spec("folder", {key: str(value) for key, value in options.items()}, str(folder))
    return read_prior(spec, PriorContext(noise, channels, blurs, column_norm=column_norm))


@pytest.mark.parametrize("config", [RIDGE])
def test_a_folder_is_its_network_at_the_level_of_the_noise(folder):
    expected = learned_prior(load(folder), 0.1)
    chosen = read(folder, 0.1)
    assert torch.equal(chosen.prior.resolvent(1.0)(X), expected.resolvent(1.0)(X))
    assert chosen.spec.options["sigma"] == "0.1"
    assert chosen.note == ""
    assert [path.name for path in chosen.files] == ["network.toml", "weights.safetensors"]
    assert torch.equal(read_prior(chosen.spec).prior.resolvent(1.0)(X), expected.resolvent(1.0)(X))


@pytest.mark.parametrize("config", [RIDGE])
def test_a_level_above_the_range_is_reached_by_scaling_and_said(folder):
    chosen = read(folder, 0.4)
    expected = 2 * learned_prior(load(folder), 0.2).resolvent(1.0)(X / 2)
    torch.testing.assert_close(chosen.prior.resolvent(1.0)(X), expected, rtol=1e-12, atol=1e-12)
    assert "outside of the range 0.02 to 0.2" in chosen.note


@pytest.mark.parametrize("config", [RIDGE])
@pytest.mark.parametrize("options", [{}, {"weight": 3.0}])
def test_a_level_below_the_range_is_reached_by_a_smaller_weight_and_the_energy_with_it(folder, options):
    chosen, factor = read(folder, 0.005, **options).prior, 0.25**1.5 * options.get("weight", 1.0)
    end = learned_prior(load(folder), 0.02)
    expected = end.resolvent(factor)(X)
    torch.testing.assert_close(chosen.resolvent(1.0)(X), expected, rtol=0, atol=1e-3)  # of an inner iteration
    torch.testing.assert_close(chosen.value(X), factor * end.value(X))
    assert chosen.resolvent(1.0).properties.lipschitz_Q.evidence is Evidence.PROVED


def test_a_nearly_clean_photograph_is_not_made_worse_by_the_proved_prior():
    """Scaled images lost half a dB here."""
    clean = io.to_tensor(io.read(CAMERA))[..., 180:276, 180:276]
    for noise in (0.002, 0.005):
        noisy = clean + noise * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        found = read_prior(Spec("model", {}, "proved-gray"), PriorContext(noise, blurs=False)).prior.resolvent(1.0)(
            noisy
        )
        assert (found - clean).square().mean() < (noisy - clean).square().mean()


@pytest.mark.parametrize("config", [DnCNNConfig(depth=2, features=2, coarse=2.0, clip=0.5, noise_range=(0.2, 0.4))])
def test_below_its_range_a_prox_in_one_step_and_above_it_all_are_scaled(folder, config):
    """What is neither a potential to be multiplied nor a plain resolvent keeps its energy by scaling."""
    one_shot = make(ConvexRidgeConfig(widths=(2, 4), size=3, noise_range=(0.02, 0.2), levels=3, one_shot=True))
    assert (adaptation_of(one_shot, 0.01).scale, adaptation_of(one_shot, 0.4).scale) == (0.5, 2)
    assert (adaptation_of(load(folder), 0.8).scale, adaptation_of(load(folder), 0.3).scale) == (2, 1)


@pytest.mark.parametrize("config", [DnCNNConfig(depth=2, features=2, coarse=2.0, clip=0.5, noise_range=(0.2, 0.4))])
def test_below_its_range_a_single_resolvent_takes_away_a_part_of_what_it_takes_at_the_end(folder, config):
    write_card(folder, lipschitz_Q={"value": 0.9, "evidence": "measured"})
    chosen = read(folder, 0.1)
    properties = chosen.prior.resolvent(1.0).properties
    torch.testing.assert_close(chosen.prior.resolvent(1.0)(X), X + 0.25 * (load(folder).double()(X) - X))
    assert "0.25 of what the network takes away at 0.2" in chosen.remarks[0].how
    whole, part = (read(folder, level).model.search(0, {}, TINY)[0].value for level in (0.2, 0.1))
    assert 0.75 + 0.25 * min(whole, 1) - 1e-6 <= part <= 0.75 + 0.25 * whole * (1 + TINY.search.lanczos.tolerance)
    assert (properties.lipschitz_Q.value, properties.lipschitz_Q.evidence) == (pytest.approx(0.975), Evidence.MEASURED)
    assert read(folder, 0.8).prior.resolvent(1.0).properties.lipschitz_Q.value == 0.9


@pytest.mark.parametrize("distance", [0.0, 0.1])
def test_a_share_of_what_expands_is_refuted_by_its_own_secant_only(tmp_path, monkeypatch, distance):
    """Q = -1.1 Id expands, and 0.75 Id + 0.25 Q = 0.475 Id does not."""
    config = DnCNNConfig(depth=2, features=2, noise_range=(0.2, 0.4))
    save(make(config), tmp_path / "net")
    chosen = read_model(Spec("folder", {}, str(tmp_path / "net")), PriorContext(0.1, blurs=False))

    def be(factor):
        along = Derivative(lambda v: factor * v, lambda v: factor * v)
        chosen.network.Q, chosen.network.derivative = (lambda x, level=None: factor * x), (lambda x, level=None: along)

    monkeypatch.setattr(type(chosen.network), "frozen", lambda self: self)
    found = LipschitzLowerBound(Measured(1.1, "a search"), X, X + distance, "planted")
    monkeypatch.setattr(network_search, "hardest_of_network", lambda *_, **__: found)
    monkeypatch.setattr(networks, "reconcile_constant", lambda *_: None)
    assert chosen.share == 0.25
    be(-1.1)
    assert chosen.search(0, {})[0].value == 1.0
    be(1.1)
    assert chosen.search(0, {})[0].value == pytest.approx(1.025)
    assert chosen.search(0, {})[0].how == "0.25 of what a search found of the network, 1.1, and the rest 1; a search"


@pytest.mark.parametrize("config", [RIDGE])
@pytest.mark.parametrize("method", ["forward_backward", "fista", "douglas_rachford"])
@pytest.mark.parametrize(("sigma", "level"), [(0.4, 0.2), (0.005, 0.02)])
def test_a_level_outside_of_the_range_is_a_remark_of_the_certificate_and_no_condition(folder, method, sigma, level):
    said, plans = [], {}
    picture = from_array(np.random.default_rng(0).random((16, 18)), value_range=ValueRange(0.0, 1.0))
    for noise in (sigma, 0.1):
        asked = SolveConfig(
            operator=parse_spec("identity"), prior=Spec("folder", value=str(folder)), noise=Noise(noise),
            method=method, device="cpu",
        )  # fmt: skip
        plans[noise] = make_plan(asked, picture, said.append)
    outside, inside = (plans[noise].method.certificate for noise in (sigma, 0.1))
    (remark,) = outside.remarks
    assert (remark.value, remark.low, remark.high) == (sigma, 0.02, 0.2)
    assert f"used at {level:g}" in remark.how
    assert "not validated" in remark.how
    warned = [line for line in said if "outside of the range" in line]
    assert warned == [f"{plans[sigma].problem.prior.spec}: {remark.warning}"]
    assert f"remark: {remark}" in str(outside)
    assert f"remark: {remark}" in plans[sigma].describe()
    assert json.loads(json.dumps(outside.to_json()))["remarks"] == [remark.to_json()]
    assert (outside.holds, outside.evidence, outside.missing) == (inside.holds, inside.evidence, inside.missing)
    assert inside.remarks == ()
    assert inside.to_json()["remarks"] == []
    assert "remark" not in str(inside)


@pytest.mark.parametrize("config", [RIDGE])
@pytest.mark.parametrize(("options", "remarks"), [({}, 0), ({"sigma": "0.1"}, 0), ({"sigma": "0.4"}, 1)])
def test_a_report_remarks_on_a_level_that_was_stated(folder, monkeypatch, options, remarks):
    monkeypatch.setattr(certify, "ANY_NOISE", 0.001)  # below the range, and nobody's
    plant(monkeypatch, 1.0)
    prior = Spec("folder", options, str(folder))
    for report in (certify_prior(prior), certify_operator(parse_spec("identity"), prior=prior, shape=(16, 18))):
        assert len(report.remarks) == len(report.to_json()["remarks"]) == remarks
        for guarantee in report.guarantees:
            assert guarantee.method is None or guarantee.method.certificate.remarks == report.remarks


@pytest.mark.parametrize(
    ("config", "count"), [(RIDGE, 1), (RANGED, 5), (replace(RANGED, conditioned=False), 1), (ONE_LEVEL, 1)]
)
def test_a_network_without_a_proof_is_searched_over_its_range(folder, monkeypatch, count):
    """Both ends first, and the worst level is reported, with what it guarantees; once where it is told no level."""
    seen = plant(monkeypatch, lambda level: 0.7 + (level or 0.0))
    prior, lines = Spec("folder", {}, str(folder)), []
    report = certify_prior(prior, say=lines.append)
    assert [line.split()[0] for line in lines] == ["searching", "found"] * count
    levels = list(dict.fromkeys(level for level, _, _ in seen))
    assert len(levels) == count
    if count > 1:
        low, high = load(folder).config.noise_range
        assert levels[:2] == pytest.approx([low, high], rel=1e-2)
        assert report.constants["lipschitz_Q_attack"].value == max(0.7 + level for level in levels)
        assert f"sigma={high!r}" in report.setting
    seen.clear()
    report = certify_prior(prior, noise=0.15)
    assert len({level for level, _, _ in seen}) == 1
    assert not any("--noise" in reason for guarantee in report.guarantees for reason in guarantee.missing)


@pytest.mark.parametrize("config", [RANGED])
@pytest.mark.parametrize(("value", "count"), [(1.2, 3), (1.0, 3), (0.97, 3)])
def test_levels_that_agree_end_a_search_after_both_ends_and_the_middle(folder, monkeypatch, value, count):
    seen, lines = plant(monkeypatch, value), []
    certify_prior(Spec("folder", {}, str(folder)), say=lines.append)
    assert len({level for level, _, _ in seen}) == count
    assert lines[-1] == "the levels agree: 2 between them are not searched"


@pytest.mark.parametrize("config", [RANGED])
def test_a_whole_search_stays_in_the_unit_interval_and_leaves_it_on_every_size(folder, monkeypatch):
    """What finds nothing is measured then, and only then."""
    seen, prior = plant(monkeypatch, 0.9), Spec("folder", {}, str(folder))
    whole, quick = certify_prior(prior), certify_prior(prior, extent=QUICK)
    assert whole.constants["lipschitz_Q"].evidence is Evidence.MEASURED
    assert quick.constants["lipschitz_Q"].evidence is Evidence.ASSUMED
    assert {(side, search.box) for _, side, search in seen} == {
        (side, box) for side in (32, 48, 64, 96) for box in ((0.0, 1.0), None)
    }
    assert WHOLE.search.steps >= WHOLE_STEPS >= 100
    assert QUICK.work(0) < WHOLE.work(0) / 20
    one = certify_prior(prior, noise=0.15, side=48)
    assert one.constants["lipschitz_Q"].evidence is Evidence.ASSUMED
    for part in (quick, one):
        (level, high) = (part.searches[0].record.noise, load(folder).config.noise_range[1])
        assert not is_whole([search.record for search in part.searches], (level, high))


@pytest.mark.parametrize("config", [RANGED])
def test_what_a_quick_search_finds_refutes(folder, monkeypatch):
    plant(monkeypatch, 1.01)
    report = certify_prior(Spec("folder", {}, str(folder)), extent=QUICK)
    known = report.constants["lipschitz_Q"]
    assert (known.value, known.evidence) == (1.01, Evidence.MEASURED)
    assert not any(guarantee.holds for guarantee in report.guarantees)


@pytest.mark.parametrize("config", [RANGED])
def test_a_search_tells_how_far_it_is_and_how_long_it_takes(folder, monkeypatch):
    """An estimate by what it took so far, in proportion to the pixels."""
    now, said, seen = [0.0], [], []
    monkeypatch.setattr(network_search.time, "monotonic", lambda: now[0])

    def search(*asked, watch):
        side, looked = asked[3:]
        for start in range(looked.starts):
            now[0] += side**2 / 10
            watch(start, 0, 0.5)
        return LipschitzLowerBound(Measured(0.5, "planted"), X, X, "planted")

    monkeypatch.setattr(network_search, "hardest_of_network", search)
    certify_prior(Spec("folder", {}, str(folder)), noise=0.15, say=said.append, watch=seen.append)
    seconds = sum(side**2 / 10 * looked.starts for side, looked in WHOLE.searches())
    assert f"the whole search takes about {about(seconds)} here" in said
    assert [each.done for each in seen] == list(range(1, seen[0].count + 1))
    assert seen[-1].seconds_left == pytest.approx(0)
    assert seen[0].seconds_left + 32**2 / 10 == pytest.approx(seconds)


@pytest.mark.parametrize("config", [RANGED])
def test_what_is_found_is_kept_in_the_card_where_a_solve_looks(folder, monkeypatch):
    prior = Spec("folder", {}, str(folder))

    def known():
        return read(folder, 0.15, 3).prior.resolvent(1.0).properties.lipschitz_Q

    assert known().evidence is Evidence.ASSUMED
    plant(monkeypatch, 0.99)
    assert keep(certify_prior(prior, extent=QUICK)).evidence is Evidence.ASSUMED  # a short search can only refute
    assert known().evidence is Evidence.ASSUMED
    assert keep(certify_prior(prior)).evidence is Evidence.MEASURED
    assert known().evidence is Evidence.MEASURED
    plant(monkeypatch, 1.3)
    assert keep(certify_prior(prior, extent=QUICK)).value == 1.3
    assert known().value == 1.3
    plant(monkeypatch, 0.99)
    assert keep(certify_prior(prior)).value == 1.3  # what was found once is not taken back
    assert known().value == 1.3
    plant(monkeypatch, 1.6)
    keep(certify_prior(prior, side=12))  # nor is it of larger images
    assert known().value == 1.3
    assert measured_on_card(folder, (12, 40)).value == 1.6


@pytest.mark.parametrize("config", [RIDGE, ONE_LEVEL])
def test_nothing_is_kept_of_a_network_with_a_proof(folder, monkeypatch):
    plant(monkeypatch, 0.99)
    assert keep(certify_prior(Spec("folder", {}, str(folder)))) is None
    assert not (folder / "card.json").exists()


@pytest.mark.parametrize("config", [RANGED])
def test_a_search_of_a_network_that_was_changed_meanwhile_is_not_kept(folder, monkeypatch):
    plant(monkeypatch, 1.3)
    report = certify_prior(Spec("folder", {}, str(folder)), extent=QUICK)
    torch.manual_seed(5)
    save(make(RANGED), folder, overwrite=True)
    with pytest.raises(InputError, match="the network was changed while it was searched"):
        keep(report)
    assert not (folder / "card.json").exists()


@pytest.mark.parametrize("config", [RANGED])
@pytest.mark.parametrize("stated", [{}, {"sha256": 64 * "0"}, {"sha256": None}])
def test_a_card_of_another_network_is_refused_by_name(folder, stated):
    card = stated | {"lipschitz_Q": {"value": 0.5, "evidence": "measured"}}
    (folder / "card.json").write_text(json.dumps(card))
    for act in (lambda: read(folder, 0.15, 3), lambda: certify_prior(Spec("folder", {}, str(folder)), extent=TINY)):
        with pytest.raises(
            InputError, match=r"card\.json: the card (is of|says of no).*expected sha256 .*take the card"
        ):
            act()


@pytest.mark.parametrize("config", [ONE_LEVEL])
def test_a_network_of_one_level_is_scaled_to_any_without_a_remark(folder):
    chosen = read(folder, 0.1)
    assert chosen.remarks == ()
    torch.testing.assert_close(chosen.prior.resolvent(1.0)(X), 2 * load(folder).frozen()(X / 2), rtol=1e-12, atol=1e-12)
    assert chosen.note == ""


@pytest.mark.parametrize("config", [RIDGE])
def test_projections_turn_the_noise_and_the_weight_into_those_of_pixels(folder):
    chosen = read(folder, 2.0, column_norm=20.0)
    expected = priors.weighted_prior(learned_prior(load(folder), 0.1), 440.0)
    torch.testing.assert_close(chosen.prior.resolvent(0.01)(X), expected.resolvent(0.01)(X))
    assert chosen.spec.options == {"weight": "440.0", "sigma": "0.1"}


@pytest.mark.parametrize("config", [RIDGE])
@pytest.mark.parametrize("column_norm", [None, 5.0])
def test_behind_an_operator_a_potential_is_taken_inside_of_its_range(folder, column_norm):
    weights = []
    for noise, level in ((0.005, "0.02"), (0.05, "0.05"), (0.8, "0.2")):
        chosen = read(folder, noise * (column_norm or 1), column_norm=column_norm, blurs=True)
        assert chosen.spec.options["sigma"] == level
        assert len(chosen.remarks) == (noise > 0.1 and column_norm is None)
        weights.append(float(chosen.spec.options["weight"]) * float(level) ** 1.5)
    assert weights == sorted(weights)  # the more noise, the stronger


def test_what_does_not_fit_is_named_in_a_sentence(folder, config):
    other = 3 if config.channels == 1 else 1
    with pytest.raises(UsageError, match=r"the network was made for .* images; expected one for .* images"):
        read(folder, channels=other)
    assert needs_noise(parse_spec(str(folder), "prior"))
    with pytest.raises(UsageError, match="needs a noise level; expected sigma=S in it or --noise"):
        read(folder, None, config.channels)
    with pytest.raises(UsageError, match="sigma is '-1'; expected a finite number above 0"):
        read(folder, channels=config.channels, sigma=-1)
    if config is not RIDGE:
        with pytest.raises(UsageError, match="expected none, because it is a single resolvent"):
            read(folder, channels=config.channels, weight=2)


@pytest.mark.parametrize("config", [ONE_LEVEL])
def test_changed_weights_are_refused(folder):
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="one of them was changed"):
        read(folder)


def test_an_unknown_model_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(UsageError, match="There is no packaged model 'nothing'; known: "):
        read_prior(Spec("model", value="nothing"), PriorContext(0.1))
    with pytest.raises(InputError, match=r"network\.toml"):
        read(tmp_path)


@pytest.mark.parametrize("config", [ONE_LEVEL, PENALISED])
def test_a_certificate_has_the_proof_or_what_the_search_found(folder, config):
    constants = certify_prior(Spec("folder", {}, str(folder)), extent=TINY).constants
    claim, found = constants["lipschitz_Q"], constants["lipschitz_Q_attack"]
    assert "searches from" in found.how
    assert found.value <= claim.value  # an assumption of 1 that the search refutes is not what is reported
    refuted = found.value > 1
    assert claim.evidence is (Evidence.PROVED if config is ONE_LEVEL else (ASSUMED, MEASURED)[refuted])


def test_a_folder_without_a_slash_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(make(ONE_LEVEL), "net")
    spec = parse_spec("net", "prior")
    assert read_prior(spec, PriorContext(0.1)).spec.name == "folder"
    assert needs_noise(spec)
    assert is_single(spec)


@pytest.mark.parametrize(
    ("spec", "matched"),
    [
        ("none", ""), ("box", ""), ("tikhonov:weight=1", ""), ("l1:weight=1", ""), ("python:mine.py:make", ""),
        ("nothing", ""), ("tv", "weight"), ("wavelet:levels=2", "weight"), ("model:a", "sigma"), ("folder:a", "sigma"),
        ("deepinv:DnCNN", "sigma"),
    ],
)  # fmt: skip
def test_what_is_matched_to_the_noise_is_said_once(spec, matched):
    left_out = parse_spec(spec)
    given = replace(left_out, options={**left_out.options, matched: "1"})
    assert (needs_noise(left_out), needs_noise(given)) == (bool(matched), False)
    assert is_single(left_out) == is_single(given) == (matched == "sigma")


def test_the_noise_is_estimated_for_a_folder_without_a_slash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(make(ONE_LEVEL), "net")
    said: list[str] = []
    picture = from_array(np.random.default_rng(0).random((24, 20)), value_range=ValueRange(0.0, 1.0))
    asked = SolveConfig(operator=parse_spec("identity"), prior=parse_spec("net"), device="cpu")
    problem = build_problem(asked, picture, said.append)
    assert "noise level estimated" in said[0]
    assert float(problem.prior.spec.options["sigma"]) == pytest.approx(problem.noise, rel=0.01)


@pytest.mark.parametrize("stepsize", [0.3, 2.0])
def test_scaling_and_weights_of_total_variation_are_weights_of_it(stepsize):
    """TV is positively homogeneous: c^2 TV(x / c) = c TV(x)."""
    one = priors.total_variation_prior(1.0, image_shape=(12, 14))
    expected = priors.total_variation_prior(0.25, image_shape=(12, 14))
    u = torch.randn(1, 2, 12, 14, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for made in (priors.scaled_prior(one, 0.25), priors.weighted_prior(one, 0.25)):
        torch.testing.assert_close(made.resolvent(stepsize)(X), expected.resolvent(stepsize)(X), rtol=0, atol=1e-5)
        torch.testing.assert_close(made.value(X), expected.value(X))
        made_dual, dual = made.split.conjugate_resolvent(stepsize), expected.split.conjugate_resolvent(stepsize)
        torch.testing.assert_close(made_dual(u), dual(u))


def level_of(folder, operator: str, **options) -> float:
    given = {"operator": parse_spec(operator), "prior": Spec("folder", value=str(folder)), "noise": Noise(0.02)}
    image = from_array(np.full((20, 24), 0.5, np.float32), value_range=ValueRange(0.0, 1.0))
    problem = build_problem(SolveConfig(**given, device="cpu", **options), image, lambda line: None)
    return float(problem.prior.spec.options["sigma"])


@pytest.mark.parametrize("config", [ONE_LEVEL])
def test_a_single_resolvent_is_matched_to_the_noise_that_a_step_leaves(folder):
    frobenius = float(torch.linalg.vector_norm(gaussian_psf(1.2)))
    longest = 0.995 * 2  # the norm of the blur is 1
    forward = level_of(folder, "blur:gaussian=1.2", method="forward_backward")
    assert forward == pytest.approx(2 * longest * 0.02 * frobenius, rel=0.05)
    assert level_of(folder, "blur:gaussian=1.2", stepsize=0.5) == pytest.approx(0.02 * frobenius, rel=0.05)
    assert level_of(folder, "blur:gaussian=1.2", method="tseng") == pytest.approx(2 * 0.95 * 0.02 * frobenius, rel=0.05)
    assert level_of(folder, "identity") == 0.02  # the pixels themselves: J(y) in one step


@pytest.mark.parametrize("config", [replace(ONE_LEVEL, noise_range=(0.02, 0.08))])
def test_where_the_step_is_free_a_single_resolvent_is_at_the_middle_of_its_range_and_the_step_is_matched(folder):
    frobenius = float(torch.linalg.vector_norm(gaussian_psf(1.2)))
    picture = from_array(np.random.default_rng(0).random((20, 24)), value_range=ValueRange(0.0, 1.0))
    asked = SolveConfig(
        operator=parse_spec("blur:gaussian=1.2"),
        prior=Spec("folder", value=str(folder)),
        noise=Noise(0.02),
        device="cpu",
    )
    plan = make_plan(asked, picture, lambda line: None)
    step = 0.04 / (12 * 0.02**0.6 * 0.02 * frobenius)
    assert plan.problem.prior.spec.options["sigma"] == "0.04"
    assert (plan.method.name, plan.method.relaxation) == ("douglas_rachford", 1.9)
    assert plan.method.stepsize == pytest.approx(step, rel=0.05)
    stated = replace(asked, prior=Spec("folder", {"sigma": "0.06"}, str(folder)))
    assert make_plan(stated, picture, lambda line: None).method.stepsize == plan.method.stepsize
    for other in ({"stepsize": 0.5}, {"method": "tseng"}, {"surrogate": parse_spec("blur:gaussian=1.2")}):
        matched = make_plan(replace(asked, **other), picture, lambda line: None)
        assert float(matched.problem.prior.spec.options["sigma"]) < 0.03
    assert make_plan(replace(asked, stepsize=0.5), picture, lambda line: None).method.name == "forward_backward"
    rounded = Spec("folder", {"precision": "bfloat16"}, str(folder))
    for method, noise, count, others in (
        ("tseng", 0.002, 1, {}),
        ("tseng", 0.1, 0, {}),
        ("douglas_rachford", 0.002, 0, {}),
        ("tseng", 0.002, 0, {"stepsize": 0.5}),  # with which the default is forward-backward
        ("douglas_rachford", 0.002, 0, {"stepsize": 0.1}),
        ("forward_backward", 0.002, 0, {"prior": rounded}),
    ):
        said = []
        make_plan(replace(asked, method=method, noise=Noise(noise), **others), picture, said.append)
        assert sum("leave --method out, and Douglas-Rachford uses all" in line for line in said) == count
    halved = replace(asked, prior=Spec("folder", {"precision": "bfloat16"}, str(folder)))
    assert make_plan(halved, picture, lambda line: None).method.name == "forward_backward"


@pytest.mark.parametrize("config", [replace(RIDGE, one_shot=True)])
def test_the_prox_of_a_learned_potential_in_one_step_keeps_its_method_and_its_proof(folder):
    picture = from_array(np.random.default_rng(0).random((20, 24)), value_range=ValueRange(0.0, 1.0))
    for noise in (0.01, 0.05):  # below the range, and in it
        asked = SolveConfig(
            operator=parse_spec("blur:gaussian=1.2"), prior=Spec("folder", value=str(folder)), noise=Noise(noise),
            device="cpu",
        )  # fmt: skip
        plans = [make_plan(replace(asked, method=name), picture, lambda line: None) for name in (None, "fista")]
        assert {plan.method.name for plan in plans} == {"fista"}
        assert all(plan.method.certificate.evidence is Evidence.PROVED for plan in plans)


@pytest.mark.parametrize("config", [RIDGE, ONE_LEVEL])
@pytest.mark.parametrize("operator", ["identity", "blur:gaussian=1.2"])
def test_no_noise_is_refused_unless_the_level_is_stated(folder, operator):
    picture = from_array(np.random.default_rng(0).random((20, 24)), value_range=ValueRange(0.0, 1.0))
    asked = SolveConfig(
        operator=parse_spec(operator), prior=Spec("folder", value=str(folder)), noise=Noise(0.0), device="cpu"
    )
    with pytest.raises(UsageError, match="the noise is 0; expected a level above 0"):
        make_plan(asked, picture, lambda line: None)
    stated = replace(asked, prior=Spec("folder", {"sigma": "0.05"}, str(folder)))
    assert make_plan(stated, picture, lambda line: None).method.name


@pytest.mark.parametrize("config", [ONE_LEVEL])
def test_a_step_that_follows_noise_beyond_what_was_looked_at_is_remarked_on(folder):
    picture = from_array(np.random.default_rng(0).random((20, 24)), value_range=ValueRange(0.0, 1.0))
    for noise, count in ((0.01, 0), (0.2, 1)):
        asked = SolveConfig(
            operator=parse_spec("blur:gaussian=1.2"), prior=Spec("folder", value=str(folder)), noise=Noise(noise),
            device="cpu",
        )  # fmt: skip
        remarks = make_plan(asked, picture, lambda line: None).method.certificate.remarks
        assert [remark.name for remark in remarks] == ["the noise level that the step size follows"] * count


def test_a_measured_network_restores_a_blurred_photograph_with_a_certificate(tmp_path):
    """J takes away half of the details, which is firmly nonexpansive, and with clipped ones a solution exists."""
    network = make(DnCNNConfig(features=1, depth=2, slope=1.0, coarse=1.0, clip=1.0, noise_range=(0.02, 0.1)))
    with torch.no_grad():
        for kernel, value in zip(network.kernels, (1.0, 0.5), strict=True):
            kernel.zero_()[..., 1, 1] = value
    save(network, tmp_path / "net")
    write_card(tmp_path / "net", lipschitz_Q={"value": 1.0, "evidence": "measured", "how": "a search"})
    camera = io.read(CAMERA)
    clean = camera.pixels[0, 0, 160:224, 200:264] / 255
    blur = Blur(gaussian_psf(1.6), clean.shape)
    noise = 0.01 * np.random.default_rng(0).standard_normal(clean.shape)
    blurred = blur.A(torch.from_numpy(clean)[None, None].double())[0, 0].numpy() + noise
    asked = SolveConfig(
        operator=parse_spec("blur:gaussian=1.6"), prior=Spec("folder", {}, str(tmp_path / "net")), noise=Noise(0.01),
        device="cpu", require_certificate=True,
    )  # fmt: skip
    plan = make_plan(asked, from_array(blurred, value_range=ValueRange(0.0, 1.0)), lambda line: None)
    result = execute(plan)
    restored = result.image.pixels[0, 0]
    assert plan.method.certificate.evidence is Evidence.MEASURED
    assert result.solution.converged
    assert np.square(restored - clean).mean() < np.square(blurred - clean).mean()


@pytest.mark.parametrize("config", [RIDGE])
def test_a_potential_is_at_the_level_of_the_noise_itself(folder):
    assert level_of(folder, "blur:gaussian=1.2") == 0.02


def test_the_mean_column_is_that_of_the_matrix():
    matrix = torch.randn(30, 5 * 6, generator=torch.Generator().manual_seed(0))
    operator = from_matrix(matrix)
    exact = math.sqrt(float(matrix.square().sum()) / 30)
    assert mean_column(operator, torch.zeros(1, 1, 30)) == pytest.approx(exact, rel=0.2)


@pytest.mark.parametrize("config", [RIDGE])
def test_a_potential_weighs_less_where_the_operator_blurs(folder):
    chosen = read(folder, blurs=True)
    expected = priors.weighted_prior(learned_prior(load(folder), 0.1), 0.318)  # 0.4 * 0.1 ** (1.6 - 1.5)
    torch.testing.assert_close(chosen.prior.resolvent(0.5)(X), expected.resolvent(0.5)(X))
    assert read_prior(chosen.spec).spec == chosen.spec


@pytest.mark.parametrize("config", [RIDGE])
def test_a_potential_takes_bounds_and_a_single_resolvent_none(folder, tmp_path):
    constraint = read(folder, low=0.2).prior.constraint
    assert float(constraint(torch.tensor([[-1.0, 5.0]])).min()) == pytest.approx(0.2)
    assert float(constraint(torch.tensor([[-1.0, 5.0]])).max()) == 5.0
    save(make(ONE_LEVEL), tmp_path / "single")
    with pytest.raises(UsageError, match="bounds with a Lipschitz network; expected none"):
        read(tmp_path / "single", low=0)


@pytest.mark.parametrize("config", [ONE_LEVEL])
def test_half_precision_is_measured_at_the_start_and_sets_the_tolerance(folder):
    said: list[str] = []
    prior = Spec("folder", {"precision": "bfloat16"}, str(folder))
    config = SolveConfig(operator=parse_spec("blur:gaussian=1"), prior=prior, noise=Noise(0.1), device="cpu")
    picture = from_array(np.random.default_rng(0).random((24, 20)), value_range=ValueRange(0.0, 1.0))
    plan = make_plan(config, picture, said.append)
    inexact = next(condition for condition in plan.method.certificate.conditions if "exactly" in condition.name)
    assert (inexact.holds, inexact.evidence) == (False, Evidence.MEASURED)
    assert "of 24 x 20" in inexact.how
    assert 1e-5 < inexact.value < 1e-2
    assert plan.tolerance == pytest.approx(max(2e-3, inexact.value), rel=0.05)
    assert not said
    assert execute(plan).status in (Status.CONVERGED, Status.STALLED)
    firm = next(condition for condition in plan.method.certificate.conditions if "firmly" in condition.name)
    assert firm.evidence is Evidence.PROVED
    make_plan(replace(config, tolerance=1e-7), picture, said.append)
    assert "the tolerance 1e-07 is below the rounding of the prior" in said[0]
    required = make_plan(replace(config, require_certificate=True), picture, said.append)
    left = required.method.certificate.strongest
    assert left is not None
    assert left.evidence is Evidence.MEASURED


def test_the_exact_network_is_what_is_attacked(tmp_path):
    """Close secants of a rounded map are rounding, and would refute anything."""
    network = make(replace(PENALISED, channels=1))
    with torch.no_grad():
        network.kernels[-1].mul_(100)  # far from the identity
    save(network, tmp_path / "net")
    picture = from_array(np.random.default_rng(0).random((24, 20)), value_range=ValueRange(0.0, 1.0))
    values = []
    for precision in ("bfloat16", "float32"):
        prior = Spec("folder", {"precision": precision}, str(tmp_path / "net"))
        config = SolveConfig(operator=parse_spec("identity"), prior=prior, noise=Noise(0.1), device="cpu")
        certificate = make_plan(config, picture, print).method.certificate
        values.append(next(c.value for c in certificate.conditions if "firmly" in c.name))
    assert values[0] == values[1] > 1


@pytest.mark.parametrize("config", [RIDGE])
def test_half_precision_of_a_potential_is_refused_in_the_words_of_the_user(folder):
    with pytest.raises(UsageError, match=r"precision=bfloat16: precision is 'bfloat16' with a ConvexRidge network"):
        read(folder, precision="bfloat16")
    with pytest.raises(UsageError, match="precision is 'half'; expected float32 or bfloat16"):
        read(folder, precision="half")


FREE = DnCNNConfig(features=4, depth=3, noise_range=(0.02, 0.2), conditioned=True)


@pytest.mark.parametrize("config", [FREE])
@pytest.mark.parametrize("stated", [0.97, 1.3])
def test_a_card_says_what_was_measured_and_an_attack_may_exceed_it(folder, stated):
    write_card(folder, lipschitz_Q={"value": stated, "evidence": "measured", "how": "a search"})
    known = read(folder, 0.1).prior.resolvent(1.0).properties.lipschitz_Q
    assert (known.value, known.evidence) == (stated, Evidence.MEASURED)
    found = Measured(1.1, "an attack")
    refuted = reconcile_with_search(read(folder, 0.1).prior, found).resolvent(1.0).properties
    assert refuted.lipschitz_Q.value == max(stated, 1.1)
    assert refuted.attains is None


SEARCHES = [
    {"side": 9, "value": 10**400},
    {"side": 12, "value": 1.02},
    {"side": 24, "value": 1.1},
    {"side": 64, "value": 9.0},
    {"side": 16},
    None,
]


@pytest.mark.parametrize("config", [FREE])
@pytest.mark.parametrize("least", [{}, {"least_side": 48}])
@pytest.mark.parametrize(("searches", "smaller"), [(None, 1.0), ("none", 1.0), ([], 1.0), (SEARCHES, 1.1)])
def test_what_a_card_measured_stands_for_images_as_large_as_those_that_were_searched(folder, least, searches, smaller):
    """Of smaller ones what their searches found is assumed."""
    known = {"value": 1.0, "evidence": "measured", "how": "a search"} | least
    write_card(folder, lipschitz_Q=known, searches=searches)
    side = least.get("least_side", 32)
    shapes = (((side - 1, 200), Evidence.ASSUMED), ((200, side), Evidence.MEASURED), (None, Evidence.MEASURED))
    for shape, evidence in shapes:
        prior = read_prior(Spec("folder", {"sigma": "0.1"}, str(folder)), PriorContext(0.1, image_shape=shape)).prior
        known = prior.resolvent(1.0).properties.lipschitz_Q
        assert (known.value, known.evidence) == (1.0 if evidence is Evidence.MEASURED else smaller, evidence)
        assert f"sides of {side} pixels and more" in known.how
        assert ("no search is on it" in known.how) == (evidence is Evidence.ASSUMED and searches is not SEARCHES)
        assert measured_on_card(folder, shape) == known


@pytest.mark.parametrize("config", [FREE])
@pytest.mark.parametrize("noise", [None, 0.1])
def test_what_is_searched_on_small_images_takes_nothing_of_the_card_for_larger_ones(folder, monkeypatch, noise):
    """Nor does a search that finds no violation take back those on the card."""
    write_card(folder, lipschitz_Q={"value": 1.0, "evidence": "measured"}, searches=SEARCHES)
    plant(monkeypatch, 0.99)
    spec, tiny, wide = Spec("folder", {}, str(folder)), torch.zeros(1, 1, 40, 24), torch.zeros(1, 1, 40, 50)
    for asked in ({"side": 12}, {"images": {"image 1": tiny}}, {"side": 64, "images": {"image 1": tiny}}):
        report = certify_prior(spec, noise=noise, **asked)
        known = report.constants["lipschitz_Q"]
        assert (known.value, known.evidence) == (1.1, Evidence.ASSUMED)
        assert len(report.remarks) == 1
        assert not any(guarantee.holds for guarantee in report.guarantees)
    for asked in ({"side": 32}, {"images": {"image 1": wide}}, {}):
        report = certify_prior(spec, noise=noise, **asked)
        assert report.constants["lipschitz_Q"].evidence is Evidence.MEASURED
        assert report.remarks == ()
        assert any(guarantee.holds for guarantee in report.guarantees)


@pytest.mark.parametrize(
    ("config", "sides"), [(FREE, ((32, 48, 64, 96), (32,), (24,), (8,))), (RIDGE, ((20,), (20,), (20,), (8,)))]
)
def test_what_is_searched_is_no_larger_than_the_smallest_image(folder, monkeypatch, sides):
    found = []
    for shape in ((200, 99), (40, 47), (90, 24), (3, 50)):
        seen = plant(monkeypatch, 0.5)
        images = {"small": torch.zeros(1, 1, *shape), "large": torch.zeros(1, 1, 200, 200)}
        certify_prior(Spec("folder", {}, str(folder)), noise=0.1, images=images)
        found.append(tuple(dict.fromkeys(side for _, side, _ in seen)))
    assert tuple(found) == sides


def test_a_folder_without_a_card_and_a_proved_one_have_nothing_measured(tmp_path):
    save(make(ONE_LEVEL), tmp_path)
    assert measured_on_card(tmp_path) is None
    write_card(tmp_path, lipschitz_Q={"value": 1.0, "evidence": "proved"})
    assert measured_on_card(tmp_path) is None


@pytest.mark.parametrize("config", [FREE])
@pytest.mark.parametrize(
    "stated",
    [
        None,
        "1",
        {"value": "1"},
        {"value": -1},
        {"value": float("inf")},
        {"value": 1.0, "least_side": "9"},
        {"value": 1.0, "least_side": 10**9},
        {"value": 10**400},
    ],
)
def test_a_card_without_a_measurement_is_refused(folder, stated):
    write_card(folder, lipschitz_Q=stated)
    with pytest.raises(InputError, match=r"card\.json: lipschitz_Q = .*expected a positive value"):
        read(folder, 0.1)
