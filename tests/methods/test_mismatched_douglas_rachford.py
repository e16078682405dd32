"""Douglas-Rachford with a surrogate: the zero that forward-backward finds, in fewer steps, on weaker conditions."""

import numpy as np
import pytest
import torch

from recon.errors import UsageError
from recon.evidence import Evidence
from recon.methods.choice import choose_method
from recon.methods.operator_pair import analyse_operator
from recon.methods.setting import Method
from recon.operators import Blur, Inpainting, box_psf, gaussian_psf
from recon.priors import tikhonov_prior
from recon.solvers import Solution, solve

SHAPE = (24, 21)
EXAMPLE = torch.zeros(1, 1, *SHAPE)
OPERATOR, SURROGATE = Blur(gaussian_psf(1.0), SHAPE), Blur(gaussian_psf(1.3), SHAPE)
Y = torch.rand(2, 1, *SHAPE, generator=torch.Generator().manual_seed(0)).double()


def chosen(name: str, stepsize: float | None = None, shift: float | None = None, weight: float = 0.05) -> Method:
    pair = analyse_operator(OPERATOR, SURROGATE, EXAMPLE, shift=shift)
    return choose_method(pair, tikhonov_prior(weight), name, stepsize, weight=weight)


def run(method: Method) -> Solution:
    return solve(method.algorithm(Y), torch.zeros_like(Y), tolerance=1e-8, max_steps=20_000)


@pytest.mark.parametrize("stepsize", [None, 1.0, 30.0])
@pytest.mark.parametrize("shift", [None, 0.02])
def test_it_finds_the_zero_of_the_mismatched_problem(stepsize: float | None, shift: float | None) -> None:
    x = run(chosen("mismatched_douglas_rachford", stepsize, shift)).x
    residual = SURROGATE.A_adjoint(OPERATOR.A(x) - Y) + (shift or 0.0) * x + 0.05 * x
    assert float(residual.abs().max()) < 1e-6
    torch.testing.assert_close(x, run(chosen("forward_backward", shift=shift)).x, atol=1e-5, rtol=0)


def test_it_takes_fewer_steps_than_forward_backward() -> None:
    weak = {name: run(chosen(name, weight=1e-3)) for name in ("mismatched_douglas_rachford", "forward_backward")}
    assert weak["mismatched_douglas_rachford"].steps[0] < weak["forward_backward"].steps[0] / 4


def test_it_is_proved_where_the_map_is_monotone_and_only_there() -> None:
    method = chosen("mismatched_douglas_rachford")
    assert method.certificate.holds
    assert method.certificate.evidence is Evidence.PROVED
    pair = analyse_operator(Blur(box_psf(5), SHAPE), Blur(box_psf(9), SHAPE), EXAMPLE)
    assert pair.mismatch.symmetric_part_min.value < 0
    assert not choose_method(pair, tikhonov_prior(1e-6), "mismatched_douglas_rachford").certificate.holds


def test_its_bound_holds() -> None:
    method = chosen("mismatched_douglas_rachford")
    x = run(method).x
    system = np.eye(SHAPE[0] * SHAPE[1]) * 0.05
    basis = torch.eye(SHAPE[0] * SHAPE[1]).double().reshape(-1, 1, *SHAPE)
    system = system + OPERATOR.A_adjoint(OPERATOR.A(basis)).reshape(len(basis), -1).numpy().T
    matched = np.linalg.solve(system, OPERATOR.A_adjoint(Y).reshape(len(Y), -1).numpy().T).T
    apart = np.linalg.norm(x.reshape(len(Y), -1).numpy() - matched, axis=1)
    assert all(distance <= bound.value for distance, bound in zip(apart, method.bound(Y, x), strict=True))


def test_what_has_no_closed_form_is_refused() -> None:
    mask = Inpainting(torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) > 0.3)
    with pytest.raises(UsageError, match="Inpainting and CircularBlur; expected circular blurs"):
        choose_method(analyse_operator(mask, SURROGATE, EXAMPLE), tikhonov_prior(0.1), "mismatched_douglas_rachford")
    with pytest.raises(UsageError, match="without a surrogate; expected one"):
        choose_method(analyse_operator(OPERATOR, None, EXAMPLE), tikhonov_prior(0.1), "mismatched_douglas_rachford")
