"""The packaged networks: each is what its card says, and what is proved of it is not refuted."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recon import catalogue
from recon.certificates.ascent import Search
from recon.certificates.lipschitz_search import hardest_of_network, reconcile_constant
from recon.errors import InputError
from recon.evidence import Evidence, Measured
from recon.operators import Blur, LeastSquares, gaussian_psf
from recon.operators.spectral import Effort
from recon.priors.networks import GuidedRidge, guided_prior, load, load_critic, resolvent
from recon.solvers import forward_backward
from recon.training import read_recipe

CAMERA = Path(__file__).parents[1] / "data" / "photographs" / "camera.png"
NAMES = sorted(catalogue.folders())
every_model = pytest.mark.parametrize("name", NAMES)


def test_there_are_models_and_the_proved_ones_among_them():
    assert set(NAMES) == {
        "proved-gray", "proved-color", "proved-ct", "proved-monotone-gray", "guided-gray", "guided-color", "guided-ct",
        "csc-gray", "lifting-gray",
    }  # fmt: skip


CRITICS = sorted(catalogue.critic_folders())


@pytest.mark.parametrize("name", CRITICS)
def test_the_card_of_a_critic_says_what_it_is(name):
    folder = catalogue.critic_folders()[name]
    card, critic = catalogue.read_critic(folder), load_critic(folder)
    known = critic.lipschitz()
    assert (card.lipschitz, card.evidence, known.evidence) == (known.value, "proved", Evidence.PROVED)
    assert known.value <= 1
    assert critic.config == read_recipe(folder / "config.toml").network
    assert (card.false_alarms_evidence, card.channels) == ("measured", critic.config.channels)
    assert set(card.auroc) == set(read_recipe(folder / "config.toml").artefacts.kinds)
    assert card.bytes < 1e6
    assert json.loads((folder / "certificate.json").read_text())["subject"] == f"model:{name}"
    assert all(catalogue.read_card(folder)["about"][key] for key in ("title", "data", "licence", "limits"))
    generator, steep = torch.Generator().manual_seed(0), []
    for scale in (1e-4, 0.01, 0.3):
        x = (scale * torch.randn(40, card.channels, 60, 60, generator=generator)).requires_grad_()
        steep.append(torch.autograd.grad(critic(x).sum(), x)[0].flatten(1).norm(dim=1))
    assert float(torch.cat(steep).max()) <= 1 + 1e-4


@pytest.mark.nightly
@pytest.mark.parametrize("name", CRITICS)
def test_the_score_of_a_critic_is_nowhere_steeper_than_is_proved(name):
    """On 10,000 points: noise of every size, and photographs and steps with some."""
    critic = load_critic(catalogue.critic_folders()[name])
    side, channels = critic.config.least_side, critic.config.channels
    generator, largest = torch.Generator().manual_seed(0), 0.0
    camera = torch.from_numpy(np.asarray(Image.open(CAMERA), np.float32) / 255)
    for turn in range(100):
        noise = 10 ** (5 * torch.rand(100, 1, 1, 1, generator=generator) - 4)
        x = noise * torch.randn(100, channels, side, side, generator=generator)
        if turn % 2:
            top, left = (int(torch.randint(size - side, (), generator=generator)) for size in camera.shape)
            x = x.clamp(-0.5, 0.5) + camera[top : top + side, left : left + side]
        x = x.requires_grad_()
        slopes = torch.autograd.grad(critic(x).sum(), x)[0].flatten(1).norm(dim=1)
        largest = max(largest, float(slopes.max()))
    assert 0.1 < largest <= 1 + 1e-4


@pytest.mark.parametrize(
    "content", ['{"sha256": "ab"}', '{"sha256": "ab", "lipschitz": {"value": 0}, "alarm": {"threshold": 1}}']
)
def test_the_card_of_a_critic_that_is_none_is_named(tmp_path, content):
    (tmp_path / "card.json").write_text(content)
    (tmp_path / "network.toml").write_text('sha256 = "ab"')
    with pytest.raises(InputError, match="does not say what the card of a critic says"):
        catalogue.read_critic(tmp_path)


def test_a_folder_with_a_recipe_and_no_weights_is_no_model():
    root = catalogue.folders()[NAMES[0]].parent
    recipes = {file.parent.name for file in root.glob("*/config.toml")} - set(NAMES) - set(CRITICS)
    assert {"mmo-gray", "mmo-color"} <= recipes
    for name in recipes:
        read_recipe(root / name / "config.toml")
    assert recipes.isdisjoint(model.name for model in catalogue.models())


@every_model
def test_a_card_says_what_the_network_is(name):
    folder = catalogue.folders()[name]
    card, network = catalogue.read_model(folder), load(folder)
    assert (card.channels, card.noise_range) == (network.config.channels, network.config.noise_range)
    assert network.config == read_recipe(folder / "config.toml").network
    known = network.lipschitz_Q(card.noise_range[1] if network.conditioned else None)
    assert (card.evidence, known.evidence) == ("proved", Evidence.PROVED)
    assert card.lipschitz == known.value
    assert (card.given == "the guide") == isinstance(network, GuidedRidge)
    assert card.known.endswith(", given the guide") == bool(card.given)
    assert card.bytes < 8e6
    assert card.figures
    about = catalogue.read_card(folder)["about"]
    assert all(about[key] for key in ("title", "data", "licence", "limits"))
    assert json.loads((folder / "certificate.json").read_text())["subject"] == f"model:{name}"


QUICK = Search(lanczos=Effort(tolerance=1e-1, applications=6), steps=3, distances=(0.05,), starts=1, seed=7)
"""The derivatives of a potential by an inner solve take a second each."""


@pytest.mark.nightly
@every_model
def test_no_search_exceeds_what_is_claimed(name):
    folder = catalogue.folders()[name]
    card, network = catalogue.read_model(folder), load(folder)
    level = card.noise_range[1] if network.conditioned else None
    found = hardest_of_network(network, level, side=16, search=QUICK)
    reconcile_constant(network.lipschitz_Q(level), found)
    assert found.quotient.value <= card.lipschitz * (1 + 1e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "cannot be read"), (b"[]", "expected an object"), (b"{}", "says of no weights that it is theirs"),
     (b'{"sha256": "ab"}', "does not say what a card says"), (b'{"sha256": "cd"}', "is of the network cd"),
     (b'{"sha256": "ab", "about": 1, "channels": 1, "noise_range": [0, 1], "lipschitz_Q": {}}',
      "does not say what a card says")],
)  # fmt: skip
def test_a_card_that_is_none_is_named(tmp_path, content, message):
    (tmp_path / "card.json").write_bytes(content)
    (tmp_path / "network.toml").write_text('sha256 = "ab"')
    with pytest.raises(InputError, match=rf"card\.json: .*{message}"):
        catalogue.read_model(tmp_path)


def test_a_missing_card_is_named(tmp_path):
    with pytest.raises(InputError, match=r"card\.json: the card of the network cannot be read"):
        catalogue.read_model(tmp_path)


def test_a_folder_without_a_network_is_no_model(tmp_path, monkeypatch):
    shutil.copytree(catalogue.folders()[NAMES[0]], tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(catalogue.resources, "files", lambda name: tmp_path)
    assert list(catalogue.folders()) == ["mine"]
    assert [model.name for model in catalogue.models()] == ["mine"]


@pytest.mark.nightly
@every_model
def test_residuals_fall_monotonically_to_1e_6(name):
    """Of a nonexpansive map: ||T x+ - x+|| <= ||x+ - x||, up to the accuracy of an inner prox."""
    folder, accuracy = catalogue.folders()[name], 1e-8
    card, network = catalogue.read_model(folder), load(folder)
    noise_level = card.noise_range[1]
    level = noise_level if network.conditioned else None
    operator = Blur(gaussian_psf(0.8), (16, 18))
    truth = torch.zeros(1, card.channels, 16, 18, dtype=torch.float64)
    truth[..., 4:11, 5:12] = 0.7
    noise = torch.randn(truth.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = operator.A(truth) + noise_level * noise
    if isinstance(network, GuidedRidge):
        prior = guided_prior(network, level, accuracy=accuracy).given(y).resolvent(1.0)
    else:
        prior = resolvent(network, level, accuracy=accuracy, measured=Measured(card.lipschitz, "the card"))
    algorithm = forward_backward(LeastSquares(operator, y), prior, 1.9)
    state, residuals = algorithm.init(y), []
    for _ in range(100):
        after = algorithm.step(state)
        residuals.append(float((after.x - state.x).norm() / after.x.norm()))
        state = after
        if residuals[-1] < 1e-6:
            break
    slack = 4 * accuracy * float(y.norm() / state.x.norm())
    assert all(b <= a * max(1.0, card.lipschitz) + slack for a, b in pairwise(residuals))
    assert residuals[-1] < 1e-6
