"""Total variation of volumes in place: its laws, its bound, and the file that changes nothing."""

import math

import pytest
import torch
from torch import Tensor

from recon import priors
from recon.errors import UsageError
from recon.priors.total_variation import VariationTerm, total_variation_value
from recon.solvers import DirectRun, Progress, Status, denoise_volumes

SHAPE = (6, 10, 9)
CUBE = (1.0, 1.0, 1.0)
FAR = 1e8
"""A distance of slices at which nothing couples them."""


def noisy(shape=SHAPE, seed=0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    clean = torch.zeros(shape)
    clean[shape[0] // 3 :, 2:8, 3:7] = 1
    return (clean + 0.1 * torch.randn(shape, generator=generator))[None, None]


def solved(y: Tensor, weight=0.1, *, spacing=CUBE, isotropic=True, tolerance=4e-4, memory=None, steps=4000, **bounds):
    term = VariationTerm(weight, isotropic, spacing, **bounds)
    scale = [float(part.norm()) for part in y]
    return denoise_volumes(y, term, DirectRun(tolerance, steps, scale, memory=memory))


def objective(x: Tensor, y: Tensor, weight: float, spacing=CUBE, isotropic=True) -> float:
    x, y = x.double(), y.double()
    return float((x - y).square().sum() / 2 + weight * total_variation_value(x, isotropic, spacing=spacing).sum())


@pytest.mark.parametrize("bounds", [(-0.1, 0.3), (0.1, math.inf), (0.7, 0.9)])
def test_the_bound_holds_for_bounds_that_single_precision_rounds(bounds: tuple[float, float]) -> None:
    """An image that is beyond them by a rounding has a gap below zero, which would hide how far it is."""
    y = noisy().flip(0) * 2
    y[..., 0] = 0.2
    term = VariationTerm(1e-6, True, CUBE, bounds)
    runs = [denoise_volumes(y.clone(), term, DirectRun(tolerance, 400, [1.0])) for tolerance in (1e-1, 1e-3, 1e-12)]
    best = runs[-1]
    for found in runs[:-1]:
        apart = float((found.x - best.x).double().norm())
        assert apart <= found.distance[0].value + best.distance[0].value
    assert best.distance[0].value < 1e-4


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("spacing", [CUBE, (2.5, 1.0, 1.0), (0.4, 1.0, 1.5)])
def test_it_is_the_proximity_operator_to_within_its_bound(spacing, isotropic) -> None:
    y = noisy()
    found = solved(y, spacing=spacing, isotropic=isotropic, tolerance=5e-4)
    exact = priors.total_variation(0.1, isotropic, accuracy=1e-4, spacing=spacing)(y.double())
    assert found.status == (Status.CONVERGED,)
    slack = 1e-4 * float(y.norm())
    assert float((found.x - exact).norm()) <= found.distance[0].value + slack
    assert found.distance[0].relative <= 5e-4
    assert found.distance[0].evidence == "proved"


def test_the_bound_is_no_smaller_than_the_truth_on_the_way() -> None:
    y = noisy()
    exact = priors.total_variation(0.1, accuracy=1e-4, spacing=CUBE)(y.double())
    for steps in (1, 8, 20, 50):
        found = solved(y, steps=steps, tolerance=0.0)
        assert found.status == (Status.OUT_OF_STEPS,)
        assert float((found.x - exact).norm()) <= found.distance[0].value + 1e-4 * float(y.norm())


@pytest.mark.parametrize("isotropic", [True, False])
def test_slices_that_are_far_apart_are_solved_one_by_one(isotropic) -> None:
    y = noisy()
    together = solved(y, spacing=(FAR, 1.0, 1.0), isotropic=isotropic).x
    alone = priors.total_variation(0.1, isotropic, accuracy=1e-4)(y[0, 0].double()[:, None])[:, 0]
    assert float((together[0, 0] - alone).norm()) <= 7e-4 * float(y.norm())


def test_what_is_constant_along_z_is_solved_as_an_image() -> None:
    plane = noisy()[:, :, 3]
    y = plane[:, :, None].expand(1, 1, *SHAPE).contiguous()
    found = solved(y).x
    image = priors.total_variation(0.1, accuracy=1e-4)(plane.double())
    assert float((found - image[:, :, None]).norm()) <= 7e-4 * float(y.norm())


@pytest.mark.parametrize("order", [(0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_the_axes_of_a_volume_of_cubes_may_be_exchanged(order) -> None:
    y = noisy()
    first = solved(y).x[0, 0].permute(order)
    second = solved(y[0, 0].permute(order)[None, None].contiguous()).x[0, 0]
    assert float((first - second).norm()) <= 7e-4 * float(y.norm())


@pytest.mark.parametrize("held", [6, 8, 12])
@pytest.mark.parametrize("slices", [1, 2, 3, 17])
def test_with_a_file_it_is_the_same_to_the_bit(held, slices) -> None:
    y = noisy((slices, 12, 10))
    of_slice = 5 * 4 * 12 * 10
    whole = solved(y, tolerance=0.0, steps=30)
    parts = solved(y, tolerance=0.0, steps=30, memory=held * of_slice)
    assert torch.equal(whole.x, parts.x)
    assert whole.distance[0].value == pytest.approx(parts.distance[0].value, rel=1e-12)


def test_memory_for_no_slice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"memory leaves .* expected more --memory"):
        solved(noisy(), memory=5 * 4 * 10 * 9 * 3)


def test_bounds_are_kept_and_cost_nothing_more_than_they_must() -> None:
    y = noisy()
    found = solved(y, bounds=(0.2, 0.7))
    assert found.status == (Status.CONVERGED,)
    assert float(found.x.min()) >= torch.tensor(0.2)
    assert float(found.x.max()) <= torch.tensor(0.7)
    inside = solved(y).x.clamp(0.2, 0.7)
    assert objective(found.x, y, 0.1) <= objective(inside, y, 0.1) * (1 + 1e-5)


def test_each_volume_ends_by_itself_and_channels_are_volumes() -> None:
    y = torch.cat([noisy(seed=1), 3 * noisy(seed=2)])
    both = solved(y)
    for item in range(2):
        alone = solved(y[item : item + 1])
        assert torch.equal(alone.x[0], both.x[item])
        assert alone.steps[0] == both.steps[item]
    coloured = solved(y.transpose(0, 1).contiguous(), tolerance=1e-3)
    assert coloured.x.shape == (1, 2, *SHAPE)
    assert coloured.distance[0].relative <= 1e-3


def test_a_flat_volume_stays_as_it_is() -> None:
    y = torch.full((1, 1, *SHAPE), 0.5)
    found = solved(y)
    assert torch.allclose(found.x, y, atol=1e-6)
    assert found.status == (Status.CONVERGED,)


def test_ctrl_c_leaves_the_last_image_and_stops_what_comes_after() -> None:
    y = torch.cat([noisy(), noisy(seed=1)])

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    run = DirectRun(1e-6, 1000, [1.0, 1.0], look=stop)
    found = denoise_volumes(y, VariationTerm(0.1, True, CUBE), run)
    assert found.status == (Status.INTERRUPTED, Status.INTERRUPTED)
    assert found.x.isfinite().all()


def test_not_a_number_is_said() -> None:
    y = noisy()
    y[0, 0, 2, 3, 4] = math.nan
    found = denoise_volumes(y, VariationTerm(0.1, True, CUBE), DirectRun(1e-3, 100, [1.0]))
    assert found.status == (Status.NOT_FINITE,)


@pytest.mark.parametrize("y", [torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 4, 4, dtype=torch.float64)])
def test_what_is_no_volume_is_refused(y: Tensor) -> None:
    with pytest.raises(UsageError, match="expected"):
        denoise_volumes(y, VariationTerm(0.1, True, CUBE), DirectRun(1e-3, 100, [1.0]))
