"""Everything that is known of a run before its first step."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from recon.certificates.conditions import EXACTLY
from recon.device import Notify
from recon.errors import GuaranteeError, UsageError
from recon.evidence import Evidence, Measured
from recon.io import Image
from recon.methods.assumption_check import attack, reconcile_with_search
from recon.methods.catalogue import ENTRIES
from recon.methods.choice import choose_method, dual_size
from recon.methods.learned_steps import LearnedSteps
from recon.methods.operator_pair import OperatorPair, analyse_operator
from recon.methods.remedies import remedy
from recon.methods.setting import LearnedSetting, Method
from recon.operators import Inpainting, ValidBlur
from recon.operators.data_split import HasDataSplit
from recon.priors import Prior, Resolvent
from recon.reconstruction.filling import continued, filled
from recon.reconstruction.guiding import GIVEN, guided_method, read_guide
from recon.reconstruction.memory import direct_bytes, require_within, volume_bytes
from recon.reconstruction.problem import (
    AS_SPECIFIED,
    Objects,
    Problem,
    ReadPrior,
    back_projection,
    build_problem,
    in_units,
)
from recon.specs.learned_steps import read_steps, steps_for
from recon.specs.priors import read_prior
from recon.specs.solve_config import SolveConfig

_IMAGES, _SWEPT, _WHOLE = 11, 5, 7
"""The same for Condat-Vu with a penalty g(Lx): images, and as many numbers as Lx has, where its parts are gone through
one by one, and where they are not. With 64 filters at 1024 x 1024, 4.1 and 7.0 times the responses were seen."""

_MASK = 4
"""The same of a guided prior: its weights, one for each response, and what they are made of."""


GUIDE_TOLERANCE = 0.1
"""The distance to the limit, over the scale, at which the run for a guide stops, unless it is to stop farther away."""


@dataclass(frozen=True)
class Plan:
    """A problem, the constants of its operator, the method with its certificate, and what the prior was tried with.

    ``guide`` is what the prior was made from, where it was.
    """

    problem: Problem
    pair: OperatorPair
    method: Method
    hardest: Measured | None = None
    guide: Tensor | None = None

    @property
    def makes_guide(self) -> bool:
        """Whether the result of this plan is the guide of a second one."""
        chosen = self.problem.prior
        return chosen.guided is not None and chosen.guides_itself and self.problem.config.takes_prior

    @property
    def tolerance(self) -> float:
        """The distance to the limit, over the scale, at which the run stops."""
        if self.method.steps is not None:
            return 0.0
        asked = self.problem.config.tolerance
        return self.method.tolerance if asked is None else asked

    @property
    def budget(self) -> int:
        """The largest number of steps: the method's own, or the one that was asked for."""
        return self.problem.config.budget if self.method.steps is None else self.method.steps

    @property
    def memory_bytes(self) -> int:
        """About how much memory the run takes beyond the program itself."""
        measurement, shape, geometry = self.problem.measurement, self.problem.image_shape, self.problem.family.geometry
        if geometry is not None and geometry.kind == "cone":
            return volume_bytes(geometry, self.problem.config.entry)
        items = measurement.shape[:2] if len(shape) > 2 else measurement[..., 0, 0].shape
        image = math.prod(items) * math.prod(shape) * measurement.element_size()
        if self.method.direct is not None:
            return direct_bytes(self.problem.image, measurement, self.problem.config.memory)
        split = self.problem.prior.prior.split
        if self.method.name == "condat_vu" and split is not None:
            of_pixels = self.problem.images
            swept = split.local and not isinstance(self.pair.operator, HasDataSplit)
            responses = dual_size(split, of_pixels) / max(1, of_pixels.numel())
            masked = self.makes_guide or self.problem.prior.prior.mask is not None
            copies = _IMAGES + ((_SWEPT if swept else _WHOLE) + _MASK * masked) * responses
            return int(image * copies)
        synthesis = self.problem.prior.prior.synthesis
        redundancy = 1.0 if synthesis is None else synthesis.redundancy((shape[-2], shape[-1]))
        return int(image * ENTRIES[self.method.name].copies * self.method.copies * redundancy)

    def to_json(self) -> dict[str, object]:
        """Return what was chosen and what is known, as plain values."""
        problem, method, norm = self.problem, self.method, self.pair.properties.computed_norm
        value_range = problem.template.value_range
        return {
            "operator": str(problem.family.spec),
            "prior": str(problem.prior.spec),
            "method": method.name,
            "method_title": ENTRIES[method.name].title if method.name in ENTRIES else method.name,
            "stepsize": method.stepsize,
            "stepsize_interval": None if method.interval is None else list(method.interval),
            "dual_stepsize": method.dual_stepsize,
            "relaxation": method.relaxation,
            "tolerance": self.tolerance,
            "early_residual": method.early if problem.config.stops_early else None,
            "shift": 0.0 if self.pair.mismatch is None else self.pair.mismatch.shift,
            "noise": problem.noise,
            "noise_in_units": None if problem.noise is None else problem.noise * problem.image.value_range.width,
            "range": {"low": value_range.low, "high": value_range.high, "units": value_range.units},
            "measurement_shape": list(problem.measurement.shape),
            "image_shape": list(problem.image_shape),
            "slice_distance": None if problem.layout is None else problem.layout.distance,
            "device": str(problem.device),
            "operator_norm": None if norm is None else norm.value,
            "adjoint_gap": self.pair.gap.value,
            "adjoint_gap_upper": None if self.pair.gap_upper is None else self.pair.gap_upper.value,
            "memory_bytes": self.memory_bytes,
            "makes_guide": self.makes_guide or (self.guide is not None and problem.config.guide is None),
            "given": GIVEN.to_json() if self.makes_guide or self.guide is not None else None,
        }

    def describe(self) -> str:
        """The plan for a person, one line each."""
        problem, method, pair = self.problem, self.method, self.pair
        value_range = problem.template.value_range
        lines = [
            ("input", _described(problem.image)),
            ("grey values", f"{value_range.low:g}..{value_range.high:g} {value_range.units}".strip() + " become 0..1"),
            ("operator", f"{problem.family.spec}, on images of {' x '.join(map(str, problem.image_shape))}"),
            *self._volume_lines(),
            ("  norm", str(pair.properties.computed_norm or "not needed")),
            ("  adjoint", self._adjoint()),
            *self._mismatch_lines(),
            ("prior", str(problem.prior.spec)),
            *self._guide_lines(),
            ("noise", "not needed" if problem.noise is None else in_units(problem.noise, problem.image)),
            ("method", f"{method.name}, {self._effort()}"),
            ("  step size", self._steps()),
            ("device", str(problem.device)),
            ("memory", f"about {self.memory_bytes / 2**20:.0f} MiB beside the program itself"),
        ]
        width = max(len(name) for name, _ in lines)
        second = ["", f"The second run has the same theorem, given the guide. Not claimed: {GIVEN.not_claimed}."]
        stated = [f"{name:<{width}}  {text}" for name, text in lines]
        return "\n".join([*stated, "", str(method.certificate), *(second if self.makes_guide else ())])

    def _adjoint(self) -> str:
        pair, known, upper = self.pair, self.pair.properties.adjoint_gap, self.pair.gap_upper
        above = "" if upper is None or upper.evidence is Evidence.PROVED else f"; from above {upper}"
        if pair.mismatch is not None:
            return f"is a surrogate, not the adjoint: gap {pair.gap}{above}"
        seen = "" if known == pair.gap else f"; checked before the first step: {pair.gap.value:.2g}"
        return f"is the adjoint: gap {known}{seen}{above}"

    def _effort(self) -> str:
        if self.method.closed_form:
            return "in closed form"
        config = self.problem.config
        if self.method.steps is not None:
            return f"{self.method.steps} steps, as many as it has"
        if config.stops_early and self.method.early is not None:
            return f"at most {config.budget} steps, to a residual of {self.method.early:g}: before its limit"
        return f"at most {config.budget} steps, to within {self.tolerance:g} of the image from the limit"

    def _volume_lines(self) -> list[tuple[str, str]]:
        layout = self.problem.layout
        if layout is None:
            return []
        many = f"{layout.volumes} volumes of " if layout.volumes > 1 else ""
        return [("  volume", f"{many}{layout.slices} slices, {layout.distance:.4g} pixels of a slice apart")]

    def _mismatch_lines(self) -> list[tuple[str, str]]:
        mismatch = self.pair.mismatch
        if mismatch is None:
            return []
        return [
            ("surrogate", str(self.problem.config.surrogate)),
            ("  shift", f"{mismatch.shift:.4g}"),
            ("  min sym", str(mismatch.symmetric_part_min)),
            ("  cocoercive", str(mismatch.cocoercivity)),
        ]

    def _guide_lines(self) -> list[tuple[str, str]]:
        if self.makes_guide:
            steps = self.method.guide_steps
            guide = "the result of this run" if steps is None else f"the image of this run after {steps} steps"
            return [("  guide", f"{guide}, for a second one with the same operator and method")]
        mask = self.problem.prior.prior.mask
        if mask is None:
            return []
        low, high = mask.bounds
        return [("  weights", f"{mask.low:.3g} to {mask.high:.3g} times, by the guide; {low:g} to {high:g} by any")]

    def _steps(self) -> str:
        method = self.method
        if method.stepsize is None:
            return "none"
        dual = "" if method.dual_stepsize is None else f", dual {method.dual_stepsize:.4g}"
        relaxed = "" if method.relaxation == 1 else f", relaxation {method.relaxation:g}"
        converges = (
            "no upper limit"
            if method.interval is None
            else f"expected in ({method.interval[0]:g}, {method.interval[1]:.4g})"
        )
        return f"{method.stepsize:.4g}{dual}{relaxed}; {converges}"


