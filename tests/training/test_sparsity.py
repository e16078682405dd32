"""Proximal steps of the training against the definition of their operators, and what is trained with them."""

from dataclasses import replace

import pytest
import torch
from training_cases import FREE, NOISE, RIDGE, recipe, scene

from recon.errors import UsageError
from recon.priors.networks import ConvexRidgeConfig, GuidedRidgeConfig, LipschitzConfig
from recon.training import Patches, SparsityConfig, Trainer, parse_recipe, to_toml
from recon.training.sparsity import group, keep_largest, metric, soft
from recon.training.tables import GuideConfig

SOFT = SparsityConfig("soft", weight=1e-4)
GROUP = SparsityConfig("group", weight=1e-3)
HARD = SparsityConfig("hard", share=0.6, start=2, ramp=6)


@pytest.fixture(scope="module")
def patches() -> Patches:
    return Patches(tuple(scene(seed)[None, None] for seed in range(3)), 12, True)


def with_sparsity(config: SparsityConfig, network=FREE, **training):
    return replace(recipe(network, **training), sparsity=config)


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 2, 3, 3, generator=generator), 0.4 + 0.8 * torch.rand(7, 2, 3, 3, generator=generator)


def test_a_soft_threshold_is_the_proximity_operator_of_the_l1_norm() -> None:
    z, size = drawn()
    w = soft(z, size)
    live = w != 0
    assert live.any() and not live.all()
    assert torch.allclose((z - w)[live], (size * w.sign())[live])
    assert bool(((z - w).abs() <= size + 1e-6).all())


def test_a_block_threshold_is_the_proximity_operator_of_the_norms_in_the_metric() -> None:
    """0 is in (w_i - z_i) / d_i + l w_i / |w|, or |(z / (l d))| <= 1 where w is 0."""
    z, size = drawn()
    z[:3] *= 0.1
    w = group(z, size)
    gone = w.flatten(1).norm(dim=1) == 0
    assert 0 < int(gone.sum()) < len(z)
    assert bool(((z / size).flatten(1).norm(dim=1)[gone] <= 1).all())
    unit = w / w.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.allclose(((z - w) / size)[~gone], unit[~gone], atol=1e-4)


def test_a_hard_threshold_keeps_the_largest() -> None:
    z, _ = drawn()
    kept = z.clone()
    keep_largest(kept, 20)
    assert int((kept != 0).sum()) == 20
    assert float(kept[kept != 0].abs().min()) >= float(z[kept == 0].abs().max())


def test_the_metric_is_that_of_the_step_of_adam() -> None:
    """A step moves by d times the corrected mean of the gradients."""
    w = torch.nn.Parameter(torch.randn(5))
    optimizer = torch.optim.Adam([w], lr=0.02)
    for _ in range(3):
        before = w.detach().clone()
        optimizer.zero_grad()
        (w**4).sum().backward()
        optimizer.step()
    mean = optimizer.state[w]["exp_avg"] / (1 - 0.9**3)
    assert torch.allclose(before - w.detach(), metric(optimizer, w) * mean, atol=1e-7)


@pytest.mark.parametrize("config", [SOFT, GROUP, HARD], ids=lambda each: each.kind)
@pytest.mark.parametrize("network", [FREE, RIDGE], ids=["dncnn", "ridge"])
def test_kernels_become_sparse_and_the_average_too(config: SparsityConfig, network, patches: Patches) -> None:
    strong = replace(config, weight=300 * config.weight)
    inner = 3 if network is RIDGE else 0
    trainer = Trainer(with_sparsity(strong, network, steps=20, learning_rate=0.02, inner_steps=inner), patches)
    for _ in range(20):
        trainer.advance()
    assert trainer.sparsity.zeros > 0.2
    if config.kind == "hard":
        assert trainer.sparsity.zeros == pytest.approx(0.6, abs=0.03)
    averaged = dict(trainer.average.named_parameters())
    for name, parameter in trainer.network.named_parameters():
        if any(parameter is kernel for kernel in trainer.sparsity.kernels):
            assert torch.equal(averaged[name] == 0, parameter == 0)
    if network is RIDGE:
        assert trainer.average.lipschitz_Q().evidence.value == "proved"
        assert bool((trainer.network.filters.kernels[0] != 0).all())


