"""Unrolled reconstructions: memory, steps, the operator that they know, and how they are stored."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from recon.errors import InputError, UsageError
from recon.operators import Blur, Inpainting, gaussian_psf
from recon.operators.tomography import AlongAxis, Detector, Geometry, Tomography, Volume, evenly_spaced
from recon.priors.networks import Unrolled, UnrolledConfig, load, load_unrolled, make, make_unrolled, save
from recon.priors.networks.architectures.unrolled import CODING, METHODS, SAME
from recon.priors.networks.architectures.unrolled_steps import Scaled

SMALL = UnrolledConfig(features=4, depth=2, steps=3, shape=(16, 16), noise_range=(0.1, 0.1))
CONVOLUTIONAL = [method for method in METHODS if method != CODING]
BLUR = Blur(gaussian_psf(1.0), (16, 16))
CONE = Tomography(
    Geometry(
        "cone",
        evenly_spaced(0, 360, 6),
        Detector(12, 2.0, rows=AlongAxis(10, 2.0)),
        Volume((8, 8), 1.0, slices=AlongAxis(6, 1.0)),
        source_to_axis=40.0,
        source_to_detector=60.0,
    )
)


def made(config: UnrolledConfig = SMALL, operator: object = BLUR, norm: float = 1.0) -> Unrolled:
    torch.manual_seed(0)
    network = make_unrolled(config)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    network.settle(operator, norm)  # type: ignore[arg-type]
    return network


def gradients(network: Unrolled, memory: str, y: Tensor, operator: object) -> list[Tensor]:
    twin = copy.deepcopy(network).double()
    twin.memory = memory
    twin(y, operator, 0.1 if twin.conditioned else None).square().sum().backward()
    return [weight.grad for weight in twin.parameters()]


@pytest.mark.parametrize("method", CONVOLUTIONAL)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("hidden", "scales"), [(0, 1), (2, 3)])
def test_the_memory_changes_no_gradient(method: str, shared: bool, hidden: int, scales: int) -> None:
    network = made(replace(SMALL, method=method, shared=shared, steps=6, hidden=hidden, scales=scales, unit=0.2))
    y = BLUR.A(torch.rand(2, 1, 16, 16)).double()
    plain = gradients(network, "plain", y, BLUR)
    for memory in ("checkpoint", "momentum"):
        for found, wanted in zip(gradients(network, memory, y, BLUR), plain, strict=True):
            assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("method", CONVOLUTIONAL)
def test_a_volume_of_a_cone(method: str) -> None:
    config = replace(SMALL, method=method, dimensions=3, shape=(6, 8, 8))
    network = made(config, CONE, float(CONE.properties.norm.value))
    y = CONE.A(torch.rand(1, 1, 6, 8, 8, dtype=torch.float64))
    assert network.double()(y, CONE).shape == (1, 1, 6, 8, 8)
    plain = gradients(network, "plain", y, CONE)
    assert all(map(torch.allclose, gradients(network, "momentum", y, CONE), plain))


def test_without_a_correction_it_is_gradient_descent() -> None:
    """The last convolutions begin at zero: with b = 0 the residual then falls in each step, towards the data."""
    network = make_unrolled(replace(SMALL, momentum=0.0, steps=8))
    network.settle(BLUR, 1.0)
    y = BLUR.A(torch.rand(1, 1, 16, 16))
    with torch.no_grad():
        residuals = [float((BLUR.A(network(y, BLUR, steps=steps)) - y).norm()) for steps in range(1, 9)]
    assert residuals == sorted(residuals, reverse=True)
    assert residuals[-1] < 0.9 * residuals[0]


def test_the_start_measures_nearest_to_the_measurement() -> None:
    y = BLUR.A(torch.rand(3, 1, 16, 16, dtype=torch.float64)) * torch.tensor([1.0, 10.0, 0.1]).view(-1, 1, 1, 1)
    start = Scaled(BLUR, 1.0).start(y)
    apart = (BLUR.A(start) - y).square().sum((1, 2, 3))
    for factor in (0.99, 1.01):
        assert bool((apart < (BLUR.A(factor * start) - y).square().sum((1, 2, 3))).all())
    assert torch.allclose(Scaled(BLUR, 3.0).start(y), start)


@pytest.mark.parametrize(
    ("other", "known"),
    [
        (Blur(gaussian_psf(1.0), (16, 16)), True),
        (Blur(gaussian_psf(1.02), (16, 16)), False),
        (Blur(gaussian_psf(1.0), (16, 16), "valid"), False),
        (Blur(gaussian_psf(1.0), (20, 20)), False),
    ],
)
def test_it_knows_its_operator(other: Blur, known: bool) -> None:
    assert (made().distance_of(other) <= SAME) is known


def test_one_pixel_of_a_mask_makes_another_operator() -> None:
    mask = torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) > 0.5
    network = made(operator=Inpainting(mask))
    changed = mask.clone()
    changed[3, 4] = ~changed[3, 4]
    assert network.distance_of(Inpainting(mask)) == 0
    assert network.distance_of(Inpainting(changed)) > SAME


def test_a_folder_gives_the_same_network_back(tmp_path) -> None:
    network = made(replace(SMALL, operator="blur:gaussian=1", units="-1000:3071 HU"))
    save(network, tmp_path / "run")
    again = load_unrolled(tmp_path / "run")
    assert again.config == network.config
    y = BLUR.A(torch.rand(1, 1, 16, 16))
    with torch.no_grad():
        assert torch.equal(again(y, BLUR), network(y, BLUR))
    assert again.distance_of(BLUR) == 0
    with pytest.raises(InputError, match="an unrolled reconstruction, which takes measurements; expected a denoiser"):
        load(tmp_path / "run")
    with pytest.raises(UsageError, match="make_unrolled makes it"):
        make(network.config)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "steps=0; expected 1 to 1000"),
        ({"method": "newton"}, "method='newton'; expected forward-backward, primal-dual or sparse-coding"),
        ({"momentum": 1.0}, "momentum=1.0; expected a number from 0 to below 1"),
        ({"momentum": math.nan}, "momentum=nan"),
        ({"dimensions": 4}, "dimensions=4; expected 2 or 3"),
        ({"depth": 0}, "depth=0"),
        ({"size": 4}, "size=4"),
        ({"padding": "circular"}, "padding='circular'; expected 'zero'"),
    ],
)
def test_bad_architectures(values: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(SMALL, **values).check()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: made()(torch.rand(1, 2, 16, 16), BLUR), r"shape \(1, 2, 16, 16\).*expected \(batch, 1"),
        (lambda: made()(torch.zeros(1, 1, 16, 16, dtype=torch.complex64), BLUR), "of real numbers"),
        (lambda: made()(torch.rand(1, 1, 16, 16), BLUR, steps=4), "steps=4 of a network with 3"),
        (lambda: made(replace(SMALL, noise_range=(0.1, 0.2)))(torch.rand(1, 1, 16, 16), BLUR), "no noise level"),
    ],
)
def test_bad_measurements(given, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        given()
