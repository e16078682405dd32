"""Total variation with the mask of a guide: the mask, and the same promises as without one."""

import pickle
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recon.errors import GuaranteeError, UsageError
from recon.priors import (
    GuidedPrior,
    Prior,
    guided_total_variation_prior,
    total_variation,
    total_variation_prior,
    total_variation_split,
    total_variation_value,
)
from recon.priors.edge_mask import BOUNDS, EXPONENT, SHARE, edge_mask
from recon.priors.guided_variation import masked_total_variation_prior
from recon.priors.total_variation import dual_ball

kinds = pytest.mark.parametrize("isotropic", [True, False], ids=["isotropic", "anisotropic"])
joints = pytest.mark.parametrize("joint", [False, True], ids=["apart", "joint"])
SIZE = (9, 8)
ACCURACY = 1e-6


def norm(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)


def random(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def step(*size: int) -> Tensor:
    """0 left of the middle, 1 right of it."""
    x = torch.zeros(1, 1, *size, dtype=torch.float64)
    x[..., size[-1] // 2 :] = 1
    return x


def prior_of(weight: float, mask: Tensor, isotropic: bool = True, joint: bool = False, **options) -> Prior:
    return masked_total_variation_prior(mask, weight, isotropic, joint, accuracy=ACCURACY, **options)


def random_mask(seed: int, *shape: int) -> Tensor:
    return 0.1 + 1.9 * random(seed, *shape)


# The mask


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -3e4, 1e-30, 1e30])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.complex64], ids=str)
def test_a_constant_guide_is_no_guide(smoothing: float, value: float, dtype: torch.dtype) -> None:
    guide = torch.full((2, 3, 6, 7), value if dtype != torch.float16 else min(value, 6e4)).to(dtype)
    mask = edge_mask(guide, smoothing)
    assert torch.equal(mask, torch.ones(2, 1, 6, 7, dtype=mask.dtype))


HOSTILE = {
    "one pixel": torch.ones(1, 1, 1, 1),
    "one pixel wide": random(1, 1, 2, 9, 1),
    "one pixel high": random(2, 1, 1, 1, 9),
    "all but the largest double": torch.tensor([[[[-1.7e308, 1.7e308], [0.0, 1.0]]]], dtype=torch.float64),
    "all but the largest single": torch.tensor([[[[-3.3e38, 3.3e38], [0.0, 1.0]]]]),
    "all but the largest half": torch.tensor([[[[-6.5e4, 6.5e4], [0.0, 1.0]]]], dtype=torch.float16),
    "denormal": 5e-324 * (10 * random(3, 1, 1, 8, 8)).round(),
    "denormal single": (1e-44 * (10 * random(3, 1, 1, 8, 8)).round()).float(),
    "one bright pixel": torch.zeros(1, 1, 64, 64).index_put_((torch.tensor(0),) * 4, torch.tensor(1e30)),
    "checkerboard": (torch.arange(64) % 2).view(1, 1, 1, 64).expand(1, 1, 65, 64).double(),
    "flat but for rounding": (1e6 + torch.arange(64).view(1, 1, 8, 8) % 2 * 0.06).float(),
    "brain float": random(4, 2, 3, 8, 8).bfloat16(),
}


@pytest.mark.parametrize("smoothing", [0.0, 3.0, 100.0])
@pytest.mark.parametrize("guide", HOSTILE.values(), ids=HOSTILE.keys())
def test_the_mask_of_any_guide_is_within_its_bounds(guide: Tensor, smoothing: float) -> None:
    mask = edge_mask(guide, smoothing)
    low, high = torch.tensor(BOUNDS, dtype=mask.dtype)
    assert mask.shape == (len(guide), 1, *guide.shape[2:])
    assert ((mask >= low) & (mask <= high)).all()
    assert abs(mask.double().mean() - 1) < 0.15


