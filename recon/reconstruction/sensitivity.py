"""How far a reconstruction moves when a group of measurements changes: the arms of the Lipschitz star."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from recon import solvers
from recon.certificates.conditions import strength
from recon.certificates.mismatched import residual_bound
from recon.certificates.sensitivity import (
    SAYS_NOTHING,
    arm_bound,
    contraction_arm_bound,
    convolution_arm_bound,
    given_or_none,
    group_norms,
    isometric_arm_bound,
    linear_arm_bounds,
    mismatched_arm_bound,
    near_adjoint_arm_bound,
    reason_of,
    sharp_arm_bound,
)
from recon.device import Notify
from recon.errors import ConsistencyError, GuaranteeError
from recon.evidence import Constant, Evidence, Measured, derive, finite_or_none, from_above
from recon.methods.assumption_check import reconcile_with_search
from recon.operators import CartesianMRI, Identity, Inpainting, operator_properties, to_matrix
from recon.operators.base import HasNonnegativeEntries
from recon.operators.blur import CircularBlur
from recon.operators.tomography import WeightedTomography
from recon.priors import Prior
from recon.reconstruction.equation import Stationarity, is_single, same, stationarity
from recon.reconstruction.groups import Groups, groups_of
from recon.reconstruction.plan import Plan, for_guide, starting_image, with_guide
from recon.reconstruction.problem import in_units
from recon.reconstruction.record import nameless, versions
from recon.reconstruction.run import ProgressCallback, Result, execute
from recon.solvers import Status
from recon.solvers.derivative import leading_singular, moved_solution
from recon.solvers.krylov import norms, quotient, spread
from recon.solvers.trials import Trials
from recon.specs.groups import GroupSpec
from recon.specs.solve_config import to_json
from recon.types import LinearOperator, Map

ACCURACY, ROUGH, FINE = 1e-3, 3e-2, 2e-3
"""Of the response to a change; of the solves that seek the worst change of a group; of the problem solved again."""

DIMENSION = 3
"""Of the space of an arm: three solves with the transpose of the derivative, and one with itself after each."""

ROUGH_DIMENSION = 8
"""Of the space in which the first direction is sought, without a solve."""

PERTURBATION = 1e-3
"""The root mean square of a perturbation, over that of the measurement: small, so that few places change their kind."""

SMALL = 576
"""Pixels of an image up to which the sharp bound is computed from the matrix of its operator."""

SMALL_LINEAR = 2304
"""The same where the solution is linear in the data."""

_SLACK = 10 * (ACCURACY + FINE)
"""By how much the systems of measured arms may leave them above the proved ones."""

_NUMBERS = 1 << 21
"""Of the images of the groups that are treated at once."""

_SHORT = "the runs with a guide made again did not come to their limits"
"""Why there is no total."""

_TOTAL_TOLERANCE = 1e-4
"""Of the runs whose guides follow a change of the data, over the scale."""

_TOTAL_STEPS = 5000
"""Their budget."""

Seen = Callable[[str, int, int], None]
"""Called with what is done, how many groups of it are, and of how many."""


@dataclass(frozen=True)
class Arm:
    """How far the reconstruction moves for a change of one group, over the norm of that change.

    Attributes:
        name: Of the group.
        position: Where it is drawn.
        certified: A bound for every measurement and every change; infinite where there is none.
        local: The norm of the derivative at the result, from below but for the accuracy of its systems; at most the
            certified arm where that is proved.
        perturbed: Of one small random change, with the problem solved again.
        total: The same of a change of the size of the noise, with the guide made again; ``None`` without a guide.
        reason: Why a value is missing, or the perturbed one longer than the local one, or nothing.
    """

    name: str
    position: tuple[float, ...]
    certified: Constant
    local: Constant
    perturbed: Constant
    total: Constant | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, an infinite arm as null with its reason."""
        known = {"certified": self.certified, "local": self.local, "perturbed": self.perturbed}
        if self.total is not None:
            known["total"] = self.total
        values = {name: finite_or_none(constant.value) for name, constant in known.items()}
        evidence = {name: constant.evidence.value for name, constant in known.items() if values[name] is not None}
        return {
            "name": self.name,
            **values,
            "evidence": evidence,
            "position": list(self.position),
            "reason": self.reason or None,
        }


