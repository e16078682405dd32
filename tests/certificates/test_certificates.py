"""Each theorem's conditions, one by one, and the step-size intervals from both sides."""

import dataclasses
import json

import pytest
import torch

from recon.certificates import (
    Certificate,
    certify_accelerated_primal_dual,
    certify_condat_vu,
    certify_davis_yin,
    certify_douglas_rachford,
    certify_fista,
    certify_forward_backward,
    certify_mismatched_douglas_rachford,
    certify_mismatched_forward_backward,
    certify_mismatched_tseng,
    certify_preconditioned_forward_backward,
    certify_proximal_descent,
    certify_smooth_fista,
    certify_tseng,
)
from recon.certificates.certificate import below
from recon.evidence import Assumed, Evidence, Fact, Measured, Proved
from recon.operators import Buffer, OperatorProperties, Weights
from recon.operators.mismatch import Mismatch
from recon.priors import ResolventProperties
from recon.solvers import Status, condat_vu, davis_yin, forward_backward, solve, tseng

NORM = 2.0
LIPSCHITZ = NORM**2
OPERATOR = OperatorProperties(norm=Proved(NORM, "exact"), adjoint_gap=Proved(0.0, "by construction"))
PROX = ResolventProperties(
    lipschitz_Q=Proved(1.0, "a proximity operator"),
    proximity=Fact(Evidence.PROVED, "closed form"),
    attains=Fact(Evidence.PROVED, "coercive"),
    everywhere=Fact(Evidence.PROVED, "finite everywhere"),
)
BOX = dataclasses.replace(PROX, everywhere=None, bounded=Fact(Evidence.PROVED, "bounded"))
ETA = 0.2
PAIR = Mismatch(
    adjoint_gap=Proved(0.3, "symbols"),
    norm=Proved(4.0, "symbols"),
    symmetric_part_min=Proved(0.01, "symbols"),
    cocoercivity=Proved(ETA, "symbols"),
    shift=0.0,
)


UNIFORM = Weights(Buffer(torch.ones(2)), Buffer(torch.rand(3)), Proved(1.0, "row and column sums"))


def condat(operator, prior, stepsize, relaxation=1.0):
    return certify_condat_vu(operator, prior, OPERATOR, prior, stepsize, 0.1, relaxation, attains=prior.attains)


CERTIFY = {
    "forward-backward": (lambda o, p: certify_forward_backward(o, p, 1.9 / LIPSCHITZ), OPERATOR),
    "tseng": (lambda o, p: certify_tseng(o, p, 0.9 / LIPSCHITZ), OPERATOR),
    "douglas-rachford": (certify_douglas_rachford, OPERATOR),
    "davis-yin": (lambda o, p: certify_davis_yin(o, p, BOX, 1.9 / LIPSCHITZ), OPERATOR),
    "condat-vu": (lambda o, p: condat(o, p, 0.3), OPERATOR),
    "fista": (lambda o, p: certify_fista(o, p, 1 / LIPSCHITZ), OPERATOR),
    "proximal descent": (lambda o, p: certify_proximal_descent(o, p, 1 / LIPSCHITZ), OPERATOR),
    "preconditioned": (lambda o, p: certify_preconditioned_forward_backward(o, UNIFORM, p, 1.9), OPERATOR),
    "mismatched forward-backward": (lambda o, p: certify_mismatched_forward_backward(o, p, 1.9 * ETA), PAIR),
    "mismatched douglas-rachford": (lambda o, p: certify_mismatched_douglas_rachford(o, p, 0.2), PAIR),
    "mismatched tseng": (lambda o, p: certify_mismatched_tseng(o, p, 0.2), PAIR),
}
MATCHED = [name for name, (_, subject) in CERTIFY.items() if subject is OPERATOR]


@pytest.fixture(params=CERTIFY)
def theorem(request):
    certify, subject = CERTIFY[request.param]
    return lambda prior=PROX, subject=subject: certify(subject, prior)


