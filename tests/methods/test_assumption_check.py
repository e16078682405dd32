"""What is assumed of a prior gives way to what is found."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recon import priors
from recon.certificates.conditions import firmly_nonexpansive, proximity
from recon.errors import GuaranteeError
from recon.evaluation.evaluate import evaluate
from recon.evidence import Assumed, Evidence, Fact, Measured, Proved
from recon.io import ValueRange, from_array
from recon.methods.assumption_check import attack, reconcile_with_search
from recon.priors import Prior, Resolvent, ResolventProperties, resolvent_properties
from recon.priors.networks import DnCNNConfig, make, save
from recon.reconstruction import plan as planning
from recon.reconstruction.plan import make_plan
from recon.specs.grammar import Spec, parse_spec
from recon.specs.solve_config import Noise, SolveConfig, config_from


def prior_of(apply) -> Prior:
    resolvent = Resolvent(apply, resolvent_properties(apply), "a map")
    return Prior("a map", lambda stepsize: resolvent)


@pytest.mark.parametrize(("gain", "lipschitz"), [(1.2, 1.4), (-0.9, 2.8)])
def test_a_refuted_assumption_is_replaced_by_the_secant(gain, lipschitz):
    prior = prior_of(lambda x: gain * x)
    known = reconcile_with_search(prior, attack(prior.resolvent(1.0))).resolvent(1.0).properties.lipschitz_Q
    assert known.evidence is Evidence.MEASURED
    assert known.value == pytest.approx(lipschitz)


def test_a_network_whose_weights_want_gradients_is_tried_without_a_warning():
    """As one's own network comes from torch: warnings are errors here."""
    layer = torch.nn.Conv2d(1, 1, 3, padding=1, dtype=torch.float64)
    assert attack(prior_of(layer).resolvent(1.0)).value > 0


def test_an_assumption_that_stands_and_a_proof_are_kept():
    for prior in (prior_of(lambda x: 0.4 * x), priors.l1_prior(0.1)):
        assert reconcile_with_search(prior, attack(prior.resolvent(1.0))) is prior


def test_after_a_thorough_search_an_assumption_is_a_measurement_and_a_proof_a_proof():
    prior, proved = prior_of(lambda x: 0.4 * x), priors.l1_prior(0.1)
    found = Measured(0.8, "a thorough search")
    assert reconcile_with_search(prior, found, thorough=True).resolvent(1.0).properties.lipschitz_Q is found
    assert reconcile_with_search(proved, found, thorough=True) is proved


def test_a_search_that_finds_less_than_an_earlier_one_takes_nothing_back():
    resolvent = priors.l1_prior(0.1).resolvent(1.0)
    assumed = replace(resolvent.properties, lipschitz_Q=Assumed(1.1, "other searches found that"))
    prior = Prior("a map", lambda stepsize: replace(resolvent, properties=assumed))
    assert reconcile_with_search(prior, Measured(0.99, "a search"), thorough=True) is prior
    less, more, assumed_too = Measured(1.05, "a counterexample"), Measured(1.2, "a harder one"), assumed.attains
    for thorough in (True, False):
        known = reconcile_with_search(prior, less, thorough=thorough).resolvent(1.0).properties
        assert (known.lipschitz_Q, known.counterexample, known.proximity) == (assumed.lipschitz_Q, less, None)
        assert known.attains is assumed_too
        assert firmly_nonexpansive(known).refuted
        assert proximity(known).refuted
        known = reconcile_with_search(prior, more, thorough=thorough).resolvent(1.0).properties
        assert (known.lipschitz_Q, known.counterexample, known.proximity) == (more, None, None)
    assert not firmly_nonexpansive(assumed).refuted


def test_a_search_that_comes_near_1_stands_for_no_contraction():
    prior = prior_of(lambda x: 0.99 * x)
    known = (
        reconcile_with_search(prior, Measured(0.99, "a thorough search", 1e-3), thorough=True).resolvent(1.0).properties
    )
    assert (known.lipschitz_Q.value, known.lipschitz_Q.error) == (1.0, 0.0)


