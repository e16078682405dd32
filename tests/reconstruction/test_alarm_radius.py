"""The certified radius of an alarm: no change that is smaller turns the verdict, drawn or found by an attack."""

import numpy as np
import pytest
import torch

from recon.catalogue import CriticModel
from recon.io import ValueRange, from_array
from recon.priors.networks import CriticConfig, make_critic
from recon.reconstruction.alarm import Alarm, judge_image, pixel_map

CONFIG = CriticConfig(features=8, bands=2, heads=3, pieces=2, window=8, stride=4)
SIDE = 26


def alarm_with(threshold: float, units: str = "HU") -> Alarm:
    critic = make_critic(CONFIG).eval()
    card = CriticModel("a", "a", 1, units, 1.0, "proved", threshold, 0.1, "assumed", "n", {}, 0)
    return Alarm("a", critic, card, "")


def image_of(pixels):
    return from_array(np.asarray(pixels, np.float64), units="HU", value_range=ValueRange(-1024, 3071, "HU"))


@pytest.fixture
def pixels():
    return np.random.default_rng(0).normal(40, 60, (SIDE, SIDE))


@pytest.mark.parametrize("apart", [0.02, -0.02])
def test_no_smaller_change_turns_the_verdict(pixels, apart):
    torch.manual_seed(0)
    alarm = alarm_with(0.0)
    score = judge_image(alarm, image_of(pixels)).worst.score
    torch.manual_seed(0)
    alarm = alarm_with(score - apart)
    found = judge_image(alarm, image_of(pixels))
    assert found.is_alarm == (apart > 0)
    radius = found.worst.radius
    assert radius == pytest.approx(0.02 * 4095, rel=1e-4)
    draw = np.random.default_rng(1)
    for _ in range(20):
        change = draw.normal(size=pixels.shape)
        moved = pixels + 0.999 * radius * change / np.linalg.norm(change)
        assert judge_image(alarm, image_of(moved)).is_alarm == found.is_alarm
    frozen = alarm.critic.frozen(torch.float64)
    x = torch.from_numpy((pixels + 1024) / 4095)[None, None]
    moved, farthest = x.clone(), 0.0
    for _ in range(60):  # projected gradient steps towards the other verdict
        moved = moved.requires_grad_()
        value = frozen(moved).sum()
        (slope,) = torch.autograd.grad(value, moved)
        step = moved.detach() - np.sign(apart) * 0.004 * slope / slope.norm().clamp(min=1e-12)
        change = step - x
        moved = x + change * min(1.0, float(0.999 * radius / 4095 / change.norm()))
        farthest = max(farthest, abs(float(value.detach()) - score))
        assert judge_image(alarm, image_of(moved[0, 0].numpy() * 4095 - 1024)).is_alarm == found.is_alarm
    assert farthest > 0.1 * abs(apart)  # the attack does something


def test_a_margin_of_rounding_has_no_radius(pixels):
    """A score that is a rounding away from the threshold says nothing of the next image."""
    torch.manual_seed(0)
    score = judge_image(alarm_with(0.0), image_of(pixels)).worst.score
    for threshold in (score, float(np.nextafter(score, -1)), score - 1e-14):
        torch.manual_seed(0)
        assert judge_image(alarm_with(threshold), image_of(pixels)).worst.radius == 0


def test_every_frame_has_its_verdict_and_the_worst_is_told(pixels):
    torch.manual_seed(0)
    alarm = alarm_with(0.0)
    frames = np.stack([pixels, 3 * pixels, pixels[::-1]])[:, None]
    image = from_array(frames, units="HU", value_range=ValueRange(-1024, 3071, "HU"))
    found = judge_image(alarm, image)
    alone = [judge_image(alarm, image_of(frame[0])).worst.score for frame in frames]
    assert [each.score for each in found.verdicts] == pytest.approx(alone, abs=1e-12)
    assert found.worst.score == max(each.score for each in found.verdicts)
    assert found.map().shape == (3, 1, SIDE, SIDE)
    for at, each in enumerate(found.verdicts):
        assert float(found.map()[at].max()) == pytest.approx(each.score - 0.0, abs=1e-5)


def test_a_map_has_the_highest_window_over_each_pixel_and_no_holes():
    found = pixel_map(np.array([[1.0, 3.0], [2.0, 0.0]]), ([1, 5], [1, 5]), 6, (12, 12))
    assert np.isfinite(found).all()
    assert (found[0, 0], found[0, 11], found[11, 0], found[11, 11], found[6, 6]) == (1, 3, 2, 0, 3)
