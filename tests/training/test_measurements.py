"""Training from measurements alone: losses against deepinv's and against what they estimate, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import deepinv
import numpy as np
import pytest
import torch
from training_cases import FREE, recipe, same, scene

from recon.errors import InputError, ReconError, UsageError
from recon.operators import Blur, Detector, Geometry, Identity, Inpainting, Tomography, Volume, evenly_spaced
from recon.operators import gaussian_psf as psf
from recon.operators.tomography import fbp
from recon.priors.networks import LipschitzConfig, load, make
from recon.specs.grammar import parse_spec
from recon.specs.operators import operator_from_spec
from recon.training import (
    EquilibriumConfig,
    Images,
    Listeners,
    Recipe,
    Trainer,
    ValidationConfig,
    prepare,
    restoration,
    train,
)
from recon.training.equilibrium import Restoration, Ways
from recon.training.measurement_losses import fidelity_of_measurements, hidden_part, measured_sample, misfit
from recon.training.measurements import read_measurements
from recon.training.operator_stated import for_measurements
from recon.training.pseudo_inverse import pseudo_inverse
from recon.training.tables import MeasurementsConfig
from recon.training.transformations import moved

SMALL = LipschitzConfig(features=4, depth=2)
SCAN = Geometry("parallel", evenly_spaced(0, 180, 24), Detector(34, 1.0), Volume((24, 24), 1.0))
SCAN_TOML = """
kind = "parallel"
angles = { start = 0, stop = 180, count = 24, endpoint = false }
[detector]
pixels = 34
pitch = 1.0
[volume]
pixels = [24, 24]
pitch = 1.0
"""
SIGMA = 0.1


def network_of(config=SMALL):
    torch.manual_seed(0)
    return make(config)


def problem_of(operator, masked=False, stepsize=0.0, **measurements) -> Restoration:
    config = EquilibriumConfig(stepsize=stepsize, accuracy=1e-4)
    return Restoration(operator, config, None, Ways(False, 0.01, MeasurementsConfig(**measurements), masked))


def image(side=24, count=1):
    found = [torch.from_numpy(scene(seed, side).astype(np.float32) / 255) for seed in range(count)]
    return torch.stack(found)[:, None]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_misfit_of_projections_is_the_mean_square_of_the_image() -> None:
    problem, x = problem_of(Tomography(SCAN)), image() - 0.4
    x = x * torch.hann_window(24).view(1, -1) * torch.hann_window(24).view(-1, 1)
    assert float(misfit(problem, problem.operator.A(x))) == pytest.approx(float(x.square().mean()), rel=0.2)
    blurred = problem_of(Blur(psf(0.5), (24, 24)))
    assert float(misfit(blurred, x)) == pytest.approx(float(x.square().mean()))


@pytest.mark.parametrize("operator", [Tomography(SCAN), Blur(psf(0.6), (24, 24))], ids=["ct", "blur"])
@pytest.mark.parametrize("single", [False, True])
def test_a_reconstruction_knows_nothing_of_what_is_hidden(operator, single) -> None:
    problem = problem_of(operator)
    problem = replace(problem, ways=replace(problem.ways, single=single))
    network, y = network_of(), operator.A(image(count=2))
    hidden = hidden_part(problem, y, generator())
    assert 0 < float(hidden.mean()) < 0.5
    with torch.no_grad():
        found = problem.restore(network, y, None, 1 - hidden)
        other = problem.restore(network, y + 9 * hidden, None, 1 - hidden)
        whole = problem.restore(network, y, None)
    assert torch.allclose(found, other, atol=1e-5)
    assert float((found - whole).abs().max()) > 1e-4


def test_a_part_counts_for_the_rest() -> None:
    """So that the weight of the data is the same: of the views of a scan a part makes the image as bright."""
    x = image()
    problem, y = problem_of(Tomography(SCAN)), Tomography(SCAN).A(x)
    hidden = hidden_part(problem, y, generator())
    part = pseudo_inverse(problem.operator, y, 0.0, 1 - hidden)
    assert float(part.mean()) == pytest.approx(float(fbp(SCAN, "hann")(y).mean()), rel=0.02)


def test_views_are_left_out_evenly_and_each_as_often() -> None:
    y = torch.zeros(200, 1, 24, 34)
    hidden = hidden_part(problem_of(Tomography(SCAN), parts=4), y, generator())
    assert set(hidden.sum((1, 2, 3)).tolist()) == {6 * 34}
    assert float((hidden.mean((0, 1, 3)) - 0.25).abs().max()) < 0.12


def test_splitting_is_the_error_and_the_noise() -> None:
    """Known answer: of a network that gives the truth the noise of the hidden part is left."""
    problem, x = problem_of(Identity((200, 200))), 0.5 * torch.ones(1, 1, 200, 200)

    class Truth(torch.nn.Module):
        conditioned = False

        def forward(self, y, _level):
            return x

    ideal = replace(problem, ways=replace(problem.ways, single=True))
    y = x + SIGMA * torch.randn(x.shape, generator=generator())
    data = measured_sample(y[None], "splitting", torch.full((1,), SIGMA), generator(1), ideal)
    assert float(fidelity_of_measurements(Truth(), data, None, "splitting", ideal)[0]) == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("loss", ["sure", "r2r"])
@pytest.mark.parametrize("operator", [Tomography(SCAN), Blur(psf(0.6), (24, 24))], ids=["ct", "blur"])
def test_what_the_losses_estimate(operator, loss) -> None:
    """Over many draws of noise they differ from the error of the measured image by a constant, of two networks."""
    problem = problem_of(operator)
    problem = replace(problem, ways=replace(problem.ways, single=True))
    x, differences = image(), []
    clean = operator.A(x)
    level = 0.02 * float(clean.abs().mean())
    networks = [network_of(), network_of(replace(SMALL, depth=3))]
    with torch.no_grad():
        networks[1].load_state_dict({**networks[1].state_dict()})
        y = clean + level * torch.randn(400, *clean.shape[1:], generator=generator())
        for network in networks:
            data = measured_sample(y[None], loss, torch.full((400,), level), generator(1), problem)
            values, found = fidelity_of_measurements(network, data, None, loss, problem)
            error = misfit(problem, operator.A(found) - clean)
            differences.append(float((values - error).mean()))
            spread = float((values - error).std()) / 20
    assert differences[0] == pytest.approx(differences[1], abs=max(6 * spread, 1e-7))
    if loss == "sure":
        assert abs(differences[0]) < max(6 * spread, 1e-7)


def test_sure_through_an_operator_is_that_of_deepinv() -> None:
    problem, network, y = problem_of(Blur(psf(0.6), (12, 12))), network_of(), torch.rand(2, 1, 12, 12)
    problem = replace(problem, ways=replace(problem.ways, single=True))
    torch.manual_seed(5)
    draws = torch.empty_like(y).normal_()
    data = replace(measured_sample(y[None], "sure", torch.full((2,), SIGMA), generator(), problem), draws=draws)
    ours, found = fidelity_of_measurements(network, data, None, "sure", problem)
    rng = torch.Generator()
    rng.set_state(torch.random.manual_seed(5).get_state())

    class Physics:
        def A(self, x):
            return problem.operator.A(x)

        __call__ = A

    loss = deepinv.loss.SureGaussianLoss(SIGMA, rng=rng)
    theirs = loss(y, found, Physics(), lambda y, *_: problem.restore(network, y))
    constant = SIGMA**2 * (draws.square().mean((1, 2, 3)) - 1)  # a control variate: the mean of it is 0
    assert torch.allclose(ours + constant, theirs, atol=1e-6)


@pytest.mark.parametrize("kind", ["turns", "shifts", "rotations", "scales"])
def test_the_equivariant_loss_is_that_of_deepinv(kind) -> None:
    problem = problem_of(Inpainting(torch.rand(12, 12) > 0.3), masked=True, equivariance=1.0, transform=kind)
    problem = replace(problem, ways=replace(problem.ways, single=True))
    network, y = network_of(), problem.operator.A(torch.rand(1, 1, 12, 12))
    data = measured_sample(y[None], "noise2noise", torch.full((1,), SIGMA), generator(), problem)
    data = replace(data, fresh=torch.zeros_like(y))
    with_it, found = fidelity_of_measurements(network, data, None, "noise2noise", problem)
    plain = misfit(problem, problem.operator.A(found) - y)

    class Physics:
        def A(self, x):
            return problem.operator.A(x)

        __call__ = A

    theirs = deepinv.loss.EILoss(lambda x: moved(x, kind, data.moves), apply_noise=False)(
        found, Physics(), lambda y, *_: problem.restore(network, y)
    )
    assert float((with_it - plain).detach()) == pytest.approx(float(theirs.detach().mean()), rel=1e-5)


def test_transformations_keep_what_they_should() -> None:
    x = torch.rand(3, 2, 10, 10)
    numbers = torch.rand(3, 2, generator=generator())
    for kind in ("turns", "shifts"):
        assert torch.equal(moved(x, kind, numbers).flatten(1).sort().values, x.flatten(1).sort().values)
    assert torch.allclose(moved(x, "rotations", torch.zeros(3, 2)), x, atol=1e-6)
    quarter = moved(x, "rotations", torch.full((3, 2), 0.25))
    assert any(torch.allclose(quarter, x.rot90(k, (-2, -1)), atol=1e-5) for k in (1, 3))
    assert torch.equal(moved(x, "turns", numbers)[1:2], moved(x[1:2], "turns", numbers[1:2]))
    flat = moved(torch.rand(1, 1, 6, 9), "rotations", torch.tensor([[0.5, 0.0]]))
    assert flat.shape == (1, 1, 6, 9)


def test_a_half_turn_of_an_image_that_is_no_square_is_exact() -> None:
    x = torch.rand(1, 1, 6, 9)
    assert torch.allclose(moved(x, "rotations", torch.tensor([[0.5, 0.0]])), x.flip((-2, -1)), atol=1e-5)


def test_the_gradient_goes_through_the_measurement_too() -> None:
    """The equivariant loss measures what was reconstructed."""
    network = network_of().double()
    config = EquilibriumConfig(accuracy=1e-4)
    object.__setattr__(config, "accuracy", 1e-11)
    object.__setattr__(config, "adjoint_accuracy", 1e-11)
    problem = Restoration(Blur(psf(0.5), (8, 8)), config)
    y = torch.rand(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    direction = torch.rand_like(y)
    weights = torch.rand_like(y)
    found = torch.autograd.grad((problem.restore(network, y) * weights).sum(), y)[0]
    with torch.no_grad():
        ahead, behind = (problem.restore(network, y + step * direction) for step in (1e-4, -1e-4))
    assert float((found * direction).sum()) == pytest.approx(float(((ahead - behind) * weights).sum()) / 2e-4, rel=1e-4)


@pytest.mark.parametrize("seen", [None, torch.ones(1, 1, 9, 9).index_fill(2, torch.tensor([4]), 0.0)])
def test_the_pseudo_inverse_solves_its_equation(seen) -> None:
    operator, y = Blur(psf(0.7), (9, 9)), torch.rand(1, 1, 9, 9)
    x = pseudo_inverse(operator, y, 0.05, seen)
    weights = torch.ones(1) if seen is None else seen / seen.mean()
    left = operator.A_adjoint(weights * operator.A(x)) + 0.05 * x
    assert torch.allclose(left, operator.A_adjoint(weights * y), atol=1e-5)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a mask and a scan, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.toml").write_text(SCAN_TOML)
    np.save("mask.npy", np.random.default_rng(0).random((24, 24)) > 0.3)
    return tmp_path


def measured(folder: Path, spec: str, count: int, frames: int = 1, first: int = 0) -> list[Path]:
    """Files of noisy measurements of scenes."""
    operator = operator_from_spec(parse_spec(spec, "operator"), (24, 24))
    folder.mkdir()
    for seed in range(first, first + count):
        x = torch.from_numpy(scene(seed, 24).astype(np.float32) / 255)[None, None]
        y = operator.A(x.expand(frames, 1, 24, 24))
        noisy = y + SIGMA * torch.randn(y.shape, generator=generator(seed)) * (y != 0)
        np.save(folder / f"{seed:02}.npy", noisy[:, 0].numpy())
    return sorted(folder.iterdir())


def given_for(spec: str, loss: str, mode: str = "equilibrium", **changes) -> Recipe:
    plain = recipe(SMALL, steps=4, loss=loss, batch=2)
    data = replace(plain.data, range=(0.0, 1.0))
    settings = {"equivariance": changes.pop("equivariance", 0.0)}
    return Recipe(
        plain.network,
        data,
        replace(plain.training, mode=mode, **changes),
        plain.penalty,
        ValidationConfig(every=2, images=1, crop=24),
        EquilibriumConfig(operator=spec, stepsize=0.0, accuracy=1e-3),
        MeasurementsConfig(**settings),
    )


def run(folder: Path, images: Images, given: Recipe | None, resume: bool = False, **listeners):
    return train(prepare(folder, given, resume), images, folder, torch.device("cpu"), Listeners(**listeners))


@pytest.mark.parametrize(
    ("spec", "loss", "mode", "equivariance"),
    [
        ("blur:gaussian=0.5", "sure", "equilibrium", 1.0),
        ("blur:gaussian=0.5,boundary=valid", "splitting", "single", 0.0),
        ("inpaint:mask=mask.npy", "r2r", "equilibrium", 1.0),
        ("inpaint:mask=mask.npy", "splitting", "equilibrium", 0.0),
        ("ct:scan.toml", "splitting", "equilibrium", 0.0),
        ("ct:scan.toml", "splitting", "single", 1.0),
        ("ct:scan.toml", "noise2noise", "single", 0.0),
        ("ct:scan.toml", "sure", "single", 0.0),
        ("downsample:factor=2", "splitting", "single", 1.0),
    ],
)
def test_a_network_from_measurements_alone(place, spec, loss, mode, equivariance) -> None:
    frames = 2 if loss == "noise2noise" else 1
    images = Images(measured(place / "a", spec, 3, frames), measured(place / "b", spec, 2, frames, first=50))
    outcome = run(place / "run", images, given_for(spec, loss, mode, equivariance=equivariance))
    card = json.loads((place / "run" / "card.json").read_text())
    assert np.isfinite(outcome.look.held_out)
    assert card["held_out"] == pytest.approx(outcome.look.held_out, rel=1e-4)
    assert card["figures"][0]["psnr"] is None
    how = card["reconstruction"]
    assert (how["mode"], how["operator"], how["stepsize"] is None) == (mode, spec, mode == "single")
    assert load(place / "run")(torch.zeros(1, 1, 9, 9)).shape == (1, 1, 9, 9)
    assert (place / "run" / "validation.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_bit(place) -> None:
    spec = "inpaint:mask=mask.npy"
    images = Images(measured(place / "a", spec, 3), measured(place / "b", spec, 1, first=50))
    given = given_for(spec, "sure", equivariance=1.0)
    run(place / "whole", images, given)
    count = iter(range(9))
    run(place / "half", images, given, stopping=lambda: next(count) == 1)
    run(place / "half", images, None, resume=True)
    assert same(load(place / "half").state_dict(), load(place / "whole").state_dict())


def test_clean_images_that_are_there_for_validation_give_a_psnr_of_reconstructions(place) -> None:
    folder = place / "clean"
    folder.mkdir()
    np.save(folder / "x.npy", scene(70, 24).astype(np.float32) / 255)
    given = given_for("ct:scan.toml", "splitting", "single")
    given = replace(given, validation=replace(given.validation, clean=True))
    outcome = run(place / "run", Images(measured(place / "a", "ct:scan.toml", 3), [folder / "x.npy"]), given)
    assert outcome.look.restored > 5


def test_a_free_network_is_penalised_at_its_reconstructions(place) -> None:
    given = given_for("blur:gaussian=0.5", "sure", "single")
    given = replace(given, network=FREE, penalty=replace(recipe(FREE, penalty=0.1).penalty, start=0))
    files = measured(place / "a", "blur:gaussian=0.5", 2)
    assert np.isfinite(Trainer(given, read_measurements(files, given, print)).advance().constraint)


def write(path: str, values: np.ndarray) -> Path:
    np.save(path, values.astype(np.float32))
    return Path(path)


@pytest.mark.parametrize(
    ("spec", "values", "message"),
    [
        ("ct:scan.toml", np.ones((20, 34)), r"20 x 34 values; expected 24 x 34, views and detector pixels"),
        ("ct:scan.toml", -np.ones((24, 34)), "the sign of the logarithm is the wrong one"),
        ("ct:scan.toml", np.full((24, 34), np.nan), "finite"),
        ("inpaint:mask=mask.npy", np.ones((20, 24)), "the mask is 24 x 24 pixels, the image 20 x 24"),
        ("blur:gaussian=3,boundary=valid", np.ones((8, 8)), "PSF has"),
        ("blur:gaussian=0.5", np.full((24, 24), np.inf), "finite"),
    ],
)
def test_measurements_that_are_none_of_the_operator_are_one_sentence(place, spec, values, message) -> None:
    file = write("wrong.npy", values)
    with pytest.raises(InputError, match=message) as error:
        read_measurements([file], given_for(spec, "splitting"), print)
    assert "wrong.npy" in str(error.value)


def test_measurements_of_two_shapes_are_one_sentence(place) -> None:
    files = [write("a.npy", np.ones((24, 24))), write("b.npy", np.ones((20, 24)))]
    given = given_for("blur:gaussian=0.5", "splitting")
    with pytest.raises(InputError, match=r"b\.npy: the measurement has 20 x 24 values; expected 24 x 24"):
        read_measurements(files, given, print)
    with pytest.raises(InputError, match="there is 1 frame; expected at least 2 of one scene"):
        read_measurements(files[:1], given_for("blur:gaussian=0.5", "noise2noise"), print)
    with pytest.raises(InputError, match=r"expected 24 x 24 as in those of the training"):
        run(place / "run", Images(files[:1], files[1:]), given)
    said = []
    kept = replace(given, data=replace(given.data, skip_damaged=True))
    assert read_measurements(files, kept, said.append).count == 1
    assert "1 file left out" in said[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: replace(given, data=replace(given.data, range=(0.0, 0.0))), "expected the attenuations"),
        (
            lambda given: replace(given, equilibrium=replace(given.equilibrium, operator="mri:mask=mask.npy")),
            "expected an operator of real images",
        ),
        (
            lambda given: replace(given, equilibrium=replace(given.equilibrium, operator="cd:scan.toml")),
            "There is no operator 'cd'",
        ),
        (
            lambda given: replace(given, equilibrium=replace(given.equilibrium, operator="")),
            "expected equilibrium.operator, or --operator",
        ),
        (lambda given: replace(given, training=replace(given.training, loss="mse")), None),
        (
            lambda given: replace(
                given, training=replace(given.training, loss="mse"), measurements=MeasurementsConfig(parts=3)
            ),
            r"the table \[measurements\]",
        ),
        (lambda given: replace(given, measurements=MeasurementsConfig(parts=1)), "measurements.parts = 1"),
        (
            lambda given: replace(given, measurements=MeasurementsConfig(parts=25)),
            "parts = 25 with the 24 views of ct:scan",
        ),
        (
            lambda given: replace(given, measurements=MeasurementsConfig(transform="shear")),
            "'shear' is unknown; known: rotations, scales, shifts, turns",
        ),
        (lambda given: replace(given, measurements=MeasurementsConfig(equivariance=-1)), "equivariance = -1"),
    ],
)
def test_a_recipe_that_does_not_fit_is_one_sentence(place, change, message) -> None:
    given = given_for("ct:scan.toml", "splitting")
    if message is None:
        assert not change(given).measured
        return
    with pytest.raises(UsageError, match=message):
        read_measurements([], change(given), print)


NETWORK = {"family": "Lipschitz", "features": 4, "depth": 2, "noise_range": [0.1, 0.1]}


def test_an_operator_beside_the_recipe_says_that_the_data_are_measurements() -> None:
    def found(**training: object) -> Recipe:
        tables = {"network": NETWORK, "training": {"loss": "sure", **training}, "measurements": {"parts": 3}}
        return for_measurements(tables, "blur:gaussian=1", "mine")

    plain = found()
    assert (plain.training.mode, plain.equilibrium.operator) == ("equilibrium", "blur:gaussian=1")
    assert plain.equilibrium.stepsize == 0.0
    assert found(mode="single").training.mode == "single"
    with pytest.raises(UsageError, match=r"mine: training\.loss = 'mse' with --operator blur:gaussian=1; expected one"):
        found(loss="mse")
    with pytest.raises(UsageError, match="mine: training = 3; expected a table"):
        for_measurements({"network": NETWORK, "training": 3}, "blur:gaussian=1", "mine")


def test_a_step_of_nothing_is_the_longest_that_needs_no_thought() -> None:
    problem = restoration(EquilibriumConfig(stepsize=0.0), (16, 16))
    assert problem.stepsize == pytest.approx(1.0, rel=1e-3)
    with pytest.raises(ReconError, match="expected positive numbers"):
        EquilibriumConfig(stepsize=-1.0).check()