def test_a_refuted_proof_is_an_error_and_not_a_guarantee():
    wrong = priors.l1_prior(0.1)
    with pytest.raises(GuaranteeError, match=r"Lip\(Q\) <= 1 is said to be proved .* a search found 1.2: the proof"):
        reconcile_with_search(wrong, Measured(1.2, "a search"))
    assert reconcile_with_search(wrong, Measured(1.2, "a search of what is had by iteration", 0.3)) is wrong


def test_what_expands_is_no_proximity_operator():
    resolvent = priors.l1_prior(0.1).resolvent(1.0)
    assumed = replace(resolvent.properties, lipschitz_Q=Assumed(1.0, "its author says so"))
    prior = Prior("a map", lambda stepsize: replace(resolvent, properties=assumed))
    assert reconcile_with_search(prior, Measured(0.9, "a search")).resolvent(1.0).properties.proximity is not None
    assert reconcile_with_search(prior, Measured(1.2, "a search")).resolvent(1.0).properties.proximity is None


def test_a_thorough_search_refutes_by_less_than_single_precision_would():
    prior = prior_of(lambda x: 0.9 * x)
    found = Measured(1.0005, "a search in double precision")
    assert reconcile_with_search(prior, found) is prior
    assert reconcile_with_search(prior, found, thorough=True).resolvent(1.0).properties.lipschitz_Q is found


def test_what_is_refuted_takes_with_it_what_followed_and_leaves_what_is_proved():
    proved, measured = Fact(Evidence.PROVED, "coercive"), Fact(Evidence.MEASURED, "it contracts")
    for claim in (0.9, 1.0):
        known = ResolventProperties(Measured(claim, "before"), attains=measured, everywhere=proved)
        prior = Prior("a map", lambda stepsize, known=known: Resolvent(lambda x: x, known, "a map"))
        refuted = reconcile_with_search(prior, Measured(1.2, "now")).resolvent(1.0).properties
        assert (refuted.attains, refuted.everywhere) == (None, proved)


def test_a_short_secant_with_a_large_error_hides_no_refutation():
    """J = 1.15 Id, to 1e-4: at a distance of 0.01 a quotient says nothing, at 10 it refutes."""
    known = ResolventProperties(Proved(1.0, "it is said"), error=Proved(1e-4, "an inner iteration"))
    prior = Prior("a map", lambda stepsize: Resolvent(lambda x: 1.15 * x, known, "a map"))
    with pytest.raises(GuaranteeError):
        reconcile_with_search(prior, attack(prior.resolvent(1.0)))


def test_a_secant_of_an_inexact_resolvent_carries_its_error():
    """An error of 0.1 of the image makes the shortest secants of the identity say nothing."""
    exact = ResolventProperties(lipschitz_Q=Proved(1.0, "the identity"))
    generator = torch.Generator().manual_seed(0)

    def rounded(x):
        return x * (1 + 0.1 * (2 * torch.rand(1, generator=generator, dtype=x.dtype) - 1))

    prior = Prior("a map", lambda stepsize: Resolvent(rounded, exact, "a map"))
    with pytest.raises(GuaranteeError):
        reconcile_with_search(prior, attack(prior.resolvent(1.0)))
    inexact = replace(exact, error=Proved(0.1, "an inner iteration"))
    prior = Prior("a map", lambda stepsize: Resolvent(rounded, inexact, "a map"))
    assert reconcile_with_search(prior, attack(prior.resolvent(1.0))) is prior


def test_single_precision_does_not_refute_the_identity():
    prior = prior_of(lambda x: 1.0 * x)
    assert reconcile_with_search(prior, attack(prior.resolvent(1.0), channels=3, dtype=torch.float32)) is prior