@dataclass(frozen=True)
class Worst:
    """What the group with the longest local arm can do.

    Attributes:
        index: Of the group.
        change: Of the measurement, (channels, ...), of the size that ``size`` says.
        image: The change of the image, (channels, ...), on the scale of the problem.
        size: The root mean square of the change of the group's entries, on that scale.
        is_noise: Whether that is the standard deviation of the noise; else a hundredth of the measurement.
    """

    index: int
    change: Tensor
    image: Tensor
    size: float
    is_noise: bool


@dataclass(frozen=True)
class Star:
    """The arms of all groups.

    Attributes:
        result: The reconstruction.
        groups: The groups.
        arms: One for each.
        data: The strong monotonicity of the data term.
        prior: That of the prior.
        worst: What the group with the longest arm can do.
        notes: What else has to be known.
        seed: Of what is random.
    """

    result: Result
    groups: Groups
    arms: tuple[Arm, ...]
    data: Constant
    prior: Constant
    worst: Worst
    notes: tuple[str, ...]
    seed: int

    @property
    def scale_in_words(self) -> str:
        """What the number of an arm means, in one sentence."""
        problem = self.result.plan.problem
        if problem.measurement.is_complex():
            return "an arm is the change of the image over that of the group, both on the scale of the solver"
        result, measured = problem.template.value_range, problem.image.value_range
        unit = f" {result.units}" if result.units else ""
        of = " in the line integrals" if problem.family.geometry is not None else unit
        return (
            f"an arm of 1 is a change of the image by {result.width / measured.width:.6g}{unit} for a change of the "
            f"group by 1{of}, both in the Euclidean norm"
        )

    @property
    def worst_in_words(self) -> str:
        """What the group with the longest local arm can do, in one sentence."""
        name, problem = self.arms[self.worst.index].name, self.result.plan.problem
        units = problem.template.value_range
        largest = float(self.worst.image.abs().max()) * units.width
        kind = "as large as the noise" if self.worst.is_noise else "of 1 % of the measurement"
        return (
            f"longest local arm: {name}; a change of it {kind} ({in_units(self.worst.size, problem.image)}, root mean "
            f"square) can move the image by {largest:.3g}{' ' if units.units else ''}{units.units} at a pixel"
        )

    def to_json(self) -> dict[str, Any]:
        """Return one document of plain values."""
        plan = self.result.plan
        config = to_json(nameless(plan.problem.config), None)
        group = self.arms[self.worst.index]
        return {
            "groups": [arm.to_json() for arm in self.arms],
            "grouping": str(self.groups.spec),
            "position": self.groups.axes,
            "operator": str(plan.problem.family.spec),
            "prior": str(plan.problem.prior.spec),
            "noise": plan.problem.noise,
            "surrogate": config.get("surrogate"),
            "method": plan.method.name,
            "status": self.result.status.value,
            "strong_monotonicity": {
                "data": _constant(self.data),
                "prior": _constant(self.prior),
            },
            "worst": {
                "name": group.name,
                "change": self.worst.size,
                "is_noise": self.worst.is_noise,
                "moves": float(torch.linalg.vector_norm(self.worst.image.flatten().abs().double())),
                "largest": float(self.worst.image.abs().max()),
            },
            "accuracy": {
                "solves": ROUGH,
                "perturbed": FINE,
                "perturbation": PERTURBATION,
                "dimension": DIMENSION,
            },
            "notes": list(self.notes),
            "seed": self.seed,
            "versions": versions(),
        }


def _constant(constant: Constant) -> dict[str, Any]:
    return {"value": finite_or_none(constant.value), "evidence": constant.evidence.value, "how": constant.how}


