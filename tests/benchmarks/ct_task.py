"""One CT task, every peer: seconds from the sinogram to 30, 32.5, 35 and 37.5 dB, and the best image in the budget.

The Shepp-Logan phantom on 512 x 512 pixels of 1, values 0 to 1; 60 parallel views over 180 degrees, 725 detector pixels
of 1; white noise of 1 % of the sinogram's root mean square. Ours, ODL, pyproximal and deepinv minimise
||A x - y||^2 / 2 + 3 TV(x), all but deepinv with x >= 0; svmbir minimises with its own prior, and ASTRA's SIRT and CGLS
without one. The projectors are there beforehand, and so is svmbir's matrix, whose time is stated apart; the clock runs
over set-up, start and steps, and stands still while the PSNR is taken. The first run of each finds what it reaches;
those that reach a level run twice more, and the medians count.

All who can begin with our filtered back-projection. The peers' settings are the best of a few dozen tried on this very
image: ODL and pyproximal have the norm of A for nothing and the best balance of steps and scaling; svmbir has a row
with its own start and the settings its manual names, and one with our start and the shape of its prior tuned as well.

Targets: faster than svmbir to 32.5 and 35 dB, four times as fast as ODL and pyproximal to 32.5 dB, the best image.
"""

import math
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peers import optional
from skimage.data import shepp_logan_phantom
from skimage.transform import resize
from timing import report
from torch import Tensor

from recon._malloc import keep_freed_memory
from recon.methods.choice import choose_method
from recon.methods.operator_pair import OperatorPair
from recon.operators import spectral
from recon.operators.base import EXACT_ADJOINT
from recon.operators.tomography import Detector, Geometry, Tomography, Volume, evenly_spaced, fbp
from recon.priors import total_variation_prior, total_variation_value
from recon.solvers import iterate

SIZE, VIEWS, PIXELS, WEIGHT, NOISE, WINDOW = 512, 60, 725, 3.0, 0.01, "hann"
LEVELS, ROUNDS = (30.0, 32.5, 35.0, 37.5), 3
OUR_BUDGET_S, BUDGET_S, LONG_BUDGET_S = 10.0, 20.0, 60.0
BALANCE, RATIO = 0.004, 3.0
"""ODL and pyproximal: the primal step times the weight, and ||A|| to ||D|| once A is scaled.

Of 0.001, 0.004, 0.016 and 1, 3, 10, 30 the ones with the fewest steps to 32.5 and 35 dB, from either start.
"""
TARGETS: dict[float, dict[str, float]] = {
    32.5: {"svmbir": 1.0, "svmbir, tuned": 1.0, "ODL PDHG": 0.25, "pyproximal PrimalDual": 0.25},
    35.0: {"svmbir": 1.0, "svmbir, tuned": 1.0},
}
SVMBIR = [{"snr_db": snr, "sharpness": sharpness} for snr, sharpness in ((35.0, 0.0), (35.0, 1.0), (40.0, 1.0))]
SVMBIR_TUNED = [{"snr_db": 38.0, "sharpness": 1.0, "p": 1.05, "T": t, "relax_factor": 1.5} for t in (0.05, 0.1, 0.3)]
SVMBIR_STEPS, SVMBIR_TUNED_STEPS = (6, 10, 15, 20, 30), (2, 3, 4, 6, 10, 40)


class Problem:
    """The truth, the measurement, and the start for all."""

    def __init__(self) -> None:
        image = resize(shepp_logan_phantom(), (SIZE, SIZE), anti_aliasing=True)
        self.truth = torch.from_numpy(image).float()[None, None]
        volume = Volume((SIZE, SIZE), 1.0)
        self.geometry = Geometry("parallel", evenly_spaced(0, 180, VIEWS), Detector(PIXELS, 1.0), volume)
        self.operator = Tomography(self.geometry)
        self.clean = self.operator.A(self.truth)
        white = torch.randn(self.clean.shape, generator=torch.Generator().manual_seed(0))
        self.noise = NOISE * self.clean.square().mean().sqrt() * white
        self.measurement = self.clean + self.noise
        self.norm = spectral.norm(self.operator, self.operator.domain.zeros(1, 1)).value
        self.prior = total_variation_prior(WEIGHT, image_shape=(SIZE, SIZE), bounds=(0.0, math.inf))
        self.start()  # so that its loops are compiled

    @property
    def angles(self) -> np.ndarray:
        """In radians."""
        return np.deg2rad(np.asarray(self.geometry.angles))

    def start(self) -> Tensor:
        return fbp(self.geometry, window=WINDOW)(self.measurement).clamp_(min=0)


class Stop(Exception):
    """The goal is reached, or the budget spent."""


