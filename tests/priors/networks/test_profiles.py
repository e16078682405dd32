"""Learnable functions stay where their construction keeps them."""

import pytest
import torch
from torch import Tensor

from recon.errors import UsageError
from recon.priors.networks.layers.piecewise import Finder
from recon.priors.networks.layers.profiles import HuberMixture, MonotoneSpline, Pieces, Profile, profile
from recon.priors.networks.layers.splines import LinearSpline

CHANNELS = 3


def wild(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(2 * torch.randn_like(parameter))
    return module.double().requires_grad_(False)


def line(low: float = -12.0, high: float = 12.0, count: int = 2001) -> Tensor:
    return torch.linspace(low, high, count, dtype=torch.float64).expand(1, CHANNELS, 1, -1)


PROFILES = {"spline": lambda: MonotoneSpline(CHANNELS, 7), "huber": lambda: HuberMixture(CHANNELS, 3)}
every_profile = pytest.mark.parametrize("make", PROFILES.values(), ids=PROFILES)


@every_profile
def test_the_influence_is_odd_nondecreasing_and_nonexpansive(make) -> None:
    known: Profile = wild(make())
    t = line()
    found = known.influence(t)
    slopes = found.diff(dim=-1) / t.diff(dim=-1)
    assert torch.allclose(found, -found.flip(-1), atol=1e-12)
    assert float(slopes.min()) >= -1e-12
    assert float(slopes.max()) <= 1 + 1e-9
    assert float(slopes.max()) > 0.1
    assert torch.allclose(known.slope(t), torch.autograd.functional.jvp(known.influence, t, torch.ones_like(t))[1])


@every_profile
def test_the_pieces_are_the_same_function(make) -> None:
    known: Profile = wild(make())
    t, pieces = line().requires_grad_(), known.pieces()
    (derivative,) = torch.autograd.grad(pieces.potential(t).sum(), t)
    assert torch.allclose(derivative, known.influence(t), atol=1e-10)
    assert float(pieces.potential(torch.zeros(1, CHANNELS, 1, 1)).abs().max()) == 0


@every_profile
@pytest.mark.parametrize("weight", [0.0, 0.3, 40.0])
def test_the_resolvent_inverts_exactly(make, weight: float) -> None:
    known: Profile = wild(make())
    t, weights = line(-50, 50), torch.tensor([weight, 2 * weight, 1.0], dtype=torch.float64)
    p = known.pieces().resolvent(weights[:, None])(t)
    assert torch.allclose(p + weights.view(-1, 1, 1) * known.influence(p), t, atol=1e-11)


@every_profile
@pytest.mark.parametrize("sigma", [0.01, 0.3, 40.0])
def test_the_resolvent_of_the_conjugate_adds_up_with_it(make, sigma: float) -> None:
    known: Profile = wild(make())
    t, weights = line(-50, 50), torch.tensor([[0.5], [20.0], [1.0]], dtype=torch.float64)
    shrunk = known.pieces().resolvent(weights / sigma)(t / sigma)
    assert torch.allclose(known.pieces().conjugate_resolvent(weights, sigma)(t) + sigma * shrunk, t, atol=1e-11)


@every_profile
def test_scaled_pieces_are_those_of_the_scaled_function(make) -> None:
    pieces: Pieces = wild(make()).pieces()
    t, scale = line(), torch.tensor([[0.01], [1.0], [30.0]], dtype=torch.float64)
    wide = scale.view(-1, 1, 1)
    assert torch.allclose(pieces.scaled(scale).potential(t), wide**2 * pieces.potential(t / wide), rtol=1e-9)


def test_pieces_of_any_lengths_are_found() -> None:
    starts = torch.tensor([[0.0, 1e-7, 2e-7, 1.0, 1.0, 5.0], [0.0, 0.1, 0.2, 0.3, 0.4, 1e9], [0.0] * 6]).double()
    size = torch.tensor([0.0, 1.5e-7, 0.15, 0.999, 1.001, 4.0, 6.0, 1e10]).double()
    found = Finder(starts)(size.view(1, 1, 1, -1).expand(1, 3, 1, -1))[0, :, 0] % 6
    assert found.tolist() == torch.searchsorted(starts, size.expand(3, -1).contiguous(), right=True).sub(1).tolist()


def test_what_is_not_a_number_stays_that_alone() -> None:
    shrink = wild(MonotoneSpline(CHANNELS)).pieces().resolvent(torch.tensor(2.0))
    t = torch.randn(1, CHANNELS, 4, 4, dtype=torch.float64)
    t[0, 0, 0, 0] = torch.nan
    assert torch.equal(shrink(t).isnan(), t.isnan())
    torch.testing.assert_close(shrink(t.contiguous(memory_format=torch.channels_last)), shrink(t), equal_nan=True)


@pytest.mark.parametrize("interval", [(-1.0, 1.0), (0.0, 1.0)])
def test_a_spline_is_continuous_with_its_slopes_inside_their_interval(interval: tuple[float, float]) -> None:
    spline = wild(LinearSpline(CHANNELS, interval, intervals=6))
    t = line(-3, 3)
    found = spline(t)
    slopes = found.diff(dim=-1) / t.diff(dim=-1)
    assert interval[0] - 1e-9 <= float(slopes.min())
    assert float(slopes.max()) <= interval[1] + 1e-9
    assert float(spline(torch.zeros(1, CHANNELS, 1, 1).double()).abs().max()) == 0
    by_hand = torch.zeros(CHANNELS)
    for channel in range(CHANNELS):  # the value at 0.5 is the sum of the rises of one and a half pieces of length 1/3
        low, high = interval
        rises = (low + (high - low) * torch.sigmoid(spline.theta[channel, 3:5])) / 3
        by_hand[channel] = rises[0] + rises[1] / 2
    assert torch.allclose(spline(torch.full((1, CHANNELS, 1, 1), 0.5).double()).flatten().float(), by_hand)


def test_layouts_and_nan_do_no_harm() -> None:
    for module in (wild(LinearSpline(CHANNELS)), wild(MonotoneSpline(CHANNELS))):
        call = module.influence if isinstance(module, Profile) else module
        x = torch.randn(2, CHANNELS, 4, 5, dtype=torch.float64)
        torch.testing.assert_close(call(x.contiguous(memory_format=torch.channels_last)), call(x))
        x[0, 0, 0, 0], x[0, 1, 0, 0] = torch.nan, torch.inf
        assert bool(call(x)[0, 0, 0, 0].isnan())
        assert bool(call(x)[1].isfinite().all())


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(UsageError, match="intervals=3; expected an even number"):
        LinearSpline(1, intervals=3)
    with pytest.raises(UsageError, match="terms=0"):
        profile("huber", 2, 0)
    with pytest.raises(UsageError, match="intervals=0"):
        profile("spline", 2, 0)
