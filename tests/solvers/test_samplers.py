"""Samplers: Gaussians whose mean and variance are known, purity, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from recon.certificates.mixing import split_r_hat, split_r_hat_of_moments
from recon.errors import GuaranteeError, UsageError
from recon.solvers.chains import sample
from recon.solvers.kinetic import kinetic
from recon.solvers.langevin import langevin, langevin_variance
from recon.solvers.sampler import Sampler
from recon.solvers.sk_rock import accurate_step, longest_step, sk_rock, sk_rock_variance
from recon.uncertainty.fourier_preconditioner import fourier_preconditioner, hessian_symbol

NOISE, SPREAD = 0.5, 2.0
LARGEST = 1 / NOISE**2 + 1 / SPREAD**2

MAKE: dict[str, Callable[..., Sampler[Any]]] = {
    "ula": lambda gradient, lipschitz, by=None: langevin(gradient, 0.12 / lipschitz, by),
    "sk-rock": lambda gradient, lipschitz, by=None: sk_rock(gradient, 0.8 / lipschitz, 3, by),
    "kinetic": lambda gradient, lipschitz, by=None: kinetic(gradient, 1.2 / lipschitz**0.5, 0.6 * lipschitz**0.5, by),
}


def problem() -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """y = A x + noise with x normal: the gradient of U, and the mean and the variance of the posterior."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    matrix /= torch.linalg.matrix_norm(matrix, 2)
    y = torch.randn(6, generator=generator, dtype=torch.float64) + 3.0
    precision = matrix.T @ matrix / NOISE**2 + torch.eye(4, dtype=torch.float64) / SPREAD**2
    covariance = torch.linalg.inv(precision)
    mean = covariance @ (matrix.T @ y) / NOISE**2
    return (lambda x: x @ precision - matrix.T @ y / NOISE**2), mean, covariance.diagonal()


