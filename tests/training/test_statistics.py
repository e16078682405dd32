"""What a training says of itself: tail index, effective rate, and layers that normalise by a batch."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from training_cases import FREE, RIDGE, patches, recipe, write_scenes

from recon.errors import UsageError
from recon.priors.networks import GuidedRidgeConfig, LipschitzConfig
from recon.priors.networks.batch_statistics import normalising_by_batch, refuse_batch_statistics
from recon.specs.configured_prior import PriorContext
from recon.specs.grammar import parse_spec
from recon.specs.priors import read_prior
from recon.training import Images, Trainer, prepare, train
from recon.training.statistics import effective_rate, gradient_tail_index, pooled, scale_invariant, tail_index

COUNT = 10_000


def stable(alpha: float, draw: np.random.Generator) -> torch.Tensor:
    """Symmetric stable numbers by the formula of Chambers, Mallows and Stuck (1976)."""
    angle, wait = draw.uniform(-math.pi / 2, math.pi / 2, COUNT), draw.exponential(1.0, COUNT)
    found = np.sin(alpha * angle) / np.cos(angle) ** (1 / alpha)
    return torch.from_numpy(found * (np.cos((1 - alpha) * angle) / wait) ** ((1 - alpha) / alpha))


def mean_and_deviation(make, runs: int = 40) -> tuple[float, float]:
    found = [tail_index(make(np.random.default_rng(seed))) for seed in range(runs)]
    return float(np.mean(found)), float(np.std(found))


@pytest.mark.parametrize(("alpha", "expected"), [(1.2, 1.19), (1.5, 1.53), (1.8, 1.75), (2.0, 2.0)])
def test_the_tail_index_of_stable_laws(alpha, expected) -> None:
    mean, deviation = mean_and_deviation(lambda draw: stable(alpha, draw))
    assert mean == pytest.approx(expected, abs=0.08)
    assert deviation < 0.15


def test_its_bias_for_a_law_of_finite_variance_is_the_one_that_is_documented() -> None:
    mean, _ = mean_and_deviation(lambda draw: torch.from_numpy(draw.standard_t(3, COUNT)))
    assert mean == pytest.approx(1.8, abs=0.08)


def test_numbers_are_centred() -> None:
    """Planted fault: without it normal numbers about 3 would read 1.05."""
    mean, _ = mean_and_deviation(lambda draw: torch.from_numpy(3 + draw.standard_normal(COUNT)))
    assert mean == pytest.approx(2.0, abs=0.1)


def test_what_tells_no_index_has_none() -> None:
    assert math.isnan(tail_index(torch.zeros(1000)))
    assert math.isnan(tail_index(torch.full((1000,), 3.0)))
    assert math.isnan(tail_index(torch.zeros(0)))
    assert math.isnan(tail_index(torch.tensor([1.0, -1.0, 2.0])))


def test_layers_of_other_scales_are_no_heavy_tail() -> None:
    draw = torch.Generator().manual_seed(0)
    noise = [scale * torch.randn(3000, generator=draw) for scale in (1e-4, 1e-2, 1.0, 1e2)]
    assert tail_index(pooled(noise, draw)) == pytest.approx(2.0, abs=0.25)
    mixed = torch.cat(noise)[torch.randperm(12000, generator=draw)]
    assert tail_index(mixed) < tail_index(pooled(noise, draw))
    assert len(pooled([torch.ones(5)], draw)) == 0


def test_coordinates_that_move_together_are_not_summed_together() -> None:
    draw = torch.Generator().manual_seed(0)
    together = torch.randn(100, 1, generator=draw).expand(100, 100).flatten()
    assert tail_index(together) < 1.1
    assert tail_index(pooled([together], draw)) > 1.7


class Normalised(nn.Module):
    """Of two convolutions the first is normalised afterwards."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 1, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.norm(self.first(x))))


def test_weights_that_are_normalised_afterwards_have_no_scale() -> None:
    network, x = Normalised(), torch.rand(2, 1, 12, 12)
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert scale_invariant(network, lambda each: each(x)) == ["first.weight"]
    assert all(torch.equal(kept[name], tensor) for name, tensor in network.state_dict().items())
    norm = float(network.first.weight.detach().norm())
    assert effective_rate(network, ["first.weight"], 0.1) == pytest.approx(0.1 / norm**2)
    assert math.isnan(effective_rate(network, [], 0.1))
    with torch.no_grad():
        network.last.weight.zero_()
    assert scale_invariant(network, lambda each: each(x)) == []  # what reaches no output says nothing


