"""The wavelet transform is orthonormal for every size, and its shrinkage a proximity operator."""

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recon.errors import UsageError
from recon.priors import WaveletTransform, orthonormal_wavelet, soft_threshold, wavelet_l1_value, wavelet_shrinkage


def flat(transform: WaveletTransform, x: Tensor) -> Tensor:
    """All coefficients of each item in one row."""
    approximation, details = transform.analyse(x)
    return torch.cat([approximation.flatten(1), *(band.flatten(1) for level in details for band in level)], 1)


def dense(transform: WaveletTransform, height: int, width: int) -> Tensor:
    """The matrix W, a column for each pixel."""
    unit = torch.eye(height * width, dtype=torch.float64).view(-1, 1, height, width)
    return flat(transform, unit).T


@pytest.mark.parametrize("name", ["haar", "db2", "db4", "db10", "sym5", "coif2"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 3), (5, 7), (8, 8), (9, 4), (11, 13)], ids=str)
@pytest.mark.parametrize("levels", [0, 1, 4])
def test_the_matrix_is_orthogonal(name: str, shape: tuple[int, int], levels: int) -> None:
    transform = orthonormal_wavelet(name, levels)
    matrix = dense(transform, *shape)
    identity = torch.eye(shape[0] * shape[1], dtype=torch.float64)
    assert matrix.shape == identity.shape
    assert torch.allclose(matrix.T @ matrix, identity, atol=1e-9)
    assert torch.allclose(matrix @ matrix.T, identity, atol=1e-9)


def test_a_filter_that_is_slightly_wrong_is_not_orthogonal() -> None:
    right = orthonormal_wavelet("db4", 2)
    wrong = WaveletTransform((right.lowpass[0] + 1e-4, *right.lowpass[1:]), 2)
    matrix = dense(wrong, 8, 8)
    assert not torch.allclose(matrix.T @ matrix, torch.eye(64, dtype=torch.float64), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    levels=st.integers(0, 6),
    name=st.sampled_from(["haar", "db4", "sym8"]),
)
def test_synthesis_is_the_inverse_and_the_adjoint(height: int, width: int, levels: int, name: str) -> None:
    transform = orthonormal_wavelet(name, levels)
    x, y = torch.randn(2, 1, 3, height, width, dtype=torch.float64)
    approximation, details = transform.analyse(x)
    assert torch.allclose(transform.synthesise(approximation, details), x, atol=1e-8)
    assert torch.allclose((flat(transform, x) * flat(transform, y)).sum(), (x * y).sum(), rtol=1e-8, atol=1e-7)


def test_the_photograph_size_of_the_benchmarks() -> None:
    transform = orthonormal_wavelet("db4", 4)
    x = torch.rand(1, 1, 321, 481)
    coefficients = flat(transform, x)
    assert coefficients.shape == (1, 321 * 481)
    assert torch.allclose(coefficients.norm(), x.norm(), rtol=1e-5)
    assert torch.allclose(transform.synthesise(*transform.analyse(x)), x, atol=1e-5)


@pytest.mark.parametrize("name", ["haar", "db4", "sym4"])
def test_agrees_with_pywavelets_up_to_signs_and_order(name: str) -> None:
    x = torch.randn(1, 1, 16, 32, dtype=torch.float64)
    approximation, bands = pywt.dwt2(x[0, 0].numpy(), name, mode="periodization")
    theirs = np.sort(np.abs(np.concatenate([approximation.ravel(), *(band.ravel() for band in bands)])))
    start = len(pywt.Wavelet(name).rec_lo) // 2 - 1  # PyWavelets centres its first coefficient
    ours = flat(orthonormal_wavelet(name, 1), x.roll((start, start), (-2, -1))).abs().sort().values[0]
    assert np.allclose(ours.numpy(), theirs)


def test_the_details_of_smooth_images_vanish() -> None:
    """db2 has two vanishing moments: the details of a ramp are zero but where the period wraps."""
    ramp = torch.arange(16, dtype=torch.float64).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    _, (level,) = orthonormal_wavelet("db2", 1).analyse(ramp)
    assert level.vertical.abs().max() < 1e-10
    assert level.horizontal[..., :-1].abs().max() < 1e-9
    assert level.horizontal[..., -1].abs().min() > 0.1