def _described(image: Image) -> str:
    return f"{image.frames} frame(s) of {image.channels} channel(s), {image.height} x {image.width} pixels"


def make_plan(  # noqa: PLR0913, PLR0917  each is an independent choice of the caller
    config: SolveConfig,
    image: Image,
    say: Notify,
    pair: OperatorPair | None = None,
    hardest: Measured | None = None,
    given: Objects = AS_SPECIFIED,
    read: ReadPrior = read_prior,
) -> Plan:
    """Read, analyse_operator, choose and certify: nothing is run, and nothing is written.

    Args:
        config: What to do.
        image: The measurement.
        say: Where remarks go, a line each.
        pair: The operator as examined before, by an earlier plan of the same configuration and image size.
        hardest: What the prior was refuted with before, by an earlier plan of the same configuration, channels and
            noise level.
        given: Objects in place of what the configuration names.
        read: What reads the prior, as of :func:`recon.reconstruction.problem.build_problem`.

    Raises:
        UsageError, InputError, ConsistencyError, DeviceError: What does not fit, by name.
        GuaranteeError: The adjoint is none, or a certificate is required and absent.
    """
    problem = build_problem(config, image, say, given=given, read=read)
    if pair is None:
        pair = analyse_operator(
            problem.slice_operator, problem.slice_surrogate, problem.example, shift=config.shift, seed=config.seed
        )
    pair = of_volumes(pair, problem)
    hardest = None if not config.takes_prior else hardest or _hardest(problem, config.seed)
    plan = Plan(problem, pair, _method(problem, pair, hardest, say), hardest)
    if config.guide is not None or given.guide is not None:
        plan = with_guide(plan, read_guide(problem, say, given.guide), warm=False)
    if config.require_certificate:
        require(plan)
    if config.memory is not None and plan.method.direct is None:
        require_within(config.memory, plan.memory_bytes, plan.method.name)
    if config.takes_prior:
        _advise(plan, say)
    return plan