class Watch:
    """A stopwatch that stands still while the PSNR is taken."""

    def __init__(self, truth: Tensor, goal: float, budget: float) -> None:
        self.truth, self.goal, self.budget = truth, goal, budget
        self.reached: dict[float, float] = {}
        self.best, self.best_at = -math.inf, math.nan
        self.start()

    def start(self) -> None:
        self.seconds = 0.0
        self._since = time.perf_counter()

    def note(self, x: Any) -> float:
        """The PSNR of what there is by now, with peak 1 over the whole image."""
        self.seconds += time.perf_counter() - self._since
        image = torch.as_tensor(x).reshape(self.truth.shape)
        psnr = -10 * math.log10(float((image - self.truth).double().square().mean()))
        for level in LEVELS:
            if psnr >= level:
                self.reached[level] = min(self.reached.get(level, math.inf), self.seconds)
        if psnr > self.best:
            self.best, self.best_at = psnr, self.seconds
        self._since = time.perf_counter()
        return psnr

    def look(self, x: Any) -> None:
        """The same after a step, at which the run may end."""
        if self.note(x) >= self.goal or self.seconds >= self.budget:
            raise Stop


Run = Callable[[Watch], None]


@dataclass(frozen=True)
class Contender:
    """A solver, which shows its images to a watch, and the seconds it is given."""

    run: Run
    budget: float = BUDGET_S


def ours(problem: Problem) -> Contender:
    """What ``recon solve`` takes for a projector and total variation with a bound: one method, no setting."""
    operator = problem.operator
    pair = OperatorPair(operator, operator.properties, EXACT_ADJOINT)

    def run(watch: Watch) -> None:
        watch.start()
        algorithm = choose_method(pair, problem.prior, weight=WEIGHT).algorithm(problem.measurement)
        for state in iterate(algorithm, problem.start()):
            watch.look(state.x)

    return Contender(run, OUR_BUDGET_S)


def svmbir_contenders(problem: Problem, svmbir: Any, library: str) -> dict[str, Contender]:
    """It gives no image before it is done, so each number of iterations is a call of its own, timed from its start.

    Its image is the transpose of ours. It leaves what is outside the inscribed circle as it began, hence the mask.
    """
    sinogram = np.ascontiguousarray(problem.measurement[0, 0].numpy()[:, None, :])
    both = {"num_threads": torch.get_num_threads(), "verbose": 0, "svmbir_lib_path": library}
    fixed = {"num_rows": SIZE, "num_cols": SIZE, "stop_threshold": 0.0, **both}
    side = torch.arange(SIZE) - (SIZE - 1) / 2
    circle = torch.hypot(side[:, None], side) < SIZE / 2 - 1

    def reconstruct(**settings: Any) -> np.ndarray:
        return svmbir.recon(sinogram, problem.angles, **fixed, **settings)[0].T

    begin = time.perf_counter()
    reconstruct(max_iterations=1)
    print(f"svmbir: its system matrices took {time.perf_counter() - begin:.0f} s beforehand.", file=sys.stderr)
    image = np.ascontiguousarray(problem.truth[0].mT.numpy())
    projected = svmbir.project(image, problem.angles, PIXELS, **both)
    require_agreement("svmbir's projector", projected[:, 0], problem.clean, 5e-3)

    def contender(settings: list[dict], steps: tuple[int, ...], with_start: bool) -> Contender:
        calls = [{**one, "max_iterations": count} for one in settings for count in steps]

        def run(watch: Watch) -> None:
            fastest: dict[float, dict] = {}
            for call in calls:
                before = dict(watch.reached)
                watch.start()
                init = {"init_image": (problem.start()[0] * circle).mT.contiguous().numpy()} if with_start else {}
                watch.note(reconstruct(**call, **init))
                fastest.update({level: call for level, at in watch.reached.items() if at != before.get(level)})
            calls[:] = [call for call in calls if call in fastest.values()]  # no other can count in the next round

        return Contender(run)

    return {
        "svmbir": contender(SVMBIR, SVMBIR_STEPS, with_start=False),
        "svmbir, tuned": contender(SVMBIR_TUNED, SVMBIR_TUNED_STEPS, with_start=True),
    }


def steps_and_scale(problem: Problem, norm: float) -> tuple[float, float, float]:
    """The primal and the dual step of a plain primal-dual method, and what A is divided by."""
    gradient = problem.prior.split.operator.properties.norm.value
    scale, stepsize = norm / (RATIO * gradient), BALANCE / WEIGHT
    return stepsize, 0.99 / (stepsize * gradient**2 * (1 + RATIO**2)), scale