def test_the_direction_of_such_weights_moves_at_the_effective_rate() -> None:
    """The law behind the column: gradient descent turns w / ||w|| alike for (w, r) and (3 w, 9 r)."""
    x, y = torch.rand(2, 1, 12, 12), torch.rand(2, 1, 8, 8)

    def turned(factor: float, rate: float) -> torch.Tensor:
        network = Normalised()
        with torch.no_grad():
            network.first.weight.mul_(factor)
            network.first.bias.mul_(factor)
            network.norm.eps = 1e-12
        loss = (network(x) - y).square().mean()
        (gradient,) = torch.autograd.grad(loss, network.first.weight)
        moved = network.first.weight.detach() - rate * gradient
        return moved / moved.norm()

    assert torch.allclose(turned(1.0, 0.1), turned(3.0, 0.9), atol=1e-4)
    assert not torch.allclose(turned(1.0, 0.1), turned(3.0, 0.1), atol=1e-4)


@pytest.mark.parametrize(
    "config",
    [FREE, RIDGE, LipschitzConfig(features=8, depth=3), LipschitzConfig(features=4, depth=2, layers="orthogonal")],
    ids=["free", "ridge", "sll", "orthogonal"],
)
def test_a_look_at_the_gradient_changes_nothing(config) -> None:
    trainer, other = (Trainer(recipe(config), patches()) for _ in range(2))
    gradient_tail_index(trainer, torch.Generator().manual_seed(0))
    trainer.invariant_weights()
    for each in (trainer, other):
        each.advance()
    assert all(torch.equal(a, b) for a, b in zip(trainer.state().values(), other.state().values(), strict=True))


def test_the_log_and_a_figure_have_them(tmp_path: Path) -> None:

    given = recipe(replace(FREE, features=12, depth=4))
    images = Images(
        sorted(write_scenes(tmp_path / "a", 3).iterdir()), sorted(write_scenes(tmp_path / "b", 1, 50).iterdir())
    )
    train(prepare(tmp_path / "run", given, False), images, tmp_path / "run", torch.device("cpu"))
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").read_text().splitlines()))
    known = [float(row["tail_index"]) for row in rows if row["tail_index"]]
    assert [row["step"] for row in rows if row["tail_index"]] == ["8", "12"]
    assert all(1 < value < 3 for value in known)
    assert (tmp_path / "run" / "statistics.png").stat().st_size > 1000


def test_a_guided_network_and_a_single_patch_tell_what_they_can() -> None:
    guided = GuidedRidgeConfig(widths=(2, 4), size=3, pieces=5, noise_range=(0.05, 0.1), levels=2, mask_width=4)
    trainer = Trainer(recipe(guided, batch=2), patches())
    gradient_tail_index(trainer, torch.Generator())
    assert isinstance(trainer.invariant_weights(), list)
    assert math.isnan(gradient_tail_index(Trainer(recipe(batch=1), patches()), torch.Generator()))


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_a_layer_that_normalises_by_the_batch_is_refused_by_name(kind) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), kind(4))
    with pytest.raises(UsageError, match=rf"mine: 1 \({kind.__name__}\) normalises by the statistics of a batch"):
        refuse_batch_statistics(network, "mine")
    refuse_batch_statistics(network.eval(), "mine")
    without = nn.Sequential(nn.Conv2d(1, 4, 3), kind(4, track_running_stats=False)).eval()
    assert normalising_by_batch(without) == [f"1 ({kind.__name__})"]
    assert normalising_by_batch(nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4))) == []


@pytest.mark.parametrize("wrap", ["net()", "Resolvent(net(), ResolventProperties(Assumed(1.0, 'x'), None), 'x')"])
def test_a_prior_in_training_mode_is_refused(tmp_path, wrap) -> None:
    code = f"""
from torch import nn
from recon.evidence import Assumed
from recon.priors import Resolvent, ResolventProperties
def net():
    return nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1))
def make():
    return {wrap}
def ready():
    return net().eval()
"""
    (tmp_path / "mine.py").write_text(code)
    context = PriorContext(0.1, channels=1, blurs=False)
    with pytest.raises(UsageError, match=r"1 \(BatchNorm2d\) normalises by the statistics of a batch"):
        read_prior(parse_spec(f"python:{tmp_path / 'mine.py'}:make"), context)
    assert read_prior(parse_spec(f"python:{tmp_path / 'mine.py'}:ready"), context)
