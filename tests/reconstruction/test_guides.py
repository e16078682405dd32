"""A guide decides the weights of a prior: what is run, what is said of it, and what is refused."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from network_cases import SMALL_RIDGE
from PIL import Image

import recon
from recon import io
from recon.errors import ConsistencyError, GuaranteeError, InputError, UsageError
from recon.evidence import Evidence
from recon.io import Source, ValueRange, from_array, write
from recon.methods.choice import choose_method
from recon.priors import weighted_prior
from recon.priors.networks import GuidedRidgeConfig, make, save
from recon.reconstruction import sensitivity as sensitivities
from recon.reconstruction.plan import make_plan, with_guide
from recon.reconstruction.replay import replay
from recon.reconstruction.run import Target, execute, solve_image, write_run
from recon.solvers import Status
from recon.specs.configured_prior import PriorContext
from recon.specs.grammar import parse_spec
from recon.specs.groups import GroupSpec
from recon.specs.priors import read_prior
from recon.specs.solve_config import Noise, SolveConfig, config_from, to_json

SHAPE = (24, 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A guided network with the weights that training starts from, but for its filters."""
    torch.manual_seed(0)
    stated = {field: getattr(SMALL_RIDGE, field) for field in ("widths", "size", "pieces")}
    config = GuidedRidgeConfig(padding="zero", noise_range=(0.05, 0.2), levels=2, mask_width=0, **stated)
    path = tmp_path_factory.mktemp("guided") / "net"
    save(make(config), path)
    return path


def scene(seed: int = 0) -> np.ndarray:
    x = np.full(SHAPE, 0.2)
    x[6:16, 5:14] = 0.8
    return x + 0.1 * np.random.default_rng(seed).normal(size=SHAPE)


def image(pixels: np.ndarray, units: str = ""):
    return from_array(pixels, value_range=ValueRange(0, 1, units))


