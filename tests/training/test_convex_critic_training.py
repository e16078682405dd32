"""Training of a convex critic: what it restores, that it goes on to the bit, and the recipes that are refused."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from critic_cases import write_blobs

from recon.errors import ReconError, UsageError
from recon.priors.networks import load_convex_critic
from recon.training import Images, Listeners, parse_recipe, prepare, train
from recon.training.checkpoint import load_checkpoint
from recon.training.convex_critic import highest
from recon.training.operator_stated import for_measurements

CONVEX = """
[network]
family = "ConvexCritic"
features = 8
size = 3
hidden = 4
[data]
patch = 24
[equilibrium]
operator = "blur:gaussian=1"
[training]
mode = "single"
noise = 0.02
batch = 4
steps = 40
learning_rate = 0.03
ema = 0.9
[validation]
every = 20
images = 1
crop = 32
"""


@pytest.fixture
def images(tmp_path):
    training, validation = write_blobs(tmp_path / "training", 4), write_blobs(tmp_path / "validation", 2, first=50)
    return Images(sorted(training.iterdir()), sorted(validation.iterdir()))


def run(folder, images, steps, resume=False, **listeners):
    recipe = parse_recipe(CONVEX, "recipe")
    recipe = replace(recipe, training=replace(recipe.training, steps=steps))
    return train(prepare(folder, recipe, resume), images, folder, torch.device("cpu"), Listeners(**listeners))


@pytest.mark.slow
def test_a_trained_convex_critic_restores_better_than_a_linear_inverse(tmp_path, images):
    outcome = run(tmp_path / "run", images, 40)
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").read_text().splitlines()))
    assert [row["step"] for row in rows if row["psnr"]] == ["20", "40"]
    assert float(rows[-1]["loss"]) < min(float(rows[0]["loss"]), 0)
    (figure,) = outcome.look.figures
    assert figure.psnr > figure.start + 2
    assert 0 < figure.slope <= 1
    assert (card["lipschitz"]["evidence"], card["lipschitz_gradient"]["evidence"]) == ("proved", "proved")
    assert card["lipschitz"]["value"] <= 1
    kept = load_convex_critic(tmp_path / "run")
    assert kept.config.factor == card["weight_over_back_noise"] == outcome.look.factor
    assert kept.smoothness().value == pytest.approx(card["lipschitz_gradient"]["value"])


@pytest.mark.slow
def test_a_training_that_was_interrupted_goes_on_to_the_bit(tmp_path, images):
    stops = iter([False] * 3 + [True])
    assert run(tmp_path / "half", images, 6, stopping=lambda: next(stops)).step == 4
    run(tmp_path / "half", images, 6, resume=True)
    run(tmp_path / "whole", images, 6)
    one, two = (load_checkpoint(tmp_path / name)[0] for name in ("half", "whole"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert (tmp_path / "half" / "network.toml").read_text() == (tmp_path / "whole" / "network.toml").read_text()


def test_the_factor_of_the_weight_is_looked_for_until_the_figure_falls():
    for best in (0.25, 0.5, 1.0, 4.0):
        tried = []

        def figure(factor, best=best, tried=tried):
            tried.append(factor)
            return -abs(math.log2(factor / best))

        assert highest(figure) == best
        assert len(tried) == len(set(tried)) <= 6
    assert highest(lambda factor: factor) == 16
    assert highest(lambda factor: -factor) == 1 / 16
    assert highest(lambda factor: math.nan) == 1


def test_an_operator_that_is_stated_measures_the_clean_images():
    table = {"network": {"family": "ConvexCritic", "noise_range": [0.1, 0.1]}}
    recipe = for_measurements(table, "blur:gaussian=2", "recipe")
    assert (recipe.training.mode, recipe.equilibrium.operator) == ("single", "blur:gaussian=2")
    assert not recipe.measured


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('mode = "single"', ""), "tell truth from what a linear inverse makes"),
        (('mode = "single"', 'mode = "single"\nloss = "sure"'), "because its loss is the difference of two scores"),
        (("[training]", "[penalty]\nweight = 0.1\n[training]"), "nonexpansive by construction"),
        (("[training]", "[artefacts]\nmargin = 0.1\n[training]"), "no other is shown artefacts"),
        (("hidden = 4", "hidden = 4\nfactor = 2.0"), "the training fills it in"),
        (("patch = 24", "patch = 4"), "expected at least 5"),
        (("size = 3", "size = 4"), "odd numbers"),
    ],
)  # fmt: skip
def test_recipes_that_make_no_sense_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        parse_recipe(CONVEX.replace(*change), "recipe")


def test_an_image_that_the_operator_does_not_take_is_refused_before_the_first_step(tmp_path, images):
    np.save(tmp_path / "mask.npy", np.random.default_rng(0).random((24, 24)) < 0.5)
    masked = CONVEX.replace("blur:gaussian=1", f"inpaint:mask={tmp_path / 'mask.npy'}")  # and crop = 32
    recipe = parse_recipe(masked, "recipe")
    with pytest.raises(ReconError, match="24"):
        train(prepare(tmp_path / "run", recipe, False), images, tmp_path / "run", torch.device("cpu"))
    assert not (tmp_path / "run" / "config.toml").exists()


def test_a_run_does_not_go_on_with_another_operator(tmp_path, images):
    kernel = tmp_path / "kernel.npy"
    np.save(kernel, np.ones((3, 3)))
    recipe = parse_recipe(CONVEX.replace("blur:gaussian=1", f"blur:psf={kernel}"), "recipe")
    recipe = replace(recipe, training=replace(recipe.training, steps=2))
    stops = iter([True])
    train(
        prepare(tmp_path / "run", recipe, False), images, tmp_path / "run", torch.device("cpu"),
        Listeners(stopping=lambda: next(stops)),
    )  # fmt: skip
    np.save(kernel, np.eye(3))
    with pytest.raises(UsageError, match="the operator measures otherwise"):
        train(prepare(tmp_path / "run", recipe, True), images, tmp_path / "run", torch.device("cpu"))
