"""Packaging: a run becomes a folder with a card and a certificate, and a network that expands is divided first."""

import json
import math
import re
import tempfile

import pytest
import torch
from click.testing import CliRunner
from recon.models import package as packaging
from recon.models.package import Search, main, of_run, stands, validated
from recon.models.search import main as search_again
from training_cases import write_scenes

from recon import catalogue
from recon.evidence import Evidence, Measured
from recon.pipeline import certify
from recon.priors.networks import LipschitzConfig, load, make, save
from recon.training import Images, prepare, read_recipe, train

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
    save(network, run, overwrite=True)
    return run, package, images


@pytest.fixture(autouse=True)
def _copies(tmp_path, monkeypatch):
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))


def packaged(run, package, images):
    arguments = [str(run), str(package), "--validation", str(images), "--test", f"Scenes={images}"]
    return CliRunner().invoke(main, arguments)


def test_a_network_that_expands_is_divided_until_a_search_finds_no_more(folders, monkeypatch):
    monkeypatch.setattr(packaging, "_SIDES", (12, 48))
    run, package, images = folders
    found = certify.certify_prior(certify.Spec("folder", value=str(run))).constants["lipschitz_Q_attack"].value
    assert found > 1.05
    outcome = packaged(run, package, images)
    assert outcome.exit_code == 0, outcome.output
    said = re.findall(r"a search found (.*): Q is divided by (.*)", outcome.output)
    assert float(said[0][0]) > found - 1e-3
    assert all(float(number) == pytest.approx(1 + 1.25 * (float(value) - 1), abs=2e-4) for value, number in said)
    card, network = catalogue.read_model(package), load(package)
    assert network.config.divisor == pytest.approx(math.prod(float(number) for _, number in said), abs=1e-3)
    assert 0.999 < card.lipschitz <= 1
    assert card.evidence == "measured"
    written = catalogue.read_card(package)
    assert written["packaged"] == {"clip": network.config.clip, "divisor": network.config.divisor}
    assert {search["side"] for search in written["searches"]} == {12, 40, 48}  # the images have 40
    assert {search["noise"] for search in written["searches"]} == {0.1}
    claimed, least = written["lipschitz_Q"], written["lipschitz_Q"]["least_side"]
    assert claimed["value"] == max(each["value"] for each in written["searches"] if each["side"] >= least)
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


@pytest.mark.parametrize(
    ("found", "least", "value"),
    [([1.0, 1.0, 1.0, 1.0], 12, 1.0), ([1.03, 1.0, 0.9, 1.0], 32, 1.0), ([1.0, 1.02, 1.0, 0.9], 48, 1.0),
     ([1.03, 1.0, 1.01, 1.0], 32, 1.01), ([1.0, 1.0, 1.0, 1.04], 12, 1.04)],
)  # fmt: skip
def test_what_is_claimed_holds_from_the_side_on_from_which_no_search_found_more(found, least, value):
    """From 48 pixels on nothing is left out of the claim."""
    sides = zip((12, 32, 48, 64), found, strict=True)
    claimed = stands([Search(0.1, side, Measured(number, "a search")) for side, number in sides])
    assert (claimed["least_side"], claimed["value"]) == (least, value)


def test_a_network_with_a_proof_is_searched_from_images_only_and_never_divided(tmp_path):
    save(make(LipschitzConfig(features=2, depth=1, noise_range=(0.1, 0.1))), tmp_path / "proved")
    report, searches = packaging.searched(tmp_path / "proved", {})
    assert report.constants["lipschitz_Q"].evidence is Evidence.PROVED
    assert searches == []
    assert packaging.divisor(tmp_path / "proved", packaging.worst(searches)) == 1


def test_an_earlier_divisor_is_begun_with(folders, monkeypatch):
    monkeypatch.setattr(packaging, "_SIDES", (12, 48))
    run, package, images = folders
    arguments = [str(run), str(package), "--validation", str(images), "--test", f"Scenes={images}", "--divide", "4"]
    outcome = CliRunner().invoke(main, arguments)
    assert "Q is divided by" not in outcome.output
    assert load(package).config.divisor == 4


def test_a_package_is_searched_anew_and_keeps_its_figures(folders, monkeypatch):
    monkeypatch.setattr(packaging, "_SIDES", (12, 48))
    run, package, images = folders
    assert packaged(run, package, images).exit_code == 0
    before = {name: (package / name).read_text() for name in ("card.json", "certificate.json")}
    other = {"noise": 0.07, "side": 12, "value": 0.5, "how": "at a level between those of the search"}
    listed = json.loads(before["card.json"])
    stale = listed | {"attack": None, "searches": [*listed["searches"][:1], other], "lipschitz_Q": None}
    (package / "card.json").write_text(json.dumps(stale))
    (package / "certificate.json").write_text("{}")
    (package / "config.toml").write_text(CONFIG.replace("A test", "Other words"))
    outcome = CliRunner().invoke(search_again, [str(package), "--validation", str(images)])
    assert outcome.exit_code == 0, outcome.output
    anew = json.loads((package / "card.json").read_text())
    assert anew["about"]["title"] == anew["recipe"]["about"]["title"] == "Other words"
    assert anew["searches"] == [*listed["searches"], other]
    kept = {name: value for name, value in listed.items() if name not in ("about", "recipe", "searches")}
    assert {name: anew[name] for name in kept} == kept
    assert (package / "certificate.json").read_text() == before["certificate.json"]


def test_a_package_that_expands_is_named_and_left_as_it_is(folders, monkeypatch):
    monkeypatch.setattr(packaging, "_SIDES", (12, 48))
    run, _, images = folders
    (run / "config.toml").write_text(CONFIG)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    outcome = CliRunner().invoke(search_again, [str(run), "--validation", str(images)])
    assert outcome.exit_code == 1
    assert "expected at most 1, so nothing was written" in outcome.output
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


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
