"""Two factors with given supports, and palm4MSA."""

import pytest
import torch

from recon.errors import UsageError
from recon.factorization import Status, fixed_support, largest_entries, largest_of_lines, on_support, palm4msa


def draw(*shape: int, seed: int = 0, kind: torch.dtype = torch.complex128) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=kind)


def supports() -> tuple[torch.Tensor, torch.Tensor]:
    """Of four rank-one matrices on the four quarters of 6 x 6."""
    halves = torch.zeros(6, 2, dtype=torch.bool)
    halves[:3, 0] = halves[3:, 1] = True
    return halves[:, [0, 0, 1, 1]], halves.T[[0, 1, 0, 1]]


def test_disjoint_supports_are_recovered_up_to_scaling():
    left, right = supports()
    first, second = draw(6, 4) * left, draw(4, 6, seed=1) * right
    found = fixed_support(first @ second, left, right)
    assert found.status is Status.EXACT
    assert found.error < 1e-14
    scale = (first.conj() * found.left).sum(0) / (first.conj() * first).sum(0)
    torch.testing.assert_close(first * scale, found.left)
    torch.testing.assert_close(second / scale[:, None], found.right)


def test_noise_leaves_the_best_of_these_supports():
    left, right = supports()
    matrix = draw(6, 6)
    found = fixed_support(matrix, left, right)
    assert found.status is Status.OPTIMAL
    quarters = matrix.reshape(2, 3, 2, 3).permute(0, 2, 1, 3).reshape(4, 3, 3)
    best = torch.linalg.svdvals(quarters).square()[:, 1:].sum().sqrt() / torch.linalg.matrix_norm(matrix)
    assert found.error == pytest.approx(float(best))


def test_equal_supports_are_exact_and_not_identifiable():
    left, right = torch.ones(5, 2, dtype=torch.bool), torch.ones(2, 4, dtype=torch.bool)
    found = fixed_support(draw(5, 2) @ draw(2, 4, seed=1), left, right)
    assert found.status is Status.NOT_IDENTIFIABLE
    assert found.error < 1e-14


def test_supports_that_overlap_and_differ_are_named_and_heuristic():
    left, right = supports()
    left = left.clone()
    left[3, 0] = True
    first, second = draw(6, 4) * left, draw(4, 6, seed=1) * right
    found = fixed_support(first @ second, left, right)
    assert found.status is Status.HEURISTIC
    assert "supports 0 and 2" in found.reason
    assert found.error < 0.1
    assert not bool(found.left[~left].any() or found.right[~right].any())


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (torch.ones(6, 2), torch.ones(2, 6, dtype=torch.bool), "boolean"),
        (torch.ones(5, 2, dtype=torch.bool), torch.ones(2, 6, dtype=torch.bool), r"\(5, 2\) and \(2, 6\)"),
    ],
)
def test_supports_that_do_not_fit_are_refused(left, right, message):
    with pytest.raises(UsageError, match=message):
        fixed_support(draw(6, 6), left, right)


@pytest.mark.parametrize("kind", [torch.float64, torch.complex128])
def test_each_sweep_of_palm4msa_lowers_the_objective(kind):
    matrix = draw(8, 8, kind=kind)
    start = [draw(8, 8, seed=seed, kind=kind) for seed in (1, 2, 3)]
    start = [each / torch.linalg.vector_norm(each) for each in start]
    kept = [largest_entries(30), largest_of_lines(3), on_support(torch.ones(8, 8, dtype=torch.bool).tril())]
    fit = palm4msa(matrix, start, kept, 40)
    assert all(
        after <= before * (1 + 1e-12) for before, after in zip(fit.objective[1:], fit.objective[2:], strict=False)
    )
    assert fit.objective[-1] < 0.5 * float(torch.linalg.vector_norm(matrix).square()) / 2
    assert int((fit.factors[0] != 0).sum()) <= 30
    assert all(float(torch.linalg.vector_norm(factor)) == pytest.approx(1) for factor in fit.factors)
    assert fit.objective[-1] == pytest.approx(float(torch.linalg.vector_norm(matrix - fit.product).square()) / 2)


def test_projections_keep_the_largest_moduli_with_their_phases():
    matrix = torch.tensor([[3j, 1.0], [-2.0, 0.5]], dtype=torch.complex128)
    assert torch.equal(largest_entries(2)(matrix), torch.tensor([[3j, 0], [-2.0, 0]], dtype=torch.complex128))
    assert torch.equal(largest_of_lines(1)(matrix), torch.tensor([[3j, 1], [-2.0, 0]], dtype=torch.complex128))
