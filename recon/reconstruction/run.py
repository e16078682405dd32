"""The chain for one input: read, plan, solve, write, record."""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from recon import io, solvers
from recon.certificates import BackwardError, DualityGap, ErrorBound
from recon.device import Notify
from recon.errors import GuaranteeError, OutputError
from recon.evidence import finite_or_none
from recon.io import Image
from recon.io.files import suffix_of
from recon.methods.setting import Polish
from recon.operators.slices import each_slice
from recon.reconstruction.alarm import (
    MAP_SUFFIXES,
    Alarm,
    Judgement,
    check_size,
    find_alarm,
    judge_image,
    write_map,
)
from recon.reconstruction.ct_input import as_frames, as_items, read_scan
from recon.reconstruction.file_names import SUFFIXES
from recon.reconstruction.guiding import GuideFigures, guide_figures
from recon.reconstruction.memory import require_free, state_room
from recon.reconstruction.plan import (
    GUIDE_TOLERANCE,
    Plan,
    for_guide,
    make_plan,
    require,
    scale_of,
    starting_image,
    with_guide,
)
from recon.reconstruction.problem import Problem
from recon.reconstruction.record import (
    InputFile,
    input_file,
    is_dicom,
    nameless,
    now,
    peak_bytes,
    record_path,
    versions,
    write_record,
)
from recon.reconstruction.residual_check import ResidualCheck, check_residual
from recon.report import FIGURE_SUFFIXES
from recon.solvers import CodedIterate, Distance, LearnedIterate, Progress, Solution, Status
from recon.solvers.convergence import estimates_distance
from recon.specs.operators import scanned
from recon.specs.solve_config import SolveConfig, to_json

ProgressCallback = Callable[[int, int, float], None]
"""Called at each look with the step, the budget and the largest estimated distance to the limit, over the scale."""

_NO_GUIDE = (Status.NOT_FINITE, Status.DIVERGED, Status.INTERRUPTED)
"""How a run ends that leaves no guide."""

WORST_FIRST = (
    Status.NOT_FINITE,
    Status.DIVERGED,
    Status.INTERRUPTED,
    Status.DRIFTING,
    Status.OUT_OF_STEPS,
    Status.STALLED,
    Status.STOPPED_EARLY,
    Status.COMPLETED,
    Status.CONVERGED,
)


