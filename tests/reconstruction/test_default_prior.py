"""Which prior a user gets who names none."""

import numpy as np
import pytest
import torch

from recon.io import ValueRange, from_array
from recon.operators import Detector, Geometry, Volume, evenly_spaced
from recon.priors.split import Split
from recon.reconstruction.plan import make_plan, with_guide
from recon.reconstruction.problem import Objects, build_problem, default_prior_of_scan
from recon.specs.solve_config import SolveConfig, config_from


def image(channels: int = 1, units: str = "", side: int = 24):
    pixels = np.random.default_rng(0).random((1, channels, side, side), dtype=np.float32)
    return from_array(pixels, value_range=ValueRange(0.0, 1.0, units))


def chosen(operator: str, given, **options: object) -> str:
    config = config_from({"operator": operator, "noise": "0.01", **options})
    return build_problem(config, given, lambda line: None).prior.spec.value or "tv"


def plan_with(prior: str, given):
    return make_plan(config_from({"operator": "blur:gaussian=1", "noise": "0.01", "prior": prior}), given, print)


@pytest.mark.parametrize(
    ("operator", "given", "expected"),
    [
        ("identity", image(), "guided-gray"),
        ("blur:gaussian=1", image(3), "guided-color"),
        ("blur:gaussian=1", image(1, "HU"), "proved-ct"),
        ("blur:gaussian=1", image(2), "tv"),
        ("blur:gaussian=1,boundary=valid", image(), "tv"),
    ],
)
def test_images_have_the_prior_that_was_made_for_them(operator: str, given, expected: str) -> None:
    assert chosen(operator, given) == expected


@pytest.mark.parametrize(
    ("operator", "given", "expected"),
    [
        ("identity", image(), "guided-gray"),
        ("blur:gaussian=1", image(1, "HU"), "guided-ct"),
        ("blur:gaussian=1,boundary=valid", image(), "tv"),
    ],
)
def test_where_a_guide_is_given_it_is_one_that_takes_it(operator: str, given, expected: str) -> None:
    config = config_from({"operator": operator, "noise": "0.01"})
    problem = build_problem(config, given, lambda line: None, given=Objects(guide=given))
    assert problem.prior.guided is not None
    assert (problem.prior.spec.value or "tv") == expected


@pytest.mark.parametrize(
    ("method", "expected"),
    [("condat_vu", "guided-gray"), ("fista", "proved-gray"), ("douglas_rachford", "proved-gray")],
)
def test_other_methods_have_a_prior_whose_steps_no_weight_shortens(method: str, expected: str) -> None:
    assert chosen("blur:gaussian=1", image(), method=method) == expected


def test_with_a_surrogate_or_another_wish_it_is_another() -> None:
    assert chosen("blur:box=3", image(), surrogate="blur:box=5") == "tv"
    config = config_from({"operator": "identity", "noise": "0.01", "prior": "wavelet"})
    assert build_problem(config, image(), lambda line: None).prior.spec.name == "wavelet"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"water": "0.02"}, "model:proved-ct,low=0"),
        ({}, "tv:low=0"),
        ({"water": "0.02", "range": "-1000:2000"}, "model:proved-ct,low=0"),
        ({"water": "0.02", "surrogate": "pixel-driven"}, "tv"),
    ],
)
def test_a_scan_has_the_learned_prior_where_its_scale_is_known(options: dict[str, str], expected: str) -> None:
    geometry = Geometry("parallel", evenly_spaced(0, 180, 8), Detector(17, 1.0), Volume((12, 12), 1.0))
    config: SolveConfig = config_from({"operator": "ct:scan.toml", **options})
    assert str(default_prior_of_scan(config, geometry)) == expected


def test_the_memory_of_the_filters_responses_is_counted() -> None:
    given = image(side=64)
    learned, plain = (plan_with(prior, given) for prior in ("model:proved-gray", "tv"))
    responses = 64 * given.pixels.size * 4
    assert isinstance(learned.problem.prior.prior.split, Split)
    assert learned.memory_bytes > 5 * responses > 10 * plain.memory_bytes
    assert learned.problem.images.shape == torch.Size((1, 1, 64, 64))
    guided = plan_with("model:guided-gray", given)
    masks = guided.memory_bytes - learned.memory_bytes
    assert responses < masks < 5 * responses
    assert with_guide(guided, learned.problem.measurement).memory_bytes == guided.memory_bytes
