"""The constants of mismatched pairs against dense linear algebra, and the step-size interval from both sides."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.evidence import Evidence
from recon.operators import mismatch_of, shift_for
from recon.operators.spectral import Effort

SHARP = Effort(tolerance=1e-8, applications=2000)


class Dense:
    def __init__(self, matrix):
        self.matrix = matrix

    def A(self, x):
        return x @ self.matrix.T

    def A_adjoint(self, y):
        return y @ self.matrix


class Circulant:
    """A circular convolution known by its spectrum alone."""

    def __init__(self, kernel, size=8):
        padded = torch.zeros(size, size, dtype=torch.float64)
        padded[: kernel.shape[0], : kernel.shape[1]] = kernel
        self.padded = padded.roll((-(kernel.shape[0] // 2), -(kernel.shape[1] // 2)), (0, 1))
        self.symbol = torch.fft.rfft2(self.padded)
        self.size = size

    def A(self, x):
        return torch.fft.irfft2(torch.fft.rfft2(x) * self.symbol, s=(self.size, self.size))

    def A_adjoint(self, y):
        return torch.fft.irfft2(torch.fft.rfft2(y) * self.symbol.conj(), s=(self.size, self.size))


def dense_constants(B):
    """mu, ||B|| and the best cocoercivity constant of an invertible B.

    With u = Bx, <x, Bx> / ||Bx||^2 = <B^-1 u, u> / ||u||^2, so the best constant is the smallest eigenvalue of the
    symmetric part of the inverse.
    """
    inverse = torch.linalg.inv(B)
    mu = torch.linalg.eigvalsh((B + B.T) / 2)[0].item()
    return mu, torch.linalg.matrix_norm(B, 2).item(), torch.linalg.eigvalsh((inverse + inverse.T) / 2)[0].item()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), amount=st.floats(0, 0.4), shift=st.floats(0, 1))
def test_measured_constants_agree_with_dense_algebra(seed, amount, shift):
    draw = torch.Generator().manual_seed(seed)
    A = torch.randn(14, 9, dtype=torch.float64, generator=draw)
    K = A.T + amount * torch.randn(9, 14, dtype=torch.float64, generator=draw)
    mu, norm, eta = dense_constants(K @ A + shift * torch.eye(9, dtype=torch.float64))
    found = mismatch_of(Dense(A), lambda y: y @ K.T, torch.zeros(1, 9, dtype=torch.float64), shift=shift, effort=SHARP)
    assert found.norm.value == pytest.approx(norm, rel=1e-5)
    assert found.symmetric_part_min.value == pytest.approx(mu, abs=1e-5 * norm)
    if mu > 1e-3 * norm:
        assert found.cocoercivity.value == pytest.approx(eta, rel=1e-3)
    if mu < -1e-3 * norm:
        assert found.cocoercivity.value == 0


def test_a_matched_pair_has_the_reciprocal_of_its_squared_norm():
    A = torch.randn(14, 9, dtype=torch.float64)
    found = mismatch_of(Dense(A), lambda y: y @ A, torch.zeros(1, 9, dtype=torch.float64), effort=SHARP)
    assert found.cocoercivity.value == pytest.approx(1 / torch.linalg.matrix_norm(A, 2).item() ** 2, rel=1e-6)
    assert found.adjoint_gap.value < 1e-12


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_symbols_give_the_dense_constants_and_count_as_proof(shift):
    forward = Circulant(torch.rand(3, 3, dtype=torch.float64) + 4 * torch.eye(3, dtype=torch.float64))
    back = Circulant(torch.rand(3, 4, dtype=torch.float64) + 4 * torch.eye(3, 4, dtype=torch.float64))
    basis = torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8)
    B = back.A_adjoint(forward.A(basis)).reshape(64, 64).T + shift * torch.eye(64, dtype=torch.float64)
    mu, norm, eta = dense_constants(B)
    found = mismatch_of(forward, back, shift=shift)
    assert found.norm.value == pytest.approx(norm)
    assert found.symmetric_part_min.value == pytest.approx(mu)
    assert found.cocoercivity.value == pytest.approx(max(eta, 0))
    assert {c.evidence for c in (found.norm, found.cocoercivity, found.symmetric_part_min)} == {Evidence.PROVED}


def test_a_wider_box_back_is_not_monotone_and_the_shift_mends_it():
    forward, back = Circulant(torch.full((3, 3), 1 / 9)), Circulant(torch.full((5, 5), 1 / 25))
    bare = mismatch_of(forward, back)
    assert bare.symmetric_part_min.value < 0
    assert bare.cocoercivity.value == 0
    mended = mismatch_of(forward, back, shift=shift_for(bare))
    assert mended.symmetric_part_min.value > 0
    assert mended.cocoercivity.value > 0


@pytest.mark.parametrize(("factor", "converges"), [(0.999, True), (1.001, False)])
def test_the_interval_is_sharp_for_a_linear_iteration_with_a_normal_matrix(factor, converges):
    """For a normal B with real spectrum 2 eta is the exact limit of x - s B x."""
    forward, back = Circulant(torch.full((3, 3), 1 / 9)), Circulant(torch.full((5, 5), 1 / 25))
    shift = shift_for(mismatch_of(forward, back))
    pair = mismatch_of(forward, back, shift=shift)
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    start = x.norm()
    for _ in range(40_000):
        x = x - factor * 2 * pair.cocoercivity.value * (back.A_adjoint(forward.A(x)) + shift * x)
    assert bool(x.norm() < start) is converges