@dataclass(frozen=True)
class Result:
    """A run that has ended.

    Attributes:
        plan: What was run.
        solution: What the solver gave.
        scale: The norm of each frame of the start, of which residuals and distances are fractions.
        seconds: How long the solver took.
        peak_bytes: The largest memory used so far: resident on the CPU, allocated on a CUDA device.
        first: The run without a guide whose last image was the guide of this one; ``None`` where there was none.
    """

    plan: Plan
    solution: Solution
    scale: tuple[float, ...]
    seconds: float
    peak_bytes: int
    first: "Result | None" = None

    @cached_property
    def image(self) -> Image:
        """The result in the measurement's units; of projections, in attenuation or HU."""
        problem = self.plan.problem
        layout = problem.layout
        frames = as_frames(self.solution.x) if layout is None else layout.frames(self.solution.x)
        found = io.with_tensor(problem.template, frames)
        return found if problem.shown is None else replace(found, value_range=problem.shown)

    @cached_property
    def bounds(self) -> tuple[ErrorBound, ...]:
        """How far each frame is at most from what the exact adjoint would have given; none without a surrogate."""
        bound = self.plan.method.bound
        return () if bound is None else bound(self.plan.problem.measurement, self.solution.x)

    @cached_property
    def backward_errors(self) -> tuple[BackwardError, ...]:
        """Of which problem each frame is the solution, where the prior is evaluated inexactly; else none."""
        backward = self.plan.method.backward
        return () if backward is None else backward(self.plan.problem.measurement, self.solution.x)

    @cached_property
    def polishing(self) -> tuple[Polish, ...]:
        """What is computed of each frame that no theorem speaks of; none where one does."""
        polish = self.plan.method.polish
        return () if polish is None else polish(self.plan.problem.measurement, self.solution.x, self.solution.state)

    @cached_property
    def gaps(self) -> tuple[DualityGap, ...]:
        """How far the energy of each frame is at most from the least one; none where there is no energy."""
        gap = self.plan.method.gap
        if gap is None:
            return ()
        return gap(self.plan.problem.measurement, solvers.unknowns(self.solution.state, self.solution.x))

    @property
    def gap(self) -> DualityGap | None:
        """That of the frame that is the farthest; ``None`` where there is none."""
        return max(self.gaps, key=lambda gap: gap.relative, default=None)

    @property
    def refused_steps(self) -> int | None:
        """Learned steps that were not taken, of the frame with the most; ``None`` where none are learned."""
        state = self.solution.state
        state = state.coded if isinstance(state, CodedIterate) else state
        return int(state.refused.max()) if isinstance(state, LearnedIterate) else None

    @cached_property
    def distances(self) -> tuple[Distance, ...]:
        """How far each frame is from the limit of its run: as estimated, or as proved where that is nearer."""
        measured = self.solution.distance
        if self.plan.method.proved_distance is None:
            return measured
        bounds = self.plan.method.proved_distance(self.plan.problem.measurement, self.solution.x)
        return tuple(map(_nearer, measured, bounds, self.scale))

    @property
    def distance(self) -> Distance:
        """That of the frame that is the farthest."""
        return max(self.distances, key=lambda distance: distance.relative)

    @cached_property
    def residual_check(self) -> ResidualCheck | None:
        """How the residual compares with the noise; none of a closed form, which takes no account of noise."""
        if self.plan.method.closed_form:
            return None
        ended = self.status in (Status.CONVERGED, Status.COMPLETED)
        return check_residual(self.plan.problem, self.solution.x, ended)

    @cached_property
    def guide(self) -> GuideFigures | None:
        """How much the guide matters, as measured; ``None`` where there was none."""
        return guide_figures(self.plan, self.solution.x, None if self.first is None else self.first.solution.x)

    @property
    def status(self) -> Status:
        """The worst status among the frames."""
        return next(status for status in WORST_FIRST if status in self.solution.status)

    @property
    def steps(self) -> int:
        """The steps of the frame that took the most."""
        return max(self.solution.steps)

    @property
    def outcome(self) -> str:
        """How it ended, in a few words."""
        if self.plan.method.closed_form:
            return "computed in closed form"
        return f"{self.status.value} after {self.steps} step{'s' * (self.steps != 1)}"

    @property
    def residual(self) -> float:
        """The largest relative residual at the last look."""
        return max(self.solution.history[-1].residuals)


@dataclass(frozen=True)
class Target:
    """The place where a run is written.

    Attributes:
        output: The image.
        figure: The figure, or ``None``.
        overwrite: Whether existing files may be replaced.
        derivation: What a derived DICOM image says of the run, and what its UIDs follow from.
        alarm_map: The score of a critic over each pixel, or ``None``.
    """

    output: Path
    figure: Path | None = None
    overwrite: bool = False
    derivation: io.Derivation | None = None
    alarm_map: Path | None = None


@dataclass(frozen=True)
class Run:
    """A run on disk.

    Attributes:
        result: The run.
        paths: The files of the result.
        record: The run record.
        document: What the record says.
        judgement: Of the result by a critic; ``None`` where none was asked for.
    """

    result: Result
    paths: tuple[Path, ...]
    record: Path
    document: dict[str, object]
    judgement: Judgement | None = None


def alarm_for(named: str | None, plan: Plan) -> Alarm | None:
    """The critic that is to judge the result of a plan, if one is named: what it cannot judge is refused.

    Raises:
        UsageError: There is no such critic, or it is for other images.
    """
    if not named:
        return None
    template = plan.problem.template
    alarm = find_alarm(named, template.units, template.pixels.shape[1])
    check_size(alarm, plan.problem.image_shape)
    return alarm


