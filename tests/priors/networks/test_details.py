"""The details of an image, and what a network gains that sees only them."""

from dataclasses import replace

import pytest
import torch
from network_cases import Case, images, jacobian, network_of

from recon.errors import UsageError
from recon.priors.networks import DnCNNConfig, make
from recon.priors.networks.layers.high_pass import details

SCALE = 2.0
PLAIN = Case("plain", DnCNNConfig(features=4, depth=3))
FINE = Case("fine", DnCNNConfig(features=4, depth=3, coarse=SCALE))


def matrix(height: int, width: int) -> torch.Tensor:
    return jacobian(lambda x: details(x, SCALE), torch.zeros(1, 1, height, width, dtype=torch.float64))


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 4), (7, 7)], ids=str)
def test_they_are_a_symmetric_filter_between_0_and_the_identity_blind_to_the_mean(size):
    found = matrix(*size)
    assert torch.allclose(found, found.T, atol=1e-12)
    values = torch.linalg.eigvalsh(found)
    assert values.min() > -1e-12
    assert values.max() < 1 + 1e-12
    assert (found @ torch.ones(found.shape[0], dtype=torch.float64)).abs().max() < 1e-12


def test_their_square_is_what_a_gaussian_blur_takes_away():
    """Of an impulse far from the border, by the sampled Gaussian itself."""
    x = torch.zeros(1, 1, 33, 33, dtype=torch.float64)
    x[..., 16, 16] = 1
    blurred = x - details(details(x, SCALE), SCALE)
    axis = torch.exp(-(torch.arange(33, dtype=torch.float64) - 16).square() / (2 * SCALE**2))
    axis /= axis.sum()
    assert torch.allclose(blurred[0, 0], axis[:, None] * axis, atol=1e-6)


def test_q_is_no_larger_than_that_of_the_layers_and_1():
    """``Q = S + C R C`` with R = Id - 2 N at C x."""
    network, x = network_of(FINE, strength=0.2), images(FINE, 1, 6, 7)
    inner = network_of(PLAIN)
    inner.load_state_dict(network.state_dict())
    whole = jacobian(network.Q, x)
    layers = jacobian(inner.Q, details(x, SCALE) + 0.5)
    c = matrix(6, 7)
    assert torch.allclose(whole, torch.eye(42) - c @ c + c @ layers @ c, atol=1e-10)
    assert torch.linalg.matrix_norm(whole, 2) <= max(1, torch.linalg.matrix_norm(layers, 2)) + 1e-12


def test_dividing_divides_what_the_layers_do_and_keeps_the_mean():
    network, x = network_of(FINE, strength=0.2), images(FINE, 1, 6, 7)
    number, c = 1.6, matrix(6, 7)
    smooth = torch.eye(42) - c @ c
    before, after = jacobian(network.Q, x), jacobian(network.divided(number).Q, x)
    assert torch.allclose(after - smooth, (before - smooth) / number, atol=1e-10)
    assert torch.linalg.matrix_norm(before, 2) > 1.05
    brightness = network.divided(number)(torch.full_like(x, 0.7)) - network(torch.full_like(x, 0.7))
    assert brightness.mean().abs() < 1e-12
    assert network.divided(number).divided(2.0).config.divisor == pytest.approx(2 * number)
    with pytest.raises(UsageError, match=r"number=0\.9; expected at least 1"):
        network.divided(0.9)


def test_beyond_the_clip_the_layers_see_no_difference():
    """``Q = S + C R P C`` with P the projection onto a box: its derivative is 0 where a detail is beyond it."""
    clip = 0.4
    clipped = Case("clipped", replace(FINE.config, clip=clip))
    network, inner, x = network_of(clipped, strength=0.2), network_of(PLAIN), images(FINE, 1, 6, 7)
    inner.load_state_dict(network.state_dict())
    c, z = matrix(6, 7), details(x, SCALE)
    inside = (z.abs() < clip).double().flatten()
    assert 5 < inside.sum() < 37
    layers = jacobian(inner.Q, z.clamp(-clip, clip) + 0.5)
    whole = jacobian(network.Q, x)
    assert torch.allclose(whole, torch.eye(42) - c @ c + c @ layers @ inside.diag() @ c, atol=1e-10)
    assert torch.allclose(network.divided(2.0)(x) - x, (network.Q(x) - x) / 4 - (c @ c @ x.flatten()).view_as(x) / 4)