def test_differences_that_may_be_rounding_errors_are_no_edges() -> None:
    flat = edge_mask(HOSTILE["flat but for rounding"], 0.0)
    assert (flat - 1).abs().max() < 0.1
    same_edge = (1e6 + 1000 * step(8, 8)).float()
    assert torch.allclose(edge_mask(same_edge, 0.0), edge_mask(step(8, 8).float(), 0.0), atol=1e-3)


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_mask_does_not_know_the_units_of_the_guide(smoothing: float, channels: int) -> None:
    guide = random(5, 2, channels, 12, 11)
    mask = edge_mask(guide, smoothing)
    for changed in (3000 * guide - 1024, -0.01 * guide, 1e-200 * guide, 1e200 * guide, guide + 1e3):
        assert torch.allclose(edge_mask(changed, smoothing), mask, rtol=1e-9)
    assert torch.allclose(edge_mask((4095 * guide).float(), smoothing).double(), mask, rtol=1e-4)


def test_each_guide_of_a_batch_has_its_own_mask() -> None:
    guides = torch.cat([random(6, 1, 1, *SIZE), 100 * step(*SIZE), torch.ones(1, 1, *SIZE)])
    assert torch.allclose(edge_mask(guides), torch.cat([edge_mask(each[None]) for each in guides]))


def test_the_mask_is_small_where_the_differences_of_a_step_are() -> None:
    mask = edge_mask(step(6, 8), 0.0)[0, 0]
    expected = (1 + 8 / SHARE) ** -EXPONENT  # the mean length is 1/8
    assert torch.allclose(mask[:, 3] / mask[:, 0], torch.full((6,), expected, dtype=torch.float64))
    assert torch.equal(mask[:, :3], mask[:, :1].expand(6, 3))
    assert torch.equal(mask[:, 4:], mask[:, :1].expand(6, 4))


def test_an_edge_of_one_channel_counts_for_all() -> None:
    edge = step(6, 8)
    three = torch.cat([torch.zeros_like(edge), edge, torch.ones_like(edge)], 1)
    assert torch.allclose(edge_mask(three, 0.0), edge_mask(edge, 0.0))


def test_the_phase_of_a_complex_guide_does_not_matter() -> None:
    guide = torch.complex(random(7, 1, 1, *SIZE), random(8, 1, 1, *SIZE))
    turned = guide * torch.exp(torch.tensor(0.7j, dtype=torch.complex128))
    assert torch.allclose(edge_mask(turned, 1.0), edge_mask(guide, 1.0), rtol=1e-9)
    assert torch.allclose(edge_mask(step(*SIZE) * 1j, 0.0), edge_mask(step(*SIZE), 0.0))


def test_the_smoothing_is_a_mean_and_has_the_units_of_the_spacing() -> None:
    guide = random(9, 1, 1, 1, 1, 31)
    wide = edge_mask(guide, 1.0, (1.0, 1.0, 1.0))
    assert torch.allclose(edge_mask(guide, 2.0, (2.0, 2.0, 2.0)), wide)
    assert not torch.allclose(edge_mask(guide, 2.0, (1.0, 1.0, 1.0)), wide)
    far = edge_mask(random(9, 1, 1, 8, 8), 100.0)
    assert (far - 1).abs().max() < 0.02


@pytest.mark.parametrize(
    "guide",
    [
        torch.zeros(8, 8), torch.zeros(1, 8, 8), torch.zeros(1, 1, 2, 8, 8), torch.zeros(1, 1, 8, 8).long(),
        torch.zeros(1, 0, 8, 8), torch.zeros(1, 1, 0, 8),
    ],
    ids=["2-D", "3-D", "5-D", "integer", "no channel", "no row"],
)  # fmt: skip
def test_what_is_no_batch_of_images_is_no_guide(guide: Tensor) -> None:
    with pytest.raises(UsageError, match=r"expected real or complex \(batch, channels, height, width\)"):
        edge_mask(guide)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_guide_that_is_not_finite_is_refused(value: float) -> None:
    guide = random(10, 1, 1, *SIZE)
    guide[0, 0, 2, 3] = value
    with pytest.raises(UsageError, match="pixels that are not finite"):
        guided_total_variation_prior(0.1).given(guide)