def read_image(path: Path, config: SolveConfig, say: Notify, found: Image | None = None) -> Image:
    """The image in a file, in the range that was asked for; what its reader had to say is passed on.

    Of projections it is the line integrals, as :func:`recon.reconstruction.ct_input.read_scan` gives them. ``found`` is
    what :func:`recon.specs.input_checks.read_first` has read already.
    """
    if config.operator.name == "ct":
        return read_scan(path, config, scanned(config.operator), say)
    image = found or io.read(path, value_range=config.range)
    say_notes(image, path.name, say)
    return image


def say_notes(image: Image, name: str, say: Notify) -> None:
    """Pass on what the reader of a file had to say; a DICOM file is not named, as its name may be the patient's."""
    called = "the DICOM input" if image.source.format == "dicom" else name
    for note in image.notes:
        say(f"{called}: {note}")


def solve_image(
    config: SolveConfig, image: Image, say: Notify = lambda line: None, watch: ProgressCallback | None = None
) -> Result:
    """Reconstruct an image: plan it, run it, and take the result back to the image's units.

    Args:
        config: What to do.
        image: The measurement.
        say: Where remarks go, a line each.
        watch: Called as the run goes on.

    Returns:
        The result, whatever its status.

    Raises:
        ReconError: Whatever stands in the way, before the first step.
    """
    return execute(make_plan(config, image, say), watch)


def execute(plan: Plan, watch: ProgressCallback | None = None, folder: Path | None = None) -> Result:
    """Run a plan: of a guided prior without a guide twice, the first time for the guide.

    Args:
        plan: What to run.
        watch: Called as the run goes on.
        folder: Where what does not fit into the memory is kept meanwhile; ``None``: the system's folder for that.
    """
    if not plan.makes_guide:
        return _executed(plan, plan.tolerance, watch, folder=folder)
    making = for_guide(plan)
    first = _executed(making, max(making.tolerance, GUIDE_TOLERANCE), watch)
    if first.status in _NO_GUIDE:
        return first
    first = replace(first, solution=replace(first.solution, state=None))  # the dual variable is larger than all else
    guided = with_guide(plan, first.solution.x)
    if plan.problem.config.require_certificate:
        require(guided)  # the guide decides how steep the penalty is
    second = _executed(guided, plan.tolerance, watch, scale=first.scale)
    return replace(second, seconds=first.seconds + second.seconds, first=first)


def _executed(
    plan: Plan,
    tolerance: float,
    watch: ProgressCallback | None,
    scale: Sequence[float] | None = None,
    folder: Path | None = None,
) -> Result:
    problem, config = plan.problem, plan.problem.config

    def look(progress: Progress, _: Tensor) -> None:
        if watch is not None:
            watch(progress.step, plan.budget, max(progress.distances))

    on_cuda = problem.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(problem.device)
    with _determinism(config.deterministic):
        started = time.perf_counter()
        if plan.method.direct is not None:
            scale = scale_of(problem.measurement)
            room = state_room(config.memory, problem.image, problem.measurement)
            y = problem.measurement
            require_free(plan.memory_bytes - y.numel() * y.element_size() - problem.image.pixels.nbytes)
            run = solvers.DirectRun(tolerance, plan.budget, scale, lambda seen: look(seen, y), room, folder)
            solution = plan.method.direct(y, run)
        else:
            start = starting_image(problem, plan.pair)
            scale = scale_of(start) if scale is None else scale
            solution = solvers.solve(
                plan.method.algorithm(problem.measurement),
                start,
                tolerance=tolerance,
                max_steps=plan.budget,
                check_every=1 if len(problem.image_shape) == 3 else 10,  # a step of a volume takes long
                callback=look,
                rounding=plan.method.rounding,
                scale=scale,
                early=plan.method.early if config.stops_early else None,
            )
        seconds = time.perf_counter() - started
    if plan.method.steps is not None:
        solution = _completed(solution, plan.method.steps)
    constraint = problem.prior.prior.constraint
    if constraint is not None:  # relaxation goes a little beyond it, and the projection is nearer to the solution
        solution = replace(solution, x=constraint(solution.x))
    peak = torch.cuda.max_memory_allocated(problem.device) if on_cuda else peak_bytes()
    return Result(plan, solution, tuple(scale), seconds, peak)