def test_of_a_detail_beyond_the_clip_half_of_the_excess_is_taken_away():
    """With layers that find no noise: what the docstring warns of bright spots."""
    network = make(replace(FINE.config, clip=0.5)).double()
    with torch.no_grad():
        network.kernels[-1].zero_()
    spot = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    spot[..., 4, 4] = 1
    z = details(spot, SCALE)
    assert torch.allclose(network(spot), spot - details(z - z.clamp(-0.5, 0.5), SCALE) / 2, atol=1e-14)
    assert network(spot).max() < 0.8
    assert torch.allclose(network(spot / 2), spot / 2, atol=1e-14)


@pytest.mark.parametrize("scale", [0.6, SCALE, 8.0])
def test_images_within_the_scale_are_never_clipped_at_1(scale):
    """C is Id less an average: the details of an image are no larger than its range, not even of a white pixel."""
    found = jacobian(lambda x: details(x, scale), torch.zeros(1, 1, 5, 6, dtype=torch.float64))
    assert (torch.eye(30) - found).min() > -1e-12
    spot = torch.zeros(1, 1, 40, 40, dtype=torch.float64)
    spot[..., 20, 20] = 1
    assert details(spot, scale).abs().max() < 1
    x = images(FINE, 1, 6, 7).clamp(0, 1)
    unlimited, limited = network_of(FINE, strength=0.2), network_of(Case("1", replace(FINE.config, clip=1.0)))
    limited.load_state_dict(unlimited.state_dict())
    assert torch.allclose(limited(x), unlimited(x), atol=1e-14)
    assert (limited(5 * x) - unlimited(5 * x)).abs().max() > 1e-3


def test_constants_are_not_in_the_way_of_what_is_larger():
    """Q' keeps constants, with gain 1; ``changes`` has no such direction, and none that is larger than Q' has."""
    network, x = network_of(FINE, strength=0.2), images(FINE, 1, 6, 7)
    constant, c = torch.ones_like(x), matrix(6, 7)
    assert torch.allclose(network.derivative(x).forward(constant), constant)
    assert network.changes(x).forward(constant).abs().max() < 1e-12
    whole, changes = jacobian(network.Q, x), network.changes(x)
    v = images(FINE, 1, 6, 7, seed=1)
    assert torch.allclose(changes.forward(v).flatten(), whole @ c @ v.flatten(), atol=1e-10)
    assert torch.allclose(changes.transpose(v).flatten(), c @ whole.T @ v.flatten(), atol=1e-10)


def test_half_precision_is_filtered_in_single():
    x = images(FINE, 1, 6, 7)
    for dtype, tolerance in ((torch.float16, 2e-3), (torch.bfloat16, 2e-2)):
        assert torch.allclose(details(x.to(dtype), SCALE).double(), details(x, SCALE), atol=tolerance)


def test_what_is_filtered_in_inference_mode_first_can_be_differentiated_later():
    x = torch.randn(1, 1, 9, 11, requires_grad=True)
    with torch.inference_mode():
        details(x, 3.25)
    details(x, 3.25).square().sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"coarse": -1.0}, "coarse=-1.0"),
        ({"coarse": 1e9}, "expected 0 to 1024 pixels"),
        ({"coarse": float("nan")}, "coarse=nan"),
        ({"coarse": 4.0, "divisor": 0.5}, "a number of at least 1"),
        ({"coarse": 4.0, "divisor": float("inf")}, "divisor=inf"),
        ({"coarse": 4.0, "clip": -0.5}, "clip=-0.5; expected a number above 0, or 0"),
        ({"coarse": 4.0, "clip": float("nan")}, "clip=nan"),
        ({"divisor": 1.1}, "divisor=1.1 with coarse=0; expected coarse > 0, because on whole images"),
        ({"clip": 0.5}, "clip=0.5 with coarse=0; expected coarse > 0"),
    ],
)
def test_what_is_no_scale_and_no_divisor(given, said):
    with pytest.raises(UsageError, match=said):
        DnCNNConfig(**given).check()