def config(prior: str, operator: str = "identity", **options: object) -> SolveConfig:
    given = {"noise": Noise(0.1), "device": "cpu", **options}
    return SolveConfig(parse_spec(operator), parse_spec(prior), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("operator", ["identity", "blur:gaussian=1"])
@pytest.mark.parametrize("method", [None, "fista"])
def test_a_guided_prior_is_solved_twice_and_the_second_limit_is_that_of_the_guide(folder, operator, method) -> None:
    tolerance = 1e-5 if method is None else 1e-4  # to which FISTA comes in single precision
    stated = config(f"folder:{folder}", operator, tolerance=tolerance, method=method, iterations=5000)
    result = solve_image(stated, image(scene()))
    assert result.status is Status.CONVERGED
    assert result.first is not None
    assert result.first.guide is None
    assert torch.equal(result.plan.guide, result.first.solution.x)
    prior = result.plan.problem.prior.prior
    x, problem = result.solution.x, result.plan.problem
    gradient = problem.operator.A_adjoint(problem.operator.A(x) - problem.measurement) + prior.smooth.gradient(x)
    assert float(gradient.norm()) <= 1e-2 * float(x.norm())
    assert float((x - result.first.solution.x).norm()) > 1e-3 * float(x.norm())


@pytest.mark.parametrize(
    ("operator", "steps"), [("identity", 4), ("blur:gaussian=1", 12), ("inpaint:mask={mask}", None)]
)
def test_a_guide_takes_a_few_steps_where_the_first_image_has_no_holes(folder, tmp_path, operator, steps) -> None:
    np.save(tmp_path / "mask.npy", np.random.default_rng(0).random(SHAPE) < 0.7)
    stated = config(f"folder:{folder}", operator.format(mask=tmp_path / "mask.npy"))
    result = solve_image(stated, image(scene()))
    assert result.status is Status.CONVERGED
    if steps is None:
        assert result.first.status is Status.CONVERGED
        assert result.first.steps > 12
    else:
        assert (result.first.status, result.first.steps) == (Status.COMPLETED, steps)
    assert solve_image(replace(stated, iterations=3), image(scene())).first.steps == 3  # no more than were asked for


def test_what_a_group_does_in_total_is_that_of_the_guide_of_a_run(folder, monkeypatch) -> None:
    plan = make_plan(config(f"folder:{folder}", tolerance=1e-5, iterations=5000), image(scene()), lambda line: None)
    made: list[torch.Tensor] = []
    monkeypatch.setattr(sensitivities, "with_guide", lambda plan, guide: made.append(guide) or with_guide(plan, guide))
    groups = sensitivities.find_groups(GroupSpec("blocks", SHAPE), plan)
    (arm,) = sensitivities.sensitivity(plan, groups).arms
    assert arm.total.value > 0
    assert torch.allclose(made[0], execute(plan).first.solution.x, atol=1e-6)


def test_a_total_of_runs_that_do_not_end_is_none(folder, monkeypatch) -> None:
    """It was given as measured, to an accuracy that the runs had not reached."""
    plan = make_plan(config(f"folder:{folder}", tolerance=1e-5, iterations=5000), image(scene()), lambda line: None)
    monkeypatch.setattr(sensitivities, "_TOTAL_TOLERANCE", 1e-300)
    groups = sensitivities.find_groups(GroupSpec("blocks", SHAPE), plan)
    monkeypatch.setattr(sensitivities, "_TOTAL_STEPS", 30)
    (arm,) = sensitivities.sensitivity(plan, groups).arms
    assert arm.to_json()["total"] is None
    assert "did not come to their limits" in arm.reason


def test_the_steps_with_a_mask_follow_its_mean(folder) -> None:
    plan = make_plan(config(f"folder:{folder}"), image(scene()), lambda line: None)
    pair, prior = plan.pair, plan.problem.prior.guided.given(plan.problem.measurement)
    steep = [weighted_prior(prior, weight) for weight in (0.01, 100.0, 400.0)]
    steps = [
        choose_method(pair, replace(each, mask=prior.mask), "condat_vu", like=plan.problem.images).stepsize
        for each in steep
    ]
    assert steps[0] == plan.method.stepsize  # never longer than without a mask
    assert steps[1] == pytest.approx(2 * steps[2])


def test_the_certificate_says_what_is_given_and_what_is_not_claimed(folder) -> None:
    result = solve_image(config(f"folder:{folder}", require_certificate=True), image(scene()))
    certificate = result.plan.method.certificate
    assert certificate.evidence is Evidence.PROVED
    assert certificate.sentence.startswith("Proved, given the guide: ")
    assert "not claimed: anything of the map from the data to the result" in str(certificate)
    names = {condition.name: condition for condition in certificate.conditions}
    assert names["least weight of the guide"].value == result.guide.weights[0] > 0
    assert names["largest weight of the guide"].bound == result.guide.bounds[1]
    assert result.first.plan.method.certificate.given is None
    assert certificate.to_json()["given"]["what"] == "the guide"


def test_the_figure_of_the_guide_is_the_distance_of_the_two_results(folder) -> None:
    result = solve_image(config(f"folder:{folder}"), image(scene()))
    first, x = result.first.solution.x, result.solution.x
    assert result.guide.changed == pytest.approx(float((x - first).norm() / first.norm()))
    assert "measured" in str(result.guide)


def test_the_record_has_both_solves_and_is_replayed(folder, tmp_path) -> None:
    write(image(scene()), tmp_path / "y.npy")
    stated = config(f"folder:{folder}")
    found = solve_image(stated, image(scene()))
    run = write_run(found, tmp_path / "y.npy", Target(tmp_path / "x.npy"), lambda line: None)
    document = json.loads(run.record.read_text())
    assert document["first"]["steps"] == found.first.steps
    assert document["guide"]["evidence"] == "measured"
    again = replay(run.record, [folder], lambda line: None)
    assert again.identical
    assert again.result.first.steps == found.first.steps


def test_an_interrupted_first_solve_is_the_result(folder) -> None:
    def stop(step: int, budget: int, distance: float) -> None:
        raise KeyboardInterrupt

    result = execute(make_plan(config(f"folder:{folder}"), image(scene()), lambda line: None), stop)
    assert result.status is Status.INTERRUPTED
    assert result.first is None


def test_a_guide_of_ones_own_is_used_in_one_solve_and_is_an_input(folder, tmp_path) -> None:
    write(image(scene(1)), tmp_path / "earlier.npy")
    write(image(scene()), tmp_path / "y.npy")
    said: list[str] = []
    stated = config(f"folder:{folder}", guide=str(tmp_path / "earlier.npy"))
    result = solve_image(stated, image(scene()), said.append)
    assert result.first is None
    assert result.guide.changed is None
    assert result.plan.method.certificate.given is not None
    run = write_run(result, tmp_path / "y.npy", Target(tmp_path / "x.npy"), lambda line: None)
    roles = {entry["role"] for entry in json.loads(run.record.read_text())["inputs"]}
    assert "guide" in roles
    assert replay(run.record, [folder], lambda line: None).identical


def test_a_guide_that_is_far_from_the_data_is_said_with_its_distance(folder, tmp_path) -> None:
    write(image(1 - scene()), tmp_path / "far.npy")
    said: list[str] = []
    solve_image(config(f"folder:{folder}", guide=str(tmp_path / "far.npy")), image(scene()), said.append)
    assert any("of the contrast away from the first look at the data" in line for line in said)


@pytest.mark.parametrize(
    ("pixels", "prior", "error", "sentence"),
    [
        (np.zeros((24, 21)), "net", ConsistencyError, r"guide has 24 x 21 pixels; expected 24 x 20"),
        (np.full(SHAPE, 0.3), "net", InputError, "the guide is constant; expected an image with edges"),
        (np.zeros((3, *SHAPE)), "net", ConsistencyError, r"3 frame\(s\)|3 channel\(s\)"),
        (scene(), "l1:weight=0.1", UsageError, "expected tv or a guided model"),
        (None, "net", InputError, "absent.npy"),
    ],
    ids=["size", "constant", "frames", "prior", "absent"],
)
def test_a_guide_that_does_not_fit_is_one_sentence(folder, tmp_path, pixels, prior, error, sentence) -> None:  # noqa: PLR0917
    path = tmp_path / ("absent.npy" if pixels is None else "guide.npy")
    if pixels is not None:
        np.save(path, pixels)
    stated = config(f"folder:{folder}" if prior == "net" else prior, guide=str(path))
    with pytest.raises(error, match=sentence) as caught:
        solve_image(stated, image(scene()))
    assert str(caught.value).count(". ") == 0


def test_a_guide_in_other_units_is_taken_on_its_own_scale_and_said(folder, tmp_path) -> None:
    write(image(scene()), tmp_path / "other.npy")
    said: list[str] = []
    measured = from_array(1000 * scene(), value_range=ValueRange(0, 1000, "HU"))
    solve_image(config(f"folder:{folder}", guide=str(tmp_path / "other.npy")), measured, said.append)
    assert any("the guide is in no units and the result in HU" in line for line in said)


def test_a_prior_may_name_its_guide_and_a_second_one_is_refused(tmp_path) -> None:
    stated = config(f"tv:guide={tmp_path / 'a.npy'}")
    assert stated.guide == str(tmp_path / "a.npy")
    assert "guide" not in stated.prior.options
    assert config_from(to_json(stated)) == stated
    with pytest.raises(UsageError, match="expected one guide"):
        config(f"tv:guide={tmp_path / 'a.npy'}", guide=str(tmp_path / "b.npy"))


def test_a_guide_elsewhere_in_the_patient_is_refused(folder, tmp_path, monkeypatch) -> None:
    pydicom = pytest.importorskip("pydicom")

    def header(z: float, spacing: float = 0.5):
        found = pydicom.Dataset()
        found.FrameOfReferenceUID = "1.2.3"
        found.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        found.ImagePositionPatient = [0, 0, z]
        found.PixelSpacing = [spacing, spacing]
        return found

    def at(z: float, spacing: float = 0.5):
        return replace(image(scene()), source=Source("dicom", header=header(z, spacing)))

    stated = config(f"folder:{folder}", guide=str(tmp_path / "g.npy"))
    for guide, sentence in (
        (at(7.0), r"position is \(0, 0, 7\) mm; expected \(0, 0, 0\) mm"),
        (at(0.0, 0.6), "spacing"),
    ):
        monkeypatch.setattr("recon.io.read", lambda path, value_range=None, guide=guide: guide)
        with pytest.raises(ConsistencyError, match=sentence):
            solve_image(stated, at(0.0))
    monkeypatch.setattr("recon.io.read", lambda path, value_range=None: at(0.1))
    assert solve_image(stated, at(0.0)).guide is not None


@pytest.mark.parametrize("stated", ["option", "config"])
def test_total_variation_takes_a_guide_in_one_solve(tmp_path, stated) -> None:
    path = tmp_path / "guide.npy"
    write(image(scene(1)), path)
    of_option = config(f"tv:weight=0.1,guide={path}", "blur:gaussian=1")
    given = of_option if stated == "option" else config("tv:weight=0.1", "blur:gaussian=1", guide=str(path))
    result = solve_image(given, image(scene()))
    plain = solve_image(config("tv:weight=0.1", "blur:gaussian=1"), image(scene()))
    assert result.first is None
    assert plain.guide is None
    assert result.plan.method.certificate.sentence.startswith("Proved, given the guide")
    assert float((result.solution.x - plain.solution.x).norm()) > 1e-3 * float(plain.solution.x.norm())


def test_a_plan_for_a_guide_says_so_before_the_first_step(folder) -> None:
    plan = make_plan(config(f"folder:{folder}"), image(scene()), lambda line: None)
    assert plan.makes_guide
    assert plan.to_json()["makes_guide"]
    assert "the image of this run after 4 steps, for a second one" in plan.describe()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "channels"), [("gray", 1), ("color", 3)])
