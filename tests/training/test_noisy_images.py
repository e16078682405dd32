"""Training and validation without clean images: splitting, losses on held-out images, estimated noise levels."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_cases import FREE, RIDGE, patches, recipe, scene, write_scenes

from recon.errors import InputError, UsageError
from recon.priors.networks import make
from recon.training import Images, Patches, Recipe, Trainer, ValidationConfig, prepare, train
from recon.training.losses import fidelity, sample
from recon.training.neighbours import CONSISTENCY, halves, pairs_of_neighbours
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


def test_the_halves_of_an_image_are_of_neighbours_and_share_no_pixel() -> None:
    """Of odd sizes too; each pixel of a cell is compared as often as any other."""
    images = torch.arange(90.0).view(1, 1, 9, 10).expand(500, 2, 9, 10)
    first, second = halves(images, pairs_of_neighbours(images, torch.Generator().manual_seed(0)))
    assert first.shape == second.shape == (500, 2, 4, 5)
    assert set((first - second).abs().flatten().tolist()) == {1.0, 10.0}
    assert torch.equal(first[:, 0], first[:, 1])
    cells = [image.div(20, rounding_mode="floor") * 5 + image.remainder(10).div(2, rounding_mode="floor")
             for image in (first, second)]  # fmt: skip
    assert torch.equal(cells[0], cells[1])
    assert set(cells[0][0, 0].flatten().tolist()) == set(range(20))
    seen = torch.bincount(second.flatten().long(), minlength=90).view(9, 10) / 1000
    assert not bool(seen[8].any())
    assert float((seen[:8] - 1 / 4).abs().max()) < 0.1


class Known(torch.nn.Module):
    """A map of images in the place of a network."""

    conditioned = False

    def __init__(self, of: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.of = of

    def forward(self, y: torch.Tensor, _level: None) -> torch.Tensor:
        return self.of(y)


@pytest.mark.parametrize(
    ("of", "variances"),
    [(lambda y: torch.full_like(y, 0.5), 1 + CONSISTENCY), (lambda y: y, 2.0)],
)
def test_the_loss_of_splitting_for_a_constant_image(of, variances: float) -> None:
    """Known answers: of the truth the noise of one half is left, twice; of the image itself the noise of both, once."""
    given = recipe(FREE, loss="splitting").training
    noisy = 0.5 + SIGMA * torch.randn(1, 1, 1, 400, 400, generator=torch.Generator().manual_seed(0))
    data = sample(noisy, given, torch.Generator().manual_seed(0))
    values, found = fidelity(Known(of), data, given)
    assert float(values) == pytest.approx(variances * SIGMA**2, rel=0.03)
    assert torch.equal(found, of(noisy[0]))


def test_splitting_takes_out_what_neighbours_differ_by() -> None:
    """Known answer: of a slope without noise the identity is charged the difference of neighbours once, not thrice."""
    given = recipe(FREE, loss="splitting").training
    slope = (0.01 * (torch.arange(40.0).view(-1, 1) + torch.arange(40.0))).view(1, 1, 1, 40, 40)
    data = sample(slope, given, torch.Generator().manual_seed(0))
    assert float(fidelity(Known(lambda y: y), data, given)[0]) == pytest.approx(0.01**2, rel=1e-3)


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
