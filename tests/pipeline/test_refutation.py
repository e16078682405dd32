"""What is assumed of a prior gives way to what is found."""

import numpy as np
import pytest
import torch

from recon import priors
from recon.evidence import Evidence
from recon.imaging import ValueRange, from_array
from recon.pipeline.config import SolveConfig
from recon.pipeline.plan import make_plan
from recon.pipeline.refutation import attack, believed
from recon.pipeline.spec import parse_spec
from recon.priors import Prior, Resolvent, properties_of


def prior_of(apply) -> Prior:
    resolvent = Resolvent(apply, properties_of(apply), "a map")
    return Prior("a map", lambda stepsize: resolvent)


@pytest.mark.parametrize(("gain", "lipschitz"), [(1.2, 1.4), (-0.9, 2.8)])
def test_a_refuted_assumption_is_replaced_by_the_secant(gain, lipschitz):
    prior = prior_of(lambda x: gain * x)
    known = believed(prior, attack(prior.resolvent(1.0))).resolvent(1.0).properties.lipschitz_Q
    assert known.evidence is Evidence.MEASURED
    assert known.value == pytest.approx(lipschitz)


def test_an_assumption_that_stands_and_a_proof_are_kept():
    for prior in (prior_of(lambda x: 0.4 * x), priors.l1_prior(0.1)):
        assert believed(prior, attack(prior.resolvent(1.0))) is prior


def test_single_precision_does_not_refute_the_identity():
    prior = prior_of(lambda x: 1.0 * x)
    assert believed(prior, attack(prior.resolvent(1.0), channels=3, dtype=torch.float32)) is prior


def test_a_solve_names_the_refuted_condition(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def make():\n    return lambda x: 1.5 * x\n")
    config = SolveConfig(operator=parse_spec("identity"), prior=parse_spec("python:mine.py:make"), device="cpu")
    picture = from_array(np.full((16, 16), 0.5), value_range=ValueRange(0.0, 1.0))
    certificate = make_plan(config, picture, lambda line: None).method.certificate
    assert not certificate.holds
    assert any("firmly nonexpansive" in name for name in certificate.missing)
