"""Configurations: the command line over the file over the defaults, and back from JSON."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.errors import UsageError
from recon.operators import tomography
from recon.specs.grammar import Spec
from recon.specs.solve_config import (
    Noise,
    SolveConfig,
    config_from,
    parse_noise,
    parse_range,
    parse_shape,
    read_config,
    to_json,
)

POSITIVE = st.floats(1e-12, 1e12)
CONFIGS = st.builds(
    SolveConfig,
    operator=st.just(Spec("blur", {"gaussian": "1.6"})),
    prior=st.none() | st.just(Spec("tv", {"weight": "0.1"})),
    method=st.none() | st.sampled_from(["fista", "tseng"]),
    noise=st.none() | st.builds(Noise, st.floats(0, 1e6), st.sampled_from(["", "HU"])),
    stepsize=st.none() | POSITIVE,
    iterations=st.integers(1, 10**6),
    tolerance=st.none() | st.floats(0, 0.5),
    range=st.none() | st.just((-1024.0, 3071.0)),
    shape=st.none() | st.just((12, 9)),
    seed=st.integers(0, 2**62),
    deterministic=st.booleans(),
    device=st.sampled_from(["auto", "cpu", "cuda", "cuda:3"]),
    require_certificate=st.booleans(),
)


@given(CONFIGS)
def test_json_gives_the_same_configuration_again(config: SolveConfig) -> None:
    assert config_from(to_json(config)) == config


def test_every_window_of_the_ramp_has_its_name() -> None:
    for window in tomography.WINDOWS:
        config = SolveConfig(Spec("ct", value="scan.toml"), method="fbp", window=window)
        assert config_from(to_json(config)) == config


def test_the_command_line_goes_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('operator = "blur:psf=k.npy"\niterations = 7\nseed = 3\n[prior]\nname = "tv"\nweight = 0.5\n')
    config = read_config(file, {"seed": 9, "iterations": None})
    assert config.seed == 9
    assert config.iterations == 7
    assert config.tolerance is None
    assert config.operator.path("k.npy") == tmp_path / "k.npy"
    assert config.prior == Spec("tv", {"weight": "0.5"}, None, str(tmp_path))


def test_the_command_line_may_name_the_operator_that_the_file_leaves_out(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("seed = 3\n")
    assert read_config(file, {"operator": "identity"}).operator == Spec("identity")


@pytest.mark.parametrize(
    ("values", "fragment"),
    [
        ({}, "no operator"),
        ({"operator": "identity", "iteration": 3}, "'iteration'; did you mean 'iterations'"),
        ({"operator": "identity", "iterations": 0}, "iterations is 0"),
        ({"operator": "identity", "iterations": 1.5}, "iterations is 1.5"),
        ({"operator": "identity", "iterations": True}, "iterations is True"),
        ({"operator": "identity", "tolerance": -1}, "tolerance is -1"),
        ({"operator": "identity", "stepsize": 0}, "stepsize is 0"),
        ({"operator": "identity", "stepsize": "x"}, "stepsize is 'x'"),
        ({"operator": "identity", "method": "fist"}, "did you mean 'fista'"),
        ({"operator": "identity", "device": "gpu"}, "device is 'gpu'"),
        ({"operator": "identity", "seed": -1}, "seed is -1"),
        ({"operator": "identity", "shift": "auto"}, "without a surrogate"),
        ({"operator": "identity", "surrogate": "identity", "shift": "some"}, "shift is 'some'"),
        ({"operator": 3}, "operator is 3"),
        ({"operator": "identity", "range": [3, 1]}, "range is"),
        ({"operator": "identity", "range": [3]}, "range is"),
        ({"operator": "identity", "shape": [3, 2.5]}, "shape is"),
    ],
)
def test_what_is_not_valid_is_refused_with_the_users_own_value(values: dict[str, object], fragment: str) -> None:
    with pytest.raises(UsageError, match=fragment):
        config_from(values)


@pytest.mark.parametrize(
    ("text", "noise"), [("0.01", Noise(0.01)), ("12HU", Noise(12.0, "HU")), ("1e-3 HU", Noise(1e-3, "HU"))]
)
def test_noise_has_a_unit_or_none(text: str, noise: Noise) -> None:
    assert parse_noise(text) == noise
    assert parse_noise(str(noise)) == noise


@given(st.text(max_size=12))
def test_noise_range_and_shape_are_read_or_refused(text: str) -> None:
    for parse in (parse_noise, parse_range, parse_shape):
        try:
            parse(text)
        except UsageError as error:
            assert repr(text) in str(error)


def test_a_shape_may_state_the_channels() -> None:
    assert parse_shape("3,20,30") == parse_shape("20,30") == (20, 30)


def test_file_names_follow_the_record_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    config = config_from({"operator": "blur:psf=data/k.npy", "prior": "python:mine.py:make"})
    kept = to_json(config, tmp_path / "out")
    assert kept["operator"] == "blur:psf=../data/k.npy"
    assert kept["prior"] == "python:../mine.py:make"
    again = config_from(kept, str(tmp_path / "out"))
    assert again.operator.path(again.operator.options["psf"]).resolve() == tmp_path / "data" / "k.npy"
