"""The duality gap bounds what an energy is above its least value, and vanishes with it."""

import dataclasses
import math
from fractions import Fraction

import pytest
import torch

from recon import operators, priors, solvers
from recon.certificates import duality_gap
from recon.errors import UsageError
from recon.evidence import Evidence, Measured
from recon.operators import Blur, CartesianMRI, Downsampling, Identity, LeastSquares

SHAPE = (18, 15)

BLIND = ("valid", "downsampling")
"""Operators that hardly see some images without details, or do not see them at all."""


def scene() -> torch.Tensor:
    x = torch.zeros(2, 1, *SHAPE, dtype=torch.float64)
    x[:, :, 4:12, 3:11] = 1
    x[1] *= 0.4
    return x


OPERATORS = {
    "identity": lambda: Identity(SHAPE),
    "blur": lambda: Blur(operators.gaussian_psf(1.2), SHAPE),
    "valid": lambda: Blur(operators.gaussian_psf(1.0), SHAPE, boundary="valid"),
    "downsampling": lambda: Downsampling(SHAPE, 3),
}
PRIORS = {
    "wavelet": lambda: priors.wavelet_prior(0.01, "db2", 2),
    "l1": lambda: priors.l1_prior(0.05),
    "tikhonov": lambda: priors.tikhonov_prior(0.1),
    "box": priors.box_prior,
}


def problem(name: str) -> LeastSquares:
    operator = OPERATORS[name]()
    y = operator.A(scene())
    return LeastSquares(operator, y + 0.02 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0)))


def step_of(data: LeastSquares) -> float:
    known = operators.operator_properties(data.operator, scene()[:1]).norm
    return 1 / (known.value + known.error) ** 2


def energy(data: LeastSquares, prior: priors.Prior, x: torch.Tensor) -> torch.Tensor:
    return data.value(x) + prior.value(x)


@pytest.mark.parametrize("of", PRIORS)
@pytest.mark.parametrize("name", OPERATORS)
def test_the_gap_bounds_what_is_left_and_vanishes(name: str, of: str) -> None:
    data, prior = problem(name), PRIORS[of]()
    s = step_of(data)
    algorithm = solvers.fista(data, prior.resolvent(s), s)
    start = prior.resolvent(s)(data.operator.A_adjoint(data.measurement))
    least = energy(data, prior, solvers.solve(algorithm, start, tolerance=0, max_steps=1200).x)
    before, first = [math.inf, math.inf], None
    for steps in (1, 30, 300):
        x = solvers.solve(algorithm, start, tolerance=0, max_steps=steps).x
        gaps = duality_gap(data, prior, x)
        for left, gap, last in zip((energy(data, prior, x) - least).tolist(), gaps, before, strict=True):
            assert left <= gap.value, gap
            assert gap.evidence is Evidence.PROVED or name in BLIND
            assert gap.value <= max(last, 1e-9)
        before = [gap.value for gap in gaps]
        first = first or before
    assert all(now <= max(0.25 * then, 1e-9) for now, then in zip(before, first, strict=True))


def test_the_gap_bounds_the_distance_where_the_energy_is_strongly_convex() -> None:
    for name, of in (("identity", "wavelet"), ("blur", "tikhonov"), ("blur", "wavelet")):
        data, prior = problem(name), PRIORS[of]()
        s = step_of(data)
        algorithm = solvers.forward_backward(data, prior.resolvent(s), s)
        start = torch.zeros_like(scene())
        limit = solvers.solve(algorithm, start, tolerance=0, max_steps=1500).x
        for steps in (1, 5, 50):
            x = solvers.solve(algorithm, start, tolerance=0, max_steps=steps).x
            for gap, distance in zip(duality_gap(data, prior, x), (x - limit).flatten(1).norm(dim=1), strict=True):
                assert float(distance) <= gap.distance < math.inf


def test_a_wrong_adjoint_and_a_penalty_without_a_conjugate_have_no_gap() -> None:
    data = problem("blur")
    known = dataclasses.replace(data.operator.properties, adjoint_gap=Measured(0.1, "planted"))
    (gap, _) = duality_gap(data, PRIORS["wavelet"](), scene(), known)
    assert math.isinf(gap.value)
    assert "the adjoint is not exact" in str(gap)
    (gap, _) = duality_gap(data, priors.total_variation_prior(0.1), scene())
    assert gap.to_json()["value"] is None
    (gap, _) = duality_gap(data, priors.wavelet_prior(0.1, shifts=4), scene())
    assert gap.to_json()["value"] is None
    with pytest.raises(UsageError, match="shift"):
        duality_gap(dataclasses.replace(data, shift=0.1), PRIORS["l1"](), scene())


def test_an_image_beyond_a_box_and_one_that_is_not_finite_have_no_gap() -> None:
    data = problem("blur")
    for x, prior in ((scene() + 1, "box"), (scene() * math.nan, "wavelet")):
        assert all(gap.to_json()["value"] is None for gap in duality_gap(data, PRIORS[prior](), x))


def test_a_residual_that_rounds_to_zero_is_no_gap_of_zero() -> None:
    """3 x 0.1 is not 0.30000000000000004, the number nearest to it: the energy is 4e-34, and its least is 0."""
    operator = operators.from_matrix(torch.tensor([[3.0]], dtype=torch.float64))
    x = torch.full((1, 1, 1), 0.1, dtype=torch.float64)
    y = operator.A(x)
    (gap,) = duality_gap(LeastSquares(operator, y), priors.box_prior(), x)
    left = (3 * Fraction(float(x)) - Fraction(float(y))) ** 2 / 2
    assert left > 0
    assert Fraction(gap.value) >= left


def test_evidence_is_measured_where_the_free_coefficients_are_not_bounded() -> None:
    operator = Blur(torch.ones(2, 2, dtype=torch.float64) / 4, (20, 20))  # its transfer function vanishes
    y = operator.A(torch.rand(1, 1, 20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    prior = priors.wavelet_prior(0.01, "haar", 1)  # 100 free coefficients: more than are written out
    (gap,) = duality_gap(LeastSquares(operator, y), prior, y)
    assert gap.evidence is Evidence.MEASURED
    assert math.isinf(gap.distance)
    assert 0 < gap.value < math.inf


def test_single_precision_images_are_judged_in_double() -> None:
    data, prior = problem("blur"), PRIORS["wavelet"]()
    x = scene().float()
    single = LeastSquares(data.operator, data.measurement.float())
    for gap, exact in zip(duality_gap(single, prior, x), duality_gap(data, prior, x.double()), strict=True):
        assert gap.value == pytest.approx(exact.value, rel=1e-4)


@pytest.mark.parametrize("of", ["wavelet", "l1", "tikhonov"])
def test_complex_images_have_a_gap(of: str) -> None:
    mask = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) > 0.5
    operator = CartesianMRI(mask)
    y = operator.A(scene() * (1 + 0.5j))
    data, prior = LeastSquares(operator, y), PRIORS[of]()
    algorithm = solvers.fista(data, prior.resolvent(1.0), 1.0)
    least = energy(data, prior, solvers.solve(algorithm, operator.A_adjoint(y), tolerance=0, max_steps=600).x)
    before = math.inf
    for steps in (1, 40):
        x = solvers.solve(algorithm, operator.A_adjoint(y), tolerance=0, max_steps=steps).x
        left = energy(data, prior, x) - least
        gaps = duality_gap(data, prior, x)
        assert all(float(each) <= gap.value for each, gap in zip(left, gaps, strict=True))
        assert gaps[0].value <= max(0.7 * before, 1e-9)
        before = gaps[0].value
