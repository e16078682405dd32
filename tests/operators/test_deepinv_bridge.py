"""deepinv's physics in our code, ours in deepinv's, and agreement where both have the same instrument."""

import pytest
import torch
from cases import random_mask, random_psf

from recon.errors import UsageError
from recon.operators import (
    Blur,
    CartesianMRI,
    Identity,
    Inpainting,
    LeastSquares,
    adjoint_gap,
    gaussian_psf,
    operator_properties,
    spectral,
    to_deepinv,
)
from recon.types import LinearOperator

SHAPE = (1, 16, 14)


@pytest.fixture(scope="module")
def deepinv():
    return pytest.importorskip("deepinv")


def theirs(deepinv, name: str):
    kernel = random_psf(3, 5).float()[None, None]
    physics = deepinv.physics
    make = {
        "Blur": lambda: physics.Blur(filter=kernel, padding="circular"),
        "Blur, valid": lambda: physics.Blur(filter=kernel, padding="valid"),
        "BlurFFT": lambda: physics.BlurFFT(SHAPE, filter=kernel),
        "Inpainting": lambda: physics.Inpainting(SHAPE, mask=random_mask(16, 14).float()[None]),
        "Downsampling": lambda: physics.Downsampling(img_size=SHAPE, factor=2, filter="gaussian", padding="circular"),
        "MRI": lambda: physics.MRI(mask=random_mask(16, 14).float(), img_size=(2, 16, 14)),
    }
    return make[name](), (2, 16, 14) if name == "MRI" else SHAPE


NAMES = ["Blur", "Blur, valid", "BlurFFT", "Inpainting", "Downsampling", "MRI"]


@pytest.mark.parametrize("name", NAMES)
def test_deepinvs_physics_is_a_linear_operator_here(deepinv, name):
    physics, shape = theirs(deepinv, name)
    x = torch.rand(2, *shape)
    y = physics.A(torch.rand(2, *shape))
    assert isinstance(physics, LinearOperator)
    problem = LeastSquares(physics, y)
    assert torch.allclose(problem(x), physics.A_adjoint(physics.A(x) - y), atol=1e-6)
    assert problem.value(x).shape == (2,)


@pytest.mark.parametrize("name", NAMES)
def test_deepinvs_physics_is_measured_here(deepinv, name):
    physics, shape = theirs(deepinv, name)
    example = torch.rand(1, *shape)
    assert adjoint_gap(physics, example).value < 1e-4
    norm = spectral.norm(physics, example)
    assert norm.value > 0
    assert operator_properties(physics, example).norm.value == pytest.approx(norm.value, rel=1e-3)


@pytest.mark.parametrize(("psf_shape", "boundary"), [((3, 5), "circular"), ((5, 3), "valid"), ((4, 2), "circular")])
def test_our_blur_is_deepinvs_blur(deepinv, psf_shape, boundary):
    psf = random_psf(*psf_shape).float()
    x = torch.rand(2, *SHAPE)
    physics = deepinv.physics.Blur(filter=psf[None, None], padding=boundary)
    ours, expected = Blur(psf, SHAPE[1:], boundary).A(x), physics.A(x)
    assert ours.shape == expected.shape
    assert torch.allclose(ours, expected, atol=1e-5)


def test_our_inpainting_and_mri_are_deepinvs(deepinv):
    mask = random_mask(16, 14)
    x = torch.rand(2, 2, 16, 14)
    mri = deepinv.physics.MRI(mask=mask.float(), img_size=(2, 16, 14))
    assert torch.allclose(to_deepinv(CartesianMRI(mask), (2, 16, 14)).A(x), mri.A(x), atol=1e-6)
    inpainting = deepinv.physics.Inpainting((2, 16, 14), mask=mask.float()[None].repeat(2, 1, 1))
    assert torch.allclose(Inpainting(mask).A(x), inpainting.A(x))


def test_deepinvs_data_term_uses_our_resolvent(deepinv):
    blur = Blur(gaussian_psf(0.7), SHAPE[1:])
    physics = to_deepinv(blur, SHAPE)
    z, y = torch.rand(2, *SHAPE), torch.rand(2, *SHAPE)
    data_term = deepinv.optim.data_fidelity.L2()
    assert torch.equal(data_term.prox(z, y, physics, gamma=0.4), blur.data_resolvent(y, 0.4)(z))
    assert torch.allclose(data_term.grad(z, y, physics), blur.data_gradient(y)(z), atol=1e-6)


def test_a_step_for_each_image_is_solved_iteratively_to_the_same(deepinv):
    blur = Blur(gaussian_psf(0.7), SHAPE[1:])
    physics = to_deepinv(blur, SHAPE)
    z, y = torch.rand(2, *SHAPE), torch.rand(2, *SHAPE)
    steps = torch.tensor([0.4, 1.5]).reshape(2, 1, 1, 1)
    found = physics.prox_l2(z, y, steps, solver="CG", max_iter=200, tol=1e-7)
    for item, step in enumerate((0.4, 1.5)):
        assert torch.allclose(found[item], blur.data_resolvent(y[item], step)(z[item]), atol=1e-4)


def test_a_reconstruction_by_deepinvs_own_solver(deepinv):
    psf = gaussian_psf(0.7)
    x = torch.rand(1, *SHAPE)
    physics = to_deepinv(Blur(psf, SHAPE[1:]), SHAPE)
    restored = physics.A_dagger(physics.A(x), solver="CG", max_iter=500, tol=1e-6)
    assert float((restored - x).norm() / x.norm()) < 1e-2


@pytest.mark.parametrize(
    ("operator", "shape", "words"),
    [
        (Identity((8, 8)), (1, 8, 9), r"the image shape is \(1, 8, 9\); expected \(channels, 8, 8\)"),
        (CartesianMRI(random_mask(8, 8)), (1, 8, 8), r"the image shape is \(1, 8, 8\); expected 2 channels"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(operator, shape, words):
    with pytest.raises(UsageError, match=words):
        to_deepinv(operator, shape)
