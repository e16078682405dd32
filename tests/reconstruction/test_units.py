"""The same problem in other units has the same image: over solvers, priors and readers."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recon import io, operators, priors, solvers
from recon.errors import UsageError
from recon.evaluation.simulate import Simulation, simulate_image
from recon.io import Image, ValueRange, from_array
from recon.methods.contrast import contrast, spread
from recon.methods.regularisation_weights import (
    NOISE_ALONE,
    PHOTOGRAPH,
    projected_weight,
    scale_of,
    tv_weight,
    wavelet_weight,
)
from recon.operators import Blur, CartesianMRI, Identity, Inpainting, LeastSquares
from recon.priors.networks import ConvexRidgeConfig, learned_prior, make
from recon.reconstruction.plan import make_plan
from recon.reconstruction.problem import back_projection, build_problem
from recon.reconstruction.run import read_image, solve_image
from recon.reconstruction.scale import Scale, between
from recon.specs.grammar import parse_spec
from recon.specs.operators import read_operator
from recon.specs.solve_config import Noise, SolveConfig

SHAPE = (24, 20)
NOISE = 0.02


def scene() -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.linspace(0, 1, SHAPE[0]), torch.linspace(0, 1, SHAPE[1]), indexing="ij")
    x = 0.3 + 0.2 * rows + 0.1 * torch.sin(9 * columns)
    x[6:16, 5:14] += 0.3
    return x[None, None]


def noisy(y: torch.Tensor, sigma: float = NOISE) -> np.ndarray:
    return (y + sigma * torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)).numpy()


def blurred() -> np.ndarray:
    return noisy(Blur(operators.gaussian_psf(1.0), SHAPE).A(scene()))


def solved(pixels: np.ndarray, noise: Noise | None, low: float = 0.0, high: float = 1.0, units: str = "", **options):
    given_range = ValueRange(low, high, units)
    settings = {"operator": parse_spec("blur:gaussian=1"), "device": "cpu", "tolerance": 1e-6, "iterations": 1000}
    config = SolveConfig(**{**settings, **options}, noise=noise)  # type: ignore[arg-type]
    return solve_image(config, from_array(pixels, value_range=given_range)).image.pixels[0, 0]


# ------------------------------------------------------------------------------------------------ weights and scales


@given(st.floats(1e-6, 1e5), st.floats(1e-4, 0.2), st.floats(1e-3, 3.0))
def test_a_weight_has_the_units_of_the_grey_values(unit: float, noise: float, scale: float) -> None:
    for rule in (tv_weight, wavelet_weight):
        for blurs in (True, False):
            expected = unit * rule(noise, blurs, scale)
            assert math.isclose(rule(unit * noise, blurs, unit * scale), expected, rel_tol=1e-9)
        weight = projected_weight(noise, 7.0, rule, scale)
        assert math.isclose(projected_weight(unit * noise, 7.0, rule, unit * scale), unit * weight, rel_tol=1e-9)


def test_without_a_contrast_a_weight_follows_the_noise_and_is_never_larger_than_it() -> None:
    weights = [tv_weight(noise, False, scale_of(0.0, noise)) / noise for noise in (1e-6, 1e-3, 1.0, 1e5)]
    assert max(weights) < 1.1
    assert min(weights) > max(weights) - 1e-9
    assert tv_weight(0.0, False, scale_of(0.0, 0.0)) == 0.0


@pytest.mark.parametrize("measure", [contrast, spread])
@pytest.mark.parametrize("kind", [torch.float64, torch.complex128])
def test_contrast_and_spread_have_the_units_of_the_grey_values_and_no_offset(measure, kind: torch.dtype) -> None:
    x = scene().to(kind) + 0.1j * scene().flip(-1) if kind.is_complex else scene().to(kind)
    found = measure(x)
    assert found > 0
    for factor, shift in ((1e-20, 0.0), (1e5, -3e4), (-2.0, 7.0)):
        assert math.isclose(measure(factor * x + shift), abs(factor) * found, rel_tol=1e-6)


def test_the_contrast_of_noise_alone_is_a_quarter_of_it() -> None:
    noise = torch.randn(1, 1, 512, 512, generator=torch.Generator().manual_seed(0))
    assert math.isclose(contrast(noise), NOISE_ALONE, rel_tol=0.03)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.06, 0.1])
def test_noise_takes_no_part_in_the_scale_of_an_image(noise: float) -> None:
    rows, columns = torch.meshgrid(torch.linspace(0, 8, 256), torch.linspace(0, 6, 256), indexing="ij")
    clean = (0.5 + 0.5 * torch.sin(rows) * torch.cos(columns))[None, None].double()
    seen = clean + noise * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    assert math.isclose(scale_of(contrast(seen), noise), scale_of(contrast(clean), 0.0), rel_tol=0.15)


def test_pixels_that_were_not_measured_do_not_count() -> None:
    seen = torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) < 0.4
    ramp = (torch.linspace(0, 1, 64) + torch.linspace(0, 2, 64)[:, None])[None, None]
    holes = torch.where(seen, ramp, torch.nan)
    assert math.isclose(contrast(holes, seen), contrast(ramp), rel_tol=0.6)  # where the pixels of a block lie varies
    assert math.isclose(spread(holes, seen), spread(ramp), rel_tol=0.05)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 1, 5), (1, 1, 2, 2), (2, 3, 5, 7)])
def test_the_smallest_images_have_a_contrast(shape: tuple[int, ...]) -> None:
    assert contrast(torch.ones(shape)) == spread(torch.ones(shape)) == 0.0


def test_a_photograph_has_the_contrast_that_the_rules_are_for(bundled_data: Path) -> None:
    for name in ("astronaut", "camera"):
        image = io.to_tensor(io.read(bundled_data / "photographs" / f"{name}.png"))
        assert 0.2 * PHOTOGRAPH < contrast(image) < 5 * PHOTOGRAPH


# ------------------------------------------------------------------------------------------------ solvers and priors

MATCHED = [("tv", "condat_vu"), ("wavelet", "douglas_rachford"), ("tv", None), ("wavelet", None)]
INNER = [
    ("tv", "forward_backward"), ("tv", "fista"), ("tv", "tseng"), ("tv", "douglas_rachford"), ("tv", "davis_yin"),
    ("wavelet", "fista"),
]  # fmt: skip
"""With an inner iteration in each step, or many steps."""


@pytest.mark.slow
@pytest.mark.parametrize(("prior", "method"), MATCHED)
def test_the_image_does_not_depend_on_the_range_that_becomes_0_to_1(prior: str, method: str | None) -> None:
    y = blurred()
    options = {"prior": parse_spec(prior), "method": method, "tolerance": 1e-6 if prior == "tv" else 1e-5}
    usual = solved(y, Noise(NOISE), **options)
    for low, high in ((-0.5, 3.5), (0.1, 1.1)):
        found = solved(y, Noise(NOISE / (high - low)), low, high, **options)
        assert np.abs(found - usual).max() < 0.1 * NOISE
        assert np.sqrt(np.mean((found - usual) ** 2)) < 0.02 * NOISE


@pytest.mark.parametrize(("prior", "method"), MATCHED + INNER)
@pytest.mark.parametrize(("factor", "shift"), [(1e-6, 0.0), (4095.0, -1024.0)])
def test_the_image_goes_with_the_units(prior: str, method: str | None, factor: float, shift: float) -> None:
    y, options = blurred(), {"prior": parse_spec(prior), "method": method, "iterations": 4}
    usual = solved(y, Noise(NOISE), **options)
    found = solved(y.astype(float) * factor + shift, Noise(NOISE), shift, shift + factor, **options)
    assert np.abs((found - shift) / factor - usual).max() < 0.02 * NOISE


@pytest.mark.parametrize("operator", ["identity", "downsample:factor=2", "inpaint:mask=mask.npy"])
def test_nor_does_it_with_another_operator(operator: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    mask = np.random.default_rng(0).random(SHAPE) < 0.6
    np.save("mask.npy", mask.astype(np.uint8))
    family = read_operator(parse_spec(operator))
    y = noisy(family.on(SHAPE).A(scene()))
    options = {"operator": parse_spec(operator), "prior": parse_spec("tv")}
    usual = solved(y, Noise(NOISE), **options)
    found = solved(y, Noise(NOISE / 4), -0.5, 3.5, **options)
    assert np.sqrt(np.mean((found - usual) ** 2)) < 0.05 * NOISE


# ------------------------------------------------------------------------------------------------------- complex data


@pytest.fixture
def k_space(tmp_path: Path, monkeypatch) -> np.ndarray:
    monkeypatch.chdir(tmp_path)
    mask = np.zeros(SHAPE, bool)
    mask[:, ::2], mask[:, 8:13] = True, True
    np.save("mask.npy", mask.astype(np.uint8))
    operator = CartesianMRI(torch.from_numpy(mask))
    y = operator.A(scene().to(torch.complex64))
    noise = torch.randn(*y.shape, 2, generator=torch.Generator().manual_seed(2))
    return (y + operator.A(operator.A_adjoint(NOISE * torch.view_as_complex(noise)))).numpy()


COMPLEX = [
    ("tv", None), ("tv", "fista"), ("tv", "forward_backward"), ("tv", "douglas_rachford"), ("wavelet", None),
    ("tikhonov:weight=0.1", None), ("none", None), ("tv:weight={:g}", None), ("l1:weight={:g}", None),
]  # fmt: skip


@pytest.mark.parametrize(("prior", "method"), COMPLEX)
@pytest.mark.parametrize("unit", [1e-20, 1e-6, 1e5])
def test_k_space_in_other_units_has_the_same_image(
    k_space: np.ndarray, prior: str, method: str | None, unit: float
) -> None:
    def run(scale: float) -> tuple[np.ndarray, dict[str, object]]:
        config = SolveConfig(
            parse_spec("mri:mask=mask.npy"), parse_spec(prior.format(0.003 * scale)), method, Noise(NOISE * scale),
            device="cpu", iterations=12,
        )  # fmt: skip
        result = solve_image(config, from_array(k_space * np.float32(scale)))
        return result.image.pixels[0, 0].astype(np.complex128) / scale, result.plan.to_json()

    (usual, _), (found, plan) = run(1.0), run(unit)
    assert np.abs(found - usual).max() < 1e-3 * NOISE
    size = np.abs(usual).max()
    assert 0.5 * size * unit < plan["range"]["high"] < 2 * size * unit  # type: ignore[index]
    if plan["noise"] is not None:
        assert math.isclose(plan["noise_in_units"], NOISE * unit, rel_tol=1e-6)  # type: ignore[arg-type]


def test_a_users_map_of_complex_images_sees_them_in_the_users_units(k_space: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def make():\n    return lambda x: x * (1 - 0.1 / (1 + x.abs()))\n")
    y, mask = torch.from_numpy(7 * k_space), torch.from_numpy(np.load("mask.npy") > 0)
    config = SolveConfig(
        parse_spec("mri:mask=mask.npy"), parse_spec("python:mine.py:make"), "forward_backward", stepsize=1.5,
        device="cpu", iterations=5, tolerance=0.0,
    )  # fmt: skip
    found = solve_image(config, from_array(y.numpy())).image.pixels
    data = LeastSquares(CartesianMRI(mask), y)
    plain = solvers.forward_backward(data, lambda x: x * (1 - 0.1 / (1 + x.abs())), 1.5)
    expected = solvers.solve(plain, back_projection(data.operator, y), tolerance=0.0, max_steps=5).x.numpy()
    assert np.abs(found - expected).max() < 1e-4 < np.abs(expected - y.numpy()).max()


def test_real_numbers_of_a_k_space_are_not_shifted(k_space: np.ndarray) -> None:
    config = SolveConfig(parse_spec("mri:mask=mask.npy"), parse_spec("none"), device="cpu")
    real = k_space.real * 9
    found = solve_image(config, from_array(real)).image.pixels
    expected = solve_image(config, from_array(real.astype(np.complex64))).image.pixels
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


# ----------------------------------------------------------------------------------------- networks and their scale


def hounsfield(value_range: tuple[float, float] = (-1024.0, 3071.0)) -> Image:
    pixels = 400 * noisy(scene()).astype(np.float64) - 200
    return from_array(pixels, units="HU", value_range=ValueRange(*value_range, "HU"))


def planned(image: Image, prior: str, **options):
    config = SolveConfig(
        parse_spec("identity"), parse_spec(prior), device="cpu", **{"noise": Noise(8, "HU"), **options}
    )
    return build_problem(config, image, lambda line: None)


@pytest.mark.parametrize(
    "prior", ["model:proved-ct", "model:guided-ct", "model:proved-ct,weight=0.8", "model:proved-ct,low=-1"]
)
def test_a_network_for_ct_sees_hounsfield_units_whatever_the_range(prior: str) -> None:
    usual, windowed = planned(hounsfield(), prior), planned(hounsfield((-160.0, 240.0)), prior)
    torch.testing.assert_close(windowed.measurement, usual.measurement)
    assert math.isclose(windowed.noise or 0, usual.noise or 1, rel_tol=1e-6)
    assert (windowed.template.value_range.low, windowed.template.value_range.high) == (-1024.0, 3071.0)
    assert windowed.shown == ValueRange(-160.0, 240.0, "HU")


def test_its_numbers_are_those_of_the_range_that_was_asked_for() -> None:
    usual = planned(hounsfield(), "model:proved-ct,sigma=0.01,low=0.2")
    windowed = planned(hounsfield((-1000.0, 1000.0)), "model:proved-ct,sigma=0.020475,low=-0.1025", noise=Noise(0.01))
    assert usual.prior.spec.options["sigma"] == windowed.prior.spec.options["sigma"] == "0.01"
    assert math.isclose(float(windowed.prior.spec.options["low"]), (-1205 + 1024) / 4095, abs_tol=1e-6)
    assert math.isclose(windowed.noise or 0, 20 / 4095, rel_tol=1e-6)


def test_a_network_for_ct_is_refused_by_name_where_the_units_are_not_known() -> None:
    image = from_array(255 * noisy(scene()))
    with pytest.raises(UsageError, match=r"prior is model:proved-ct.*Hounsfield.*no units and the range.*expected"):
        planned(image, "model:proved-ct", noise=Noise(0.01))
    stated = replace(image, value_range=ValueRange(-1024.0, 3071.0))
    assert planned(stated, "model:proved-ct", noise=Noise(0.01)).scale.is_users


@given(st.floats(-3, 3), st.floats(0.1, 9), st.floats(-3, 3), st.floats(0.1, 9))
def test_a_scale_is_undone(low: float, width: float, other: float, wide: float) -> None:
    scale = between(ValueRange(low, low + width), ValueRange(other, other + wide))
    x = torch.linspace(-1, 2, 7, dtype=torch.float64)
    units = low + width * x
    torch.testing.assert_close(scale.factor * x + scale.offset, (units - other) / wide, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(scale.undo(scale.factor * x + scale.offset), x, rtol=1e-9, atol=1e-9)
    spec = parse_spec("tv:weight=0.25,low=-0.5")
    moved = scale.inverse.of_spec(scale.of_spec(spec))
    assert math.isclose(float(moved.options["weight"]), 0.25, rel_tol=1e-9)
    assert math.isclose(float(moved.options["low"]), -0.5, rel_tol=1e-6, abs_tol=1e-9)


def test_what_is_no_number_is_refused_in_the_users_own_words() -> None:
    assert Scale(2.0).of_spec(parse_spec("tv:weight=much")) == parse_spec("tv:weight=much")


# ----------------------------------------------------------------------------- operators that do not keep constants


@pytest.mark.parametrize("shift", [0.0, -1024.0, 3.0])
def test_an_offset_goes_through_the_operator(tmp_path: Path, monkeypatch, shift: float) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("psf.npy", np.array([[0.0, 1.0, 0.0], [1.0, 4.0, 1.0], [0.0, 1.0, 0.0]]) / 4)
    spec = parse_spec("blur:psf=psf.npy,normalise=false")
    x = scene() + shift
    y = read_operator(spec).on(SHAPE).A(x)
    found = solved(y.numpy(), Noise(1e-3), shift, shift + 1, operator=spec, prior=parse_spec("none"), iterations=500)
    assert np.abs(found - x[0, 0].numpy()).max() < 1e-2


@pytest.mark.parametrize("operator", ["blur:psf=psf.npy,normalise=false", "mri:mask=mask.npy", "inpaint:mask=mask.npy"])
def test_a_simulation_measures_the_image_in_its_units(operator: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("psf.npy", np.full((3, 3), 0.5))
    np.save("mask.npy", np.ones(SHAPE, np.uint8))
    family = read_operator(parse_spec(operator))
    clean = from_array(scene().numpy() * 50 - 20, value_range=ValueRange(-20.0, 30.0))
    y = simulate_image(Simulation(family, Noise(0.0)), clean).pixels
    x = torch.from_numpy(clean.pixels.copy())
    expected = family.on(SHAPE).A(x.to(torch.complex64) if family.is_complex else x)
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-4, atol=1e-3)


# ------------------------------------------------------------------------------------------------------------ readers


@pytest.mark.parametrize("name", ["y.npy", "y.tif", "y.png", "float.npy", "float.tif"])
def test_every_reader_gives_the_same_image(name: str, tmp_path: Path) -> None:
    counts = np.rint(60000 * blurred().clip(0, 1)).astype(np.uint16)
    stored = counts.astype(np.float32) * 4e-3 - 12 if name.startswith("float") else counts
    low, high = (-12.0, 250.14 - 0.0) if name.startswith("float") else (0.0, 65535.0)
    path = tmp_path / name
    io.write(from_array(stored, value_range=ValueRange(low, high)), path)
    config = SolveConfig(
        parse_spec("blur:gaussian=1"), parse_spec("tv"), noise=Noise(NOISE * 60000 / 65535), range=(low, high),
        device="cpu", tolerance=1e-6,
    )  # fmt: skip
    said: list[str] = []
    plan = make_plan(config, read_image(path, config, said.append), said.append)
    expected = torch.from_numpy(counts.astype(np.float64) / 65535)
    torch.testing.assert_close(plan.problem.measurement.double(), expected, rtol=0, atol=2e-6)
    usual = make_plan(config, from_array(counts, value_range=ValueRange(0.0, 65535.0)), said.append)
    assert plan.problem.prior.spec == usual.problem.prior.spec


@pytest.mark.parametrize(("units", "named"), [("", "in the units of the input"), ("BQML", "BQML")])
def test_a_range_that_was_read_off_the_pixels_is_said_with_the_noise(units: str, named: str) -> None:
    image, said = from_array(700 * blurred() - 90, units=units), []
    config = SolveConfig(parse_spec("blur:gaussian=1"), parse_spec("tv"), noise=Noise(0.05), device="cpu")
    plan = make_plan(config, image, said.append)
    low, high = image.value_range.low, image.value_range.high
    line = next(line for line in said if "range of grey values is not stated" in line)
    assert f"{low:.4g} to {high:.4g}" in line
    assert f"0.05 of the range ({0.05 * (high - low):.3g} {named})" in line
    assert f"({0.05 * (high - low):.3g} {named})" in plan.describe()
    assert plan.to_json()["noise_in_units"] == pytest.approx(0.05 * (high - low))


@pytest.mark.parametrize(
    ("image", "stated"),
    [
        (from_array(np.zeros((8, 8), np.uint8)), None),
        (from_array(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)), None),
        (from_array(np.linspace(-900, 900, 64).reshape(8, 8), units="HU"), None),
        (from_array(np.linspace(-3, 9, 64).reshape(8, 8), value_range=ValueRange(-3.0, 9.0)), (-3.0, 9.0)),
    ],
)
def test_a_range_that_is_known_is_not_remarked_on(image: Image, stated: tuple[float, float] | None) -> None:
    said: list[str] = []
    config = SolveConfig(
        parse_spec("identity"), parse_spec("tv:weight=0.1"), noise=Noise(0.1), range=stated, device="cpu"
    )
    build_problem(config, image, said.append)
    assert not any("not stated" in line for line in said)


def test_padding_is_the_same_whatever_the_range() -> None:
    image = hounsfield()
    padding = np.zeros(image.pixels.shape, bool)
    padding[..., :3] = True
    units = []
    for low, high in ((-1024.0, 3071.0), (-160.0, 240.0)):
        seen = replace(image, padding=padding, value_range=ValueRange(low, high, "HU"))
        units.append(io.to_tensor(seen, torch.float64) * (high - low) + low)
    torch.testing.assert_close(*units)
    assert torch.equal(units[0][..., :3], torch.full_like(units[0][..., :3], -1024.0))


# ------------------------------------------------------------------------------- Python: other units than the prior


def network():
    torch.manual_seed(0)
    return make(ConvexRidgeConfig(widths=(2, 3), size=3, noise_range=(0.01, 0.1), levels=2))


def ridge() -> priors.Prior:
    return learned_prior(network(), 0.05)


def runs(data: LeastSquares, known) -> dict[str, object]:
    split = ridge().split
    assert split is not None
    return {
        "forward_backward": lambda: solvers.forward_backward(data, known, 1.0),
        "tseng": lambda: solvers.tseng(data, known, 0.5),
        "fista": lambda: solvers.fista(data, known, 1.0),
        "douglas_rachford": lambda: solvers.douglas_rachford(data.resolvent(1.0), known),
        "davis_yin": lambda: solvers.davis_yin(data, priors.identity(), known, 1.0),
        "condat_vu": lambda: solvers.condat_vu(data, known, split.operator, priors.identity(), 0.5, 0.1),
        "condat_vu ": lambda: solvers.condat_vu(
            None, data.resolvent(1.0), split.operator, split.conjugate_resolvent(0.1), 1.0, 0.1
        ),
    }


@pytest.mark.parametrize("prior", ["box", "network", "twice its scale"])
@pytest.mark.parametrize("batch", [1, 3])
def test_numbers_from_0_to_255_are_refused_by_a_prior_of_0_to_1(prior: str, batch: int) -> None:
    made = {"box": priors.box(0.0, 1.0), "network": ridge().resolvent(1.0)}
    known = made.get(prior) or priors.scaled(made["network"], 2.0)
    operator = Blur(operators.gaussian_psf(1.0), SHAPE)
    y = torch.from_numpy(blurred()).expand(batch, -1, -1, -1)
    for right in runs(LeastSquares(operator, y), known).values():
        right()
    for name, wrong in runs(LeastSquares(operator, 255 * y), known).items():
        with pytest.raises(
            UsageError, match=rf"{name.strip()}: the measurement is about .* times as large .* expected"
        ):
            wrong()


def test_a_prior_that_is_scaled_takes_them() -> None:
    operator, y = Identity(SHAPE), torch.from_numpy(blurred())
    known = ridge().resolvent(1.0)
    usual = solvers.forward_backward(LeastSquares(operator, y), known, 1.0)
    large = solvers.forward_backward(LeastSquares(operator, 255 * y), priors.scaled(known, 255.0), 1.0)
    first, second = (run.step(run.init(torch.zeros_like(y))).x for run in (usual, large))
    torch.testing.assert_close(second / 255, first, atol=1e-3, rtol=0)


def test_what_is_not_measured_and_strong_noise_are_no_reason_to_refuse() -> None:
    mask = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) < 0.5
    holes = torch.where(mask, scene(), torch.tensor(1e9))
    solvers.forward_backward(LeastSquares(Inpainting(mask), holes), priors.box(0.0, 1.0), 1.0)
    strong = torch.from_numpy(noisy(scene(), 2.0))
    solvers.fista(LeastSquares(Identity(SHAPE), strong), priors.box(0.0, 1.0), 1.0)
    solvers.fista(LeastSquares(Identity(SHAPE), 255 * scene()), priors.box(0.0, math.inf), 1.0)
    solvers.fista(LeastSquares(Identity(SHAPE), 255 * scene()), priors.soft_threshold(0.1), 1.0)


def test_the_chain_refuses_them_too() -> None:
    for prior in ("box", "model:proved-gray"):
        with pytest.raises(UsageError, match="times as large as those of images with values from 0 to 1"):
            solved(255 * blurred(), Noise(0.01), prior=parse_spec(prior), iterations=2)


def test_squares_of_small_numbers_do_not_underflow() -> None:
    small = torch.full((1, 1, 4, 4), 3e-25)
    ball = priors.l2_ball(torch.zeros(1, 1, 4, 4), 6e-25)
    torch.testing.assert_close(ball(small) * 1e25, torch.full((1, 1, 4, 4), 1.5), rtol=1e-4, atol=0)
