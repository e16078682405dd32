"""Factors of dense matrices: known answers, proved errors, refusals."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.errors import ConsistencyError, GuaranteeError, UsageError
from recon.evidence import Evidence
from recon.factorization import Status, factorise
from recon.factorization.bounds import norm_above, norm_below
from recon.factorization.butterfly import Order, butterfly_factors, digit_reversal, least_error, radices_of, refitted
from recon.factorization.rank_one import best_rank_one, least_residuals
from recon.operators import Blocks, Factorised, Permutation, Space, from_matrix


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fourier(size: int) -> torch.Tensor:
    return torch.fft.fft(torch.eye(size, dtype=torch.complex128), norm="ortho")


def hadamard(size: int) -> torch.Tensor:
    made = torch.ones(1, 1, dtype=torch.float64)
    while len(made) < size:
        made = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64), made) / 2**0.5
    return made


def product(found) -> torch.Tensor:
    """The matrix that an operator applies, column by column, through the fast path and not through dense_form."""
    operator = found.operator
    units = torch.eye(operator.shape[1], dtype=torch.complex128 if operator.domain.is_complex else torch.float64)
    return operator.A(units).T


def random_butterfly(radices: tuple[int, ...], is_complex: bool = False, seed: int = 0) -> list[Blocks]:
    kind, rng, made = (torch.complex128 if is_complex else torch.float64), generator(seed), []
    for number, radix in enumerate(radices):
        a, d = math.prod(radices[:number]), math.prod(radices[number + 1 :])
        made.append(Blocks(torch.randn(a, d, radix, radix, generator=rng, dtype=kind)))
    return made


def dense(factors) -> torch.Tensor:
    is_complex = any(isinstance(f, Blocks) and f.blocks.is_complex() for f in factors)
    size = factors[0].shape[0]
    return Factorised(tuple(factors), Space((size,), is_complex), Space((size,), is_complex)).dense_form()[0]


@pytest.mark.parametrize(
    ("matrix", "order"),
    [
        (hadamard(256), "as they are"),
        (fourier(256), "columns in bit-reversed order"),
        (fourier(60), "columns in digit-reversed order"),
        (fourier(64).conj(), "columns in bit-reversed order"),
    ],
)
def test_a_fast_transform_is_found_exactly_with_its_order(matrix, order):
    found = factorise(matrix)
    assert found.status is Status.EXACT
    assert found.structure == "butterfly"
    assert found.order == order
    assert found.error.evidence is Evidence.PROVED
    assert found.error.value < 1e-13
    torch.testing.assert_close(product(found), matrix, rtol=0, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("matrix", [hadamard(1024), fourier(1024)], ids=["hadamard", "fourier"])
def test_the_error_at_1024_is_proved_below_1e_13(matrix):
    assert factorise(matrix).error.value < 1e-13


def test_walsh_functions_in_order_of_sequency_are_found():
    rows = hadamard(64)
    changes = (rows[:, 1:] * rows[:, :-1] < 0).sum(1)
    assert factorise(rows[changes.argsort()]).status is Status.EXACT


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("radices", [(2, 2, 2, 2), (2, 3, 2), (2, 2, 5), (3, 3, 3)])
def test_factors_of_a_random_butterfly_are_recovered_up_to_scaling(radices, is_complex):
    true = random_butterfly(radices, is_complex)
    found, unique = butterfly_factors(dense(true), radices, Order("as they are"))
    assert unique
    scale = torch.ones(math.prod(radices), dtype=torch.complex128)  # of the columns of the factor before
    for left, right in zip(true, found, strict=True):
        one, other = dense([left]).to(torch.complex128), dense([right]).to(torch.complex128)
        one = one / scale[:, None]
        scale = (one.conj() * other).sum(0) / (one.conj() * one).sum(0)
        torch.testing.assert_close(one * scale, other, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(scale, torch.ones_like(scale))


def test_zeros_among_the_factors_make_them_not_identifiable():
    true = random_butterfly((2, 2, 2))
    true[1].blocks[0, 0] = 0
    found = factorise(dense(true), "butterfly")
    assert found.status is Status.NOT_IDENTIFIABLE
    assert found.error.value < 1e-13


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.floats(1e-6, 1.0))
def test_the_proved_error_bounds_the_true_one(seed, is_complex, noise):
    matrix = dense(random_butterfly((2, 2, 2, 2), is_complex, seed))
    off = torch.randn(matrix.shape, generator=generator(seed), dtype=matrix.dtype)
    noisy = matrix + noise * off
    try:
        found = factorise(noisy, "butterfly", tolerance=0.999)
    except GuaranteeError:
        return
    size = torch.linalg.matrix_norm(noisy, 2)
    true = float(torch.linalg.matrix_norm(noisy - product(found), 2) / size)
    assert true <= found.error.value * (1 + 1e-9) + 1e-14
    assert found.error.value <= 2 * true + 1e-12
    frobenius = float(torch.linalg.matrix_norm(noisy - product(found)) / torch.linalg.matrix_norm(noisy))
    assert found.least_error <= frobenius * (1 + 1e-9) + 1e-12
    assert found.least_error <= float(torch.linalg.matrix_norm(noise * off) / torch.linalg.matrix_norm(noisy)) + 1e-12


def test_noise_is_hardly_added_to():
    matrix = fourier(64)
    noisy = matrix + 1e-3 / 8 * torch.randn(64, 64, generator=generator(), dtype=torch.complex128)
    found = factorise(noisy)
    assert found.status is Status.HEURISTIC
    assert found.frobenius_error.value < 1.2e-3
    denoised = torch.linalg.matrix_norm(product(found) - matrix) / torch.linalg.matrix_norm(matrix)
    assert denoised < 0.5e-3


def radon(side: int) -> torch.Tensor:
    """Projections of side x side pixels in as many views, each pixel shared by the two nearest detector pixels."""
    middle = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    angles = torch.arange(side, dtype=torch.float64) * math.pi / side
    across, down = angles.cos()[:, None, None] * middle, angles.sin()[:, None, None] * middle[:, None]
    shadows = (across + down).flatten(1) + (side - 1) / 2
    weights = (1 - (shadows[:, None] - torch.arange(side)[:, None]).abs()).clamp(min=0)
    return weights.reshape(side * side, side * side)


def test_a_projector_is_refused_with_the_error_that_no_butterfly_passes():
    with pytest.raises(GuaranteeError, match=r"as butterfly its relative error is .*none is below 0\.[4-9]"):
        factorise(radon(16), "butterfly")
    with pytest.raises(GuaranteeError, match="as low-rank it takes"):
        factorise(radon(16), "low-rank")


def test_a_smooth_kernel_is_of_low_rank_and_no_matrix_of_that_rank_is_nearer():
    x = torch.linspace(0, 1, 97, dtype=torch.float64)
    matrix = torch.exp(-8 * (x[:, None] - x[None, :80]) ** 2)
    found = factorise(matrix, tolerance=1e-3)
    assert (found.structure, found.status) == ("low-rank", Status.OPTIMAL)
    rank = found.operator.factors[0].shape[1]
    best = torch.linalg.svdvals(matrix)
    assert float(best[rank] / best[0]) <= found.error.value <= 1e-3
    assert best[rank - 1] / best[0] > 0.98e-3
    torch.testing.assert_close(product(found), matrix, rtol=0, atol=1e-3 * float(best[0]))


def test_a_matrix_of_exact_low_rank_is_not_identifiable():
    rng = generator()
    thin = (
        torch.randn(50, 3, generator=rng, dtype=torch.float64),
        torch.randn(3, 40, generator=rng, dtype=torch.float64),
    )
    found = factorise(thin[0] @ thin[1])
    assert (found.structure, found.status) == ("low-rank", Status.NOT_IDENTIFIABLE)
    assert found.operator.nonzeros == 3 * 90


def test_padding_keeps_the_matrix_and_says_so():
    said: list[str] = []
    found = factorise(hadamard(64)[:50, :61], "butterfly", pad=True, say=said.append)
    assert found.padded == 64
    assert "padded with zeros to 64 x 64" in said[0]
    assert found.operator.shape == (50, 61)
    torch.testing.assert_close(product(found), hadamard(64)[:50, :61])


def on_a_display(matrix: torch.Tensor) -> torch.Tensor:
    """The patterns of a matrix of entries of one modulus, as a display of no negative light shows them."""
    return (matrix / matrix.abs().max() + 1) / 2


SEQUENCY = (hadamard(64).diff(dim=1) != 0).sum(1).argsort()


@pytest.mark.parametrize(
    ("matrix", "options"),
    [
        (on_a_display(hadamard(64)), {}),
        (on_a_display(-hadamard(64)), {}),
        (255 * on_a_display(hadamard(64)), {}),
        (hadamard(64) + 0.01, {}),
        (on_a_display(hadamard(64)).float(), {}),
        (on_a_display(hadamard(64)[SEQUENCY]), {}),
        (on_a_display(hadamard(64)[:, SEQUENCY]), {}),
        (on_a_display(hadamard(64))[:40, :61], {"pad": True}),
    ],
    ids=["0/1", "inverted", "0..255", "offset", "single", "sequency", "columns", "padded"],
)
def test_patterns_of_a_display_are_a_butterfly_and_a_constant(matrix, options):
    found = factorise(matrix, **options)
    assert found.structure == "butterfly"
    assert found.status is Status.NOT_IDENTIFIABLE
    assert found.error.evidence is Evidence.PROVED
    torch.testing.assert_close(product(found), matrix.double(), rtol=0, atol=1e-12 * float(matrix.abs().max()))
    true = torch.linalg.matrix_norm(matrix.double() - found.operator.dense_form()[0], 2)
    assert float(true / torch.linalg.matrix_norm(matrix.double(), 2)) <= found.error.value < 1e-13
    assert found.operator.nonzeros <= 64 * 12 + 2 * 64


def test_the_error_of_such_patterns_counts_beside_the_butterfly_and_not_beside_the_constant():
    """The constant has 16 times the norm of all else: an error of 2 % of the butterfly would be one of 0.1 %."""
    clean = on_a_display(hadamard(256))
    noisy = clean + 5e-3 * torch.randn(clean.shape, generator=generator(), dtype=torch.float64)
    with pytest.raises(GuaranteeError, match=r"less the constant 0\.5 in all entries its error is 0\.02"):
        factorise(noisy, "butterfly", tolerance=0.01)
    found = factorise(noisy, "butterfly", tolerance=0.05)
    assert found.status is Status.HEURISTIC
    assert "the constant 0.5 in all entries by one factor more" in found.reason
    apart = noisy - found.operator.dense_form()[0]
    assert float(torch.linalg.matrix_norm(apart, 2)) <= 0.05 * float(torch.linalg.matrix_norm(noisy - 0.5, 2))


def test_patterns_without_the_one_that_is_bright_everywhere_are_refused_with_the_reason():
    with pytest.raises(GuaranteeError, match="no row of it is constant"):
        factorise(on_a_display(hadamard(64))[1:], "butterfly", pad=True)


def test_two_levels_of_another_structure_have_it_still():
    blocks = torch.kron(torch.eye(16, dtype=torch.float64), torch.ones(4, 4, dtype=torch.float64))
    found = factorise(blocks, "butterfly")
    assert found.structure == "butterfly"
    torch.testing.assert_close(product(found), blocks)


def test_other_numbers_in_the_same_places_give_the_same_patterns():
    """What ``not identifiable`` says of them: a multiple of the bright row may pass from one factor to the next."""
    found = factorise(on_a_display(hadamard(16)), "butterfly").operator
    first, second, *_ = found.factors
    size, row, partner = 16, 0, 8
    dense_first, dense_second = (
        Factorised((f,), Space((size,)), Space((size,))).dense_form()[0] for f in (first, second)
    )
    shear = torch.eye(size, dtype=torch.float64)
    shear[partner, row] = 0.7
    moved = dense_first @ shear, torch.linalg.solve(shear, dense_second)
    torch.testing.assert_close(moved[0] @ moved[1], dense_first @ dense_second)
    assert torch.equal(moved[0] != 0, dense_first != 0)
    assert torch.equal(moved[1] != 0, dense_second != 0)
    assert not torch.allclose(moved[1], dense_second)


def test_learned_supports_find_hadamard_by_themselves_and_are_never_worse_than_the_butterfly():
    found = factorise(hadamard(16), "hierarchical")
    assert found.error.value < 1e-12
    noisy = fourier(16) + 0.01 * torch.randn(16, 16, generator=generator(), dtype=torch.complex128)
    learned, given = (factorise(noisy, name, tolerance=0.5) for name in ("hierarchical", "butterfly"))
    assert learned.frobenius_error.value <= given.frobenius_error.value * (1 + 1e-6)
    assert learned.status is Status.HEURISTIC


def test_single_precision_is_exact_up_to_its_own_rounding():
    found = factorise(fourier(64).to(torch.complex64))
    assert found.status is Status.EXACT
    assert found.order == "columns in bit-reversed order"
    assert 1e-9 < found.error.value < 1e-6


@pytest.mark.parametrize(
    ("matrix", "options", "error", "message"),
    [
        (torch.full((4, 4), torch.nan), {}, UsageError, "16 of the 16 entries of the matrix are NaN"),
        (torch.ones(4, 4, 4), {}, UsageError, r"shape \(4, 4, 4\)"),
        (torch.ones(4, 4, dtype=torch.int64), {}, UsageError, "int64"),
        (torch.ones(1, 4), {}, UsageError, "1 x 4"),
        (torch.ones(4, 4), {"structure": "buterfly"}, UsageError, "'buterfly'"),
        (torch.ones(4, 4), {"tolerance": 0.0}, UsageError, "tolerance is 0"),
        (torch.ones(4, 4), {"tolerance": math.nan}, UsageError, "tolerance is nan"),
        (torch.zeros(4, 4), {}, GuaranteeError, "zero everywhere"),
        (torch.eye(17), {"structure": "butterfly"}, ConsistencyError, "17 is not a product of primes up to 13 .--pad"),
        (torch.ones(4, 6), {"structure": "butterfly"}, ConsistencyError, "4 rows and 6 columns .--pad"),
        (torch.ones(6, 6), {"structure": "hierarchical"}, ConsistencyError, "a square one of a power of two"),
    ],
)
def test_what_has_no_factors_is_refused_by_name(matrix, options, error, message):
    with pytest.raises(error, match=message):
        factorise(matrix, **options)


@pytest.mark.parametrize("structure", ["butterfly", "low-rank", "hierarchical"])
@pytest.mark.parametrize("units", [5e-324, 1e-300, 1e-31, 1e-29, 1e29, 1e31, 1e160, 1e300])
@pytest.mark.parametrize("turn", [1.0, 1j])
def test_matrices_in_any_units_have_factors_or_are_refused(structure, units, turn):
    matrix = torch.full((8, 8), units * turn, dtype=torch.complex128 if turn == 1j else torch.float64)
    if not 1e-30 < units < 1e30:
        with pytest.raises(UsageError, match="in other units"):
            factorise(matrix, structure)
        return
    found = factorise(matrix, structure)
    assert float(abs(product(found) / units - turn).max()) <= 8 * found.error.value
    assert found.error.value < 1e-12


def test_rank_one_is_the_best_and_its_residual_is_bounded_from_below():
    blocks = torch.randn(20, 4, 7, generator=generator(), dtype=torch.complex128)
    blocks[0] = 0
    blocks[1] = torch.eye(4, 7)  # equal singular values: the iteration cannot settle on one of them
    left, right = best_rank_one(blocks)
    apart = torch.linalg.matrix_norm(blocks - left[:, :, None] * right[:, None, :]).square()
    best = torch.linalg.svdvals(blocks).square()[:, 1:].sum(1)
    torch.testing.assert_close(apart, best, rtol=1e-9, atol=1e-12)
    assert bool((least_residuals(blocks) <= best + 1e-12).all())


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (25, 25)])
def test_bounds_of_a_norm_enclose_it(shape):
    for kind in (torch.float64, torch.complex128):
        matrix = torch.randn(shape, generator=generator(), dtype=kind)
        norm = float(torch.linalg.matrix_norm(matrix, 2))
        assert 0.7 * norm < norm_below(matrix) <= norm <= norm_above(matrix) < 1.25 * norm
        for squarings in range(4):
            assert norm_above(matrix, squarings) >= norm


@pytest.mark.parametrize("is_complex", [False, True])
def test_the_fit_of_all_factors_together_comes_nearer(is_complex):
    matrix = dense(random_butterfly((2,) * 5, is_complex))
    noise = torch.randn(matrix.shape, generator=generator(1), dtype=matrix.dtype)
    noisy = matrix + 0.05 * float(matrix.abs().square().mean().sqrt()) * noise
    order = Order("as they are")
    factors, _ = butterfly_factors(noisy, (2,) * 5, order)
    fitted = refitted(noisy, factors, order)
    before, after = (float(torch.linalg.matrix_norm(dense(each) - noisy)) for each in (factors, fitted))
    assert least_error(noisy, (2,) * 5, order) * float(torch.linalg.matrix_norm(noisy)) <= after < 0.99 * before


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("radices", [(2, 2, 2, 2), (2, 3, 5), (3, 2, 2)])
def test_sweeps_of_least_squares_never_increase_the_error_and_end_where_its_gradient_is_zero(radices, is_complex):
    size = math.prod(radices)
    matrix = torch.randn(size, size, generator=generator(2), dtype=torch.complex128 if is_complex else torch.float64)
    start = tuple(random_butterfly(radices, is_complex, seed=3))  # far from it, and no fit of anything
    errors = [float(torch.linalg.matrix_norm(matrix))]
    for sweeps in (1, 2, 5, 400):
        fitted = refitted(matrix, start, Order("as they are"), sweeps)
        errors.append(float(torch.linalg.matrix_norm(dense(fitted) - matrix)))
    assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(errors))
    for number, factor in enumerate(fitted):
        for step in (1e-5, -1e-5):
            moved = factor.blocks + step * torch.randn(
                factor.blocks.shape, generator=generator(4), dtype=factor.blocks.dtype
            )
            other = (*fitted[:number], Blocks(moved), *fitted[number + 1 :])
            assert float(torch.linalg.matrix_norm(dense(other) - matrix)) >= errors[-1] - 1e-9


def test_a_factor_that_is_zero_stays_finite():
    factors = tuple(random_butterfly((2, 2, 2)))
    fitted = refitted(torch.zeros(8, 8, dtype=torch.float64), factors, Order("as they are"))
    assert not bool(dense(fitted).any())
    hole = (factors[0], Blocks(torch.zeros_like(factors[1].blocks)), factors[2])
    assert bool(dense(refitted(hadamard(8), hole, Order("as they are"))).isfinite().all())


def test_radices_and_reversal():
    assert radices_of(1024) == (2,) * 10
    assert radices_of(60) == (2, 2, 3, 5)
    assert radices_of(17) is radices_of(34) is radices_of(13) is radices_of(1) is None
    assert digit_reversal((2, 2, 2)).tolist() == [0, 4, 2, 6, 1, 5, 3, 7]


def test_a_matrix_that_is_no_butterfly_in_its_order_has_a_least_error():
    order = Order("as they are")
    assert least_error(fourier(64), (2,) * 6, order) > 0.5
    assert least_error(hadamard(64), (2,) * 6, order) < 1e-5


def test_a_permutation_must_hold_each_index_once():
    with pytest.raises(UsageError, match="once"):
        Permutation(torch.tensor([0, 0, 2]))


def test_the_mismatch_of_factors_is_proved_and_encloses_that_of_the_matrix():
    from recon.operators import mismatch_of  # noqa: PLC0415

    for matrix in (hadamard(32), fourier(32)):
        noisy = matrix + 0.003 * torch.randn(matrix.shape, generator=generator(), dtype=matrix.dtype)
        found = factorise(noisy, tolerance=0.2)
        pair = mismatch_of(from_matrix(noisy), found.operator)
        assert pair.adjoint_gap.evidence is pair.norm.evidence is pair.symmetric_part_min.evidence is Evidence.PROVED
        B = product(found).mH @ noisy
        lowest = float(torch.linalg.eigvalsh((B + B.mH) / 2)[0])
        assert lowest - 1e-9 <= pair.symmetric_part_min.value <= lowest
        assert pair.norm.value >= float(torch.linalg.matrix_norm(B, 2))
        gap = float(torch.linalg.matrix_norm(product(found) - noisy, 2) / torch.linalg.matrix_norm(noisy, 2))
        assert gap <= pair.adjoint_gap.value <= min(gap + 1e-9, found.error.value + 1e-12)