def of_volumes(pair: OperatorPair, problem: Problem) -> OperatorPair:
    """The operator of one slice, as examined, as that of the volumes of a problem: its constants are the same."""
    if problem.layout is None:
        return pair
    return replace(pair, operator=problem.operator, surrogate=problem.surrogate)


def for_guide(plan: Plan) -> Plan:
    """The plan of the run that makes a guide: of a fixed number of steps, where the method knows how many are enough.

    A run to a stated distance would take at least as many as an estimate of the distance needs.
    """
    steps = plan.method.guide_steps
    if steps is None:
        return plan
    return replace(plan, method=replace(plan.method, steps=min(steps, plan.budget)))


def with_guide(plan: Plan, guide: Tensor, warm: bool = True) -> Plan:
    """The plan of the run that a guide guides: the same problem, with the prior that the guide gives.

    Args:
        plan: With a prior that takes a guide.
        guide: Of the shape of the images.
        warm: Whether the run begins at the guide.
    """
    chosen = plan.problem.prior
    assert chosen.guided is not None  # noqa: S101  the callers see to it
    given = chosen.guided.given(guide)
    problem = replace(plan.problem, prior=replace(chosen, prior=given, guided=None))
    if warm:
        constraint = given.constraint
        problem = replace(problem, start=guide if constraint is None else constraint(guide))
    method = _method(problem, plan.pair, plan.hardest, lambda line: None, warm=warm)
    return replace(plan, problem=problem, method=guided_method(method, given), guide=guide)


