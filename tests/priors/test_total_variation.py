"""Finite differences, and total variation: known answers, independent references, the promise of accuracy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor

from recon.errors import GuaranteeError, UsageError
from recon.operators.base import Characterised
from recon.priors import (
    FiniteDifferences,
    conjugate,
    soft_threshold,
    total_variation,
    total_variation_prior,
    total_variation_split,
    total_variation_value,
)

kinds = pytest.mark.parametrize("isotropic", [True, False], ids=["isotropic", "anisotropic"])


def norm(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)


def signal(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def blocks(seed: int, *batch: int, size: tuple[int, int] = (16, 16), noise: float = 0.1) -> Tensor:
    """Noisy piecewise constant images in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(*batch, 4, 4, generator=generator, dtype=torch.float64)
    clean = torch.nn.functional.interpolate(coarse, size=size, mode="nearest")
    return clean + noise * torch.randn(clean.shape, generator=generator, dtype=torch.float64)


# Finite differences


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        *(((h, w), None) for h, w in [(1, 1), (1, 5), (4, 1), (2, 2), (3, 7), (8, 5)]),
        ((4, 3), (0.5, 3.0)),
        ((1, 1, 4), None),
        ((3, 4, 5), None),
        ((4, 2, 3), (2.5, 1.0, 1.0)),
        ((2, 2, 3, 2), (1.0, 0.3, 2.0, 1.0)),
    ],
    ids=str,
)
def test_the_norm_is_that_of_the_dense_matrix(shape: tuple[int, ...], spacing: tuple[float, ...] | None) -> None:
    differences = FiniteDifferences(shape, spacing)
    unit = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    matrix = differences.A(unit).flatten(1).T
    truth = float(torch.linalg.matrix_norm(matrix, 2))
    assert differences.properties.norm.value == pytest.approx(truth, abs=1e-12)
    assert truth <= FiniteDifferences((-1,) * len(shape), spacing).properties.norm.value
    fields = torch.eye(matrix.shape[0], dtype=torch.float64).view(-1, len(shape), *shape)
    back = differences.A_adjoint(fields).flatten(1).T
    assert torch.equal(back, matrix.T)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128], ids=str)
def test_finite_differences_take_any_leading_dimensions_and_size(dtype: torch.dtype) -> None:
    differences = FiniteDifferences()
    assert isinstance(differences, Characterised)
    x, y = torch.randn(2, 3, 5, 6, dtype=dtype), torch.randn(2, 3, 2, 5, 6, dtype=dtype)
    assert differences.A(x).shape == y.shape
    assert differences.A_adjoint(y).dtype == dtype
    left, right = (
        torch.vdot(y.flatten(), differences.A(x).flatten()),
        torch.vdot(differences.A_adjoint(y).flatten(), x.flatten()),
    )
    assert torch.allclose(left, right, rtol=1e-4)


def test_finite_differences_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0], [5.0, 9.0]])
    assert torch.equal(
        FiniteDifferences((2, 2)).A(x), torch.tensor([[[4.0, 7.0], [0.0, 0.0]], [[1.0, 0.0], [4.0, 0.0]]])
    )


def test_finite_differences_refuse_another_shape() -> None:
    with pytest.raises(UsageError, match=r"the image has shape \(1, 1, 3, 4\); expected \(..., \(4, 4\)\)"):
        FiniteDifferences((4, 4)).A(torch.zeros(1, 1, 3, 4))
    with pytest.raises(
        UsageError, match=r"the field of differences has shape \(1, 3, 4\); expected \(..., \(2, -1, -1\)\)"
    ):
        FiniteDifferences().A_adjoint(torch.zeros(1, 3, 4))
    with pytest.raises(UsageError, match=r"image_shape=\(0, 4\)"):
        FiniteDifferences((0, 4))
    with pytest.raises(UsageError, match=r"spacing=\(1.0, 1.0\) with images of 3 axes"):
        FiniteDifferences((2, 3, 4), (1.0, 1.0))
    with pytest.raises(UsageError, match=r"spacing=\(0.0, 1.0\)"):
        FiniteDifferences((2, 3), (0.0, 1.0))


# The value


def test_the_value_of_an_edge_a_corner_and_a_constant() -> None:
    corner = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    corner[..., :2, :2] = 3.0  # two edges of two pixels; at the corner pixel both differences meet
    assert total_variation_value(corner, isotropic=False).item() == pytest.approx(12.0)
    assert total_variation_value(corner).item() == pytest.approx(3 * (2 + math.sqrt(2)))
    assert total_variation_value(torch.full((2, 3, 5, 5), 7.0)).tolist() == [0.0, 0.0]


