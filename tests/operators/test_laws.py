"""What every operator of cases.OPERATORS obeys."""

from collections.abc import Callable

import pytest
import torch
from cases import OPERATORS, random_psf
from dense import matrix, real

from recon.errors import UsageError
from recon.evidence import Evidence
from recon.operators import Blur, Identity, LeastSquares, Space, adjoint_gap, to_deepinv
from recon.operators.base import Characterised, HasDataGradient, HasDataResolvent
from recon.operators.composition import CharacterisedOperator
from recon.types import LinearOperator, Map


def operators_that(are: Callable[[CharacterisedOperator], bool]) -> pytest.MarkDecorator:
    chosen = [pytest.param(case.make, id=case.name) for case in OPERATORS if are(case.make())]
    return pytest.mark.parametrize("make", chosen)


every_operator = operators_that(lambda operator: True)
every_nonzero_operator = operators_that(lambda operator: operator.properties.norm.value > 0)
every_checking_operator = operators_that(lambda operator: not isinstance(operator, Identity))
every_operator_with_a_gradient = operators_that(lambda operator: isinstance(operator, HasDataGradient))
every_operator_with_a_resolvent = operators_that(lambda operator: isinstance(operator, HasDataResolvent))
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
both_precisions = pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


def pair(operator: CharacterisedOperator, *leading: int, dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(1)
    x = operator.domain.random(*leading, generator=generator, dtype=dtype)
    return x, operator.range.random(*leading, generator=generator, dtype=dtype)


@every_operator
def test_it_is_a_characterised_linear_operator(make):
    operator = make()
    assert isinstance(operator, LinearOperator)
    assert isinstance(operator, Characterised)


@every_operator
@both_precisions
def test_the_adjoint_is_the_transposed_matrix(make, dtype):
    operator = make()
    forward, back = matrix(operator.A, operator.domain, dtype), matrix(operator.A_adjoint, operator.range, dtype)
    assert distance(back, forward.T) <= TOLERANCE[dtype] * max(1.0, operator.properties.norm.value)


@every_operator
@both_precisions
def test_it_is_linear(make, dtype):
    operator = make()
    x, y = pair(operator, 2, dtype=dtype)
    for apply, u in ((operator.A, x), (operator.A_adjoint, y)):
        v = u.flip(0)
        assert distance(apply(2.5 * u - v), 2.5 * apply(u) - apply(v)) <= 10 * TOLERANCE[dtype]
        assert distance(apply(torch.zeros_like(u)), torch.zeros(())) == 0


@every_operator
def test_autograd_gives_the_adjoint(make):
    operator = make()
    x, y = pair(operator, 2, 3)
    _, pulled = torch.autograd.functional.vjp(operator.A, x, y)
    assert distance(pulled, operator.A_adjoint(y)) <= 1e-12 * max(1.0, operator.properties.norm.value)
    _, pushed = torch.autograd.functional.vjp(operator.A_adjoint, y, x)
    assert distance(pushed, operator.A(x)) <= 1e-12 * max(1.0, operator.properties.norm.value)


@every_operator
@both_precisions
def test_the_precision_follows_the_input(make, dtype):
    operator = make()
    x, y = pair(operator, 1, 1, dtype=dtype)
    results = [operator.A(x), operator.A_adjoint(y), *(apply(x) for apply in data_maps(operator, y))]
    assert {result.dtype.to_real() for result in results} == {dtype}
    assert {result.is_complex() for result in results} <= {x.is_complex(), y.is_complex()}


@every_operator
def test_batch_items_and_channels_do_not_mix(make):
    operator = make()
    x, y = pair(operator, 2, 3)
    for apply, u in ((operator.A, x), (operator.A_adjoint, y)):
        together = apply(u)
        for item in range(2):
            for channel in range(3):
                assert distance(together[item, channel], apply(u[item, channel])) <= 1e-12
    for number, apply in enumerate(data_maps(operator, y)):
        alone = data_maps(operator, y[1:, 2:])[number]
        assert distance(apply(x)[1:, 2:], alone(x[1:, 2:])) <= 1e-12


@every_operator
def test_an_expanded_image_is_as_good_as_a_copy(make):
    operator = make()
    x, y = pair(operator, 1)
    for apply, u in ((operator.A, x), (operator.A_adjoint, y)):
        some = u[..., :1].expand_as(u), u[..., :1, :].expand_as(u), u.expand(3, 2, *u.shape[1:])
        for repeated in some:
            assert distance(apply(repeated), apply(repeated.clone())) <= 1e-12 * max(
                1.0, operator.properties.norm.value
            )


@every_operator
def test_the_input_is_left_as_it_was(make):
    operator = make()
    x, y = pair(operator, 2, 1)
    x_before, y_before = x.clone(), y.clone()
    for apply in (operator.A, *data_maps(operator, y)):
        apply(x)
    operator.A_adjoint(y)
    assert torch.equal(x, x_before)
    assert torch.equal(y, y_before)


@every_operator
def test_the_norm_is_exact_or_an_upper_bound(make):
    operator = make()
    norm = operator.properties.norm
    largest = float(torch.linalg.matrix_norm(matrix(operator.A, operator.domain), 2))
    assert norm.evidence is Evidence.PROVED
    assert largest <= norm.value * (1 + 1e-12)
    if "bound" not in norm.how:
        assert largest == pytest.approx(norm.value, rel=1e-12, abs=1e-14)


@every_operator
def test_the_least_eigenvalue_is_exact_or_a_lower_bound(make):
    operator = make()
    bound = operator.properties.gram_min
    forward = matrix(operator.A, operator.domain)
    least = float(torch.linalg.eigvalsh(forward.T @ forward)[0])
    assert bound.evidence is Evidence.PROVED
    assert bound.value <= least + 1e-13
    if "exact" in bound.how:
        assert least == pytest.approx(bound.value, rel=1e-9, abs=1e-13)


@every_nonzero_operator
def test_the_adjoint_gap_is_measured_as_nothing(make):
    operator = make()
    assert operator.properties.adjoint_gap.value == 0
    assert adjoint_gap(operator).value < 1e-5


@every_operator_with_a_gradient
def test_the_data_gradient_is_its_definition(make):
    operator = make()
    x, y = pair(operator, 2, 3)
    expected = operator.A_adjoint(operator.A(x) - y)
    assert distance(operator.data_gradient(y)(x), expected) <= 1e-12 * max(1.0, operator.properties.norm.value**2)


@every_operator_with_a_resolvent
@both_precisions
@pytest.mark.parametrize("stepsize", [0.0, 0.3, 1e4])
def test_the_data_resolvent_solves_its_equation(make, dtype, stepsize):
    operator = make()
    z, y = pair(operator, 2, 3, dtype=dtype)
    x = operator.data_resolvent(y, stepsize)(z)
    residual = x + stepsize * operator.A_adjoint(operator.A(x) - y) - z
    scale = 1 + stepsize * operator.properties.norm.value * max(1.0, operator.properties.norm.value)
    assert distance(residual, torch.zeros(())) <= 20 * TOLERANCE[dtype] * scale


@every_operator_with_a_resolvent
def test_a_step_that_no_resolvent_has_is_refused(make):
    operator = make()
    _, y = pair(operator, 1, 1)
    for stepsize in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="expected a finite number that is not negative"):
            operator.data_resolvent(y, stepsize)


