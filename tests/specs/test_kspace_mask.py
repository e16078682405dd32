"""A mask of k-space that is not centred is noticed, and one that is, however it samples, is not."""

import numpy as np
import pytest
import torch

from recon.specs.grammar import Spec
from recon.specs.kspace_mask import off_centre_warning
from recon.specs.operators import read_operator

H, W = 96, 80
RANDOM = np.random.default_rng(0)


def lines(count: int, of: int = 4) -> np.ndarray:
    """Some columns at random, and the middle ones."""
    mask = np.broadcast_to(RANDOM.random(W) < 1 / of, (H, W)).copy()
    mask[:, W // 2 - count // 2 : W // 2 + count // 2] = True
    return mask


def disc(reach: float) -> np.ndarray:
    y, x = np.mgrid[:H, :W]
    return np.hypot((y - H // 2) / H, (x - W // 2) / W) < reach


CENTRED = {
    "everything": np.ones((H, W), bool),
    "columns": lines(8),
    "few columns": lines(6, of=8),
    "rows": np.ascontiguousarray(lines(8).T),
    "points": disc(0.1) | (RANDOM.random((H, W)) < 0.2),
    "low frequencies": disc(0.2),
    "part of the rows": np.arange(H)[:, None] + np.zeros((1, W)) > H * 3 / 8,
    "every other row": np.arange(H)[:, None] % 2 + np.zeros((1, W)) > 0,
}
SHIFTED = ("columns", "points", "low frequencies")


@pytest.mark.parametrize("name", CENTRED)
def test_a_centred_mask_is_left_alone(name: str) -> None:
    assert not off_centre_warning(torch.from_numpy(CENTRED[name]))


@pytest.mark.parametrize("name", SHIFTED)
def test_a_mask_with_its_zero_frequency_in_the_corner_is_named(name: str, tmp_path) -> None:
    np.save(tmp_path / "mask.npy", np.fft.ifftshift(CENTRED[name]))
    said: list[str] = []
    read_operator(Spec("mri", {"mask": str(tmp_path / "mask.npy")}), said.append)
    (line,) = said
    assert line.startswith("mask.npy: the mask is densest about row ")
    assert f"about (48, {W // 2}), where the zero frequency is expected" in line