# The penalty


@kinds
@joints
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128], ids=str)
def test_the_mask_one_is_total_variation(isotropic: bool, joint: bool, dtype: torch.dtype) -> None:
    x = random(11, 2, 3, *SIZE).to(dtype)
    if dtype.is_complex:
        x = x + 1j * random(12, 2, 3, *SIZE).to(dtype)
    plain = total_variation_prior(0.2, isotropic, 1e-5, joint=joint, image_shape=SIZE)
    guided = guided_total_variation_prior(0.2, isotropic, joint, SIZE, accuracy=1e-5)
    assert guided.unguided == plain
    flat = guided.given(torch.full((1, 1, *SIZE), 0.7))
    error = norm(flat.resolvent(1.5)(x) - plain.resolvent(1.5)(x)) / norm(x)
    assert error.max() < 2 * 1e-5 + 1e-6 * (dtype in {torch.float32, torch.complex64})
    assert plain.value is not None and flat.value is not None
    assert torch.allclose(flat.value(x), plain.value(x))
    assert plain.split is not None and flat.split is not None
    assert flat.split.operator == plain.split.operator
    field = plain.split.operator.A(5 * x)
    project, expected = flat.split.conjugate_resolvent(0.3), plain.split.conjugate_resolvent(0.3)
    assert torch.allclose(project(field), expected(field), atol=1e-6)


@kinds
@joints
def test_a_constant_mask_is_another_weight(isotropic: bool, joint: bool) -> None:
    x = random(13, 2, 2, *SIZE)
    prior = prior_of(0.4, torch.full((1, 1, *SIZE), 0.5, dtype=torch.float64), isotropic, joint)
    plain = total_variation_prior(0.2, isotropic, ACCURACY, joint=joint, image_shape=SIZE)
    assert norm(prior.resolvent(1.0)(x) - plain.resolvent(1.0)(x)).max() < 2 * ACCURACY * norm(x).max()


@kinds
@joints
def test_the_value_is_the_sum_of_the_masked_lengths(isotropic: bool, joint: bool) -> None:
    """The total variation of the pixels one by one, each as the value where the mask is 1 and next to 0 elsewhere."""
    x, mask = random(14, 2, 2, 3, 4), random_mask(15, 2, 1, 3, 4)
    total = torch.zeros(2, dtype=torch.float64)
    for place in range(12):
        only = torch.full((1, 1, 12), 1e-300, dtype=torch.float64)
        only[..., place] = 1
        each = total_variation_value(x, isotropic, joint, mask=only.view(1, 1, 3, 4))
        total += mask.flatten(1)[:, place] * each
    value = prior_of(0.3, mask, isotropic, joint).value
    assert value is not None
    assert torch.allclose(value(x), 0.3 * total)
    assert torch.allclose(value(-2.5 * x + 7), 2.5 * value(x))
    assert (value(x) > 0).all()
    low, high = mask.amin((1, 2, 3)), mask.amax((1, 2, 3))
    plain = 0.3 * total_variation_value(x, isotropic, joint)
    assert ((low * plain <= value(x)) & (value(x) <= high * plain)).all()


@kinds
def test_a_step_of_a_line_moves_by_the_weight_of_its_place(isotropic: bool) -> None:
    x, mask = torch.tensor([0.0, 0, 0, 0, 1, 1]).double().view(1, 1, 1, 6), torch.ones(1, 1, 1, 6).double()
    mask[..., 3] = 0.5  # where the difference across the step is; elsewhere no difference comes about
    z = prior_of(0.2, mask, isotropic).resolvent(1.0)(x)
    expected = torch.tensor([0.025, 0.025, 0.025, 0.025, 0.95, 0.95]).double().view(1, 1, 1, 6)
    assert torch.allclose(z, expected, atol=1e-5)


