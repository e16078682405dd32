"""What an entry of the catalogue says is what the method does, and other kinds of methods have room in it."""

import sys
import types
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from recon import solvers
from recon.errors import UsageError
from recon.io import Image, ValueRange, from_array
from recon.methods.catalogue import ENTRIES, with_prior, without_prior
from recon.methods.entry import MethodEntry
from recon.methods.setting import Method, MethodSetting
from recon.methods.unregularised import no_guarantee
from recon.operators import LeastSquares
from recon.priors import soft_threshold, total_variation
from recon.reconstruction.run import Result, solve_image
from recon.solvers import Algorithm, Status
from recon.specs.grammar import parse_spec
from recon.specs.solve_config import Noise, SolveConfig

UNKNOWN = no_guarantee("none", "nothing", "nothing is known")


def test_each_entry_is_complete() -> None:
    for name, entry in ENTRIES.items():
        assert entry.name == name
        assert entry.summary
        assert entry.title
        assert "_" not in entry.title
        assert not entry.summary.endswith(".")
        assert callable(entry.build)
        assert entry.copies > 0
        assert bool(entry.stepsize) or not entry.takes_prior
    assert set(with_prior()) | set(without_prior()) == set(ENTRIES)


@pytest.mark.parametrize("name", ENTRIES)
def test_a_configuration_takes_what_the_entry_takes(name: str) -> None:
    entry = ENTRIES[name]
    for key, value, able in (
        ("stepsize", 0.5, bool(entry.stepsize)),
        ("tolerance", 1e-3, not entry.closed_form),
        ("window", "hann", "window" in entry.options),
    ):
        if able:
            SolveConfig(parse_spec("identity"), method=name, **{key: value})
        else:
            with pytest.raises(UsageError, match=key):
                SolveConfig(parse_spec("identity"), method=name, **{key: value})


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A module of :mod:`recon.methods` with three methods of kinds that there are not yet."""
    module = types.ModuleType("recon.methods.toy")
    monkeypatch.setitem(sys.modules, "recon.methods.toy", module)
    for builder in (guided, learned, sampler):
        name = builder.__name__
        setattr(module, name, builder)
        entry = MethodEntry(name, f"the {name} toy", "a toy", f"toy:{name}", stepsize="any")
        monkeypatch.setitem(ENTRIES, name, entry)
    yield module


def guided(setting: MethodSetting) -> Method:
    """Two stages: a guide from the measurement, then a solve towards it."""

    def algorithm(y: Tensor) -> Algorithm:
        guide = solvers.solve(
            solvers.forward_backward(LeastSquares(setting.pair.operator, y), total_variation(0.05), 1.0), y, max_steps=5
        ).x
        return solvers.forward_backward(lambda x: x - y + 0.5 * (x - guide), soft_threshold(0.0), 0.5)

    return Method("guided", 0.5, None, None, UNKNOWN, algorithm, solves_sum=False)


def learned(setting: MethodSetting) -> Method:
    """Five steps, each with a weight of its own."""
    weights = (0.9, 0.7, 0.5, 0.3, 0.1)

    class State(NamedTuple):
        x: Tensor
        at: int

    def algorithm(y: Tensor) -> Algorithm:
        def step(state: State) -> State:
            return State(state.x - weights[state.at] * (state.x - 0.5 * y), state.at + 1)

        return Algorithm("learned", lambda x0: State(x0, 0), step, lambda state: (state.x,))

    return Method("learned", None, None, None, UNKNOWN, algorithm, steps=len(weights), solves_sum=False)


def sampler(setting: MethodSetting) -> Method:
    """The mean of forty samples, the mean of their squares beside it."""

    class State(NamedTuple):
        x: Tensor
        squares: Tensor
        count: int

    def algorithm(y: Tensor) -> Algorithm:
        generator = torch.Generator().manual_seed(0)

        def step(state: State) -> State:
            drawn, n = y + 0.1 * torch.randn(y.shape, generator=generator), state.count + 1
            return State(state.x + (drawn - state.x) / n, state.squares + (drawn**2 - state.squares) / n, n)

        return Algorithm("sampler", lambda x0: State(0 * x0, 0 * x0, 0), step, lambda state: (state.x,))

    return Method("sampler", None, None, None, UNKNOWN, algorithm, steps=40, solves_sum=False)


def result_of(name: str) -> tuple[Result, np.ndarray]:
    pixels = 0.5 + 0.3 * np.random.default_rng(0).standard_normal((16, 16))
    image: Image = from_array(pixels, value_range=ValueRange(0.0, 1.0))
    config = SolveConfig(parse_spec("identity"), parse_spec("none"), name, Noise(0.1), device="cpu")
    return solve_image(config, image), pixels


@pytest.mark.usefixtures("toy")
def test_there_is_room_for_a_guide_and_a_solve() -> None:
    result, pixels = result_of("guided")
    assert result.status is Status.CONVERGED
    assert 0.5 < np.std(result.image.pixels) / np.std(pixels) < 0.95


@pytest.mark.usefixtures("toy")
def test_there_is_room_for_a_fixed_number_of_learned_steps() -> None:
    result, _ = result_of("learned")
    assert (result.status, result.steps) == (Status.COMPLETED, 5)
    assert result.plan.tolerance == 0
    assert "5 steps, as many as it has" in result.plan.describe()


@pytest.mark.usefixtures("toy")
def test_there_is_room_for_a_sampler_that_keeps_its_moments() -> None:
    result, pixels = result_of("sampler")
    assert (result.status, result.steps) == (Status.COMPLETED, 40)
    state = result.solution.state
    deviation = (state.squares - state.x.square()).clamp(min=0).sqrt()
    assert float(deviation.mean()) == pytest.approx(0.1, rel=0.1)
    assert np.abs(result.image.pixels[0, 0] - pixels).mean() < 0.03
