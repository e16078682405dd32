"""The layers of the networks that are nonexpansive by construction."""

import pytest
import torch
from rounding import at_most
from torch import Tensor

from recon.priors.networks.layers.nonexpansive import (
    MARGIN,
    AbbaLayer,
    Layer,
    MaxMin,
    OrthogonalLayer,
    RescaledLayer,
    ResidualLayer,
    Scaled,
    pointwise,
)


def jacobian(layer: Layer, x: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(layer, x).reshape(-1, x.numel())


def wild(layer: Layer) -> Layer:
    torch.manual_seed(1)
    layer = layer.double().requires_grad_(False)
    for parameter in layer.parameters():
        parameter.add_(torch.randn_like(parameter))
    return layer


def test_an_orthogonal_layer_is_an_isometry_that_moves_channels_all_four_ways() -> None:
    layer, x = wild(OrthogonalLayer(5, "circular", "identity")), torch.zeros(1, 5, 3, 3).double()
    matrix = jacobian(layer, x) / (1 - MARGIN)
    assert torch.allclose(matrix.T @ matrix, torch.eye(45).double(), atol=1e-12)
    from_pixels = matrix.reshape(5, 9, 5, 9)[:, 4].square().sum(0)  # which input pixels the middle one looks at
    assert sorted(from_pixels.argmax(1).tolist()) == [1, 3, 4, 5, 7]
    zero = jacobian(wild(OrthogonalLayer(5, "zero", "identity")), x)
    assert at_most(float(torch.linalg.matrix_norm(zero, 2)), 1.0)
    assert int((torch.linalg.svdvals(zero) < 1e-12).sum()) == 12  # what four borders of three pixels lose


@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_the_bound_of_a_layer_holds_and_is_not_vacuous(padding: str) -> None:
    layers = [
        Scaled(2, 4, padding),
        ResidualLayer(4, 6, padding, "relu"),
        RescaledLayer(4, padding, "identity"),
        OrthogonalLayer(5, padding, "identity"),
        AbbaLayer(4, padding, "identity"),
    ]
    for layer in map(wild, layers):
        channels = {Scaled: 2, OrthogonalLayer: 5}.get(type(layer), 4)
        x = torch.randn(1, channels, 6, 6).double()
        norm = float(torch.linalg.matrix_norm(jacobian(layer, x), 2))
        assert norm <= layer.bound() + 1e-12
        assert layer.bound() <= 1
        assert layer.bound() > 0.999


def test_the_closed_form_of_an_abba_layer_is_reached_on_a_dense_layer() -> None:
    layer = wild(AbbaLayer(6, "circular", "identity"))
    norm = float(torch.linalg.matrix_norm(jacobian(layer, torch.zeros(1, 6, 3, 3).double()), 2))
    assert layer.bound() == pytest.approx(norm, rel=1e-9)


def test_a_layer_whose_normalisation_is_wrong_says_so() -> None:
    """The bound is of what is applied, whatever the construction meant."""
    for layer in (
        wild(Scaled(2, 4, "zero")),
        wild(RescaledLayer(4, "zero", "identity")),
        wild(AbbaLayer(4, "zero", "relu")),
    ):
        layer.freeze()
        layer.frozen_0.mul_(1.1)
        assert layer.bound() == pytest.approx(1.1, abs=1e-3)
    residual = wild(ResidualLayer(4, 6, "zero", "relu"))
    residual.freeze()
    residual.frozen_1.mul_(1.5)  # T two thirds of what it must be
    assert residual.bound() == pytest.approx(2.0, abs=1e-3)  # sqrt(1 + 4 r (r - 1)) with r = 3/2
    orthogonal = wild(OrthogonalLayer(5, "zero", "identity"))
    orthogonal.freeze()
    orthogonal.frozen_0[0].mul_(1.2)
    assert orthogonal.bound() == pytest.approx(1.2, abs=1e-3)


def test_maxmin_sorts_pairs() -> None:
    x, y = torch.randn(2, 1, 4, 3, 3)
    sort = MaxMin()
    assert at_most(float((sort(x) - sort(y)).norm()), float((x - y).norm()), x.dtype)
    assert torch.equal(sort(x).sort(1).values, x.sort(1).values)
    assert torch.equal(pointwise("abs", 4, monotone=False)(x), x.abs())
