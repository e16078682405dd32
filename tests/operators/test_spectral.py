"""Lanczos against dense linear algebra, over twenty-four orders of magnitude."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.errors import UsageError
from recon.evidence import Evidence
from recon.operators import spectral
from recon.operators.spectral import Effort, map_norm

SHARP = Effort(tolerance=1e-6, applications=2000)


class Dense:
    """A matrix as an operator."""

    def __init__(self, matrix):
        self.matrix = matrix

    def A(self, x):
        return x @ self.matrix.T

    def A_adjoint(self, y):
        return y @ self.matrix.conj()


def spectrum(values, seed=0):
    """A symmetric matrix with the eigenvalues given."""
    values = torch.as_tensor(values, dtype=torch.float64)
    basis, _ = torch.linalg.qr(torch.randn(len(values), len(values), dtype=torch.float64))
    return basis @ torch.diag(values) @ basis.T


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("squared", [1e-12, 1e-6, 1.0, 1e6, 1e12])
def test_norm_is_right_at_every_scale(squared, dtype):
    matrix = torch.randn(90, 60, dtype=torch.float64) * math.sqrt(squared)
    exact = torch.linalg.matrix_norm(matrix, 2).item()
    found = spectral.norm(Dense(matrix.to(dtype)), torch.zeros(60, dtype=dtype), Effort(tolerance=1e-5))
    assert found.value == pytest.approx(exact, rel=1e-5)
    assert found.evidence is Evidence.MEASURED


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), rows=st.integers(1, 30), columns=st.integers(1, 30))
def test_a_ritz_value_never_exceeds_the_norm_and_its_radius_holds_a_singular_value(seed, rows, columns):
    matrix = torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    singular = torch.linalg.svdvals(matrix)
    found = spectral.norm(Dense(matrix), torch.zeros(columns, dtype=torch.float64), Effort(tolerance=1e-2))
    assert found.value <= singular[0].item() * (1 + 1e-12)
    assert (singular - found.value).abs().min().item() <= found.error + 1e-12 * found.value


def test_both_ends_of_an_indefinite_spectrum_through_restarts():
    values = torch.cat(
        [torch.linspace(-1, 3, 300, dtype=torch.float64), torch.tensor([-1.001, 3.001], dtype=torch.float64)]
    )
    matrix = spectrum(values)
    low, high = spectral.extreme_eigenvalues(lambda x: x @ matrix, torch.zeros(302, dtype=torch.float64), SHARP)
    assert low.value == pytest.approx(-1.001, abs=1e-5)
    assert high.value == pytest.approx(3.001, abs=1e-5)
    assert low.value >= -1.001 - 1e-12  # an upper bound of the smallest
    assert high.value <= 3.001 + 1e-12


def test_a_small_negative_eigenvalue_is_seen_beside_a_large_norm():
    matrix = spectrum([-6e-4, *torch.linspace(0, 1, 200).tolist()])
    low, _ = spectral.extreme_eigenvalues(lambda x: x @ matrix, torch.zeros(201, dtype=torch.float64), SHARP)
    assert low.value == pytest.approx(-6e-4, rel=1e-2)


def test_complex_maps_use_the_real_inner_product():
    matrix = torch.randn(20, 15, dtype=torch.complex128)
    found = spectral.norm(Dense(matrix), torch.zeros(15, dtype=torch.complex128), SHARP)
    assert found.value == pytest.approx(torch.linalg.matrix_norm(matrix, 2).item(), rel=1e-9)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_zero_and_identity_maps_of_any_size(size):
    example = torch.zeros(size)
    assert spectral.map_norm(lambda x: 0 * x, lambda x: 0 * x, example).value == 0
    assert spectral.map_norm(lambda x: x, lambda x: x, example).value == pytest.approx(1)


def test_the_global_random_stream_is_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    spectral.norm(Dense(torch.eye(4)), torch.zeros(4))
    assert torch.equal(before, torch.get_rng_state())


def test_the_same_seed_gives_the_same_number():
    matrix = torch.randn(50, 50)
    runs = {spectral.norm(Dense(matrix), torch.zeros(50), Effort(seed=1)).value for _ in range(3)}
    assert len(runs) == 1


def test_a_map_that_gives_nan_is_refused():
    with pytest.raises(UsageError, match="NaN or infinity"):
        spectral.map_norm(lambda x: x * float("nan"), lambda x: x, torch.zeros(3))


@pytest.mark.parametrize("unit", [1e-25, 1e-10, 1e-3, 1e10, 1e15])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_a_norm_scales_with_its_map_in_every_precision(unit, dtype):
    """Lanczos squares the map and then takes norms, which are fourth powers: zero at 1e-10 in single precision."""
    matrix = torch.randn(9, 7, generator=torch.Generator().manual_seed(0), dtype=dtype)
    forward, back = (lambda x: unit * (x @ matrix.T)), (lambda y: unit * (y @ matrix.conj()))
    found = map_norm(forward, back, torch.zeros(1, 7, dtype=dtype))
    assert found.value == pytest.approx(unit * float(torch.linalg.matrix_norm(matrix, 2)), rel=1e-3)
    assert found.error <= 0.1 * found.value