def find_groups(spec: GroupSpec, plan: Plan) -> Groups:
    """The groups of the measurement of a plan, before anything is run.

    Raises:
        UsageError, ConsistencyError: There are none, or the input has several frames.
    """
    problem = plan.problem
    if problem.measurement.shape[0] != 1:
        raise ConsistencyError(
            f"the input has {problem.measurement.shape[0]} frames; expected one, because a star is of one image."
        )
    shape = tuple(problem.measurement.shape[2:])
    return groups_of(spec, problem.family.spec.name, shape, problem.operator, problem.family.geometry)


def sensitivity(  # noqa: PLR0913, PLR0917  each is an independent choice of the caller
    plan: Plan,
    groups: Groups,
    seed: int = 0,
    watch: ProgressCallback | None = None,
    seen: Seen = lambda what, done, count: None,
    say: Notify = lambda line: None,
) -> Star:
    """Reconstruct, and find the arms of all groups.

    Args:
        plan: What is run.
        groups: Of its measurement.
        seed: Of random starts and perturbations.
        watch: Sees the run.
        seen: Sees the arms.
        say: Where remarks go.

    Raises:
        GuaranteeError: The run diverged, or was interrupted.
        UsageError: The result solves no equation that has a derivative.
    """
    stationarity(plan, torch.zeros_like(plan.problem.images[:1]).contiguous())  # refuses before the run
    result = execute(plan, watch)
    if result.status in (Status.DIVERGED, Status.NOT_FINITE):
        raise GuaranteeError(
            f"{plan.method.name} on {plan.problem.family.spec} ended as {result.status.value} after {result.steps} "
            f"steps; nothing was written. {result.status.sentence}"
        )
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt(f"after {result.steps} steps; nothing was written")
    if result.status is not Status.CONVERGED:
        say(f"the run ended as {result.outcome}; local arms are those at its last image")
    found = _Analysis(result, groups, seed, seen)
    return found.star()


@dataclass(frozen=True)
class _Found:
    """Local and perturbed arms, what was left of the systems of the local ones, and what the longest of them can do."""

    local: list[Constant]
    perturbed: list[Constant]
    left: list[float]
    worst: Worst


