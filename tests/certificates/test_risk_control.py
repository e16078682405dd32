"""Conformal risk control: its finite-sample law, and how many images it needs."""

import pytest
import torch
from torch import Tensor

from recon.certificates.risk_control import images_needed, interval_factor
from recon.errors import ConsistencyError, UsageError


def image(generator: torch.Generator, pixels: int = 20) -> Tensor:
    """Ratios of an image: of one size within the image, and of another in the next."""
    size = torch.exp(0.7 * torch.randn(1, generator=generator))
    return (size * torch.randn(pixels, generator=generator)).abs()


def misses(images: int, repeats: int, level: float) -> float:
    """The mean share of the pixels of a further image outside of their intervals."""
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    for _ in range(repeats):
        factor = interval_factor([image(generator) for _ in range(images)], level)
        total += float((image(generator) > factor).double().mean())
    return total / repeats


@pytest.mark.parametrize(("images", "level"), [(9, 0.9), (20, 0.9), (4, 0.75), (40, 0.75)])
def test_the_expected_share_is_at_most_what_was_asked(images: int, level: float) -> None:
    seen = misses(images, 1500, level)
    assert seen <= 1 - level
    assert seen >= 1 - level - 2.5 / (images + 1)  # and not by much less


def test_without_the_one_the_law_fails() -> None:
    """A quantile of the calibration images alone, on few of them: what the + 1 is for."""
    generator, images, repeats, total = torch.Generator().manual_seed(0), 3, 3000, 0.0
    for _ in range(repeats):
        ratios = torch.cat([image(generator) for _ in range(images)])
        total += float((image(generator) > ratios.quantile(0.75, interpolation="higher")).double().mean())
    assert total / repeats > 0.26  # more than 1 - level
    assert misses(images, repeats, 0.75) <= 0.25


def test_the_factor_is_the_least_that_will_do() -> None:
    """By hand: nine images of ten pixels at 0.9 may miss none, at 0.79 eleven in ninety."""
    ratios = [torch.arange(1.0, 11.0) + k / 100 for k in range(9)]
    assert interval_factor(ratios, 0.9) == pytest.approx(10.08)
    allowed = (0.21 * 10 - 1) / 9
    factor = interval_factor(ratios, 0.79)
    loss = lambda f: sum(float((each > f).double().mean()) for each in ratios) / 9  # noqa: E731
    assert loss(factor) <= allowed + 1e-9
    assert loss(factor - 1e-3) > allowed
    assert interval_factor([torch.zeros(5)] * 20, 0.9) == 0.0


def test_too_few_images_are_refused_with_the_number() -> None:
    assert images_needed(0.9) == 9
    assert images_needed(0.95) == 19
    assert images_needed(0.5) == 1
    with pytest.raises(ConsistencyError, match=r"^8 calibration .* at least 9"):
        interval_factor([torch.ones(4)] * 8, 0.9)
    with pytest.raises(UsageError, match=r"level is 1.0"):
        images_needed(1.0)
    with pytest.raises(UsageError, match="no pixels"):
        interval_factor([torch.ones(4)] * 8 + [torch.ones(0)], 0.9)