def _completed(solution: Solution, steps: int) -> Solution:
    """A run of a fixed number of steps, whose items have no limit to be judged by."""
    ended = (Status.NOT_FINITE, Status.INTERRUPTED)
    status = tuple(
        Status.COMPLETED if taken == steps and status not in ended else status
        for status, taken in zip(solution.status, solution.steps, strict=True)
    )
    return replace(solution, status=status)


@contextlib.contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    if not wanted or torch.are_deterministic_algorithms_enabled():
        yield  # to set what is set already would load torch's compiler, which takes seconds
        return
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def check_target(target: Target, inputs: tuple[Path, ...], image: Image | None = None) -> None:
    """See that everything a run writes may be written there, before any work is done.

    Args:
        target: Where it writes.
        inputs: The files that it reads.
        image: The measurement, once it is read: its frames may be written to a file each.

    Raises:
        OutputError: Something exists, is an input, cannot be written, or would be written twice.
    """
    if suffix_of(target.output) not in SUFFIXES:
        raise OutputError(
            f"{target.output}: the suffix {target.output.suffix!r} names no format; expected {', '.join(SUFFIXES)}."
        )
    frames = () if image is None else io.output_paths(image, target.output)
    paths = dict.fromkeys((target.output, record_path(target.output), *frames))
    if target.figure is not None and target.figure.suffix.lower() not in FIGURE_SUFFIXES:
        raise OutputError(f"{target.figure}: no format of a figure; expected {', '.join(FIGURE_SUFFIXES)}.")
    held = [io.check_output(path, overwrite=target.overwrite, inputs=inputs) for path in paths]
    if target.alarm_map is not None:
        if target.alarm_map.suffix.lower() not in MAP_SUFFIXES:
            raise OutputError(f"{target.alarm_map}: no format of a map; expected {', '.join(MAP_SUFFIXES)}.")
        place = io.check_output(target.alarm_map, overwrite=target.overwrite, inputs=inputs)
        if place in held:
            raise OutputError(
                f"{target.alarm_map}: the map and the result have one name; expected two, because one would replace "
                "the other."
            )
        held.append(place)
    if target.figure is None:
        return
    if io.check_output(target.figure, overwrite=target.overwrite, inputs=inputs) in held:
        raise OutputError(
            f"{target.figure}: the figure and the result have one name; expected two, because one would replace the "
            "other."
        )


def check_format(plan: Plan, output: Path) -> None:
    """See that the result of a plan can be written in the format of ``output``, before any work is done.

    Raises:
        OutputError: A DICOM file is to be made of something that neither is one nor in HU, or of an image of another
            size.
    """
    image, shape = plan.problem.template, plan.problem.image_shape
    if suffix_of(output) in (".nii", ".nii.gz"):
        _check_nifti(image, shape, output)
    if output.suffix.lower() not in (".dcm", ".dicom"):
        return
    if image.source.format != "dicom":
        io.check_units(image, output)
        return
    if shape[-2:] != (image.height, image.width):
        raise OutputError(
            f"{output}: the result has {shape[-2]} x {shape[-1]} pixels and its DICOM source {image.height} x "
            f"{image.width}, so its positions would be wrong; expected TIFF or NPY."
        )


def _check_nifti(image: Image, shape: tuple[int, ...], output: Path) -> None:
    """See that the header of a NIfTI source fits the result."""
    if image.source.format == "nifti" and shape[-2:] != (image.height, image.width):
        raise OutputError(
            f"{output}: the result has {shape[-2]} x {shape[-1]} pixels a slice and its NIfTI source {image.height} x "
            f"{image.width}, so its affine would be wrong; expected TIFF or NPY."
        )
    io.check_units(image, output)


