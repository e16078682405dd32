"""Advice to runs with a surrogate: each helps where it is given, and a shift is not advised where it does harm."""

import numpy as np
import pytest
import torch

from recon.io import ValueRange
from recon.io.image import from_array
from recon.operators import Blur, box_psf
from recon.reconstruction.plan import make_plan
from recon.reconstruction.run import solve_image
from recon.specs.solve_config import config_from

SIZE = (48, 40)


def measured():
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    scene = torch.from_numpy(0.3 + 0.4 * ((rows // 12 + columns // 10) % 2)).double()
    y = Blur(box_psf(5), SIZE).A(scene) + 0.01 * torch.randn(SIZE, generator=torch.Generator().manual_seed(3)).double()
    return from_array(y.numpy(), value_range=ValueRange(0.0, 1.0))


def config(prior, **others):
    blurs = {"operator": "blur:box=5", "surrogate": "blur:box=7", "noise": "0.01", "device": "cpu"}
    return config_from({**blurs, "prior": prior, **others}, ".", "a test")


def advised(prior, **others):
    said = []
    plan = make_plan(config(prior, **others), measured(), said.append)
    advice = [line for line in said if line.startswith("the surrogate leaves")]
    assert len(advice) <= 1
    return plan, advice[0] if advice else None


def bound(prior, **others):
    return solve_image(config(prior, **others), measured()).bounds[0]


def test_where_the_solution_is_unique_a_shorter_step_is_advised_and_no_shift():
    plan, advice = advised("tikhonov:weight=0.1")
    assert plan.method.certificate.strongest is None
    assert "--shift" not in advice
    step = advice.partition("--stepsize ")[2].partition(",")[0]
    shorter, more = advised("tikhonov:weight=0.1", stepsize=float(step))
    assert more is None
    assert shorter.method.certificate.holds


def test_a_shift_that_is_not_advised_would_worsen_the_proved_bound():
    plain, shifted = bound("tikhonov:weight=0.1"), bound("tikhonov:weight=0.1", shift="auto")
    assert plain.relative < 0.2
    assert shifted.relative > 3 * plain.relative


@pytest.mark.parametrize("prior", ["tikhonov:weight=0.01", "wavelet:weight=0.001", "tv:weight=0.001"])
def test_where_the_sum_is_not_monotone_a_shift_is_advised_with_its_size_and_gives_the_guarantee(prior):
    plan, advice = advised(prior, method="forward_backward")
    assert plan.pair.mismatch.symmetric_part_min.value < 0
    shifted, more = advised(prior, method="forward_backward", shift="auto")
    assert f"--shift auto adds {shifted.pair.mismatch.shift:.3g} to its map" in advice
    assert more is None
    assert "moves the solution (how far is not bounded)" in advice


def test_a_shift_that_is_too_small_is_told_by_how_much_it_should_be():
    _, advice = advised("wavelet:weight=0.001", shift=1e-4)
    assert "--shift auto adds" in advice


def test_nothing_is_advised_where_nothing_is_missing():
    assert advised("tikhonov:weight=1", stepsize=0.2)[1] is None
    assert advised("tikhonov:weight=1", surrogate="blur:box=5")[1] is None