class _Analysis:
    def __init__(self, result: Result, groups: Groups, seed: int, seen: Seen) -> None:
        self.result, self.groups, self.seed, self.seen = result, groups, seed, seen
        self.plan = result.plan
        self.problem = self.plan.problem
        self.solved: Stationarity = stationarity(self.plan, result.solution.x.detach())

    def star(self) -> Star:
        data, prior = self._moduli()
        certified = [given_or_none(arm, math.sqrt(self.plan.pair.squared_norm)) for arm in self._certified(data, prior)]
        found = self._measured_arms()
        total = self._total()
        reason = reason_of(prior, data) if any(math.isinf(arm.value) for arm in certified) else ""
        arms = []
        for k, group in enumerate(self.groups.members):
            why = (
                _why_none(certified[k], reason),
                _inexact(found.left[k]),
                _unsolved(found.perturbed[k]),
                _bent(found.perturbed[k].value, found.local[k].value),
                "" if total is None or math.isfinite(total[k].value) else _SHORT,
            )
            local, perturbed = (
                _within(certified[k], measured[k], exact and math.isfinite(measured[k].value))
                for measured, exact in ((found.local, not why[1]), (found.perturbed, not why[2]))
            )
            arms.append(
                Arm(
                    group.name, group.position, certified[k], local, perturbed,
                    None if total is None else total[k], "; ".join(filter(None, why)),
                )
            )  # fmt: skip
        return Star(self.result, self.groups, tuple(arms), data, prior, found.worst, self._notes(), self.seed)

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self.solved.note:
            notes.append(f"local and perturbed arms: {self.solved.note}, so that the solution has a derivative")
        if isinstance(self.problem.operator, WeightedTomography):
            notes.append("the weights of the rays are kept as they are")
        if self.plan.guide is not None:
            notes.append("the guide is kept as it is, but for total")
        return tuple(notes)

    # Certified

    def _prior(self) -> Prior:
        known = self.problem.prior.prior
        return known if self.plan.hardest is None else reconcile_with_search(known, self.plan.hardest)

    def _moduli(self) -> tuple[Constant, Constant]:
        """The strong monotonicity of the data term and of the prior's operator."""
        pair = self.plan.pair
        data = pair.properties.gram_min if pair.mismatch is None else pair.mismatch.symmetric_part_min
        prior, s = self._prior(), self.plan.method.stepsize or 1 / pair.squared_norm
        steps = (s,) if is_single(self.problem.prior.prior) else tuple(s / 10**k for k in range(4))
        known = [
            derive(lambda m, step=step: m / step, strength(prior.resolvent(step).properties), how=f"m of {prior.name}")
            for step in steps
        ]
        best = max(known, key=lambda constant: constant.value)
        if best.value < 0:
            best = replace(best, value=-1.0)
        return data, best

    def _certified(self, data: Constant, prior: Constant) -> list[Constant]:
        pair = self.plan.pair
        if pair.mismatch is not None:
            return self._mismatched(data, prior)
        pixels = math.prod(self.problem.image_shape)
        sharp = None
        if pixels <= SMALL and prior.value > 0 and not self.problem.family.is_complex:
            sharp = self._matrix()
        exact = self._linear()
        norms_of = self._norms(self.problem.operator, weigh=False)
        found = []
        for k, norm in enumerate(norms_of):
            factor = self._largest_weight(k)
            arm = arm_bound(norm, data, prior)
            if sharp is not None:
                rows = self.groups.masks([k], self.problem.measurement[:, :1]).flatten().bool()
                arm = min(arm, sharp_arm_bound(sharp, rows, prior), key=lambda bound: bound.value)
            if exact is not None:
                arm = min(arm, exact[k], key=lambda bound: bound.value)
            found.append(arm if factor == 1 else derive(lambda t, by=factor: t * by, arm, how=arm.how))
            self.seen("certified", k + 1, len(norms_of))
        return found

    def _linear(self) -> Sequence[Constant] | None:
        """The arms where the solution is linear in the data; ``None`` where it is not, or nothing sharper is known."""
        known, operator = self.problem.prior.prior, self.problem.operator
        count = len(self.groups.members)
        m = known.multiple
        if m is None or known.constraint is not None:
            return None
        if isinstance(operator, CartesianMRI | Inpainting | Identity):
            return [isometric_arm_bound(m)] * count
        if isinstance(operator, CircularBlur) and self.groups.spec.kind == "blocks":
            height, width = self.groups.spec.size
            shape = self.groups.shape[-2:]
            arm = convolution_arm_bound(
                operator.symbol, operator.symbol_error, (height, width), (shape[0], shape[1]), m
            )  # fmt: skip
            return [arm] * count
        if math.prod(self.problem.image_shape) > SMALL_LINEAR or self.problem.family.is_complex or not m.value > 0:
            return None
        masks = (self.groups.masks([k], self.problem.measurement[:, :1]).flatten().bool() for k in range(count))
        return linear_arm_bounds(self._matrix(), masks, m)

    def _matrix(self) -> Tensor:
        like = torch.zeros(1, 1, *self.problem.image_shape, dtype=torch.float64, device=self.problem.device)
        return to_matrix(self.problem.operator, like).entries.to(self.problem.device)

    def _largest_weight(self, k: int) -> float:
        operator = self.problem.operator
        if not isinstance(operator, WeightedTomography):
            return 1.0
        return float((operator.root * self.groups.masks([k], self.problem.measurement[:, :1])[0, 0].cpu()).max())

    def _mismatched(self, data: Constant, prior: Constant) -> list[Constant]:
        pair, s = self.plan.pair, self.plan.method.stepsize
        assert pair.surrogate is not None  # noqa: S101  a mismatch is of one
        assert pair.mismatch is not None  # noqa: S101
        gap = derive(
            lambda relative, size: relative * size, from_above(pair.mismatch.adjoint_gap),
            from_above(pair.properties.norm), how=pair.mismatch.adjoint_gap.how,
        )  # fmt: skip
        near = near_adjoint_arm_bound(gap, data, prior, pair.mismatch.shift)
        found = []
        for k, norm in enumerate(self._norms(pair.surrogate, weigh=True)):
            factor = self._largest_weight(k)
            bounds = [mismatched_arm_bound(norm, data, prior), derive(lambda t, by=factor: t * by, near, how=near.how)]
            if s is not None:
                known = self._prior().resolvent(s).properties
                bounds.append(contraction_arm_bound(norm, known, residual_bound(pair.mismatch, s), s))
            found.append(min(bounds, key=lambda bound: bound.value))
        return found

    def _norms(self, operator: LinearOperator, weigh: bool) -> list[Constant]:
        """Upper bounds of the norm of the operator on each group."""
        fact = operator.nonnegative_entries if isinstance(operator, HasNonnegativeEntries) else None
        if fact is not None and fact.evidence is Evidence.PROVED:
            return self._nonnegative_norms(operator, weigh)
        known = operator_properties(operator, self.problem.example)
        return [from_above(known.norm)] * len(self.groups.members)

    def _nonnegative_norms(self, operator: LinearOperator, weigh: bool) -> list[Constant]:
        found: list[Constant] = []
        insert: Map = self.solved.insert if weigh else same
        for part in self._chunks(2):
            masks = self.groups.masks(part, self.problem.measurement[:, :1]).double()
            ones = torch.ones(len(part), 1, *self.problem.image_shape, dtype=torch.float64, device=masks.device)
            found += group_norms(
                partial(_rows, operator, insert, masks), partial(_columns, operator, insert, masks), ones
            )
            self.seen("certified", len(found), len(self.groups.members))
        return found

    # Local

    def _chunks(self, factor: int = 1) -> Iterator[list[int]]:
        numbers = math.prod(self.result.solution.x.shape) * factor
        if self.solved.equation.resolvent is not None and not self.solved.equation.is_projection:
            numbers *= 8  # the graph of a network holds many
        size = max(1, _NUMBERS // numbers)
        indices = list(range(len(self.groups.members)))
        return (indices[start : start + size] for start in range(0, len(indices), size))

    def _forced(self, y: Tensor) -> Tensor:
        return self.solved.back(self.solved.insert(y))

    def _measured(self, q: Tensor, masks: Tensor) -> Tensor:
        return masks * self.solved.insert(self.solved.back_transposed(q))

    def _noise(self, part: Sequence[int], masks: Tensor, seed: int) -> Tensor:
        """Standard normal entries of each group, the same however the groups are cut into parts."""
        like = self.problem.measurement
        drawn = [
            torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(seed * 1_000_003 + k), dtype=like.dtype)
            for k in part
        ]
        return torch.stack(drawn).to(like.device) * self._sampled(masks)

    def _sampled(self, masks: Tensor) -> Tensor:
        """Of a measurement with gaps, the entries that were measured: what is not measured does not change."""
        mask = getattr(self.problem.operator, "mask", None)
        if isinstance(mask, Tensor) and tuple(mask.shape) == self.groups.shape:
            return masks * mask.to(masks)
        return masks

    def _measured_arms(self) -> "_Found":
        """Local and perturbed arms, part by part."""
        local: list[Constant] = []
        perturbed: list[Constant] = []
        lefts: list[float] = []
        best, worst = -1.0, None
        size = PERTURBATION * self._scale()
        how = (
            f"{DIMENSION} steps of an inexact Lanczos method on the derivative at the result: a lower bound, up to the "
            f"accuracy of its systems, {ACCURACY:g}"
        )
        for part in self._chunks(2):
            masks = self._sampled(self.groups.masks(part, self.problem.measurement))
            change = size * self._noise(part, masks, self.seed + 1)
            response = self.solved.equation.derivative.solve(self._forced(change), ACCURACY)
            longest, left = self._longest(part, masks, response.x)
            likely = _unit(longest)
            answer = self.solved.equation.derivative.solve(self._forced(likely), ACCURACY)
            ratio = quotient(norms(response.x), norms(change))
            values = torch.maximum(torch.maximum(norms(longest), norms(answer.x)), ratio)
            local += [Measured(value, how) for value in values.tolist()]
            lefts += torch.stack((left, answer.left, response.left)).amax(0).tolist()
            k = int(values.argmax())
            if float(values[k]) > best:
                moved = (change, response.x) if float(ratio[k]) > float(norms(answer.x)[k]) else (likely, answer.x)
                best, worst = float(values[k]), (part[k], moved[0][k], moved[1][k])
            self.seen("local", len(local), len(self.groups.members))
            perturbed += self._solved_again(change, response.x, size)
            self.seen("perturbed", len(perturbed), len(self.groups.members))
        assert worst is not None  # noqa: S101  there is a group
        return _Found(local, perturbed, lefts, self._worst(*worst))

    def _solved_again(self, change: Tensor, start: Tensor, size: float) -> Iterator[Constant]:
        moved, left = moved_solution(self.solved.equation, self._forced(change), FINE, start=start)
        for value, rest in zip(quotient(norms(moved), norms(change)).tolist(), left.tolist(), strict=True):
            how = f"a random change of {size:.2g}, solved again to {max(rest, 0.0):.1g} of what it moves"
            yield Measured(value if rest <= 10 * FINE else math.inf, how, rest * value)

    def _longest(self, part: Sequence[int], masks: Tensor, response: Tensor) -> tuple[Tensor, Tensor]:
        """For each group B^T N^T g with ||g|| = 1, as long as it was found, and what was left of systems beyond ROUGH.

        Its length is a lower bound of ||N B||, and it is the change of the measurement that moves the image most.
        """
        derivative = self.solved.equation.derivative

        def rough(v: Tensor) -> Tensor:
            return derivative.nearly(self._forced(v))

        def rough_transposed(u: Tensor) -> Tensor:
            return self._measured(derivative.nearly(u), masks)

        images = leading_singular(rough, rough_transposed, self._noise(part, masks, self.seed), ROUGH_DIMENSION).outputs
        images = _unit(_unit(images) + _unit(response))  # what the longest arms cause, nearly
        arms, answers = Trials(), Trials()
        left = torch.zeros(len(part), dtype=torch.float64, device=masks.device)
        for step in range(DIMENSION):
            given, found, rest = derivative.transposed_pairs(images - arms.nearest(images)[0], ROUGH)
            arms.add(given, self._measured(found, masks))
            left = torch.maximum(left, rest)
            _, longest = arms.longest()
            if step < DIMENSION - 1:
                new = longest - answers.nearest(longest)[0]
                answers.add(new, derivative.solve(self._forced(new), ROUGH).x)
                images = _unit(answers.nearest(longest)[1])
        return longest, torch.where(left > ROUGH, left, 0.0)

    def _worst(self, index: int, v: Tensor, image: Tensor) -> Worst:
        entries = float(self._sampled(self.groups.masks([index], self.problem.measurement)).sum())
        noise = self.problem.noise
        size = noise if noise else 0.01 * self._scale()
        length = float(torch.linalg.vector_norm(v.flatten().abs()))
        factor = size * math.sqrt(entries) / length if length else 0.0
        return Worst(index, factor * v, factor * image, size, bool(noise))

    def _scale(self) -> float:
        """The root mean square of the measurement as it was given."""
        y = self.problem.measurement
        if isinstance(self.problem.operator, WeightedTomography):
            y = y / self.problem.operator.root.to(y).clamp(min=1e-6)
        return float(y.abs().square().mean().sqrt()) or 1.0

    def _total(self) -> list[Constant] | None:
        """With the guide made again from the changed measurement, of changes of the size of the noise."""
        first = self.result.first
        if first is None:
            return None
        noise = self.problem.noise
        size = noise if noise else 0.01 * self._scale()
        found: list[Constant] = []
        start, start_ended = self._with_guide(first.plan, self.problem.measurement)
        how = f"a random change of {size:.2g}, both runs done again, the second to {_TOTAL_TOLERANCE:g} of the image"
        for part in self._chunks(4):
            masks = self.groups.masks(part, self.problem.measurement)
            change = size * self._noise(part, masks, self.seed + 1)
            image, ended = self._with_guide(first.plan, self.problem.measurement + self.solved.insert(change))
            values = quotient(norms(image - start), norms(change)).tolist()
            found += [
                Measured(value if all(start_ended) and did else math.inf, how)
                for value, did in zip(values, ended, strict=True)
            ]
            self.seen("total", len(found), len(self.groups.members))
        return found

    def _with_guide(self, plan: Plan, measurement: Tensor) -> tuple[Tensor, list[bool]]:
        """Both solves, of a batch of measurements; and which of them came to their limits."""
        config = replace(
            plan.problem.config, tolerance=_TOTAL_TOLERANCE, iterations=_TOTAL_STEPS, require_certificate=False
        )
        first = replace(plan, problem=replace(plan.problem, config=config, measurement=measurement))
        guide, guide_ended = self._guide(first)
        image, ended = self._solution(with_guide(first, guide), self.result.scale)
        return image, [each and other for each, other in zip(guide_ended, ended, strict=True)]

    def _guide(self, plan: Plan) -> tuple[Tensor, list[bool]]:
        """The guide of a batch of measurements, as a run makes it: of its number of steps where that is fixed."""
        steps = for_guide(plan).method.steps
        if steps is None:
            return self._solution(plan, self.result.scale)
        states = solvers.iterate(
            plan.method.algorithm(plan.problem.measurement), starting_image(plan.problem, plan.pair)
        )
        found: Tensor = next(islice(states, steps, None)).x
        constraint = plan.problem.prior.prior.constraint
        return found if constraint is None else constraint(found), [True] * len(found)

    @staticmethod
    def _solution(plan: Plan, scale: Sequence[float]) -> tuple[Tensor, list[bool]]:
        y = plan.problem.measurement
        start = torch.zeros(y.shape[0], y.shape[1], *plan.problem.image_shape, dtype=plan.problem.example.dtype)
        found = solvers.solve(
            plan.method.algorithm(y), start.to(y.device), tolerance=plan.tolerance, max_steps=plan.budget,
            check_every=10, scale=tuple(scale) * y.shape[0],
        )  # fmt: skip
        constraint = plan.problem.prior.prior.constraint
        ended = [status in (Status.CONVERGED, Status.STALLED) for status in found.status]
        return found.x if constraint is None else constraint(found.x), ended


