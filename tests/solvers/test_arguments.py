"""Arguments of the wrong kind are refused in one sentence that says what was expected."""

import numpy as np
import pytest
import torch

from recon.errors import UsageError
from recon.operators import Blur, LeastSquares, gaussian_psf, operator_properties
from recon.priors import box, total_variation_prior
from recon.priors.networks import learned_prior
from recon.solvers import condat_vu, davis_yin, douglas_rachford, fista, forward_backward, solve, tseng

PSF = gaussian_psf(1.0)
BLUR = Blur(PSF, (12, 12))
Y = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
DATA, BOX, PRIOR = LeastSquares(BLUR, Y), box(0.0, 1.0), total_variation_prior(0.1)
RUN = forward_backward(DATA, BOX, 1.0)

SOLVERS = {
    "forward_backward": lambda data, resolvent: forward_backward(data, resolvent, 1.0),
    "tseng": lambda data, resolvent: tseng(data, resolvent, 0.5),
    "fista": lambda data, resolvent: fista(data, resolvent, 1.0),
    "davis_yin": lambda data, resolvent: davis_yin(data, resolvent, BOX, 1.0),
    "condat_vu": lambda data, resolvent: condat_vu(data, resolvent, BLUR, BOX, 0.5, 0.5),
}


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize(
    ("data", "resolvent", "words"),
    [
        (DATA, PRIOR, r"is a Prior; expected one of its resolvents, prior.resolvent\(stepsize\)"),
        (BLUR, BOX, r"is a CircularBlur; expected a map of the data, LeastSquares\(operator, measurement\)"),
        (BOX, DATA, "is a LeastSquares, a map of the data; expected a resolvent there"),
        (DATA, "tv", "is a str; expected a map from images to images"),
    ],
)
def test_of_a_solver(name: str, data, resolvent, words: str) -> None:
    with pytest.raises(UsageError, match=f"{name}: .*{words}"):
        SOLVERS[name](data, resolvent)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: douglas_rachford(PRIOR, BOX), "data_resolvent is a Prior"),
        (lambda: LeastSquares(lambda x: x, Y), "the operator is a function; expected an object with the methods A"),
        (lambda: LeastSquares(BLUR, Y.numpy()), "the measurement is a ndarray; expected a tensor"),
        (lambda: operator_properties(lambda x: x, Y), "is no operator"),
        (lambda: learned_prior("proved-gray"), "the network is 'proved-gray'; expected a network"),
        (lambda: solve(DATA, Y), "the algorithm is a LeastSquares; expected one of recon.solvers"),
        (lambda: solve(RUN, Y.numpy()), "x0 is a ndarray; expected a tensor"),
        (lambda: solve(RUN, Y.half()), "x0 is torch.float16; expected a tensor of float32 or float64"),
        (lambda: solve(RUN, torch.ones(1, 1, 12, 12, dtype=torch.int64)), "x0 is torch.int64"),
    ],
)
def test_of_the_rest(call, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_numpy_kernel_is_taken_in_its_precision(dtype) -> None:
    blur = Blur(PSF.numpy().astype(dtype), (12, 12))
    torch.testing.assert_close(blur.A(Y), BLUR.A(Y), rtol=0, atol=1e-6)
    assert blur.precision == np.finfo(dtype).eps / 2