def test_a_solve_names_the_refuted_condition(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def make():\n    return lambda x: 1.5 * x\n")
    config = SolveConfig(operator=parse_spec("identity"), prior=parse_spec("python:mine.py:make"), device="cpu")
    picture = from_array(np.full((16, 16), 0.5), value_range=ValueRange(0.0, 1.0))
    certificate = make_plan(config, picture, lambda line: None).method.certificate
    assert not certificate.holds
    assert any("firmly nonexpansive" in name for name in certificate.missing)


def planned(prior: Spec, pixels: np.ndarray, operator: str = "identity"):
    """The plan of forward-backward, with what it says of firmness."""
    config = SolveConfig(
        operator=parse_spec(operator), prior=prior, method="forward_backward", noise=Noise(0.1), device="cpu"
    )
    plan = make_plan(config, from_array(pixels, value_range=ValueRange(0.0, 1.0)), lambda line: None)
    return plan, next(c for c in plan.method.certificate.conditions if "firmly" in c.name)


def colour_network(grey: float, hue: float, folder):
    """J = Id - N with N x = grey m + hue (x - m), m the mean of the channels: Q is 1 - 2 grey on the one part of x,
    1 - 2 hue on the other.
    """
    network = make(DnCNNConfig(channels=3, features=3, depth=2, slope=1.0))
    mean = torch.full((3, 3), 1 / 3)
    with torch.no_grad():
        for kernel, mixed in zip(
            network.kernels, (torch.eye(3), grey * mean + hue * (torch.eye(3) - mean)), strict=True
        ):
            kernel.zero_()[:, :, 1, 1] = mixed
    save(network, folder)
    return Spec("folder", value=str(folder))


def test_a_network_of_colours_is_attacked_with_colours(tmp_path):
    """Images of one channel it would refuse, and stay assumed; on grey ones it is firm."""
    pixels = np.random.default_rng(0).random((2, 3, 16, 18))
    plan, firm = planned(colour_network(0.4, -0.4, tmp_path / "net"), pixels)
    assert (firm.holds, firm.evidence) == (False, Evidence.MEASURED)
    assert firm.value == pytest.approx(1.8, rel=1e-3)
    assert not plan.method.certificate.holds
    assert any("firmly nonexpansive" in name for name in plan.method.certificate.missing)


def test_a_network_of_colours_that_is_firm_stays_assumed(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(planning, "attack", lambda *given: found.append(attack(*given)) or found[-1])
    _, firm = planned(colour_network(0.4, 0.1, tmp_path / "net"), np.full((1, 3, 16, 18), 0.5))
    assert (firm.holds, firm.evidence) == (True, Evidence.ASSUMED)
    assert found[0].value == pytest.approx(0.8, rel=1e-3)


def test_complex_images_are_attacked_with_complex_images(tmp_path, monkeypatch):
    """A map that is firm on real images only: it doubles the imaginary part."""
    monkeypatch.chdir(tmp_path)
    np.save("mask.npy", np.ones((16, 18), bool))
    (tmp_path / "mine.py").write_text("def make():\n    return lambda x: x + 1j * x.imag\n")
    measurement = np.random.default_rng(0).random((1, 1, 16, 18)).astype(np.complex64)
    _, firm = planned(parse_spec("python:mine.py:make"), measurement, "mri:mask=mask.npy")
    assert (firm.holds, firm.evidence) == (False, Evidence.MEASURED)
    assert firm.value == pytest.approx(3.0, rel=1e-3)


@pytest.mark.parametrize(("noise", "count"), [({"noise": "0.1"}, 1), ({}, 3)], ids=["stated", "estimated"])
def test_an_evaluation_tries_a_prior_once_for_each_level(tmp_path, monkeypatch, noise, count):
    """A level that is estimated is another one for each image."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def make():\n    return lambda x: 0.9 * x\n")
    for number, side in enumerate((16, 16, 20)):
        np.save(tmp_path / f"{number}.npy", np.linspace(0, 1, side * side, dtype=np.float32).reshape(side, side))
    tries = []
    monkeypatch.setattr(planning, "attack", lambda *given: tries.append(given) or attack(*given))
    given = {"operator": "identity", "prior": "python:mine.py:make", "iterations": 2, **noise}
    scores = evaluate([config_from(given)], sorted(tmp_path.glob("*.npy")), lambda line: None)
    assert all(score.status != "failed" for score in scores)
    assert len(tries) == count
