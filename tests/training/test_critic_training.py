"""Training of a critic: what it learns, that it goes on to the bit, and the recipes that are refused."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from critic_cases import CRITIC, write_blobs
from PIL import Image

from recon.errors import InputError, UsageError
from recon.priors.networks import load_critic
from recon.training import Images, Listeners, parse_recipe, prepare, train
from recon.training.artefacts import KINDS, plant
from recon.training.checkpoint import load_checkpoint
from recon.training.critic import auroc, judge, threshold_of
from recon.training.data import read_validation


@pytest.fixture
def images(tmp_path):
    training, validation = write_blobs(tmp_path / "training", 4), write_blobs(tmp_path / "validation", 9, first=50)
    return Images(sorted(training.iterdir()), sorted(validation.iterdir()))


def run(folder, images, steps, resume=False, **listeners):
    recipe = parse_recipe(CRITIC, "recipe")
    recipe = replace(recipe, training=replace(recipe.training, steps=steps))
    wanted = prepare(folder, recipe, resume)
    return train(wanted, images, folder, torch.device("cpu"), Listeners(**listeners))


@pytest.mark.slow
def test_a_trained_critic_finds_planted_artefacts_on_images_that_it_never_saw(tmp_path, images):
    outcome = run(tmp_path / "run", images, 60)
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").read_text().splitlines()))
    assert [row["step"] for row in rows if row["auroc"]] == ["30", "60"]
    assert float(rows[-1]["auroc"]) == pytest.approx(outcome.look.auroc)
    assert (card["lipschitz"]["evidence"], card["alarm"]["units"]) == ("proved", "")
    others = write_blobs(tmp_path / "others", 12, first=100)
    recipe = parse_recipe(CRITIC, "recipe")
    shown = read_validation(sorted(others.iterdir()), recipe.data, 1, 12, 48, print)
    critic = load_critic(tmp_path / "run")
    found = judge(critic, shown, recipe, card["alarm"]["threshold"])
    assert all(each.auroc > 0.95 for each in found.kinds), found.kinds
    assert sum(score > found.threshold for score in found.clean) <= 4
    untrained = judge(type(critic)(critic.config), shown, recipe)
    assert untrained.auroc < found.auroc


@pytest.mark.slow
def test_a_training_that_was_interrupted_goes_on_to_the_bit(tmp_path, images):
    stops = iter([False] * 4 + [True])
    first = run(tmp_path / "half", images, 9, stopping=lambda: next(stops))
    assert first.step == 5
    run(tmp_path / "half", images, 9, resume=True)
    run(tmp_path / "whole", images, 9)
    one, two = (load_checkpoint(tmp_path / name)[0] for name in ("half", "whole"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("kind", KINDS)
def test_an_artefact_changes_the_image_reproducibly_and_leaves_its_sources(kind):
    image, other = torch.rand(2, 1, 60, 70, generator=torch.Generator().manual_seed(1))
    before = image.clone(), other.clone()
    one, two = (plant(kind, image, other, (0.1, 0.2), torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(image, before[0])
    assert torch.equal(other, before[1])
    assert float((one - image).abs().max()) > 0
    assert float(one.min()) >= 0
    assert not torch.equal(one, plant(kind, image, other, (0.1, 0.2), torch.Generator().manual_seed(5)))


def test_no_artefact_gives_itself_away_by_values_below_the_least():
    air = torch.zeros(1, 64, 64)
    for kind in ("streaks", "rings", "noise", "stripes"):
        assert float(plant(kind, air, air, (0.5, 0.5), torch.Generator().manual_seed(0)).min()) == 0


@pytest.mark.parametrize("seed", range(4))
def test_ripples_are_as_strong_as_is_asked_and_keep_the_mean_and_what_is_flat(seed):
    generator = torch.Generator().manual_seed(seed)
    edge = torch.full((1, 64, 64), 0.3)
    edge[..., 32:] = 0.7
    rippled = plant("ripples", edge, edge, (0.03, 0.03), generator)
    assert float((rippled - edge).square().mean().sqrt()) == pytest.approx(0.03, rel=1e-3)
    assert abs(float((rippled - edge).mean())) < 1e-3
    assert float(rippled.max()) > 0.72  # beyond the brighter side
    assert float((rippled - edge)[..., :4].abs().max()) < 0.01 * float((rippled - edge).abs().max()) + 0.02
    flat = torch.full((1, 64, 64), 0.3)
    assert torch.allclose(plant("ripples", flat, flat, (0.03, 0.03), generator), flat, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_stripes_are_constant_along_lines_of_one_direction(seed):
    middle = torch.full((1, 50, 60), 0.5)
    change = plant("stripes", middle, middle, (0.02, 0.02), torch.Generator().manual_seed(seed)) - 0.5
    along = [float(change.diff(dim=axis).abs().max()) for axis in (-1, -2)]
    assert min(along) < 1e-6
    assert max(along) > 1e-3
    assert float(change.std()) == pytest.approx(0.02, rel=0.3)


def test_auroc_and_thresholds_of_known_scores():
    assert auroc([0.0, 1.0], [2.0, 3.0]) == 1
    assert auroc([0.0, 1.0], [1.0, 1.0]) == 0.75
    assert auroc([1.0], [0.0]) == 0
    assert threshold_of([3.0, 1.0, 2.0]) == (3.0, 0.25)
    many = [float(each) for each in range(99)]
    assert threshold_of(many) == (89.0, 0.1)


def test_no_more_false_alarms_are_expected_than_is_said():
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(4000, 20, generator=generator).tolist()
    share = sum(scores[-1] > threshold_of(scores[:-1])[0] for scores in draws) / len(draws)
    assert share <= threshold_of(draws[0][:-1])[1] + 3 * math.sqrt(0.09 / len(draws))


def reconstructions(tmp_path, images):
    """These images, with others that have noise of their own."""
    folders = []
    for name, first in (("bad", 200), ("held-out", 300)):
        folders.append(write_blobs(tmp_path / name, 3, first=first))
        for index, path in enumerate(sorted(folders[-1].iterdir())):
            noisy = np.asarray(Image.open(path)) + 25 * np.random.default_rng(index).standard_normal((56, 56))
            Image.fromarray(np.rint(noisy.clip(0, 255)).astype(np.uint8)).save(path)
    return replace(images, **dict(zip(("artefacts", "held_out"), map(_files, folders), strict=True)))


def _files(folder):
    return sorted(folder.iterdir())


WITH_RECONSTRUCTIONS = CRITIC.replace('["streaks", "rings"]', '["reconstructions"]').replace(
    "features", "context = true\nfeatures"
)


@pytest.mark.slow
def test_images_with_artefacts_of_their_own_are_learnt_from(tmp_path, images):
    given = reconstructions(tmp_path, images)
    recipe = parse_recipe(WITH_RECONSTRUCTIONS, "recipe")
    recipe = replace(recipe, training=replace(recipe.training, steps=30))
    outcome = train(prepare(tmp_path / "run", recipe, False), given, tmp_path / "run", torch.device("cpu"))
    (figure,) = outcome.look.kinds
    assert (figure.kind, figure.auroc) == ("reconstructions", 1.0)
    with pytest.raises(InputError, match="begun with other images"):
        changed = replace(given, artefacts=given.artefacts[:2])
        train(recipe, changed, tmp_path / "run", torch.device("cpu"))


@pytest.mark.parametrize("leave", [("artefacts",), ("held_out",), ("artefacts", "held_out")])
def test_reconstructions_are_given_for_training_and_validation_or_not_at_all(tmp_path, images, leave):
    given = replace(reconstructions(tmp_path, images), **dict.fromkeys(leave, ()))
    recipe = parse_recipe(WITH_RECONSTRUCTIONS, "recipe")
    with pytest.raises(UsageError, match="expected all three or none"):
        train(prepare(tmp_path / "run", recipe, False), given, tmp_path / "run", torch.device("cpu"))
    assert not (tmp_path / "run" / "config.toml").exists()
    if not leave[1:]:
        return
    given = reconstructions(tmp_path / "again", images)
    with pytest.raises(UsageError, match="expected all three or none"):
        train(parse_recipe(CRITIC, "recipe"), given, tmp_path / "run", torch.device("cpu"))
    with pytest.raises(UsageError, match="for training and for validation"):
        replace(given, held_out=given.artefacts)
    with pytest.raises(UsageError, match="among --data and --artefacts"):
        replace(given, artefacts=given.training)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[artefacts]", "[penalty]\nweight = 0.1\n[artefacts]"), "nonexpansive by construction"),
        (('kinds = ["streaks", "rings"]', 'kinds = ["scratches"]'), "'scratches' is unknown"),
        (("strength = [0.1, 0.3]", "strength = [0.3, 0.1]"), "the lower one first"),
        (("patch = 40", "patch = 12"), "expected at least 20, a window of the critic"),
        (("patch = 40", 'patch = 40\nscale = "robust"'), "on the scale of their files"),
        (("batch = 6", 'batch = 6\nloss = "sure"\nnoise = 0.1'), "it denoises nothing"),
        ((CRITIC.partition("[data]")[0], '[network]\nfamily = "DnCNN"\nnoise_range = [0.1, 0.1]\n'),
         "no other is shown artefacts"),
    ],
)  # fmt: skip
def test_recipes_that_make_no_sense_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        parse_recipe(CRITIC.replace(*change), "recipe")


def test_an_image_smaller_than_a_window_is_refused_before_the_first_step(tmp_path, images):
    small = write_blobs(tmp_path / "small", 2, first=80, side=18)
    with pytest.raises(InputError, match="a validation image is too small; expected at least 20"):
        run(tmp_path / "run", Images(images.training, sorted(small.iterdir())), 2)
    assert not (tmp_path / "run" / "config.toml").exists()


@pytest.mark.parametrize(
    ("which", "message"),
    [("small", "a validation image is too small; expected at least 20"), ("slice", "expected no units")],
)
def test_reconstructions_of_another_size_or_unit_are_refused_before_the_first_step(tmp_path, images, which, message):
    held_out = [Path(__file__).parents[2] / "data" / "ct" / "tcga_60-2715.dcm"]
    if which == "small":
        held_out = _files(write_blobs(tmp_path / "small", 2, first=80, side=18))
    given = replace(reconstructions(tmp_path, images), held_out=held_out)
    with pytest.raises(InputError, match=message):
        train(parse_recipe(WITH_RECONSTRUCTIONS, "recipe"), given, tmp_path / "run", torch.device("cpu"))
    assert not (tmp_path / "run").exists()