def test_the_kernels_of_a_potential_keep_their_norm(patches: Patches) -> None:
    """Their size has no effect on the potential, so a penalty must not win by shrinking it."""
    plain = Trainer(recipe(RIDGE, inner_steps=3), patches)
    sparse = Trainer(with_sparsity(replace(SOFT, weight=1.0), RIDGE, inner_steps=3), patches)
    plain.advance()
    sparse.advance()
    assert 1 <= int((sparse.network.filters.kernels[1] != 0).sum()) < 8  # far too strong: the largest part stays
    norms = [trainer.network.filters.kernels[1].norm() for trainer in (plain, sparse)]
    assert torch.allclose(*norms)


def test_the_objective_falls_and_the_card_says_so(patches: Patches) -> None:
    trainer = Trainer(with_sparsity(SOFT, steps=80), patches)
    for step in range(80):
        trainer.advance()
        if step % 20 == 19:
            trainer.sparsity.look()
    said = trainer.sparsity.to_json()
    assert said["objective_fell"] is True
    assert len(said["objective"]) == 4
    assert said["zeros"] == pytest.approx(trainer.sparsity.zeros, abs=1e-6)
    rising = replace(trainer.sparsity, means=[1.0, 2.0])
    assert rising.to_json()["objective_fell"] is False
    assert replace(rising, means=[1.0]).to_json()["objective_fell"] is None


@pytest.mark.parametrize("config", [SOFT, GROUP, HARD], ids=lambda each: each.kind)
def test_going_on_is_the_same_as_never_having_stopped(config: SparsityConfig, patches: Patches) -> None:
    whole, half = (Trainer(with_sparsity(config), patches) for _ in range(2))
    for _ in range(3):
        half.advance()
    again = Trainer(with_sparsity(config), patches)
    again.restore({name: tensor.clone() for name, tensor in half.state().items()})
    for _ in range(6):
        whole.advance()
    for _ in range(3):
        again.advance()
    assert all(torch.equal(a, b) for a, b in zip(whole.network.parameters(), again.network.parameters(), strict=True))
    whole.sparsity.look()
    again.sparsity.look()
    assert whole.sparsity.means == again.sparsity.means


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"kind": "l1"}, "sparsity.kind = 'l1' is unknown"),
        ({"kind": "soft"}, "expected a share with 'hard', a weight"),
        ({"kind": "hard", "weight": 0.1}, "expected a share with 'hard'"),
        ({"weight": 0.1}, "neither without a kind"),
        ({"kind": "hard", "share": 1.0}, "less than 1"),
        ({"kind": "soft", "weight": -1.0}, "at least 0"),
        ({"kind": "soft", "weight": float("nan")}, "at least 0"),
        ({"kind": "soft", "weight": 0.1, "ramp": 5}, "sparsity.ramp = 5"),
    ],
)
def test_what_cannot_be_is_refused(stated: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        with_sparsity(SparsityConfig(**stated))


def test_networks_whose_zeros_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match="Lipschitz network; expected a DnCNN"):
        with_sparsity(SOFT, LipschitzConfig(features=4, depth=2))
    with pytest.raises(UsageError, match="two or more"):
        with_sparsity(SOFT, ConvexRidgeConfig(widths=(4,), size=3, noise_range=NOISE))


def test_a_recipe_with_it_is_read_back() -> None:
    for config in (SOFT, HARD):
        wanted = with_sparsity(config)
        assert parse_recipe(to_toml(wanted), "here") == wanted


def test_a_guided_potential_is_sparse_where_it_moves(patches: Patches) -> None:
    network = GuidedRidgeConfig(widths=(2, 4), size=3, pieces=5, noise_range=NOISE, mask_width=3)
    with pytest.raises(UsageError, match=r"guide.potential_rate = 0"):
        with_sparsity(HARD, network)
    now, rate = replace(HARD, start=0, ramp=0), GuideConfig(potential_rate=0.5)
    moving = replace(recipe(network, inner_accuracy=0.1), sparsity=now, guide=rate)
    trainer = Trainer(moving, patches)
    trainer.advance()
    assert trainer.sparsity.zeros == pytest.approx(0.6, abs=0.03)
