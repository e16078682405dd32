"""Critics: what is proved of their score, on random points and on the points that an attack finds."""

import pytest
import torch

from recon.errors import InputError, UsageError
from recon.evidence import Evidence
from recon.priors.networks import Critic, CriticConfig, DnCNNConfig, load, load_critic, make, make_critic, save

SMALL = CriticConfig(features=8, ends=3, bands=2, heads=3, pieces=2, window=8, stride=4)
CASES = {
    "small": SMALL,
    "deep": CriticConfig(features=6, depth=2, bands=1, heads=1, pieces=2, window=8, stride=8),
    "unfolded-colour": CriticConfig(
        channels=3, fold=1, features=8, ends=5, bands=0, heads=2, pieces=1, window=6, stride=3
    ),
    "context": CriticConfig(features=8, bands=1, heads=2, pieces=2, window=8, stride=4, context=True),
    "cosines": CriticConfig(features=36, bands=4, window=16, stride=8),
}


def drawn(config: CriticConfig, seed: int = 0, far: float = 0.5) -> Critic:
    """A critic with weights far from those that training starts from."""
    torch.manual_seed(seed)
    critic = make_critic(config)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.add_(far * parameter.abs().mean() * torch.randn_like(parameter) + 0.01)
    return critic.eval()


def gradient(critic: Critic, x: torch.Tensor) -> torch.Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(critic(x).sum(), x)[0]


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_has_at_most_norm_one(name):
    """On random points of every size of entry, and on those that an ascent of the norm finds."""
    critic = drawn(CASES[name])
    side = CASES[name].least_side + 3
    generator = torch.Generator().manual_seed(1)
    largest = 0.0
    for scale in (1e-6, 0.01, 0.3, 1.0, 30.0):
        x = scale * torch.randn(25, CASES[name].channels, side, side, generator=generator)
        largest = max(largest, float(gradient(critic, x).flatten(1).norm(dim=1).max()))
    x = torch.randn(4, CASES[name].channels, side, side, generator=generator) * 0.1
    for _ in range(10):
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        (uphill,) = torch.autograd.grad(slope.square().sum(), x)
        x = x + 0.02 * uphill / uphill.norm().clamp(min=1e-12)
        largest = max(largest, float(slope.detach().flatten(1).norm(dim=1).max()))
    assert 0.01 < largest <= 1 + 1e-4


@pytest.mark.parametrize("name", CASES)
def test_the_rounding_of_a_score_is_bounded(name):
    """Single precision, whose rounding is 2^29 times that of double, stays within as many times the bound."""
    critic, config = drawn(CASES[name]), CASES[name]
    side = config.least_side + 3
    generator = torch.Generator().manual_seed(2)
    for scale in (1e-3, 1.0, 1e4):
        x = (scale * torch.rand(1, config.channels, side, side, generator=generator)).double().float()
        bound = critic.rounding(float(x.double().norm()), side**2)
        exact, single = critic.frozen()(x.double()), critic.frozen(torch.float32)(x)
        weights = 4 * float(x.double().norm()) * 2.0**-24 * len(critic.layers) + 8 * scale * 2.0**-24  # of rounded ones
        assert 0 < bound < 1e-9 * (1 + float(x.double().norm()))
        assert float((exact - single).abs()) <= 2.0**29 * bound + weights


@pytest.mark.parametrize("name", CASES)
def test_the_constant_is_proved_and_of_what_is_applied(name):
    critic = drawn(CASES[name])
    known = critic.lipschitz()
    assert known.evidence is Evidence.PROVED
    assert known.value <= 1
    twin = critic.frozen()
    twin.out.frozen_0.mul_(3)  # whatever the weights were made from: what is applied counts
    assert sum(layer.bound() for layer in (twin.out,)) > 2.9


def test_no_two_images_differ_more_in_score_than_in_norm():
    critic = drawn(SMALL).frozen()
    generator = torch.Generator().manual_seed(3)
    for scale in (1e-3, 0.1, 2.0):
        x, d = torch.randn(2, 100, 1, 20, 17, generator=generator, dtype=torch.float64)
        apart = (critic(x) - critic(x + scale * d)).abs()
        assert bool((apart <= scale * d.flatten(1).norm(dim=1)).all())


