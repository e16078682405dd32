"""Networks of nonexpansive layers: where training starts, what a noise level does, and what is refused."""

import re

import pytest
import torch
from network_cases import LEVELS

from recon.errors import UsageError
from recon.priors.networks import LipschitzConfig, make
from recon.priors.networks.architectures.lipschitz_network import cosines

COSINES = LipschitzConfig(
    layers="orthogonal_convolution", features=26, depth=3, ends=5, activation="spline", padding="circular",
    conditioned=True, rescaled=True, noise_range=LEVELS,
)  # fmt: skip


def scene(side: int = 32) -> torch.Tensor:
    image = torch.full((1, 1, side, side), 0.3)
    image[..., 6:20, 8:24] = 0.8
    return image


def test_the_cosines_are_an_orthonormal_basis_that_begins_with_the_constant() -> None:
    basis = cosines(5).flatten(1)
    assert torch.allclose(basis @ basis.T, torch.eye(25).double(), atol=1e-12)
    assert torch.allclose(basis[0], torch.full((25,), 0.2).double())


@pytest.mark.parametrize("channels", [1, 3])
def test_the_lift_by_cosines_is_undone_by_the_return(channels: int) -> None:
    torch.manual_seed(0)
    config = LipschitzConfig(channels, layers="orthogonal_convolution", features=9 * channels, padding="circular")
    network = make(config).frozen()
    x = torch.rand(2, channels, 9, 8, dtype=torch.float64)
    again = network.lower(network.lift(x))
    gain = float((again * x).sum() / (x * x).sum())
    assert 0.99 < gain <= 1
    assert torch.allclose(again, gain * x, atol=1e-12)


def test_training_starts_as_a_denoiser_that_keeps_constants() -> None:
    torch.manual_seed(0)
    network, clean = make(COSINES).frozen(torch.float32), scene()
    for level in LEVELS:
        noisy = clean + level * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
        found = network(noisy, level)
        assert float((found - clean).norm()) < 0.6 * float((noisy - clean).norm())
    flat = torch.full((1, 1, 16, 16), 0.9)
    assert torch.allclose(network(flat, 0.1), flat, atol=0.02)


def test_a_rescaled_network_is_the_same_at_every_level_up_to_scale() -> None:
    torch.manual_seed(0)
    network, x = make(COSINES).frozen(), torch.randn(1, 1, 8, 9).double()
    low, high = LEVELS
    ratio = (low / high) ** (1 + float(network.exponent))
    assert torch.allclose(network.Q(ratio * x, low), ratio * network.Q(x, high), atol=1e-12)
    both = network.Q(torch.cat([x, x]), torch.tensor([low, high]))
    assert torch.allclose(both[:1], network.Q(x, low), atol=1e-12)
    assert torch.allclose(both[1:], network.Q(x, high), atol=1e-12)
    assert not torch.allclose(both[:1], both[1:], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 4}, "size=4, ends=3; expected odd numbers of 1 to 31"),
        ({"ends": 33}, "ends=33; expected odd numbers"),
        ({"layers": "aol", "size": 5}, "size=5 for aol layers; expected 3"),
        ({"rescaled": True}, "rescaled with conditioned=False"),
        ({"rescaled": True, "conditioned": True}, "noise_range=(0.0, 0.0); expected a conditioned network"),
    ],
)
def test_an_architecture_without_a_meaning_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        make(LipschitzConfig(**options))


@pytest.mark.parametrize("level", [0.0, -0.1, float("inf")])
def test_a_level_that_nothing_can_be_divided_by_is_refused(level: float) -> None:
    with pytest.raises(UsageError, match=r"noise_level=.*; expected a positive finite number"):
        make(COSINES)(scene(), level)
