"""Training through the converged solver: its gradient against that of a long unrolling, and what is refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_cases import FREE, RIDGE, patches, recipe, same, write_scenes

from recon.errors import GuaranteeError, InputError, UsageError
from recon.operators import Blur, gaussian_psf
from recon.priors.networks import ConvexRidge, InnerSolver, LipschitzConfig, load, make
from recon.solvers.fixed_point import fixed_point
from recon.training import (
    EquilibriumConfig,
    Images,
    Listeners,
    Restoration,
    Trainer,
    parse_recipe,
    prepare,
    restoration,
    to_toml,
    train,
)
from recon.training.group import Group
from recon.training.validation import validate

EXACT = EquilibriumConfig(blur=0.4, accuracy=1e-11, adjoint_accuracy=1e-11, max_steps=1000)
NETWORKS = [
    FREE,
    replace(FREE, conditioned=True, noise_range=(0.05, 0.2)),
    LipschitzConfig(features=4, depth=2),
    LipschitzConfig(features=4, depth=2, layers="orthogonal", activation="abs"),
    RIDGE,
    replace(RIDGE, one_shot=True),
]


def solved(network=FREE, **training):
    """A recipe through the solver, with a blur that 12 x 12 pixels can bear."""
    given = recipe(network, **{"mode": "equilibrium", **training})
    return replace(given, equilibrium=EquilibriumConfig(blur=0.45, accuracy=2e-3, max_steps=200))


def network_of(config):
    torch.manual_seed(2)
    network = make(config).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    if isinstance(network, ConvexRidge):
        with torch.no_grad():
            network.log_weight.fill_(1.0)  # few unrolled steps are many then
        network.solver = InnerSolver(accuracy=1e-13, adjoint_accuracy=1e-13, max_steps=5000)
    return network


def measurements(problem, count=2):
    x = torch.rand(count, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return x, problem.operator.A(x) + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()


def gradient(network, restored, x):
    loss = (restored - x).square().mean()
    found = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


@pytest.mark.slow
@pytest.mark.parametrize("config", NETWORKS, ids=["free", "conditioned", "sll", "orthogonal", "ridge", "one-shot"])
def test_the_gradient_is_that_of_a_long_unrolling(config):
    problem, network = restoration(EXACT, (8, 8)), network_of(config)
    x, y = measurements(problem)
    level = torch.tensor([0.06, 0.15], dtype=torch.float64) if network.conditioned else None
    restored = problem.restore(network, y, level)
    ours = gradient(network, restored, x)
    if isinstance(network, ConvexRidge):
        network.solver = InnerSolver(steps=80)
    data, w = problem.operator.data_gradient(y), y
    for _ in range(40):
        w = network(w - EXACT.stepsize * data(w), level)
    assert torch.allclose(restored, w, atol=1e-8)
    theirs = gradient(network, w, x)
    assert float((ours - theirs).norm()) < 1e-4 * float(theirs.norm())
    shortened = gradient(network, network(w.detach() - EXACT.stepsize * data(w.detach()), level), x)
    assert float((shortened - theirs).norm()) > 1e-2 * float(theirs.norm())  # the adjoint equation matters


def test_each_item_is_solved_by_itself_and_derivation_is_done_once():
    problem, network = restoration(EXACT, (8, 8)), network_of(LipschitzConfig(features=4, depth=2))
    _, y = measurements(problem, 3)
    y[1] *= 30
    together = problem.restore(network, y)
    for index in range(3):
        assert torch.allclose(problem.restore(network, y[index : index + 1]), together[index], atol=1e-8)
    derived, layer = [], network.layers[0]
    plain = layer.derive
    layer.derive = lambda: derived.append(1) or plain()
    problem.restore(network, y).sum().backward()
    assert len(derived) == 1
    assert not layer.held


def test_a_fixed_point_is_reached_to_the_residual_that_was_asked_for():
    generator = torch.Generator().manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(16, 16, generator=generator, dtype=torch.float64))
    matrix = 0.5 * (torch.eye(16, dtype=torch.float64) + 0.98 * turn)  # averaged, and far from symmetric
    shift = torch.randn(3, 16, generator=generator, dtype=torch.float64)

    def step(x):
        return (x.flatten(1) @ matrix.T + shift).view(x.shape)

    goal = torch.tensor([1e-3, 1e-9, 1e-6], dtype=torch.float64)
    found = fixed_point(step, torch.zeros(3, 1, 4, 4, dtype=torch.float64), goal, 400)
    assert ((step(found) - found).flatten(1).norm(dim=1) <= goal).all()
    exact = torch.linalg.solve(torch.eye(16, dtype=torch.float64) - matrix, shift.T).T
    assert torch.allclose(found[1].flatten(), exact[1], atol=1e-6)


@pytest.mark.parametrize("step", [lambda x: x + 1, lambda x: 3 * x + 1, lambda x: x / 0, lambda x: -x.exp()])
def test_what_has_no_fixed_point_or_is_not_finite_is_said_to_be_so(step):
    with pytest.raises(GuaranteeError, match="the residual that was asked for is left after 9 steps"):
        fixed_point(step, torch.ones(1, 1, 2, 2), torch.full((1,), 1e-9), 9)


@pytest.mark.parametrize("network", [FREE, LipschitzConfig(features=4, depth=2), RIDGE], ids=lambda c: c.family)
def test_it_learns_to_reconstruct_and_goes_on_to_the_bit(network):
    given = solved(network, steps=12, learning_rate=2e-2)
    whole, half = Trainer(given, patches()), Trainer(given, patches())
    losses = [whole.advance().loss for _ in range(12)]
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
    for _ in range(5):
        half.advance()
    kept = {name: tensor.clone() for name, tensor in half.state().items()}
    resumed = Trainer(given, patches())
    resumed.restore(kept)
    for _ in range(7):
        resumed.advance()
    assert same(resumed.state(), whole.state())


def test_a_network_that_diverges_ends_the_training_in_one_sentence():
    trainer = Trainer(solved(), patches())
    with torch.no_grad():
        trainer.network.kernels[-1].mul_(2e3)
    before = {name: tensor.clone() for name, tensor in trainer.state().items()}
    with pytest.raises(GuaranteeError, match="at step 1 the reconstruction did not converge") as caught:
        trainer.advance()
    assert "\n" not in str(caught.value)
    assert same(trainer.state(), before)


def test_what_fails_in_another_process_ends_this_one(monkeypatch):
    trainer = Trainer(solved(), patches())
    monkeypatch.setattr(Group, "any", lambda self, flag: True)
    with pytest.raises(GuaranteeError, match="a patch of another process"):
        trainer.advance()


def test_a_kernel_from_a_file_and_another_one_on_resuming(tmp_path):
    np.save(tmp_path / "k.npy", np.outer([1, 2, 1], [1, 2, 1]))
    given = replace(solved(), equilibrium=EquilibriumConfig(kernel=str(tmp_path / "k.npy")))
    assert parse_recipe(to_toml(given), "text") == given
    trainer = Trainer(given, patches())
    assert float(trainer.restoration.operator.psf.sum()) == pytest.approx(1)
    kept = trainer.state()
    np.save(tmp_path / "k.npy", np.outer([1, 3, 1], [1, 2, 1]))
    with pytest.raises(InputError, match="is another operator than at the beginning"):
        Trainer(given, patches()).restore(kept)
    np.save(tmp_path / "k.npy", np.ones((2, 3, 3)))
    with pytest.raises(InputError, match="expected one plane"):
        Trainer(given, patches())
    with pytest.raises(InputError, match=r"none\.npy"):
        restoration(EquilibriumConfig(kernel=str(tmp_path / "none.npy")), (8, 8))


@pytest.mark.parametrize(
    ("training", "equilibrium", "message"),
    [
        ({"loss": "sure"}, {}, "expected equilibrium.operator, or --operator"),
        ({"loss": "sure", "mode": "denoise"}, {"operator": "identity"}, r"table \[equilibrium\]"),
        ({"precision": "bfloat16"}, {}, "expected 'single' and 0"),
        ({"mode": "denoise"}, {"blur": 2.0}, r"table \[equilibrium\] with training.mode = 'denoise'"),
        ({"mode": "equilibrum"}, {}, "training.mode = 'equilibrum' is unknown; did you mean 'equilibrium'"),
        ({}, {"blur": 0.0}, "equilibrium.blur = 0.0"),
        ({}, {"accuracy": 1e-9}, "equilibrium.accuracy = 1e-09; expected at least 0.0001"),
        ({}, {"adjoint_accuracy": 1.0}, "expected less than 1"),
        ({}, {"max_steps": 0}, "equilibrium.max_steps = 0"),
    ],
)
def test_what_does_not_go_together_is_refused(training, equilibrium, message):
    with pytest.raises(UsageError, match=message):
        replace(recipe(**{"mode": "equilibrium", **training}), equilibrium=EquilibriumConfig(**equilibrium))


def test_a_step_beyond_the_bound_and_a_kernel_beyond_the_patch_are_refused():
    with pytest.raises(UsageError, match=r"equilibrium.stepsize = 2.1 for an operator of norm 1; expected less than 2"):
        restoration(EquilibriumConfig(stepsize=2.1), (16, 16))
    with pytest.raises(UsageError, match="Blur"):
        Trainer(replace(solved(), equilibrium=EquilibriumConfig(blur=5.0)), patches())
    blur = Blur(gaussian_psf(1.0), (12, 16))
    assert Restoration(blur, EXACT).at((12, 16)).operator is blur


def folders(tmp_path):
    training, validation = write_scenes(tmp_path / "training", 3), write_scenes(tmp_path / "validation", 2, first=90)
    return Images(sorted(training.iterdir()), sorted(validation.iterdir()))


def run(folder, images, given, resume=False, **listeners):
    return train(prepare(folder, given, resume), images, folder, torch.device("cpu"), Listeners(**listeners))


def test_a_run_begins_with_another_network_and_shows_its_reconstructions(tmp_path):
    images, first = folders(tmp_path), tmp_path / "first"
    run(first, images, recipe(RIDGE, steps=8))
    given = solved(RIDGE, steps=2, learning_rate=1e-9, start=str(first))
    outcome = run(tmp_path / "second", images, given)
    before, after = load(first).state_dict(), load(tmp_path / "second").state_dict()
    assert all(torch.allclose(after[name], tensor, atol=1e-6) for name, tensor in before.items())
    assert outcome.look.restored > 15
    card = json.loads((tmp_path / "second" / "card.json").read_text())
    assert card["figures"][0]["psnr_restored"] == pytest.approx(outcome.look.restored, abs=1e-3)
    assert "restored" in (tmp_path / "second" / "log.csv").read_text().splitlines()[0]


def test_going_on_does_not_begin_again(tmp_path):
    images, first = folders(tmp_path), tmp_path / "first"
    run(first, images, recipe(steps=2))
    given = recipe(steps=6, start=str(first))
    run(tmp_path / "whole", images, given)
    count = iter(range(100))
    run(tmp_path / "half", images, given, stopping=lambda: next(count) == 2)
    (first / "weights.safetensors").unlink()
    run(tmp_path / "half", images, None, resume=True)
    assert same(load(tmp_path / "half").state_dict(), load(tmp_path / "whole").state_dict())


def test_an_architecture_that_does_not_fit_is_one_sentence(tmp_path):
    images, first = folders(tmp_path), tmp_path / "first"
    run(first, images, recipe(steps=1))
    for network, message in (
        (replace(FREE, depth=4), "has depth = 3; expected 4, as the recipe says"),
        (replace(FREE, slope=0.2), "has slope = 0.01; expected 0.2"),
        (RIDGE, "is a DnCNN network; expected a ConvexRidge network"),
    ):
        with pytest.raises(UsageError, match=message):
            run(tmp_path / "second", images, recipe(network, start=str(first)))
    with pytest.raises(InputError, match="nowhere"):
        run(tmp_path / "second", images, recipe(start=str(tmp_path / "nowhere")))
    assert not any((tmp_path / "second").iterdir())


def test_what_is_coarse_may_be_told_apart_later(tmp_path):
    images, first = folders(tmp_path), tmp_path / "first"
    run(first, images, recipe(steps=1))
    run(tmp_path / "second", images, recipe(replace(FREE, coarse=4.0), steps=1, start=str(first)))
    assert load(tmp_path / "second").config.coarse == 4


def test_a_reconstruction_that_does_not_converge_has_no_figure():
    torch.manual_seed(0)
    network = make(FREE)
    with torch.no_grad():
        network.kernels[-1].mul_(2e3)
    problem = restoration(EquilibriumConfig(blur=0.5, max_steps=20), (12, 12))
    (figures,) = validate(network, [torch.rand(1, 1, 12, 12)], [0.1], clean=True, problem=problem).figures
    assert math.isfinite(figures.psnr)
    assert math.isnan(figures.restored)