def _method(problem: Problem, pair: OperatorPair, hardest: Measured | None, say: Notify, warm: bool = False) -> Method:
    config = problem.config
    known = problem.prior.prior
    prior, rounding = _measured(problem, pair, known if hardest is None else reconcile_with_search(known, hardest))
    method = choose_method(
        pair, prior, config.method, config.stepsize,
        weight=problem.relative_weight, noise=problem.noise, like=problem.images, matched=problem.prior.stepsize,
        window=config.window, warm=warm, learned=_learned(problem), stepsizes=_stepsizes(problem, say),
    ).remarked(problem.prior.remarks)  # fmt: skip
    if not rounding:
        return method
    if config.tolerance is not None and config.tolerance < rounding:
        say(
            f"{problem.prior.spec}: the tolerance {config.tolerance:g} is below the rounding of the prior, "
            f"{rounding:.2g} of the image, and may never be reached; expected at least that, or precision=float32"
        )
    return replace(method, tolerance=max(method.tolerance, rounding), rounding=rounding)


def _learned(problem: Problem) -> LearnedSetting:
    """What a method of learned steps is told of a problem."""
    config, shown = problem.config, problem.template.value_range
    scale = f"{shown.low:.6g}:{shown.high:.6g} {shown.units}".strip()
    return LearnedSetting(
        config.method_folder, config.iterations, problem.family.on, scale, str(problem.prior.spec),
        shape=problem.image_shape, symmetries=config.symmetries or 1,
    )  # fmt: skip


def _stepsizes(problem: Problem, say: Notify) -> LearnedSteps | None:
    """The learned steps of the configuration, for its problem."""
    config, chosen = problem.config, problem.prior
    if config.method != "slista" or config.method_folder is None:
        return None
    if config.tolerance is not None:
        raise UsageError(
            f"tolerance is {config.tolerance:g} with method slista; expected none, as it takes the steps that were "
            "learned, and ends with a duality gap."
        )
    card = read_steps(Path(config.method_folder))
    return steps_for(card, problem.family.spec, chosen.spec, chosen.weight, config.iterations, say)


_PIXEL_BY_PIXEL = ("none", "box", "l1", "tikhonov")
"""Priors of which a missing pixel knows nothing of the others: it is 0, or remains what it is at the start."""