def test_a_packaged_guided_prior_is_better_than_the_unguided_one_at_much_noise(kind: str, channels: int) -> None:
    """A guide that still holds the noise has a mask that keeps it: in colour, 4 steps were too few."""
    path = Path(__file__).parents[2] / "data" / "photographs" / "astronaut.png"
    truth = np.asarray(Image.open(path).convert("RGB"), np.float32)[200:264, 150:214] / 255
    truth = truth if channels == 3 else truth.mean(2)
    noisy = truth + 0.1 * np.random.default_rng(0).standard_normal(truth.shape).astype(np.float32)
    errors = [
        np.square(recon.reconstruct(noisy, "identity", f"model:{prior}-{kind}", noise=0.1).image - truth).mean()
        for prior in ("guided", "proved")
    ]
    assert errors[0] < 0.95 * errors[1]


def test_total_variation_makes_no_guide_by_itself() -> None:
    assert not make_plan(config("tv"), image(scene()), lambda line: None).makes_guide


def test_a_second_solve_without_a_theorem_is_refused_where_one_is_required(folder) -> None:
    dry = make_plan(config(f"folder:{folder}", method="fista"), image(scene()), lambda line: None)
    longest = dry.method.interval[1]
    stated = config(f"folder:{folder}", method="fista", stepsize=0.999 * longest, require_certificate=True)
    with pytest.raises(GuaranteeError, match="A certificate is required"):
        solve_image(stated, image(scene()))


