"""The bounds of arms: never below what a group can do, and reached where they say so."""

import math

import pytest
import torch
from torch import Tensor

from recon.certificates.sensitivity import (
    arm_bound,
    contraction_arm_bound,
    convolution_arm_bound,
    given_or_none,
    group_norms,
    isometric_arm_bound,
    linear_arm_bounds,
    mismatched_arm_bound,
    near_adjoint_arm_bound,
    sharp_arm_bound,
)
from recon.evidence import Evidence, Measured, Proved
from recon.priors import soft_threshold, tikhonov

ZERO = Proved(0.0, "nothing is known")


def proved(value: float) -> Proved:
    return Proved(value, "of the test")


def drawn(seed: int, rows: int = 12, columns: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scales = torch.rand(rows, 1, generator=generator, dtype=torch.float64) ** 2
    return scales * torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def norm(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, 2))


def steepest(A: Tensor, part: Tensor, m: float) -> float:
    """The largest ||A_K u|| / (||A u||^2 + m) that an ascent from many starts finds."""
    u = torch.randn(200, A.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    optimiser = torch.optim.Adam([u], 0.03)
    best = 0.0
    for _ in range(400):
        unit = u / u.norm(dim=1, keepdim=True)
        quotients = (unit @ part.T).norm(dim=1) / ((unit @ A.T).square().sum(1) + m)
        best = max(best, float(quotients.detach().max()))
        optimiser.zero_grad()
        (-quotients.sum()).backward()
        optimiser.step()
    return best


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("m", [1e-3, 0.03, 1.0])
def test_the_sharp_bound_is_reached_and_the_simple_one_is_no_smaller(seed: int, m: float) -> None:
    A, rows = drawn(seed), torch.arange(12) < 3
    sharp = sharp_arm_bound(A, rows, proved(m)).value
    simple = arm_bound(proved(norm(A[rows])), ZERO, proved(m)).value
    found = steepest(A, A[rows], m)
    assert found <= sharp * (1 + 1e-12)
    assert sharp <= found * (1 + 2e-3)
    assert sharp <= simple * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_no_monotone_matrix_goes_beyond(seed: int) -> None:
    """The derivative (A^T A + m + L)^-1 A_K^T for monotone L, symmetric or not."""
    A, m = drawn(seed), 0.2
    rows = torch.arange(12) < 4
    sharp = sharp_arm_bound(A, rows, proved(m)).value
    eye = torch.eye(6, dtype=torch.float64)
    for trial in range(40):
        square = drawn(100 * seed + trial, 6, 6) * 10 ** (trial % 5 - 2)
        L = square @ square.T + (square - square.T) * (trial % 2)
        assert norm(torch.linalg.solve(A.T @ A + m * eye + L, A[rows].T)) <= sharp * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_a_data_term_that_is_strongly_monotone_bounds_by_itself(seed: int) -> None:
    A, rows = drawn(seed, 20), torch.arange(20) < 4
    least = float(torch.linalg.eigvalsh(A.T @ A)[0])
    for m in (0.0, least / 10, 10 * least):
        bound = arm_bound(proved(norm(A[rows])), proved(least), proved(m))
        S = A.T @ A + m * torch.eye(6, dtype=torch.float64)
        assert norm(torch.linalg.solve(S, A[rows].T)) <= bound.value * (1 + 1e-12)


def test_what_the_values_are() -> None:
    assert arm_bound(proved(5.0), ZERO, proved(4.0)).value == pytest.approx(0.25)
    assert arm_bound(proved(1.0), ZERO, proved(4.0)).value == pytest.approx(0.2)
    assert arm_bound(proved(2.0), proved(9.0), proved(1.0)).value == pytest.approx(0.2)
    assert arm_bound(proved(0.0), ZERO, ZERO).value == 0
    assert mismatched_arm_bound(proved(3.0), proved(-1.0), proved(2.5)).value == pytest.approx(2.0)


def test_without_strong_monotonicity_there_is_no_bound() -> None:
    assert math.isinf(arm_bound(proved(1.0), ZERO, ZERO).value)
    assert math.isinf(arm_bound(proved(1.0), proved(1.0), proved(-1.0)).value)  # the prior need not be monotone
    assert math.isinf(mismatched_arm_bound(proved(1.0), proved(-1.0), proved(1.0)).value)
    assert math.isinf(sharp_arm_bound(drawn(0), torch.arange(12) < 3, ZERO).value)
    assert math.isinf(contraction_arm_bound(proved(1.0), soft_threshold(0.1).properties, proved(1.0), 0.5).value)


def test_evidence_is_that_of_the_weakest() -> None:
    assert arm_bound(proved(1.0), ZERO, proved(1.0)).evidence is Evidence.PROVED
    assert arm_bound(Measured(1.0, "seen", 0.1), ZERO, proved(1.0)).evidence is Evidence.MEASURED
    measured = arm_bound(Measured(1.0, "seen", 0.1), ZERO, proved(4.0))
    assert measured.value == pytest.approx(1.1 / (1.1**2 + 4))


@pytest.mark.parametrize("seed", range(6))
def test_a_mismatched_pair(seed: int) -> None:
    """Against the derivative with the linear monotone operator m Id plus a rotation, and as a contraction."""
    A = drawn(seed)
    K = (A + 0.2 * drawn(seed + 50)).T
    rows = torch.arange(12) < 4
    low = float(torch.linalg.eigvalsh((K @ A + (K @ A).T) / 2)[0])
    m = 0.5 + max(0.0, -2 * low)
    turned = drawn(seed + 7, 6, 6)
    L = m * torch.eye(6, dtype=torch.float64) + turned - turned.T
    bound = mismatched_arm_bound(proved(norm(K[:, rows])), proved(low), proved(m)).value
    assert norm(torch.linalg.solve(K @ A + L, K[:, rows])) <= bound * (1 + 1e-12)
    s = 0.9 / norm(K @ A)
    residual = norm(torch.eye(6, dtype=torch.float64) - s * K @ A)
    contraction = contraction_arm_bound(proved(norm(K[:, rows])), tikhonov(s * m).properties, proved(residual), s).value
    with_scaled_identity = torch.linalg.solve(K @ A + m * torch.eye(6, dtype=torch.float64), K[:, rows])
    assert norm(with_scaled_identity) <= contraction * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("far", [0.0, 0.03, 0.3])
@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_a_surrogate_near_the_adjoint(seed: int, far: float, shift: float) -> None:
    A = drawn(seed)
    K = (A + far * drawn(seed + 50)).T
    rows, eye = torch.arange(12) < 4, torch.eye(6, dtype=torch.float64)
    low = float(torch.linalg.eigvalsh((K @ A + (K @ A).T) / 2)[0]) + shift
    gap = norm(K - A.T)
    for m in (1e-2, 0.3, 3.0):
        bound = near_adjoint_arm_bound(proved(gap), proved(low), proved(m), shift).value
        if m + low <= 1e-9:
            assert math.isinf(bound)
            continue
        assert math.isfinite(bound)
        for turn in (0.0, 1.0, 5.0):
            turned = turn * drawn(seed + 7, 6, 6)
            L = (m + shift) * eye + turned - turned.T
            assert norm(torch.linalg.solve(K @ A + L, K[:, rows])) <= bound * (1 + 1e-12)
        if not (far or shift):
            whole = arm_bound(proved(math.inf), proved(low), proved(m)).value
            assert bound == pytest.approx(whole, rel=1e-6)


def test_norms_of_groups_are_bounds() -> None:
    A = drawn(0).abs()
    masks = torch.zeros(4, 12, dtype=torch.float64)
    for k in range(4):
        masks[k, 3 * k : 3 * k + 3] = 1
    found = group_norms(lambda p: masks * (p @ A.T), lambda q: (masks * q) @ A, torch.ones(4, 6, dtype=torch.float64))
    for k, bound in enumerate(found):
        exact = norm(A[3 * k : 3 * k + 3])
        assert exact <= bound.value <= 1.1 * exact


def test_a_bound_that_rests_on_rounding_is_none_and_says_why() -> None:
    """A transfer function that vanishes but for 1e-9, whose bound would be 5e8."""
    arm = arm_bound(Proved(1.0, ""), Proved(1e-18, ""), Proved(0.0, ""))
    assert arm.value > 1e8
    none = given_or_none(arm, 1.0)
    assert math.isinf(none.value)
    assert "says nothing" in none.how
    for value, norm in ((2.0, 1.0), (1e5, 1.0), (1e8, 1e-4), (math.inf, 1.0)):
        assert given_or_none(Proved(value, "as it was"), norm) == Proved(value, "as it was")


@pytest.mark.parametrize("m", [0.01, 0.3])
def test_arms_of_linear_solutions_are_those_of_the_dense_inverse(m: float) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(20, 12, dtype=torch.float64)
    prior = Proved(m, "")
    inverse = torch.linalg.solve(matrix.T @ matrix + m * torch.eye(12, dtype=torch.float64), matrix.T)
    groups = [torch.arange(20) < 5, torch.arange(20) >= 17, torch.zeros(20, dtype=torch.bool)]
    for rows, arm in zip(groups, linear_arm_bounds(matrix, groups, prior), strict=True):
        exact = float(torch.linalg.matrix_norm(inverse[:, rows], 2)) if bool(rows.any()) else 0.0
        assert exact * (1 - 1e-12) <= arm.value <= exact * (1 + 1e-6)
        assert arm.evidence is Evidence.PROVED
    assert all(math.isinf(arm.value) for arm in linear_arm_bounds(matrix, groups, Proved(0.0, "")))
    orthogonal = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64)).Q[:7]
    (arm,) = linear_arm_bounds(orthogonal, [torch.arange(7) < 3], prior)
    assert arm.value == pytest.approx(isometric_arm_bound(prior).value, rel=1e-6)


@pytest.mark.parametrize("block", [(3, 2), (1, 1), (8, 6)])
def test_arms_of_a_circular_convolution_are_those_of_its_matrix(block: tuple[int, int]) -> None:
    torch.manual_seed(0)
    kernel, shape, m = torch.rand(3, 3, dtype=torch.float64) / 9, (8, 6), 0.05
    symbol = torch.fft.rfft2(kernel, s=shape)
    unit = torch.eye(48, dtype=torch.float64).view(48, *shape)
    matrix = torch.fft.irfft2(torch.fft.rfft2(unit) * symbol, s=shape).flatten(1).T
    rows = torch.zeros(shape, dtype=torch.bool)
    rows[: block[0], : block[1]] = True
    (exact,) = linear_arm_bounds(matrix, [rows.flatten()], Proved(m, ""))
    arm = convolution_arm_bound(symbol, 0.0, block, shape, Proved(m, ""))
    assert exact.value * (1 - 1e-6) <= arm.value <= exact.value * (1 + 1e-6)
    assert convolution_arm_bound(symbol, 1e-3, block, shape, Proved(m, "")).value > arm.value
