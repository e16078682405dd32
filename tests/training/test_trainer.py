"""Training: it learns, a state is everything, and what goes wrong is said by name."""

import math
from dataclasses import replace

import pytest
import torch
from rounding import never_falls
from training_cases import FREE, RIDGE, patches, recipe, same, scene

from recon.errors import InputError, UsageError
from recon.priors.networks import LipschitzConfig
from recon.training import Trainer
from recon.training.optimisation import schedule
from recon.training.trainer import as_kept
from recon.training.validation import validate

NETWORKS = [FREE, RIDGE, LipschitzConfig(features=4, depth=2)]


def hunting(given, steps=5):
    return replace(given, penalty=replace(given.penalty, hunt=steps, start=1))


@pytest.mark.parametrize("network", NETWORKS, ids=lambda config: config.family)
@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_it_learns(network, loss):
    trainer = Trainer(recipe(network, steps=30, learning_rate=3e-2, loss=loss), patches())
    for _ in range(30):
        trainer.advance()
    shown = [torch.from_numpy(scene(9)[None, None] / 255).float()]
    (figures,) = validate(as_kept(trainer.average), shown, [0.1], clean=True).figures
    assert figures.noisy == pytest.approx(20, abs=0.3)
    assert figures.psnr > figures.noisy + 2


@pytest.mark.parametrize(("count", "levels"), [(3, [0.05, 0.1, 0.2]), (4, [0.05, 0.1]), (1, [0.05, 0.1, 0.2])])
def test_the_sheet_shows_each_image_once_and_the_levels_in_turns(count, levels):
    network = as_kept(Trainer(recipe(FREE), patches()).average)
    sheet = validate(network, [torch.rand(1, 1, 12, 12) for _ in range(count)], levels, clean=True).sheet
    shown = sorted({float(row[1][0].split()[1].rstrip(":")) for row in sheet})
    assert len(sheet) == count
    assert shown == (levels if count > 1 else [levels[1]])


@pytest.mark.parametrize("loss", ["sure", "r2r", "noise2noise"])
def test_it_learns_without_clean_images(loss):
    generator = torch.Generator().manual_seed(0)
    noisy = [
        (torch.from_numpy(scene(seed) / 255) + 0.1 * torch.randn(2, 1, 40, 40, generator=generator)).half().numpy()
        for seed in range(6)
    ]
    given = replace(patches(), images=tuple(noisy))
    if loss != "noise2noise":
        given = replace(given, images=tuple(image[:1] for image in noisy))
    trainer = Trainer(recipe(RIDGE, steps=30, learning_rate=3e-2, loss=loss), given)
    for _ in range(30):
        trainer.advance()
    shown = [torch.from_numpy(scene(9)[None, None] / 255).float()]
    (figures,) = validate(as_kept(trainer.average), shown, [0.1], clean=True).figures
    assert figures.psnr > figures.noisy + 2


@pytest.mark.parametrize(
    "given",
    [
        recipe(FREE, penalty=0.1),
        recipe(replace(FREE, conditioned=True, noise_range=(0.05, 0.2)), penalty=0.1, noise=(0.05, 0.2)),
        hunting(recipe(replace(FREE, conditioned=True, noise_range=(0.05, 0.2)), penalty=0.1, noise=(0.05, 0.2))),
        recipe(RIDGE),
        recipe(RIDGE, inner_steps=3),
        recipe(RIDGE, loss="sure"),
        recipe(RIDGE, loss="r2r"),
    ],
    ids=["penalty", "conditioned", "hunted", "implicit", "unrolled", "sure", "r2r"],
)
def test_going_on_from_a_state_is_the_same_to_the_bit(given):
    whole, half = Trainer(given, patches()), Trainer(given, patches())
    for _ in range(7):
        whole.advance()
    for _ in range(4):
        half.advance()
    kept = {name: tensor.clone() for name, tensor in half.state().items()}
    torch.manual_seed(99)  # nothing may hang on the shared generator
    resumed = Trainer(given, patches())
    resumed.restore(kept)
    for _ in range(3):
        resumed.advance()
    assert same(resumed.state(), whole.state())


def test_another_seed_is_another_training():
    first, second = Trainer(recipe(), patches()), Trainer(recipe(seed=1), patches())
    first.advance()
    second.advance()
    assert not same(first.state(), second.state())


def test_a_state_of_another_network_is_refused():
    kept = Trainer(recipe(), patches()).state()
    with pytest.raises(InputError, match="expected the checkpoint of the same configuration"):
        Trainer(recipe(RIDGE), patches()).restore(kept)


def test_the_penalty_waits_for_its_step():
    trainer = Trainer(recipe(penalty=0.1), patches())
    seen = [trainer.advance().constraint for _ in range(4)]
    assert [math.isnan(value) for value in seen] == [True, True, False, False]


def test_a_hunted_point_goes_where_the_network_expands_more():
    trainer = Trainer(hunting(recipe(FREE, penalty=1e-9, learning_rate=1e-9), 20), patches())
    with torch.no_grad():
        trainer.network.kernels[-1].add_(0.1 * torch.randn(trainer.network.kernels[-1].shape))
    seen = []
    for _ in range(21):
        trainer.advance()
        if trainer.quarry is not None:
            x, h = trainer.quarry.x, trainer.quarry.h
            with torch.no_grad():
                seen.append(float((trainer.network.Q(x + h) - trainer.network.Q(x)).norm() / h.norm()))
    assert never_falls(seen, torch.float32)
    assert seen[-1] > 1.1 * seen[0]
    before = trainer.quarry.x
    trainer.advance()
    assert (trainer.quarry.x - before).norm() > 0.3 * before.norm()  # another one


def test_half_precision_only_where_nothing_is_constrained():
    trainer = Trainer(recipe(penalty=0.1, precision="bfloat16"), patches())
    plain = Trainer(recipe(penalty=0.1), patches())
    for _ in range(3):
        rough, fine = trainer.advance(), plain.advance()
    assert rough.loss == pytest.approx(fine.loss, rel=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in trainer.network.parameters())
    with pytest.raises(UsageError, match="expected 'single'"):
        recipe(RIDGE, precision="bfloat16")


def test_schedules():
    config = recipe(steps=100, warmup=4, final=0.1).training
    assert [schedule(config, step) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8], rel=1e-2)
    assert schedule(config, 50) == pytest.approx(0.55)
    assert schedule(config, 100) == pytest.approx(0.1)
    stepped = replace(config, schedule="step", warmup=0)
    assert [schedule(stepped, step) for step in (0, 49, 50, 75, 99)] == [1, 1, 0.1, 0.01, 0.01]
    assert schedule(replace(config, schedule="constant"), 99) == 1
