"""Training and validation without clean images: splitting, losses on held-out images, estimated noise levels."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_cases import FREE, RIDGE, patches, recipe, scene, write_scenes

from recon.errors import InputError, UsageError
from recon.priors.networks import make
from recon.training import Images, Patches, Recipe, Trainer, ValidationConfig, prepare, train
from recon.training.losses import fidelity, hidden_pixels, sample
from recon.training.noise_level import estimated, noise_stated
from recon.training.validation import held_out

SIGMA = 0.1


def noisy_scene(seed: int, frames: int = 1) -> np.ndarray:
    """On [0, 1], as float16: noise that is cut off nowhere."""
    draw = np.random.default_rng(1000 + seed)
    clean = scene(seed)[None, None] / 255
    return (clean + SIGMA * draw.standard_normal((frames, *clean.shape[1:]))).astype(np.float16)


def write_noisy(folder, count, first=0, frames=1):
    folder.mkdir()
    for seed in range(first, first + count):
        np.save(folder / f"{seed}.npy", noisy_scene(seed, frames)[:, 0].astype(np.float32))
    return sorted(folder.iterdir())


def unsupervised(loss: str, **validation: object) -> Recipe:
    given = recipe(FREE, steps=8, loss=loss)
    data = replace(given.data, range=(0.0, 1.0))
    return replace(given, data=data, validation=ValidationConfig(every=4, images=2, crop=24, **validation))


def test_a_hidden_pixel_is_never_an_input_of_what_is_found_there() -> None:
    given = recipe(FREE, loss="splitting").training
    torch.manual_seed(0)
    network = make(FREE)
    data = sample(torch.rand(1, 2, 1, 12, 12), given, torch.Generator().manual_seed(0))
    hidden = data.draws.bool()
    changed = replace(data, noisy=torch.where(hidden, data.noisy + torch.rand_like(data.noisy), data.noisy))
    assert torch.equal(fidelity(network, data, given)[1], fidelity(network, changed, given)[1])
    seen = replace(data, noisy=torch.where(hidden, data.noisy, data.noisy + 0.1))
    assert not torch.equal(fidelity(network, data, given)[1], fidelity(network, seen, given)[1])


def test_every_pixel_is_hidden_as_often_as_any_other_and_neighbours_never_together() -> None:
    hidden = hidden_pixels(torch.zeros(900, 1, 12, 12), torch.Generator().manual_seed(0))
    assert set(hidden.flatten().tolist()) == set(range(9))
    hidden = hidden.sign()
    assert float((hidden.mean(0) - 1 / 9).abs().max()) < 0.05
    assert not bool((hidden[..., 1:] * hidden[..., :-1]).any())
    assert not bool((hidden[..., 1:, :] * hidden[..., :-1, :]).any())


def test_a_neighbour_stands_in_the_place_of_a_hidden_pixel() -> None:
    """At the border too, where the mirror image must not be the pixel itself."""
    given = recipe(FREE, loss="splitting").training
    y = torch.arange(49.0).view(1, 1, 1, 7, 7)
    seen = []

    class Watching(torch.nn.Module):
        conditioned = False

        def forward(self, y: torch.Tensor, _level: None) -> torch.Tensor:
            seen.append(y)
            return y

    for seed in range(30):
        data = sample(y, given, torch.Generator().manual_seed(seed))
        fidelity(Watching(), data, given)
        moved = (seen[-1] - y[0])[data.draws > 0].abs()
        assert set(moved.tolist()) <= {1.0, 6.0, 7.0, 8.0}
        assert torch.equal(seen[-1][data.draws == 0], y[0][data.draws == 0])


def test_the_loss_of_splitting_is_the_error_and_the_variance_of_the_noise() -> None:
    """Known answer: what is found for a constant image is the constant, so that the noise alone is left."""
    given = recipe(FREE, loss="splitting").training
    noisy = 0.5 + SIGMA * torch.randn(1, 1, 1, 300, 300, generator=torch.Generator().manual_seed(0))
    data = sample(noisy, given, torch.Generator().manual_seed(0))

    class Half(torch.nn.Module):
        conditioned = False

        def forward(self, y: torch.Tensor, _level: None) -> torch.Tensor:
            return torch.full_like(y, 0.5)

    assert float(fidelity(Half(), data, given)[0]) == pytest.approx(SIGMA**2, rel=0.03)


def test_sure_on_held_out_images_is_the_error_of_images_that_were_never_seen() -> None:
    torch.manual_seed(0)
    network = make(FREE).eval()
    noisy = [torch.from_numpy(noisy_scene(seed).astype(np.float32)) for seed in range(8)]
    with torch.no_grad():
        errors = [
            float((network(image) - torch.from_numpy(scene(seed) / 255)).square().mean())
            for seed, image in enumerate(noisy)
        ]
    found = held_out(network, noisy, recipe(FREE, loss="sure").training)
    assert found == pytest.approx(float(np.mean(errors)), rel=0.1)
    assert found == held_out(network, noisy, recipe(FREE, loss="sure").training)


@pytest.mark.parametrize("loss", ["sure", "r2r", "noise2noise", "splitting"])
def test_a_run_is_judged_by_its_loss_on_other_noisy_images(tmp_path, loss) -> None:
    frames = 2 if loss == "noise2noise" else 1
    images = Images(write_noisy(tmp_path / "a", 3, 0, frames), write_noisy(tmp_path / "b", 2, 50, frames))
    given, folder = unsupervised(loss, patience=1), tmp_path / "run"
    outcome = train(prepare(folder, given, False), images, folder, torch.device("cpu"))
    rows = [row for row in csv.DictReader((folder / "log.csv").read_text().splitlines()) if row["held_out"]]
    assert [row["step"] for row in rows] == ["4", "8"][: len(rows)]
    assert not any(row["psnr"] for row in rows)
    assert json.loads((folder / "card.json").read_text())["held_out"] == pytest.approx(outcome.look.held_out, rel=1e-5)


def test_clean_images_for_validation_give_a_psnr(tmp_path) -> None:
    images = Images(write_noisy(tmp_path / "a", 3), sorted(write_scenes(tmp_path / "b", 2, 50).iterdir()))
    given, folder = unsupervised("sure", clean=True), tmp_path / "run"
    given = replace(given, data=replace(given.data, range=(0.0, 0.0)))
    outcome = train(prepare(folder, given, False), images, folder, torch.device("cpu"))
    assert outcome.look.psnr > 10
    assert "held_out" not in json.loads((folder / "card.json").read_text())


def test_splitting_learns_to_denoise() -> None:
    """From noisy images alone: images that it has not seen lose noise."""
    given = recipe(RIDGE, steps=60, loss="splitting", learning_rate=0.03, batch=8)
    trainer = Trainer(given, Patches(tuple(noisy_scene(seed) for seed in range(8)), 12, augment=True))
    for _ in range(60):
        trainer.advance()
    with torch.no_grad():
        found = trainer.network(torch.from_numpy(noisy_scene(50).astype(np.float32)))
    assert float((found - torch.from_numpy(scene(50) / 255)).square().mean()) < 0.75 * SIGMA**2


def test_the_noise_level_is_estimated_from_the_images(tmp_path) -> None:
    found = estimated([noisy_scene(seed) for seed in range(6)])
    assert found.level == pytest.approx(SIGMA, rel=0.15)
    assert found.lowest <= found.level <= found.highest
    said = []
    given = noise_stated("estimate", unsupervised("sure"), write_noisy(tmp_path / "a", 3), said.append)
    assert given.training.noise[0] == given.training.noise[1] == given.network.noise_range[0]
    assert "the median of the estimates of 3 images" in said[0]
    with pytest.raises(InputError, match="cannot be estimated"):
        estimated([np.zeros((1, 1, 20, 20), np.uint8)])


@pytest.mark.parametrize(
    ("text", "loss", "message"),
    [
        ("0", "sure", "noise is '0'; expected a positive standard deviation"),
        ("-1", "sure", "noise is '-1'"),
        ("nan", "r2r", "noise is 'nan'"),
        ("much", "sure", "noise is 'much'"),
        ("estimate", "mse", r"training.loss = 'mse'; expected a number, because the images are clean"),
    ],
)
def test_no_noise_level_is_one_sentence(text, loss, message) -> None:
    with pytest.raises(UsageError, match=message):
        noise_stated(text, recipe(loss=loss), [], lambda line: None)


def test_frames_that_are_missing_for_the_validation_are_one_sentence(tmp_path) -> None:
    images = Images(write_noisy(tmp_path / "a", 2, 0, 2), write_noisy(tmp_path / "b", 1, 50))
    with pytest.raises(InputError, match=r"there is 1 frame; expected at least 2 of one scene"):
        train(unsupervised("noise2noise"), images, tmp_path, torch.device("cpu"))


def test_two_processes_hide_the_same_pixels_as_one() -> None:
    given = recipe(loss="splitting")
    data = sample(patches().draw(4, torch.Generator().manual_seed(0)), given.training, torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    network = make(FREE)
    whole = fidelity(network, data, given.training)[0]
    parts = [fidelity(network, data.part(begin, begin + 2), given.training)[0] for begin in (0, 2)]
    assert torch.allclose(torch.cat(parts), whole)
