"""Bounds of networks against brute force."""

import itertools

import pytest
import torch
from rounding import ROOM, at_most
from torch import Tensor, nn

from recon.certificates.ascent import Search
from recon.certificates.lipschitz_bounds import (
    abba_bound,
    combettes_pesquet_bound,
    convolution_norm,
    fold_batch_norm,
    network_bounds,
    product_bound,
    skip_bound,
)
from recon.certificates.lipschitz_search import hardest_of_network
from recon.errors import UsageError
from recon.evidence import Evidence, Measured, Proved
from recon.operators.spectral import Effort
from recon.priors.networks import DnCNN, DnCNNConfig


def matrices(*widths: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(after, before, generator=generator, dtype=torch.float64)
        for before, after in itertools.pairwise(widths)
    ]


def as_kernels(layers: list[Tensor]) -> list[Tensor]:
    return [layer[..., None, None] for layer in layers]


def brute_force(layers: list[Tensor], low: float) -> float:
    """The largest norm over all slopes of piecewise linear activations, which are in {low, 1}."""
    worst = 0.0
    hidden = [layer.shape[0] for layer in layers[:-1]]
    for pattern in itertools.product((low, 1.0), repeat=sum(hidden)):
        product, used = layers[0], 0
        for layer, width in zip(layers[1:], hidden, strict=True):
            product = layer @ (torch.tensor(pattern[used : used + width], dtype=torch.float64)[:, None] * product)
            used += width
        worst = max(worst, float(torch.linalg.matrix_norm(product, 2)))
    return worst