def odl_contender(problem: Problem, odl: Any) -> Contender:
    """ODL's image is ours turned by a quarter, its inner product of sinograms the sum times the step of the angle."""
    half, reach = math.pi / VIEWS / 2, PIXELS / 2
    space = odl.uniform_discr([-SIZE / 2] * 2, [SIZE / 2] * 2, (SIZE, SIZE), dtype="float32")
    views = odl.uniform_partition(-half, math.pi - half, VIEWS)
    scan = odl.applications.tomo.Parallel2dGeometry(views, odl.uniform_partition(-reach, reach, PIXELS))
    projector = odl.applications.tomo.RayTransform(space, scan, impl="astra_cpu")
    gradient = odl.Gradient(space, method="forward", pad_mode="order0")
    cell = float(projector.range.one().norm() ** 2) / (VIEWS * PIXELS)
    s, t, scale = steps_and_scale(problem, math.sqrt(cell) * problem.norm)

    def turned(x: Tensor) -> Any:
        return space.element(np.ascontiguousarray(np.rot90(x[0, 0].numpy(), -1)))

    def upright(x: Any) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(x.asarray()))

    require_agreement("ODL's projector", projector(turned(problem.truth)).asarray(), problem.clean, 1e-3)
    variation = odl.functionals.GroupL1Norm(gradient.range)
    upwards = total_variation_value(problem.truth.flip(-2))  # the way ODL's second axis runs
    require_agreement("ODL's total variation", variation(gradient(turned(problem.truth))), upwards, 1e-5)

    def run(watch: Watch) -> None:
        watch.start()
        measured = projector.range.element(problem.measurement[0, 0].numpy() / scale)
        data = scale**2 / (2 * cell) * odl.functionals.L2NormSquared(projector.range).translated(measured)
        odl.solvers.pdhg(
            turned(problem.start()),
            odl.functionals.IndicatorNonnegativity(space),
            odl.functionals.SeparableSum(data, WEIGHT * variation),
            odl.BroadcastOperator(projector / scale, gradient),
            niter=10**6,
            tau=s,
            sigma=t,
            callback=lambda x: watch.look(upright(x)),
        )

    return Contender(run)


def pyproximal_contender(problem: Problem, pyproximal: Any, pylops: Any) -> Contender:
    projector = pylops.medical.CT2D((SIZE, SIZE), 1.0, PIXELS, problem.angles, engine="cpu", projector_type="linear")
    gradient = pylops.Gradient((SIZE, SIZE), kind="forward", edge=False, dtype="float32")
    x = problem.truth.numpy().ravel()
    require_agreement("pylops' projector", projector @ x, problem.clean, 1e-3)
    require_agreement("pylops' gradient", gradient @ x, problem.prior.split.operator.A(problem.truth), 1e-5)
    s, t, scale = steps_and_scale(problem, problem.norm)
    y = problem.measurement.numpy().ravel() / np.float32(scale)

    def run(watch: Watch) -> None:
        watch.start()
        data, penalty = pyproximal.L2(b=y, sigma=scale**2), pyproximal.L21(ndim=2, sigma=WEIGHT)
        pyproximal.optimization.primaldual.PrimalDual(
            pyproximal.Box(lower=0.0),
            pyproximal.VStack([data, penalty], nn=[y.size, 2 * x.size]),
            pylops.VStack([projector * (1 / scale), gradient], dtype="float32"),
            x0=problem.start().numpy().ravel(),
            tau=s,
            mu=t,
            niter=10**6,
            callback=watch.look,
        )

    return Contender(run)


def deepinv_contender(problem: Problem) -> Contender:
    """FISTA with TVPrior, without x >= 0; its grid is half a pixel beside ours, so it has a sinogram of its own."""
    import deepinv  # noqa: PLC0415

    physics = deepinv.physics.Tomography(
        angles=torch.tensor(problem.geometry.angles), img_width=SIZE, parallel_computation=False, normalize=False
    )
    with torch.no_grad():
        clean = physics.A(problem.truth)
    require_agreement("deepinv's projector", clean.mT, problem.clean, 0.03)
    measured = clean + problem.noise.mT

    def run(watch: Watch) -> None:
        prior = deepinv.optim.TVPrior(n_it_max=10)
        prior.TVModel.tau = 0.3
        prior.explicit_prior = False  # else the objective is evaluated at each step
        model = deepinv.optim.FISTA(
            data_fidelity=deepinv.optim.L2(),
            prior=prior,
            lambda_reg=WEIGHT,
            stepsize=1 / problem.norm**2,
            max_iter=10**4,
            custom_init=lambda y, physics: {"est": (problem.start(),) * 2},
        )
        one = model.fixed_point.single_iteration

        def observed(*arguments: Any, **options: Any) -> Any:
            following = one(*arguments, **options)
            watch.look(following["est"][0])
            return following

        model.fixed_point.single_iteration = observed
        watch.start()
        model(measured, physics)

    return Contender(run, LONG_BUDGET_S)


