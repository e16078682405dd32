"""The layers of the networks that are nonexpansive by construction."""

import math

import pytest
import torch
from rounding import at_most
from torch import Tensor

from recon.errors import UsageError
from recon.operators.convolution_norms import convolution_norm
from recon.operators.orthogonal_convolution import orthogonality_residual
from recon.priors.networks.layers.convolution import convolve, convolve_adjoint
from recon.priors.networks.layers.nonexpansive import (
    MARGIN,
    AbbaLayer,
    Layer,
    MaxMin,
    OrthogonalConvolution,
    OrthogonalLayer,
    Pointwise,
    RescaledLayer,
    ResidualLayer,
    Scaled,
    activation_module,
)

IDENTITY, RELU = Pointwise("identity"), Pointwise("relu")


def jacobian(layer: Layer, x: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(layer, x).reshape(-1, x.numel())


def wild(layer: Layer) -> Layer:
    torch.manual_seed(1)
    layer = layer.double().requires_grad_(False)
    for parameter in layer.parameters():
        parameter.add_(torch.randn_like(parameter))
    return layer


def test_an_orthogonal_layer_is_an_isometry_that_moves_channels_all_four_ways() -> None:
    layer, x = wild(OrthogonalLayer(5, "circular", IDENTITY)), torch.zeros(1, 5, 3, 3).double()
    matrix = jacobian(layer, x) / (1 - MARGIN)
    assert torch.allclose(matrix.T @ matrix, torch.eye(45).double(), atol=1e-12)
    from_pixels = matrix.reshape(5, 9, 5, 9)[:, 4].square().sum(0)  # which input pixels the middle one looks at
    assert sorted(from_pixels.argmax(1).tolist()) == [1, 3, 4, 5, 7]
    zero = jacobian(wild(OrthogonalLayer(5, "zero", IDENTITY)), x)
    assert at_most(float(torch.linalg.matrix_norm(zero, 2)), 1.0)
    assert int((torch.linalg.svdvals(zero) < 1e-12).sum()) == 12  # what four borders of three pixels lose


@pytest.mark.parametrize(("features", "size"), [(1, 3), (2, 3), (4, 5), (5, 5), (3, 7)])
def test_an_orthogonal_convolution_is_unitary_in_double_precision(features: int, size: int) -> None:
    layer = wild(OrthogonalConvolution(features, "circular", IDENTITY, size))
    (kernel,) = layer.derived()
    assert kernel.shape == (features, features, size, size)
    assert float(orthogonality_residual(kernel / (1 - MARGIN))) < 1e-24
    for side in (2, size + 2):  # the smaller is one that the kernel is wrapped around
        matrix = jacobian(layer, torch.zeros(1, features, side, side + 1).double()) / (1 - MARGIN)
        unit = torch.eye(len(matrix)).double()
        assert torch.allclose(matrix @ matrix.T, unit, atol=1e-12)
        assert torch.allclose(matrix.T @ matrix, unit, atol=1e-12)


def test_the_kernel_of_an_orthogonal_convolution_fills_its_square_and_starts_near_the_identity() -> None:
    assert int((wild(OrthogonalConvolution(4, "zero", IDENTITY, 5)).derived()[0].abs().sum((0, 1)) > 1e-3).sum()) == 25
    torch.manual_seed(0)
    kernel = OrthogonalConvolution(8, "zero", IDENTITY, 5).derived()[0].detach()
    kernel[:, :, 2, 2] -= torch.eye(8)
    assert float(kernel.norm()) < 0.2  # of 2.8


def test_an_orthogonal_convolution_with_zeros_around_loses_what_leaves_the_image() -> None:
    matrix = jacobian(wild(OrthogonalConvolution(4, "zero", IDENTITY, 3)), torch.zeros(1, 4, 5, 5).double())
    values = torch.linalg.svdvals(matrix)
    assert at_most(float(values[0]), 1.0)
    assert float(values[-1]) < 0.9


def test_every_generator_of_an_orthogonal_convolution_is_trained_by_its_gradient() -> None:
    torch.manual_seed(3)
    layer = OrthogonalConvolution(3, "circular", IDENTITY, 3).double()
    x, target = torch.randn(2, 1, 3, 6, 6).double()
    names = [name for name, _ in layer.named_parameters()]

    def loss(*parameters: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)
        return (found - target).square().sum()

    assert torch.autograd.gradcheck(loss, tuple(layer.parameters()))
    loss(*layer.parameters()).backward()
    assert all(float(each.norm()) > 1e-3 for each in layer.generators.grad)


@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_the_bound_of_a_layer_holds_and_is_not_vacuous(padding: str) -> None:
    layers = [
        Scaled(2, 4, padding),
        ResidualLayer(4, 6, padding, RELU),
        RescaledLayer(4, padding, IDENTITY),
        OrthogonalLayer(5, padding, IDENTITY),
        OrthogonalConvolution(4, padding, IDENTITY, 5),
        AbbaLayer(4, padding, IDENTITY),
    ]
    for layer in map(wild, layers):
        channels = {Scaled: 2, OrthogonalLayer: 5}.get(type(layer), 4)
        x = torch.randn(1, channels, 6, 6).double()
        norm = float(torch.linalg.matrix_norm(jacobian(layer, x), 2))
        assert norm <= layer.bound() + 1e-12
        assert layer.bound() <= 1
        assert layer.bound() > 0.999


@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_the_kernel_that_is_applied_is_that_of_the_jacobian(padding: str) -> None:
    for made in (
        Scaled(4, 3, padding),
        RescaledLayer(4, padding, IDENTITY),
        OrthogonalConvolution(4, padding, IDENTITY, 5),
        AbbaLayer(4, padding, IDENTITY),
        ResidualLayer(4, 6, padding, IDENTITY),
    ):
        layer = wild(made)
        if not isinstance(layer, Scaled):
            layer.bias.zero_()
        x = torch.randn(1, 4, 5, 6).double()
        through = convolve(x, layer.applied_kernel(), None, padding)
        if isinstance(layer, ResidualLayer):  # a reflection, x - 2 W^T W x
            through = x - 2 * convolve_adjoint(through, layer.applied_kernel(), padding)
        assert torch.allclose(layer(x), through, atol=1e-12)
    mixing = wild(OrthogonalLayer(5, padding, IDENTITY))
    assert float(orthogonality_residual(mixing.applied_kernel() / (1 - MARGIN))) < 1e-24


def test_the_closed_form_of_an_abba_layer_is_reached_on_a_dense_layer() -> None:
    layer = wild(AbbaLayer(6, "circular", IDENTITY))
    norm = float(torch.linalg.matrix_norm(jacobian(layer, torch.zeros(1, 6, 3, 3).double()), 2))
    assert layer.bound() == pytest.approx(norm, rel=1e-9)


def test_a_layer_whose_normalisation_is_wrong_says_so() -> None:
    """The bound is of what is applied, whatever the construction meant."""
    for layer in (
        wild(Scaled(2, 4, "zero")),
        wild(RescaledLayer(4, "zero", IDENTITY)),
        wild(AbbaLayer(4, "zero", RELU)),
    ):
        layer.freeze()
        layer.frozen_0.mul_(1.1)
        assert layer.bound() == pytest.approx(1.1, abs=1e-3)
    residual = wild(ResidualLayer(4, 6, "zero", RELU))
    residual.freeze()
    residual.frozen_1.mul_(1.5)  # T two thirds of what it must be
    assert residual.bound() == pytest.approx(2.0, abs=1e-3)  # sqrt(1 + 4 r (r - 1)) with r = 3/2
    orthogonal = wild(OrthogonalLayer(5, "zero", IDENTITY))
    orthogonal.freeze()
    orthogonal.frozen_0[0].mul_(1.2)
    assert orthogonal.bound() == pytest.approx(1.2, abs=1e-3)
    convolution = wild(OrthogonalConvolution(4, "zero", IDENTITY, 3))
    convolution.freeze()
    convolution.frozen_0[0].mul_(1.2)
    assert convolution.bound() >= float(convolution_norm(convolution.frozen_0, grid=256).value) / 1.001 > 1.19


def test_a_residual_layer_with_an_activation_of_vectors_needs_one_gain_for_each() -> None:
    torch.manual_seed(0)
    layer = wild(ResidualLayer(4, 6, "zero", activation_module("squash", 6, monotone=True, group=3)))
    gains = layer.derived()[1].reshape(2, 3)
    assert torch.equal(gains, gains[:, :1].expand(-1, 3))
    assert layer.bound() <= 1
    layer.freeze()
    layer.frozen_1[0] *= 0.5  # a smaller one, which is sound for numbers, and of vectors is not proved
    assert layer.bound() == math.inf


def test_vectors_are_of_successive_channels_of_a_pixel() -> None:
    x = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(0))
    found = activation_module("softmax", 6, monotone=True, group=3)(x)
    assert torch.allclose(found[1, 3:, 2, 1], torch.softmax(x[1, 3:, 2, 1], 0) - 1 / 3)
    with pytest.raises(UsageError, match="softmax: groups of 4 of 6 channels; expected at least 2, and a divisor of 6"):
        activation_module("softmax", 6, monotone=True, group=4)


def test_maxmin_sorts_pairs() -> None:
    x, y = torch.randn(2, 1, 4, 3, 3)
    sort = MaxMin()
    assert at_most(float((sort(x) - sort(y)).norm()), float((x - y).norm()), x.dtype)
    assert torch.equal(sort(x).sort(1).values, x.sort(1).values)
    assert torch.equal(activation_module("abs", 4, monotone=False)(x), x.abs())