@pytest.mark.parametrize("low", [-1.0, -0.3, 0.0, 0.2, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_the_truth_is_below_combettes_pesquet_is_below_the_product(low: float, seed: int) -> None:
    layers = matrices(3, 4, 3, 2, seed=seed)
    truth = brute_force(layers, low)
    bound = combettes_pesquet_bound(as_kernels(layers), (low, 1.0), "circular").value
    product = product_bound(*(convolution_norm(kernel) for kernel in as_kernels(layers))).value
    assert at_most(truth, bound)
    assert bound <= product * (1 + 1e-9)


def test_the_bound_is_exact_for_linear_and_the_product_for_odd_activations() -> None:
    layers = matrices(3, 4, 3, 2, seed=7)
    kernels = as_kernels(layers)
    linear = float(torch.linalg.matrix_norm(layers[2] @ layers[1] @ layers[0], 2))
    assert combettes_pesquet_bound(kernels, (1.0, 1.0), "circular").value == pytest.approx(linear, rel=1e-6)
    product = product_bound(*(convolution_norm(kernel) for kernel in kernels)).value
    assert combettes_pesquet_bound(kernels, (-1.0, 1.0)).value == pytest.approx(product, rel=1e-6)


def test_a_too_small_averagedness_would_be_caught() -> None:
    """With the constant of slopes in [1, 1] the bound of a rectifier network is below the truth."""
    layers = [torch.tensor([[1.0], [1.0]]).double(), torch.tensor([[1.0, -1.0]]).double()]
    assert brute_force(layers, 0.0) > 0.9
    assert combettes_pesquet_bound(as_kernels(layers), (1.0, 1.0), "circular").value < 0.1
    assert combettes_pesquet_bound(as_kernels(layers), (0.0, 1.0), "circular").value >= 1.0 - ROOM[torch.float64]


@pytest.mark.parametrize("seed", range(4))
def test_the_closed_form_of_abba_layers_is_exact_and_the_product_is_not(seed: int) -> None:
    pairs = [
        tuple(part.abs() for part in halves)
        for halves in zip(matrices(2, 4, 3, seed=seed), matrices(2, 4, 3, seed=seed + 50), strict=True)
    ]
    dense = [torch.cat([torch.cat([a, b], 1), torch.cat([b, a], 1)]) for a, b in pairs]
    kernels = [tuple(as_kernels(list(pair))) for pair in pairs]
    bound = abba_bound(kernels).value
    assert bound == pytest.approx(float(torch.linalg.matrix_norm(dense[1] @ dense[0], 2)), rel=1e-8)
    assert bound < product_bound(*(convolution_norm(kernel) for kernel in as_kernels(dense))).value
    forgotten = abba_bound([(a, 0 * b) for a, b in kernels]).value  # what would be too small
    assert forgotten < bound * (1 - 1e-3)
    with pytest.raises(UsageError, match="expected none below 0"):
        abba_bound([(a, -b) for a, b in kernels])
    with pytest.raises(UsageError, match="expected the same"):
        abba_bound([(kernels[0][0], kernels[1][1])])


def test_zero_padding_counts_the_truncation_between_layers() -> None:
    """Two shifts, there and back: composed they are the identity, truncated in between they are not."""
    right = torch.zeros(1, 1, 1, 3, dtype=torch.float64)
    right[..., 0] = 1
    left = right.flip(3)
    difference = [torch.cat([right, left]), torch.cat([left, -right], 1)]  # zero on the plane, not on an image
    assert convolution_norm(*difference).value < 1e-6
    unit = torch.eye(4, dtype=torch.float64).reshape(4, 1, 1, 4)
    z = nn.functional.conv2d(unit, difference[0], padding=(0, 1))
    matrix = nn.functional.conv2d(z, difference[1], padding=(0, 1)).flatten(1).T
    truth = float(torch.linalg.matrix_norm(matrix, 2))
    assert truth == pytest.approx(1)
    assert at_most(truth, combettes_pesquet_bound(difference, (1.0, 1.0), "zero").value)


def test_bounds_inherit_the_evidence_of_their_parts() -> None:
    proved, measured = Proved(2.0, "a"), Measured(3.0, "b")
    assert product_bound(proved, measured).evidence is Evidence.MEASURED
    assert product_bound(proved, proved).value == pytest.approx(4)
    assert skip_bound(1, -2, proved).value == pytest.approx(5)
    assert skip_bound(1, -2, proved).evidence is Evidence.PROVED


def test_every_bound_of_a_network_holds_against_a_search() -> None:
    torch.manual_seed(3)
    network = DnCNN(DnCNNConfig(features=3, depth=3))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    search = Search(lanczos=Effort(applications=40), rounds=1, steps=5)
    found = hardest_of_network(network, side=10, search=search).quotient.value
    bounds = network_bounds(network)
    assert found > 1
    for bound in bounds.values():
        assert bound.evidence is Evidence.PROVED
        assert at_most(found, bound.value)


def test_batch_normalisation_is_folded_in_evaluation_mode_only() -> None:
    convolution, norm = nn.Conv2d(2, 3, 3, padding=1).double(), nn.BatchNorm2d(3).double()
    with torch.no_grad():
        for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
            tensor.copy_(torch.rand(3) + 0.5)
    with pytest.raises(UsageError, match="expected evaluation mode"):
        fold_batch_norm(convolution.weight, convolution.bias, norm)
    kernel, bias = fold_batch_norm(convolution.weight, convolution.bias, norm.eval())
    x = torch.randn(2, 2, 5, 6, dtype=torch.float64)
    assert torch.allclose(nn.functional.conv2d(x, kernel, bias, padding=1), norm(convolution(x)))
    with pytest.raises(UsageError, match="3 channels after a kernel that gives 2"):
        fold_batch_norm(kernel[:2], None, norm)


def test_what_is_no_nonexpansive_network_is_refused() -> None:
    kernels = as_kernels(matrices(2, 2, seed=0))
    with pytest.raises(UsageError, match=r"slopes=\(0.0, 1.1\)"):
        combettes_pesquet_bound(kernels, (0.0, 1.1))
    with pytest.raises(UsageError, match="padding='reflect'"):
        combettes_pesquet_bound(kernels, padding="reflect")
    with pytest.raises(UsageError, match="no kernel"):
        combettes_pesquet_bound([])
