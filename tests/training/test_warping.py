"""Rotated and scaled patches of training images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recon.errors import InputError, UsageError
from recon.priors.networks import ConvexRidgeConfig
from recon.training import DataConfig, Patches, Recipe, TrainingConfig, read_patches, train_on
from recon.training.warping import Warp


def quiet(line: str) -> None:
    raise AssertionError(line)


def read(folder: Path, **given: float) -> Patches:
    config = DataConfig(patch=12, shrink=2, augment=False, **given)  # type: ignore[arg-type]
    return read_patches(sorted(folder.iterdir()), config, 1, 0, quiet)


def scene(side: int) -> np.ndarray:
    """Pixels of a smooth picture, whose middle is that of the pixels."""
    steps = np.arange(side) - (side - 1) / 2
    return picture(steps[:, None], steps[None, :])


def picture(down: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.exp(-((down - 3) ** 2 + (right + 2) ** 2) / 60) * (0.5 + 0.4 * np.sin(right / 4))


@pytest.mark.parametrize("shrink", [1, 2])
@pytest.mark.parametrize(("angle", "factor"), [(0.0, 1.0), (20.0, 1.0), (-35.0, 1.3), (0.0, 0.8)])
def test_a_piece_is_rotated_and_scaled_about_its_middle(shrink: int, angle: float, factor: float) -> None:
    image = torch.from_numpy(scene(64)).float()[None]
    side = 24 // shrink
    found = Warp(40, 1.5, shrink).piece(image, (20, 20), side, angle, factor)[0]
    steps = (np.arange(side) - (side - 1) / 2) * shrink
    down, right = steps[:, None] / factor, steps[None, :] / factor
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wanted = picture(cosine * down + sine * right, cosine * right - sine * down)
    assert np.abs(found.numpy() - wanted).max() < (0.02 if shrink > 1 or angle or factor != 1 else 1e-6)


def test_a_quarter_turn_of_a_piece_is_that_of_pixels() -> None:
    image = torch.rand(1, 30, 30)
    found = Warp(90, 1).piece(image, (10, 10), 10, 90.0, 1.0)
    assert torch.allclose(found, torch.rot90(image[:, 10:20, 10:20], 1, (-2, -1)), atol=1e-4)


def test_what_a_piece_needs_is_all_that_it_sees() -> None:
    """The same from the pixels around it as from the whole image, at its borders too."""
    image, warp = torch.rand(1, 40, 50), Warp(180, 1.5, 2)
    generator = torch.Generator().manual_seed(0)
    for corner in ((0, 0), (24, 34), (11, 17)):
        (rows, columns), inner = warp.needed(corner, 8, (40, 50))
        for angle, factor in warp.drawn(6, generator):
            whole = warp.piece(image, corner, 8, angle, factor)
            assert torch.allclose(warp.piece(image[:, rows, columns], inner, 8, angle, factor), whole, atol=1e-4)


def test_patches_are_rotated_and_scaled_and_drawn_again_alike(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", (scene(48) * 255).astype(np.uint8))
    plain, warped = (read(tmp_path, **more) for more in ({}, {"rotation": 30.0, "zoom": 1.2}))
    one, other = (warped.draw(4, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, other)
    assert one.shape == (1, 4, 1, 12, 12)
    assert not torch.allclose(one, plain.draw(4, torch.Generator().manual_seed(3)), atol=0.01)
    assert 0 <= float(one.min()) <= float(one.max()) <= 1
    assert (plain.images[0].shape[-2:], warped.images[0].shape[-2:]) == ((24, 24), (48, 48))
    with pytest.raises(InputError, match="expected at least one of 60 x 60 pixels"):
        read_patches([tmp_path / "one.npy"], DataConfig(patch=30, shrink=2, zoom=1.1), 1, 0, lambda line: None)


def test_rotations_and_factors_that_cannot_be() -> None:
    for given in ({"rotation": -1.0}, {"rotation": 181.0}, {"zoom": 0.9}, {"zoom": 4.1}, {"zoom": float("nan")}):
        with pytest.raises(UsageError, match="expected an angle of 0 to 180 degrees and a factor of 1 to 4"):
            DataConfig(**given).check()


def test_where_nothing_is_rotated_it_is_refused(tmp_path: Path) -> None:
    network, data = ConvexRidgeConfig(widths=(2, 4), size=3, noise_range=(0.1, 0.1)), DataConfig(patch=12, zoom=1.2)
    with pytest.raises(UsageError, match=r"zoom = 1\.2 with training\.loss = 'sure'; expected 0 and 1"):
        Recipe(network, data, training=TrainingConfig(loss="sure", noise=(0.1, 0.1)))
    recipe = Recipe(network, data, training=TrainingConfig(noise=(0.1, 0.1)))
    with pytest.raises(UsageError, match=r"train_on: data\.rotation = 0 and zoom = 1\.2 with a dataset of one's own"):
        train_on(recipe, [torch.rand(1, 16, 16)], [torch.rand(1, 16, 16)], tmp_path / "run")
    assert not (tmp_path / "run").exists()