def test_the_score_is_the_largest_of_the_windows_and_brightness_does_not_count():
    critic = drawn(SMALL).frozen()
    x = torch.rand(2, 1, 31, 24, dtype=torch.float64)
    assert torch.equal(critic(x), critic.scores(x).amax((1, 2)))
    assert torch.allclose(critic(x), critic(x + 0.4), atol=1e-9)
    rows, columns = critic.places(31, 24)
    assert critic.scores(x).shape == (2, len(rows), len(columns))


def test_a_change_reaches_the_windows_that_see_it_and_no_others():
    critic = drawn(SMALL).frozen()
    x = torch.rand(1, 1, 40, 40, dtype=torch.float64)
    y = x.clone()
    y[..., 30, 9] += 1
    rows, columns = critic.places(40, 40)
    reach, window = SMALL.reach + SMALL.fold, SMALL.window
    for row, top in enumerate(rows):
        for column, left in enumerate(columns):
            sees = top - reach <= 30 < top + window + reach and left - reach <= 9 < left + window + reach
            if not sees:
                assert critic.scores(x)[0, row, column] == critic.scores(y)[0, row, column]
    assert not torch.equal(critic.scores(x), critic.scores(y))


def context_of(critic: Critic, x: torch.Tensor) -> torch.Tensor:
    """What the pieces see of the whole image."""
    seen = []
    hook = critic.out.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    critic(x)
    hook.remove()
    usual = seen[0].chunk(2, 1)[1]
    assert torch.equal(usual, usual[..., :1, :1].expand_as(usual))
    return usual[..., 0, 0]


def test_a_context_has_what_is_everywhere_and_not_what_is_in_a_corner():
    critic = drawn(CASES["context"]).frozen()
    generator = torch.Generator().manual_seed(2)
    x, more = 0.1 * torch.rand(2, 1, 1, 44, 44, dtype=torch.float64, generator=generator)
    spoilt, grainy = x.clone(), x + 3 * more
    spoilt[..., :10, :10] += 500 * more[..., :10, :10]
    usual, corner, whole = (context_of(critic, image).norm() for image in (x, spoilt, grainy))
    assert usual <= corner < 1.1 * usual
    assert whole > 2 * usual


def test_a_window_that_is_cut_off_at_the_border_is_no_context():
    critic = drawn(CASES["context"]).frozen()
    x = torch.rand(1, 1, 20, 44, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    longer = torch.cat([x, x[..., :2]], 3)
    places, others = (critic.places(20, side)[1] for side in (44, 46))
    assert (places[-1] + 8, others[-1] + 8) == (42, 46)  # in 44 of 46 pixels: the last window of the longer is cut off
    assert torch.allclose(context_of(critic, x), context_of(critic, longer), rtol=0.05)


def test_stored_and_read_it_is_the_same_critic_and_no_denoiser(tmp_path):
    critic = drawn(CASES["deep"])
    save(critic, tmp_path / "critic")
    x = torch.rand(1, 1, 33, 33)
    assert torch.equal(load_critic(tmp_path / "critic")(x), critic(x))
    with pytest.raises(InputError, match="is a critic, which judges images"):
        load(tmp_path / "critic")
    save(make(DnCNNConfig(features=4, depth=3)), tmp_path / "other")
    with pytest.raises(InputError, match="is a DnCNN, a denoiser; expected a critic"):
        load_critic(tmp_path / "other")
    with pytest.raises(UsageError, match="judges images"):
        make(SMALL)


def test_images_that_it_cannot_judge_are_refused():
    critic = drawn(SMALL)
    with pytest.raises(UsageError, match=r"has 8 x 40 pixels; expected at least 12"):
        critic(torch.zeros(1, 1, 8, 40))
    with pytest.raises(UsageError, match="as the critic was made for"):
        critic(torch.zeros(1, 3, 40, 40))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stride": 12}, "no pixel may lie between"), ({"window": 7}, "multiples of fold"),
        ({"features": 5}, "an even"), ({"heads": 0}, "a head and a piece"),
        ({"share": 0.0}, "above 0"), ({"share": 1.5}, "at most 1"),
        ({"ends": 2}, "odd numbers"), ({"padding": "reflect"}, "not covered by any bound"), ({"fold": 0}, "1 to 8"),
    ],
)  # fmt: skip
def test_architectures_without_a_proof_or_a_meaning_are_refused(changed, message):
    with pytest.raises(UsageError, match=message):
        make_critic(CriticConfig(**{"window": 8, "stride": 4, **changed}))