def test_a_specification_states_the_weight_of_the_second_solve(folder) -> None:
    context = PriorContext(0.02, 1, True, SHAPE)
    first = read_prior(parse_spec(f"folder:{folder}"), context)
    assert "guided_weight" in first.spec.options
    again = read_prior(first.spec, context)
    guide = torch.from_numpy(scene())[None, None].float()
    found = [each.guided.given(guide).smooth.lipschitz.value for each in (first, again)]
    assert found[0] == pytest.approx(found[1], rel=1e-9)
    with pytest.raises(UsageError, match="takes no guide"):
        read_prior(parse_spec("model:proved-gray,sigma=0.05,guided_weight=2"), context)


def test_a_guided_network_for_a_volume_is_refused_before_anything_runs(folder) -> None:
    context = PriorContext(0.1, 1, True, (4, *SHAPE), spacing=(1.0, 1.0, 1.0))
    with pytest.raises(UsageError, match="a guided network for a volume"):
        read_prior(parse_spec(f"folder:{folder}"), context)


def test_a_guided_network_has_no_half_precision(folder) -> None:
    with pytest.raises(UsageError, match="guided network in half precision"):
        read_prior(parse_spec(f"folder:{folder},precision=bfloat16"), PriorContext(0.1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_guide_of_another_depth_is_the_same_guide(folder, tmp_path, dtype) -> None:
    """The data are floating point on [0, 1], the guide the same picture in integers."""
    guide = np.clip(scene(), 0, 1)
    Image.fromarray(np.rint(guide * np.iinfo(dtype).max).astype(dtype)).save(tmp_path / "guide.png")
    said: list[str] = []
    stated = config(f"folder:{folder}", guide=str(tmp_path / "guide.png"))
    plan = make_plan(stated, image(scene()), said.append)
    assert float(plan.guide.max()) <= 1
    assert np.allclose(plan.guide[0, 0].numpy(), guide, atol=0.01)
    assert not any("away from the first look" in line for line in said)


def test_a_complex_guide_is_refused_by_its_name(folder, tmp_path) -> None:
    np.save(tmp_path / "guide.npy", scene() + 1j)
    for prior in (f"folder:{folder}", "tv:weight=0.1"):
        with pytest.raises(InputError, match=r"guide\.npy: the guide is complex"):
            solve_image(config(prior, guide=str(tmp_path / "guide.npy")), image(scene()))


def test_rounded_total_variation_takes_no_guide(tmp_path) -> None:
    np.save(tmp_path / "guide.npy", scene())
    with pytest.raises(UsageError, match="expected no smoothing="):
        solve_image(config("tv:weight=0.1,smoothing=0.05", guide=str(tmp_path / "guide.npy")), image(scene()))


def test_a_guide_without_a_prior_makes_a_guided_model_the_default(tmp_path) -> None:
    np.save(tmp_path / "guide.npy", scene())
    stated = replace(config("none", guide=str(tmp_path / "guide.npy")), prior=None)
    plan = make_plan(stated, image(scene()), lambda line: None)
    assert plan.problem.prior.spec.value == "guided-gray"


def test_hostile_guides_of_a_network_are_one_sentence(folder) -> None:
    denoise = recon.denoiser(str(folder), 0.1)
    assert pickle.loads(pickle.dumps(denoise)).noise == 0.1  # noqa: S301  our own
    bad = torch.full((1, 1, 12, 12), torch.nan)
    assert bool(denoise(bad).isnan().any())
    with pytest.raises(UsageError, match="guide holds NaN"):
        denoise.given(bad)
    with pytest.raises(UsageError, match="expected the same, because a guide weighs pixel by pixel"):
        denoise.given(torch.zeros(1, 1, 10, 12))(torch.zeros(1, 1, 12, 12))
    assert denoise(torch.zeros(1, 1, 0, 5)).shape == (1, 1, 0, 5)


@pytest.mark.parametrize("prior", ["model:guided-gray", "model:proved-gray"])
def test_complex_images_take_no_network_of_real_ones(prior) -> None:
    with pytest.raises(UsageError, match="expected a prior of complex images"):
        solve_image(config(prior), image(scene() + 1j * scene()))


def test_a_record_does_not_name_a_guide_in_dicom_and_a_replay_finds_it(folder, tmp_path) -> None:
    from pydicom.examples import get_path  # noqa: PLC0415  reads a file of the package

    named = tmp_path / "Doe^Jane.dcm"
    named.write_bytes(get_path("ct").read_bytes())
    guide = io.read(named)
    pixels = io.to_tensor(guide, torch.float64)[0, 0].numpy()
    noisy = pixels + 0.05 * np.random.default_rng(0).normal(size=pixels.shape)
    write(image(noisy), tmp_path / "y.npy")
    stated = config("tv:weight=0.05", guide=str(named), iterations=10)
    result = solve_image(stated, io.read(tmp_path / "y.npy"))
    run = write_run(result, tmp_path / "y.npy", Target(tmp_path / "x.npy"), lambda line: None)
    assert "Doe" not in run.record.read_text()
    again = replay(run.record, [tmp_path], lambda line: None)
    assert again.result.guide is not None
    assert again.identical
