"""Deblurring of a photograph by total variation, 512 x 512: seconds to a relative objective error of 1e-4.

The problem, the same for all and checked to be: min ||h * x - y||^2 / 2 + w TV(x), isotropic forward differences with
zero across the border, h a measured camera-shake kernel on the torus, float32. The reference value is that of another
solver (Condat-Vu with the gradient, double precision, thousands of steps). The number of steps that each solver needs
is found first, untimed; then exactly that many are timed, interleaved. Target: faster than every solver of a peer.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import optional
from skimage.io import imread
from timing import compare, report
from torch import Tensor

from recon.operators import Blur, LeastSquares
from recon.priors import identity, total_variation_split, total_variation_value
from recon.solvers import condat_vu, iterate, solve

DATA = Path(__file__).resolve().parents[2] / "data"
SHAPE, WEIGHT, NOISE, LEVEL, ROUNDS, BUDGET = (512, 512), 1e-3, 0.01, 1e-4, 3, 400
REFERENCE_STEPS = (4000, 1000)
STEPSIZE = 5.0
"""The primal step of every primal-dual method here: of 3, 5 and 8 the best for each of them."""

Run = Callable[[int], object]
Watched = Callable[[Callable[[Any], None]], object]


class Problem:
    """The measurement, the operator and the objective, evaluated in double precision."""

    def __init__(self) -> None:
        clean = torch.from_numpy(imread(DATA / "photographs" / "camera.png") / 255).float()[None, None]
        clean = clean[..., : SHAPE[0], : SHAPE[1]]
        self.psf = torch.from_numpy(np.load(DATA / "kernels" / "levin09_1.npy", allow_pickle=False))
        self.operator = Blur(self.psf, SHAPE)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        self.measurement = self.operator.A(clean) + NOISE * noise
        self.split = total_variation_split(WEIGHT, image_shape=SHAPE)
        self.dual_stepsize = 0.99 / (STEPSIZE * self.split.operator.properties.norm.value**2)
        self._data_term = LeastSquares(self.operator, self.measurement.double())

    def objective(self, x: Any) -> float:
        image = torch.as_tensor(x).reshape(1, 1, *SHAPE).double()
        return float(self._data_term.value(image) + WEIGHT * total_variation_value(image))

    def reference(self) -> float:
        """The least value, by Condat-Vu with the gradient; two solvers have to agree on it to 1e-7."""
        y, d = self.measurement.double(), self.split.operator
        t = 0.02
        s = 0.99 / (0.5 + t * d.properties.norm.value**2)
        by_gradient = condat_vu(self._data_term, identity(), d, self.split.conjugate_resolvent(t), s, t)
        t = self.dual_stepsize
        by_resolvent = condat_vu(
            None, self._data_term.resolvent(STEPSIZE), d, self.split.conjugate_resolvent(t), STEPSIZE, t, 1.9
        )
        with torch.no_grad():
            values = [
                self.objective(next(islice(iterate(algorithm, y), steps, None)).x)
                for algorithm, steps in zip((by_gradient, by_resolvent), REFERENCE_STEPS, strict=True)
            ]
        if abs(values[0] / values[1] - 1) > 1e-7:
            raise SystemExit(
                f"reference: two solvers reach {values[0]:.9g} and {values[1]:.9g}; expected 1e-7 between."
            )
        return min(values)


def ours(problem: Problem) -> tuple[Run, Watched]:
    """The primal-dual method with the data term in its resolvent, over-relaxed."""
    s, t = STEPSIZE, problem.dual_stepsize

    def algorithm() -> Any:
        data_term = LeastSquares(problem.operator, problem.measurement)
        projection = problem.split.conjugate_resolvent(t)
        return condat_vu(None, data_term.resolvent(s), problem.split.operator, projection, s, t, 1.9)

    def watched(look: Callable[[Any], None]) -> None:
        for state in islice(iterate(algorithm(), problem.measurement), 1, None):
            look(state.x)

    return lambda steps: solve(algorithm(), problem.measurement, tolerance=0, max_steps=steps), watched


def pyproximal_solvers(problem: Problem) -> dict[str, tuple[Run, Watched]]:
    """PrimalDual of pyproximal, with its own L2 (inner conjugate gradients) and with a prox written for it."""
    pyproximal, pylops = optional("pyproximal", "pyproximal"), optional("pylops", "pylops")
    if pyproximal is None or pylops is None:
        return {}
    import scipy.fft  # noqa: PLC0415

    otf = torch.fft.rfft2(problem.operator.A(impulse())).numpy()
    y = problem.measurement.numpy().ravel()
    threads = torch.get_num_threads()

    def forward(x: np.ndarray) -> np.ndarray:
        return scipy.fft.rfft2(x.reshape(SHAPE), workers=threads)

    def back(spectrum: np.ndarray) -> np.ndarray:
        return scipy.fft.irfft2(spectrum, s=SHAPE, workers=threads).ravel()

    class CircularBlur(pylops.LinearOperator):
        """The same convolution for pylops, by scipy's transforms on as many threads as torch has."""

        def __init__(self) -> None:
            super().__init__(dtype=np.dtype("float32"), dims=SHAPE, dimsd=SHAPE)

        def _matvec(self, x: np.ndarray) -> np.ndarray:
            return back(forward(x) * otf)

        def _rmatvec(self, x: np.ndarray) -> np.ndarray:
            return back(forward(x) * otf.conj())

    class ClosedForm(pyproximal.ProxOperator):
        """What pyproximal has not: the closed form of the prox, kept between calls."""

        def __init__(self) -> None:
            super().__init__(None, False)
            self.inverse = (1 / (1 + STEPSIZE * np.abs(otf) ** 2)).astype(np.float32)
            self.offset = STEPSIZE * otf.conj() * forward(y) * self.inverse

        def __call__(self, x: np.ndarray) -> float:
            return 0.0

        def prox(self, x: np.ndarray, tau: float) -> np.ndarray:
            return back(forward(x) * self.inverse + self.offset)

    blur = CircularBlur()
    gradient = pylops.Gradient(SHAPE, kind="forward", edge=False, dtype="float32")
    field = np.random.default_rng(0).random(2 * y.size, dtype=np.float32)
    require("pylops' blur", blur @ y, problem.operator.A(problem.measurement))
    require("pylops' Gradient", gradient @ y, problem.split.operator.A(problem.measurement))
    require(
        "pylops' divergence",
        gradient.H @ field,
        problem.split.operator.A_adjoint(torch.from_numpy(field).reshape(1, 1, 2, *SHAPE)),
    )

    def primal_dual(data_term: Callable[[], Any]) -> tuple[Run, Watched]:
        def run(steps: int, look: Callable[[Any], None] = lambda x: None) -> None:
            pyproximal.optimization.primaldual.PrimalDual(
                data_term(),
                pyproximal.L21(ndim=2, sigma=WEIGHT),
                gradient,
                x0=y,
                tau=STEPSIZE,
                mu=problem.dual_stepsize,
                niter=steps,
                callback=look,
            )

        return run, lambda look: run(BUDGET, look)

    return {
        "pyproximal PrimalDual, L2": primal_dual(lambda: pyproximal.L2(Op=blur, b=y, niter=2, warm=True, solver="cg")),
        "pyproximal PrimalDual, closed-form prox": primal_dual(ClosedForm),
    }


