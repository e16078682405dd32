"""Training of a dictionary: its log, its picture, its steps and their metric, and learning on the image at hand."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training_cases import NOISE, RIDGE, recipe, write_scenes

from recon.errors import InputError, UsageError
from recon.evidence import Evidence
from recon.priors.networks import ConvolutionalSparseCoding, ConvolutionalSparseCodingConfig, load, make, save
from recon.report.atoms_figure import mosaic
from recon.training import Images, prepare, train
from recon.training.adapt import adapting_recipe
from recon.training.dictionary import use_of
from recon.training.log import NAME, Log
from recon.training.metric import in_steps, learn_metric

SMALL = ConvolutionalSparseCodingConfig(atoms=6, size=4, stride=2, shifts=1, noise_range=NOISE)


@pytest.fixture
def images(tmp_path: Path) -> Images:
    write_scenes(tmp_path / "training", 3)
    write_scenes(tmp_path / "validation", 1, first=50)
    return Images(sorted((tmp_path / "training").iterdir()), sorted((tmp_path / "validation").iterdir()))


def trained(network, images: Images, folder: Path, steps: int = 6, **training: object):
    wanted = recipe(network, steps=steps, learning_rate=0.01, inner_accuracy=0.01, **training)
    wanted = replace(wanted, validation=replace(wanted.validation, every=steps))
    return train(prepare(folder, wanted, False), images, folder, torch.device("cpu"))


def test_a_run_keeps_the_atoms_and_says_how_they_are_used(images: Images, tmp_path: Path) -> None:
    trained(SMALL, images, tmp_path / "run")
    row = Log(tmp_path / "run", 6).rows[-1]
    assert 0 < row.nonzero < 1
    assert 1 <= row.atoms <= 6
    assert (tmp_path / "run" / "atoms.png").stat().st_size > 1000
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["dictionary"]["atoms"] == 6
    assert card["dictionary"]["atoms_used"] == row.atoms
    assert card["lipschitz_Q"]["evidence"] == "proved"
    assert NAME == "log.csv"


def test_other_networks_have_no_atoms(images: Images, tmp_path: Path) -> None:
    trained(RIDGE, images, tmp_path / "run", steps=1)
    assert math.isnan(Log(tmp_path / "run", 1).rows[-1].nonzero)
    assert not (tmp_path / "run" / "atoms.png").exists()


def test_atoms_that_no_image_needs_are_not_counted() -> None:
    network = make(SMALL)
    assert isinstance(network, ConvolutionalSparseCoding)
    with torch.no_grad():
        network.get_parameter("dictionaries.0.log_threshold")[:, 2:] = 20.0
    use = use_of(network, [torch.rand(1, 1, 20, 20)], NOISE, seed=0)
    assert use is not None
    assert use.used <= 2
    assert use.shares[0][2:] == (0.0,) * 4


def test_a_mosaic_shows_each_atom_with_zero_in_the_middle() -> None:
    atom = np.array([[1.0, -1.0], [0.0, 0.5]])[..., None]
    picture = mosaic([atom, 3 * atom, np.zeros((2, 2, 1)), atom])
    assert picture.shape == (5, 8, 3)  # two rows and columns with a line between them
    assert np.allclose(picture[:2, :2, 0], [[1, 0], [0.5, 0.75]])
    assert np.allclose(picture[:2, 3:5, 0], picture[:2, :2, 0])
    assert np.allclose(picture[:2, 6:], 0.5)
    assert np.allclose(picture[3:, 3:], 1)


@pytest.mark.parametrize("change", [{}, {"metric": "diagonal"}, {"tied": False}, {"layers": 2}])
def test_steps_are_trained_and_nothing_is_claimed_of_them(
    images: Images, tmp_path: Path, change: dict[str, object]
) -> None:
    config = replace(SMALL, steps=3, **change)  # type: ignore[arg-type]
    trained(config, images, tmp_path / "run", steps=2)
    network = load(tmp_path / "run")
    assert network.lipschitz_Q().evidence is Evidence.ASSUMED
    begun = make(config).state_dict()
    assert all(not torch.equal(each, begun[name]) for name, each in network.state_dict().items() if "thresh" in name)


def test_steps_begin_with_a_dictionary_and_other_steps_are_refused(images: Images, tmp_path: Path) -> None:
    save(make(SMALL), tmp_path / "solved")
    save(make(replace(SMALL, steps=3)), tmp_path / "three")
    trained(replace(SMALL, steps=3), images, tmp_path / "a", steps=1, start=str(tmp_path / "solved"))
    with pytest.raises(UsageError, match=r"has steps = 3; expected 5, as the recipe says"):
        trained(replace(SMALL, steps=5), images, tmp_path / "b", steps=1, start=str(tmp_path / "three"))
    with pytest.raises(UsageError, match="is a ConvolutionalSparseCoding network; expected a ConvexRidge network"):
        trained(RIDGE, images, tmp_path / "c", steps=1, start=str(tmp_path / "solved"))
    with pytest.raises(UsageError, match=r"steps.* part of its architecture"):
        recipe(SMALL, inner_steps=3)


def test_a_learned_metric_is_nearer_to_the_code_than_the_scalar_one() -> None:
    torch.manual_seed(0)
    network = make(SMALL)
    assert isinstance(network, ConvolutionalSparseCoding)
    with torch.no_grad():  # atoms of several sizes, for which one step size is a poor one
        network.get_parameter("dictionaries.0.log_gain").copy_(torch.linspace(-1, 1.5, 6))
    learned = in_steps(network, 6, "diagonal")
    y = torch.rand(2, 1, 16, 16) + 0.1 * torch.randn(2, 1, 16, 16)
    values = learn_metric(learned, y, iterations=30)
    assert values[-1] == min(values) < values[0]
    assert learned.metric_norm().value <= 1
    code = network.codes()[0]
    ista = code.objective(y, in_steps(network, 6).stepped(code, y, 6)).mean().detach()
    assert values[0] == pytest.approx(float(ista), rel=1e-5)
    least = float(code.objective(y, network.frozen().float().coefficients(y)[0]).mean().detach())
    assert values[-1] - least < 0.8 * (values[0] - least)
    with pytest.raises(UsageError, match="expected 'diagonal'"):
        learn_metric(in_steps(network, 6), y)
    with pytest.raises(UsageError, match="expected one dictionary a layer and the scalar metric"):
        in_steps(learned, 7)


def noisy_image(path: Path, sigma: float = 0.1, channels: int = 1) -> Path:
    torch.manual_seed(3)
    wave = torch.sin(torch.arange(64.0) / 2).expand(64, 64)
    pixels = 0.5 + 0.25 * wave + sigma * torch.randn(64, 64)
    picture = (255 * pixels.clamp(0, 1)).round().byte().numpy()
    Image.fromarray(picture if channels == 1 else np.stack([picture] * 3, 2)).save(path)
    return path


def test_a_network_goes_on_learning_on_the_noisy_image_itself(tmp_path: Path) -> None:
    save(make(SMALL), tmp_path / "start")
    file = noisy_image(tmp_path / "noisy.png")
    wanted = adapting_recipe(str(tmp_path / "start"), [file], "sure")
    assert wanted.training.noise[0] == pytest.approx(0.1, rel=0.15)
    wanted = replace(
        wanted,
        training=replace(wanted.training, steps=15, learning_rate=0.03, batch=2),
        data=replace(wanted.data, patch=32),
    )
    folder = tmp_path / "run"
    train(prepare(folder, wanted, False), Images([file], [file], True), folder, torch.device("cpu"))
    clean = 0.5 + 0.25 * torch.sin(torch.arange(64.0) / 2).expand(1, 1, 64, 64)
    noisy = torch.from_numpy(np.array(Image.open(file))).float()[None, None] / 255
    with torch.no_grad():
        before, after = (float((load(path)(noisy) - clean).square().mean()) for path in (tmp_path / "start", folder))
    assert after < 0.9 * before


def test_what_cannot_be_adapted_is_refused(tmp_path: Path) -> None:
    save(make(SMALL), tmp_path / "start")
    start, file = str(tmp_path / "start"), noisy_image(tmp_path / "noisy.png")
    with pytest.raises(UsageError, match="--loss is 'mse' with --from; expected sure or r2r"):
        adapting_recipe(start, [file], "mse")
    with pytest.raises(UsageError, match=r"--from = 'model:nothing'; expected one of"):
        adapting_recipe("model:nothing", [file], "sure")
    with pytest.raises(InputError, match="nowhere"):
        adapting_recipe(str(tmp_path / "nowhere"), [file], "sure")
    with pytest.raises(UsageError, match="--noise is 0; expected a standard deviation above 0"):
        adapting_recipe(start, [file], "sure", 0.0)
    flat = tmp_path / "flat.png"
    Image.fromarray(np.full((64, 64), 128, np.uint8)).save(flat)
    with pytest.raises(UsageError, match="the noise of the images cannot be estimated"):
        adapting_recipe(start, [flat], "sure")
    save(make(replace(SMALL, channels=3)), tmp_path / "colour")
    with pytest.raises(InputError, match="an image has 1 channels; expected 3"):
        adapting_recipe(str(tmp_path / "colour"), [file], "sure")
