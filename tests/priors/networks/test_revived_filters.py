"""Filters that training has lost are drawn anew; the others stay as they are."""

from dataclasses import replace

import pytest
import torch

from recon.priors.networks import ConvexRidge, ConvexRidgeConfig, InnerSolver

CONFIG = ConvexRidgeConfig(widths=(3, 8), size=3, noise_range=(0.05, 0.2), levels=2)


def with_lost_filters(config: ConvexRidgeConfig, lost: list[int]) -> ConvexRidge:
    torch.manual_seed(0)
    network = ConvexRidge(config, InnerSolver(accuracy=1e-6)).double()
    with torch.no_grad():
        network.filters.kernels[-1][lost] *= 1e-5
    return network


@pytest.mark.parametrize(("group", "lost", "expected"), [(1, [2, 5], [2, 5]), (2, [2, 3], [1]), (2, [2], [])])
def test_only_what_is_lost_is_drawn_anew(generator, group, lost, expected) -> None:
    network = with_lost_filters(replace(CONFIG, group=group), lost)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = network.revive(generator)
    assert found.nonzero().flatten().tolist() == expected
    rows = found.repeat_interleave(group)
    for name, tensor in network.state_dict().items():
        changed, along = before[name] != tensor, {8: rows, 8 // group: found}
        if name == "log_scale":
            assert not changed[:, ~found].any()
        elif name.endswith("kernels.1") or name.startswith("profile"):
            assert not changed[~along[len(tensor)]].any()
        else:
            assert not changed.any()


def test_a_new_filter_has_a_gradient_where_a_lost_one_has_none(generator) -> None:
    network = with_lost_filters(CONFIG, [2]).train()
    x, level = torch.rand(1, 1, 12, 12, generator=generator).double(), torch.tensor([0.1])

    def pull() -> float:
        network.zero_grad()
        (network(x, level) - x).square().sum().backward()
        size = network.filters.kernels[-1].grad.flatten(1).norm(dim=1)
        return float(size[2] / size.median())

    assert pull() < 1e-2
    network.revive(generator)
    assert pull() > 0.05


def test_new_filters_do_not_disturb_the_denoiser_much(generator) -> None:
    network = with_lost_filters(CONFIG, [2, 5])
    x = torch.rand(1, 1, 24, 24, generator=generator).double()
    before = network(x, 0.1)
    network.revive(generator)
    assert (network(x, 0.1) - before).norm() < 0.5 * (before - x).norm()


def test_nothing_is_drawn_where_nothing_is_lost(generator) -> None:
    network = with_lost_filters(CONFIG, [])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert not network.revive(generator).any()
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