def test_all_proved_premises_give_a_proof(theorem):
    certificate = theorem()
    assert certificate.holds, str(certificate)
    assert certificate.evidence is Evidence.PROVED
    assert certificate.sentence.startswith("Proved:")


@pytest.mark.parametrize("kind", [Measured, Assumed])
def test_one_weaker_premise_and_the_word_proved_is_gone(theorem, kind):
    certificate = theorem(dataclasses.replace(PROX, lipschitz_Q=kind(0.998, "a power iteration")))
    if "FISTA" in certificate.theorem or "descent" in certificate.theorem:
        return  # rests on the proximity alone
    assert certificate.holds
    assert certificate.evidence is kind.evidence
    assert not certificate.sentence.startswith("Proved")


def test_a_prior_that_is_not_firmly_nonexpansive_has_no_guarantee(theorem):
    expansive = ResolventProperties(
        lipschitz_Q=Measured(1.12, "the hardest violation found"), attains=Fact(Evidence.PROVED, "bounded range")
    )
    certificate = theorem(expansive)
    assert not certificate.holds
    assert any("firmly nonexpansive" in name or "proximity" in name for name in certificate.missing)
    assert certificate.sentence.startswith("No guarantee")


@pytest.mark.parametrize(
    ("found", "refuted"),
    [
        (Measured(1.12, "a search"), True),
        (Measured(1.12, "a secant", error=0.2), False),  # may be its error
        (Proved(1.12, "a bound"), False),  # from above
        (Assumed(1.12, "somebody"), False),
    ],
)
def test_only_a_counterexample_refutes(theorem, found, refuted):
    certificate = theorem(dataclasses.replace(PROX, lipschitz_Q=found, proximity=None))
    assert not certificate.holds
    assert bool(certificate.refuted) == ("Refuted: the p" in certificate.sentence) == refuted
    assert set(certificate.refuted) <= set(certificate.missing)
    assert certificate.to_json()["refuted"] == list(certificate.refuted)


def test_an_inexact_resolvent_is_said_to_be_inexact(theorem):
    certificate = theorem(dataclasses.replace(PROX, error=Proved(1e-4, "the duality gap of an inner iteration")))
    assert not certificate.holds
    assert any("evaluated exactly" in name for name in certificate.missing)


@pytest.mark.parametrize("name", MATCHED)
def test_a_wrong_adjoint_has_no_guarantee_in_any_matched_theorem(name):
    certify, _ = CERTIFY[name]
    wrong = dataclasses.replace(OPERATOR, adjoint_gap=Measured(0.08, "Lanczos"))
    assert any("the adjoint" in missing for missing in certify(wrong, PROX).missing)


@pytest.mark.parametrize("name", [name for name in CERTIFY if name != "condat-vu"])
def test_existence_is_a_condition(name):
    certify, subject = CERTIFY[name]
    if subject is PAIR:
        subject = dataclasses.replace(PAIR, symmetric_part_min=Proved(0.0, "symbols"))
    certificate = certify(subject, dataclasses.replace(PROX, attains=None, everywhere=None))
    assert "a solution exists" in certificate.missing


@pytest.mark.parametrize("certify", [certify_forward_backward, certify_tseng, certify_douglas_rachford])
@pytest.mark.parametrize(
    ("least", "evidence"),
    [(Proved(0.01, "exact"), Evidence.PROVED), (Measured(0.01, "Lanczos", error=1e-3), Evidence.MEASURED),
     (Measured(0.01, "Lanczos", error=0.02), None), (Proved(1e-14, "rounding"), None), (Proved(0.0, "exact"), None)],
)  # fmt: skip
def test_a_positive_definite_data_term_has_a_solution_with_any_prior(certify, least, evidence):
    operator, prior = dataclasses.replace(OPERATOR, gram_min=least), dataclasses.replace(PROX, attains=None)
    arguments = () if certify is certify_douglas_rachford else (0.1 / LIPSCHITZ,)
    certificate = certify(operator, prior, *arguments)
    assert certificate.missing == (() if evidence else ("a solution exists",))
    assert evidence is None or certificate.evidence is evidence


