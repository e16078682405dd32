"""Norms that a power iteration proves, because no entry is negative."""

import dataclasses

import pytest
import torch
from cases import scan
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import at_most, never_rises

from recon.errors import UsageError
from recon.evidence import Assumed, Evidence, Fact, Proved
from recon.operators import Blur, Weights, box_psf, from_matrix, mismatch_of, proved_norm_bound, sirt_weights, weighted
from recon.operators.tomography import Tomography


def nonnegative(seed, rows=9, columns=6, sparsity=0.5):
    generator = torch.Generator().manual_seed(seed)
    entries = torch.rand(rows, columns, dtype=torch.float64, generator=generator)
    return entries * (torch.rand(rows, columns, generator=generator) > sparsity)


def norm(A, K, shift):
    return torch.linalg.matrix_norm(K.T @ A + shift * torch.eye(A.shape[1]).double(), 2).item()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.sampled_from([0.0, 0.4]), sparsity=st.sampled_from([0.0, 0.5, 0.9]))
def test_every_iterate_bounds_the_norm_and_the_first_beats_row_and_column_sums(seed, shift, sparsity):
    A, K = nonnegative(seed, sparsity=sparsity), nonnegative(seed + 1, sparsity=sparsity)
    exact = norm(A, K, shift)
    B = K.T @ A + shift * torch.eye(6).double()
    sums = (B.sum(0).max() * B.sum(1).max()).sqrt().item()
    bounds = [proved_norm_bound(from_matrix(A), from_matrix(K), shift=shift, steps=n) for n in (1, 3, 30)]
    values = [bound.value for bound in bounds]
    assert never_rises(values)
    assert exact <= values[-1] * (1 + 1e-12)
    assert values[0] <= sums * (1 + 2e-5)
    assert {bound.evidence for bound in bounds} == {Evidence.PROVED}


def test_the_bound_tends_to_the_norm():
    A, K = nonnegative(0, sparsity=0.2), nonnegative(1, sparsity=0.2)
    assert proved_norm_bound(from_matrix(A), from_matrix(K), steps=30).value == pytest.approx(norm(A, K, 0), rel=1e-4)


def test_pixels_that_nothing_sees_and_a_map_that_is_zero():
    A = nonnegative(0)
    A[:, 1] = 0
    bound = proved_norm_bound(from_matrix(A), from_matrix(A), steps=40).value
    assert at_most(norm(A, A, 0), bound)
    assert bound <= norm(A, A, 0) * (1 + 1e-4)
    assert proved_norm_bound(from_matrix(0 * A), from_matrix(A)).value == 0


def test_what_may_have_negative_entries_is_refused():
    A = nonnegative(0)
    for operator, surrogate in ((-A, A), (A, -A)):
        with pytest.raises(UsageError, match="nonnegative_entries"):
            proved_norm_bound(from_matrix(operator), from_matrix(surrogate))
    with pytest.raises(UsageError, match=r"shift=-1.0"):
        proved_norm_bound(from_matrix(A), from_matrix(A), shift=-1.0)
    with pytest.raises(UsageError, match="Blur"):
        proved_norm_bound(Blur(box_psf(3), (5, 5)), Blur(box_psf(3), (5, 5)))


@dataclasses.dataclass(frozen=True)
class Projector:
    """A tomograph that says what Joseph's weights are."""

    operator: Tomography
    evidence: Evidence = Evidence.PROVED

    @property
    def nonnegative_entries(self):
        return Fact(self.evidence, "lengths of rays in pixels")

    @property
    def domain(self):
        return self.operator.domain

    @property
    def range(self):
        return self.operator.range

    @property
    def properties(self):
        return self.operator.properties

    def A(self, x):
        return self.operator.A(x)

    def A_adjoint(self, y):
        return self.operator.A_adjoint(y)


class Silent:
    """A projector that does not say that its entries are not negative."""

    def __init__(self, operator: Tomography) -> None:
        self.A, self.A_adjoint = operator.A, operator.A_adjoint
        self.domain, self.range, self.properties = operator.domain, operator.range, operator.properties


@pytest.mark.slow
def test_a_mismatched_pair_of_projectors_has_a_proved_norm_and_relaxation():
    fan = Tomography(scan("fan", source_to_axis=9.0, source_to_detector=20.0))
    other = Tomography(scan("fan", source_to_axis=9.2, source_to_detector=20.0))
    pair = mismatch_of(Projector(fan), Projector(other))
    assert pair.norm.evidence is Evidence.PROVED
    measured = mismatch_of(Silent(fan), Silent(other))
    assert measured.norm.evidence is Evidence.MEASURED
    assert measured.norm.value <= pair.norm.value * (1 + 1e-6)
    assert pair.norm.value == pytest.approx(measured.norm.value, rel=1e-2)
    weights = sirt_weights(Projector(fan))
    assert isinstance(weights.norm, Proved)
    found = sirt_weights(Silent(fan))
    assert found.norm.evidence is Evidence.MEASURED
    assert found.norm.value == pytest.approx(1.0, abs=1e-3)
    example = torch.ones(1, 1, *fan.domain.shape, dtype=torch.float64)
    assert weighted(fan, weights).A(example).shape == (1, 1, *fan.range.shape)


def test_a_word_is_only_a_word():
    fan = Tomography(scan("parallel"))
    assert isinstance(proved_norm_bound(Projector(fan, Evidence.ASSUMED), Projector(fan)), Assumed)


def test_weights_say_whether_they_vary():
    weights = sirt_weights(from_matrix(torch.ones(3, 2, dtype=torch.float64)))
    assert weights.uniform
    assert not sirt_weights(from_matrix(nonnegative(0))).uniform
    assert isinstance(weights, Weights)