def test_the_value_joins_channels_and_complex_parts() -> None:
    edge = signal(0.0, 1.0).expand(1, 2, 1, 2)
    assert total_variation_value(edge).item() == pytest.approx(2.0)
    assert total_variation_value(edge, joint=True).item() == pytest.approx(math.sqrt(2))
    assert total_variation_value(torch.complex(3 * edge, 4 * edge), isotropic=False).item() == pytest.approx(10.0)


# The proximity operator: closed forms


@kinds
@pytest.mark.parametrize("weight", [0.1, 1.0, 10.0])
def test_two_pixels_move_towards_each_other_and_stop_when_they_meet(isotropic: bool, weight: float) -> None:
    move = min(weight, 1.5)
    for x, expected in [(signal(1, 4), signal(1 + move, 4 - move)), (signal(4, 1), signal(4 - move, 1 + move))]:
        prox = total_variation(weight, isotropic, accuracy=1e-6)
        assert torch.allclose(prox(x), expected, atol=1e-5)
        assert torch.allclose(prox(x.mT.contiguous()), expected.mT, atol=1e-5)


def test_a_step_moves_by_the_weight_over_the_length_of_each_side() -> None:
    x = signal(0, 0, 0, 0, 1, 1)
    expected = signal(0.05, 0.05, 0.05, 0.05, 0.9, 0.9)
    assert torch.allclose(total_variation(0.2, accuracy=1e-7)(x), expected, atol=1e-6)


def test_a_square_shrinks_by_its_perimeter_over_its_area() -> None:
    """A square of side a falls by 4 a w / a^2, and what it loses goes to the background."""
    x = torch.zeros(1, 1, 12, 12, dtype=torch.float64)
    x[..., 4:8, 4:8] = 1.0
    z = total_variation(0.1, isotropic=False, accuracy=1e-6)(x)
    assert torch.allclose(z[..., 4:8, 4:8], torch.full((4, 4), 1 - 0.1 * 16 / 16, dtype=torch.float64), atol=1e-4)
    assert (z.sum() - z[..., 4:8, 4:8].sum()).item() == pytest.approx(0.1 * 16, abs=1e-3)


@kinds
@settings(max_examples=15, deadline=None)
@given(values=st.lists(st.floats(-1, 1), min_size=2, max_size=8), weight=st.floats(0.01, 1))
def test_one_dimensional_signals_satisfy_the_taut_string(isotropic: bool, values: list[float], weight: float) -> None:
    """z is the prox if and only if the running sums of x - z stay in [-w, w] and touch them where z jumps."""
    x = signal(*values)
    accuracy = 1e-6
    z = total_variation(weight, isotropic, accuracy=accuracy)(x)
    slack = 10 * accuracy * (float(x.norm()) + 1)
    string = (x - z).flatten().cumsum(0)
    assert abs(string[-1]) < slack
    assert string.abs().max() <= weight + slack
    jumps = z.flatten().diff()
    steep = jumps.abs() > 100 * slack
    assert torch.allclose(string[:-1][steep], -weight * jumps[steep].sign(), atol=slack + 1e-4)


def volume(*values: float, axis: int) -> Tensor:
    """A volume that changes along one axis, the same across."""
    line = torch.tensor(values, dtype=torch.float64).view([-1 if place == axis else 1 for place in range(3)])
    return line.expand([len(values) if place == axis else 2 for place in range(3)])[None, None].contiguous()


@kinds
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_step_in_a_volume_moves_by_the_weight_over_the_distance_of_its_slices(isotropic: bool, axis: int) -> None:
    spacing = (2.5, 1.0, 1.0)
    x = volume(0, 0, 0, 0, 1, 1, axis=axis)
    low, high = 0.2 / spacing[axis] / 4, 1 - 0.2 / spacing[axis] / 2
    expected = volume(low, low, low, low, high, high, axis=axis)
    z = total_variation(0.2, isotropic, accuracy=1e-7, spacing=spacing)(x)
    assert torch.allclose(z, expected, atol=1e-6)
    value = total_variation_value(x, isotropic, spacing=spacing)
    assert value.item() == pytest.approx(4 / spacing[axis])


def test_a_volume_is_flattened_as_a_whole_and_not_slice_by_slice() -> None:
    x = blocks(7, 2, 3, size=(8, 8)).unsqueeze(1)
    flat = total_variation(100.0, accuracy=1e-6, spacing=(2.0, 1.0, 1.0))(x)
    assert torch.allclose(flat, x.mean((-3, -2, -1), keepdim=True).expand_as(x), atol=1e-9)


