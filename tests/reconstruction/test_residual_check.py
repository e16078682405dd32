"""The residual compared with the noise: planted faults are said, and sound runs are met with silence."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recon.errors import UsageError
from recon.evaluation.simulate import Simulation, simulate_image
from recon.io import Image, Source, ValueRange, from_array, read, to_tensor
from recon.operators import Blur, normalise_psf
from recon.operators.tomography import Tomography, read_geometry
from recon.reconstruction.residual_check import ResidualCheck
from recon.reconstruction.run import Result, Target, solve_image, write_run
from recon.specs.grammar import parse_spec
from recon.specs.operators import read_operator
from recon.specs.solve_config import Noise, SolveConfig

SIDE = 64
GEOMETRY = """
kind = "parallel"
angles = { start = 0, stop = 180, count = 60, endpoint = false }
[detector]
pixels = 92
pitch = 1.0
[volume]
pixels = [64, 64]
pitch = 1.0
"""


def photograph(folder: Path, name: str = "camera") -> np.ndarray:
    planes = to_tensor(read(folder / "photographs" / f"{name}.png"))[0].mean(0).numpy()
    return planes[100 : 100 + SIDE, 180 : 180 + SIDE].astype(np.float32)


def discs() -> np.ndarray:
    y, x = np.mgrid[-31.5:32:1, -31.5:32:1]
    return (0.3 * (np.hypot(x, y) < 28) + 0.5 * (np.hypot(x - 8, y + 6) < 8)).astype(np.float32)


def image(pixels: np.ndarray) -> Image:
    return from_array(pixels, value_range=ValueRange(0.0, 1.0))


def solved(measurement: Image, operator: str, noise: float | None, **options: object) -> Result:
    given = {"prior": parse_spec("tv"), "iterations": 150, "device": "cpu", **options}
    stated = None if noise is None else Noise(noise)
    return solve_image(SolveConfig(parse_spec(operator), noise=stated, **given), measurement)  # type: ignore[arg-type]


def check(result: Result) -> ResidualCheck:
    assert result.residual_check is not None
    return result.residual_check


def simulated(operator: str, clean: np.ndarray, sigma: float) -> Image:
    return simulate_image(Simulation(read_operator(parse_spec(operator)), Noise(sigma), 0), image(clean))


@pytest.fixture
def scan(tmp_path: Path) -> str:
    (tmp_path / "scan.toml").write_text(GEOMETRY)
    return f"ct:{tmp_path}/scan.toml"


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "half.npy", (rng.random((SIDE, SIDE)) < 0.5).astype(np.uint8))
    lines = (rng.random(SIDE) < 0.3) | (np.abs(np.arange(SIDE) - SIDE // 2) < 5)
    np.save(tmp_path / "lines.npy", np.tile(lines, (SIDE, 1)).astype(np.uint8))
    return tmp_path


@pytest.mark.parametrize("sigma", [0.003, 0.02, 0.1])
@pytest.mark.parametrize(
    "operator",
    [
        "identity",
        "blur:gaussian=1.5",
        "blur:gaussian=1,boundary=valid",
        "downsample:factor=2",
        "inpaint:mask={}/half.npy",
        "mri:mask={}/lines.npy",
    ],
)
@pytest.mark.parametrize("what", ["camera", "discs"])
def test_the_right_noise_is_met_with_silence(operator, what, sigma, masks, bundled_data) -> None:
    operator = operator.format(masks)
    clean = discs() if what == "discs" else photograph(bundled_data, what)
    found = check(solved(simulated(operator, clean, sigma), operator, sigma))
    assert found.remarks == ()
    assert found.source == "stated"
    estimable = not operator.startswith(("inpaint", "mri"))
    assert estimable == np.isfinite(found.seen)


@pytest.mark.parametrize("sigma", [0.005, 0.05])
@pytest.mark.parametrize("operator", ["identity", "blur:gaussian=1.5"])
def test_an_estimate_is_met_with_silence(operator, sigma, bundled_data) -> None:
    found = check(solved(simulated(operator, photograph(bundled_data), sigma), operator, None))
    assert found.remarks == ()
    assert found.source == "estimated"
    assert sigma * 0.8 < found.noise < sigma + 0.01


def projections(lines: np.ndarray, photons: float | None = None) -> Image:
    weights = None if photons is None else photons * np.exp(-lines)
    one = Source("projections", "FHW", "float32")
    return Image(
        lines[None, None].astype(np.float32),
        ValueRange(0.0, 1.0),
        weights=None if weights is None else weights[None, None],
        source=one,
    )


def integrals(scan: str, clean: np.ndarray) -> np.ndarray:
    geometry = read_geometry(Path(scan.removeprefix("ct:")))
    return Tomography(geometry).A(torch.from_numpy(0.06 * clean)[None, None])[0, 0].numpy()


@pytest.mark.parametrize("photons", [1e3, 1e4, 1e5])
@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("what", ["camera", "discs"])
def test_counted_photons_are_met_with_silence(scan, what, counted, photons, bundled_data) -> None:
    clean = discs() if what == "discs" else photograph(bundled_data) * (discs() > 0)
    expected = photons * np.exp(-integrals(scan, clean).astype(np.float64))
    lines = -np.log(np.maximum(np.random.default_rng(0).poisson(expected), 1) / photons)
    found = check(solved(projections(lines, photons if counted else None), scan, None, photons=photons))
    assert found.remarks == ()
    assert found.source == ("counted" if counted else "estimated")


@pytest.mark.parametrize("operator", ["identity", "blur:gaussian=1.5"])
def test_a_level_that_is_too_high_is_said(operator, bundled_data) -> None:
    (said,) = check(solved(simulated(operator, photograph(bundled_data), 0.01), operator, 0.2)).remarks
    assert "a level that is too high takes details away" in said


def test_a_level_that_is_too_low_is_said(bundled_data) -> None:
    found = check(solved(simulated("blur:gaussian=1.5", photograph(bundled_data), 0.05), "blur:gaussian=1.5", 0.01))
    assert "times the noise level 0.01 that was stated" in found.remarks[0]
    assert found.inside == pytest.approx(0.05, rel=0.15)


def test_a_wrong_kernel_is_said(bundled_data) -> None:
    found = check(solved(simulated("blur:gaussian=1", photograph(bundled_data), 0.003), "blur:gaussian=2.5", 0.003))
    assert "the operator not that of the measurement" in found.remarks[0]


def test_a_border_that_does_not_wrap_around_is_said() -> None:
    clean = 0.1 + 0.8 * np.linspace(0, 1, 74, dtype=np.float32)[:, None] * np.ones((74, 74), np.float32)
    measured = simulated("blur:gaussian=1.5,boundary=valid", clean, 0.005)
    border, dark = check(solved(measured, "blur:gaussian=1.5", 0.005, iterations=400)).remarks
    assert "the residual along the border is" in border
    assert "a photograph needs boundary=valid" in dark
    assert check(solved(measured, "blur:gaussian=1.5,boundary=valid", 0.005, iterations=400)).remarks == ()


@pytest.mark.parametrize("strength", [0.0, 0.15, 0.3])
def test_beam_hardening_is_said(scan, strength) -> None:
    y, x = np.mgrid[-31.5:32:1, -31.5:32:1]
    dense = sum(4.0 * (np.hypot(x - a, y - b) < radius) for a, b, radius in ((14, 0, 7), (-12, 10, 6), (-6, -16, 8)))
    lines = integrals(scan, np.asarray(dense, np.float32)).astype(np.float64)
    hardened = lines - strength * np.square(lines) / (1 + lines)
    noisy = hardened + 0.01 * np.random.default_rng(0).standard_normal(lines.shape)
    found = check(solved(projections(noisy), scan, 0.01, iterations=300))
    assert any("has structure" in said and "beam hardening" in said for said in found.remarks) == (strength > 0)
    assert strength > 0 or found.remarks == ()
    assert all("noise level 0.01 " in said for said in found.remarks if "level" in said)


@pytest.mark.parametrize("noise", [None, 0.05])
def test_a_result_that_equals_its_input_is_said(noise, bundled_data) -> None:
    measured = simulated("identity", photograph(bundled_data), 0.05)
    found = check(solved(measured, "identity", noise, prior=parse_spec("tv:weight=1e-9")))
    assert found.unchanged
    assert any("the result equals the input" in said for said in found.remarks)
    assert not check(solved(measured, "identity", noise, prior=parse_spec("tv:weight=0.01"))).unchanged


@pytest.mark.parametrize("prior", ["tv", "tv:weight=0.01", "box"])
@pytest.mark.parametrize("blank", [(1,), (0, 1, 1), (1, 1)])
@pytest.mark.parametrize("operator", ["identity", "blur:gaussian=1"])
def test_a_blank_frame_is_not_refused(operator, blank, prior) -> None:
    sound = simulated("identity", discs(), 0.02).pixels[0]
    frames = np.stack([np.full_like(sound, 0.25) if one else sound for one in blank])
    for noise in (0.02, 0.0 if prior != "tv" else 0.01, None):
        result = solved(replace(image(sound[0]), pixels=frames), operator, noise, prior=parse_spec(prior))
        assert torch.isfinite(result.solution.x).all()
    assert len(result.solution.x) == len(blank)


def test_an_image_too_small_for_an_estimate_asks_for_the_noise() -> None:
    small = image(discs()[20:26, 20:40])
    with pytest.raises(UsageError, match="6 x 20 pixels, from which no noise level can be estimated; expected --noise"):
        solved(small, "identity", None)
    assert check(solved(small, "identity", 0.01)).remarks == ()


def test_what_is_said_is_in_the_record(tmp_path: Path, bundled_data) -> None:
    measured = simulated("blur:gaussian=1.5", photograph(bundled_data), 0.05)
    np.save(tmp_path / "y.npy", measured.pixels[0, 0])
    said: list[str] = []
    result = solved(measured, "blur:gaussian=1.5", 0.01)
    run = write_run(result, tmp_path / "y.npy", Target(tmp_path / "x.tif"), said.append)
    recorded = json.loads(run.record.read_text())["residual_check"]
    assert recorded["noise"] == 0.01
    assert recorded["noise_source"] == "stated"
    assert recorded["inside"] == pytest.approx(0.05, rel=0.15)
    (remark,) = recorded["remarks"]
    assert any(line.endswith(remark) for line in said)


def shaken(data: Path, boundary: str) -> Image:
    """A colour photograph with a measured camera shake, of which few frequencies are lost."""
    clean = to_tensor(read(data / "photographs" / "astronaut.png"))[..., 60:160, 170:290].double()
    psf = normalise_psf(torch.from_numpy(np.load(data / "kernels/levin09_1.npy")))
    y = Blur(psf, (100, 120), boundary).A(clean)  # type: ignore[call-overload]
    y = y + 0.01 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).double()
    return from_array(y.float().numpy(), value_range=ValueRange(0.0, 1.0))


@pytest.mark.parametrize("boundary", ["circular", "valid"])
def test_a_sound_restoration_is_not_called_dark(boundary, bundled_data) -> None:
    operator = f"blur:psf={bundled_data / 'kernels/levin09_1.npy'},boundary={boundary}"
    found = check(solved(shaken(bundled_data, boundary), operator, 0.01))
    assert found.dark < 0.001
    assert not found.remarks


def test_a_photograph_that_is_taken_for_periodic_is_darker_than_it_can_be(bundled_data) -> None:
    operator = f"blur:psf={bundled_data / 'kernels/levin09_1.npy'}"
    (said,) = check(solved(shaken(bundled_data, "valid"), operator, 0.01)).remarks
    assert "are darker than all of the measurement" in said
    assert "a photograph needs boundary=valid" in said


def test_the_result_of_a_wrong_kernel_is_darker_than_it_can_be(bundled_data) -> None:
    remarks = check(solved(shaken(bundled_data, "circular"), "blur:motion=15,angle=30,boundary=valid", 0.01)).remarks
    assert any(said.endswith("or the kernel another one") for said in remarks)
