"""Missing pixels and borders that are filled from their surroundings, and runs that begin there."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recon.io import Image, ValueRange, from_array
from recon.operators import Blur
from recon.operators.psf import psf_centre
from recon.reconstruction import plan
from recon.reconstruction.filling import continued, filled
from recon.reconstruction.run import solve_image
from recon.specs.solve_config import config_from


@given(height=st.integers(1, 19), width=st.integers(1, 19), share=st.floats(0.02, 1), seed=st.integers(0, 99))
def test_known_pixels_stay_and_others_lie_between_them(height: int, width: int, share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, 3, height, width, generator=generator, dtype=torch.float64)
    known = torch.rand(height, width, generator=generator) < share
    known[-1, -1] = True
    found = filled(values.where(known, torch.nan), known)
    assert torch.equal(found[..., known], values[..., known])
    low, high = (f(values[..., known], -1)[..., None, None] for f in (torch.amin, torch.amax))
    assert bool(((found >= low - 1e-12) & (found <= high + 1e-12)).all())


def test_a_ramp_is_continued_and_nothing_is_made_of_nothing() -> None:
    ramp = torch.arange(32, dtype=torch.float64).expand(1, 1, 32, 32)
    known = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) < 0.5
    assert float((filled(ramp, known) - ramp).abs().max()) < 2.5
    assert torch.equal(filled(ramp, torch.zeros(32, 32, dtype=torch.bool)), torch.zeros_like(ramp))


@pytest.fixture
def measured(tmp_path) -> tuple[Image, str]:
    rows, columns = np.mgrid[:48, :40]
    mask = np.random.default_rng(0).random((48, 40)) < 0.4
    np.save(tmp_path / "mask.npy", mask)
    y = np.where(mask, 0.5 + 0.3 * ((rows // 9 + columns // 8) % 2), 0)
    return from_array(y.astype(np.float32)), f"inpaint:mask={tmp_path / 'mask.npy'}"


def test_a_filled_start_leads_to_the_same_image_in_fewer_steps(measured, monkeypatch) -> None:
    image, operator = measured
    given = {"operator": operator, "noise": "0.02", "prior": "tv:smoothing=0.05,weight=0.02", "tolerance": 1e-4}
    near = solve_image(config_from(given), image)
    monkeypatch.setattr(plan, "filled", lambda values, known: torch.where(known, values, 0.0))
    far = solve_image(config_from(given), image)
    apart = near.solution.x - far.solution.x
    assert float(apart.norm() / far.solution.x.norm()) < 1e-3
    assert near.steps < far.steps


@pytest.mark.parametrize("prior", ["none", "l1:weight=0.1", "box:low=-1,high=1"])
def test_priors_of_single_pixels_leave_missing_ones_at_zero(measured, prior: str) -> None:
    image, operator = measured
    result = solve_image(config_from({"operator": operator, "noise": "0.02", "prior": prior}), image)
    missing = image.pixels[0, 0] == 0
    assert float(result.solution.x[0, 0][torch.from_numpy(missing)].abs().max()) < 1e-6


@pytest.mark.parametrize("shape", [(5, 7), (4, 6), (1, 8)])
def test_a_continued_measurement_lies_where_the_blur_measures_it(shape: tuple[int, int]) -> None:
    psf = torch.zeros(shape)
    psf[psf_centre(shape)] = 1.0
    y = torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    blur = Blur(psf, (y.shape[2] + shape[0] - 1, y.shape[3] + shape[1] - 1), "valid")
    start = continued(y, blur)
    assert torch.allclose(blur.A(start), y, atol=1e-6)
    assert float(start.min()) == float(y.min()), "the border has values of the measurement"


def test_a_few_steps_leave_no_dark_frame_around_a_photograph() -> None:
    image = from_array(np.full((40, 48), 0.7, np.float32), value_range=ValueRange(0.0, 1.0))
    given = {"operator": "blur:box=9,boundary=valid", "noise": "0.01", "prior": "tv", "iterations": 5}
    x = solve_image(config_from(given), image).solution.x
    assert tuple(x.shape[-2:]) == (48, 56)
    assert float((x - 0.7).abs().max()) < 0.01
