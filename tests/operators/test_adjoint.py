"""The adjoint gap: exact pairs read as exact, planted mismatches are found at their size."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from recon.errors import GuaranteeError, UsageError
from recon.operators import Identity, adjoint_gap, adjoint_gap_upper, check_adjoint, operator_properties
from recon.operators.adjoint import transpose


class Pair:
    """A forward map with whatever it calls its adjoint."""

    def __init__(self, forward, back):
        self.A, self.A_adjoint = forward, back


def matrix_pair(matrix, back):
    return Pair(lambda x: x @ matrix.T, lambda y: y @ back.T)


def box(size):
    kernel = torch.full((1, 1, size, size), 1 / size**2)
    return lambda x: functional.conv2d(x, kernel, padding=size // 2)


def through_numpy(linear):
    """The same map, hidden from automatic differentiation."""
    return lambda x: torch.from_numpy(linear(x).detach().numpy().copy())


@pytest.mark.parametrize("relative", [1e-3, 0.08, 0.5])
def test_a_mismatch_is_found_at_its_size(relative):
    matrix = torch.randn(40, 30, dtype=torch.float64)
    direction = torch.outer(torch.randn(30, dtype=torch.float64), torch.randn(40, dtype=torch.float64))
    norm = torch.linalg.matrix_norm
    back = matrix.T + relative * norm(matrix, 2) / norm(direction, 2) * direction
    gap = adjoint_gap(matrix_pair(matrix, back), torch.zeros(1, 30, dtype=torch.float64))
    assert gap.value == pytest.approx(relative, rel=2e-2)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_an_exact_pair_reads_as_exact(dtype, bound):
    matrix = torch.randn(40, 30, dtype=dtype)
    assert adjoint_gap(matrix_pair(matrix, matrix.T), torch.zeros(1, 30, dtype=dtype)).value < bound


def test_a_complex_pair_needs_the_conjugate():
    matrix = torch.randn(12, 9, dtype=torch.complex128)
    example = torch.zeros(1, 9, dtype=torch.complex128)
    assert adjoint_gap(matrix_pair(matrix, matrix.conj().T), example).value < 1e-12
    assert adjoint_gap(matrix_pair(matrix, matrix.T), example).value > 0.5


def test_the_gap_of_a_wider_box_is_the_dense_one():
    example = torch.zeros(1, 1, 12, 12)
    pair = Pair(box(5), box(9))
    basis = torch.eye(144).reshape(144, 1, 12, 12)
    forward, back = (f(basis).reshape(144, 144).T for f in (pair.A, pair.A_adjoint))
    dense = torch.linalg.matrix_norm(back - forward.T, 2) / torch.linalg.matrix_norm(forward, 2)
    assert adjoint_gap(pair, example).value == pytest.approx(dense.item(), rel=1e-2)


def test_a_map_that_hides_from_autograd_is_still_caught():
    example = torch.zeros(1, 1, 16, 16)
    wrong = Pair(through_numpy(box(5)), through_numpy(box(9)))
    right = Pair(through_numpy(box(5)), through_numpy(box(5)))
    assert adjoint_gap(wrong, example).value > 0.1
    assert adjoint_gap(right, example).value < 1e-6


def test_check_adjoint_refuses_by_name_with_the_gap():
    with pytest.raises(GuaranteeError, match=r"Pair: A_adjoint differs from the adjoint of A by \d.* surrogate\."):
        check_adjoint(Pair(box(5), box(9)), torch.zeros(1, 1, 16, 16))
    assert check_adjoint(Pair(box(5), box(5)), torch.zeros(1, 1, 16, 16)).value < 1e-6


def test_a_scaled_adjoint_is_not_an_adjoint():
    matrix = torch.randn(10, 10, dtype=torch.float64)
    gap = adjoint_gap(matrix_pair(matrix, 1.05 * matrix.T), torch.zeros(1, 10, dtype=torch.float64))
    assert gap.value == pytest.approx(0.05, rel=1e-3)


def test_a_surrogate_is_compared_with_the_true_adjoint():
    matrix = torch.randn(10, 8, dtype=torch.float64)
    operator = matrix_pair(matrix, matrix.T)
    gap = adjoint_gap(operator, torch.zeros(1, 8, dtype=torch.float64), surrogate=lambda y: 2 * operator.A_adjoint(y))
    assert gap.value == pytest.approx(1, rel=1e-3)


def test_zero_operators_have_no_gap_unless_the_back_projector_is_not_zero():
    zero = torch.zeros(4, 4)
    assert adjoint_gap(matrix_pair(zero, zero), torch.zeros(1, 4)).value == 0
    assert adjoint_gap(matrix_pair(zero, torch.eye(4)), torch.zeros(1, 4)).value == math.inf


def test_transpose_is_the_transpose():
    matrix = torch.randn(7, 5)
    found = transpose(lambda x: x @ matrix.T, torch.zeros(5))
    assert torch.allclose(found(torch.eye(7)[0]), matrix[0])


def test_properties_are_measured_where_an_operator_does_not_know_them():
    matrix = torch.randn(30, 20, dtype=torch.float64)
    found = operator_properties(matrix_pair(matrix, matrix.T), torch.zeros(1, 20, dtype=torch.float64))
    assert found.norm.value == pytest.approx(torch.linalg.matrix_norm(matrix, 2).item(), rel=1e-3)
    assert found.norm.evidence == found.adjoint_gap.evidence == "measured"
    assert operator_properties(Identity((4, 4))).norm.evidence == "proved"


def test_an_operator_without_a_domain_asks_for_an_example():
    with pytest.raises(UsageError, match="Pair does not say what images it takes"):
        adjoint_gap(Pair(box(3), box(3)))


def test_a_back_projector_of_the_wrong_shape_is_refused():
    with pytest.raises(UsageError, match=r"\(1, 1, 8, 8\).*\(1, 1, 16, 16\)"):
        adjoint_gap(Pair(box(3), lambda y: y[..., :8, :8]), torch.zeros(1, 1, 16, 16))


def test_a_gap_at_a_single_pixel_of_a_large_image_is_found():
    """One entry among 10^10: a dot product of random vectors reads 1e-9 here."""

    def back(y):
        x = y.clone()
        x[..., 100, 100] += 5e-4 * y[..., 50, 60]
        return x

    assert adjoint_gap(Pair(lambda x: x * 1, back), torch.zeros(1, 1, 320, 320)).value == pytest.approx(5e-4, rel=1e-2)


def with_backward(forward, back):
    """The map ``forward`` whose derivative is declared to be ``back``, whatever it is."""

    class Declared(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return forward(x)

        @staticmethod
        def backward(ctx, v):
            return back(v)

    return Declared.apply


@pytest.mark.parametrize("relative", [0.01, 0.1, 1.0])
def test_a_wrong_derivative_is_not_taken_for_the_transpose(relative):
    matrix = torch.randn(40, 30, dtype=torch.float64)
    other = torch.randn(30, 40, dtype=torch.float64)
    norm = torch.linalg.matrix_norm
    back = matrix.T + relative * norm(matrix, 2) / norm(other, 2) * other
    wrong = Pair(with_backward(lambda x: x @ matrix.T, lambda v: v @ back.T), lambda y: y @ back.T)
    example = torch.zeros(1, 30, dtype=torch.float64)
    assert transpose(wrong.A, example) is None
    assert relative / 2 < adjoint_gap(wrong, example).value <= 1.3 * relative
    with pytest.raises(GuaranteeError, match="differs from the adjoint"):
        check_adjoint(wrong, example)


def test_a_wrong_derivative_of_images_is_measured():
    example = torch.zeros(1, 1, 64, 64)
    wrong = Pair(with_backward(box(5), box(9)), box(9))
    true = adjoint_gap(Pair(box(5), box(9)), example).value
    assert true / 4 < adjoint_gap(wrong, example).value < 1.1 * true


def test_a_right_derivative_of_ones_own_is_taken():
    example = torch.zeros(1, 1, 16, 16)
    assert transpose(with_backward(box(5), box(5)), example) is not None


def test_a_map_that_raises_under_gradients_counts_as_not_differentiable():
    def numpy_box(x):
        return torch.from_numpy(box(5)(torch.from_numpy(x.numpy())).numpy())

    example = torch.zeros(1, 1, 16, 16)
    assert transpose(numpy_box, example) is None
    assert check_adjoint(Pair(numpy_box, numpy_box), example).value < 1e-6


@pytest.mark.parametrize("curve", [torch.square, torch.relu, lambda x: x + 0.1, lambda x: x + 1e-2 * x**3])
def test_a_map_that_is_not_linear_is_named_so(curve):
    for measure in (adjoint_gap, check_adjoint, operator_properties):
        with pytest.raises(UsageError, match="Pair: A is not linear"):
            measure(Pair(curve, lambda y: y), torch.zeros(1, 1, 8, 8))


def test_a_forward_map_that_gives_nan_is_refused():
    with pytest.raises(UsageError, match="NaN or infinity"):
        adjoint_gap(Pair(lambda x: x * math.nan, lambda y: y), torch.zeros(1, 1, 8, 8))


# From above.


def test_three_times_the_mean_product_exceeds_an_error_of_any_rank_with_more_than_99_per_cent():
    """The worst is rank one, where the products are those of two standard normal vectors of dimension 12."""
    draw = torch.Generator().manual_seed(0)
    for rank in (1, 2, 12):
        a, b = (torch.randn(20_000, 12, rank, generator=draw) for _ in range(2))
        estimate = 3 * torch.linalg.matrix_norm(a @ b.mT) / 12  # of an error with `rank` singular values of one
        assert float((estimate > 1).double().mean()) > 0.99


@pytest.mark.parametrize("seed", range(20))
def test_the_estimate_from_above_exceeds_the_gap(seed):
    draw = torch.Generator().manual_seed(seed)
    matrix = torch.randn(40, 30, dtype=torch.float64, generator=draw)
    rank = 1 + seed % 4
    error = torch.randn(30, rank, generator=draw).double() @ torch.randn(rank, 40, generator=draw).double()
    norm, back = torch.linalg.matrix_norm, matrix.T + 10.0 ** -(seed % 6) * error
    found = adjoint_gap_upper(matrix_pair(matrix, back), torch.zeros(1, 30, dtype=torch.float64), seed=seed)
    gap = float(norm(back - matrix.T, 2) / norm(matrix, 2))
    assert gap <= found.value <= 12 * rank * gap
    assert found.evidence == "measured"
    assert found.error < 1e-10


def test_the_estimate_of_a_complex_pair_counts_both_parts():
    matrix = torch.randn(12, 9, dtype=torch.complex128)
    example = torch.zeros(1, 9, dtype=torch.complex128)
    assert adjoint_gap_upper(matrix_pair(matrix, matrix.conj().T), example).value < 1e-12
    assert adjoint_gap_upper(matrix_pair(matrix, matrix.T), example).value > 1


def smooth(x):
    return (np.roll(x, 1, -1) + 2 * x + np.roll(x, -1, -1)) / 4


def in_numpy(back, single=False):
    """A smoothing in NumPy with whatever is called its adjoint, in the precision of its input or in single."""

    def run(linear):
        def apply(x):
            values = x.detach().numpy()
            values = linear(values.astype(np.float32) if single else values.copy())
            return torch.from_numpy(np.ascontiguousarray(values)).to(x.dtype)

        return apply

    return Pair(run(smooth), run(back))


def one_pixel(y):
    x = smooth(y)
    x[..., 20, 30] -= 0.3 * y[..., 20, 30]
    return x


def one_sign(y):
    x = smooth(y)
    x[..., 20, 30] *= -1
    return x


def one_row(y):
    x = smooth(y)
    x[..., 20, :] = 0
    return x


FAULTS = [one_pixel, one_sign, one_row, lambda y: 1.01 * smooth(y), lambda y: np.roll(smooth(y), 1, -1)]
FAULT_IDS = ["pixel", "sign", "row", "scale", "shifted"]


@pytest.mark.parametrize("back", FAULTS, ids=FAULT_IDS)
@pytest.mark.parametrize(("dtype", "single"), [(torch.float32, False), (torch.float32, True), (torch.float64, False)])
def test_a_planted_fault_of_a_black_box_is_refused(back, single, dtype):
    with pytest.raises(GuaranteeError, match="Pair: A_adjoint differs from the adjoint of A by"):
        check_adjoint(in_numpy(back, single), torch.zeros(1, 1, 64, 64, dtype=dtype))


@pytest.mark.parametrize(("back", "side"), [(one_pixel, 256), (one_sign, 512)])
def test_a_fault_at_one_pixel_of_a_large_image_is_refused(back, side):
    with pytest.raises(GuaranteeError, match=r"by an estimate from above \d+ %, as a fault at a few pixels would"):
        check_adjoint(in_numpy(back), torch.zeros(1, 1, side, side))


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("side", [1, 2, 64, 256])
def test_an_exact_black_box_passes_in_both_precisions(side, single):
    pair, example = in_numpy(smooth, single), torch.zeros(1, 1, side, side)
    assert check_adjoint(pair, example).value < 1e-6
    found = adjoint_gap_upper(pair, example)
    assert found.value <= found.error
    assert found.error < (1e-2 if single else 1e-10)
    assert "rounding alone gives up to" in found.how


@pytest.mark.parametrize("unit", [1e-25, 1e20])
def test_the_gap_does_not_depend_on_the_unit_of_a_measurement(unit):
    def scaled(linear):
        return lambda x: unit * linear(x)

    good, bad = in_numpy(smooth), in_numpy(one_pixel)
    example = torch.zeros(1, 1, 32, 32)
    assert check_adjoint(Pair(scaled(good.A), scaled(good.A_adjoint)), example).value < 1e-6
    with pytest.raises(GuaranteeError, match="differs"):
        check_adjoint(Pair(scaled(bad.A), scaled(bad.A_adjoint)), example)


@pytest.mark.parametrize(
    "curve",
    [
        lambda x: x - 0.1 * x.mean().square(),
        lambda x: x * (1 if x.mean() < 1 else 2),
        lambda x: x.clamp(max=12.0),
    ],
)
def test_a_map_that_is_linear_for_images_without_a_mean_only_is_named(curve):
    with pytest.raises(UsageError, match="images u and w with a mean"):
        adjoint_gap(Pair(curve, lambda y: y), torch.zeros(1, 1, 64, 64))