@kinds
@joints
@pytest.mark.parametrize("masks", [1, 2])
def test_the_split_and_the_resolvent_are_the_same_penalty(isotropic: bool, joint: bool, masks: int) -> None:
    """Projected gradient on the dual, written with the split alone, ends at the proximity operator."""
    prior = prior_of(0.1, random_mask(16, masks, 1, *SIZE), isotropic, joint)
    x = random(17, 2, 2, *SIZE)
    assert norm(by_the_split(prior, x) - prior.resolvent(1.0)(x)).max() < 1e-4
    with_another_radius = prior_of(0.11, random_mask(16, masks, 1, *SIZE), isotropic, joint)
    assert norm(by_the_split(with_another_radius, x) - prior.resolvent(1.0)(x)).min() > 1e-2


def by_the_split(prior: Prior, x: Tensor) -> Tensor:
    assert prior.split is not None
    differences, project = prior.split.operator, prior.split.conjugate_resolvent(1.0)
    p = torch.zeros_like(differences.A(x))
    q = p
    for k in range(2000):
        old, p = p, project(q + differences.A(x - differences.A_adjoint(q)) / 12)
        q = p + k / (k + 4) * (p - old)
    return x - differences.A_adjoint(p)


@kinds
@joints
@pytest.mark.parametrize("weight", [1e-20, 0.3, 1e20])
def test_the_split_projects_each_vector_on_the_ball_of_its_place(isotropic: bool, joint: bool, weight: float) -> None:
    mask, field = random_mask(18, 2, 1, *SIZE), weight * 9 * (random(19, 2, 3, 2, *SIZE) - 0.5)
    project = dual_ball(weight, isotropic, joint, mask=mask)
    axes = [axis for axis, joined in ((1, joint), (2, isotropic)) if joined]
    found = project(field)
    lengths = lambda v: v.norm(dim=axes, keepdim=True) if axes else v.abs()  # noqa: E731
    radii = (weight * mask.unsqueeze(2)).expand_as(lengths(field))
    assert (lengths(found) <= radii * (1 + 1e-12)).all()
    inside = (lengths(field) <= radii).expand_as(field)
    assert torch.allclose(found[inside], field[inside], rtol=1e-12, atol=0)
    assert torch.allclose(lengths(found)[lengths(field) > radii], radii[lengths(field) > radii], rtol=1e-12, atol=0)
    assert (lengths(found) > 0.9 * radii).any()


def test_a_weight_of_zero_is_no_penalty() -> None:
    prior, x = prior_of(0.0, random_mask(20, 1, 1, *SIZE)), random(21, 1, 1, *SIZE)
    assert torch.equal(prior.resolvent(1.0)(x), x)
    assert prior.split is not None
    field = prior.split.operator.A(x)
    assert torch.equal(prior.split.conjugate_resolvent(1.0)(field), torch.zeros_like(field))


@kinds
@joints
@pytest.mark.parametrize("size", [1.0, 1e-20])
def test_a_weight_far_above_the_image_gives_the_means(isotropic: bool, joint: bool, size: float) -> None:
    x, mask = size * random(22, 2, 2, *SIZE), random_mask(23, 2, 1, *SIZE)
    prox = total_variation(100.0, isotropic, accuracy=1e-8, max_steps=1, joint=joint, mask=mask)
    means = x.mean((-2, -1), keepdim=True).expand_as(x)
    assert torch.allclose(prox(x), means, rtol=1e-12, atol=0)


@kinds
def test_an_image_that_a_weak_place_of_the_mask_keeps_from_being_flat_is_not_flattened(isotropic: bool) -> None:
    """With the mask 1 it is flat, with a mask of little weight along its edge it is not: the shortcut must see it."""
    x, mask = step(6, 8), torch.ones(1, 1, 6, 8, dtype=torch.float64)
    assert total_variation(2.1, isotropic, ACCURACY)(x).std() < 1e-12
    mask[..., 3] = 0.1
    z = total_variation(2.1, isotropic, ACCURACY, mask=mask)(x)
    assert torch.allclose(z, 0.5 + (x - 0.5) * (1 - 2 * 0.21 / 4), atol=1e-5)


