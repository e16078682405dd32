"""The search for a prior's free parameter."""

import numpy as np
import pytest
from PIL import Image

from recon.errors import InputError, UsageError
from recon.evaluation.evaluate import evaluate, mean
from recon.evaluation.tune import RATIO, tune
from recon.specs.solve_config import config_from


def silent(line):
    pass


@pytest.fixture
def files(tmp_path):
    rows, columns = np.mgrid[:24, :28]
    for number in range(2):
        disc = (rows - 10 - number) ** 2 + (columns - 12) ** 2 < 50
        Image.fromarray((60 + 120 * disc).astype(np.uint8)).save(tmp_path / f"{number}.png")
    return sorted(tmp_path.glob("*.png"))


def config(**given):
    return config_from({"operator": "identity", "noise": "0.05", "device": "cpu", **given}, where="the test")


@pytest.mark.parametrize("start", ["0.002", "1"])
def test_it_climbs_from_both_sides_to_the_best(files, start):
    found = tune(config(prior=f"tv:weight={start}"), files, silent)
    best = max(psnr for _, psnr in found.tried)
    assert dict(found.tried)[_nearest(found)] == best
    for factor in (RATIO, 1 / RATIO):
        other = config(prior=f"tv:weight={found.value * factor}")
        assert mean(evaluate([other], files, silent))["psnr"] <= best + 1e-3
    assert mean(evaluate([found.config], files, silent))["psnr"] == pytest.approx(best, abs=1e-3)


def _nearest(found):
    return min((value for value, _ in found.tried), key=lambda value: abs(value - found.value))


def test_a_weight_that_is_left_out_begins_where_the_noise_says(files):
    found = tune(config(prior="tv"), files, silent)
    assert found.name == "weight"
    assert len(found.tried) <= 5


def test_a_denoiser_has_its_level(files, monkeypatch):
    models = pytest.importorskip("deepinv").models

    class Short(models.TVDenoiser):
        def __init__(self, **given):
            super().__init__(**{**given, "n_it_max": 20})  # the search is what is tried, and 1000 steps take a minute

    monkeypatch.setattr(models, "TVDenoiser", Short)
    assert tune(config(prior="deepinv:TVDenoiser"), files[:1], silent).name == "sigma"


def test_what_cannot_be_tuned_is_named(files, tmp_path):
    with pytest.raises(UsageError, match="--tune with the prior box; expected one with a weight"):
        tune(config(prior="box"), files, silent)
    small = tmp_path / "small.png"
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(small)
    with pytest.raises(InputError, match="no image of the 1 for --tune could be scored"):
        tune(config(prior="tv"), [small], silent)
