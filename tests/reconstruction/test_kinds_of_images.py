"""Images of several channels that an operator mixes, and complex ones, from the command's chain."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recon.errors import GuaranteeError
from recon.io import ValueRange, from_array
from recon.methods.operator_pair import OperatorPair
from recon.reconstruction.plan import make_plan
from recon.reconstruction.problem import build_problem
from recon.reconstruction.residual_check import check_residual
from recon.specs.grammar import parse_spec
from recon.specs.solve_config import Noise, SolveConfig

COLOURS = """
import torch

MIXED = torch.tensor([[1.0, 0, 0], [0.8, 0.3, 0], [0, 0.7, 0.5]])

class Mix:
    def A(self, x): return torch.einsum("ij,bjhw->bihw", MIXED.to(x), x)
    def A_adjoint(self, y): return torch.einsum("ij,bjhw->bihw", MIXED.T.to(y), y)

class Wrong(Mix):
    A_adjoint = Mix.A

def mix(shape): return Mix()
def wrong(shape): return Wrong()
"""


@pytest.fixture
def rgb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SolveConfig:
    monkeypatch.chdir(tmp_path)
    Path("colours.py").write_text(COLOURS)
    return SolveConfig(parse_spec("python:colours.py:mix"), parse_spec("tv"), noise=Noise(0.01), device="cpu")


def colours() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.2, 0.8, (24, 24, 3))


def examined(config: SolveConfig) -> OperatorPair:
    return make_plan(
        config, from_array(colours().transpose(2, 0, 1)[None], value_range=ValueRange(0.0, 1.0)), lambda line: None
    ).pair


def test_an_operator_of_the_user_is_examined_with_all_channels(rgb: SolveConfig) -> None:
    mixed = np.array([[1.0, 0, 0], [0.8, 0.3, 0], [0, 0.7, 0.5]])
    assert examined(rgb).properties.norm.value == pytest.approx(np.linalg.norm(mixed, 2), rel=1e-3)


def test_an_adjoint_that_mixes_channels_wrongly_is_refused(rgb: SolveConfig) -> None:
    with pytest.raises(GuaranteeError, match="A_adjoint differs"):
        examined(SolveConfig(parse_spec("python:colours.py:wrong"), rgb.prior, noise=rgb.noise, device="cpu"))


@pytest.mark.parametrize("phase", [0.0, 0.7, np.pi / 2])
def test_the_noise_of_a_complex_image_is_that_of_its_parts(phase: float) -> None:
    rng, sigma = np.random.default_rng(1), 0.03
    rows, columns = np.mgrid[0:96, 0:96] / 96
    clean = (0.3 + 0.5 * rows * columns) * np.exp(1j * phase)
    noisy = clean + sigma * (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape))
    config = SolveConfig(parse_spec("identity"), parse_spec("tv"), device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        problem = build_problem(config, from_array(noisy), lambda line: None)
        assert problem.noise == pytest.approx(sigma, rel=0.2)
        assert check_residual(problem, problem.measurement + 1j * problem.noise, True) is not None
        unchanged = check_residual(problem, problem.measurement, True)
    assert any("equal" in remark for remark in unchanged.remarks)
    assert torch.is_complex(problem.measurement)


@pytest.mark.parametrize("left_out", [0.0, 1.0, 37.0])
def test_pixels_that_a_mask_leaves_out_may_hold_anything(rgb: SolveConfig, left_out: float) -> None:
    mask = np.random.default_rng(2).random((40, 40)) < 0.6
    np.save("mask.npy", mask)
    y = np.where(mask, 0.5 + 0.01 * np.random.default_rng(3).standard_normal(mask.shape), left_out)
    config = replace(rgb, operator=parse_spec("inpaint:mask=mask.npy"))
    problem = build_problem(config, from_array(y, value_range=ValueRange(0.0, 1.0)), lambda line: None)
    check = check_residual(problem, torch.full((1, 1, 40, 40), 0.5))
    assert check.inside == pytest.approx(0.01, rel=0.2)
    assert not check.remarks


def test_a_result_that_a_noise_of_a_wrong_unit_flattens_is_not_its_input(rgb: SolveConfig) -> None:
    config = replace(rgb, operator=parse_spec("identity"), noise=Noise(15.0))
    problem = build_problem(config, from_array(colours()[..., 0], value_range=ValueRange(0.0, 1.0)), lambda line: None)
    assert not check_residual(problem, torch.full_like(problem.measurement, 0.5)).unchanged
    assert check_residual(problem, problem.measurement).unchanged