@kinds
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_accuracy_is_kept(isotropic: bool, dtype: torch.dtype) -> None:
    mask = random_mask(24, 3, 1, 16, 16)
    x = torch.cat([random(25, 1, 2, 16, 16), 40 * random(26, 1, 2, 16, 16), 1 + step(16, 16).expand(1, 2, -1, -1)])
    x = x.to(dtype)
    reference = total_variation(0.1, isotropic, 1e-7, 100_000, mask=mask)(x.double())
    for accuracy in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        found = total_variation(0.1, isotropic, accuracy, mask=mask)(x).double()
        assert (norm(found - reference) / norm(x.double())).max() <= accuracy + 2e-7
    with pytest.raises(GuaranteeError, match="after 3 dual steps"):
        total_variation(0.1, isotropic, 1e-5, 3, mask=mask)(x)


def test_items_end_by_themselves_with_their_own_masks() -> None:
    """Items leave the iteration one by one, so that a mask may come to the wrong one."""
    x = torch.stack([random(seed, 1, 12, 12) * scale for seed, scale in ((27, 1.0), (28, 0.05), (29, 30.0))])
    mask = random_mask(30, 3, 1, 12, 12)
    together = total_variation(0.2, accuracy=ACCURACY, mask=mask)(x)
    for place in range(3):
        alone = total_variation(0.2, accuracy=ACCURACY, mask=mask[place, None])(x[place, None])
        assert norm(together[place, None] - alone) < 2 * ACCURACY * norm(x[place, None])


@kinds
@joints
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 10), distance=st.floats(0.05, 2))
def test_the_resolvent_given_the_guide_is_firmly_nonexpansive(
    isotropic: bool, joint: bool, seed: int, scale: float, distance: float
) -> None:
    resolvent = given_a_guide(seed % 100, isotropic, joint).resolvent(1.0)
    x = scale * random(seed, 1, 2, *SIZE)
    y = x + distance * scale * (random(seed + 1, 1, 2, *SIZE) - 0.5)
    moved, rest = resolvent(x) - resolvent(y), (x - resolvent(x)) - (y - resolvent(y))
    error = 20 * ACCURACY * (norm(x) + norm(y)) * norm(x - y)
    assert (norm(moved) ** 2 + norm(rest) ** 2 <= norm(x - y) ** 2 + error).all()
    assert resolvent.properties.lipschitz_Q.value == 1
    assert "given the guide" in resolvent.properties.proximity.how


def given_a_guide(seed: int, isotropic: bool = True, joint: bool = False) -> Prior:
    guided = guided_total_variation_prior(0.1, isotropic, joint, SIZE, smoothing=0, accuracy=ACCURACY)
    return guided.given(random(seed, 1, 1, *SIZE) ** 3)


@kinds
@joints
def test_no_image_does_better_than_the_proximity_operator(isotropic: bool, joint: bool) -> None:
    x, prior = random(31, 1, 2, *SIZE), given_a_guide(32, isotropic, joint)
    z = prior.resolvent(0.7)(x)
    assert competitor_wins(prior, 0.7, x, z) < 1e-7
    assert competitor_wins(prior, 0.7, x, total_variation(0.07, isotropic, ACCURACY, joint=joint)(x)) > 1e-4


def competitor_wins(prior: Prior, stepsize: float, x: Tensor, z: Tensor) -> float:
    """By how much the best of many images beats z, which no image does where z is the proximity operator.

    Every competitor is worse by at least half its squared distance.
    """
    assert prior.value is not None
    better = prior.resolvent(stepsize)(x)
    competitors = [z + distance * (random(seed, *z.shape) - 0.5) for seed in range(40) for distance in (1e-3, 1e-1)]
    competitors += [z + share * (other - z) for other in (x, better, 0 * x, z.mean() + 0 * x) for share in (0.01, 0.5)]

    def energy(u: Tensor) -> Tensor:
        return stepsize * prior.value(u) + (u - x).square().sum() / 2

    return max(float(energy(z) + (u - z).square().sum() / 2 - energy(u)) for u in competitors)