def write_run(  # noqa: PLR0913, PLR0917  each is an independent choice of the caller
    result: Result,
    measurement: Path | InputFile | Sequence[InputFile],
    target: Target,
    say: Notify,
    stamp: Mapping[str, object] | None = None,
    image: Image | None = None,
    volume: Mapping[str, object] | None = None,
    alarm: Alarm | None = None,
) -> Run:
    """Write a result, its record and its figure.

    Args:
        result: The run.
        measurement: Its input, with its hash where that is known; or the files of its slices.
        target: Where it is written.
        say: Where remarks go, a line each.
        stamp: What the record says of the batch that the run is part of, as ``batch``.
        image: What is written in place of the whole result: a slice of it.
        volume: What the record says of the volume that it is, or is a slice of, as ``volume``.
        alarm: The critic that judges the result.

    Raises:
        GuaranteeError: The run diverged; nothing is written.
        OutputError: Something cannot be written.
    """
    if result.status in (Status.DIVERGED, Status.NOT_FINITE):
        raise GuaranteeError(
            f"{result.plan.method.name} on {result.plan.problem.family.spec} ended as {result.status.value} after "
            f"{result.steps} steps; nothing was written. {result.status.sentence}"
        )
    held = files_of(result.plan, *_paths(measurement))
    check_target(target, held, image or result.plan.problem.template)
    inputs = input_files(result.plan, measurement)
    judgement = None if alarm is None else judge_image(alarm, image or result.image)
    image = writable(image or result.image, target.output)
    written = io.write(image, target.output, overwrite=target.overwrite, inputs=held, derivation=target.derivation)
    if written.clipped:
        say(f"{target.output}: {written.clipped} value(s) did not fit into the file's range and were clipped")
    for note in written.notes:
        say(f"{target.output}: {note}")
    check = result.residual_check
    for remark in () if check is None else check.remarks:
        say(f"{target.output}: {remark}")
    record = record_path(target.output)
    document = _document(result, inputs, written.paths, record.parent)
    if stamp is not None:
        document["batch"] = dict(stamp)
    if volume is not None:
        document["volume"] = dict(volume)
    if judgement is not None:
        document["alarm"] = judgement.to_json()
        if target.alarm_map is not None:
            write_map(judgement, target.alarm_map, target.overwrite)
    write_record(record, document, target.overwrite)
    if target.figure is not None:
        write_figure(result, target.figure, target.overwrite)
    return Run(result, written.paths, record, document, judgement)


def files_of(plan: Plan, *measured: Path) -> tuple[Path, ...]:
    """The files that a run depends on."""
    return (*measured, *(path for _, path in _model_files(plan)))


def _paths(measurement: Path | InputFile | Sequence[InputFile]) -> list[Path]:
    if isinstance(measurement, Path):
        return [measurement]
    return [entry.path for entry in ([measurement] if isinstance(measurement, InputFile) else measurement)]


def input_files(plan: Plan, measurement: Path | InputFile | Sequence[InputFile]) -> tuple[InputFile, ...]:
    """The files that a run depends on, with their hashes."""
    if isinstance(measurement, Path):
        measurement = input_file("measurement", measurement, private=plan.problem.image.source.format == "dicom")
    measured = (measurement,) if isinstance(measurement, InputFile) else tuple(measurement)
    others = (input_file(role, path, role == "guide" and is_dicom(path)) for role, path in _model_files(plan))
    return (*measured, *others)


def _model_files(plan: Plan) -> list[tuple[str, Path]]:
    problem = plan.problem
    families = [("operator", problem.family.files), ("prior", problem.prior.files)]
    families += [(role, (Path(name),)) for role, name in _fields(problem.config).items() if isinstance(name, str)]
    families.append(("method", plan.method.files))
    if problem.surrogate_family is not None:
        families.append(("surrogate", problem.surrogate_family.files))
    return [(role, path) for role, paths in families for path in paths]


def _fields(config: SolveConfig) -> dict[str, str | float | None]:
    return {"flat field": config.flat, "dark field": config.dark, "guide": config.guide}


def writable(image: Image, output: Path) -> Image:
    """A complex result as its modulus, unless the file can hold complex numbers."""
    if image.pixels.dtype.kind != "c" or output.suffix.lower() == ".npy":
        return image
    return replace(image, pixels=abs(image.pixels))