@pytest.mark.parametrize("name", MAKE)
def test_a_gaussian_posterior_has_the_mean_and_the_variance_of_the_closed_form(name: str) -> None:
    gradient, mean, variance = problem()
    chains = 400
    images = lambda x: gradient(x.flatten(1)).view_as(x)  # noqa: E731
    sampler = MAKE[name](images, LARGEST)
    starts = torch.zeros(chains, 1, 1, 4, dtype=torch.float64) + 3 * torch.randn(
        chains, 1, 1, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    found = sample(sampler, starts, chains, seed=2, max_steps=1600, ess_wanted=1500, r_hat_limit=1.3)
    assert found.mixing.mixed
    scale = mean.norm()
    assert float((found.mean.flatten() - mean).norm() / scale) <= 0.02
    assert float((found.variance.flatten() / variance - 1).abs().max()) <= 0.1


@pytest.mark.parametrize("name", MAKE)
def test_a_preconditioned_chain_has_the_same_density(name: str) -> None:
    """A circulant precision, whose preconditioner makes it the identity."""
    side, chains = 4, 600
    symbol = torch.linspace(0.5, 20.0, side * (side // 2 + 1), dtype=torch.float64).view(1, side, -1)
    symbol = (symbol + symbol.flip(1).roll(1, 1)) / 2  # even in the frequencies
    precision = lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * symbol, s=(side, side))  # noqa: E731
    by = fourier_preconditioner(symbol[0, ..., None, None].to(torch.complex128))
    impulse = torch.zeros(1, 1, side, side, dtype=torch.float64)
    impulse[..., 0, 0] = 1.0
    variance = float(by.apply(impulse)[..., 0, 0])
    starts = torch.zeros(chains, 1, side, side, dtype=torch.float64)
    found = sample(MAKE[name](precision, 1.0, by), starts, chains, seed=3, max_steps=400)
    assert float((found.variance.mean() / variance - 1).abs()) <= 0.1
    assert torch.allclose(by.root(by.root(impulse)), by.apply(impulse))


def test_the_preconditioner_inverts_a_circulant_hessian_of_colours() -> None:
    side = 6
    mixing = torch.tensor([[2.0, 0.9, 0.3], [0.9, 1.5, 0.6], [0.3, 0.6, 1.0]], dtype=torch.float64)
    symbol = 1 + torch.fft.fftfreq(side).abs()[:, None] + torch.fft.rfftfreq(side)

    def hessian(x: Tensor) -> Tensor:
        blurred = torch.fft.irfft2(torch.fft.rfft2(x) * symbol, s=(side, side))
        return torch.einsum("ij,bjhw->bihw", mixing, blurred)

    point = torch.zeros(1, 3, side, side, dtype=torch.float64)
    by = fourier_preconditioner(hessian_symbol(hessian, point, 0.1, 0))
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(by.apply(hessian(x)), x, atol=1e-9)
    assert torch.allclose(by.root(by.root(x)), by.apply(x), atol=1e-9)
    assert torch.allclose((by.root(x) * x.flip(0)).sum(), (x * by.root(x.flip(0))).sum())


@pytest.mark.parametrize("name", MAKE)
def test_a_step_is_pure_and_going_on_is_the_same_as_never_having_stopped(name: str) -> None:
    gradient, *_ = problem()
    sampler = MAKE[name](lambda x: gradient(x.flatten(1)).view_as(x), LARGEST)
    state = sampler.init(torch.ones(2, 1, 1, 4, dtype=torch.float64), 5)
    kept = [each.clone() if isinstance(each, Tensor) else each for each in state]
    once, again = sampler.step(state), sampler.step(state)
    assert torch.equal(once.x, again.x)
    for before, after in zip(kept, state, strict=True):
        assert torch.equal(before, after) if isinstance(before, Tensor) else before == after
    assert not torch.equal(sampler.step(once).x, once.x)
    other = sampler.step(sampler.init(torch.ones(2, 1, 1, 4, dtype=torch.float64), 6))
    assert not torch.equal(other.x, once.x)


def test_the_variances_of_the_langevin_chains_are_those_of_their_formulas() -> None:
    precision, chains = 3.0, 5000
    starts = torch.randn(chains, 1, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for sampler, expected in (
        (langevin(lambda x: precision * x, 0.3), langevin_variance(0.3, precision)),
        (sk_rock(lambda x: precision * x, 0.8, 3), sk_rock_variance(0.8, precision, 3)),
    ):
        found = sample(sampler, starts, chains, seed=1, max_steps=200)
        assert float(found.variance) == pytest.approx(expected, rel=0.03)
    assert langevin_variance(0.3, precision) > 1.5 / precision  # a step that long is seen to be biased


def test_the_step_of_sk_rock_is_accurate_where_it_says_so() -> None:
    stages, step = 10, accurate_step(10, 0.1)
    for eigenvalue in (0.001, 0.01, 0.05, 0.1):
        assert sk_rock_variance(step, eigenvalue, stages) * eigenvalue == pytest.approx(1, abs=0.1)
    assert sk_rock_variance(step, 1.0, stages) < 1.1


def test_sk_rock_is_stable_up_to_its_longest_step_and_not_far_beyond() -> None:
    stages = 6
    for part, grows in ((1.0, False), (1.4, True)):
        sampler = sk_rock(lambda x: x, part * longest_step(stages), stages)
        state = sampler.init(torch.ones(50, 1, 1, 1, dtype=torch.float64), 0)
        for _ in range(60):
            state = sampler.step(state)
        assert (float(state.x.abs().max()) > 1e3) == grows


def test_a_few_slow_pixels_between_the_traces_keep_chains_from_being_mixed() -> None:
    """All but a hole of 2 x 2 pixels of 64 x 64 have mixed after 200 steps; it takes 1e5."""
    precision = torch.ones(1, 1, 64, 64)
    precision[..., 3:5, 3:5] = 1e-5
    sampler = langevin(lambda x: precision * x, 0.3)
    starts = torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    found = sample(sampler, starts, 4, max_steps=1600)
    assert not found.mixing.mixed
    assert found.mixing.r_hat > 1.2
    assert sample(langevin(lambda x: x, 0.3), starts, 4, max_steps=1600).mixing.mixed


def test_split_r_hat_of_moments_is_that_of_the_draws() -> None:
    draws = torch.randn(40, 3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draws[..., 5], draws[..., 6] = 0.1, torch.arange(3)
    halves = torch.cat([draws[:20], draws[20:]], 1)
    mean, square = halves.mean(0, keepdim=True), halves.square().mean(0, keepdim=True)
    found = split_r_hat_of_moments(mean, square, 20)[0]
    assert torch.allclose(found[:6], split_r_hat(draws)[:6], rtol=1e-9)
    assert found[6] == torch.inf


def test_a_pixel_between_the_traces_that_is_not_finite_ends_the_run() -> None:
    def gradient(x: torch.Tensor) -> torch.Tensor:
        away = x.clone()
        away[..., 0, 0] = torch.nan
        return away

    with pytest.raises(GuaranteeError, match="finite numbers"):
        sample(langevin(gradient, 0.1), torch.zeros(2, 1, 64, 64), 2, max_steps=200)


def test_chains_that_diverge_are_not_reported() -> None:
    sampler = langevin(lambda x: x * x * x, 10.0)
    with pytest.raises(GuaranteeError, match="finite numbers"):
        sample(sampler, 5 * torch.ones(4, 1, 2, 2), 4, max_steps=200)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: langevin(3.0, 0.1), "gradient is a float"),  # type: ignore[arg-type]
        (lambda: langevin(lambda x: x, -1.0), "stepsize=-1.0"),
        (lambda: sk_rock(lambda x: x, 0.1, 1), "at least 2"),
        (lambda: kinetic(lambda x: x, 0.1, 0.0), "friction=0.0"),
        (lambda: sample(langevin(lambda x: x, 0.1), torch.zeros(3, 1, 2, 2), 2, max_steps=200), "chains=2 of 3"),
        (lambda: sample(langevin(lambda x: x, 0.1), torch.zeros(3, 1, 2, 2), 1, max_steps=200), "at least 2"),
    ],
)
def test_what_is_no_sampler_is_refused_by_name(call: Callable[[], object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call()
