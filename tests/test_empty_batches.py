"""A batch without items goes through every map: libraries of transforms, of loops and of linear algebra refuse some."""

from collections.abc import Callable

import pytest
import torch
from cases import ENERGIES, OPERATORS, PRIOR_IMAGE, PRIORS, OperatorCase, ResolventCase, cone_scan, scan
from network_cases import CASES, Case, network_of
from torch import Tensor

from recon.operators import LeastSquares, Space
from recon.operators.base import HasDataGradient, HasDataResolvent
from recon.operators.data_split import HasDataSplit
from recon.operators.tomography import Geometry, Tomography, fbp, fdk, surrogate

FAN = {"source_to_axis": 9.0, "source_to_detector": 20.0}
GEOMETRIES = {"parallel": scan("parallel"), "fan": scan("fan", **FAN), "cone": cone_scan()}
SURROGATES = [
    (name, geometry)
    for geometry in GEOMETRIES
    for name in ("pixel-driven", "nearest", "fbp", "views", "coarse")
    if geometry != "cone" or name in ("fbp", "views")
]
both_precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def goes_through(apply: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Of none of the items of ``x`` the result is what is left of theirs, and it is differentiable where theirs is.

    ``x`` is (items, channels, ...). The precision is kept, so the dtype is too.
    """
    full, none = apply(x), apply(x[:0])
    assert (none.shape, none.dtype) == (full[:0].shape, full.dtype)
    wanted = x[:0].clone().requires_grad_()
    image = apply(wanted)
    if image.requires_grad:
        (image.real if image.is_complex() else image).sum().backward()
        assert wanted.grad is not None
        assert wanted.grad.shape == wanted.shape


def random(space: Space, dtype: torch.dtype) -> Tensor:
    return space.random(2, 2, generator=torch.Generator().manual_seed(1), dtype=dtype)


@both_precisions
@pytest.mark.parametrize("case", OPERATORS, ids=lambda case: case.name)
def test_operators(case: OperatorCase, dtype: torch.dtype) -> None:
    operator = case.make()
    x, y = random(operator.domain, dtype), random(operator.range, dtype)
    goes_through(operator.A, x)
    goes_through(operator.A_adjoint, y)
    for data in (y, y[:0]):  # the measurement is of the batch, or of one item that all share
        items = slice(0, len(data))
        problem = LeastSquares(operator, data)
        assert problem(x[items]).shape == x[items].shape
        if isinstance(operator, HasDataGradient):
            assert operator.data_gradient(data)(x[items]).shape == x[items].shape
        if isinstance(operator, HasDataResolvent):
            assert operator.data_resolvent(data, 0.5)(x[items]).shape == x[items].shape
    if isinstance(operator, HasDataSplit):
        split = operator.data_split(1.0)
        goes_through(split.operator.A, x)
        goes_through(split.operator.A_adjoint, y)
        assert split.conjugate_resolvent(y[:0], 0.5)(y[:0]).shape == y[:0].shape


@both_precisions
@pytest.mark.parametrize(("name", "geometry"), SURROGATES, ids=lambda value: value)
def test_surrogates(name: str, geometry: str, dtype: torch.dtype) -> None:
    options = {"every": 2} if name == "views" else {}
    back = surrogate(name, Tomography(GEOMETRIES[geometry]), **options)
    goes_through(back, random(back.range, dtype))
    goes_through(back.A, random(back.domain, dtype))


@both_precisions
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_inverses_in_closed_form(geometry: Geometry, dtype: torch.dtype) -> None:
    inverse = (fdk if geometry.kind == "cone" else fbp)(geometry)
    goes_through(inverse, random(Space(geometry.sinogram_shape), dtype))
    goes_through(inverse.transpose, random(Space(geometry.image_shape), dtype))


@both_precisions
@pytest.mark.parametrize("case", PRIORS, ids=lambda case: case.name)
def test_priors(case: ResolventCase, dtype: torch.dtype) -> None:
    x = torch.randn(2, *PRIOR_IMAGE, generator=torch.Generator().manual_seed(1), dtype=dtype)
    goes_through(case.make(), x)


@pytest.mark.parametrize("name", ENERGIES)
def test_values_of_priors(name: str) -> None:
    prior = ENERGIES[name]
    assert prior.value is not None
    assert prior.value(torch.zeros(0, *PRIOR_IMAGE)).shape == (0,)
    goes_through(prior.resolvent(0.3), torch.randn(2, *PRIOR_IMAGE, dtype=torch.float64))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_networks(case: Case) -> None:
    network = network_of(case)
    x = torch.randn(2, case.config.channels, 12, 14, dtype=torch.float64)
    goes_through(lambda z: network.Q(z, case.level), x)
    with torch.no_grad():  # another path: by strips
        assert network(x[:0], case.level).shape == x[:0].shape
    if case.level is not None:
        levels = torch.full((2,), case.level, dtype=x.dtype)
        goes_through(lambda z: network.Q(z, levels[: len(z)]), x)