def _document(
    result: Result, inputs: tuple[InputFile, ...], paths: tuple[Path, ...], folder: Path
) -> dict[str, object]:
    plan, solution = result.plan, result.solution
    return {
        "status": result.status.value,
        "sentence": result.status.sentence,
        "steps": result.steps,
        "distance": result.distance.to_json(),
        "frames": [
            {"status": status.value, "steps": steps, "distance": distance.to_json()}
            for status, steps, distance in zip(solution.status, solution.steps, result.distances, strict=True)
        ],
        "seconds": round(result.seconds, 3),
        "peak_bytes": result.peak_bytes,
        "ended": now(),
        "certificate": plan.method.certificate.to_json(),
        "error_bounds": [bound.to_json() for bound in result.bounds],
        "backward_errors": [error.to_json() for error in result.backward_errors],
        "polishing": [polish.to_json() for polish in result.polishing],
        "duality_gap": None if result.gap is None else result.gap.to_json(),
        "duality_gaps": [gap.to_json() for gap in result.gaps],
        "refused_steps": result.refused_steps,
        "guide": None if result.guide is None else result.guide.to_json(),
        "first": None if result.first is None else _first(result.first),
        "residual_check": None if result.residual_check is None else result.residual_check.to_json(),
        "config": to_json(nameless(plan.problem.config), folder),
        "plan": plan.to_json(),
        "versions": versions(),
        "inputs": [entry.to_json(folder) for entry in inputs],
        "outputs": [{"path": path.name, "sha256": input_file("output", path).sha256} for path in paths],
        "result_sha256": pixel_hash(solution.x),
        "history": [
            {
                "step": look.step,
                "residuals": list(look.residuals),
                "distances": list(map(finite_or_none, look.distances)),
            }
            for look in solution.history
        ],
    }


def _first(result: Result) -> dict[str, object]:
    """What a record says of the run that made the guide."""
    return {
        "status": result.status.value,
        "steps": result.steps,
        "distance": result.distance.to_json(),
        "seconds": round(result.seconds, 3),
        "certificate": result.plan.method.certificate.to_json(),
        "result_sha256": pixel_hash(result.solution.x),
    }


def _nearer(measured: Distance, bound: ErrorBound, scale: float) -> Distance:
    """The smaller of an estimate and a bound."""
    if not bound.value < measured.value:
        return measured
    return Distance(bound.value, bound.value / scale, bound.evidence, bound.how)


def pixel_hash(x: Tensor) -> str:
    """The SHA-256 of the values of a tensor, before any rounding to a file's integers."""
    return hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


@torch.no_grad()
def write_figure(result: Result, figure: Path, overwrite: bool) -> None:
    """Draw measurement, result, residual and convergence.

    Raises:
        OutputError: The figure cannot be written.
    """
    from recon.report import RunFigure, solve_figure, volume_figure  # noqa: PLC0415  matplotlib costs half a second

    plan, x = result.plan, result.solution.x
    problem = plan.problem
    measurement = problem.measurement
    if problem.weighted:
        frames = io.to_tensor(problem.image, x.dtype.to_real()).to(x)
        measurement = frames if problem.family.geometry is None else as_items(frames, problem.family.geometry)
        measurement = measurement if problem.layout is None else problem.layout.items(frames)
    looks = () if plan.method.closed_form else result.solution.history
    history = [(look.step, max(look.residuals)) for look in looks]
    distances = [(look.step, max(look.distances)) for look in looks if estimates_distance(look.step)]
    run = RunFigure(
        measurement,
        x,
        _measured(problem, x) - measurement,
        history,
        title=f"{problem.family.spec.name}, {problem.prior.spec}, {plan.method.name}: {result.outcome}",
        value_range=problem.template.value_range,
        measured_range=problem.image.value_range,
        distances=distances,
        certificate_sentence=plan.method.certificate.sentence,
        window=io.display_window(problem.template),
    )
    if x.ndim == 4:
        solve_figure(figure, run, overwrite=overwrite)
    else:
        volume_figure(figure, run, spacing=problem.spacing, overwrite=overwrite)


def _measured(problem: Problem, x: Tensor) -> Tensor:
    """A x without weights of rays."""
    if problem.layout is None:
        return problem.family.on(problem.image_shape).A(x)
    return each_slice(problem.family.on(problem.image_shape[1:]).A, x)
