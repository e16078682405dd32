"""The duality gap in a run: computed for each frame, written into the record, and small where the run has converged."""

import json
from pathlib import Path

import numpy as np
import pytest

from recon.errors import UsageError
from recon.evidence import Assumed, Evidence
from recon.io import Image, ValueRange, from_array, read, write
from recon.methods.energy import require_energy
from recon.priors import Prior, Resolvent, ResolventProperties
from recon.reconstruction.run import Target, solve_image, write_run
from recon.specs.grammar import parse_spec
from recon.specs.solve_config import Noise, SolveConfig


def measured() -> Image:
    rows, columns = np.mgrid[:24, :32]
    pixels = 0.2 + 0.6 * ((rows > 6) & (rows < 17) & (columns > 9)).astype(float)
    return from_array(
        pixels + 0.02 * np.random.default_rng(0).standard_normal(pixels.shape), value_range=ValueRange(0, 1)
    )


def config(**options: object) -> SolveConfig:
    stated = {"operator": parse_spec("blur:gaussian=0.8"), "noise": Noise(0.02), "device": "cpu", **options}
    return SolveConfig(**stated)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["ista", "oista", "fista"])
@pytest.mark.parametrize("prior", ["wavelet:weight=0.03,levels=2", "l1:weight=0.1"])
def test_the_gap_of_a_run_shrinks_with_its_steps(method: str, prior: str) -> None:
    gaps = []
    for steps in (3, 300):
        wanted = config(prior=parse_spec(prior), method=method, iterations=steps, tolerance=0.0)
        gap = solve_image(wanted, measured()).gap
        assert gap is not None
        assert gap.evidence is Evidence.PROVED
        gaps.append(gap.relative)
    assert gaps[1] < 0.1 * gaps[0]


def test_the_record_has_the_gap_and_that_of_each_frame(tmp_path: Path) -> None:
    path = tmp_path / "y.tif"
    write(measured(), path)
    wanted = config(prior=parse_spec("wavelet:weight=0.03,levels=2"), method="ista", iterations=30)
    run = write_run(solve_image(wanted, read(path)), path, Target(tmp_path / "x.tif"), lambda line: None)
    document = json.loads(run.record.read_text())
    assert document["duality_gap"]["value"] > 0
    assert document["duality_gap"] == document["duality_gaps"][0]
    assert document["duality_gap"]["evidence"] == "proved"


def test_a_method_without_an_energy_has_none(tmp_path: Path) -> None:
    result = solve_image(config(prior=parse_spec("tv:weight=0.01"), method="condat_vu", iterations=3), measured())
    assert result.gap is None
    result = solve_image(config(prior=parse_spec("none"), method="ista", iterations=3), measured())
    assert result.gap is not None
    assert result.gap.to_json()["value"] is None


@pytest.mark.parametrize(
    ("method", "prior", "words"),
    [
        ("oista", "tv:weight=0.1", "no coefficients of which some are zero"),
        ("oista", "wavelet:weight=0.1,shifts=4", "shifts=1"),
        ("slista", "wavelet:weight=0.1", "without learned steps"),
    ],
)
def test_what_the_methods_cannot_take_is_refused(method: str, prior: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        solve_image(config(prior=parse_spec(prior), method=method), measured())


def test_a_resolvent_without_an_energy_is_refused() -> None:
    denoiser = Resolvent(lambda x: x / 2, ResolventProperties(Assumed(1.0, "as handed over")), "a denoiser")
    with pytest.raises(UsageError, match="without an energy there is nothing that falls"):
        require_energy("ista", Prior("a denoiser", lambda stepsize: denoiser))
