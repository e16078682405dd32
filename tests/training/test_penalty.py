"""The penalty: what it sees, its gradient, and that it does what it is for."""

from dataclasses import replace

import pytest
import torch
from training_cases import FREE, RIDGE, patches, recipe

from recon.certificates import orthogonality
from recon.certificates.lipschitz_search import jacobian_norm
from recon.errors import UsageError
from recon.operators.orthogonal_convolution import orthogonality_residual
from recon.operators.spectral import Effort
from recon.priors.networks import DnCNNConfig, LipschitzConfig, make
from recon.training import PenaltyConfig, Recipe, Trainer, excess, steepest
from recon.training.penalty import between, residual_of_orthogonality, without_data
from recon.training.trainer import penalty_weight

EXACT = Effort(tolerance=1e-10, applications=400)


def wild(seed=0, conditioned=False, strength=0.25):
    """A network that violates ||Q'|| <= 1 by far."""
    torch.manual_seed(seed)
    network = make(DnCNNConfig(features=4, depth=3, conditioned=conditioned)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(strength * torch.randn_like(parameter))
    return network


def points(count=3, side=8):
    return torch.randn(count, 1, side, side, dtype=torch.float64)


@pytest.mark.parametrize("conditioned", [False, True])
def test_enough_steps_find_what_a_converged_search_finds_at_each_point(conditioned):
    network, x = wild(conditioned=conditioned), points()
    level = torch.tensor([0.05, 0.1, 0.2], dtype=torch.float64) if conditioned else None
    found = steepest(network, x, level, torch.randn_like(x), 40)
    for index in range(len(x)):
        one = None if level is None else level[index : index + 1]
        at = x[index : index + 1]
        exact, _ = jacobian_norm(network.derivative(at, one), at, EXACT)
        assert found.norms[index].item() == pytest.approx(exact.value, rel=1e-6)
    assert found.worst == int(found.norms.argmax())


def test_few_steps_see_what_ten_cold_power_steps_see():
    network, x = wild(strength=0.1), points(6, 16)
    start = torch.randn_like(x)
    derivative, v = network.derivative(x), start
    for _ in range(10):
        v = derivative.transpose(derivative.forward(v))
        v = v / v.square().sum((1, 2, 3), keepdim=True).sqrt()
    power = derivative.forward(v).square().sum((1, 2, 3)).sqrt()
    first = steepest(network, x, None, start, 5)
    assert (steepest(network, x, None, first.vectors, 3).norms >= power * (1 - 1e-3)).all()


def test_an_exhausted_space_is_no_trouble():
    network, x = wild(), points(2, 2)
    found = steepest(network, x, None, torch.randn_like(x), 12)  # four dimensions
    assert found.norms.isfinite().all()
    for index in range(2):
        at = x[index : index + 1]
        dense = torch.autograd.functional.jacobian(network.Q, at).reshape(4, 4)
        assert found.norms[index].item() == pytest.approx(float(torch.linalg.matrix_norm(dense, 2)), rel=1e-9)


def test_the_gradient_is_that_of_the_squared_norm():
    network, x = wild(), points(1)
    vector = steepest(network, x, None, torch.randn_like(x), 60).vectors
    value = excess(network, x, None, vector, 0.5)
    gradients = torch.autograd.grad(value, list(network.kernels))

    def norm_squared():
        return steepest(network, x, None, vector, 60).norms.item() ** 2

    direction = [torch.randn_like(kernel) for kernel in network.kernels]
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
    step = 1e-6
    with torch.no_grad():
        for kernel, along in zip(network.kernels, direction, strict=True):
            kernel.add_(step * along)
        above = norm_squared()
        for kernel, along in zip(network.kernels, direction, strict=True):
            kernel.sub_(2 * step * along)
        below = norm_squared()
    assert slope == pytest.approx((above - below) / (2 * step), rel=1e-4)


def test_below_the_target_there_is_no_gradient():
    network, x = wild(), points(1)
    vector = steepest(network, x, None, torch.randn_like(x), 20).vectors
    value = excess(network, x, None, vector, 1e3)
    assert value.item() == 0
    assert all(not gradient.any() for gradient in torch.autograd.grad(value, list(network.kernels)))


def test_directions_of_networks_that_keep_constants_do_not_end_at_them():
    """Begun where details have no gain, and so nothing is larger than the 1 of constants; then they have gain -1.4."""
    network, x = make(DnCNNConfig(features=1, depth=2, slope=1.0, coarse=2.0)), points(2, 16).float()
    directions = torch.randn_like(x)

    def linear(gain):  # R = Id - 2 N = gain Id
        with torch.no_grad():
            for kernel, value in zip(network.kernels, (1.0, (1 - gain) / 2), strict=True):
                kernel.zero_()[..., 1, 1] = value

    linear(0.0)
    for _ in range(8):
        directions = steepest(network, x, None, directions, 6).vectors
    linear(-1.4)
    exact, _ = jacobian_norm(network.frozen().derivative(x[:1].double()), x[:1].double(), EXACT)
    assert exact.value > 1.35
    for _ in range(3):
        found = steepest(network, x, None, directions, 6)
        directions = found.vectors
    assert found.norms.tolist() == pytest.approx([exact.value] * 2, rel=0.02)


def test_points_lie_between_clean_and_denoised():
    clean, denoised = torch.zeros(3, 1, 2, 2), torch.ones(3, 1, 2, 2)
    found = between(clean, denoised, torch.tensor([0.0, 0.25, 1.0]))
    assert found[:, 0, 0, 0].tolist() == [0, 0.25, 1]


@pytest.mark.parametrize(("target", "reached"), [(0.95, 1.0), (0.75, 0.95)])
def test_the_penalty_brings_a_violation_back_as_a_search_of_its_own_sees_it(target, reached):
    plain = recipe(steps=200, learning_rate=1e-2, batch=8)
    trainer = Trainer(replace(plain, penalty=PenaltyConfig(weight=1.0, target=target)), patches())
    with torch.no_grad():
        for kernel in trainer.network.kernels:
            kernel.add_(0.1 * torch.randn_like(kernel))
    fresh = patches().draw(12, torch.Generator().manual_seed(5))[0].double()

    def worst():
        twin = trainer.network.frozen()
        at = [between(x, twin(x + 0.1 * torch.randn_like(x)), torch.rand(1)) for x in fresh.split(1)]
        return max(jacobian_norm(twin.derivative(x), x, EXACT)[0].value for x in at)

    assert worst() > 1.2
    seen = [trainer.advance().constraint for _ in range(200)]
    assert seen[0] > 1.2
    assert worst() < reached


def test_only_networks_that_need_a_penalty_may_have_one():
    with pytest.raises(UsageError, match="nonexpansive by construction"):
        recipe(RIDGE, penalty=1.0)
    with pytest.raises(UsageError, match="expected more than 0 and at most 1"):
        Recipe(FREE, penalty=PenaltyConfig(target=1.1), training=recipe().training)
    with pytest.raises(UsageError, match="is no DnCNN"):
        excess(make(RIDGE), torch.zeros(1, 1, 8, 8), None, torch.zeros(1, 1, 8, 8), 1.0)


def test_wild_points_are_mixed_with_others_and_the_rest_are_not():
    given = recipe(batch=8, noise=(0.05, 0.2))
    plain = Trainer(replace(given, penalty=PenaltyConfig(weight=1.0)), patches())
    wild = Trainer(replace(given, penalty=PenaltyConfig(weight=1.0, wild=0.5)), patches())
    clean, level = torch.full((8, 1, 12, 12), 0.5), torch.linspace(0.06, 0.19, 8)
    points, levels = wild._points(clean, clean, level, 0)
    moved = (points - plain._points(clean, clean, level, 0)[0]).abs().amax((1, 2, 3)) > 0
    assert 0 < int(moved.sum()) < 8
    assert torch.equal(levels[~moved], level[~moved])
    part = wild._points(clean[3:6], clean[3:6], level[3:6], 3)
    assert torch.equal(part[0], points[3:6])
    assert torch.equal(part[1], levels[3:6])
    with pytest.raises(UsageError, match="expected a share"):
        replace(given, penalty=PenaltyConfig(wild=2.0))


def test_a_small_share_of_few_patches_is_wild_now_and_then_and_often_at_an_end_of_the_range():
    """A quarter of two patches, rounded, would be none of them for ever."""
    trainer = Trainer(
        replace(recipe(batch=2, noise=(0.05, 0.2)), penalty=PenaltyConfig(weight=1, wild=0.25)), patches()
    )
    clean, level, count, ends = torch.full((2, 1, 12, 12), 0.5), torch.tensor([0.1, 0.15]), 0, 0
    for step in range(200):
        trainer.step = step
        points, levels = trainer._points(clean, clean, level, 0)
        count += int(((points - clean).abs().amax((1, 2, 3)) > 0).sum())
        ends += int(torch.isin(levels, torch.tensor([0.05, 0.2])).sum())
    assert 0.15 < count / 400 < 0.35
    assert 0.5 < ends / count < 0.85


def test_images_without_data_are_constants_edges_and_two_kinds_of_noise():
    images = without_data((400, 1, 12, 12), torch.Generator().manual_seed(0))
    assert images.min() == 0
    assert images.max() == 1
    values = torch.tensor([len(image.unique()) for image in images])
    steps = images.diff(dim=-1).abs().gt(0).float().mean((1, 2, 3))
    two = (values == 2) & (steps > 0)
    assert 50 < int((values == 1).sum()) < 250  # constants, and edges that miss the image or have no height
    assert int((two & (steps < 0.15)).sum()) > 30  # edges
    assert int((two & (steps > 0.3)).sum()) > 30  # binary noise
    assert int((values == 144).sum()) > 30


def test_the_weight_rises_geometrically_from_a_hundredth():
    ramp = PenaltyConfig(weight=0.5, start=10, ramp=20)
    assert [penalty_weight(ramp, step) for step in (10, 20, 30, 99)] == pytest.approx([0.005, 0.05, 0.5, 0.5])
    assert penalty_weight(PenaltyConfig(weight=0.5, start=10), 10) == 0.5


CHAINS = [FREE, LipschitzConfig(layers="aol", features=4, depth=2, noise_range=(0.1, 0.1))]


def orthogonal(network, weight=0.1, **training):
    given = recipe(network, **training)
    return replace(given, penalty=replace(given.penalty, orthogonality=weight))


@pytest.mark.parametrize("network", CHAINS, ids=lambda config: config.family)
def test_the_penalty_of_orthogonality_is_of_what_is_applied_and_has_its_gradient(network):
    one = make(network)
    kernels = one.applied_kernels()
    total = residual_of_orthogonality(one)
    assert float(total.detach()) == pytest.approx(sum(float(orthogonality_residual(k).detach()) for k in kernels))
    trainer = Trainer(orthogonal(network, weight=3.0), patches())
    plain = Trainer(recipe(network), patches())
    for each in (trainer, plain):
        each._differentiate(each._batch(0, 4))
    value = trainer._orthogonalise()
    assert value == pytest.approx(float(residual_of_orthogonality(trainer.network).detach()))
    wanted = torch.autograd.grad(3 * residual_of_orthogonality(plain.network), list(plain.network.parameters()),
                                 allow_unused=True)  # fmt: skip
    for mine, other, extra in zip(trainer.network.parameters(), plain.network.parameters(), wanted, strict=True):
        assert torch.allclose(mine.grad, other.grad + (0 if extra is None else extra), atol=1e-5)


@pytest.mark.parametrize("network", CHAINS, ids=lambda config: config.family)
def test_the_penalty_of_orthogonality_makes_the_convolutions_isometries(network):
    with_it, without = Trainer(orthogonal(network, steps=40), patches()), Trainer(recipe(network, steps=40), patches())
    steps = [with_it.advance() for _ in range(40)]
    for _ in range(40):
        assert torch.isnan(torch.tensor(without.advance().orthogonality))
    last = orthogonality(with_it.network)
    assert steps[-1].orthogonality < 0.6 * steps[0].orthogonality
    assert last.value < orthogonality(without.network).value


def test_a_training_with_the_penalty_of_orthogonality_goes_on_as_if_it_had_never_stopped():
    whole, half = (Trainer(orthogonal(CHAINS[1], steps=6), patches()) for _ in range(2))
    for _ in range(6):
        whole.advance()
    for _ in range(3):
        half.advance()
    later = Trainer(orthogonal(CHAINS[1], steps=6), patches())
    later.restore(half.state())
    for _ in range(3):
        later.advance()
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, later.state()[name]), name


def test_a_potential_has_no_chain_of_convolutions_to_penalise():
    with pytest.raises(UsageError, match=r"penalty.orthogonality = 0\.1 for a ConvexRidge network; expected 0"):
        orthogonal(RIDGE)
    with pytest.raises(UsageError, match=r"penalty.orthogonality = -1"):
        orthogonal(FREE, weight=-1)
    assert orthogonality(make(RIDGE)) is None
