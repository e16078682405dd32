"""Arguments of another kind at the front door: one sentence each, by name."""

import numpy as np
import pytest
import torch

import recon
from recon.errors import ReconError, UsageError
from recon.front.arguments import in_python
from recon.operators import Identity
from recon.operators.blur import CircularBlur

Y = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
PLAIN = {"prior": "tikhonov:weight=0.1", "noise": 0.01}

WRONG = {
    "noise": ["", [0.1], np.array([0.1]), 1j, -0.05, float("nan"), True, b"1"],
    "range": [5, "01", (0,), (None, 1), ("a", "b"), (0, 1, 2)],
    "axes": [3, ("H", "W")],
    "method": [["fista"], 3, "no such"],
    "stepsize": ["x", [1], float("inf")],
    "tolerance": ["x", [1], float("nan")],
    "iterations": ["x", 1.5, float("nan"), -1],
    "shape": [16, (16,), "16,16", (16.0, 16.0), ("a", "b"), (1, 2, 3)],
    "seed": ["x", 1.5, None, -1],
    "device": [3, None, "no such"],
    "notify": ["x", 3],
    "progress": ["x", 3],
    "water": ["x"],
    "photons": ["x"],
    "shift": ["x", [1]],
    "surrogate": [3, lambda y: y],
    "operator": [3, None, "no such", "blur:gaussian=x"],
    "prior": [3, "no such", "tv:weight=x", "tv:smoothing=0", torch.nn.Identity()],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_an_argument_of_another_kind_is_one_sentence(name, value):
    with pytest.raises(ReconError) as caught:
        recon.reconstruct(Y, **{**PLAIN, name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "measurement",
    [
        [1, 2], [[0.1, 0.2], [0.3, 0.4]], 3, None, "x", np.zeros((0, 16)), torch.zeros(0, 1, 16, 16),
        Y.to(torch.bfloat16), Y[0, 0].to_sparse(), np.array("x"), np.array([[None]]), np.ma.masked_equal(np.eye(4), 0),
    ],
    ids=lambda given: f"{type(given).__name__}",
)  # fmt: skip
def test_a_measurement_of_another_kind_is_one_sentence(measurement):
    with pytest.raises(ReconError) as caught:
        recon.reconstruct(measurement, **PLAIN)
    assert "\n" not in str(caught.value)


def test_pixels_that_are_no_numbers_are_counted():
    with pytest.raises(UsageError, match="3 of its 256 pixel values are NaN or infinite"):
        recon.reconstruct(torch.where(torch.arange(256).reshape(1, 1, 16, 16) < 3, torch.nan, Y), **PLAIN)


@pytest.mark.parametrize(
    ("option", "argument"),
    [
        ("--noise SIGMA states it", "noise=SIGMA states it"),
        ("--range LO:HI states another", "range=(LO, HI) states another"),
        ("expected another --shape H,W or", "expected another shape=(H, W) or"),
        ("perhaps --noise 0.0118 (of 255, 3) is meant", "perhaps noise=0.0118 (of 255, 3) is meant"),
        ("--noise says 3 of the range", "noise says 3 of the range"),
        ("--device cuda: expected", "device=cuda: expected"),
        ("--iterations gives more, --tolerance asks less", "iterations gives more, tolerance asks less"),
    ],
)
def test_an_option_is_an_argument_in_python(option, argument):
    assert in_python(option) == argument


def test_remarks_and_errors_name_arguments():
    result = recon.reconstruct(255 * Y, "identity", "tv:weight=0.1", noise=3)
    assert result.remarks
    assert not any("--" in remark for remark in result.remarks)
    with pytest.raises(ReconError, match=r"expected another shape=\(H, W\)"):
        recon.reconstruct(Y, recon.operator(lambda x: x[..., :-1], lambda y: y), "tv", noise=0.05, range=(0, 1))


def test_a_denoiser_is_named_as_a_prior_is_and_says_that_it_has_no_gradient():
    named = recon.denoiser("model:lifting-gray", noise=0.05)
    with pytest.warns(UserWarning, match="differentiable=True"):
        found = named(Y.clone().requires_grad_())
    assert torch.equal(found, recon.denoiser("lifting-gray", noise=0.05)(Y))


def test_numbers_of_numpy_and_devices_of_torch_are_taken():
    plain = recon.reconstruct(Y, **PLAIN).image
    options = {
        "noise": np.float32(0.01),
        "seed": np.int64(0),
        "device": torch.device("cpu"),
        "iterations": np.int32(1000),
    }
    assert torch.equal(recon.reconstruct(Y, prior="tikhonov:weight=0.1", **options).image, plain)


@pytest.mark.parametrize("make", [recon.blur, recon.inpaint, recon.mri], ids=["blur", "inpaint", "mri"])
@pytest.mark.parametrize(
    "given", [None, "x", 3, np.array("x"), np.array([[None]]), np.zeros((2, 2, 2)), np.zeros((0, 3))]
)
def test_a_plane_of_another_kind_is_one_sentence(make, given):
    with pytest.raises(UsageError, match="expected"):
        make(given)


@pytest.mark.parametrize("mask", [np.array([[0, 0.5], [1, 1]]), np.array([[0, np.nan]]), np.array([[0, -1]])])
def test_a_mask_of_more_than_two_values_is_refused(mask):
    for make in (recon.inpaint, recon.mri):
        with pytest.raises(UsageError, match="zero and one value above"):
            make(mask)


def test_a_complex_psf_is_refused():
    with pytest.raises(UsageError, match="real numbers"):
        recon.blur(np.ones((3, 3)) * 1j)


@pytest.mark.parametrize("given", [None, 3, b"x", np.eye(3)])
def test_a_geometry_of_another_kind_is_refused(given):
    with pytest.raises(UsageError, match="expected a Geometry"):
        recon.ct(given)


@pytest.mark.parametrize("shape", [16, "ab", (16,), (0, 4), (1.5, 2)])
def test_a_shape_of_another_kind_is_refused(shape):
    with pytest.raises(UsageError, match="two whole numbers"):
        recon.operator(lambda x: x, lambda y: y, shape)


@pytest.mark.parametrize(
    ("name", "noise"), [(None, 0.1), (3, 0.1), ("proved-gray", "a"), ("proved-gray", 50), ("x", 0.1)]
)
def test_a_denoiser_of_another_kind_is_refused(name, noise):
    with pytest.raises(UsageError):
        recon.denoiser(name, noise)


def test_a_denoiser_refuses_values_that_it_was_not_made_for():
    denoise = recon.denoiser("proved-gray", noise=0.05)
    with pytest.raises(UsageError, match="divide it by what is white"):
        denoise(255 * Y)
    assert denoise(Y[0]).shape == Y[0].shape
    assert "noise=0.05" in repr(denoise)


def test_an_operator_of_another_size_is_refused():
    with pytest.raises(ReconError, match="8 x 8"):
        recon.reconstruct(Y, Identity((8, 8)), **PLAIN)


def test_a_subclass_is_checked_as_an_operator_of_somebody_else():
    class Half(CircularBlur):
        def A(self, x):
            return 0.5 * super().A(x)

        def A_adjoint(self, y):
            return 0.5 * super().A_adjoint(y)

    with pytest.raises(UsageError, match="data_resolvent is not"):  # that of the parent, which it inherits
        recon.reconstruct(Y, Half(torch.ones(1, 1), (16, 16)), "tikhonov:weight=0.001", noise=0.01)


def test_results_compare_by_identity():
    one, two = (recon.reconstruct(Y, **PLAIN) for _ in range(2))
    assert one != two
    assert one == one  # noqa: PLR0124
    assert len({one, two}) == 2