def deepinv_solvers(problem: Problem) -> dict[str, tuple[Run, Watched]]:
    """PDCP with the closed-form prox of BlurFFT, and FISTA and DRS with TVPrior, warm-started."""
    import deepinv  # noqa: PLC0415
    from deepinv.models import TVDenoiser  # noqa: PLC0415
    from deepinv.optim import DRS, FISTA, PDCP  # noqa: PLC0415

    y = problem.measurement
    physics = deepinv.physics.BlurFFT((1, *SHAPE), filter=problem.psf.float()[None, None])
    require("deepinv's blur", physics.A(y), problem.operator.A(y))
    require("deepinv's nabla", TVDenoiser.nabla(y).movedim(-1, 2), problem.split.operator.A(y))

    def runs(make: Callable[[int], Any]) -> tuple[Run, Watched]:
        def watched(look: Callable[[Any], None]) -> None:
            model = make(BUDGET)
            one = model.fixed_point.single_iteration

            def observed(*arguments: Any, **options: Any) -> Any:
                following = one(*arguments, **options)
                look(following["est"][0])
                return following

            model.fixed_point.single_iteration = observed
            model(y, physics)

        return lambda steps: make(steps)(y, physics), watched

    def without_cost(prior: Any) -> Any:
        prior.explicit_prior = False  # else the objective is evaluated at each step
        return prior

    def pdcp(steps: int) -> Any:
        return PDCP(
            K=TVDenoiser.nabla,
            K_adjoint=TVDenoiser.nabla_adjoint,
            data_fidelity=deepinv.optim.L2(),
            prior=without_cost(deepinv.optim.L12Prior()),
            lambda_reg=WEIGHT,
            stepsize=STEPSIZE,
            stepsize_dual=problem.dual_stepsize,
            g_first=True,
            max_iter=steps,
            custom_init=lambda y, physics: {"est": (y, y, torch.zeros(*y.shape, 2))},
        )

    def with_tv_prior(method: Any, stepsize: float, inner_step: float) -> Callable[[int], Any]:
        def make(steps: int) -> Any:
            prior = deepinv.optim.TVPrior(n_it_max=10)
            prior.TVModel.tau = inner_step  # of the default, 0.01, nothing converges in the budget
            return method(
                data_fidelity=deepinv.optim.L2(),
                prior=without_cost(prior),
                lambda_reg=WEIGHT,
                stepsize=stepsize,
                max_iter=steps,
                custom_init=lambda y, physics: {"est": (y, y)},
            )

        return make

    return {
        "deepinv PDCP, L12Prior": runs(pdcp),
        "deepinv FISTA, TVPrior": runs(with_tv_prior(FISTA, 1.0, 0.3)),
        "deepinv DRS, TVPrior": runs(with_tv_prior(DRS, 30.0, 0.03)),
    }