def starting_image(problem: Problem, pair: OperatorPair) -> Tensor:
    """Where the iteration begins.

    The problem's own start; where the prior looks at more than one pixel, of missing pixels what surrounds them, and of
    a blur that invents no border the measurement, continued beyond its own; else the back-projection K y, scaled for
    each frame so that it measures nearest to y.
    """
    if problem.start is not None:
        return problem.start
    operator, y = pair.operator, problem.measurement
    if isinstance(operator, Inpainting) and not y.is_complex() and problem.prior.spec.name not in _PIXEL_BY_PIXEL:
        return filled(y, operator.mask.to(y.device))
    if isinstance(operator, ValidBlur) and not y.is_complex() and problem.prior.spec.name not in _PIXEL_BY_PIXEL:
        return continued(y, operator)
    back = None if pair.surrogate is None else pair.surrogate.A_adjoint
    return back_projection(pair.operator, problem.measurement, back)


def scale_of(start: Tensor) -> list[float]:
    """The norm of each frame of the image that the data give to start from; of one that vanishes, that of ones."""
    norms = torch.linalg.vector_norm(start.flatten(1), dim=1, dtype=torch.promote_types(start.dtype, torch.float64))
    return [norm if norm > 0 and math.isfinite(norm) else math.sqrt(start[0].numel()) for norm in norms.real.tolist()]


def _measured(problem: Problem, pair: OperatorPair, prior: Prior) -> tuple[Prior, float]:
    """A prior in half precision with its error at the start of the run, to two digits; and that error, else zero.

    Steps shorter than the error say nothing: it is the tolerance at which such a run stops by default.
    """
    exact = problem.prior.exact
    if exact is None:
        return prior, 0.0
    from recon.priors.networks import rounding_error  # noqa: PLC0415  networks cost time to import

    error = rounding_error(prior.resolvent(1.0), exact.resolvent(1.0), starting_image(problem, pair))

    def resolvent(stepsize: float) -> Resolvent:
        rounded = prior.resolvent(stepsize)
        return replace(rounded, properties=replace(rounded.properties, error=error))

    return replace(prior, resolvent=resolvent), float(f"{error.value:.2g}")


def _hardest(problem: Problem, seed: int) -> Measured | None:
    """What an attempt to refute finds of a prior that is not proved to be firmly nonexpansive; of others nothing."""
    resolvent = (problem.prior.exact or problem.prior.prior).resolvent(1.0)  # secants of a rounded map are rounding
    if resolvent.properties.lipschitz_Q.evidence is Evidence.PROVED:
        return None
    channels = problem.measurement.shape[1]  # of the problem's example there is only ever one
    try:
        return attack(resolvent, seed, channels, problem.example.dtype)
    except Exception:  # a map of somebody else's may refuse small images, and stays assumed
        return None


def _advise(plan: Plan, say: Notify) -> None:
    """Return what would give a guarantee, where there is none."""
    inexact = [name for name in plan.method.certificate.missing if EXACTLY in name]
    if plan.pair.mismatch is None and inexact and plan.problem.prior.prior.split is not None:
        say(f"{plan.method.name} evaluates the prior by an inner iteration; --method condat_vu does so exactly")
    if (advice := _remedy(plan)) is not None:
        say(advice)


def _remedy(plan: Plan) -> str | None:
    """Return what would give a guarantee to a run with a surrogate."""
    config, chosen = plan.problem.config, plan.problem.prior

    def retry(pair: OperatorPair, stepsize: float | None) -> Method:
        return choose_method(pair, chosen.prior, config.method, stepsize, weight=chosen.weight)

    return remedy(plan.pair, plan.method, chosen.prior, chosen.weight is not None, retry)


def require(plan: Plan) -> None:
    """Refuse a plan without a guarantee.

    Raises:
        GuaranteeError: No theorem holds, or only on assumptions.
    """
    certificate = plan.method.certificate.strongest
    if certificate is None:
        sentence = plan.method.certificate.sentence
        raise GuaranteeError(f"A certificate is required, and {plan.method.name} has none: {sentence}")
    if certificate.evidence is Evidence.ASSUMED:
        assumed = [c.name for c in certificate.conditions if c.evidence is Evidence.ASSUMED]
        raise GuaranteeError(
            f"A certificate is required, and that of {plan.method.name} rests on assumptions: {'; '.join(assumed)}; "
            "expected conditions that are proved or at least measured."
        )
