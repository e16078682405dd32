"""What a scan costs before the first step of its solver, and that what is left out was not needed."""

import math
from collections.abc import Iterator

import pytest
import torch

from recon.evidence import Evidence
from recon.methods.choice import choose_method
from recon.methods.operator_pair import analyse_operator
from recon.operators import spectral
from recon.operators.tomography import Detector, Geometry, Tomography, Volume, WeightedTomography, evenly_spaced
from recon.priors import total_variation_prior
from recon.reconstruction.ct_input import column_norm

SHAPE = (48, 48)
SCAN = Tomography(Geometry("parallel", evenly_spaced(0, 180, 50), Detector(70, 1.0), Volume(SHAPE, 1.0)))
ROOT = torch.rand(SCAN.range.shape, generator=torch.Generator().manual_seed(0)) + 0.2


@pytest.fixture
def projections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.dtype]]:
    """The dtype of each image or sinogram that a projector was applied to."""
    seen: list[torch.dtype] = []

    def counted(name: str) -> None:
        plain = getattr(Tomography, name)

        def apply(self: Tomography, x: torch.Tensor) -> torch.Tensor:
            seen.extend([x.dtype] * (x.numel() // math.prod(x.shape[-2:])))
            return plain(self, x)

        monkeypatch.setattr(Tomography, name, apply)

    counted("_project")
    counted("_back_project")
    return seen


@pytest.mark.parametrize("weighted", [False, True])
def test_a_pair_whose_gap_is_proved_is_not_sampled(projections: list[torch.dtype], weighted: bool) -> None:
    plain = Tomography(SCAN.geometry)
    operator = WeightedTomography(plain, ROOT) if weighted else plain
    pair = analyse_operator(operator, None, torch.zeros(1, 1, *SHAPE))
    assert (pair.gap.value, pair.gap.evidence) == (0.0, Evidence.PROVED)
    assert len(projections) == 0  # no constant that nobody asks for
    assert pair.properties.computed_norm is None
    assert pair.properties.norm is pair.properties.computed_norm
    assert len(projections) == 8  # four steps to the norm
    assert projections.count(torch.float64) == 2  # of which the last one proves it
    column_norm(operator, SHAPE)
    choose_method(pair, total_variation_prior(1.0, image_shape=SHAPE))
    assert len(projections) <= 30


@pytest.mark.parametrize("operator", [SCAN, WeightedTomography(SCAN, ROOT)], ids=["equal rays", "weighted rays"])
def test_the_norm_is_bounded_as_closely_as_in_double_precision(operator: Tomography | WeightedTomography) -> None:
    true = spectral.norm(operator, torch.zeros(1, 1, *SHAPE, dtype=torch.float64)).value
    assert true <= operator.properties.norm.value <= 1.005 * true
    assert operator.properties.norm.evidence is Evidence.PROVED


@pytest.mark.parametrize("operator", [SCAN, WeightedTomography(SCAN, ROOT)], ids=["equal rays", "weighted rays"])
def test_nine_pixels_projected_at_once_have_the_norm_of_each(operator: Tomography | WeightedTomography) -> None:
    squares = []
    for row in (18, 24, 30):
        for column in (18, 24, 30):
            pixel = torch.zeros(1, 1, *SHAPE)
            pixel[0, 0, row, column] = 1.0
            squares.append(float(operator.A(pixel).square().sum()))
    assert column_norm(operator, SHAPE) == pytest.approx(math.sqrt(sum(squares) / 9), rel=0.05)