def test_a_measured_norm_is_taken_with_its_radius():
    measured = dataclasses.replace(OPERATOR, norm=Measured(NORM, "Lanczos", error=0.1))
    inside, outside = 1.99 / (NORM + 0.1) ** 2, 1.99 / NORM**2
    assert certify_forward_backward(measured, PROX, inside).holds
    assert not certify_forward_backward(measured, PROX, outside).holds


def test_a_mismatched_pair_that_is_not_monotone_has_no_guarantee():
    bad = dataclasses.replace(
        PAIR, symmetric_part_min=Measured(-1e-3, "Lanczos"), cocoercivity=Measured(0.0, "not monotone")
    )
    assert not certify_mismatched_forward_backward(bad, PROX, 1e-9).holds
    assert not certify_mismatched_tseng(bad, PROX, 1e-9).holds


def test_json_is_plain_and_complete(theorem):
    document = json.loads(json.dumps(theorem().to_json(), allow_nan=False))
    assert document["holds"] is True
    assert {"name", "value", "relation", "bound", "holds", "evidence", "how", "refuted"} == set(
        document["conditions"][0]
    )


def test_the_printed_certificate_shows_every_condition(theorem):
    certificate = theorem()
    assert all(condition.name in str(certificate) for condition in certificate.conditions)


@pytest.mark.parametrize(("value", "said"), [(1.0, "1 < 2 "), (2.5, "2.5, not < 2 "), (-1.0, "-1, not > 0 ")])
def test_a_number_is_compared_with_the_end_that_it_is_beyond(value, said):
    condition = below("a step", value, Proved(2.0, "a norm"))
    assert condition.holds == (value == 1.0)
    assert f"a step  {said}" in str(Certificate("a theorem", "it ends", (condition,)))


# The intervals from both sides, on x -> A^T A x with largest eigenvalue L (no prior: the sharp case).


def quadratic(x):
    return torch.tensor([LIPSCHITZ, 1.0], dtype=torch.float64) * x


def outcome(algorithm):
    start = torch.ones(1, 2, dtype=torch.float64)
    return solve(algorithm, start, tolerance=1e-12, max_steps=100_000).status[0]


def nothing(x):
    return x


@pytest.mark.parametrize("relaxation", [0.5, 1.0, 1.3])
@pytest.mark.parametrize("side", [0.999, 1.001])
def test_forward_backward_is_certified_exactly_where_it_converges(side, relaxation):
    """With J = Id the map is 1 - r s L on the worst mode: it converges if and only if r s L < 2."""
    stepsize = side * min(2, 4 - 2 * relaxation if relaxation > 1 else 2) / LIPSCHITZ
    certificate = certify_forward_backward(OPERATOR, PROX, stepsize, relaxation)
    assert certificate.holds is (side < 1)
    if certificate.holds:
        assert outcome(forward_backward(quadratic, nothing, stepsize, relaxation)) is Status.CONVERGED
    elif relaxation == 1:
        assert outcome(forward_backward(quadratic, nothing, stepsize, relaxation)) is not Status.CONVERGED


@pytest.mark.parametrize("side", [0.999, 1.001])
def test_davis_yin_at_both_sides(side):
    stepsize = side * 2 / LIPSCHITZ
    relaxation = 0.999 * (2 - stepsize * LIPSCHITZ / 2)
    assert certify_davis_yin(OPERATOR, PROX, BOX, stepsize, relaxation).holds is (side < 1)
    assert (outcome(davis_yin(quadratic, nothing, nothing, stepsize)) is Status.CONVERGED) is (side < 1)


def test_tseng_inside_its_interval():
    stepsize = 0.999 / LIPSCHITZ
    assert certify_tseng(OPERATOR, PROX, stepsize).holds
    assert not certify_tseng(OPERATOR, PROX, 1.001 / LIPSCHITZ).holds
    assert outcome(tseng(quadratic, nothing, stepsize)) is Status.CONVERGED


class Scaled:
    """x -> NORM x, whose properties are OPERATOR."""

    def A(self, x):
        return NORM * x

    A_adjoint = A


