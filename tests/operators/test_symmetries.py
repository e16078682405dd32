"""Symmetries of operators: what is measured of a turned image is what is measured of the image, reordered."""

import pytest
import torch
from torch import Tensor

from recon.errors import UsageError
from recon.operators import Blur, Identity, Inpainting, gaussian_psf
from recon.operators.symmetries import symmetries_of, turned, turned_back
from recon.operators.tomography import Detector, Geometry, Tomography, Volume, evenly_spaced
from recon.types import LinearOperator

SIDE = 12


def scan(kind: str = "fan", views: int = 8, stop: float = 360.0, offset: float = 0.0) -> Tomography:
    distances = {} if kind == "parallel" else {"source_to_axis": 40.0, "source_to_detector": 80.0}
    detector = Detector(19, 1.0 if kind == "parallel" else 2.0, offset)
    angles = evenly_spaced(0, stop, views)
    return Tomography(Geometry(kind, angles, detector, Volume((SIDE, SIDE), 1.0), **distances))  # type: ignore[arg-type]


class OneViewApart:
    """A scan of which one view counts a little more, and whose symmetries are therefore none."""

    def __init__(self) -> None:
        self.scan = scan()
        self.weights = torch.ones(8, 1)
        self.weights[3] = 1.001

    def A(self, x: Tensor) -> Tensor:
        return self.weights * self.scan.A(x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.scan.A_adjoint(self.weights * y)


class OneNumberApart(OneViewApart):
    """The same of one number of one view."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.ones(8, 19)
        self.weights[2, 7] = 1.01


def test_turning_back_undoes_turning() -> None:
    image = torch.rand(2, 1, 5, 5)
    for way in range(8):
        assert torch.equal(turned_back(turned(image, way), way), image)


@pytest.mark.parametrize(
    ("operator", "shape", "count"),
    [
        (scan(), (SIDE, SIDE), 8),
        (scan("parallel", 8, 180.0), (SIDE, SIDE), 8),
        (scan("parallel", 8, 360.0), (SIDE, SIDE), 8),  # each ray is measured twice
        (scan("fan", 10), (SIDE, SIDE), 4),
        (Blur(gaussian_psf(1.0), (SIDE, SIDE)), (SIDE, SIDE), 8),
        (Blur(gaussian_psf(1.0), (SIDE, 9)), (SIDE, 9), 4),
        (Identity((SIDE, 9)), (SIDE, 9), 4),
    ],
)
def test_what_is_measured_is_only_reordered(operator: LinearOperator, shape: tuple[int, int], count: int) -> None:
    found = symmetries_of(operator, torch.zeros(shape), count)
    assert len({each.way for each in found}) == count
    assert found[0].way == 0
    x = torch.rand(2, 3, *shape)
    y = operator.A(x)
    for each in found:
        assert torch.allclose(operator.A(turned(x, each.way)), each.reorder(y), atol=1e-4)
        places = torch.arange(y[0, 0].numel()).view(y[0, 0].shape)
        assert torch.equal(each.reorder(places).flatten().sort().values, places.flatten())  # none twice, none lost
        back = turned_back(operator.A_adjoint(each.reorder(y)), each.way)
        assert torch.allclose(back, operator.A_adjoint(y), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("operator", "shape", "count", "message"),
    [
        (scan("fan", 10), (SIDE, SIDE), 8, "symmetries is 8, and a quarter turn and 3 more of them is none of this"),
        (scan(offset=1.0), (SIDE, SIDE), 2, "the reflection of left and right is none of this operator"),
        (scan("parallel", 9, 100.0), (SIDE, SIDE), 2, "the reflection of left and right"),
        (OneViewApart(), (SIDE, SIDE), 8, "is none of this operator: it does not only reorder what is measured"),
        (OneNumberApart(), (SIDE, SIDE), 2, "is none of this operator"),
        (Identity((SIDE, 9)), (SIDE, 9), 8, "an image of 12 x 9 pixels; expected 1, 2 or 4, because a quarter turn"),
        (Inpainting(torch.arange(SIDE * SIDE).view(SIDE, SIDE) % 5 > 0), (SIDE, SIDE), 2, "left and right"),
        (Identity((SIDE, SIDE)), (SIDE, SIDE), 3, "symmetries is 3; expected 1, 2, 4 or 8"),
    ],
)
def test_symmetries_that_an_operator_has_not(
    operator: LinearOperator, shape: tuple[int, int], count: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        symmetries_of(operator, torch.zeros(shape), count)
