"""Losses of noisy images: those of deepinv, and the same for one process as for several."""

from dataclasses import replace

import deepinv
import pytest
import torch
from training_cases import FREE, RIDGE, patches, recipe

from recon.priors.networks import InnerSolver, make
from recon.training import Trainer
from recon.training.group import Group
from recon.training.losses import fidelity, sample
from recon.training.sample import Sample

SIGMA = 0.1


def drawn(loss, count=4):
    frames = torch.rand(2, count, 1, 10, 10, generator=torch.Generator().manual_seed(0))
    return sample(frames, recipe(loss=loss).training, torch.Generator().manual_seed(1))


def network_of(config=FREE):
    torch.manual_seed(0)
    network = make(config)
    if config is RIDGE:
        network.solver = InnerSolver(accuracy=1e-4)
    return network


def with_draws(data, make_draws):
    torch.manual_seed(5)
    return Sample(data.noisy, data.target, data.level, make_draws(), data.guide)


def test_sure_is_that_of_deepinv():
    network, data = network_of(), drawn("sure")
    data = with_draws(data, lambda: torch.empty_like(data.noisy).normal_())
    ours, found = fidelity(network, data, recipe(loss="sure").training)
    rng = torch.Generator()
    rng.set_state(torch.random.manual_seed(5).get_state())
    physics = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(SIGMA))
    theirs = deepinv.loss.SureGaussianLoss(SIGMA, rng=rng)(data.noisy, found, physics, lambda y, *_: network(y))
    assert torch.allclose(ours, theirs, atol=1e-7)


def test_recorruption_is_that_of_deepinv():
    class Model(torch.nn.Module):
        def forward(self, y, *_):
            return network(y)

    class PerPatch(torch.nn.Module):
        def forward(self, x, y):
            return (x - y).square().mean((1, 2, 3))

    network, data = network_of(), drawn("r2r")
    data = with_draws(data, lambda: torch.randn_like(data.noisy))
    ours, _ = fidelity(network, data, recipe(loss="r2r").training)
    loss = deepinv.loss.R2RLoss(metric=PerPatch(), eval_n_samples=1)
    model = loss.adapt_model(Model()).train()
    physics = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(SIGMA))
    torch.manual_seed(5)
    found = model(data.noisy, physics, update_parameters=True)
    assert torch.allclose(ours, loss(found, data.noisy, physics, model), rtol=1e-5)


@pytest.mark.parametrize("loss", ["mse", "l1", "sure", "r2r", "noise2noise"])
@pytest.mark.parametrize("config", [FREE, RIDGE], ids=lambda config: config.family)
def test_a_patch_has_the_same_loss_whichever_process_has_it(config, loss):
    network, data, given = network_of(config), drawn(loss), recipe(config, loss=loss).training
    whole, _ = fidelity(network, data, given)
    parts = [fidelity(network, data.part(begin, begin + 2), given)[0] for begin in (0, 2)]
    assert torch.allclose(torch.cat(parts), whole, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("loss", "mode"), [("mse", "denoise"), ("sure", "denoise"), ("r2r", "denoise"), ("mse", "equilibrium")]
)
def test_the_gradients_of_two_processes_add_up_to_that_of_one(loss, mode, monkeypatch):
    given = recipe(loss=loss, mode=mode, clip=0)
    if mode == "equilibrium":
        given = replace(given, equilibrium=replace(given.equilibrium, blur=0.45, adjoint_accuracy=1e-4))

    def gradients(group):
        trainer, kept = Trainer(given, patches(), group=group), []
        monkeypatch.setattr(Group, "gather", lambda self, value: [value])
        monkeypatch.setattr(Group, "sum_", lambda self, tensors: kept.extend(t.clone() for t in tensors))
        trainer.advance()
        return torch.cat([tensor.flatten() for tensor in kept])

    one = gradients(Group())
    two = gradients(Group(0, 2)) + gradients(Group(1, 2))
    assert float((two - one).norm()) < 1e-3 * float(one.norm())