@pytest.mark.parametrize("dual_stepsize", [0.05, 0.5])
@pytest.mark.parametrize("side", [0.999, 1.001])
def test_condat_vu_at_both_sides(side, dual_stepsize):
    stepsize = side / (LIPSCHITZ / 2 + dual_stepsize * NORM**2)
    certificate = certify_condat_vu(
        OPERATOR, PROX, OPERATOR, PROX, stepsize, dual_stepsize, 0.999, attains=PROX.attains
    )
    assert certificate.holds is (side < 1)
    if certificate.holds:
        algorithm = condat_vu(quadratic, nothing, Scaled(), nothing, stepsize, dual_stepsize, 0.999)
        assert outcome(algorithm) is Status.CONVERGED


def test_condat_vu_without_a_smooth_term_needs_only_the_product_of_the_steps():
    def certify(product):
        return certify_condat_vu(None, PROX, OPERATOR, PROX, 0.5, 2 * product / NORM**2, attains=PROX.attains)

    assert certify(0.999).holds
    assert not certify(1.001).holds


def test_fista_asks_for_half_the_step_of_forward_backward_and_for_a_proximity_operator():
    assert certify_fista(OPERATOR, PROX, 1 / LIPSCHITZ).holds
    assert not certify_fista(OPERATOR, PROX, 1.01 / LIPSCHITZ).holds
    learned = dataclasses.replace(PROX, proximity=None)
    assert certify_fista(OPERATOR, learned, 1 / LIPSCHITZ).missing == ("the prior is a proximity operator",)


@pytest.mark.parametrize(("implicit", "constant"), [(True, 3.0), (False, 3.0 + LIPSCHITZ)])
def test_fista_with_a_smooth_penalty_takes_the_gradients_that_it_goes_along(implicit, constant):
    def certify(stepsize, operator=OPERATOR, attains=PROX.attains):
        return certify_smooth_fista(operator, Proved(3.0, "l"), stepsize, implicit=implicit, attains=attains)

    assert certify(1 / constant).evidence is Evidence.PROVED
    assert not certify(1.001 / constant).holds
    assert certify(1 / constant, attains=None).missing == ("a solution exists",)
    assert not certify(1 / constant, dataclasses.replace(OPERATOR, adjoint_gap=Measured(0.1, "a test"))).holds


def test_the_cocoercivity_interval_of_a_mismatched_pair_from_both_sides():
    assert certify_mismatched_forward_backward(PAIR, PROX, 2 * ETA * 0.999).holds
    assert not certify_mismatched_forward_backward(PAIR, PROX, 2 * ETA * 1.001).holds


def test_a_bounded_prior_makes_a_monotone_mismatched_pair_solvable():
    flat = dataclasses.replace(PAIR, symmetric_part_min=Proved(0.0, "symbols"))
    assert certify_mismatched_tseng(flat, BOX, 0.2).holds
    assert not certify_mismatched_tseng(flat, PROX, 0.2).holds


def test_two_constraints_may_have_no_point_in_common():
    assert certify_davis_yin(OPERATOR, BOX, BOX, 0.1).missing == ("a solution exists",)


def test_the_accelerated_primal_dual_method_needs_steps_that_are_short_together_and_the_adjoint():
    differences = dataclasses.replace(OPERATOR, norm=Proved(2.0, "exact"))
    good = certify_accelerated_primal_dual(differences, 0.5, 0.5)
    assert good.holds
    assert good.evidence is Evidence.PROVED
    assert certify_accelerated_primal_dual(differences, 0.5, 0.51).missing == (
        "the two step sizes are small enough together, s t ||D||^2",
    )
    measured = dataclasses.replace(differences, norm=Measured(2.0, "Lanczos", error=0.01))
    assert not certify_accelerated_primal_dual(measured, 0.5, 0.5).holds
    wrong = dataclasses.replace(differences, adjoint_gap=Measured(0.08, "Lanczos"))
    assert any("the adjoint" in missing for missing in certify_accelerated_primal_dual(wrong, 0.5, 0.5).missing)