def test_the_split_of_a_volume_has_the_value_and_the_projection_of_the_penalty() -> None:
    """``g(D x) = w TV(x) = max <p, D x>`` over the balls on which the conjugate's resolvent projects."""
    x, spacing = blocks(8, 1, 5, size=(6, 7)).unsqueeze(1), (0.4, 1.0, 1.0)
    prior = total_variation_prior(0.3, image_shape=(5, 6, 7), spacing=spacing)
    assert prior.split is not None and prior.value is not None
    differences = prior.split.operator.A(x)
    p = prior.split.conjugate_resolvent(1.0)(1e9 * differences)
    assert p.norm(dim=-4).max() <= 0.3 + 1e-12
    assert float((p * differences).sum()) == pytest.approx(prior.value(x).item(), rel=1e-6)


# The proximity operator: references and the promise


def test_agrees_with_scikit_image_on_a_volume() -> None:
    x = blocks(9, 1, 8, size=(9, 10)).unsqueeze(1)
    theirs = denoise_tv_chambolle(x[0, 0].numpy(), weight=0.1, eps=1e-14, max_num_iter=20_000)
    prox = total_variation(0.1, accuracy=1e-5, spacing=(1.0, 1.0, 1.0))
    assert np.abs(prox(x)[0, 0].numpy() - theirs).max() < 3e-4
    assert torch.allclose(prox(x.float()).double(), prox(x), atol=1e-3)


@pytest.mark.parametrize("weight", [0.05, 0.15])
def test_agrees_with_scikit_image(weight: float) -> None:
    x = blocks(0, 1, 1)
    theirs = denoise_tv_chambolle(x[0, 0].numpy(), weight=weight, eps=1e-14, max_num_iter=20_000)
    ours = total_variation(weight, accuracy=1e-5)(x)[0, 0].numpy()
    assert np.abs(ours - theirs).max() < 2e-4


