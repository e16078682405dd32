"""Evidence is part of the type: nothing measured can pass for proved."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.errors import UsageError
from recon.evidence import Assumed, Constant, Evidence, Measured, Proved, derive, weakest

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
