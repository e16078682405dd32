"""Unrolled reconstructions by the chain: what is computed, what is stated, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recon.errors import InputError, UsageError
from recon.io import Image, ValueRange, from_array
from recon.operators import Blur, LeastSquares, gaussian_psf
from recon.operators.symmetries import turned, turned_back
from recon.priors import total_variation_prior
from recon.priors.networks import ConvexRidgeConfig, UnrolledConfig, load_unrolled, make, make_unrolled, save
from recon.reconstruction.run import Result, Target, solve_image, write_run
from recon.solvers import Status
from recon.specs.grammar import parse_spec
from recon.specs.solve_config import Noise, SolveConfig, config_from, to_json

SHAPE = (20, 24)
CONFIG = UnrolledConfig(
    features=4, depth=2, steps=3, shape=(16, 16), noise_range=(0.05, 0.05), operator="blur:gaussian=1"
)
PIXELS = np.random.default_rng(0).random(SHAPE)


def folder(tmp_path: Path, **changed: object) -> Path:
    torch.manual_seed(0)
    config = replace(CONFIG, **changed)  # type: ignore[arg-type]
    network = make_unrolled(config)
    network.settle(Blur(gaussian_psf(1.0), config.shape), 1.0)
    save(network, tmp_path / "run", overwrite=True)
    return tmp_path / "run"


def config_of(place: Path, **given: object) -> SolveConfig:
    values = {"operator": "blur:gaussian=1", "method": f"unrolled:folder={place}", "noise": 0.05, "device": "cpu"}
    return config_from(values | given)


class _Volumes:
    """The identity, of images of any size."""

    def A(self, x: torch.Tensor) -> torch.Tensor:
        return x

    A_adjoint = A


def image_of(pixels: np.ndarray) -> Image:
    return from_array(pixels, value_range=ValueRange(0.0, 1.0))


def solved(place: Path, **given: object) -> Result:
    return solve_image(config_of(place, **given), image_of(PIXELS))


@pytest.mark.parametrize("method", ["forward-backward", "primal-dual"])
@pytest.mark.parametrize("more", [{}, {"hidden": 2, "scales": 2, "unit": 0.1}])
def test_the_steps_are_those_of_the_network(tmp_path: Path, method: str, more: dict[str, float]) -> None:
    """One by one in the chain, and all at once in a training."""
    place = folder(tmp_path, method=method, **more)
    result = solved(place)
    torch.manual_seed(0)
    network = make_unrolled(replace(CONFIG, method=method, **more))
    operator = Blur(gaussian_psf(1.0), SHAPE)
    network.settle(Blur(gaussian_psf(1.0), (16, 16)), 1.0)
    with torch.no_grad():
        x = network(result.plan.problem.measurement, operator)
    assert torch.allclose(result.solution.x, x, atol=1e-6)
    assert (result.status, result.steps) == (Status.COMPLETED, 3)


def test_nothing_is_guaranteed_and_the_rest_is_computed(tmp_path: Path) -> None:
    result = solved(folder(tmp_path), prior="tv:weight=0.01")
    assert not result.plan.method.certificate.holds
    (polish,) = result.polishing
    x, y = result.solution.x, result.plan.problem.measurement
    data = LeastSquares(Blur(gaussian_psf(1.0), SHAPE), y)
    moved = total_variation_prior(0.01).resolvent(polish.stepsize)(x - polish.stepsize * data(x))
    assert polish.residual == pytest.approx(float(data.residual(x).square().mean().sqrt()), rel=1e-5)
    assert polish.distance == pytest.approx(float((moved - x).norm() / x.norm()), rel=1e-3)
    assert "forward-backward with tv:weight=0.01 moves the image by" in str(polish)
    assert polish.to_json()["residual_over_noise"] == pytest.approx(polish.residual / 0.05)


def test_without_a_prior_the_polishing_step_is_gradient_descent(tmp_path: Path) -> None:
    (polish,) = solved(folder(tmp_path)).polishing
    assert polish.prior == "none"
    assert "of gradient descent on the data moves the image" in str(polish)


def test_the_record_names_the_network_and_states_what_is_computed(tmp_path: Path) -> None:
    place, source = folder(tmp_path), tmp_path / "y.npy"
    np.save(source, PIXELS)
    run = write_run(solved(place), source, Target(tmp_path / "x.npy"), lambda line: None)
    document = json.loads(run.record.read_text())
    assert [entry["path"] for entry in document["inputs"] if entry["role"] == "method"] == [
        "run/network.toml", "run/weights.safetensors"
    ]  # fmt: skip
    assert (document["config"]["method"], document["config"]["method_folder"]) == ("unrolled", "run")
    assert document["polishing"][0].keys() == {
        "residual", "residual_over_noise", "distance", "stepsize", "prior", "spread"
    }  # fmt: skip
    again = config_from(document["config"], str(tmp_path))
    assert Path(again.method_folder or "") == place


def test_a_configuration_goes_through_json_and_toml_folders(tmp_path: Path) -> None:
    given = config_of(Path("runs/x"))
    assert (given.method, given.method_folder) == ("unrolled", "runs/x")
    assert config_from(to_json(given)) == given
    turning = config_of(Path("runs/x"), method="unrolled:folder=runs/x,symmetries=4")
    assert turning.symmetries == 4
    assert config_from(to_json(turning)) == turning
    in_file = config_from({"operator": "identity", "method": "unrolled:folder=x"}, str(tmp_path))
    assert in_file.method_folder == str(tmp_path / "x")


def test_another_noise_level_and_other_steps_are_said(tmp_path: Path) -> None:
    result = solved(folder(tmp_path, shared=True), noise=0.2, iterations=7)
    remarks = [remark.warning for remark in result.plan.method.certificate.remarks]
    assert remarks == ["the number of steps 7 is outside of the range 3 to 3",
                       "the noise level 0.2 is outside of the range 0.05 to 0.05"]  # fmt: skip
    assert result.steps == 7
    assert not solved(folder(tmp_path)).plan.method.certificate.remarks


@pytest.mark.parametrize(
    ("changed", "given", "message"),
    [
        ({}, {"operator": "blur:gaussian=1.1"}, "trained for 'blur:gaussian=1', and what this operator measures of a"),
        ({}, {"operator": "identity"}, "expected that operator, because nothing is known of its steps with another"),
        ({}, {"iterations": 4}, "has 3 steps with weights of their own, and iterations is 4; expected at most 3"),
        ({"units": "-1000:3071 HU"}, {}, "trained on a scale where -1000:3071 HU are 0 and 1, and here it is 0:1"),
        ({"noise_range": (0.01, 0.1)}, {"noise": None}, "trained for noise of 0.01 to 0.1 on the 0..1 scale; expected"),
        ({}, {"symmetries": 8}, "symmetries is 8 with an image of 20 x 24 pixels; expected 1, 2 or 4"),
        ({}, {"method": "unrolled"}, "method is 'unrolled' without a folder; expected --method unrolled:folder=DIR"),
    ],
)
def test_what_the_network_is_not_made_for_is_refused(
    tmp_path: Path, changed: dict[str, object], given: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        solved(folder(tmp_path, **changed), **given)


def test_an_operator_that_takes_other_images_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.ones(SHAPE, np.float32))
    with pytest.raises(UsageError, match="this operator takes no images of 16 x 16 pixels"):
        solved(folder(tmp_path), operator=f"inpaint:mask={tmp_path / 'mask.npy'}")


def test_a_network_of_volumes_and_a_measured_image(tmp_path: Path) -> None:
    network = make_unrolled(replace(CONFIG, dimensions=3, shape=(4, 4, 4)))
    network.settle(_Volumes(), 1.0)
    save(network, tmp_path / "run")
    with pytest.raises(UsageError, match="this operator takes no images of 4 x 4 x 4 pixels"):
        solved(tmp_path / "run")


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder; expected a folder of a network"):
        solved(tmp_path / "nowhere")
    save(make(ConvexRidgeConfig(widths=(2, 4), size=3, noise_range=(0.1, 0.1))), tmp_path / "denoiser")
    with pytest.raises(InputError, match="the network is a ConvexRidge; expected an unrolled reconstruction"):
        solved(tmp_path / "denoiser")
    weights = folder(tmp_path) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(InputError):
        solved(tmp_path / "run")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "unrolled:x"}, "'x' is unknown; expected NAME, or NAME:folder=DIR"),
        ({"method": "unrolled:folder=x,steps=3"}, "'steps' is unknown"),
        ({"method": "unrolled:folder=x,symmetries=3"}, "symmetries is 3; expected 1, 2, 4 or 8"),
        ({"method": "unrolled:folder=x,symmetries=9"}, "symmetries is '9'; expected a whole number between 1 and 8"),
        ({"method": "unrolled:folder=x", "symmetries": True}, "symmetries is True; expected a whole number"),
        ({"method": "slista:folder=x,symmetries=2"}, "symmetries is 2 with method slista; expected method unrolled"),
        (
            {"method": "unrolled:folder=x,symmetries=2", "symmetries": 4},
            "symmetries is 4, and the method .* has another",
        ),
        ({"symmetries": 2}, "symmetries is 2 with no method stated; expected method unrolled"),
        ({"method": "fbp:folder=x"}, "method_folder is 'x' with method fbp; expected .*unrolled"),
        ({"method": "unroled:folder=x"}, "unroled"),
        ({"method_folder": "x"}, "method_folder is 'x' with no method stated"),
        ({"method": "unrolled:folder=x", "tolerance": 0.1}, "tolerance is 0.1 with method unrolled"),
        ({"method": "unrolled:folder=x", "stepsize": 0.1}, "stepsize is 0.1 with method unrolled"),
    ],
)
def test_configurations_that_cannot_be(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config_from({"operator": "identity", **given})


def test_the_mean_over_symmetric_copies_turns_with_the_measurement(tmp_path: Path) -> None:
    """What is made of a turned measurement is what is made of it, turned; without the mean it is not."""
    place = folder(tmp_path)
    _trained(place)
    given, square = config_of(place), PIXELS[:16, :16]
    for count, ways in ((1, ()), (2, (4,)), (4, (2, 4, 6)), (8, range(1, 8))):
        config = replace(given, symmetries=count)
        found = _made(config, square)
        for way in ways:
            other = _made(config, turned(torch.from_numpy(square), way).numpy())
            assert torch.allclose(other, turned(found, way), atol=1e-5), (count, way)
        other = _made(config, turned(torch.from_numpy(square), 1).numpy())
        assert torch.allclose(other, turned(found, 1), atol=1e-5) == (count == 8)


def test_the_square_of_the_spread_is_what_the_mean_gains(tmp_path: Path) -> None:
    """Whatever the truth: the mean square errors of the copies, on average, less that of their mean."""
    place = folder(tmp_path)
    _trained(place)
    result = solve_image(replace(config_of(place), symmetries=4), image_of(PIXELS))
    (polish,) = result.polishing
    truth = np.random.default_rng(1).random(SHAPE)
    alone = []
    for way in (0, 2, 4, 6):
        x = _made(config_of(place), turned(torch.from_numpy(PIXELS), way).numpy())
        alone.append(float((turned_back(x, way) - torch.from_numpy(truth)).square().mean()))
    of_mean = float((result.solution.x - torch.from_numpy(truth)).square().mean())
    assert polish.spread > 1e-3
    assert sum(alone) / 4 - of_mean == pytest.approx(polish.spread**2, rel=1e-3)
    assert f"the mean of images that lie {polish.spread:.2g} from it" in str(polish)
    assert result.plan.memory_bytes == 4 * solved(place).plan.memory_bytes
    assert "the mean over 4 symmetric copies" in result.plan.method.certificate.theorem


def test_each_image_of_a_stack_has_copies_of_its_own(tmp_path: Path) -> None:
    place = folder(tmp_path, method="primal-dual", hidden=2)
    _trained(place)
    config = replace(config_of(place), symmetries=4)
    stack = np.stack([PIXELS, 1 - PIXELS])
    result = solve_image(config, image_of(stack[:, None]))
    for item, pixels in enumerate(stack):
        alone = solve_image(config, image_of(pixels))
        assert torch.allclose(result.solution.x[item], alone.solution.x[0], atol=1e-6)
        assert result.polishing[item].spread == pytest.approx(alone.polishing[0].spread, rel=1e-4)


def _trained(place: Path) -> None:
    """Give the network of a folder weights that are no symmetric ones."""
    network = load_unrolled(place)
    torch.manual_seed(1)
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(0.2 * torch.randn(weights.shape))
    save(network, place, overwrite=True)


def _made(config: SolveConfig, pixels: np.ndarray) -> torch.Tensor:
    return solve_image(config, image_of(pixels)).solution.x


def test_a_noise_object_is_kept() -> None:
    assert SolveConfig(parse_spec("identity"), method="unrolled:folder=a b", noise=Noise(0.1)).method_folder == "a b"
