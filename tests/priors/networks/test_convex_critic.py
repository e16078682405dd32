"""Convex critics: convexity, the proved constants against what is measured, and the penalty that they are."""

import math
from dataclasses import replace

import pytest
import torch

from recon.errors import InputError, UsageError
from recon.evidence import Evidence
from recon.methods.choice import choose_method
from recon.methods.operator_pair import analyse_operator
from recon.operators import Blur, gaussian_psf
from recon.priors import box
from recon.priors.networks import (
    ConvexCritic,
    ConvexCriticConfig,
    CriticConfig,
    DnCNNConfig,
    critic_prior,
    load,
    load_convex_critic,
    load_critic,
    make,
    make_convex_critic,
    make_critic,
    save,
)
from recon.priors.networks.critic_prior import of_slices
from recon.solvers import solve

SMALL = ConvexCriticConfig(features=8, size=3, depth=1, hidden=4, noise_range=(0.1, 0.1))
CASES = {
    "bank": ConvexCriticConfig(features=8, size=3, depth=0),
    "small": SMALL,
    "deep-colour": ConvexCriticConfig(channels=3, features=7, size=5, depth=3, hidden=3, corner=0.01),
    "wide-window": ConvexCriticConfig(features=4, size=3, depth=2, hidden=2, window=5, corner=0.1),
}


def drawn(config: ConvexCriticConfig, seed: int = 0, far: float = 0.7) -> ConvexCritic:
    """A critic with weights far from those that training starts from, in double precision."""
    torch.manual_seed(seed)
    critic = make_convex_critic(config)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.add_(far * torch.randn_like(parameter))
    return critic.eval().frozen()


def images(config: ConvexCriticConfig, count: int, seed: int, more: int = 4) -> torch.Tensor:
    side = config.least_side + more
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, config.channels, side, side + 1, generator=generator, dtype=torch.float64)


