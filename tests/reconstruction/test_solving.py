"""The chain in memory: what is chosen, what is refused, and that it is right."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recon import operators, priors, solvers
from recon.errors import ConsistencyError, GuaranteeError, UsageError
from recon.evidence import Evidence
from recon.io import Image, Source, ValueRange, from_array
from recon.methods.catalogue import ENTRIES, with_prior
from recon.methods.choice import choose_method
from recon.methods.entry import Requirement
from recon.methods.operator_pair import OperatorPair, analyse_operator
from recon.operators import Blur, LeastSquares
from recon.priors.networks import ConvexRidgeConfig, LipschitzConfig, learned_prior, make
from recon.reconstruction.plan import make_plan
from recon.reconstruction.run import execute, pixel_hash, solve_image
from recon.solvers import Status
from recon.specs.grammar import Spec, parse_spec
from recon.specs.solve_config import Noise, SolveConfig

SHAPE = (24, 20)
BLUR = parse_spec("blur:gaussian=1")

MATCHED = tuple(name for name in with_prior() if ENTRIES[name].surrogate is not Requirement.NEEDED)
ELSEWHERE = ("chambolle_pock", "oista", "slista")
"""Of volumes, of sparse priors alone, of learned steps: tests/solvers, tests/reconstruction/test_duality_gaps.py."""
MATCHED = tuple(name for name in MATCHED if name not in ELSEWHERE)


def scene() -> torch.Tensor:
    x = torch.full(SHAPE, 0.2)
    x[6:16, 5:14] = 0.8
    return x


def image(x: torch.Tensor, units: str = "", value_range: tuple[float, float] = (0.0, 1.0)) -> Image:
    return from_array(x.numpy(), value_range=ValueRange(*value_range, units))


def blurred(noise: float = 0.0) -> Image:
    y = Blur(operators.gaussian_psf(1.0), SHAPE).A(scene())
    return image(y + noise * torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)))


def silent(line: str) -> None:
    pass


def plan_of(config: SolveConfig, measurement: Image | None = None):
    return make_plan(config, measurement or blurred(), silent)


def config(**options: object) -> SolveConfig:
    return SolveConfig(**{"operator": BLUR, "noise": Noise(0.01), "device": "cpu", **options})  # type: ignore[arg-type]


def test_a_blurred_image_comes_out_nearer_to_the_truth() -> None:
    measurement = blurred(0.01)
    result = solve_image(config(), measurement)
    truth = scene()
    before = torch.tensor(measurement.pixels[0, 0]) - truth
    after = result.solution.x[0, 0] - truth
    assert result.status is Status.CONVERGED
    assert float(after.norm()) < 0.5 * float(before.norm())


@pytest.mark.parametrize(
    ("prior", "method"),
    [("none", "fista"), ("box", "fista"), ("l1:weight=0.1", "douglas_rachford"), ("tv:weight=0.1", "condat_vu"),
     ("deepinv:MedianFilter,sigma=0.1", "forward_backward")],
)  # fmt: skip
def test_the_method_follows_from_the_prior(prior: str, method: str) -> None:
    assert plan_of(config(prior=parse_spec(prior))).method.name == method


@pytest.mark.parametrize("method", MATCHED)
def test_every_method_is_certified_at_its_own_step_size(method: str) -> None:
    prior = "tv:weight=0.01" if method == "condat_vu" else "tikhonov:weight=0.01"
    plan = plan_of(config(prior=parse_spec(prior), method=method))
    assert plan.method.certificate.holds, plan.method.certificate
    if plan.method.interval is not None:
        low, high = plan.method.interval
        assert low < plan.method.stepsize <= high


def test_all_methods_find_the_same_minimiser() -> None:
    found = {}
    for method in MATCHED:
        if method == "condat_vu":
            continue
        wanted = config(prior=parse_spec("tikhonov:weight=0.05"), method=method, tolerance=1e-7, iterations=3000)
        found[method] = solve_image(wanted, blurred()).solution.x
    for method, x in found.items():
        torch.testing.assert_close(x, found["fista"], atol=2e-4, rtol=0, msg=method)


def _without_resolvent(operator: Blur):
    class Plain:
        domain, range, properties = operator.domain, operator.range, operator.properties
        A, A_adjoint = staticmethod(operator.A), staticmethod(operator.A_adjoint)

    return Plain()


def test_the_two_primal_duals_find_the_same_minimiser() -> None:
    operator = Blur(operators.gaussian_psf(1.0), SHAPE)
    y = torch.tensor(blurred(0.02).pixels)
    prior = priors.total_variation_prior(0.01)

    found = []
    for each in (operator, _without_resolvent(operator)):
        pair = OperatorPair(each, operator.properties, operator.properties.adjoint_gap)
        method = choose_method(pair, prior, "condat_vu", weight=0.01)
        assert method.certificate.holds
        found.append(solvers.solve(method.algorithm(y), y, tolerance=1e-6, max_steps=1500).x)
    torch.testing.assert_close(*found, atol=1e-3, rtol=0)


@pytest.mark.slow
def test_a_learned_potential_has_one_minimiser_by_every_method() -> None:
    operator = Blur(operators.gaussian_psf(1.0), SHAPE)
    y = torch.tensor(blurred(0.02).pixels).double()
    torch.manual_seed(0)
    network = make(ConvexRidgeConfig(widths=(2, 4), size=3, noise_range=(0.05, 0.05)))
    prior = priors.weighted_prior(learned_prior(network, accuracy=1e-6), 0.1)
    pair = OperatorPair(operator, operator.properties, operator.properties.adjoint_gap)
    plain = OperatorPair(_without_resolvent(operator), operator.properties, operator.properties.adjoint_gap)
    found = {}
    for name, each in {"fista": pair, "condat_vu": pair, "plain fista": plain, "plain condat_vu": plain}.items():
        method = choose_method(each, prior, name.removeprefix("plain "))
        assert method.certificate.evidence is Evidence.PROVED
        found[name] = solvers.solve(method.algorithm(y), y, tolerance=1e-7, max_steps=3000).x
    assert (choose_method(pair, prior).name, choose_method(plain, prior).name) == ("condat_vu", "fista")
    huge = torch.zeros(1).expand(1, 1, 2**14, 2**13)  # 2^29 responses of the four filters
    assert choose_method(pair, prior, like=huge).name == "fista"
    for name, x in found.items():
        torch.testing.assert_close(x, found["fista"], atol=1e-4, rtol=0, msg=name)
    inexact = choose_method(pair, prior, "forward_backward")
    assert not inexact.certificate.holds  # its prox is an inner iteration
    algorithm = inexact.algorithm(y)
    moved = algorithm.step(algorithm.init(found["fista"])).x - found["fista"]
    assert float(moved.abs().max()) < 1e-4
    assert float((found["fista"] - y).abs().max()) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("method", ["forward_backward", "tseng", "fista"])
def test_an_inexact_prior_leaves_a_backward_error(method: str) -> None:
    """Of the image as it is: the point that it speaks of is had by the same prior to a hundred thousandth."""
    chosen = config(prior=parse_spec("tv:weight=0.02"), method=method, iterations=30, tolerance=0.0)
    result = solve_image(chosen, blurred(0.02))
    method_run, x = result.plan.method, result.solution.x.double()
    (found,) = result.backward_errors
    assert found.evidence is Evidence.PROVED
    data, s = LeastSquares(result.plan.pair.operator, result.plan.problem.measurement.double()), method_run.stepsize
    resolvent = priors.total_variation_prior(0.02, accuracy=1e-5).resolvent(s)
    v = x - s * data(x)
    p = resolvent(v)
    assert float((x - p).norm()) <= found.distance + 1e-5 * float(v.norm())
    assert found.inner == pytest.approx(method_run.certificate.conditions[-2].value * float(v.norm()), rel=1e-3)
    assert float(((v - p) / s + data(p)).norm()) <= found.perturbation + 2e-5 * float(v.norm()) / s
    assert found.distance < 0.05 * float(x.norm())
    assert not method_run.certificate.holds
    assert method_run.certificate.weaker is not None
    assert method_run.certificate.weaker.holds
    plan_of(replace(chosen, require_certificate=True))
    with pytest.raises(GuaranteeError, match="has none"):
        plan_of(replace(chosen, require_certificate=True, method="forward_backward", stepsize=3.0))


@pytest.mark.parametrize("prior", ["none", "l1:weight=0.01"])
def test_an_exact_prior_leaves_none(prior: str) -> None:
    result = solve_image(config(prior=parse_spec(prior), method="forward_backward", iterations=5), blurred())
    assert result.backward_errors == ()
    assert result.plan.method.certificate.weaker is None


def test_a_single_resolvent_by_condat_vu_keeps_the_residual_within_the_noise() -> None:
    operator = Blur(operators.gaussian_psf(1.0), SHAPE)
    y = torch.tensor(blurred(0.02).pixels).double()
    torch.manual_seed(0)
    network = make(LipschitzConfig(layers="orthogonal", features=4, depth=2, hidden=4, contraction=0.5))
    prior = learned_prior(network)
    pair = OperatorPair(operator, operator.properties, operator.properties.adjoint_gap)
    found = []
    for stepsize in (0.3, 3.0):
        method = choose_method(pair, prior, "condat_vu", stepsize, noise=0.05)
        assert method.certificate.missing == ("a solution exists",)
        found.append(solvers.solve(method.algorithm(y), y, tolerance=1e-8, max_steps=1000).x)
    torch.testing.assert_close(*found, atol=1e-5, rtol=0)
    residual = float((operator.A(found[0]) - y).norm())
    assert residual == pytest.approx(0.05 * y.numel() ** 0.5, rel=1e-3)
    x, resolvent = found[0], prior.resolvent(1.0)
    pulled = operator.A_adjoint(operator.A(x) - y)  # in the range of A^T N: M x is a negative multiple of it
    assert _multiple(resolvent, x, pulled) < 0.05 * float((x - resolvent(x)).norm())
    with pytest.raises(UsageError, match="no noise level is known; expected --noise"):
        choose_method(pair, prior, "condat_vu")


def _multiple(resolvent, x, direction) -> float:
    """The least ||x - J(x - c d)|| over c > 0, by a search."""
    return min(float((x - resolvent(x - c * direction)).norm()) for c in torch.logspace(-2, 2, 400).tolist())


def test_a_method_that_does_not_fit_the_prior_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="'condat_vu', and the prior 'tikhonov'"):
        plan_of(config(prior=parse_spec("tikhonov:weight=1"), method="condat_vu"))


WRONG = (
    "import torch\nfrom recon import operators\n"
    "class Wrong:\n"
    "    def __init__(self, shape):\n"
    "        self.there = operators.Blur(operators.box_psf(5), shape)\n"
    "        self.back = operators.Blur(operators.box_psf(9), shape)\n"
    "    def A(self, x): return self.there.A(x)\n"
    "    def A_adjoint(self, y): return self.back.A_adjoint(y)\n"
)


def test_a_wrong_adjoint_is_refused_with_its_gap_unless_it_is_declared(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(WRONG)
    spec = parse_spec(f"python:{file}:Wrong")
    with pytest.raises(GuaranteeError, match=r"Wrong: A_adjoint differs .* by 59 %"):
        plan_of(config(operator=spec))
    declared = plan_of(config(operator=spec, surrogate=spec, prior=parse_spec("tikhonov:weight=0.01"), shift="auto"))
    assert declared.pair.gap.value == pytest.approx(0.594, abs=0.02)
    assert declared.pair.mismatch.cocoercivity.value > 0


def test_a_declared_surrogate_converges_inside_its_interval_and_diverges_without_the_shift() -> None:
    options = {
        "operator": parse_spec("blur:box=5"),
        "surrogate": parse_spec("blur:box=9"),
        "prior": parse_spec("tikhonov:weight=0.01"),
    }
    measurement = image(Blur(operators.box_psf(5), SHAPE).A(scene()))
    shifted = solve_image(config(**options, shift="auto"), measurement)
    assert shifted.plan.method.certificate.holds
    assert shifted.status is Status.CONVERGED
    bare = solve_image(config(**options, iterations=3000), measurement)
    assert not bare.plan.method.certificate.holds
    assert bare.status in (Status.DIVERGED, Status.NOT_FINITE)


def test_a_method_that_needs_the_adjoint_is_refused_with_a_surrogate() -> None:
    with pytest.raises(UsageError, match="'fista' with a surrogate"):
        plan_of(config(surrogate=BLUR, method="fista", prior=parse_spec("none")))


def test_a_required_certificate_that_is_absent_stops_the_run_before_it_starts() -> None:
    with pytest.raises(GuaranteeError, match="step size"):
        plan_of(config(prior=parse_spec("none"), method="forward_backward", stepsize=3.0, require_certificate=True))


def test_a_required_certificate_may_not_rest_on_assumptions(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from recon.evidence import Assumed, Evidence, Fact\nfrom recon.priors import Resolvent, ResolventProperties\n"
        "def make():\n"
        "    fact = Fact(Evidence.ASSUMED, 'taken on trust')\n"
        "    known = ResolventProperties(Assumed(1.0, 'taken on trust'), None, fact)\n"
        "    return Resolvent(lambda x: x / 2, known, 'half')\n"
    )
    options = {"prior": parse_spec(f"python:{file}:make")}
    assert plan_of(config(**options)).method.certificate.holds
    with pytest.raises(GuaranteeError, match="rests on assumptions"):
        plan_of(config(**options, require_certificate=True))


def test_noise_in_units_is_taken_to_the_scale_of_the_solver() -> None:
    scan = image(scene() * 4095 - 1024, "HU", (-1024.0, 3071.0))
    plan = plan_of(config(operator=Spec("identity"), noise=Noise(41.0, "hu")), scan)
    assert plan.problem.noise == pytest.approx(41 / 4095)
    with pytest.raises(UsageError, match="noise is 41BQ; the image is in HU"):
        plan_of(config(operator=Spec("identity"), noise=Noise(41.0, "BQ")), scan)


def test_noise_that_is_not_given_is_estimated_and_said() -> None:
    said: list[str] = []
    noisy = image(0.5 + 0.05 * torch.randn(64, 64, generator=torch.Generator().manual_seed(1)))
    plan = make_plan(config(operator=Spec("identity"), noise=None), noisy, said.append)
    assert plan.problem.noise == pytest.approx(0.05, rel=0.1)
    assert any("estimated" in line for line in said)


def test_a_measurement_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ConsistencyError, match="it measures 30 x 30; the input is 24 x 20"):
        plan_of(config(operator=Spec("identity"), shape=(30, 30)))


def test_the_result_is_the_same_to_the_bit_when_done_again() -> None:
    hashes = {pixel_hash(solve_image(config(), blurred(0.01)).solution.x) for _ in range(2)}
    assert len(hashes) == 1


def test_the_examination_may_be_shared_by_images_of_one_size() -> None:
    plan = plan_of(config())
    again = make_plan(config(), blurred(), silent, plan.pair)
    assert again.pair is plan.pair


def test_an_operator_that_is_zero_is_refused() -> None:
    class Zero:
        def A(self, x: torch.Tensor) -> torch.Tensor:
            return 0 * x

        A_adjoint = A

    pair = analyse_operator(Zero(), None, torch.zeros(1, 1, *SHAPE))
    with pytest.raises(GuaranteeError, match="operator is zero"):
        choose_method(pair, priors.no_prior(), "forward_backward")


def test_the_plan_says_everything_and_holds_no_nan() -> None:
    plan = plan_of(config())
    text = plan.describe()
    for word in ("blur:gaussian=1", "model:guided-gray,weight=", "condat_vu", "adjoint", "device", "memory", "0.01"):
        assert word in text
    json.dumps(plan.to_json(), allow_nan=False)


def test_an_interrupted_run_keeps_its_last_iterate() -> None:
    def interrupt(step: int, steps: int, residual: float) -> None:
        if step >= 10:
            raise KeyboardInterrupt

    result = execute(plan_of(config(tolerance=0.0)), interrupt)
    assert result.status is Status.INTERRUPTED
    assert bool(torch.isfinite(result.solution.x).all())


def test_a_prior_without_a_known_proximity_is_not_accelerated() -> None:
    with pytest.raises(UsageError, match="no guarantee without one"):
        solve_image(config(prior=parse_spec("deepinv:MedianFilter,sigma=0.1"), method="fista"), blurred())


@pytest.mark.parametrize(
    ("noise", "words"),
    [(0.01, None), (0.0005, "looks like 0.0"), (5.0, "perhaps --noise 0.0196 (of 255, 5)")],
)
def test_a_noise_level_that_cannot_be_is_remarked_on(noise, words):
    said = []
    make_plan(config(noise=Noise(noise)), blurred(0.02), said.append)
    remarks = [line for line in said if line.startswith("--noise says")]
    assert len(remarks) == (words is not None)
    assert all(words in line for line in remarks)


def test_an_inner_iteration_is_no_way_to_a_guarantee_where_another_method_has_one():
    for method, hint in (("forward_backward", True), ("condat_vu", False)):
        said = []
        make_plan(config(prior=Spec("tv", {"weight": "0.01"}), method=method), blurred(), said.append)
        assert any("--method condat_vu does so exactly" in line for line in said) == hint


@pytest.mark.slow
def test_the_record_states_the_distance_to_the_limit() -> None:
    limit = solve_image(config(tolerance=0.0, iterations=3000), blurred(0.01)).solution.x
    result = solve_image(config(), blurred(0.01))
    assert result.status is Status.CONVERGED
    assert result.distance.evidence is Evidence.MEASURED
    assert float((result.solution.x - limit).norm()) <= 2e-3 * result.scale[0]
    assert result.distance.relative <= 2e-3
    assert result.solution.history[-1].distances == (result.distance.relative,)


def test_a_proved_distance_is_given_where_it_is_the_nearer_one() -> None:
    chosen = config(prior=parse_spec("tikhonov:weight=0.5"), method="forward_backward", stepsize=0.1, iterations=300)
    result = solve_image(replace(chosen, tolerance=0.0), blurred())
    far = solve_image(replace(chosen, iterations=2), blurred())
    assert far.distance.evidence is Evidence.PROVED
    assert float((far.solution.x - result.solution.x).norm()) <= far.distance.value
    bounded = replace(chosen, prior=parse_spec("tv:weight=0.5,low=0,high=1"), method="condat_vu")
    assert plan_of(bounded).method.proved_distance is None


def test_a_step_size_far_too_small_is_never_called_converged() -> None:
    """It ended "converged after 1 step", as its relative step is short."""
    chosen = config(prior=parse_spec("tikhonov:weight=0.01"), method="forward_backward")
    for stepsize in (1e-10, 1e-6, 1e-3):
        result = solve_image(replace(chosen, stepsize=stepsize), blurred())
        assert result.status in (Status.STALLED, Status.OUT_OF_STEPS)
        assert result.distance.evidence is Evidence.PROVED or result.distance.relative == float("inf")


def test_the_longest_steps_of_a_proved_method_do_not_diverge() -> None:
    chosen = config(operator=parse_spec("identity"), prior=parse_spec("none"), method="forward_backward", stepsize=1.99)
    assert solve_image(replace(chosen, iterations=100), image(scene())).status is not Status.DIVERGED


@pytest.mark.slow
def test_a_method_without_a_prior_stops_early_unless_steps_are_stated(tmp_path: Path) -> None:
    geometry = tmp_path / "g.toml"
    geometry.write_text(
        'kind = "parallel"\nangles = { start = 0, stop = 180, count = 20, endpoint = false }\n'
        "[detector]\npixels = 40\npitch = 1.0\n[volume]\npixels = [24, 24]\npitch = 1.0\n"
    )
    projector = operators.Tomography(operators.read_geometry(geometry))
    x = torch.zeros(1, 1, 24, 24)
    x[..., 8:16, 6:18] = 0.02
    y = projector.A(x) + 0.01 * torch.randn(1, 1, 20, 40, generator=torch.Generator().manual_seed(0))
    scan = Image(y.numpy(), ValueRange(0.0, 1.0), source=Source("projections", "FHW", "float32"))
    for method in ("sirt", "cgls"):
        chosen = SolveConfig(Spec("ct", value=str(geometry)), method=method, device="cpu")
        assert solve_image(chosen, scan).status is Status.STOPPED_EARLY
        stated = solve_image(replace(chosen, iterations=200), scan)
        assert stated.status is not Status.STOPPED_EARLY
        assert stated.steps == 200 or stated.status in (Status.CONVERGED, Status.STALLED)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells it of a program alone")
def test_the_peak_of_memory_is_that_of_the_run_and_not_of_what_started_it() -> None:
    ballast = np.ones(2**26)  # 512 MiB
    code = "from recon.reconstruction.record import peak_bytes; print(peak_bytes())"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert 10**6 < int(found.stdout) < ballast.nbytes
