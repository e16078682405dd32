"""The layers of a slice of a report: before, after, what was changed, the measurement and the residual."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recon import io
from recon.errors import InputError, ReconError
from recon.io import Image
from recon.io.atomic import is_store
from recon.io.image import Array, ValueRange
from recon.operators import Inpainting
from recon.reconstruction.ct_input import as_frames, as_items, quick_look
from recon.reconstruction.problem import Problem, back_projection, build_problem
from recon.reconstruction.record import input_file
from recon.report.page import Layer, Scale
from recon.report.page.markup import mapping, number, plain
from recon.specs.grammar import Spec
from recon.specs.solve_config import SolveConfig

_TIMES = 4.0
"""The noise level that is full colour in a picture of the residual."""

_Layers = list[Layer | None]


@dataclass
class FoundFiles:
    """The files of a run that are what the record says.

    Attributes:
        frames: Of the result, a frame each; ``None`` of an altered one.
        before: The measurement.
        remarks: Why something is not there.
        missing: Why a result is not.
        hashes: Of all inputs of the run.
        facts: Files that were found, where they are to be named.
    """

    frames: list[Image | None]
    names: list[str]
    before: Image | None = None
    remarks: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    hashes: set[str] = field(default_factory=set)
    facts: list[tuple[str, str]] = field(default_factory=list)


def layers_of(
    document: Mapping[str, object], config: SolveConfig | None, found: FoundFiles, bounds: dict[str, float]
) -> list[list[Layer]]:
    """The layers of each frame of a result.

    Args:
        document: The run record.
        config: Its configuration; ``None`` where it is not valid.
        found: The files of the run; why a layer is left out is added to its remarks.
        bounds: The scales of residuals and differences, for slices that share them.
    """
    plan = mapping(document.get("plan"))
    noise = number(plan.get("noise_in_units"))
    residual_bound = bounds.get("residual") or (None if not noise else float(f"{_TIMES * abs(noise):.2g}"))
    units = plain(mapping(plan.get("range")).get("units"), 20)
    after = [None if each is None else _in_units(each, plan, found.before, units) for each in found.frames]
    before, others = _before_and_others(config, found, after, residual_bound)
    every = []
    for at, image in enumerate(after):
        layers = []
        if (early := before[at]) is not None:
            layers.append(early)
        if image is not None:
            layers.append(layer_of("after", "result", image))
        layers += others[at]
        if (
            early is not None
            and image is not None
            and early.values is not None
            and _same_size(early.values, image.pixels[0])
        ):
            layers.append(difference_layer(config, early, image, residual_bound, bounds))
        every.append(layers)
    return every


def _in_units(image: Image, plan: Mapping[str, object], before: Image | None, units: str) -> Image:
    """A result in the units of the run: PNG and JPEG hold what was not 8- or 16-bit numbers as black to white."""
    low, high = (number(mapping(plan.get("range")).get(key)) for key in ("low", "high"))
    kind = image.pixels.dtype
    if image.source.format not in ("png", "jpeg") or kind.kind != "u":
        return image if image.units or not units else replace(image, value_range=_with_units(image.value_range, units))
    largest = float(np.iinfo(kind).max)
    if low is None or high is None or not low < high or (low, high) == (0.0, largest):
        return image
    plain_copy = before is not None and before.pixels.dtype == kind and not _is_projections(before)
    if before is None or plain_copy:
        return image  # without the measurement it is not known whether they were numbers of the file
    pixels = low + image.pixels.astype(np.float64) / largest * (high - low)
    return replace(image, pixels=pixels, grid=None, value_range=ValueRange(low, high, units))


def _with_units(value_range: ValueRange, units: str) -> ValueRange:
    return replace(value_range, units=units)


def _is_projections(image: Image) -> bool:
    return image.source.format == "projections"


def layer_of(name: str, label: str, image: Image, **more: object) -> Layer:
    """A picture of an image of one frame, in units."""
    values = np.abs(image.pixels[0]) if np.iscomplexobj(image.pixels) else image.pixels[0]
    if image.padding is not None and image.padding.shape == image.pixels.shape and image.padding.any():
        values = np.where(image.padding[0], np.nan, values)
    aspect = _aspect(image)
    return Layer(name, label, values, unit=image.units, step=_step(image), aspect=aspect, **more)  # type: ignore[arg-type]


def _step(image: Image) -> float:
    """The distance of neighbouring values that a file can hold; 0 where it holds floating-point numbers."""
    grid = image.grid
    return 0.0 if grid is None or (image.pixels.dtype.kind not in "iu" and grid.is_plain) else abs(grid.slope[0])


def _same_size(one: Array, other: Array) -> bool:
    return one.shape == other.shape


def difference_layer(
    config: SolveConfig | None, before: Layer, after: Image, residual_bound: float | None, bounds: dict[str, float]
) -> Layer:
    """After less before: of denoising that is the residual."""
    is_residual = config is not None and config.operator.name == "identity"
    bound = residual_bound if is_residual else None
    bound = bound or bounds.get("change") or bounds.setdefault("change", _farthest(before, after))
    name, title, label = (
        ("residual", "residual", "A x − y, which is after less before")
        if is_residual
        else ("change", "after − before", "after less before")
    )
    return Layer(
        name, label, None, Scale.SIGNED, after.units, (-bound, bound), difference=("after", "before"), title=title
    )


def _farthest(before: Layer, after: Image) -> float:
    """The percentile 99.5 of the absolute difference, to two digits; 1 where there is none."""
    first, second = (np.asarray(each.values, np.float64) for each in (before, layer_of("after", "", after)))
    apart = np.abs(second - first)
    known = apart[np.isfinite(apart)]
    return float(f"{float(np.percentile(known, 99.5)) if known.size else 1.0:.2g}") or 1.0


def _before_and_others(
    config: SolveConfig | None, found: FoundFiles, after: Sequence[Image | None], bound: float | None
) -> tuple[_Layers, list[list[Layer]]]:
    """The picture of before of each frame, and the pictures that are neither before nor after."""
    count = len(after)
    nothing: tuple[_Layers, list[list[Layer]]] = ([None] * count, [[] for _ in after])
    image = found.before
    if config is None or image is None:
        return nothing
    if config.operator.name == "identity":
        if image.frames != count:
            return nothing
        return [layer_of("before", "measurement", frame_of(image, at)) for at in range(count)], nothing[1]
    if config.operator.name == "python":
        found.remarks.append(
            "The residual is not shown: the operator is the user's own code, which a report does not run."
        )
        same = image.frames == count and all(
            each is not None and _same_size(image.pixels[0], each.pixels[0]) for each in after
        )
        shown: _Layers = (
            [layer_of("before", "measurement", frame_of(image, at)) for at in range(count)] if same else [None] * count
        )
        return shown, nothing[1]
    return _of_other_operator(config, image, after, bound, found) or nothing


def _of_other_operator(
    config: SolveConfig, image: Image, after: Sequence[Image | None], bound: float | None, found: FoundFiles
) -> tuple[_Layers, list[list[Layer]]] | None:
    """The pictures of a run whose operator is to be applied; ``None`` where it does not fit, which is remarked."""
    try:
        problem = _problem(config, image)
        if {file_hash(path) for path in problem.family.files} <= found.hashes:
            return _of_problem(problem, after, bound, found)
        found.remarks.append("The residual is not shown: the files of the operator are not those of the run.")
        return (_before(problem, after), [[] for _ in after]) if config.operator.name == "blur" else None
    except ReconError as error:
        found.remarks.append(f"The measurement and the residual are not shown: {plain(str(error), 300)}")
    except (RuntimeError, ValueError, TypeError, IndexError, OverflowError, MemoryError):
        found.remarks.append("The measurement and the residual are not shown: they do not fit the record.")
    return None


def _problem(config: SolveConfig, image: Image) -> Problem:
    """The problem of a run without its prior: operator and measurement, on the CPU."""
    plain_config = SolveConfig(
        operator=config.operator, prior=Spec("none"), method=_closed_form(config), range=config.range,
        shape=config.shape, water=config.water, photons=config.photons, flat=config.flat, dark=config.dark,
        device="cpu",
    )  # fmt: skip
    return build_problem(plain_config, image, lambda line: None)


def _closed_form(config: SolveConfig) -> str | None:
    return config.method if config.entry is not None and config.entry.closed_form else None


@torch.no_grad()
def _of_problem(
    problem: Problem, after: Sequence[Image | None], bound: float | None, found: FoundFiles
) -> tuple[_Layers, list[list[Layer]]]:
    count = len(after)
    before = _before(problem, after)
    others: list[list[Layer]] = [[] for _ in after]
    measured = problem.measurement
    if problem.weighted:
        frames = io.to_tensor(problem.image, measured.dtype.to_real()).to(measured)
        assert problem.family.geometry is not None  # noqa: S101  only rays have weights
        measured = as_items(frames, problem.family.geometry)
    geometry = problem.family.geometry
    once = geometry is not None and geometry.kind == "cone"  # of which all frames share a view
    if geometry is not None or problem.family.is_complex:
        _append(others, lambda at: _of_measurement(problem, measured, at, count), once)
    x = _solution(problem, after, found)
    if x is None:
        return before, others
    residual = (problem.family.on(problem.image_shape).A(x) - measured) * problem.image.value_range.width
    _append(others, lambda at: _residual(problem, residual, (at, count), bound), once)
    return before, others


def _append(others: list[list[Layer]], make: Callable[[int], Layer], once: bool) -> None:
    """Add a layer to each frame: its own, or one for all."""
    shared = replace(make(0), shared=True) if once else None
    for at, layers in enumerate(others):
        layers.append(shared or make(at))


def _solution(problem: Problem, after: Sequence[Image | None], found: FoundFiles) -> Tensor | None:
    """The result on the scale of the problem; ``None`` where a frame of it is missing or its phases are."""
    images = [each for each in after if each is not None]
    if len(images) != len(after):
        return None
    if problem.family.is_complex and not all(np.iscomplexobj(each.pixels) for each in images):
        found.remarks.append(
            "The residual is not shown: the file holds magnitudes, and the residual needs phases (NPY has them)."
        )
        return None
    ranged = [replace(each, value_range=problem.template.value_range) for each in images]
    frames = torch.cat([io.to_tensor(each, torch.float32) for each in ranged])
    geometry = problem.family.geometry
    return frames if geometry is None else as_items(frames, geometry)


def _before(problem: Problem, after: Sequence[Image | None]) -> _Layers:
    """The pictures that the results are compared with: the measurement, or the plainest image of it."""
    image, count = problem.image, len(after)
    name = problem.family.spec.name
    template = problem.template
    geometry = problem.family.geometry
    if problem.config.entry is not None and problem.config.entry.closed_form:
        return [None] * count  # the result is what it would be compared with
    if geometry is not None:
        y = as_items(io.to_tensor(image, torch.float32), geometry)
        frames = as_frames(quick_look(y, geometry))
        return _pictures(frames, template, "filtered back-projection of the same projections", count)
    if problem.family.is_complex:
        frames = back_projection(problem.operator, problem.measurement).abs()
        return _pictures(frames, template, "zero-filled reconstruction of the same measurement", count)
    if image.frames != count:
        return [None] * count
    shown: _Layers = []
    for at in range(count):
        part = layer_of("before", "measurement", frame_of(image, at))
        assert part.values is not None  # noqa: S101
        values = part.values
        if name == "downsample":
            factor = problem.image_shape[0] // image.height
            values = values.repeat(factor, axis=1).repeat(factor, axis=2)
            part = replace(part, label=f"measurement, each pixel {factor} × {factor} times")
        elif isinstance(problem.operator, Inpainting):
            values = np.where(problem.operator.mask.numpy(), values, np.nan)
            part = replace(part, label="measurement; nothing where it was not measured")
        shown.append(replace(part, values=_placed(values, problem.image_shape)))
    return shown


def _placed(values: Array, shape: tuple[int, ...]) -> Array:
    """A measurement in the middle of an image that goes on beyond its border, where there is none."""
    if values.shape[1:] == shape:
        return values
    top, left = ((shape[axis] - values.shape[axis + 1]) // 2 for axis in (0, 1))
    if top < 0 or left < 0:
        return values
    whole = np.full((len(values), *shape), np.nan)
    whole[:, top : top + values.shape[1], left : left + values.shape[2]] = values
    return whole


def _pictures(frames: Tensor, template: Image, label: str, count: int) -> _Layers:
    """Images on the scale of a problem as pictures in units."""
    if len(frames) != count:
        return [None] * count
    limits = template.value_range
    values = np.float32(limits.low) + frames.float().numpy() * np.float32(limits.width)
    aspect = _aspect(template)
    return [Layer("before", label, each, unit=limits.units, aspect=aspect) for each in values]


def _of_measurement(problem: Problem, measured: Tensor, at: int, count: int) -> Layer:
    """The sinogram, the middle view of a cone, or the magnitudes of k-space."""
    if problem.family.is_complex:
        magnitude = measured[at].abs().double().numpy()
        floor = 1e-4 * float(magnitude.max()) or 1.0
        decades = np.log10(np.maximum(magnitude, floor) / floor)
        return Layer("measurement", "k-space, four decades of magnitude", decades, Scale.OWN, limits=(0.0, 4.0))
    plane, label = _plane_of(measured, at, count)
    width = problem.image.value_range.width
    return Layer("measurement", label, plane * width, Scale.OWN, aspect=_stretch(plane, problem))


def _plane_of(values: Tensor, at: int, count: int) -> tuple[Array, str]:
    """A plane of projections for a frame: its sinogram, or of a cone the middle view for all."""
    if values.ndim == 5:
        middle = values.shape[2] // 2
        return values[0, :, middle].float().numpy(), f"projections, view {middle + 1} of {values.shape[2]}"
    return values[at if len(values) == count else 0].float().numpy(), "sinogram: views down, detector pixels across"


def _stretch(plane: Array, problem: Problem) -> float:
    """The height of a pixel that gives a sinogram the format of the result, where its own is another."""
    rows, columns = plane.shape[-2:]
    wanted = problem.image_shape[-2] / problem.image_shape[-1]
    return 1.0 if 0.5 < rows / columns / wanted < 2 else wanted * columns / rows


def _residual(problem: Problem, residual: Tensor, place: tuple[int, int], bound: float | None) -> Layer:
    """The residual of frame ``place[0]`` of ``place[1]``."""
    limits = None if bound is None else (-bound, bound)
    if problem.family.is_complex:
        magnitude = residual[place[0]].abs().double().numpy()
        return Layer("residual", "|A x − y|", magnitude, Scale.SIGNED, limits=limits)
    if problem.family.geometry is not None:
        plane, label = _plane_of(residual, *place)
        label = f"A x − y, {label.partition(':')[0]}"
        return Layer("residual", label, plane, Scale.SIGNED, limits=limits, aspect=_stretch(plane, problem))
    values = residual[place[0]].float().numpy()
    if isinstance(problem.operator, Inpainting):
        values = np.where(problem.operator.mask.numpy(), values, np.nan)
    if problem.family.spec.name == "blur":
        values = _placed(values, problem.image_shape)
    return Layer(
        "residual", "A x − y", values, Scale.SIGNED, problem.image.units, limits, aspect=_aspect(problem.image)
    )


def _aspect(image: Image) -> float:
    return 1.0 if image.spacing is None else image.spacing[0] / image.spacing[1]


def frame_of(image: Image, at: int) -> Image:
    """One frame of an image."""
    part = slice(at, at + 1)
    grid = image.grid
    if grid is not None and len(grid.slope) > 1:
        grid = replace(grid, slope=grid.slope[part], intercept=grid.intercept[part])
    return replace(
        image, pixels=image.pixels[part], grid=grid, alpha=None,
        padding=None if image.padding is None else image.padding[part],
    )  # fmt: skip


def file_hash(path: Path) -> str:
    """The hash of a regular file, or of a Zarr store; empty where it cannot be read."""
    try:
        if is_store(path):
            return input_file("store", path).sha256
        if not path.is_file():
            return ""
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError, InputError):
        return ""
