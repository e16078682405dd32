"""The bound of the error of the prox of a ridge potential, against arithmetic of many digits and the exact prox."""

from dataclasses import replace
from decimal import Context, Decimal, localcontext

import pytest
import torch
from network_cases import SMALL_RIDGE
from torch import Tensor

from recon.errors import GuaranteeError
from recon.operators.rounding import norms_of
from recon.priors.networks import ConvexRidge, InnerSolver, learned_prior
from recon.priors.networks.architectures import convolution_rounding, ridge_error
from recon.priors.networks.architectures.ridge_potential import Ridge
from recon.priors.networks.architectures.ridge_prox import prox
from recon.priors.networks.layers.convolution import analyse

DIGITS = Context(prec=90)
CONFIGS = {
    "spline": replace(SMALL_RIDGE, padding="zero"),
    "groups": replace(SMALL_RIDGE, group=2, padding="zero"),
    "huber": replace(SMALL_RIDGE, profile="huber", pieces=2, padding="circular"),
    "valid": replace(SMALL_RIDGE, padding="valid"),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def network_of(config, seed: int = 1) -> ConvexRidge:
    torch.manual_seed(seed)
    network = ConvexRidge(config).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network.requires_grad_(False)


def images(*shape: int, seed: int = 2) -> Tensor:
    return 0.5 + 0.2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def masked(ridge: Ridge, like: Tensor) -> Ridge:
    responses = analyse(like, ridge.kernel, ridge.padding)
    shape = (len(like), ridge.kernel.shape[0] // ridge.group, *responses.shape[-2:])
    return replace(ridge, mask=0.05 + 3 * torch.rand(shape, generator=torch.Generator().manual_seed(5)).to(like))


def matrix(ridge: Ridge, shape: tuple[int, int]) -> list[list[Decimal]]:
    """W: its numbers are those of the filters, exactly, because an image of zeros and one 1 is never rounded."""
    units = torch.eye(shape[0] * shape[1], dtype=torch.float64).view(-1, 1, *shape)
    return [[Decimal(v) for v in row] for row in analyse(units, ridge.kernel, ridge.padding).flatten(1).T.tolist()]


def of_many_digits(ridge: Ridge, y: Tensor, x: Tensor) -> Decimal:
    """``||x - y + grad R(x)||`` of one image in arithmetic of 90 digits."""
    pieces, (height, width) = ridge.profile.pieces(), x.shape[-2:]
    knots, slopes = ([[Decimal(v) for v in row] for row in table.tolist()] for table in (pieces.knots, pieces.slopes))
    w, n = matrix(ridge, (height, width)), height * width
    point, data = ([Decimal(v) for v in image.flatten().tolist()] for image in (x, y))
    z = [sum((a * b for a, b in zip(row, point, strict=True)), Decimal(0)) for row in w]
    places = len(z) // ridge.kernel.shape[0]
    scale = [Decimal(v) for v in ridge.scale.flatten().tolist()]
    mask = None if ridge.mask is None else [Decimal(v) for v in ridge.mask.flatten().tolist()]

    def rise(channel: int, t: Decimal) -> Decimal:
        total, ends = Decimal(0), [*knots[channel][1:], t]
        for start, end, slope in zip(knots[channel], ends, slopes[channel], strict=True):
            total += slope * max(min(end, t) - start, Decimal(0))
        return total

    f = list(z)
    for channel in range(len(knots)):
        for place in range(places):
            members = [(channel * ridge.group + k) * places + place for k in range(ridge.group)]
            length = sum((z[m] * z[m] for m in members), Decimal(0)).sqrt()
            t = length / scale[channel]
            ratio = rise(channel, t) / t if t else Decimal(0)
            weight = Decimal(1) if mask is None else mask[channel * places + place]
            for m in members:
                f[m] = weight * ratio * z[m]
    factor, total = Decimal(float(ridge.weight)), Decimal(0)
    for pixel in range(n):
        slope = sum((w[m][pixel] * f[m] for m in range(len(z))), Decimal(0))
        total += (point[pixel] - data[pixel] + factor * slope) ** 2
    return total.sqrt()


def near(config, seed: int, with_mask: bool) -> tuple[Ridge, Tensor, Tensor]:
    """A point at which the gradient is rounding and no more."""
    ridge, y = network_of(config, seed).ridge(), images(1, 1, 4, 5, seed=seed)
    ridge = masked(ridge, y) if with_mask else ridge
    return ridge, y, prox(ridge, y, InnerSolver(accuracy=1e-14, max_steps=3000))


@every_config
@pytest.mark.parametrize("with_mask", [False, True])
def test_the_bound_is_one_and_near_what_it_bounds(config, with_mask: bool) -> None:
    ridge, y, p = near(config, 1, with_mask)
    with localcontext(DIGITS):
        for away in (0.0, 1e-12, 1e-3):
            x = p + away * images(*p.shape, seed=7)
            exact, bound = of_many_digits(ridge, y, x), float(ridge_error.of_point(ridge, y, x))
            assert exact <= Decimal(bound)
            assert bound <= 1.001 * float(exact) + 1e-11


def test_rounding_is_needed_in_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: without the worst case of rounding, some bound is below the exact norm."""
    for module in (ridge_error, convolution_rounding):
        monkeypatch.setattr(module, "gamma", lambda count: 0.0)
    with localcontext(DIGITS):
        points = [near(CONFIGS["spline"], seed, with_mask=False) for seed in range(6)]
        assert any(of_many_digits(*each) > Decimal(float(ridge_error.of_point(*each))) for each in points)


@every_config
def test_single_precision_is_judged_in_double_precision(config) -> None:
    """The gradient that single precision sees may be zero where the exact one is not."""
    network, y = network_of(config), images(2, 1, 9, 8)
    single = network.frozen(torch.float32).ridge()
    x = prox(single, y.float(), InnerSolver(accuracy=1e-6))
    exact = prox(ridge_error.in_double_precision(single), y.float().double(), InnerSolver(accuracy=1e-13))
    bound = ridge_error.of_point(single, y.float(), x)
    assert (bound >= (x.double() - exact).flatten(1).norm(dim=1) - 1e-12).all()
    assert (bound <= 1e-5 * y.flatten(1).norm(dim=1)).all()


@every_config
@pytest.mark.parametrize("scale", [0.0, 1e-170, 1e-30, 1e30])
def test_images_of_any_size_of_numbers_have_a_bound(config, scale: float) -> None:
    ridge, y = network_of(config).ridge(), scale * images(1, 1, 6, 6)
    bound, slope = float(ridge_error.of_point(ridge, y, y)), ridge.gradient(y)
    assert bound >= float(norms_of(slope))
    assert bound > 0 or scale == 0


def test_an_accuracy_that_rounding_hides_is_not_claimed() -> None:
    prior = learned_prior(network_of(replace(SMALL_RIDGE, padding="zero")), accuracy=1e-15)
    with pytest.raises(GuaranteeError, match="expected accuracy=1e-15"):
        prior.resolvent(1.0)(images(1, 1, 9, 9))


def test_products_that_underflow_are_counted_in_double_precision() -> None:
    """What is lost is below what single precision holds."""
    rounding = convolution_rounding.ConvolutionRounding(torch.ones(2, 1, 3, 3).double(), 3.0)
    nothing = torch.zeros(2, dtype=torch.float64)
    found = rounding.summed(nothing, 100, torch.tensor([True, False]))
    assert found.dtype == torch.float64
    assert found[0] == 0 < found[1] < 1e-300
