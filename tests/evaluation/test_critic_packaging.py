"""Packaging of a critic: its card has the figures of test images and of reconstructions of them."""

import json
import math
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from critic_cases import CRITIC, write_blobs

from recon import catalogue
from recon.evaluation.critic_packaging import main
from recon.priors.networks import load_critic
from recon.training import Images, parse_recipe, prepare, train

RECIPE = (
    CRITIC.replace('["streaks", "rings"]', '["rings", "reconstructions"]')
    + """
[about]
title = "Blobs"
data = "Made here"
licence = "None"
limits = "All"
"""
)


@pytest.fixture
def trained(tmp_path):
    folders = {name: write_blobs(tmp_path / name, 2, first=10 * at) for at, name in enumerate(("a", "b", "c", "d"))}
    recipe = parse_recipe(RECIPE, "recipe")
    recipe = replace(recipe, training=replace(recipe.training, steps=1))
    files = Images(
        *(sorted(folders[name].iterdir()) for name in "ab"), False, *map(_files, (folders["c"], folders["d"]))
    )
    train(prepare(tmp_path / "run", recipe, False), files, tmp_path / "run", torch.device("cpu"))
    (tmp_path / "critic-x").mkdir()
    (tmp_path / "critic-x" / "config.toml").write_text(RECIPE.replace("steps = 60", "steps = 1"))
    return tmp_path


def _files(folder):
    return sorted(folder.iterdir())


def package(folder, *options):
    return CliRunner().invoke(main, [str(folder / "run"), str(folder / "critic-x"), *options])


def test_a_packaged_critic_says_what_it_found_and_what_it_took_for_an_artefact(trained):
    write_blobs(trained / "test", 3, first=60)
    write_blobs(trained / "good", 4, first=70)
    write_blobs(trained / "bad", 2, first=80)
    test, good, bad = (str(trained / name) for name in ("test", "good", "bad"))
    outcome = package(trained, "--test", f"Blobs={test}", "--good", good, "--bad", bad)
    assert outcome.exit_code == 0, outcome.output
    card = catalogue.read_critic(trained / "critic-x")
    assert card.false_alarms_evidence == "measured"
    assert "of 3 images without artefacts, Blobs; " in card.false_alarms_how
    assert "of 4 good reconstructions of such" in card.false_alarms_how
    assert card.auroc.keys() == {"rings", "reconstructions"}
    assert all(0 <= value <= 1 and math.isfinite(value) for value in card.auroc.values())
    known = json.loads((trained / "critic-x" / "certificate.json").read_text())
    assert known["constants"][0]["value"] == load_critic(trained / "critic-x").lipschitz().value


def test_a_critic_of_reconstructions_is_not_packaged_without_some(trained):
    outcome = package(trained, "--test", f"Blobs={trained / 'a'}")
    assert (outcome.exit_code, "--bad is missing" in outcome.output) == (2, True), outcome.output
    assert not (trained / "critic-x" / "card.json").exists()
