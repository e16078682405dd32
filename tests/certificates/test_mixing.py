"""Split R-hat and effective sample size of chains whose answers are known."""

import pytest
import torch
from torch import Tensor

from recon.certificates.mixing import effective_sample_size, mixing, split_r_hat


def autoregressive(a: float, draws: int, chains: int = 4, traces: int = 10, seed: int = 0) -> Tensor:
    noise = torch.randn(draws, chains, traces, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = noise.clone()
    x[0] /= (1 - a**2) ** 0.5
    for step in range(1, draws):
        x[step] = a * x[step - 1] + noise[step]
    return x


@pytest.mark.parametrize("a", [0.0, 0.5, 0.9, -0.5])
def test_of_an_autoregressive_chain(a: float) -> None:
    x = autoregressive(a, 4000)
    expected = x.shape[0] * x.shape[1] * (1 - a) / (1 + a)
    assert float(effective_sample_size(x).mean()) == pytest.approx(expected, rel=0.12)
    assert float(split_r_hat(x).max()) < 1.02


def test_two_separated_chains_are_not_mixed() -> None:
    x = autoregressive(0.0, 500)
    assert mixing(x).mixed
    x[:, 0] += 3.0
    seen = mixing(x)
    assert not seen.mixed
    assert seen.r_hat > 1.2
    assert "not mixed" in seen.sentence
    assert seen.to_json()["mixed"] is False


def test_a_chain_that_drifts_is_seen_by_its_halves() -> None:
    x = autoregressive(0.0, 500)
    x += torch.linspace(-3, 3, 500, dtype=torch.float64)[:, None, None]
    assert mixing(x).r_hat > 1.2


def test_a_spread_that_differs_between_chains_is_seen() -> None:
    """Means agree; only the squares tell."""
    x = autoregressive(0.0, 2000)
    x[:, 0] *= 3.0
    assert float(split_r_hat(x).max()) < 1.02
    assert not mixing(x).mixed


def test_chains_that_are_too_short_are_not_mixed() -> None:
    assert not mixing(autoregressive(0.95, 200)).mixed
    assert not mixing(autoregressive(0.0, 4)).mixed
    assert not mixing(torch.full((100, 4, 2), torch.nan)).mixed


def test_chains_that_stand_still_are_not_mixed() -> None:
    """Steps below the rounding of the image: every trace is constant, and nothing was sampled."""
    seen = mixing(torch.full((500, 4, 10), 0.3))
    assert not seen.mixed
    assert seen.to_json()["r_hat"] is None


def test_a_pixel_that_never_moves_agrees_with_itself() -> None:
    x = autoregressive(0.0, 500)
    x[..., 0] = 1.0
    assert mixing(x).mixed


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e6 / 7])
def test_a_number_that_never_changes_is_mixed(value: float) -> None:
    x = torch.cat([torch.full((501, 4, 3), value), value + autoregressive(0.0, 501).float()], 2)
    assert mixing(x).mixed
    x[:, 1] += 1.0
    assert not mixing(x).mixed