def impulse() -> Tensor:
    """A bright point at the origin, whose image is the kernel."""
    x = torch.zeros(SHAPE)
    x[0, 0] = 1
    return x


def require(what: str, theirs: Any, expected: Tensor) -> None:
    """The problem has to be the same for all."""
    error = float((torch.as_tensor(theirs).reshape(-1) - expected.reshape(-1)).abs().max())
    if not error < 1e-5:
        raise SystemExit(f"{what} is another operator than ours: they differ by {error:.2g}.")


def steps_to_level(problem: Problem, least: float, watched: Watched) -> int | None:
    """The first step whose objective is within ``LEVEL`` of the least, or None within the budget."""
    steps = 0

    class Stop(Exception):
        pass

    def look(x: Any) -> None:
        nonlocal steps
        steps += 1
        if problem.objective(x) <= least * (1 + LEVEL):
            raise Stop
        if steps >= BUDGET:
            steps = 0
            raise Stop

    with torch.no_grad(), stops_at(Stop):
        watched(look)
    return steps or None


@contextmanager
def stops_at(stop: type[Exception]) -> Iterator[None]:
    try:
        yield
    except stop:
        return


def run() -> dict[str, dict]:
    problem = Problem()
    least = problem.reference()
    solvers = {"ours": ours(problem), **pyproximal_solvers(problem), **deepinv_solvers(problem)}
    timed: dict[str, Callable[[], object]] = {}
    steps_of: dict[str, int | None] = {}
    for name, (go, watched) in solvers.items():
        steps = steps_of[name] = steps_to_level(problem, least, watched)
        if steps is not None:
            timed[name] = lambda go=go, steps=steps: go(steps)
    case = compare(timed, ROUNDS, warm_up=1, targets=dict.fromkeys(solvers, 1.0))
    case["steps"] = steps_of
    return {"TV deblurring to 1e-4": case}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    report(run, __doc__)
