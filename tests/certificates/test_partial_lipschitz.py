"""Partial Lipschitz constants: bounds against dense Jacobians and searches, and faults that must be found."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from recon import catalogue
from recon.certificates.feedforward_bounds import layered_bound
from recon.certificates.partial_lipschitz import (
    SEARCH,
    Region,
    attacked_arm,
    partial_bound,
    reconciled,
    restricted_norm,
)
from recon.errors import GuaranteeError, UsageError
from recon.evidence import Proved
from recon.operators.convolution_norms import convolution_norm
from recon.priors.networks import ConvexRidgeConfig, DnCNNConfig, LipschitzConfig, Network, load, make
from recon.priors.networks.architectures.ridge_prox import InnerSolver
from recon.priors.networks.layers.convolution import convolve
from recon.reconstruction.network_star import network_star
from recon.specs.grammar import parse_spec
from recon.specs.groups import parse_groups

QUICK = replace(SEARCH, starts=2, steps=5)


def chain(*sizes: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(after, before, generator=generator, dtype=torch.float64) / math.sqrt(before)
        for before, after in itertools.pairwise(sizes)
    ]


def quotient(layers: list[torch.Tensor], seed: int) -> float:
    """The largest norm of a derivative of the rectifier network at random points."""
    generator = torch.Generator().manual_seed(seed)
    largest = 0.0
    for _ in range(300):
        total, z = layers[0], layers[0] @ torch.randn(layers[0].shape[1], generator=generator, dtype=torch.float64)
        for layer in layers[1:]:
            total, z = layer @ ((z > 0).double()[:, None] * total), layer @ z.clamp(min=0)
        largest = max(largest, float(torch.linalg.matrix_norm(total, 2)))
    return largest


@pytest.mark.parametrize("sizes", [(6, 6, 4), (5, 12, 8, 3), (8, 8, 8, 8, 2)])
def test_the_bound_of_layers_lies_between_an_attack_and_the_product(sizes: tuple[int, ...]) -> None:
    layers = chain(*sizes)
    product = math.prod(float(torch.linalg.matrix_norm(layer, 2)) for layer in layers)
    plain, best = layered_bound(layers, iterations=0).value, layered_bound(layers).value
    assert quotient(layers, 1) <= best <= plain <= product * (1 + 1e-9)
    assert best < product


def test_the_bound_of_layers_is_reached_where_it_can_be() -> None:
    """Orthogonal layers and rectifiers that are all on, and a bound of two rectified rows known by hand."""
    rotation = torch.linalg.qr(chain(5, 5)[0]).Q
    assert layered_bound([rotation, rotation.mT]).value == pytest.approx(1, rel=1e-6)
    # s(x) - s(-x) = x has the constant 1, but with slopes that are free of each other it is 2
    pair = [torch.tensor([[1.0], [-1.0]]), torch.tensor([[1.0, -1.0]])]
    assert layered_bound(pair).value == pytest.approx(2, rel=1e-6)


def test_a_wide_range_of_scales_is_no_fault() -> None:
    layers = chain(6, 10, 10, 3)
    scaled = [layers[0] * 1e-120, layers[1] * 1e120, layers[2]]
    assert layered_bound(scaled).value == pytest.approx(layered_bound(layers).value, rel=1e-3)
    assert layered_bound([torch.zeros(3, 2), torch.ones(1, 3)]).value == 0


@pytest.mark.parametrize(
    ("layers", "said"),
    [([], "no matrix"), ([torch.ones(2, 3), torch.ones(2, 3)], "expected 2 columns"), ([torch.ones(2)], "two dim"),
     ([torch.full((2, 2), math.nan)], "NaN")],
)  # fmt: skip
def test_layers_that_make_no_chain_are_refused(layers: list[torch.Tensor], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        layered_bound(layers)


@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_the_norm_of_blocks_is_that_of_the_dense_matrix(padding: str) -> None:
    torch.manual_seed(0)
    kernel, side = torch.randn(4, 2, 3, 3, dtype=torch.float64), 8
    unit = torch.eye(2 * side**2, dtype=torch.float64).view(-1, 2, side, side)
    dense = convolve(unit, kernel, None, padding).flatten(1).mT
    places = torch.arange(2 * side**2).view(2, side, side)
    bound = restricted_norm(kernel, Region(None, (3, 2)), side, padding).value
    norms = [
        float(torch.linalg.matrix_norm(dense[:, places[:, top : top + 3, left : left + 2].flatten()], 2))
        for top in range(side - 2) for left in range(side - 1)
    ]  # fmt: skip
    assert max(norms) == pytest.approx(bound, rel=1e-9)
    assert bound < convolution_norm(kernel).value
    channel = restricted_norm(kernel, Region((1,)), side, padding).value
    assert (
        float(torch.linalg.matrix_norm(dense[:, places[1].flatten()], 2)) <= channel <= convolution_norm(kernel).value
    )


def networks() -> dict[str, Network]:
    torch.manual_seed(1)
    known = {
        "sll": make(LipschitzConfig(channels=3, features=6, depth=2)),
        "abba": make(LipschitzConfig(features=6, depth=2, layers="abba", activation="relu")),
        "told": make(LipschitzConfig(features=6, depth=2, conditioned=True, noise_range=(0.01, 0.1))),
        "plain": make(DnCNNConfig(channels=3, features=4, depth=3)),
        "small": make(DnCNNConfig(features=2, depth=3)),
        "potential": make(ConvexRidgeConfig(widths=(2, 4), size=3, noise_range=(0.1, 0.1))),
        "details": make(DnCNNConfig(channels=3, features=4, depth=3, coarse=2.0, divisor=1.5, clip=0.5)),
    }
    for network in known.values():
        if "DnCNN" in type(network).__name__:
            with torch.no_grad():
                network.kernels[-1].mul_(300)  # away from the identity that training begins with
    return known


NETWORKS = networks()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("share", [1.0, 0.4])
def test_a_bound_is_above_the_dense_jacobian_and_the_search(name: str, share: float) -> None:
    network, side = NETWORKS[name], 8
    level = 0.05 if network.conditioned else None
    channels = network.config.channels
    twin = network.frozen()
    x = torch.rand(1, channels, side, side, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda u: u + share * (twin(u, level) - u), x)
    dense = jacobian.reshape(x.numel(), x.numel())
    regions = [(Region(None, (4, 4)), (slice(None), slice(0, 4), slice(4, 8)))]
    if channels > 1:
        regions += [(Region((k,)), (slice(k, k + 1), slice(None), slice(None))) for k in range(channels)]
    for region, place in regions:
        mask = torch.zeros(1, channels, side, side)
        mask[(0, *place)] = 1
        bound = partial_bound(network, region, side, level, share)
        local = float(torch.linalg.matrix_norm(dense[:, mask.flatten().bool()], 2))
        found = attacked_arm(network, mask, level, {"ours": x}, share, QUICK)
        assert local <= bound.value * (1 + 1e-9)
        assert found.quotient.value >= 0.98 * local
        assert reconciled(bound, found).attacked.value <= bound.value
        changed = (found.y - found.x).abs()
        assert float((changed * (1 - mask)).max()) == 0


def test_the_arm_of_a_potential_is_that_of_its_derivative_in_double_precision() -> None:
    """The search is rough, and what it returns is not: the arm at its image, within the error that it states."""
    network, side = NETWORKS["potential"], 8
    mask = torch.zeros(1, 1, side, side)
    mask[..., 2:6, 3:7] = 1
    found = attacked_arm(network, mask, search=QUICK)
    twin = network.frozen()
    twin.solver = InnerSolver(accuracy=1e-10, adjoint_accuracy=1e-10, max_steps=5000)
    dense = torch.autograd.functional.jacobian(twin, found.x).reshape(side**2, side**2)
    exact = float(torch.linalg.matrix_norm(dense[:, mask.flatten().bool()], 2))
    assert 0.98 * exact <= found.quotient.value <= exact + found.quotient.error
    assert found.quotient.error < 1e-4


def test_a_group_that_begins_where_another_ended_finds_as_much_as_one_that_does_not(monkeypatch) -> None:
    seen = []

    def attacked(network, mask, *rest):
        seen.append((mask, rest[1].keys(), rest[3].starts))
        return attacked_arm(network, mask, *rest)

    monkeypatch.setattr("recon.reconstruction.network_star.attacked_arm", attacked)
    star = network_star(parse_spec("model:proved-gray"), parse_groups("blocks:8x16"), side=16, quick=True)
    assert [starts for _, _, starts in seen] == [1, 0]
    (name,) = seen[1][1]
    assert "moved" in name
    alone = attacked_arm(load(catalogue.folders()["proved-gray"]), seen[1][0], 0.044, search=QUICK).quotient.value
    assert star.arms[1].attacked.value >= 0.97 * alone


def test_matrix_inequalities_sharpen_a_small_network() -> None:
    network = NETWORKS["small"]
    assert "matrix inequalities" in partial_bound(network, Region(None, (4, 4)), 8).how
    large = partial_bound(network, Region(None, (4, 4)), 64)
    assert partial_bound(network, Region(None, (4, 4)), 8).value < large.value


def test_a_bound_of_very_many_layers_is_none() -> None:
    torch.manual_seed(0)
    network = make(DnCNNConfig(features=8, depth=14))
    with torch.no_grad():
        for kernel in network.kernels:
            kernel.mul_(20)
    bound = partial_bound(network, Region((0,)), 32)
    assert math.isinf(bound.value)
    assert "says nothing" in bound.how


def test_a_bound_that_is_too_small_is_found_out() -> None:
    network = NETWORKS["sll"]
    mask = torch.zeros(1, 3, 8, 8)
    mask[..., :4, :4] = 1
    found = attacked_arm(network, mask, search=QUICK)
    with pytest.raises(GuaranteeError, match="the proof or the code is wrong"):
        reconciled(Proved(0.9 * found.quotient.value, "planted"), found)
