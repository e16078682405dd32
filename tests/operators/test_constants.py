"""Whether an operator vanishes on constant images."""

import pytest
import torch

from recon.evidence import Evidence
from recon.operators import Blur, Identity, Inpainting, Matrix, Space, gaussian_psf, operator_properties

SHAPE = (6, 8)
IMAGE = torch.zeros(1, 1, *SHAPE)
PIXELS = SHAPE[0] * SHAPE[1]


def matrix(entries: torch.Tensor) -> Matrix:
    return Matrix(entries, Space(SHAPE), Space((len(entries),)))


@pytest.mark.parametrize(
    "operator",
    [
        Identity(SHAPE),
        Blur(gaussian_psf(0.5), SHAPE),
        Inpainting(torch.eye(*SHAPE) > 0),
        matrix(torch.linspace(-1, 2, 3 * PIXELS).view(3, PIXELS)),
    ],
    ids=lambda operator: type(operator).__name__,
)
def test_what_measures_a_constant_says_so(operator) -> None:
    assert operator_properties(operator, IMAGE).sees_constants.evidence is Evidence.MEASURED


def test_what_has_no_negative_entry_needs_no_look() -> None:
    seen = operator_properties(matrix(torch.rand(3, PIXELS)), IMAGE).sees_constants
    assert (seen.evidence, "A 1 is not 0" in seen.how) == (Evidence.PROVED, True)
    assert operator_properties(matrix(torch.zeros(3, PIXELS)), IMAGE).sees_constants is None


def test_what_takes_constants_out_sees_none() -> None:
    differences = torch.eye(PIXELS) - torch.eye(PIXELS).roll(1, 0)
    assert operator_properties(matrix(differences), IMAGE).sees_constants is None


def test_of_volumes_and_of_strangers_nothing_is_said() -> None:
    volume = Matrix(torch.eye(PIXELS), Space((2, 3, 8)), Space((PIXELS,)))
    assert operator_properties(volume, torch.zeros(1, 1, 2, 3, 8)).sees_constants is None

    class Stranger:
        def A(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

        def A_adjoint(self, y: torch.Tensor) -> torch.Tensor:
            return 2 * y

    assert operator_properties(Stranger(), IMAGE).sees_constants is None