def gradient(critic: ConvexCritic, x: torch.Tensor) -> torch.Tensor:
    """By autograd."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(critic.value(x).sum(), x)[0]


def excess(critic: ConvexCritic, seed: int, scale: float) -> float:
    """By how much R in the middle is above the mean of R at the ends, over many segments: convex: never."""
    x, y = scale * images(critic.config, 40, seed), scale * images(critic.config, 40, seed + 1)
    share = torch.rand(40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    middle = share.view(-1, 1, 1, 1) * x + (1 - share).view(-1, 1, 1, 1) * y
    chord = share * critic.value(x) + (1 - share) * critic.value(y)
    return float(((critic.value(middle) - chord) / chord.abs()).max())


@pytest.mark.parametrize("scale", [1e-3, 0.05, 1.0, 40.0])
@pytest.mark.parametrize("name", CASES)
def test_the_score_is_convex(name, scale):
    assert max(excess(drawn(CASES[name], seed), seed, scale) for seed in range(4)) <= 1e-13


def test_a_negative_weight_after_the_bank_is_seen_by_the_law_of_convexity():
    critic = drawn(SMALL)
    critic.mixing.frozen_0.neg_()  # the shares of the bank
    assert max(excess(critic, seed, 0.3) for seed in range(4)) > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_the_score_is_even_and_brightness_costs_nothing(name):
    critic = drawn(CASES[name])
    x = images(CASES[name], 3, 1)
    assert torch.allclose(critic.value(x), critic.value(-x), rtol=1e-12)
    assert torch.allclose(critic.value(x), critic.value(x + 0.7), rtol=1e-9)
    assert bool((critic.value(x) > critic.value(0 * x)).all())


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_autograd(name):
    critic = drawn(CASES[name])
    for scale in (1e-3, 0.1, 3.0):
        x = scale * images(CASES[name], 3, 2)
        assert torch.allclose(critic.gradient(x), gradient(critic, x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_of_the_score_has_at_most_norm_one_at_every_size(name):
    """On random images of every size of entry, and where an ascent of the norm leads."""
    critic, largest = drawn(CASES[name]), 0.0
    for more in (0, 3, 20):
        for scale in (1e-3, 0.3, 30.0):
            x = scale * images(CASES[name], 4, 3, more)
            found = critic.gradient(x).flatten(1).norm(dim=1) / math.sqrt(critic.places(x))
            largest = max(largest, float(found.max()))
    x = images(CASES[name], 2, 4)
    for _ in range(15):
        x = x.detach().requires_grad_()
        norm = critic.gradient(x).flatten(1).norm(dim=1) / math.sqrt(critic.places(x))
        (uphill,) = torch.autograd.grad(norm.sum(), x)
        x = x + 0.3 * uphill / uphill.flatten(1).norm(dim=1).view(-1, 1, 1, 1).clamp(min=1e-12)
        largest = max(largest, float(norm.detach().max()))
    known = critic.lipschitz()
    assert known.evidence is Evidence.PROVED
    assert 0.03 < largest <= known.value <= 1


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_changes_no_faster_than_is_proved(name):
    """Against secants, and against the norm of the second derivative where the corners are."""
    critic, largest = drawn(CASES[name]), 0.0
    known = critic.smoothness()
    for scale in (1e-4, 1e-2, 1.0):
        x, d = scale * images(CASES[name], 4, 5), scale * images(CASES[name], 4, 6)
        secant = (critic.gradient(x + d) - critic.gradient(x)).flatten(1).norm(dim=1) / d.flatten(1).norm(dim=1)
        largest = max(largest, float(secant.max()))
    point = (1e-4 * images(CASES[name], 1, 7)).requires_grad_()
    slope, v = critic.gradient(point), images(CASES[name], 1, 8)
    for _ in range(30):
        (image,) = torch.autograd.grad(slope, point, v, retain_graph=True)
        largest, v = max(largest, float(image.norm() / v.norm())), image / image.norm()
    assert known.evidence is Evidence.PROVED
    assert 0.02 * known.value < largest <= known.value


def test_the_constants_are_of_what_is_applied():
    """Whatever the weights were made from: planted faults show."""
    critic = drawn(SMALL)
    before = critic.applied_smoothness().value
    critic.bank.frozen_0.mul_(2)
    assert critic.applied_lipschitz().value > 1.9
    assert critic.applied_smoothness().value > 3.9 * before
    other = drawn(SMALL)
    other.mixing.frozen_2.mul_(5)
    assert other.applied_lipschitz().value > 1.5


def test_every_place_counts_alike_whatever_the_size():
    critic = drawn(SMALL)
    tile = images(SMALL, 1, 9, more=7)
    small, large = (tile.repeat(1, 1, times, times) for times in (4, 8))
    per_place = [float(critic.value(x)) / critic.places(x) for x in (small, large)]
    assert per_place[0] == pytest.approx(per_place[1], rel=0.1)


def blurred(side: int = 14) -> tuple:
    operator = Blur(gaussian_psf(1.0), (side, side))
    x = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return operator, x, operator.A(x)


@pytest.mark.parametrize("method", [None, "forward_backward"])
def test_solvers_reach_the_minimiser_and_it_is_proved(method):
    operator, x, y = blurred()
    prior = critic_prior(make_convex_critic(SMALL), 0.05, accuracy=1e-6)
    pair = analyse_operator(operator, None, x[:1])
    chosen = choose_method(pair, prior, method)
    assert chosen.name == (method or "fista")
    assert chosen.certificate.holds == (method is None)  # the others have an inner iteration
    assert method != "forward_backward" or chosen.certificate.weaker.holds
    found = solve(chosen.algorithm(y), y, tolerance=1e-5, max_steps=200).x
    left = operator.A_adjoint(operator.A(found) - y) + prior.smooth.gradient(found)
    assert float(left.norm()) < 1e-3 * float(operator.A_adjoint(y).norm())


def test_bounds_are_kept_by_a_projection_in_fista_and_the_minimiser_within_them_is_reached():
    operator, x, y = blurred()
    y = y + 0.3 * torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    prior = critic_prior(make_convex_critic(SMALL), 0.01)
    chosen = choose_method(analyse_operator(operator, None, x[:1]), replace(prior, constraint=box(0.3, 0.7)))
    assert (chosen.name, chosen.certificate.holds) == ("fista", True)
    found = solve(chosen.algorithm(y), y, tolerance=1e-6, max_steps=600).x
    slope = operator.A_adjoint(operator.A(found) - y) + prior.smooth.gradient(found)
    assert (float(found.min()), float(found.max())) == (0.3, 0.7)
    assert float((found - (found - slope).clamp(0.3, 0.7)).norm()) < 1e-3 * float(found.norm())
    assert float(slope.norm()) > 0.1  # no minimiser without the bounds


def test_the_penalty_of_slices_is_the_sum_over_them():
    prior = critic_prior(make_convex_critic(SMALL), 0.2)
    volume = torch.rand(2, 1, 3, 9, 9, dtype=torch.float64)
    together = of_slices(prior)
    for index in range(3):
        assert torch.allclose(together.smooth.gradient(volume)[:, :, index], prior.smooth.gradient(volume[:, :, index]))
    parts = [prior.value(volume[:, :, index]) for index in range(3)]
    assert torch.allclose(together.value(volume), sum(parts))


def test_a_prior_does_not_follow_a_training_that_goes_on():
    critic = make_convex_critic(SMALL)
    prior, x = critic_prior(critic, 0.2), torch.rand(1, 1, 9, 9)
    before = prior.value(x)
    with torch.no_grad():
        critic.bank.kernel.mul_(torch.rand_like(critic.bank.kernel))
    assert torch.equal(prior.value(x), before)


def test_stored_and_read_it_is_the_same_critic_and_neither_a_denoiser_nor_an_alarm(tmp_path):
    critic = make_convex_critic(SMALL).eval()
    save(critic, tmp_path / "critic")
    x = torch.rand(1, 1, 13, 17)
    assert torch.equal(load_convex_critic(tmp_path / "critic")(x), critic(x))
    with pytest.raises(InputError, match="a convex critic, which is a penalty"):
        load(tmp_path / "critic")
    with pytest.raises(InputError, match=r"is a ConvexCritic, a penalty \(--prior takes it\); expected a critic"):
        load_critic(tmp_path / "critic")
    save(make(DnCNNConfig(features=4, depth=3)), tmp_path / "other")
    with pytest.raises(InputError, match="is a DnCNN; expected a convex critic"):
        load_convex_critic(tmp_path / "other")
    save(make_critic(CriticConfig(features=8, window=8, stride=4)), tmp_path / "alarm")
    with pytest.raises(InputError, match="neither convex nor smooth"):
        load(tmp_path / "alarm")
    with pytest.raises(UsageError, match="is a penalty"):
        make(SMALL)
    with pytest.raises(UsageError, match="because of no other"):
        critic_prior(make_critic(CriticConfig()), 0.1)


def test_weights_whose_exponentials_say_nothing_are_refused(tmp_path):
    critic = make_convex_critic(SMALL)
    with torch.no_grad():
        critic.mixing.log_shares[0][2] = 1e4
    save(critic, tmp_path / "critic")
    with pytest.raises(InputError, match="the largest weight is 10000; expected at most 100"):
        load_convex_critic(tmp_path / "critic")


def test_images_that_it_cannot_judge_are_refused():
    critic = drawn(SMALL)
    with pytest.raises(UsageError, match=r"has 4 x 40 pixels; expected at least 5"):
        critic.value(torch.zeros(1, 1, 4, 40))
    with pytest.raises(UsageError, match="as the critic was made for"):
        critic.gradient(torch.zeros(1, 3, 40, 40))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": 4}, "odd numbers"), ({"size": 1}, "at least 3"), ({"window": 2}, "odd numbers"),
        ({"features": 0}, "at least 1 filter"), ({"depth": 5}, "0 to 4 layers"), ({"factor": 0.0}, "of a weight"),
        ({"corner": float("nan")}, "the gradient jumps"), ({"corner": 0.0}, "the gradient jumps"),
        ({"padding": "reflect"}, "not covered by any bound"),
    ],
)  # fmt: skip
def test_architectures_without_a_proof_or_a_meaning_are_refused(changed, message):
    with pytest.raises(UsageError, match=message):
        make_convex_critic(ConvexCriticConfig(**changed))


@pytest.mark.parametrize(
    ("weight", "accuracy", "message"), [(-1.0, 1e-4, "weight"), (math.inf, 1e-4, "weight"), (0.1, 0.0, "accuracy=0.0")]
)
def test_weights_and_accuracies_out_of_range_are_refused(weight, accuracy, message):
    with pytest.raises(UsageError, match=message):
        critic_prior(make_convex_critic(SMALL), weight, accuracy)