@kinds
@pytest.mark.parametrize("weight", [0.02, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_accuracy_is_kept(isotropic: bool, weight: float, dtype: torch.dtype) -> None:
    x = torch.cat([blocks(1, 1, 2), 40 * blocks(2, 1, 2), blocks(3, 1, 2, noise=0.01)]).to(dtype)
    reference = total_variation(weight, isotropic, accuracy=1e-7, max_steps=100_000)(x.double())
    for accuracy in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        error = norm(total_variation(weight, isotropic, accuracy)(x).double() - reference) / norm(x.double())
        assert error.max() <= accuracy + 1e-7 + (1e-7 if dtype == torch.float32 else 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_budget_that_is_too_small_is_never_passed_off_as_accurate(dtype: torch.dtype) -> None:
    x = torch.cat([torch.ones(1, 1, 16, 16), blocks(4, 1, 1)]).to(dtype)
    message = (
        r"after 3 dual steps the relative error of item 1 is only known to be below 0\.\d+; expected accuracy=1e-05"
    )
    with pytest.raises(GuaranteeError, match=message):
        total_variation(0.2, accuracy=1e-5, max_steps=3)(x)


def test_single_precision_images_reach_what_single_precision_arithmetic_cannot() -> None:
    """At the level of 1e4 a single-precision difference is off by 1e-3; the gap must close to (1e-6 |x|)^2."""
    x = (blocks(5, 1, 1) + 1e4).float()
    z = total_variation(0.1, accuracy=1e-8)(x)
    assert z.dtype == torch.float32
    reference = total_variation(0.1, accuracy=1e-5)(x.double() - 1e4) + 1e4
    assert norm(z.double() - reference) <= 1e-7 * norm(x)


@pytest.mark.parametrize("accuracy", [0.0, 1.0, -1.0, math.nan])
def test_a_meaningless_accuracy_is_refused(accuracy: float) -> None:
    with pytest.raises(UsageError, match=rf"accuracy={accuracy!r}; expected a number between 0 and 1"):
        total_variation(0.1, accuracy=accuracy)


@pytest.mark.parametrize("make", [total_variation, total_variation_prior])
def test_a_budget_of_no_steps_is_refused(make: type) -> None:
    with pytest.raises(UsageError, match="max_steps=0; expected at least 1"):
        make(0.1, max_steps=0)


@pytest.mark.parametrize("x", [torch.zeros(4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.int64)], ids=["2-D", "integer"])
def test_what_is_not_a_batch_of_images_is_refused(x: Tensor) -> None:
    with pytest.raises(UsageError, match=r"expected real or complex \(batch, channels, height, width\)"):
        total_variation(0.1)(x)


# The proximity operator: laws


@kinds
def test_constants_stay_and_means_are_kept(isotropic: bool) -> None:
    prox = total_variation(0.2, isotropic, accuracy=1e-5)
    constant = torch.full((1, 2, 9, 7), 0.3)
    assert torch.equal(prox(constant), constant)
    x = blocks(6, 2, 3)
    assert torch.allclose(prox(x).mean((-2, -1)), x.mean((-2, -1)), atol=1e-12)
    assert torch.allclose(prox(x + 5), prox(x) + 5, atol=1e-3)


@kinds
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("size", [1.0, 1e-20])
def test_a_weight_far_above_the_image_gives_the_means(isotropic: bool, joint: bool, size: float) -> None:
    x = size * blocks(7, 2, 3)
    means = x.mean((-2, -1), keepdim=True).expand_as(x)
    prox = total_variation(100.0, isotropic, accuracy=1e-8, max_steps=1, joint=joint)
    assert torch.allclose(prox(x), means, rtol=1e-12, atol=0)
    assert not torch.allclose(total_variation(0.5 * size, isotropic, joint=joint)(x), means, rtol=1e-2, atol=0)


@kinds
def test_is_equivariant(isotropic: bool) -> None:
    x = blocks(8, 2, 2)
    prox = total_variation(0.1, isotropic, accuracy=2e-5)
    z = prox(x)
    assert torch.allclose(prox(x.mT), z.mT, atol=5e-4)
    assert torch.allclose(prox(-x), -z, atol=5e-4)
    assert torch.allclose(prox(x.flip(1)), z.flip(1), atol=5e-4)
    assert torch.allclose(total_variation(0.3, isotropic, accuracy=2e-5)(3 * x), 3 * z, atol=5e-4)
    if not isotropic:  # forward differences know left from right in the isotropic norm
        assert torch.allclose(prox(x.flip(-1)), z.flip(-1), atol=5e-4)


@kinds
def test_joint_channels_and_complex_images(isotropic: bool) -> None:
    x = blocks(9, 2, 1)
    plain = total_variation(0.1, isotropic, accuracy=2e-5)(x)
    twice = torch.cat([x, x], 1)
    joint = total_variation(0.1 * math.sqrt(2), isotropic, accuracy=2e-5, joint=True)(twice)
    assert torch.allclose(joint, torch.cat([plain, plain], 1), atol=5e-4)
    phase = torch.exp(torch.tensor(0.7j, dtype=torch.complex128))
    rotated = total_variation(0.1, isotropic, accuracy=2e-5)(phase * x)
    assert torch.allclose(rotated, phase * plain, atol=5e-4)
    apart = total_variation(0.1, isotropic, accuracy=2e-5)(twice)
    assert torch.allclose(apart, torch.cat([plain, plain], 1), atol=5e-4)


def test_images_with_depth_are_batches_of_slices() -> None:
    x = blocks(10, 2, 3)
    assert torch.allclose(total_variation(0.2)(x[:, 0]), total_variation(0.2)(x)[:, 0], atol=1e-3)
    assert torch.allclose(total_variation(0.2)(x.unsqueeze(1)), total_variation(0.2)(x).unsqueeze(1))


# The splitting


def test_the_dual_resolvent_is_that_of_the_conjugate_of_the_norm() -> None:
    p = torch.randn(2, 3, 2, 5, 6, dtype=torch.float64)
    split = total_variation_split(0.4, isotropic=False)
    for sigma in (0.1, 3.0):
        assert torch.allclose(split.conjugate_resolvent(sigma)(p), conjugate(soft_threshold(0.4 / sigma), sigma)(p))


@pytest.mark.parametrize("joint", [False, True])
def test_the_isotropic_dual_resolvent_projects_each_vector(joint: bool) -> None:
    p = torch.randn(2, 3, 2, 5, 6, dtype=torch.float64)
    project = total_variation_split(0.4, joint=joint).conjugate_resolvent(1.0)
    once = project(p)
    lengths = once.norm(dim=(1, 2) if joint else 2)
    assert lengths.max() <= 0.4 + 1e-12
    assert torch.allclose(project(once), once)
    assert torch.allclose(project(0.1 * once), 0.1 * once)
    assert torch.equal(total_variation_split(0.0).conjugate_resolvent(1.0)(p), torch.zeros_like(p))


@kinds
@pytest.mark.parametrize("joint", [False, True])
def test_the_split_and_the_proximity_operator_are_the_same_penalty(isotropic: bool, joint: bool) -> None:
    """Projected gradient on the dual, written with the split alone, ends at the proximity operator."""
    prior = total_variation_prior(0.1, isotropic, joint=joint, accuracy=1e-5, image_shape=(8, 9))
    assert prior.split is not None
    differences, project = prior.split.operator, prior.split.conjugate_resolvent(1.0)
    x = blocks(11, 2, 2, size=(8, 9))
    p = torch.zeros_like(differences.A(x))
    for _ in range(3000):
        p = project(p + differences.A(x - differences.A_adjoint(p)) / 8)
    assert norm(x - differences.A_adjoint(p) - prior.resolvent(1.0)(x)).max() < 1e-3
    assert prior.value is not None
    assert torch.allclose(prior.value(x), 0.1 * total_variation_value(x, isotropic, joint))
