"""Images of a single pixel, row or column: every prior and method that takes an image takes them."""

from pathlib import Path

import numpy as np
import pytest

from recon.io import ValueRange, from_array
from recon.reconstruction.run import solve_image
from recon.solvers import Status
from recon.specs.solve_config import config_from

PRIORS = (
    "tv:weight=0.05",
    "tv",
    "wavelet:weight=0.02",
    "l1:weight=0.02",
    "tikhonov:weight=0.1",
    "box",
    "none",
    "model:proved-gray",
)
METHODS = ("condat_vu", "douglas_rachford", "forward_backward", "fista", "tseng", "davis_yin")
UNIT = ValueRange(0.0, 1.0)


def solved(pixels: np.ndarray, prior: str, operator: str = "identity", method: str | None = None) -> np.ndarray:
    values = {"operator": operator, "prior": prior, "noise": "0.05", "method": method, "iterations": 300}
    config = config_from(values, where="The test")
    result = solve_image(config, from_array(pixels.astype(np.float64), value_range=UNIT))
    assert result.status in (Status.CONVERGED, Status.OUT_OF_STEPS, Status.STALLED)
    return result.image.pixels[0, 0]


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.2, 0.8, shape)


@pytest.mark.parametrize("operator", ["identity", "blur:box=1", "inpaint:mask=one.npy"])
@pytest.mark.parametrize("prior", PRIORS)
def test_a_single_pixel(prior: str, operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("one.npy", np.ones((1, 1)))
    pixel = drawn(1, 1)
    found = solved(pixel, prior, operator)
    assert found.shape == (1, 1)
    assert np.isfinite(found).all()
    if prior in {"tv", "tv:weight=0.05", "box", "none"}:  # nothing that they see
        np.testing.assert_allclose(found, pixel, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_total_variation_leaves_a_single_pixel_alone_by_every_method(method: str) -> None:
    np.testing.assert_allclose(solved(drawn(1, 1), "tv:weight=0.05", method=method), drawn(1, 1), atol=1e-3)


@pytest.mark.parametrize("length", [2, 6])
@pytest.mark.parametrize("prior", ["tv:weight=0.05", "tv", "wavelet:weight=0.02", "l1:weight=0.02", "box", "none"])
def test_a_row_is_solved_as_its_column(prior: str, length: int) -> None:
    row = drawn(1, length)
    np.testing.assert_allclose(solved(row, prior), solved(row.T, prior).T, atol=2e-3)
