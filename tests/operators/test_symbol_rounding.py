"""Constants read off a Fourier transform are bounds of the truth, which is computed here in higher precision."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.certificates import (
    certify_mismatched_forward_backward,
    certify_mismatched_tseng,
    limit_error_bound,
    mismatch_error_bound,
)
from recon.evidence import Evidence, Proved
from recon.operators import (
    Blur,
    Downsampling,
    LeastSquares,
    box_psf,
    compose,
    from_matrix,
    gaussian_psf,
    linear_iteration_of,
    mismatch_of,
    residual_norm,
    scale,
    stack,
)
from recon.operators._fourier import rfft2
from recon.operators.mismatch import symbol_error
from recon.operators.rounding import fft_error
from recon.priors import no_prior, tikhonov_prior

SIDES = st.sampled_from([7, 8, 11, 16, 23, 37, 48, 61, 97, 127])
"""Among them primes, where a Fourier transform rounds more."""

TRIANGLE = torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0], dtype=torch.float64) / 9
"""The square of a box of three: zero at a third of the frequencies."""


def exact_symbol(psf, shape, centre=None):
    """The DFT of a kernel, its centre at the origin, by summing terms with eleven more bits than double precision."""
    turn = np.clongdouble(-2j) * np.arctan2(np.longdouble(0), np.longdouble(-1))
    rows, columns = centre or (psf.shape[0] // 2, psf.shape[1] // 2)
    kernel = psf.double().numpy().astype(np.clongdouble)

    def phases(count, period, taps, origin):
        turns = np.outer(np.arange(count), np.arange(taps) - origin) % period
        return np.exp(turn * turns.astype(np.longdouble) / np.longdouble(period))

    down = phases(shape[0], shape[0], psf.shape[0], rows)
    across = phases(shape[1] // 2 + 1, shape[1], psf.shape[1], columns)
    return np.einsum("ak,kl,bl->ab", down, kernel, across)


def kernel(seed, positive=False, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    sides = torch.randint(1, 7, (2,), generator=draw).tolist()
    drawn = torch.randn(sides, generator=draw, dtype=dtype)
    return drawn.abs() if positive else drawn


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), height=SIDES, width=SIDES)
def test_a_fourier_transform_is_within_its_error(seed, height, width):
    x = torch.randn(height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    off = np.abs(rfft2(x).numpy() - exact_symbol(x, (height, width), (0, 0))).max()
    assert off <= fft_error(float(x.abs().sum()), height, width)


def test_the_error_grows_with_the_largest_prime_factor():
    assert fft_error(1.0, 256) < fft_error(1.0, 243) < fft_error(1.0, 251) < 1e-12
    assert fft_error(2.0, 192, 16) == 2 * fft_error(1.0, 192, 16)
    assert fft_error(1.0, 192, 16) >= 8 * torch.finfo(torch.float64).eps * math.log2(192 * 16)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), height=SIDES, width=SIDES, dtype=st.sampled_from([torch.float64, torch.float32]))
def test_the_proved_constants_of_a_blur_are_bounds(seed, height, width, dtype):
    exact = kernel(seed)
    operator = Blur(exact.to(dtype), (height, width))
    for psf in (exact, operator.psf):  # what was meant, and what single precision made of it
        truth = np.abs(exact_symbol(psf, (height, width)))
        assert operator.properties.norm.value >= truth.max()
        assert operator.properties.gram_min.value <= truth.min() ** 2
    assert operator.properties.norm.value == pytest.approx(float(truth.max()), rel=1e-6)
    valid = Blur(exact.to(dtype), (height, width), "valid")
    assert valid.properties.norm.value >= np.abs(exact_symbol(exact, valid._grid)).max()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), height=SIDES, width=SIDES, shift=st.sampled_from([0.0, 0.1]))
def test_the_proved_constants_of_a_pair_are_bounds(seed, height, width, shift):
    A, K = kernel(seed, positive=seed % 2 == 0), kernel(seed, positive=seed % 2 == 0) + 0.1 * (seed % 3)
    forward, back = Blur(A, (height, width)), Blur(K, (height, width))
    a, k = exact_symbol(A, (height, width)), exact_symbol(K, (height, width))
    B = k.conj() * a + np.longdouble(shift)
    pair = mismatch_of(forward, back, shift=shift)
    assert pair.norm.value >= np.abs(B).max()
    assert (
        pair.symmetric_part_min.value <= B.real.min() <= pair.symmetric_part_min.value + pair.symmetric_part_min.error
    )
    assert pair.adjoint_gap.value >= np.abs(k - a).max() / np.abs(a).max()
    assert residual_norm(forward, back, 0.7, shift=shift).value >= np.abs(1 - np.longdouble(0.7) * B).max()
    if pair.cocoercivity.evidence is Evidence.PROVED:
        assert pair.cocoercivity.value <= max((B.real / np.abs(B) ** 2).min(), 0)
    iteration = linear_iteration_of(forward, back, shift=shift)
    if iteration.limit.evidence is Evidence.PROVED:
        assert iteration.limit.value <= max(2 * (B.real / np.abs(B) ** 2).min(), 0)


@pytest.mark.parametrize("filtered", ["gaussian", "box", "bicubic"])
@pytest.mark.parametrize(("shape", "factor"), [((28, 35), 7), ((62, 37), 1), ((48, 36), 3)])
def test_the_proved_constants_of_downsampling_are_bounds(shape, factor, filtered):
    operator = Downsampling(shape, factor, filtered)
    full = np.abs(exact_symbol(operator._psf, shape))
    mirrored = np.concatenate([full, np.roll(full[::-1], 1, 0)[:, (shape[1] - 1) // 2 : 0 : -1]], axis=1)
    small = (factor, shape[0] // factor, factor, shape[1] // factor)
    truth = (mirrored**2).reshape(small).mean(axis=(0, 2))
    assert operator.properties.norm.value >= np.sqrt(truth.max())
    assert operator.properties.gram_min.value <= truth.min()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("column", [True, False])
@pytest.mark.parametrize("side", [12, 96, 192, 381])
def test_a_zero_of_a_symbol_is_a_zero_whatever_rounding_makes_of_it(side, column, dtype):
    psf, shape = (TRIANGLE[:, None], (side, 16)) if column else (TRIANGLE[None], (16, side))
    forward, back = Blur(psf.to(dtype), shape), Blur(gaussian_psf(0.8), shape)
    assert forward.properties.gram_min.value == 0
    for combined in (compose(forward, forward), stack(forward, forward), scale(forward, 1e6)):
        assert combined.properties.gram_min.value == 0
    pair = mismatch_of(forward, back)
    lowest = pair.symmetric_part_min
    assert lowest.value <= 0 <= lowest.value + lowest.error
    assert pair.cocoercivity.evidence is Evidence.MEASURED
    assert pair.cocoercivity.value == pytest.approx(1, abs=1e-6)
    iteration = linear_iteration_of(forward, back)
    assert iteration.limit.evidence is Evidence.MEASURED
    assert iteration.solvable is None  # K is not zero where K A is


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_where_a_symbol_has_zeros_nothing_is_proved_and_no_distance_is_bounded(dtype):
    shape = (192, 16)
    forward, back = Blur(TRIANGLE[:, None].to(dtype), shape), Blur(gaussian_psf(0.8), shape)
    pair, prior, x = mismatch_of(forward, back), no_prior().resolvent(1.0), torch.rand(1, 1, *shape)
    certificate = certify_mismatched_forward_backward(pair, prior.properties, 1.0)
    assert not certificate.holds
    assert certificate.missing == ("a solution exists",)
    assert "up to rounding" in certificate.conditions[-1].how
    (bound,) = mismatch_error_bound(LeastSquares(forward, forward.A(x), back.A_adjoint), prior, x, 1.0)
    assert bound.value == math.inf
    tseng = certify_mismatched_tseng(pair, prior.properties, 0.5)
    monotone = tseng.conditions[0]
    assert (monotone.holds, monotone.evidence) == (True, Evidence.MEASURED)


def test_a_prior_that_contracts_proves_a_solution_where_a_symbol_has_zeros():
    shape = (192, 16)
    pair = mismatch_of(Blur(TRIANGLE[:, None], shape), Blur(gaussian_psf(0.8), shape))
    certificate = certify_mismatched_forward_backward(pair, tikhonov_prior(0.1).resolvent(1.0).properties, 1.0)
    assert certificate.conditions[-1].holds
    assert certificate.conditions[-1].evidence is Evidence.PROVED


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_distance_to_the_limit_is_infinite_where_a_symbol_has_zeros(dtype):
    shape = (16, 192)
    forward, back = Blur(TRIANGLE[None].to(dtype), shape), Blur(gaussian_psf(0.8), shape)
    pair, prior, x = mismatch_of(forward, back), no_prior().resolvent(1.0), torch.rand(1, 1, *shape)
    for data, lowest in (
        (LeastSquares(forward, forward.A(x), back.A_adjoint), pair.symmetric_part_min),
        (LeastSquares(forward, forward.A(x)), forward.properties.gram_min),
    ):
        assert limit_error_bound(data, prior, x, 1.0, lowest)[0].value == math.inf
    m = Proved(-0.5 * (1 - 1e-16), "a cancelling bound")
    third = tikhonov_prior(1.0).resolvent(1.0)  # 1-strongly monotone: 1/2 over a step of 2
    assert limit_error_bound(LeastSquares(forward, forward.A(x)), third, x, 2.0, m)[0].value == math.inf


def test_a_symbol_that_says_nothing_of_its_error_gets_one_that_is_large_enough():
    class Bare:
        def __init__(self, blur):
            self.A, self.A_adjoint, self.symbol = blur.A, blur.A_adjoint, blur.symbol

    for shape in ((16, 16), (17, 13), (192, 17)):
        blur = Blur(box_psf(3), shape)
        assert symbol_error(Bare(blur)) >= symbol_error(blur)
        found = mismatch_of(Bare(blur), Bare(Blur(gaussian_psf(0.8), shape)))
        assert found.symmetric_part_min.evidence is Evidence.PROVED


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(0.01, 100), side=SIDES)
def test_proved_constants_of_composed_operators_are_bounds(seed, factor, side):
    shape = (side, 8)
    first, second = kernel(seed), kernel(seed + 1)
    a, b = (np.abs(exact_symbol(psf, shape)) for psf in (first, second))
    blurs = Blur(first, shape), Blur(second, shape)
    composed, stacked, scaled = compose(*blurs).properties, stack(*blurs).properties, scale(blurs[0], factor).properties
    assert composed.norm.value >= (a * b).max()
    assert composed.gram_min.value <= ((a * b) ** 2).min()
    assert stacked.norm.value >= np.sqrt((a**2 + b**2).max())
    assert stacked.gram_min.value <= (a**2 + b**2).min()
    assert scaled.norm.value >= np.longdouble(factor) * a.max()
    assert scaled.gram_min.value <= np.longdouble(factor) ** 2 * (a**2).min()


@pytest.mark.parametrize("seed", range(10))
def test_proved_constants_of_matrices_are_bounds(seed):
    """Of integers, whose products are exact: a rank that is not full is found as such."""
    draw = torch.Generator().manual_seed(seed)
    left, right = (torch.randint(-3, 4, shape, generator=draw).double() for shape in ((9, 4), (4, 6)))
    A = left @ right
    assert from_matrix(A).properties.gram_min.value == 0
    pair = mismatch_of(from_matrix(A), from_matrix(A + torch.randint(-1, 2, A.shape, generator=draw)))
    assert pair.cocoercivity.value == 0 or pair.cocoercivity.evidence is not Evidence.PROVED
    assert pair.symmetric_part_min.value <= 0
