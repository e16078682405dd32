"""Explicit matrices, and the constants that dense linear algebra proves of them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.errors import UsageError
from recon.evidence import Evidence
from recon.operators import (
    Blur,
    CartesianMRI,
    Matrix,
    Space,
    box_psf,
    from_matrix,
    linear_iteration_of,
    mismatch_of,
    residual_norm,
    to_matrix,
)
from recon.operators.spectral import Effort

SHARP = Effort(tolerance=1e-8, applications=2000)
FORWARD, BACK = Blur(box_psf(3), (6, 7)), Blur(box_psf(5), (6, 7))


def random(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_matrix_of_an_operator_does_what_it_does():
    example = torch.zeros(1, 1, 6, 7, dtype=torch.float64)
    matrix = to_matrix(FORWARD, example)
    x = random(0, 3, 1, 6, 7)
    assert torch.allclose(matrix.A(x), FORWARD.A(x))
    assert torch.allclose(matrix.A_adjoint(x), FORWARD.A_adjoint(x))
    assert to_matrix(FORWARD).entries.shape == (42, 42)


def test_dense_constants_agree_with_the_symbols():
    """Two routes that share nothing."""
    dense = mismatch_of(to_matrix(FORWARD), to_matrix(BACK), shift=0.2)
    exact = mismatch_of(FORWARD, BACK, shift=0.2)
    for name in ("adjoint_gap", "norm", "symmetric_part_min", "cocoercivity"):
        assert getattr(dense, name).value == pytest.approx(getattr(exact, name).value, rel=1e-9), name
        assert getattr(dense, name).evidence is Evidence.PROVED
    assert residual_norm(to_matrix(FORWARD), to_matrix(BACK), 0.7, shift=0.2).value == pytest.approx(
        residual_norm(FORWARD, BACK, 0.7, shift=0.2).value
    )
    by_symbols = linear_iteration_of(FORWARD, BACK, shift=0.2)
    assert linear_iteration_of(to_matrix(FORWARD), to_matrix(BACK), shift=0.2).limit.value == pytest.approx(
        by_symbols.limit.value
    )
    assert by_symbols.limit.value == pytest.approx(2 * exact.cocoercivity.value)
    assert by_symbols.solvable.evidence is Evidence.PROVED


def test_a_convolution_that_k_does_not_spare_has_no_solution_by_the_symbols():
    """The box of the image's own width sees the mean alone; K brings in everything else."""
    whole, slight = Blur(torch.ones(4, 4) / 16, (4, 4)), Blur(box_psf(3), (4, 4))
    assert linear_iteration_of(whole, slight).solvable is None
    assert linear_iteration_of(whole, whole).solvable is not None


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), amount=st.floats(0, 0.5), shift=st.floats(0, 1))
def test_dense_constants_bound_what_any_vector_shows(seed, amount, shift):
    A = random(seed, 9, 6)
    K = A.T + amount * random(seed + 1, 6, 9)
    B = K @ A + shift * torch.eye(6).double()
    pair = mismatch_of(from_matrix(A), from_matrix(K.T), shift=shift)
    x = torch.cat([random(seed + 2, 200, 6), torch.linalg.eigh((B + B.T) / 2).eigenvectors.T])
    image = x @ B.T
    products, squares = (x * image).sum(1), image.square().sum(1)
    assert (products >= pair.symmetric_part_min.value * x.square().sum(1)).all()
    assert (squares.sqrt() <= pair.norm.value * x.norm(dim=1)).all()
    if pair.cocoercivity.value > 0:
        assert (products >= pair.cocoercivity.value * squares).all()
    else:
        assert pair.symmetric_part_min.value <= 0
    assert (
        (x - 0.3 * image)
        .norm(dim=1)
        .le(residual_norm(from_matrix(A), from_matrix(K.T), 0.3, shift=shift).value * x.norm(dim=1))
        .all()
    )


@pytest.mark.parametrize("stepsize", [0.01, 0.1, 0.4])
def test_the_measured_residual_norm_is_the_dense_one(stepsize):
    A = random(0, 9, 6)
    K = A.T + 0.2 * random(1, 6, 9)
    dense = residual_norm(from_matrix(A), from_matrix(K.T), stepsize, shift=0.1)
    measured = residual_norm(
        from_matrix(A), lambda y: y @ K.T, stepsize, torch.zeros(1, 6).double(), shift=0.1, effort=SHARP
    )
    assert measured.value == pytest.approx(dense.value, rel=1e-6)
    assert (dense.evidence, measured.evidence) == (Evidence.PROVED, Evidence.MEASURED)
    exact = torch.linalg.matrix_norm(torch.eye(6).double() - stepsize * (K @ A + 0.1 * torch.eye(6).double()), 2).item()
    assert dense.value == pytest.approx(exact)


def test_a_singular_matrix_has_its_constant_on_the_range_but_no_proof():
    A = random(0, 3, 6)
    pair = mismatch_of(from_matrix(A), from_matrix(A))
    assert pair.cocoercivity.value == pytest.approx(1 / torch.linalg.matrix_norm(A, 2).item() ** 2)
    assert pair.cocoercivity.evidence is Evidence.MEASURED
    nothing = mismatch_of(from_matrix(0 * A), from_matrix(A))
    assert nothing.cocoercivity.value == math.inf


def test_the_interval_of_a_matrix_that_is_all_but_defective_is_not_proved():
    """The eigenvalues of a Jordan block move by the root of the rounding: no radius, no proof."""
    block = torch.eye(4, dtype=torch.float64) + torch.diag(torch.ones(3, dtype=torch.float64), 1)
    iteration = linear_iteration_of(from_matrix(block), from_matrix(torch.eye(4, dtype=torch.float64)))
    assert iteration.limit.value == pytest.approx(2.0, rel=1e-2)
    assert iteration.limit.evidence is Evidence.MEASURED


def test_an_eigenvalue_on_the_wrong_side_leaves_no_step():
    A = torch.diag(torch.tensor([1.0, -0.1])).double()
    assert linear_iteration_of(from_matrix(A), from_matrix(torch.eye(2).double())).limit.value == 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: from_matrix(torch.ones(3)), "two dimensions"),
        (lambda: from_matrix(torch.full((2, 2), torch.nan)), "finite"),
        (lambda: Matrix(torch.ones(2, 2, dtype=torch.complex64), Space((2,)), Space((2,))), "complex64"),
        (lambda: Matrix(torch.ones(2, 3), Space((2, 2)), Space((2,))), "2 x 3"),
        (lambda: to_matrix(Blur(box_psf(3), (80, 80))), "6400"),
        (lambda: to_matrix(CartesianMRI(torch.ones(4, 4, dtype=torch.bool)), torch.ones(1, 1, 4, 4) * 1j), "complex"),
        (lambda: linear_iteration_of(FORWARD, to_matrix(FORWARD)), "eigenvalues of K A cannot be had"),
    ],
)
def test_what_is_no_matrix_is_refused(build, message):
    with pytest.raises(UsageError, match=message):
        build()


def test_only_a_matrix_without_negative_entries_says_so():
    assert from_matrix(torch.ones(2, 2)).nonnegative_entries.evidence is Evidence.PROVED
    assert from_matrix(-torch.ones(2, 2)).nonnegative_entries is None