@every_operator
def test_least_squares_uses_it(make):
    operator = make()
    x, y = pair(operator, 2, 1)
    problem = LeastSquares(operator, y)
    assert distance(problem(x), operator.A_adjoint(operator.A(x) - y)) <= 1e-11


@every_checking_operator
def test_a_wrong_shape_is_refused_with_the_shape(make):
    operator = make()
    x, y = pair(operator, 1, 1)
    longer = torch.cat([x, x[..., :1]], dim=-1)
    with pytest.raises(UsageError, match=r"has shape .*; expected") as refused:
        operator.A(longer)
    assert str(tuple(longer.shape)) in str(refused.value)
    with pytest.raises(UsageError, match=r"has shape .*; expected"):
        operator.A_adjoint(torch.cat([y, y[..., :1]], dim=-1))


@every_checking_operator
def test_integers_are_refused(make):
    operator = make()
    with pytest.raises(UsageError, match=r"dtype torch.int64; expected"):
        operator.A(torch.ones(1, 1, *operator.domain.shape, dtype=torch.int64))


@every_operator
def test_it_is_the_same_operator_inside_deepinv(make):
    operator = make()
    channels = 2 if operator.domain.is_complex else 3
    physics = to_deepinv(operator, (channels, *operator.domain.shape))
    x, y = pair(operator, 2, 1 if operator.domain.is_complex else 3)
    seen = physics.A(as_channels(x))
    assert distance(real(seen), real(as_channels(operator.A(x)))) == 0
    assert distance(physics.A_adjoint(as_channels(y)), as_channels(operator.A_adjoint(y))) == 0
    if isinstance(operator, HasDataResolvent):
        prox = physics.prox_l2(as_channels(x), as_channels(y), 0.7)
        assert distance(prox, as_channels(operator.data_resolvent(y, 0.7)(x))) == 0


def as_channels(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x.real, x.imag], dim=1) if x.is_complex() else x


def data_maps(operator: CharacterisedOperator, y: torch.Tensor) -> list[Map]:
    maps = []
    if isinstance(operator, HasDataGradient):
        maps.append(operator.data_gradient(y))
    if isinstance(operator, HasDataResolvent):
        maps.append(operator.data_resolvent(y, 0.5))
    return maps


class Correlation:
    """A planted fault: a blur whose adjoint forgets to turn the kernel round."""

    def __init__(self, blur):
        self.A, self.A_adjoint = blur.A, blur.A
        self.domain = self.range = Space(blur.image_shape)


def test_a_correlation_in_place_of_the_adjoint_would_be_caught():
    wrong = Correlation(Blur(random_psf(3, 3), (8, 8)))
    forward, back = matrix(wrong.A, wrong.domain), matrix(wrong.A_adjoint, wrong.range)
    assert distance(back, forward.T) > 0.01
    assert adjoint_gap(wrong, example=wrong.domain.zeros(1, 1)).value > 0.01
