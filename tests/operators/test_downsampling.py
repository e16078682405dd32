"""Downsampling: where its samples lie, what it keeps, and what is refused."""

import pytest
import torch
from dense import matrix
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.errors import UsageError
from recon.operators import Downsampling

KERNELS = ("gaussian", "box", "bicubic")


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
def test_the_box_is_the_mean_of_each_block(factor):
    x = torch.rand(2, 3, 4 * factor, 3 * factor, dtype=torch.float64)
    expected = torch.nn.functional.avg_pool2d(x, factor)
    assert torch.allclose(Downsampling((4 * factor, 3 * factor), factor, "box").A(x), expected, atol=1e-14)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_sample_lies_at_the_middle_of_its_block(kernel, factor):
    # a ramp, away from the wrap-around, is reproduced at block middles by every symmetric kernel of sum 1
    size = 16 * factor
    ramp = torch.arange(size, dtype=torch.float64).expand(size, size)
    small = Downsampling((size, size), factor, kernel).A(ramp)
    middles = factor * torch.arange(16, dtype=torch.float64) + 0.5 * (factor - 1)
    inside = slice(4, 12)
    assert torch.allclose(small[inside, inside], middles[inside].expand(8, 8), atol=1e-9)
    assert torch.allclose(Downsampling((size, size), factor, kernel).A(ramp.T), small.T, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_grey_value_is_kept(kernel):
    assert torch.allclose(Downsampling((24, 24), 3, kernel).A(torch.full((24, 24), 0.4)), torch.tensor(0.4))


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_would_alias_is_suppressed(kernel):
    # the finest stripes have nothing to say on a grid twice as coarse
    stripes = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(16).expand(32, 32)
    assert float(Downsampling((32, 32), 2, kernel).A(stripes).abs().max()) < 0.02


def test_bicubic_agrees_with_torchs_antialiased_interpolation():
    x = torch.rand(1, 1, 48, 48, dtype=torch.float64)
    expected = torch.nn.functional.interpolate(x, scale_factor=0.5, mode="bicubic", antialias=True)
    small = Downsampling((48, 48), 2, "bicubic").A(x)
    assert torch.allclose(small[..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4], atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(
    factor=st.integers(1, 3), rows=st.integers(1, 3), columns=st.integers(1, 3), kernel=st.sampled_from(["box", "wide"])
)
def test_adjoint_norm_and_resolvent_for_every_size(factor, rows, columns, kernel):
    if kernel == "wide":
        kernel, rows, columns = "gaussian", rows + 3, columns + 3
    operator = Downsampling((rows * factor, columns * factor), factor, kernel)
    forward, back = matrix(operator.A, operator.domain), matrix(operator.A_adjoint, operator.range)
    assert float((back - forward.T).abs().max()) < 1e-13
    assert float(torch.linalg.matrix_norm(forward, 2)) == pytest.approx(operator.properties.norm.value, rel=1e-12)
    z, y = operator.domain.random(1, dtype=torch.float64), operator.range.random(1, dtype=torch.float64)
    system = torch.eye(z.numel(), dtype=torch.float64) + 7.0 * forward.T @ forward
    expected = torch.linalg.solve(system, z.flatten() + 7.0 * forward.T @ y.flatten())
    assert torch.allclose(operator.data_resolvent(y, 7.0)(z).flatten(), expected, atol=1e-11)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Downsampling((12, 13), 2), "the image has 12 x 13 pixels; expected multiples of the factor 2"),
        (lambda: Downsampling((12, 12), 0), "the factor is 0; expected a positive integer"),
        (lambda: Downsampling((12, 12), 1.5), "the factor is 1.5; expected a positive integer"),
        (lambda: Downsampling((12, 12), 2, "sinc"), "the kernel is 'sinc'; expected one of gaussian, box, bicubic"),
        (lambda: Downsampling((12, 8), 4), "the kernel of 16 x 16 is larger than the image of 12 x 8"),
    ],
)
def test_a_refusal_names_the_value(make, words):
    with pytest.raises(UsageError, match=words):
        make()