def _rows(operator: LinearOperator, insert: Map, masks: Tensor, p: Tensor) -> Tensor:
    return masks * insert(operator.A(p))


def _columns(operator: LinearOperator, insert: Map, masks: Tensor, q: Tensor) -> Tensor:
    return operator.A_adjoint(insert(masks * q))


def _unit(v: Tensor) -> Tensor:
    length = norms(v)
    return spread(quotient(torch.ones_like(length), length), v) * v


def _bent(perturbed: float, local: float) -> str:
    """Why a perturbed arm is longer than a local one, which has the response of the derivative to the same change."""
    if not local * (1 + _SLACK) < perturbed < math.inf:
        return ""
    return "the change moves places across a bound or a threshold, where the derivative is another one"


def _within(certified: Constant, measured: Constant, exact: bool) -> Constant:
    """A measured arm, which is not above a proved one but by the accuracy of the systems that it was solved from.

    Raises:
        GuaranteeError: It is: the proof or the code is wrong.
    """
    if certified.evidence is not Evidence.PROVED or not measured.value > certified.value:
        return measured
    if exact and measured.value > certified.value * (1 + _SLACK):
        raise GuaranteeError(
            f"an arm of at most {certified.value:.9g} is said to be proved ({certified.how}), but one of "
            f"{measured.value:.9g} was measured ({measured.how}): the proof or the code is wrong, so nothing is "
            "guaranteed."
        )
    return replace(measured, value=certified.value, how=f"{measured.how}; cut off at the proved bound")


def _why_none(arm: Constant, reason: str) -> str:
    """Why an arm has no bound; nothing where it has one."""
    if math.isfinite(arm.value):
        return ""
    return arm.how if arm.how.startswith(SAYS_NOTHING) else reason


def _inexact(left: float) -> str:
    if left <= 10 * ACCURACY:
        return ""
    return f"{left:.2g} of a system of the local arm is left, as the problem is nearly singular"


def _unsolved(arm: Constant) -> str:
    return "" if math.isfinite(arm.value) else "the problem was not solved again accurately enough"
