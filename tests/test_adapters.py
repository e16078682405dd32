"""Operators of other libraries at the front door."""

import numpy as np
import pytest
import torch
from cases import random_psf
from scipy.sparse.linalg import aslinearoperator

import recon
from recon.errors import GuaranteeError, UsageError
from recon.operators import Blur, to_matrix

SIDES = (9, 8)
BLUR = Blur(random_psf(3, 3), SIDES)
DENSE = to_matrix(BLUR).entries.float().numpy()
IMAGE = torch.rand(1, 1, *SIDES, generator=torch.Generator().manual_seed(1))
Y = BLUR.A(IMAGE) + 0.01 * torch.randn(1, 1, *SIDES, generator=torch.Generator().manual_seed(2))
SOLVE = {"prior": "tikhonov:weight=0.05", "noise": 0.01, "range": (0.0, 1.0), "tolerance": 1e-5, "iterations": 5000}


def as_planes(x):
    return torch.from_numpy(np.asarray(x, np.float32).reshape(1, 1, *SIDES))


class Weighting:
    def __init__(self, const):
        self.const = const


class Element:
    def __init__(self, values):
        self.values = values

    def asarray(self):
        return self.values


class Space:
    """As of ODL: inner products are weighted by the volume of a cell."""

    def __init__(self, shape, cell):
        self.shape, self.weighting = shape, Weighting(cell)

    def element(self, values):
        return Element(np.asarray(values).reshape(self.shape))


class OfSpaces:
    """As of ODL; its adjoint is that of the weighted inner products."""

    is_linear = True

    def __init__(self, matrix, domain, measured, factor=1.0):
        self.matrix, self.domain, self.range, self.factor = matrix, domain, measured, factor

    def __call__(self, x):
        return self.range.element(self.factor * (self.matrix @ x.asarray().ravel()))

    @property
    def adjoint(self):
        ratio = self.range.weighting.const / self.domain.weighting.const
        return OfSpaces(self.matrix.T, self.range, self.domain, ratio)


class Container:
    def __init__(self, shape):
        self.values = np.zeros(shape, np.float32)

    def fill(self, values):
        self.values = np.asarray(values, np.float32)

    def as_array(self):
        return self.values


class ContainerGeometry:
    def __init__(self, shape):
        self.shape = shape

    def allocate(self, value):
        return Container(self.shape)


class OfContainers:
    """As of CIL."""

    def domain_geometry(self):
        return ContainerGeometry(SIDES)

    def range_geometry(self):
        return ContainerGeometry(SIDES)

    def direct(self, x):
        made = Container(SIDES)
        made.fill((DENSE @ x.as_array().ravel()).reshape(SIDES))
        return made

    def adjoint(self, y):
        made = Container(SIDES)
        made.fill((DENSE.T @ y.as_array().ravel()).reshape(SIDES))
        return made


class OfVectors:
    """As of PyLops, which names the sides of its vectors."""

    shape = DENSE.shape
    dims = dimsd = SIDES

    def matvec(self, x):
        return DENSE @ x

    def rmatvec(self, y):
        return DENSE.T @ y


class Bare:
    def A(self, x):
        return BLUR.A(x)

    def A_adjoint(self, y):
        return BLUR.A_adjoint(y)


OTHERS = {
    "functions": lambda: recon.operator(BLUR.A, BLUR.A_adjoint),
    "scipy": lambda: recon.operator(aslinearoperator(DENSE), shape=SIDES),
    "pylops": OfVectors,
    "odl": lambda: OfSpaces(DENSE, Space(SIDES, 0.3), Space(SIDES, 0.7)),
    "cil": OfContainers,
    "object": Bare,
}


@pytest.fixture(scope="module")
def expected():
    return recon.reconstruct(Y, BLUR, method="forward_backward", **SOLVE).image


@pytest.mark.parametrize("name", OTHERS)
def test_an_operator_of_another_library_gives_the_same_image(name, expected):
    y = Y.reshape(1, 1, 1, -1) if name == "scipy" else Y
    found = recon.reconstruct(y, OTHERS[name](), method="forward_backward", **SOLVE)
    assert found.image.shape == IMAGE.shape
    assert float((found.image - expected).norm()) <= 1e-3 * float(expected.norm())


def test_a_wrong_adjoint_is_refused():
    with pytest.raises(GuaranteeError, match="adjoint"):
        recon.reconstruct(Y, recon.operator(BLUR.A, lambda y: 0.7 / 0.3 * BLUR.A_adjoint(y)), **SOLVE)


def test_deepinv_physics_bring_their_closed_form(expected):
    deepinv = pytest.importorskip("deepinv")
    kernel = random_psf(3, 3).float()[None, None]
    physics = deepinv.physics.BlurFFT(img_size=(1, *SIDES), filter=kernel)
    y = physics.A(IMAGE)
    found = recon.reconstruct(y, physics, method="douglas_rachford", **SOLVE)
    plain = recon.reconstruct(y, physics, method="forward_backward", **SOLVE)
    assert float((found.image - plain.image).norm()) <= 1e-3 * float(plain.image.norm())


def test_deepinv_physics_without_one_say_so():
    deepinv = pytest.importorskip("deepinv")
    physics = deepinv.physics.Blur(filter=random_psf(3, 3).float()[None, None], padding="circular")
    with pytest.raises(UsageError, match="no closed form"):
        recon.reconstruct(Y, physics, method="douglas_rachford", **SOLVE)


def test_a_closed_form_that_is_wrong_is_refused():
    class Wrong(Bare):
        def data_resolvent(self, measurement, stepsize):
            return lambda z: z

    with pytest.raises(UsageError, match="data_resolvent"):
        recon.reconstruct(Y, Wrong(), method="douglas_rachford", **SOLVE)


def test_real_odl_spaces():
    odl = pytest.importorskip("odl")
    space = odl.uniform_discr([0, 0], [1, 2], SIDES, dtype="float32")
    result = recon.reconstruct(Y, odl.ScalingOperator(space, 2.0), **SOLVE)
    assert result.image.shape == Y.shape


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (lambda x: x, "operator is a function; expected a specification"),
        (OfSpaces(np.eye(8), Space((2, 2, 2), 1), Space((2, 2, 2), 1)), "domain has the shape \\(2, 2, 2\\)"),
        (aslinearoperator(np.eye(6)), "expected \\(height, width\\) with as many pixels"),
        (3, "operator is a int"),
    ],
)
def test_what_is_no_operator_is_refused_by_name(operator, message):
    with pytest.raises(UsageError, match=message):
        recon.reconstruct(Y, operator, **SOLVE)


def test_a_map_that_is_not_linear_is_refused():
    odd = OfSpaces(DENSE, Space(SIDES, 1), Space(SIDES, 1))
    odd.is_linear = False
    with pytest.raises(UsageError, match="is not linear"):
        recon.reconstruct(Y, odd, **SOLVE)