def test_a_projection_with_the_wrong_radius_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The square of a radius in place of it."""
    module = sys.modules[total_variation.__module__]
    right = module._Balls
    monkeypatch.setattr(module, "_Balls", lambda radius, inverse: right(radius, inverse.square()))
    x, prior = random(31, 1, 2, *SIZE), given_a_guide(32)
    try:
        z = prior.resolvent(0.7)(x)
    except GuaranteeError:
        return  # the gap does not close where the field leaves its balls
    assert competitor_wins(prior, 0.7, x, z) > 1e-4


# Volumes


@kinds
def test_a_volume_has_a_mask_of_three_axes(isotropic: bool) -> None:
    spacing, shape = (2.0, 1.0, 1.0), (4, 5, 6)
    guide, x = random(33, 1, 1, *shape), random(34, 1, 1, *shape)
    guided = guided_total_variation_prior(
        0.1, isotropic, image_shape=shape, spacing=spacing, smoothing=1.0, accuracy=ACCURACY
    )
    prior = guided.given(guide)
    assert prior.mask is not None and prior.mask.low < 1 < prior.mask.high
    assert norm(by_the_split(prior, x) - prior.resolvent(1.0)(x)).max() < 1e-4
    assert competitor_wins(prior, 1.0, x, prior.resolvent(1.0)(x)) < 1e-7
    with pytest.raises(UsageError, match=r"\(batch, channels, slices, height, width\)"):
        guided_total_variation_prior(0.1, spacing=spacing).given(random(35, 1, 1, 5, 6))


# Values and refusals


def test_a_guided_prior_is_a_value() -> None:
    made = guided_total_variation_prior(0.1, joint=True, bounds=(0, 1), image_shape=SIZE)
    back: GuidedPrior = pickle.loads(pickle.dumps(made))  # noqa: S301  our own bytes
    assert back == made
    assert made != guided_total_variation_prior(0.2, joint=True, bounds=(0, 1), image_shape=SIZE)
    assert made != guided_total_variation_prior(0.1, joint=True, bounds=(0, 1), image_shape=SIZE, smoothing=0)
    assert repr(made) == (
        f"guided_total_variation_prior(weight=0.1, joint=True, image_shape=({SIZE[0]}, {SIZE[1]}), bounds=(0, 1))"
    )
    guide = random(36, 1, 1, *SIZE)
    assert made.given(guide) == back.given(guide.clone())
    assert made.given(guide) != made.given(guide.flip(-1))
    assert made.given(guide).constraint == made.unguided.constraint != None  # noqa: E711
    assert "0x" not in repr(made.given(guide))
    assert made.bounds == BOUNDS


@pytest.mark.parametrize("change", [lambda g: g.weighted(2.0), lambda g: g.scaled(255.0)], ids=["weighted", "scaled"])
def test_a_changed_guided_prior_travels_and_gives_changed_priors(change) -> None:
    made = guided_total_variation_prior(0.1, image_shape=SIZE, accuracy=ACCURACY)
    guide, x = random(37, 1, 1, *SIZE), random(38, 1, 1, *SIZE)
    changed, plain = change(made), made.given(guide)
    back = pickle.loads(pickle.dumps(changed)).given(guide)  # noqa: S301  our own bytes
    prior = changed.given(guide)
    assert back == prior
    assert prior.mask is not None and plain.mask is not None
    assert prior.mask.low == pytest.approx(plain.mask.low)
    factor = prior.value(x) / plain.value(x)
    assert torch.allclose(norm(by_the_split(prior, x) - prior.resolvent(1.0)(x)), torch.zeros(1).double(), atol=1e-4)
    assert torch.allclose(prior.resolvent(1.0)(x), plain.resolvent(float(factor))(x), atol=1e-4)
    assert torch.equal(back.resolvent(0.5)(x), prior.resolvent(0.5)(x))


def test_reports_say_that_it_is_given_a_guide() -> None:
    prior = given_a_guide(39)
    assert prior.name == "total variation, given the guide"
    resolvent = prior.resolvent(2.0)
    assert resolvent.name == "total_variation(0.2, isotropic, given the guide)"
    assert resolvent.properties.error.value == ACCURACY
    assert not resolvent.properties.differentiable
    assert resolvent.properties.attains is not None
    assert resolvent.properties.everywhere is not None
    assert prior.mask is not None
    assert BOUNDS[0] <= prior.mask.low < prior.mask.mean < prior.mask.high <= BOUNDS[1]
    assert prior.mask.bounds == BOUNDS


def test_no_gradient_flows_through_the_guide() -> None:
    guide = random(40, 1, 1, *SIZE).requires_grad_()
    prior = guided_total_variation_prior(0.1).given(guide)
    assert prior.value is not None and prior.split is not None
    x = random(41, 1, 1, *SIZE).requires_grad_()
    assert not edge_mask(guide).requires_grad
    prior.value(x).sum().backward()
    assert guide.grad is None
    assert x.grad is not None
    pickle.dumps(prior)


def test_an_image_of_another_size_than_the_guide_is_refused() -> None:
    prior, x = given_a_guide(42), random(43, 1, 2, 9, 9)
    for act in (prior.value, prior.resolvent(1.0)):
        assert act is not None
        with pytest.raises(UsageError, match="take a guide of the size of the image"):
            act(x)
    two = prior_of(0.1, random_mask(44, 2, 1, *SIZE))
    assert two.split is not None
    for act, image in (
        (two.value, random(45, 3, 1, *SIZE)),
        (two.split.conjugate_resolvent(1.0), random(46, 1, 1, 2, *SIZE)),
    ):
        assert act is not None
        with pytest.raises(UsageError, match="one number of images"):
            act(image)
    with pytest.raises(UsageError, match=r"the guide has shape \(1, 1, 9, 9\); expected \(batch, channels, 9, 8\)"):
        guided_total_variation_prior(0.1, image_shape=SIZE).given(random(47, 1, 1, 9, 9))


def test_one_mask_serves_a_batch_of_any_length() -> None:
    prior = given_a_guide(48)
    x = random(49, 3, 1, *SIZE)
    assert prior.resolvent(1.0)(x[:0]).shape == (0, 1, *SIZE)
    assert torch.allclose(prior.resolvent(1.0)(x)[1], prior.resolvent(1.0)(x[1:2])[0], atol=1e-5)
    none = guided_total_variation_prior(0.1).given(x[:0])
    assert none.resolvent(1.0)(x[:0]).shape == (0, 1, *SIZE)
    assert none.value is not None
    assert none.value(x[:0]).shape == (0,)


@pytest.mark.parametrize("smoothing", [-1.0, torch.nan, torch.inf])
def test_a_meaningless_smoothing_is_refused(smoothing: float) -> None:
    with pytest.raises(UsageError, match="expected a number of pixels from 0 to 100"):
        guided_total_variation_prior(0.1, smoothing=smoothing)


@pytest.mark.parametrize("weight", [-1.0, torch.nan, torch.inf])
def test_a_meaningless_weight_is_refused(weight: float) -> None:
    for make in (guided_total_variation_prior, lambda w: prior_of(w, torch.ones(1, 1, *SIZE))):
        with pytest.raises(UsageError, match="expected a finite number of at least 0"):
            make(weight)


@pytest.mark.parametrize("value", [0.0, -1.0, torch.nan, torch.inf])
@pytest.mark.parametrize("make", [total_variation, total_variation_split, dual_ball])
def test_a_mask_that_is_not_positive_is_refused(make, value: float) -> None:
    mask = torch.ones(1, 1, *SIZE)
    mask[0, 0, 0, 0] = value
    with pytest.raises(UsageError, match="expected positive finite ones"):
        make(0.1, mask=mask)


@pytest.mark.parametrize(
    "mask", [torch.ones(*SIZE), torch.ones(1, 3, *SIZE), torch.ones(1, 1, *SIZE, dtype=torch.int64)]
)
def test_a_mask_of_another_shape_is_refused(mask: Tensor) -> None:
    with pytest.raises(UsageError, match="because all channels share it"):
        total_variation(0.1, mask=mask)
