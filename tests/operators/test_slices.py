"""An operator on each slice of a volume: the laws of a block diagonal map."""

import pytest
import torch

from recon import operators
from recon.operators import LeastSquares
from recon.operators.base import HasDataGradient, HasDataResolvent
from recon.operators.data_split import HasDataSplit
from recon.operators.slices import slice_by_slice
from recon.operators.tomography import Detector, Geometry, Tomography, Volume

SIDES = (8, 8)


def blur():
    return operators.Blur(operators.gaussian_psf(0.4), SIDES, "circular")


OPERATORS = {
    "identity": lambda: operators.Identity(SIDES),
    "blur": blur,
    "downsampling": lambda: operators.Downsampling(SIDES, 2),
    "inpainting": lambda: operators.Inpainting(torch.arange(64).view(SIDES) % 3 > 0),
}


@pytest.fixture(params=OPERATORS)
def one(request):
    return OPERATORS[request.param]()


def volume_of(one, slices=3):
    return slice_by_slice(one, slices, torch.zeros(1, 1, *SIDES))


def test_each_slice_is_measured_by_itself(one, generator) -> None:
    whole = volume_of(one)
    x = torch.randn(2, 2, 3, *SIDES, generator=generator)
    y = whole.A(x)
    for number in range(3):
        torch.testing.assert_close(y[:, :, number], one.A(x[:, :, number]))
    back = whole.A_adjoint(y)
    for number in range(3):
        torch.testing.assert_close(back[:, :, number], one.A_adjoint(y[:, :, number]))
    assert whole.domain.shape == (3, *SIDES)
    assert whole.range.shape == tuple(y.shape[2:])


def test_the_adjoint_is_the_adjoint(one, generator) -> None:
    whole = volume_of(one)
    x = torch.randn(1, 1, 3, *SIDES, generator=generator, dtype=torch.float64)
    y = torch.randn(1, 1, *whole.range.shape, generator=generator, dtype=torch.float64)
    assert float((whole.A(x) * y).sum()) == pytest.approx(float((x * whole.A_adjoint(y)).sum()))


def test_its_norm_is_that_of_a_slice(one) -> None:
    whole = volume_of(one)
    matrix = torch.stack(
        [whole.A(unit.view(1, 1, 3, *SIDES)).flatten() for unit in torch.eye(3 * 64, dtype=torch.float64)], 1
    )
    largest = float(torch.linalg.matrix_norm(matrix, 2))
    assert largest <= whole.properties.norm.value * (1 + 1e-9)
    assert whole.properties.norm.value == pytest.approx(one.properties.norm.value)


def test_it_knows_of_its_data_term_what_a_slice_knows(one) -> None:
    whole = volume_of(one)
    for kind in (HasDataGradient, HasDataResolvent, HasDataSplit):
        assert isinstance(whole, kind) == isinstance(one, kind)


def test_gradient_and_resolvent_are_those_of_each_slice(one, generator) -> None:
    whole = volume_of(one)
    y = torch.randn(1, 1, *whole.range.shape, generator=generator)
    x = torch.randn(1, 1, 3, *SIDES, generator=generator)
    gradient = LeastSquares(whole, y)(x)
    torch.testing.assert_close(gradient, whole.A_adjoint(whole.A(x) - y), atol=1e-5, rtol=1e-4)
    if not isinstance(whole, HasDataResolvent):
        return
    z = LeastSquares(whole, y).resolvent(0.7)(x)
    torch.testing.assert_close(z + 0.7 * LeastSquares(whole, y)(z), x, atol=1e-4, rtol=1e-4)


def test_a_measurement_of_other_slices_is_refused(one) -> None:
    with pytest.raises(ValueError, match="SliceBySlice"):
        volume_of(one).A(torch.zeros(1, 1, 2, *SIDES))


def test_the_split_of_a_scan_is_that_of_each_slice(generator) -> None:
    projector = Tomography(Geometry("parallel", (0.0, 40.0, 80.0, 120.0), Detector(11, 1.0), Volume((8, 8), 1.0)))
    shape = projector.domain.shape
    whole = slice_by_slice(projector, 2, torch.zeros(1, 1, *shape))
    assert isinstance(whole, HasDataSplit)
    y = torch.randn(1, 1, *whole.range.shape, generator=generator)
    u = torch.randn(1, 1, *whole.range.shape, generator=generator)
    both, one = whole.data_split(1.0), projector.data_split(1.0)
    found = both.conjugate_resolvent(y, 0.3)(u)
    for number in range(2):
        torch.testing.assert_close(found[:, :, number], one.conjugate_resolvent(y[:, :, number], 0.3)(u[:, :, number]))
