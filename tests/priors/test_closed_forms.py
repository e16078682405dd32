"""Known answers and refusals of the closed forms."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch

from recon.certificates.conditions import strength
from recon.errors import UsageError
from recon.evidence import Assumed
from recon.priors import (
    Resolvent,
    ResolventProperties,
    box,
    box_prior,
    conjugate,
    identity,
    l1_prior,
    l2_ball,
    no_prior,
    relaxed,
    resolvent_properties,
    reweighted,
    scaled,
    soft_threshold,
    tikhonov,
    tikhonov_prior,
    total_variation,
    total_variation_prior,
    total_variation_split,
    wavelet_prior,
    wavelet_shrinkage,
)


def row(*values: complex) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


def test_identity_box_and_tikhonov() -> None:
    x = row(-2.0, 0.25, 3.0)
    assert torch.equal(identity()(x), x)
    assert torch.equal(box(0, 1)(x), row(0.0, 0.25, 1.0))
    assert torch.equal(box(0, float("inf"))(x), row(0.0, 0.25, 3.0))
    assert torch.allclose(tikhonov(3)(x), x / 4)


def test_soft_threshold_real_and_complex() -> None:
    assert torch.allclose(soft_threshold(0.5)(row(-2.0, -0.5, 0.25, 0.0, 1.0)), row(-1.5, 0.0, 0.0, 0.0, 0.5))
    assert torch.allclose(soft_threshold(1.0)(row(3 + 4j, 0.3j, 0j)), row(2.4 + 3.2j, 0j, 0j))
    x = row(3 + 4j, 0.3j, 0j)
    assert torch.equal(soft_threshold(0)(x), x)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 3.0])
def test_tikhonov_states_its_contraction(weight: float) -> None:
    assert tikhonov(weight).properties.lipschitz_Q.value == pytest.approx(abs(2 / (1 + weight) - 1))


def test_l2_ball_projects_each_item() -> None:
    center = torch.tensor([[1.0, 0.0]])
    x = torch.tensor([[1.0, 3.0], [1.5, 0.0], [-4.0, 0.0]])
    assert torch.allclose(l2_ball(center, 1.0)(x), torch.tensor([[1.0, 1.0], [1.5, 0.0], [0.0, 0.0]]))
    assert torch.allclose(l2_ball(center, 0.0)(x), center.expand(3, 2))
    complex_point = torch.tensor([[3j, 4 + 0j]])
    assert torch.allclose(l2_ball(torch.zeros(1, 2, dtype=torch.complex64), 1.0)(complex_point), complex_point / 5)


def test_the_conjugate_of_a_box_prox_is_that_of_a_support_function() -> None:
    # g = the indicator of [-w, w], so g* = w ||.||_1 and prox_{s g*} is soft-thresholding by s w
    x = row(-2.0, -0.5, 0.25, 0.0, 1.0)
    assert torch.allclose(conjugate(box(-0.5, 0.5), 0.8)(x), soft_threshold(0.4)(x))


def test_a_conjugate_keeps_what_was_only_assumed() -> None:
    learned = Resolvent(lambda x: x / 2, ResolventProperties(Assumed(1.0, "trained so")), "net")
    for derived in (conjugate(learned, 2.0), scaled(learned, 2.0)):
        assert derived.properties.lipschitz_Q == Assumed(1.0, "trained so")
        assert derived.properties.proximity is None
        assert derived.properties.attains is None


def test_values() -> None:
    x = torch.cat([row(-1.0, 2.0), row(0.5, 0.25)])
    assert torch.equal(no_prior().value(x), torch.zeros(2))
    assert torch.equal(box_prior().value(x), torch.tensor([torch.inf, 0.0]))
    assert torch.allclose(tikhonov_prior(2.0).value(x), torch.tensor([5.0, 0.3125]))
    assert torch.allclose(l1_prior(2.0).value(x), torch.tensor([6.0, 1.5]))
    assert torch.allclose(total_variation_prior(2.0).value(x), torch.tensor([6.0, 0.5]))
    assert wavelet_prior(0.1, shifts=2).value is None


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "make",
    [
        tikhonov,
        soft_threshold,
        wavelet_shrinkage,
        total_variation,
        total_variation_split,
        tikhonov_prior,
        l1_prior,
        wavelet_prior,
        total_variation_prior,
    ],
)
def test_a_bad_weight_is_refused_with_the_weight(make: Callable[[float], object], weight: float) -> None:
    with pytest.raises(UsageError, match=rf"weight={weight!r}; expected a finite number of at least 0, because"):
        make(weight)


@pytest.mark.parametrize(
    "x", [torch.randn(2, 1, 4, 6), torch.randn(2, 1, 4, 6, dtype=torch.complex128)], ids=["real", "complex"]
)
@pytest.mark.parametrize("make", [tikhonov, soft_threshold, wavelet_shrinkage, total_variation])
def test_a_zero_weight_is_the_identity(make: Callable[[float], Resolvent], x: torch.Tensor) -> None:
    assert torch.allclose(make(0.0)(x), x, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: box(1, 0), "box: low=1 and high=0; expected two numbers with low <= high."),
        (lambda: box(float("nan"), 0), "box: low=nan and high=0; expected two numbers with low <= high."),
        (
            lambda: box(0, 1)(torch.zeros(1, 1, 2, 2, dtype=torch.complex64)),
            "box(0, 1): the image is complex (torch.complex64); expected real numbers, which have an order.",
        ),
        (lambda: l2_ball(torch.zeros(1, 2), -1), "l2_ball: radius=-1; expected a finite number of at least 0."),
        (
            lambda: l2_ball(torch.zeros(1, 2), 1)(torch.zeros(1, 3)),
            "l2_ball: the point has shape (1, 3) and the center (1, 2); expected the same shape, or a center with a "
            "batch of one.",
        ),
        (lambda: conjugate(identity(), 0), "conjugate: sigma=0; expected a positive finite number."),
        (lambda: scaled(identity(), -2), "scaled: scale=-2; expected a positive finite number."),
        (
            lambda: resolvent_properties(tikhonov_prior(1.0)),
            "tikhonov is a Prior; expected a map from images to images, such as prior.resolvent(1.0), because that is "
            "what a solver applies.",
        ),
        (lambda: relaxed(identity(), 0), "relaxed: share=0; expected a number above 0, and at most 1."),
        (lambda: relaxed(identity(), 1.1), "relaxed: share=1.1; expected a number above 0, and at most 1."),
    ],
)
def test_a_refusal_is_one_sentence_with_the_users_value(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize("unit", [1e-25, 1e-20, 1e15, 1e25])
def test_projections_in_single_precision_do_not_depend_on_the_unit(unit: float) -> None:
    """Their radii are in the units of the image, and squares of such numbers are zero or infinite there."""
    point = torch.randn(2, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    center = torch.zeros(1, 1, 5, 6)
    fields = torch.randn(2, 1, 2, 5, 6, generator=torch.Generator().manual_seed(1))
    for isotropic in (True, False):
        for radius in (0.5, 50.0):
            plain = total_variation_split(radius, isotropic).conjugate_resolvent(1.0)(fields)
            found = total_variation_split(unit * radius, isotropic).conjugate_resolvent(1.0)(unit * fields)
            assert torch.allclose(found / unit, plain, rtol=1e-5)
            ball = l2_ball(center, unit * radius)(unit * point) / unit
            assert torch.allclose(ball, l2_ball(center, radius)(point), rtol=1e-5)


@pytest.mark.parametrize("unit", [1e-25, 1.0, 1e25])
def test_a_new_weight_keeps_its_accuracy_whatever_the_unit(unit: float) -> None:
    x = unit * torch.randn(1, 1, 6, 7, generator=torch.Generator().manual_seed(0))
    found = reweighted(tikhonov(1.0), 3.0, accuracy=1e-3)(x)
    assert float((found - x / 4).abs().max()) <= 1.1e-3 * float(torch.linalg.vector_norm(x.double()))


def test_the_accuracy_of_a_new_weight_rests_on_the_contraction() -> None:
    assumed = Resolvent(lambda x: x / 2, ResolventProperties(Assumed(1.0, "a guess")), "half")
    assert reweighted(assumed, 2.0).properties.error.evidence == "assumed"
    assert reweighted(tikhonov(1.0), 2.0).properties.error.evidence == "proved"


@pytest.mark.parametrize("share", [0.49999999999999994, 0.1, 0.3, 0.7, 1 / 3, 0.9999999])
def test_rounding_is_no_contraction(share: float) -> None:
    """What is proved to contract by a rounding unit would bound distances by 1e31 times the residual."""
    assert relaxed(identity(), share).properties.lipschitz_Q.value == 1
    assert strength(relaxed(identity(), share).properties).value == 0
    assert strength(tikhonov(1e-16 * share).properties).value == 0
    assert strength(reweighted(identity(), share).properties).value == 0
    weak = tikhonov(1e-3 * share)
    q = (1 - 1e-3 * np.longdouble(share)) / (1 + 1e-3 * np.longdouble(share))
    assert weak.properties.lipschitz_Q.value >= q
    assert strength(weak.properties).value <= (1 - q) / (1 + q)
    assert strength(weak.properties).value == pytest.approx(1e-3 * share)