def test_haar_by_hand() -> None:
    x = torch.tensor([[[[4.0, 2.0], [2.0, 0.0]]]])
    # details: two of size 2 (rows, columns), none diagonal; approximation 4; thresholding by 1 halves the details
    assert wavelet_l1_value(x, "haar", 1).item() == pytest.approx(4.0)
    assert torch.allclose(wavelet_shrinkage(1.0, "haar", 1)(x), torch.tensor([[[[3.0, 2.0], [2.0, 1.0]]]]), atol=1e-6)
    assert torch.allclose(wavelet_shrinkage(5.0, "haar", 1)(x), torch.full_like(x, 2.0), atol=1e-6)


def test_shrinkage_is_soft_thresholding_in_the_dense_basis() -> None:
    transform = orthonormal_wavelet("db2", 2)
    matrix = dense(transform, 6, 9)
    x = torch.randn(1, 1, 6, 9, dtype=torch.float64)
    coefficients = matrix @ x.flatten()
    kept = transform.analyse(x)[0].numel()
    shrunk = torch.cat([coefficients[:kept], soft_threshold(0.4)(coefficients[kept:])])
    assert torch.allclose(wavelet_shrinkage(0.4, "db2", 2)(x).flatten(), matrix.T @ shrunk, atol=1e-10)


def test_complex_images_are_shrunk_by_their_modulus() -> None:
    x = torch.randn(2, 1, 6, 9, dtype=torch.complex128)
    phase = torch.exp(torch.tensor(0.7j, dtype=torch.complex128))
    shrinkage = wavelet_shrinkage(0.4)
    assert torch.allclose(shrinkage(phase * x), phase * shrinkage(x))
    assert wavelet_l1_value(x).dtype == torch.float64


def test_cycle_spinning_over_a_full_grid_commutes_with_shifts() -> None:
    x = torch.randn(1, 1, 8, 12, dtype=torch.float64)
    spinning = wavelet_shrinkage(0.5, "db2", levels=1, shifts=4)
    plain = wavelet_shrinkage(0.5, "db2", levels=1)
    for shift in [(1, 0), (0, 1), (1, 1)]:
        moved = x.roll(shift, (-2, -1))
        assert torch.allclose(spinning(moved), spinning(x).roll(shift, (-2, -1)), atol=1e-10)
        assert not torch.allclose(plain(moved), plain(x).roll(shift, (-2, -1)), atol=1e-3)


def test_sixteen_shifts_make_two_levels_invariant() -> None:
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    spinning = wavelet_shrinkage(0.5, "haar", levels=2, shifts=16)
    assert torch.allclose(spinning(x.roll((3, 2), (-2, -1))), spinning(x).roll((3, 2), (-2, -1)), atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wavelet": "db400"}, "'db400' is not a discrete wavelet of PyWavelets; expected a name such as 'db4'"),
        ({"wavelet": "bior2.2"}, "'bior2.2' is not orthonormal"),
        ({"wavelet": "dmey"}, r"'dmey' is not orthonormal \(its filter misses by 0.002\)"),
        ({"levels": -1}, "levels=-1; expected a whole number of at least 0"),
        ({"levels": 1.5}, "levels=1.5; expected a whole number of at least 0"),
        ({"shifts": 0}, "shifts=0; expected a whole number of at least 1"),
    ],
)
def test_what_is_not_a_basis_is_refused_by_name(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        wavelet_shrinkage(0.1, **arguments)


@pytest.mark.parametrize(
    "name", [n for n in pywt.wavelist(kind="discrete") if pywt.Wavelet(n).orthogonal and n != "dmey"]
)
def test_every_orthogonal_wavelet_of_pywavelets_but_one_is_taken(name: str) -> None:
    assert len(orthonormal_wavelet(name, 1).lowpass) % 2 == 0
