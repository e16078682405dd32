"""Evidence is part of the type: nothing measured can pass for proved."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.errors import UsageError
from recon.evidence import Assumed, Constant, Evidence, Measured, Proved, derive, from_above, from_below, weakest

KINDS = st.sampled_from([Proved, Measured, Assumed])


@given(st.lists(KINDS, min_size=1, max_size=5))
def test_a_derived_constant_is_as_good_as_its_weakest_premise(kinds):
    premises = [kind(float(i), "because") for i, kind in enumerate(kinds)]
    found = derive(lambda *values: sum(values), *premises, how="their sum")
    assert found.value == sum(range(len(kinds)))
    expected = Assumed if Assumed in kinds else Measured if Measured in kinds else Proved
    assert type(found) is expected


def test_nothing_follows_from_nothing_but_proof():
    assert weakest() is Evidence.PROVED


def test_the_evidence_of_a_constant_cannot_be_changed():
    measured = Measured(0.99, "power iteration")
    with pytest.raises(dataclasses.FrozenInstanceError):
        measured.value = 1.0
    with pytest.raises(TypeError):
        Measured(0.99, "power iteration", evidence=Evidence.PROVED)
    assert "measured" in str(measured)
    assert "proved" not in str(measured)


def test_a_constant_of_no_kind_is_refused():
    with pytest.raises(UsageError, match="Proved, Measured or Assumed"):
        Constant(1.0, "so")


FORMULAS = {
    "sum": lambda a, b: a + b,
    "product": lambda a, b: a * b,
    "quotient": lambda a, b: a / (1 + b * b) if b >= 0 else a,
    "larger": max,
    "length": math.hypot,
    "falling": lambda a, b: 1 / (1 + abs(a)) - b,
}
NUMBERS, RADII, PLACES = st.floats(0, 1e3), st.floats(0, 10), st.floats(-1, 1)


@given(st.sampled_from(sorted(FORMULAS)), NUMBERS, NUMBERS, st.tuples(RADII, RADII), st.tuples(PLACES, PLACES))
def test_whatever_the_premises_are_within_their_radii_the_conclusion_is_within_its_own(name, a, b, radii, places):
    formula = FORMULAS[name]
    r, s = min(radii[0], a), min(radii[1], b)  # each formula is monotone in each premise, where that is not negative
    found = derive(formula, Measured(a, "", r), Proved(b, "", s), how="")
    truth = formula(a + places[0] * r, b + places[1] * s)
    assert abs(truth - found.value) <= found.error + 1e-9 * (1 + abs(truth))
    low, high = from_below(found), from_above(found)
    assert low.value - 1e-9 * (1 + abs(truth)) <= truth <= high.value + 1e-9 * (1 + abs(truth))
    assert (low.error, high.error) == (0, 0)
    assert type(low) is type(high) is Measured


def test_a_premise_without_a_radius_has_none_to_pass_on():
    assert derive(lambda a: 2 * a, Proved(3.0, ""), how="twice") == Proved(6.0, "twice")
    assert derive(lambda a: math.inf, Measured(3.0, "", 1.0), how="") == Measured(math.inf, "")
