"""Maps of standard deviations: closed forms, what has no density, and what a calibration is bound to."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recon import io
from recon.errors import ConsistencyError, InputError, UsageError
from recon.evaluation.calibrate import MEASUREMENTS
from recon.io import ValueRange
from recon.reconstruction.plan import Plan
from recon.reconstruction.run import execute
from recon.solvers import Algorithm
from recon.specs.solve_config import config_from
from recon.uncertainty.bootstrap import Transform, bootstrap
from recon.uncertainty.calibration import calibrated, read_calibration, rule_of, write_calibration
from recon.uncertainty.ensemble import ensemble
from recon.uncertainty.intervals import coverage, normal_factors, rank_correlation, widths
from recon.uncertainty.maps import Maps
from recon.uncertainty.posterior import posterior
from recon.uncertainty.potential import potential_of
from recon.uncertainty.quantify import plans_of, quantify, with_method
from recon.uncertainty.settings import Settings, stream
from recon.uncertainty.writing import picture

SIDE, NOISE = 12, 0.05


def plan(operator: str = "blur:gaussian=0.8", prior: str = "tikhonov:weight=0.05", **options: object) -> Plan:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    clean = (0.3 + 0.4 * (rows > columns)).astype(np.float32)
    noisy = clean + NOISE * np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    image = io.from_array(noisy[None, None], value_range=ValueRange(0.0, 1.0))
    config = config_from({"operator": operator, "prior": prior, "noise": str(NOISE), "tolerance": 1e-5, **options})
    (made,) = plans_of(config, (), image, lambda line: None)
    return made


def dense(given: Plan) -> torch.Tensor:
    """A^T A of the operator, as a matrix."""
    basis = torch.eye(SIDE * SIDE).view(-1, 1, SIDE, SIDE)
    columns = given.problem.operator.A(basis).flatten(1)
    return (columns @ columns.T).double()


@pytest.mark.parametrize(("method", "asked"), [("kinetic", 0.05), pytest.param("ula", 0.8, marks=pytest.mark.slow)])
def test_with_a_quadratic_penalty_chains_have_the_gaussian_closed_form(method: str, asked: float) -> None:
    """The Moreau envelope of w/2 |x|^2 with t = 1 / ||A||^2 is quadratic, too: w / (1 + t w)."""
    given = plan(prior=f"tikhonov:weight={asked}")
    result = execute(given)
    t = 1 / given.pair.squared_norm
    weight = asked / (1 + t * asked)
    precision = (dense(given) + weight * torch.eye(SIDE * SIDE)) / NOISE**2
    covariance = torch.linalg.inv(precision)
    back = given.problem.operator.A_adjoint(given.problem.measurement).flatten().double()
    mean = covariance @ back / NOISE**2
    maps = posterior(result, Settings(method, chains=20, steps=6400))
    variance = maps.std.flatten().double().square()
    assert maps.status == "mixed"
    assert float((maps.mean.flatten() - mean).norm() / mean.norm()) <= 0.02
    assert float((variance.mean() / covariance.diagonal().mean() - 1).abs()) <= 0.1
    block = torch.zeros(SIDE, SIDE, dtype=torch.float64)
    block[:8, :8] = 1 / 64
    exact = block.flatten() @ covariance @ block.flatten()
    assert float(maps.block_std[0, 0, 0, 0]) == pytest.approx(math.sqrt(exact), rel=0.1)


def test_the_constant_of_the_langevin_chains_is_proved_and_that_of_the_kinetic_chain_measured() -> None:
    result = execute(plan(prior="tikhonov:weight=0.5"))
    for method, evidence in (("ula", "proved"), ("sk-rock", "proved"), ("kinetic", "measured")):
        details = posterior(result, Settings(method, steps=2000)).details
        assert details["lipschitz"]["evidence"] == evidence  # type: ignore[index]
        assert details["density_evidence"] == "proved"


def test_the_parametric_bootstrap_of_a_linear_solution_has_its_closed_form() -> None:
    """e* = (H - 1) x + B noise with H = B A, B = (A^T A + w)^-1 A^T."""
    given = plan()
    result = execute(given)
    x = result.solution.x.flatten().double()
    gram = dense(given)
    inverse = torch.linalg.inv(gram + 0.05 * torch.eye(SIDE * SIDE))
    bias = (inverse @ gram - torch.eye(SIDE * SIDE)) @ x
    exact = (bias.square() + NOISE**2 * (inverse @ gram @ inverse).diagonal()).sqrt()
    maps = bootstrap(result, Settings("bootstrap", samples=300, transforms=False))
    assert float(((maps.std.flatten() - exact) / exact).square().mean().sqrt()) <= 0.1
    assert maps.details["kind"] == "parametric"
    assert torch.equal(maps.mean, result.solution.x)


def test_transforms_have_inverses_and_keep_the_grid() -> None:
    x = torch.randn(2, 3, 5, 6)
    for transform in (Transform(), Transform((2, -3)), Transform((1, 4), (-1,)), Transform((0, 2), (-2, -1))):
        assert torch.equal(transform.undo(transform(x)), x)
        assert torch.equal(transform(x).flatten().sort().values, x.flatten().sort().values)


def test_the_equivariant_bootstrap_sees_what_the_operator_does_not(tmp_path: Path) -> None:
    mask = np.ones((SIDE, SIDE), dtype=bool)
    mask[3:9, 3:9] = False
    np.save(tmp_path / "mask.npy", mask)
    result = execute(plan(f"inpaint:mask={tmp_path}/mask.npy", "tv:weight=0.02"))
    missing = ~torch.from_numpy(mask)
    plain, moved = (bootstrap(result, Settings("bootstrap", samples=12, transforms=t)).std[0, 0] for t in (False, True))
    assert float(moved[missing].mean()) > 1.5 * float(plain[missing].mean())


def test_a_missing_pixel_is_as_uncertain_as_missing_pixels_are(tmp_path: Path) -> None:
    """Every other simulation measures it, where shifts move the mask."""
    mask = np.random.default_rng(1).random((SIDE, SIDE)) < 0.5
    np.save(tmp_path / "mask.npy", mask)
    result = execute(plan(f"inpaint:mask={tmp_path}/mask.npy", "tv:weight=0.002"))
    std = bootstrap(result, Settings("bootstrap", samples=48)).std[0, 0]
    measured = torch.from_numpy(mask)
    assert float(std[~measured].median()) > 1.3 * float(std[measured].median())


def test_an_ensemble_has_the_spread_of_its_members() -> None:
    first, second = (execute(plan(prior=f"tikhonov:weight={weight}")) for weight in (0.01, 0.3))
    maps = ensemble([first, second])
    a, b = first.solution.x, second.solution.x
    assert torch.allclose(maps.mean, (a + b) / 2)
    assert torch.allclose(maps.std, (a - b).abs() / math.sqrt(2), atol=1e-6)
    with pytest.raises(UsageError, match="at least two"):
        ensemble([first])


@pytest.mark.slow
def test_a_resolvent_that_is_no_gradient_has_no_density() -> None:
    given = plan(prior="model:proved-monotone-gray")
    with pytest.raises(UsageError, match=r"not symmetric .* no density to sample"):
        potential_of(given)


def test_a_surrogate_and_no_noise_have_no_density_either() -> None:
    with pytest.raises(UsageError, match="no gradient and has no density"):
        potential_of(plan(surrogate="blur:gaussian=0.9"))
    given = plan()
    with pytest.raises(UsageError, match="expected --noise SIGMA above 0"):
        potential_of(replace(given, problem=replace(given.problem, noise=None)))


def test_a_map_that_nothing_is_known_of_is_only_assumed_to_be_a_gradient() -> None:
    source = Path(__file__).with_name("gradient_step.py")
    potential = potential_of(plan(prior=f"python:{source}:shrink", method="forward_backward"))
    assert potential.penalty.evidence == "assumed"
    assert "PnP-ULA" in potential.penalty.how


def test_the_method_follows_from_the_problem() -> None:
    assert with_method([plan()], Settings()).method == "bootstrap"
    assert with_method([plan(prior="model:proved-gray")], Settings()).method == "kinetic"
    assert with_method([plan(), plan()], Settings()).method == "ensemble"
    assert with_method([plan(prior="model:proved-gray")], Settings("ula")).method == "ula"
    with pytest.raises(UsageError, match="2 priors with method"):
        quantify([plan(), plan()], Settings("bootstrap"))
    with pytest.raises(UsageError, match="steps is 3"):
        Settings(steps=3)
    with pytest.raises(UsageError, match="method"):
        Settings("hmc")


def test_chains_that_have_not_mixed_say_so() -> None:
    maps = quantify([plan()], Settings("ula", steps=200)).maps
    assert maps.status == "not mixed"
    assert "not mixed" in maps.sentence
    assert maps.details["mixing"]["mixed"] is False  # type: ignore[index]


def test_the_seed_decides() -> None:
    given = [plan()]
    first, again, other = (quantify(given, Settings("kinetic", steps=400, seed=seed)).maps.std for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_coverage_is_of_what_lies_inside() -> None:
    truth = torch.zeros(1, 1, 16, 16)
    error = torch.linspace(0, 2, 256).view_as(truth)
    maps = Maps(error, torch.ones_like(truth), torch.ones(1, 1, 2, 2), "done", "")
    factors = replace(normal_factors(0.9), pixel=1.0 / 1.1)
    seen = coverage(maps, truth, factors)
    assert seen.pixels == pytest.approx(0.5, abs=0.01)
    assert seen.width == pytest.approx(2.0)
    assert math.isnan(seen.rank_correlation)  # the width does not vary
    assert seen.to_json()["rank_correlation"] is None
    assert float(widths(torch.zeros(1, 1, 4, 4)).min()) > 0


def test_a_picture_has_the_values_of_the_image() -> None:
    """Hounsfield units among them, which are negative."""
    pixels = np.linspace(-1000, 500, 48).astype(np.float32).reshape(1, 1, 6, 8)
    assert np.array_equal(picture(io.from_array(pixels, value_range=ValueRange(-1000.0, 500.0))), pixels[0, 0])
    colours = np.random.default_rng(0).random((1, 3, 6, 8)).astype(np.float32)
    assert picture(io.from_array(colours, value_range=ValueRange(0.0, 1.0))).shape == (6, 8, 3)


def test_rank_correlation_takes_ties_at_their_mean() -> None:
    a = torch.tensor([1.0, 2.0, 2.0, 4.0])
    assert rank_correlation(a, a) == pytest.approx(1.0)
    assert rank_correlation(a, -a) == pytest.approx(-1.0)
    assert rank_correlation(a, torch.tensor([1.0, 3.0, 2.0, 4.0])) == pytest.approx(0.9487, abs=1e-4)


def test_a_calibration_is_bound_to_its_rule(tmp_path: Path) -> None:
    settings = Settings("bootstrap")
    rule = rule_of([plan()], settings)
    ratios = [torch.rand(30, generator=torch.Generator().manual_seed(k)) for k in range(9)]
    made = calibrated(ratios, ratios, 0.9, rule)
    path = tmp_path / "cal.json"
    write_calibration(path, made, overwrite=False)
    read = read_calibration(path)
    assert read == made
    assert read.identity == made.identity
    assert "at most 0.1" in read.statement
    read.check(rule_of([plan()], settings), 0.9, "cal.json")
    read.check(rule_of([plan(noise=str(1.00001 * NOISE))], settings), None, "cal.json")
    for other, name in (
        (rule_of([plan(prior="tikhonov:weight=0.06")], settings), "prior"),
        (rule_of([plan("blur:gaussian=0.9")], settings), "operator"),
        (rule_of([plan(noise="0.06")], settings), "noise"),
        (rule_of([plan(noise=str(1.005 * NOISE))], settings), "noise"),
        (rule_of([plan(iterations=3)], settings), "solver"),
        (rule_of([plan(tolerance=1e-3)], settings), "solver"),
        (rule_of([plan(surrogate="blur:gaussian=0.9")], settings), "(method|solver)"),
        (rule_of([plan()], Settings("bootstrap", samples=30)), "uncertainty"),
        ({**rule, "version": "0.0.1"}, "version"),
    ):
        with pytest.raises(ConsistencyError, match=f"cal.json: the calibration is of {name}"):
            read.check(other, 0.9, "cal.json")
    with pytest.raises(ConsistencyError, match=r"the level is 0\.9"):
        read.check(rule, 0.8, "cal.json")


def test_a_calibration_is_bound_to_the_files_of_its_method(tmp_path: Path) -> None:
    """Of learned steps, or of an unrolled network: their name alone says nothing of what was learned."""
    settings, files = Settings("bootstrap"), (tmp_path / "network.toml", tmp_path / "weights.safetensors")
    for file in files:
        file.write_text(file.name)
    own = replace(plan(), method=replace(plan().method, files=files))
    rule = rule_of([own], settings)
    made = calibrated([torch.rand(30)] * 9, [torch.rand(4)] * 9, 0.9, rule)
    made.check(rule_of([own], settings), 0.9, "cal.json")
    files[1].write_text("edited")
    for other in (own, plan()):
        with pytest.raises(ConsistencyError, match="the calibration is of solver"):
            made.check(rule_of([other], settings), 0.9, "cal.json")


def test_a_file_of_fewer_images_than_its_level_needs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cal.json"
    write_calibration(path, calibrated([torch.rand(30)] * 9, [torch.rand(4)] * 9, 0.9, {}), overwrite=False)
    path.write_text(path.read_text().replace('"level": 0.9', '"level": 0.95'))
    with pytest.raises(InputError, match="expected at least 19"):
        read_calibration(path)


@pytest.mark.parametrize("ratio", [math.inf, math.nan])
def test_no_calibration_has_a_factor_that_is_no_number(ratio: float) -> None:
    ratios = [torch.full((4,), ratio) for _ in range(9)]
    with pytest.raises(ConsistencyError, match="no finite factor"):
        calibrated(ratios, [torch.ones(1)] * 9, 0.9, {})


@pytest.mark.parametrize("key", ["level", "pixel_factor", "region_factor", "images"])
@pytest.mark.parametrize("value", ["-1", "1e400", "NaN", "null", '"x"', "[]", "1" + 400 * "0"])
def test_a_calibration_with_a_number_that_is_none_is_refused(key: str, value: str, tmp_path: Path) -> None:
    made = calibrated([torch.rand(30)] * 9, [torch.rand(4)] * 9, 0.9, {})
    path = tmp_path / "cal.json"
    write_calibration(path, made, overwrite=False)
    lines = path.read_text().splitlines()
    at = next(at for at, line in enumerate(lines) if f'"{key}"' in line)
    lines[at] = f'  "{key}": {value},'
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match="damaged"):
        read_calibration(path)


def test_a_calibration_is_bound_to_the_callable_of_the_users_file(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "class Scaled:\n"
        "    def __init__(self, by): self.by = by\n"
        "    def A(self, x): return self.by * x\n"
        "    def A_adjoint(self, y): return self.by * y\n"
        "def one(shape): return Scaled(1.0)\n"
        "def half(shape): return Scaled(0.5)\n"
    )
    one, half = (rule_of([plan(f"python:{tmp_path}/own.py:{name}")], Settings("bootstrap")) for name in ("one", "half"))
    assert one["operator"] != half["operator"]
    assert str(tmp_path) not in json.dumps(one)


def test_no_stream_of_random_numbers_is_that_of_simulated_noise() -> None:
    """Noise of image k has the seed N + k; calibration, evaluation and run have streams of their own."""
    names = ("transforms", "simulated noise", "starts", "chains", "calibration", "evaluation", MEASUREMENTS)
    seeds = {stream(seed, name, number) for seed in range(20) for name in names for number in range(5)}
    assert len(seeds) == 700
    assert min(seeds) > 1000


def test_an_interrupted_simulation_is_not_counted() -> None:
    given = plan()
    result = execute(given)

    def interrupted(x: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    def stopped(y: torch.Tensor) -> Algorithm:
        return replace(given.method.solver(y), step=interrupted)

    broken = replace(result, plan=replace(given, method=replace(given.method, solver=stopped)))
    with pytest.raises(KeyboardInterrupt):
        bootstrap(broken, Settings("bootstrap", samples=2))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"kind": "recon calibration"}', "\xff"])
def test_a_file_that_is_no_calibration_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "cal.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="no calibration"):
        read_calibration(path)
    sound = {"kind": "recon calibration", "schema": 1, "level": 2, "pixel_factor": 1, "region_factor": 1, "images": 9}
    path.write_text(json.dumps({**sound, "rule": {}}))
    with pytest.raises(InputError, match="damaged"):
        read_calibration(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_calibration(tmp_path / "absent.json")
