"""Packaging: a run becomes a folder with a card and a certificate, and a network that expands does not."""

import json
import re
import tempfile

import pytest
import torch
from click.testing import CliRunner
from training_cases import write_scenes

from recon import catalogue
from recon.certificates.ascent import Search
from recon.evaluation import packaging
from recon.evaluation.packaging import main, of_run, validated
from recon.evidence import Evidence
from recon.methods.network_search import Extent
from recon.operators.spectral import Effort
from recon.priors.networks import LipschitzConfig, load, make, measured_on_card, save
from recon.priors.networks.files import card as of_cards
from recon.training import Images, prepare, read_recipe, train
from recon.training.config import to_json

CONFIG = """
[network]
family = "DnCNN"
features = 4
depth = 3
coarse = 2.0
noise_range = [0.1, 0.1]
[data]
patch = 12
[training]
batch = 2
steps = 1
[validation]
images = 2
crop = 24
[about]
title = "A test"
data = "Rectangles"
licence = "None needed"
limits = "Of no use"
"""


@pytest.fixture
def folders(tmp_path):
    """A run whose network expands, a folder with its recipe, and images."""
    images, package, run = write_scenes(tmp_path / "images", 3), tmp_path / "package", tmp_path / "run"
    package.mkdir()
    (package / "config.toml").write_text(CONFIG)
    validation = write_scenes(tmp_path / "validation", 2, first=90)
    files = Images(sorted(images.iterdir()), sorted(validation.iterdir()))
    train(prepare(run, read_recipe(package / "config.toml"), False), files, run, torch.device("cpu"))
    network = load(run)
    with torch.no_grad():
        network.kernels[-1].add_(0.04 * torch.randn_like(network.kernels[-1]))
    known = catalogue.read_card(run)
    known["sha256"] = save(network, run, overwrite=True)
    (run / "card.json").write_text(json.dumps(known))
    return run, package, images


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Searches of a few steps, which count as whole."""
    monkeypatch.setattr(
        packaging, "EXTENT", Extent((12, 32), Search(lanczos=Effort(applications=10), steps=4, starts=2))
    )
    monkeypatch.setattr(of_cards, "WHOLE_STEPS", 4)
    monkeypatch.setattr(of_cards, "WHOLE_SIDES", (12, 32))


@pytest.fixture(autouse=True)
def _copies(tmp_path, monkeypatch):
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))


def packaged(run, package, images, *options):
    arguments = [str(run), str(package), "--validation", str(images), "--test", f"Scenes={images}", *options]
    return CliRunner().invoke(main, arguments)


def test_a_network_that_expands_is_not_packaged(folders):
    run, package, images = folders
    outcome = packaged(run, package, images)
    assert outcome.exit_code == 1
    assert re.search(r"A search found [12]\.\d+ \(.*\); expected at most 1", outcome.output)
    assert [path.name for path in package.iterdir()] == ["config.toml"]


def test_a_search_that_is_not_whole_packages_nothing_without_a_proof(folders, monkeypatch):
    run, package, images = folders
    monkeypatch.setattr(of_cards, "WHOLE_SIDES", (32, 96))
    outcome = packaged(run, package, images, "--divide", "4")
    assert outcome.exit_code == 1
    assert "too small for a whole search" in outcome.output
    assert [path.name for path in package.iterdir()] == ["config.toml"]


def test_a_network_that_is_divided_by_enough_is_packaged_with_its_searches(folders):
    run, package, images = folders
    outcome = packaged(run, package, images, "--divide", "4")
    assert outcome.exit_code == 0, outcome.output
    card, network = catalogue.read_model(package), load(package)
    assert network.config.divisor == 4
    assert 0.999 < card.lipschitz <= 1
    assert card.evidence == "measured"
    written = catalogue.read_card(package)
    assert written["packaged"] == {"clip": network.config.clip, "divisor": network.config.divisor}
    places = {(search["side"], search["inside"]) for search in written["searches"]}
    assert places == {(side, inside) for side in (12, 32) for inside in (True, False)}
    assert {search["noise"] for search in written["searches"]} == {0.1}
    assert measured_on_card(package).evidence is Evidence.MEASURED
    assert written["about"]["title"] == "A test"
    recipe = read_recipe(package / "config.toml")
    (of_it,), (of_the_run,) = validated(package, recipe, images), validated(run, recipe, images)
    assert written["figures"] == [of_it]
    assert of_it["psnr"] != of_the_run["psnr"]
    (test,) = written["tests"]
    assert (test["data"], test["noise"], test["images"]) == ("Scenes", 0.1, 3)
    certificate = json.loads((package / "certificate.json").read_text())
    assert certificate["subject"] == "model:package"
    assert all(place not in json.dumps([certificate, written]) for place in (str(run.parent), "copies"))
    assert load(run).config.divisor == 1


@pytest.mark.slow
def test_a_network_with_a_proof_needs_no_whole_search(folders):
    run, package, images = folders
    network = make(LipschitzConfig(features=2, depth=1, noise_range=(0.1, 0.1)))
    known = catalogue.read_card(run)
    text = CONFIG.replace('"DnCNN"', '"Lipschitz"').replace(
        "features = 4\ndepth = 3\ncoarse = 2.0", "features = 2\ndepth = 1"
    )
    (package / "config.toml").write_text(text)
    known |= {"sha256": save(network, run, overwrite=True), "recipe": to_json(read_recipe(package / "config.toml"))}
    (run / "card.json").write_text(json.dumps(known))
    outcome = packaged(run, package, images)
    assert outcome.exit_code == 0, outcome.output
    assert catalogue.read_model(package).evidence == "proved"
    assert catalogue.read_card(package)["sha256"] == catalogue.identity_of(package)


def test_a_run_of_another_recipe_is_refused_and_the_folder_stays_as_it_is(folders):
    run, package, images = folders
    (package / "config.toml").write_text(CONFIG.replace("steps = 1", "steps = 2"))
    outcome = packaged(run, package, images)
    assert outcome.exit_code == 1
    assert "training.steps = 1 in the run; expected 2, as the folder's config.toml says" in outcome.output
    assert [path.name for path in package.iterdir()] == ["config.toml"]


def test_a_run_from_before_a_key_was_added_is_of_the_same_recipe(folders):
    run, package, _ = folders
    card = catalogue.read_card(run)
    del card["recipe"]["network"]["clip"]
    (run / "card.json").write_text(json.dumps(card))
    recipe = read_recipe(package / "config.toml")
    assert of_run(run) == recipe