def astra_contenders(problem: Problem, astra: Any) -> dict[str, Contender]:
    """Step by step: SIRT with x >= 0 from our start, and CGLS from zero, for it takes any start as if it were."""
    slice_ = astra.create_vol_geom(SIZE, SIZE)
    scan = astra.create_proj_geom("parallel", 1.0, PIXELS, problem.angles)
    projector = astra.create_projector("linear", scan, slice_)

    def contender(name: str, start: Callable[[], Tensor], options: dict) -> Contender:
        def run(watch: Watch) -> None:
            watch.start()
            x = start()[0, 0].numpy()
            algorithm = astra.algorithm.create({
                **astra.astra_dict(name),
                "ProjectorId": projector,
                "ProjectionDataId": astra.data2d.link("-sino", scan, problem.measurement[0, 0].numpy()),
                "ReconstructionDataId": astra.data2d.link("-vol", slice_, x),
                "option": options,
            })  # fmt: skip
            while True:
                astra.algorithm.run(algorithm, 1)
                watch.look(x)

        return Contender(run)

    return {
        "ASTRA SIRT": contender("SIRT", problem.start, {"MinConstraint": 0.0}),
        "ASTRA CGLS": contender("CGLS", lambda: torch.zeros_like(problem.truth), {}),
    }


def require_agreement(what: str, theirs: Any, ours: Tensor, tolerance: float) -> None:
    """The problem has to be the same for all."""
    error = float((torch.as_tensor(theirs).reshape(ours.shape) - ours).norm() / ours.norm())
    if not error < tolerance:
        raise SystemExit(f"{what} differs from ours by {error:.2g} of the norm; expected at most {tolerance:g}.")


def watched(contender: Contender, problem: Problem, goal: float = math.inf) -> Watch:
    watch = Watch(problem.truth, goal, contender.budget)
    with torch.no_grad(), stops():
        contender.run(watch)
    return watch


@contextmanager
def stops() -> Iterator[None]:
    try:
        yield
    except Stop:
        return


def run() -> dict[str, dict]:
    keep_freed_memory()
    problem = Problem()
    with tempfile.TemporaryDirectory() as library:
        return cases(problem, contenders(problem, library))


def contenders(problem: Problem, library: str) -> dict[str, Contender]:
    found = {"ours": ours(problem)}
    if svmbir := optional("svmbir", "svmbir"):
        found |= svmbir_contenders(problem, svmbir, library)
    astra = optional("astra", "astra-toolbox")
    if astra:
        if odl := optional("odl", "odl"):
            found["ODL PDHG"] = odl_contender(problem, odl)
        pyproximal, pylops = optional("pyproximal", "pyproximal"), optional("pylops", "pylops")
        if pyproximal and pylops:
            found["pyproximal PrimalDual"] = pyproximal_contender(problem, pyproximal, pylops)
        found |= astra_contenders(problem, astra)
    found["deepinv FISTA, TVPrior"] = deepinv_contender(problem)
    return found


def cases(problem: Problem, found: dict[str, Contender]) -> dict[str, dict]:
    """The first run has the whole budget; the later ones go to the highest level that it reached."""
    watches = {name: [watched(contender, problem)] for name, contender in found.items()}
    for _ in range(ROUNDS - 1):
        for name, runs in watches.items():
            if levels := runs[0].reached:
                runs.append(watched(found[name], problem, max(levels)))
    by_level = {f"to {level:g} dB": case_of(level, watches) for level in LEVELS if level in watches["ours"][0].reached}
    best = {name: (runs[0].best, runs[0].best_at) for name, runs in watches.items()}
    return {**by_level, "the best image": best_case(best)}


def case_of(level: float, watches: dict[str, list[Watch]]) -> dict:
    """The seconds to a level, of those that reach it."""
    seconds = {
        name: statistics.median(watch.reached[level] for watch in runs if level in watch.reached)
        for name, runs in watches.items()
        if level in runs[0].reached
    }
    case = compared(seconds, TARGETS.get(level, {}))
    case["not_reached"] = {name: runs[0].budget for name, runs in watches.items() if name not in seconds}
    return case


def best_case(best: dict[str, tuple[float, float]]) -> dict:
    """The highest PSNR in the budget, and the seconds to it."""
    case = compared({name: seconds for name, (_, seconds) in best.items()}, {})
    case["psnr_db"] = {name: psnr for name, (psnr, _) in best.items()}
    return case


def compared(seconds: dict[str, float], targets: dict[str, float]) -> dict:
    peers = {name: theirs for name, theirs in seconds.items() if name != "ours"}
    return {
        "ours_s": seconds["ours"],
        "peers": peers,
        "ratio": {name: seconds["ours"] / theirs for name, theirs in peers.items()},
        "targets": {name: target for name, target in targets.items() if name in peers},
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    report(run, __doc__)
