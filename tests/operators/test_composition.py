"""Compose, stack and scale: what they mean, what they know, and what they refuse."""

import math
from dataclasses import replace

import pytest
import torch
from cases import random_mask, random_psf
from dense import matrix

from recon.errors import UsageError
from recon.evidence import Assumed, Evidence, Measured
from recon.operators import Blur, CartesianMRI, Downsampling, Identity, Inpainting, box_psf, compose, scale, stack
from recon.operators.base import HasDataResolvent


def test_a_composition_applies_the_inner_operator_first():
    inner, outer = Blur(random_psf(3, 2), (6, 7)), Inpainting(random_mask(6, 7))
    x = torch.rand(2, 3, 6, 7, dtype=torch.float64)
    assert torch.equal(compose(outer, inner).A(x), outer.A(inner.A(x)))
    product = matrix(outer.A, outer.domain) @ matrix(inner.A, inner.domain)
    assert torch.allclose(matrix(compose(outer, inner).A, inner.domain), product, atol=1e-14)


def test_compositions_nest():
    blur = Blur(box_psf(3), (9, 9), "valid")
    twice = compose(Blur(box_psf(3), (7, 7), "valid"), blur)
    assert compose(Identity((5, 5)), twice).range.shape == (5, 5)


def test_a_stack_keeps_batch_and_channels_and_flattens_the_rest():
    parts = Blur(random_psf(3, 2), (6, 7)), Downsampling((6, 7), 1, "box"), Blur(box_psf(2), (6, 7), "valid")
    operator = stack(*parts)
    x = torch.rand(2, 3, 6, 7, dtype=torch.float64)
    y = operator.A(x)
    assert y.shape == (2, 3, 42 + 42 + 30)
    assert operator.range.shape == (114,)
    for seen, part in zip(operator.split(y), parts, strict=True):
        assert torch.equal(seen, part.A(x))
    assert torch.equal(operator.join(operator.split(y)), y)


def test_a_stack_sums_the_adjoints():
    first, second = Blur(random_psf(3, 2), (6, 7)), Inpainting(random_mask(6, 7))
    y = torch.rand(2, 1, 84, dtype=torch.float64)
    ys = stack(first, second).split(y)
    assert torch.allclose(stack(first, second).A_adjoint(y), first.A_adjoint(ys[0]) + second.A_adjoint(ys[1]))


def test_two_equal_views_have_root_two_of_the_norm():
    blur = Blur(box_psf(3), (8, 8))
    assert stack(blur, blur).properties.norm.value == pytest.approx(math.sqrt(2))
    assert stack(blur, blur).properties.gram_min.value == pytest.approx(2 * blur.properties.gram_min.value)


def test_scaling_keeps_the_closed_form_only_where_there_is_one():
    assert isinstance(scale(Blur(box_psf(3), (8, 8)), 2.0), HasDataResolvent)
    assert not isinstance(scale(Blur(box_psf(3), (8, 8), "valid"), 2.0), HasDataResolvent)
    assert isinstance(scale(scale(Blur(box_psf(3), (8, 8)), 2.0), 3.0), HasDataResolvent)


class Vouched:
    """An operator whose constants are on somebody's word or were measured."""

    def __init__(self, norm, gap):
        blur = Blur(box_psf(3), (8, 8))
        self.A, self.A_adjoint, self.domain, self.range = blur.A, blur.A_adjoint, blur.domain, blur.range
        self.properties = replace(blur.properties, norm=norm, adjoint_gap=gap)


def test_what_is_derived_is_as_good_as_its_weakest_premise():
    proved, gap = Blur(box_psf(3), (8, 8)), Measured(0.0, "Lanczos")
    assumed = Vouched(Assumed(1.0, "a guess"), gap)
    for derived in (compose(proved, assumed), stack(proved, assumed), compose(assumed, proved)):
        assert derived.properties.norm.evidence is Evidence.ASSUMED
        assert derived.properties.adjoint_gap.evidence is Evidence.MEASURED
    scaled = scale(assumed, 2.0).properties.norm
    assert (scaled.evidence, scaled.how) == (Evidence.ASSUMED, "a guess")
    assert 2.0 <= scaled.value <= 2.0 * (1 + 1e-14)


def test_gaps_are_carried_through():
    norm = Measured(2.0, "Lanczos")
    first, second = Vouched(norm, Measured(0.1, "Lanczos")), Vouched(norm, Measured(0.2, "Lanczos"))
    assert compose(second, first).properties.adjoint_gap.value == pytest.approx(0.1 + 0.2 + 0.02)
    assert stack(first, second).properties.adjoint_gap.value == 0.2
    assert scale(first, -3.0).properties.adjoint_gap.value == 0.1


def test_radii_are_carried_through():
    """A norm measured within a radius stays so: what was forgotten would make a step size too long."""
    first = Vouched(Measured(1.0, "Lanczos", 0.2), Measured(0.0, "Lanczos"))
    second = Vouched(Measured(2.0, "Lanczos", 0.1), Measured(0.0, "Lanczos"))
    for derived, low, high in (
        (compose(second, first), 0.8 * 1.9, 1.2 * 2.1),
        (stack(first, second), math.hypot(0.8, 1.9), math.hypot(1.2, 2.1)),
        (scale(first, -3.0), 3 * 0.8, 3 * 1.2),
        (stack(*[first] * 30), math.sqrt(30) * 0.8, math.sqrt(30) * 1.2),
    ):
        norm = derived.properties.norm
        assert norm.value - norm.error <= low * (1 + 1e-12)
        assert norm.value + norm.error == pytest.approx(high)


class Bare:
    def A(self, x):
        return x

    A_adjoint = A


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: compose(Inpainting(random_mask(6, 6)), Blur(box_psf(2), (8, 8), "valid")),
            r"compose: the inner operator ValidBlur gives real arrays of 7 x 7; expected real arrays of 6 x 6, "
            r"because that is what the outer Inpainting takes\.",
        ),
        (
            lambda: compose(CartesianMRI(random_mask(8, 8)), Blur(box_psf(3), (8, 8))),
            "gives real arrays of 8 x 8; expected complex arrays of 8 x 8",
        ),
        (lambda: compose(Bare(), Identity((8, 8))), "compose: Bare does not say what it takes and gives"),
        (lambda: stack(Identity((8, 8)), Bare()), "stack: Bare does not say"),
        (lambda: scale(Bare(), 2.0), "scale: Bare does not say"),
        (stack, "stack: there is no operator"),
        (
            lambda: stack(Identity((8, 8)), Identity((8, 9))),
            "stack: Identity takes real arrays of 8 x 9; expected real arrays of 8 x 8",
        ),
        (lambda: scale(Identity((8, 8)), 0), "scale: the factor is 0; expected"),
        (lambda: scale(Identity((8, 8)), float("nan")), "scale: the factor is nan; expected"),
        (
            lambda: stack(Identity((2, 2)), Identity((2, 2))).split(torch.zeros(1, 9)),
            r"has shape \(1, 9\); expected \(\.\.\., 8\), because the parts have 4 \+ 4 entries",
        ),
    ],
)
def test_a_wrong_combination_is_refused_when_built(make, words):
    with pytest.raises(UsageError, match=words):
        make()
