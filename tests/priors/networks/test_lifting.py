"""Filters of a linear lifting: those of the decimated transform, which has an inverse for any weights."""

import pytest
import torch
from torch import Tensor

from recon.errors import UsageError
from recon.priors.networks import ConvexRidgeConfig, make
from recon.priors.networks.layers.convolution import analyse
from recon.priors.networks.layers.lifting import LiftingFilters

EVEN, COLUMNS, ROWS, BOTH = (0, 0), (0, 1), (1, 0), (1, 1)
BANDS = COLUMNS, ROWS, BOTH


def drawn(scales: int, size: int, seed: int = 0) -> LiftingFilters:
    """Filters whose weights are far from those that training starts from."""
    generator = torch.Generator().manual_seed(seed)
    bank = LiftingFilters(scales, size).double()
    with torch.no_grad():
        for each in bank.parameters():
            each.add_(0.2 * torch.randn(each.shape, generator=generator, dtype=torch.float64))
    return bank


def phase(x: Tensor, place: tuple[int, int]) -> Tensor:
    return x[place[0] :: 2, place[1] :: 2]


def summed(x: Tensor, window: Tensor, place: tuple[int, int]) -> Tensor:
    """The weighted sum of the window around each pixel of a phase, of periodic images."""
    reach = len(window) // 2
    total = torch.zeros_like(x)
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            total += window[row + reach, column + reach] * x.roll((-row, -column), (0, 1))
    return phase(total, place)


def lifted(x: Tensor, bank: LiftingFilters, scale: int) -> tuple[Tensor, list[Tensor]]:
    """One scale of the decimated transform, in place: the image of the next scale, and the details."""
    predict, update = bank.windows(scale)
    x = x.clone()
    for window, place in zip(predict.flip(0), BANDS[::-1], strict=True):  # the last is predicted from all the others
        phase(x, place).sub_(summed(x, window, place))
    for window, place in zip(update, BANDS, strict=True):
        phase(x, EVEN).add_(summed(only(x, place), window, EVEN))
    return phase(x, EVEN), [phase(x, place) for place in BANDS]


def only(x: Tensor, place: tuple[int, int]) -> Tensor:
    kept = torch.zeros_like(x)
    phase(kept, place).copy_(phase(x, place))
    return kept


def joined(low: Tensor, details: list[Tensor], bank: LiftingFilters, scale: int) -> Tensor:
    """The inverse: what was added is subtracted in reverse order."""
    predict, update = bank.windows(scale)
    x = low.new_zeros(2 * low.shape[0], 2 * low.shape[1])
    phase(x, EVEN).copy_(low)
    for detail, place in zip(details, BANDS, strict=True):
        phase(x, place).copy_(detail)
    for window, place in zip(update, BANDS, strict=True):
        phase(x, EVEN).sub_(summed(only(x, place), window, EVEN))
    for window, place in zip(predict, BANDS, strict=True):
        phase(x, place).add_(summed(x, window, place))
    return x


@pytest.mark.parametrize(("scales", "size"), [(1, 3), (2, 5), (3, 3), (2, 7)])
def test_the_transform_has_an_inverse_and_its_details_are_the_responses_of_the_filters(scales, size):
    bank = drawn(scales, size)
    with torch.no_grad():
        image = torch.randn(64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        responses = analyse(image[None, None], bank.composed(), "circular")[0]
        low, levels = image, []
        for scale in range(scales):
            low, details = lifted(low, bank, scale)
            levels.append(details)
            for band, place in enumerate(BANDS):
                step = 2**scale
                found = responses[3 * scale + band, place[0] * step :: 2 * step, place[1] * step :: 2 * step]
                factor = (found * details[band]).sum() / details[band].square().sum()  # filters have norm 1
                torch.testing.assert_close(found, factor * details[band], rtol=0, atol=1e-12)
        for scale in reversed(range(scales)):
            low = joined(low, levels[scale], bank, scale)
    torch.testing.assert_close(low, image, rtol=0, atol=1e-10)


def test_constant_images_have_no_details_and_training_starts_from_the_wavelets_5_3():
    assert drawn(2, 5).composed().sum((1, 2, 3)).abs().max() < 1e-12
    columns, _, both = LiftingFilters(1, 5).composed()[:3, 0].double()
    high = torch.tensor([-0.5, 1.0, -0.5], dtype=torch.float64)
    row = torch.zeros(5, 5, dtype=torch.float64)
    row[2, 1:4] = high / high.norm()
    torch.testing.assert_close(columns, row, rtol=0, atol=1e-6)
    torch.testing.assert_close(both[1:4, 1:4], torch.outer(high, high) / high.square().sum(), rtol=0, atol=1e-6)


def test_every_weight_but_those_of_the_last_update_changes_the_filters():
    bank = drawn(2, 5)
    bank.composed().square().mul(torch.rand(15, 15, dtype=torch.float64)).sum().backward()
    assert bool((bank.predict.grad != 0).all())
    assert bool((bank.update.grad[0] != 0).all())
    assert not bool(bank.update.grad[1].any())  # of the image after the last scale, which has no penalty


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lifting": -1}, "expected 1 to 4 scales"),
        ({"lifting": 5, "widths": (15,)}, "expected 1 to 4 scales"),
        ({"lifting": 2, "size": 1}, "a window of at least 3 pixels"),
        ({"lifting": 2, "size": 4}, "an odd size"),
        ({"lifting": 2, "channels": 3}, "grey images"),
        ({"lifting": 2, "widths": (4, 6)}, r"expected \(6,\), because a scale has 3 bands"),
    ],
)
def test_what_is_no_lifting_is_refused(options, words):
    with pytest.raises(UsageError, match=words):
        make(ConvexRidgeConfig(**{"widths": (6,), "size": 5, "noise_range": (0.1, 0.1), **options}))
