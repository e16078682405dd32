"""The problem that is to be solved, from a configuration and an image."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon import operators
from recon.catalogue import folders
from recon.device import Notify, choose_device, choose_processor
from recon.errors import ConsistencyError, UsageError
from recon.io import Image, ValueRange, to_tensor
from recon.io.image import robust_range
from recon.io.noise_estimate import SMALLEST_SIDE, estimate_noise
from recon.methods.catalogue import ENTRIES
from recon.methods.coefficients import METHODS as OF_COEFFICIENTS
from recon.methods.contrast import contrast, spread
from recon.methods.entry import PriorUse
from recon.methods.stepsizes import longest_step, mean_column
from recon.operators import Identity, Inpainting
from recon.operators.base import HasDataResolvent
from recon.operators.slices import SliceBySlice, slice_by_slice
from recon.operators.tomography import Geometry, Tomography, WeightedTomography
from recon.priors import GuidedPrior, Prior
from recon.reconstruction import ct_input
from recon.reconstruction.border_check import border_warning
from recon.reconstruction.memory import require_memory
from recon.reconstruction.scale import SAME, Scale, as_complex, black_seen, solved_image
from recon.reconstruction.volumes import VolumeLayout, layout_of, sampled, some_of
from recon.specs.configured_prior import ConfiguredPrior, PriorContext
from recon.specs.grammar import Spec
from recon.specs.operators import OperatorFactory, Shape, read_operator
from recon.specs.priors import follows_back_noise, has_weight, is_single, needs_noise, read_prior, require_complex
from recon.specs.solve_config import Noise, SolveConfig
from recon.specs.surrogates import fitted, read_surrogate
from recon.types import LinearOperator, Map

DEFAULT_PRIOR = Spec("tv")
"""Where no packaged model fits."""

_GUIDED = {f"proved-{kind}": f"guided-{kind}" for kind in ("gray", "color", "ct")}
"""In place of a default prior that takes no guide, where one is given."""

SPREAD = 0.17
"""The standard deviation of a photograph on [0, 1]: the geometric mean of crops of the validation list."""

_LOOKED_AT = 32
"""Sinograms, or views of a panel, whose noise is looked at."""

IN_SLICES = ("wavelet", "model", "folder", "deepinv", "python")
"""Priors of images, which a volume goes through slice by slice."""

ESTIMABLE = ("identity", "blur", "downsample", "ct")
"""Operators whose measurement is an image with the noise added pixel by pixel."""

_LEAST = 1e-4
"""Of the range: the noise level of a measurement in which none is seen."""

_IMPLAUSIBLE, _FAR = 0.5, 8.0
"""A stated noise level that is remarked on: of the range, and by how much the estimate exceeds it."""


_MISFITS = (RuntimeError, ValueError, TypeError, IndexError)
"""What an operator may raise on images or measurements of another size."""


@dataclass(frozen=True)
class Problem:
    """The problem that is to be solved, on the [0, 1] scale and on its device.

    Attributes:
        config: What was asked for.
        image: The measurement as it was read, with its units and the range that becomes [0, 1].
        measurement: The same as a tensor, (frames, channels, height, width); of a cone (1, 1, views, panel rows, panel
            columns), and of volumes (volumes, channels, slices, height, width).
        family: Where the operator comes from.
        operator: The operator.
        image_shape: (height, width) of the result; of a cone (slices, height, width).
        surrogate: The operator whose adjoint is used instead, or ``None``, and where it comes from.
        surrogate_family: Where the surrogate comes from.
        prior: The prior and its specification.
        noise: The standard deviation of the noise; ``None`` where nothing needed it.
        device: Where it is solved.
        template: An image of the result's size and units, by which it is written: the measurement, but for projections.
        start: Where to begin; ``None``: at the scaled back-projection.
        scale: From the scale on which the user's numbers are to that of the problem.
        shown: The range that a picture of the result shows.
        spread: The standard deviation of the image, about; 0 where nothing depends on it.
        layout: Which frames are the slices of a volume; ``None`` where each frame is an image, and of a cone.
    """

    config: SolveConfig
    image: Image
    measurement: Tensor
    family: OperatorFactory
    operator: LinearOperator
    image_shape: Shape
    surrogate: LinearOperator | None
    surrogate_family: OperatorFactory | None
    prior: ConfiguredPrior
    noise: float | None
    device: torch.device
    template: Image
    start: Tensor | None = None
    scale: Scale = SAME
    shown: ValueRange | None = None
    spread: float = 0.0
    layout: VolumeLayout | None = None

    @property
    def slice_operator(self) -> LinearOperator:
        """Of a volume whose slices are measured one by one, the operator of one; else the operator."""
        return self.operator.of_slice if isinstance(self.operator, SliceBySlice) else self.operator

    @property
    def slice_surrogate(self) -> LinearOperator | None:
        """The surrogate of one slice."""
        return self.surrogate.of_slice if isinstance(self.surrogate, SliceBySlice) else self.surrogate

    @property
    def spacing(self) -> tuple[float, ...]:
        """The distance of two neighbours along each axis of the result, in pixels of a slice."""
        return self.family.spacing if self.layout is None else self.layout.spacing

    @property
    def relative_weight(self) -> float | None:
        """The weight of the prior on an image whose spread is that of a photograph on [0, 1]: step sizes follow it."""
        weight = self.prior.weight
        return weight if weight is None or not self.spread else weight * SPREAD / self.spread

    @property
    def weighted(self) -> bool:
        """Whether the measurement carries the weights of its rays."""
        return isinstance(self.slice_operator, WeightedTomography)

    @property
    def images(self) -> Tensor:
        """Zero images of the result's shape, in the memory of one number."""
        frames, channels = self.measurement.shape[:2]
        return self.example.flatten()[:1].expand(frames, channels, *self.image_shape)

    @property
    def example(self) -> Tensor:
        """A zero image of one frame, of the result's size; of one channel where the operator maps each alike.

        Of a volume that is measured slice by slice it is one slice.
        """
        kind = self.measurement.dtype.to_complex() if self.family.is_complex else self.measurement.dtype
        channels = _channels_seen(self.family, self.image)
        shape = self.image_shape if self.layout is None else self.image_shape[1:]
        return torch.zeros(1, channels, *shape, dtype=kind, device=self.device)


@dataclass(frozen=True)
class Objects:
    """Objects in the place of specifications of a configuration; ``None``: what the specification names.

    Attributes:
        operator: The operator.
        prior: The prior.
        surrogate: The operator whose adjoint replaces the true one.
        guide: The image that decides the weights of the prior.
    """

    operator: OperatorFactory | None = None
    prior: Prior | GuidedPrior | None = None
    surrogate: OperatorFactory | None = None
    guide: Image | None = None


AS_SPECIFIED = Objects()

ReadPrior = Callable[[Spec, PriorContext], ConfiguredPrior]


def build_problem(  # noqa: PLR0913, PLR0917  each is an independent choice of the caller
    config: SolveConfig,
    image: Image,
    say: Notify,
    precision: torch.dtype = torch.float32,
    given: Objects = AS_SPECIFIED,
    read: ReadPrior = read_prior,
) -> Problem:
    """Read what the configuration names, and see that it fits the image.

    Args:
        config: What to do.
        image: The measurement.
        say: Where remarks go, a line each.
        precision: Of the computation.
        given: Objects in place of what the configuration names.
        read: What reads the prior: a :class:`recon.specs.priors.PriorReader` where many images have the same.

    Raises:
        UsageError: A specification is not valid, or the noise is missing where it is needed.
        ConsistencyError: The operator's measurement does not have the image's size.
    """
    family = given.operator or read_operator(config.operator, say)
    if family.geometry is not None:
        return _from_projections(config, image, family, family.geometry, say, precision, given, read)
    if family.is_complex:
        require_complex(config.prior, family.spec)
        image = as_complex(image) if config.range is None else image
    measured = (image.height, image.width)
    shape = config.shape or family.image_shape(measured)
    operator = family.on(shape)
    surrogate_family = given.surrogate
    if surrogate_family is None and config.surrogate is not None:
        surrogate_family = read_operator(config.surrogate, say)
    surrogate = None if surrogate_family is None else fitted(surrogate_family.on(shape), operator)
    given_complex = image.pixels.dtype.kind == "c"
    if given_complex and given.prior is None:
        require_complex(config.prior, family.spec)
    plain = config.surrogate is None and not (family.is_complex or given_complex or config.volume)
    default = default_prior(image, operator, config.method) if plain else DEFAULT_PRIOR
    if config.guide is not None or given.guide is not None:
        default = _taking_guide(default)
    shown = image.value_range
    image, scale = solved_image(image, operator if family.is_complex else None, _prior_spec(config, default))
    inner = _on_scale(config, scale)
    noise = _noise(inner, image, family, default, say)
    if config.range is None and not family.is_complex:
        say_range(image, noise, say)
    device = choose_device(config.device, say)
    measurement = _measurement(image, family, operator, shape, precision).to(device)
    layout = layout_of(image, config, say) if config.volume else None
    looked = measurement if layout is None else some_of(measurement)
    if (border := border_warning(operator, looked, noise)) is not None:
        say(border)
    seen, size = _looked_at(inner, default, family, operator, looked)
    left, unit = _step_noise(inner, operator, torch.zeros(1, _channels_seen(family, image), *shape), noise)
    back = _back_noise(inner, default, operator, torch.zeros(1, _channels_seen(family, image), *shape), noise)
    context = PriorContext(
        noise, image.channels, family.blurs, shape, step_noise=left, unit_noise=unit, contrast=seen, back_noise=back
    )
    setting = _in_volume(replace(context, takes_coefficients=_takes_coefficients(inner, operator)), layout)
    configured = _prior(inner, default, setting, say, scale, given.prior, read)
    if (tip := _tip(inner, operator, setting, configured)) is not None:
        say(tip)
    problem = Problem(
        config, image, measurement, family, operator, shape, surrogate, surrogate_family, configured, noise, device,
        image, scale=scale, shown=shown if config.range is not None or not family.is_complex else None, spread=size,
    )  # fmt: skip
    _check_sizes(problem)
    return problem if layout is None else _as_volume(problem, layout, say)


def _in_volume(setting: PriorContext, layout: VolumeLayout | None) -> PriorContext:
    """The setting of a prior of volumes."""
    if layout is None:
        return setting
    shape = None if setting.image_shape is None else (layout.slices, *setting.image_shape)
    return replace(setting, image_shape=shape, spacing=layout.spacing)


def _as_volume(problem: Problem, layout: VolumeLayout, say: Notify) -> Problem:
    """A problem of images, with a prior of volumes, as one of volumes that are measured slice by slice."""
    if problem.prior.spec.name in IN_SLICES:
        say(f"{problem.prior.spec}: a prior of images, so that nothing couples the slices, as tv does")
    example, surrogate = problem.example, problem.surrogate
    return replace(
        problem,
        measurement=layout.items(problem.measurement),
        operator=slice_by_slice(problem.operator, layout.slices, example),
        surrogate=None if surrogate is None else slice_by_slice(surrogate, layout.slices, example),
        image_shape=(layout.slices, *problem.image_shape),
        start=None if problem.start is None else layout.items(problem.start),
        layout=layout,
    )


def _channels_seen(family: OperatorFactory, image: Image) -> int:
    """How many channels an operator is examined with: the user's own may mix them, the package's map each alike."""
    return image.channels if family.spec.name == "python" else 1


def _on_scale(config: SolveConfig, scale: Scale) -> SolveConfig:
    """The configuration with the user's numbers on the scale of the problem."""
    prior = None if config.prior is None else scale.of_spec(config.prior)
    return replace(config, noise=scale.of_noise(config.noise), prior=prior)


def _measurement(
    image: Image, family: OperatorFactory, operator: LinearOperator, shape: Shape, precision: torch.dtype
) -> Tensor:
    """The input on the scale of the problem."""
    measurement = to_tensor(image, precision)
    if family.is_complex:
        measurement = measurement.to(precision.to_complex())
    try:
        black = black_seen(
            image.value_range, operator, torch.zeros(1, _channels_seen(family, image), *shape, dtype=measurement.dtype)
        )
        return measurement if black is None else measurement + black
    except _MISFITS:
        return measurement  # it is said where the sizes are checked


def _looked_at(
    config: SolveConfig, default: Spec, family: OperatorFactory, operator: LinearOperator, measurement: Tensor
) -> tuple[float | None, float]:
    """The contrast and the spread of the image, where a weight depends on them."""
    if not has_weight(_prior_spec(config, default)):
        return None, 0.0
    image, seen = measurement, None
    if isinstance(operator, Inpainting):
        seen = operator.mask
    elif family.is_complex or family.spec.name == "python":
        try:
            image = back_projection(operator, measurement)
        except _MISFITS:
            return None, 0.0  # it is said where the sizes are checked
    return contrast(image, seen), spread(image, seen)


@torch.no_grad()
def back_projection(operator: LinearOperator, measurement: Tensor, back: Map | None = None) -> Tensor:
    """``K y``, scaled for each frame so that it measures nearest to y.

    Args:
        operator: A.
        measurement: y.
        back: K; ``None``: the adjoint.
    """
    x = (back or operator.A_adjoint)(measurement)
    measured = _exactly(operator.A(x)).flatten(1)
    along = (measured.conj() * _exactly(measurement).flatten(1)).sum(1).real
    size = measured.abs().square().sum(1).clamp(min=torch.finfo(along.dtype).tiny)
    return x * (along / size).view(-1, *[1] * (x.ndim - 1)).to(x.dtype.to_real())


def _exactly(y: Tensor) -> Tensor:
    """In double precision, whose squares do not underflow where the numbers of single precision are small."""
    return y.to(torch.complex128 if y.is_complex() else torch.float64)


def _from_projections(  # noqa: PLR0913, PLR0917  internal: what build_problem has
    config: SolveConfig,
    image: Image,
    family: OperatorFactory,
    geometry: Geometry,
    say: Notify,
    precision: torch.dtype,
    given: Objects,
    read: ReadPrior,
) -> Problem:
    require_memory(geometry, config.entry, str(family.spec))
    default = default_prior_of_scan(config, geometry)
    if config.guide is not None or given.guide is not None:
        default = _taking_guide(default)
    layout = layout_of(image, config, say) if config.volume and geometry.kind != "cone" else None
    width, value_range = ct_input.attenuation_range(config, image, geometry, say)
    shown = value_range
    width, value_range, scale = ct_input.solved_range(config, width, value_range, _prior_spec(config, default))
    image = ct_input.scaled(image, width)
    inner = replace(_on_scale(config, scale), noise=config.noise)  # of the line integrals
    shape = family.image_shape((image.height, image.width))
    if config.shape is not None and config.shape != shape:
        raise UsageError(
            f"shape is {','.join(map(str, config.shape))} and the volume of {family.spec} has "
            f"{' x '.join(map(str, shape))} pixels; expected no shape, because the geometry states it."
        )
    weighted = config.entry is None or config.entry.weighted_rays
    root = None if not weighted else ct_input.root_weights(image, geometry)
    operator = Tomography(geometry) if root is None else WeightedTomography(Tomography(geometry), root)
    device = _device(config, geometry, say)
    measurement = ct_input.as_items(to_tensor(image, precision), geometry).to(device)
    start = measurement.new_zeros(*measurement.shape[:2], *shape)
    if weighted:
        start = ct_input.quick_look(measurement, geometry)
    surrogate: LinearOperator | None = None
    if given.surrogate is not None:
        surrogate = given.surrogate.on(shape)
        surrogate = operator.surrogate(surrogate) if isinstance(operator, WeightedTomography) else surrogate
    elif config.surrogate is not None:
        surrogate = read_surrogate(config.surrogate, operator)
    noise = _noise(inner, image, family, default, say)
    chosen = _prior_spec(inner, default)
    column = ct_input.column_norm(operator, shape) if needs_noise(chosen) else None
    left, unit = (None, None) if len(shape) == 3 else _step_noise(inner, operator, torch.zeros(1, 1, *shape), noise)
    looked = start if layout is None else some_of(start)
    seen, size = (contrast(looked), spread(looked)) if has_weight(chosen) else (None, 0.0)
    back = _back_noise(inner, default, operator, torch.zeros(1, 1, *shape), noise)
    context = PriorContext(noise, image.channels, True, shape, column, family.spacing, left, unit, seen, back)
    setting = _in_volume(replace(context, takes_coefficients=_takes_coefficients(inner, operator)), layout)
    prior = _prior(inner, default, setting, say, scale, given.prior, read)
    if prior.prior.constraint is not None:
        start = prior.prior.constraint(start)
    problem = Problem(
        config, image, _weighed(operator, measurement), family, operator, shape, surrogate,
        None, prior, noise, device, ct_input.template(image, geometry, value_range), start, scale, shown, size,
    )  # fmt: skip
    return problem if layout is None else _as_volume(problem, layout, say)


def default_prior(image: Image, operator: LinearOperator, method: str | None = None) -> Spec:
    """The packaged potential for such images; total variation where there is none.

    For photographs it is the one whose weights follow a first reconstruction, proved given that; for CT slices the one
    that is proved whatever the image, which it is for photographs too where another method is stated than the default:
    the largest weight decides the step size of FISTA, which then takes many more steps.

    Nor is it the default where the data term has no closed form of its resolvent, because it takes too many steps: more
    than 320 of FISTA for a motion blur with ``boundary=valid``. With a surrogate, whose methods take resolvents, each
    step would even have an inner iteration.
    """
    if not isinstance(operator, HasDataResolvent):
        return DEFAULT_PRIOR
    photographs = "guided" if method in (None, "condat_vu") else "proved"
    kinds = {1: f"{photographs}-gray", 3: f"{photographs}-color"}
    name = "proved-ct" if image.units == "HU" else kinds.get(image.channels)
    return Spec("model", value=name) if name in folders() else DEFAULT_PRIOR


def _taking_guide(default: Spec) -> Spec:
    return replace(default, value=_GUIDED.get(default.value or "", default.value))


def default_prior_of_scan(config: SolveConfig, geometry: Geometry) -> Spec:
    """Of an attenuation, which is never negative: the packaged potential of slices where their scale is known.

    The methods that keep bounds take no surrogate.
    """
    if config.surrogate is not None:
        return DEFAULT_PRIOR
    together = geometry.kind == "cone" or config.volume
    known = config.water is not None and not together and "proved-ct" in folders()
    return Spec("model", {"low": "0"}, "proved-ct") if known else Spec("tv", {"low": "0"})


def _device(config: SolveConfig, geometry: Geometry, say: Notify) -> torch.device:
    if geometry.kind == "cone":
        return choose_processor(config.device, geometry.kind)
    return choose_device(config.device, say)


def _weighed(operator: Tomography | WeightedTomography, measurement: Tensor) -> Tensor:
    return operator.weigh(measurement) if isinstance(operator, WeightedTomography) else measurement


def _prior_spec(config: SolveConfig, default: Spec) -> Spec:
    """The prior that was asked for; none for a method that takes none, or a box for the one that can project."""
    if config.takes_prior or config.entry is None:
        return config.prior or default
    if config.entry.prior is PriorUse.POLISHING:
        return config.prior or Spec("none")
    if config.entry.prior is PriorUse.BOX and config.prior is not None and config.prior.name == "box":
        return config.prior
    if config.prior is not None and config.prior.name != "none":
        raise UsageError(
            f"method is {config.method!r} and the prior {config.prior}; expected no prior, because {config.method} "
            "takes none; sirt takes a box."
        )
    return Spec("none")


def _step_noise(
    config: SolveConfig, operator: LinearOperator, example: Tensor, noise: float | None
) -> tuple[float | None, float | None]:
    """Return what ``s A^T`` makes of the noise, where it may be needed, and ``A^T`` where s is free.

    A surrogate changes it little.
    """
    entry = config.entry
    if entry is not None and entry.longest_step is None:
        return None, None  # whose step size does not enter the solution
    if not noise or config.prior is None or not is_single(config.prior) or isinstance(operator, Identity):
        return None, None
    norm = operators.operator_properties(operator, example).norm
    size = norm.value + norm.error
    if size == 0:
        return None, None  # and refused when a method is chosen
    unit = noise * mean_column(operator, example)
    step = config.stepsize or longest_step(size**2, entry or ENTRIES["forward_backward"])
    return step * unit, unit if _step_is_free(config, operator) else None


def _back_noise(
    config: SolveConfig, default: Spec, operator: LinearOperator, example: Tensor, noise: float | None
) -> float | None:
    """Return what ``A^T`` makes of the noise in a pixel, where a weight follows it."""
    if not (noise and follows_back_noise(_prior_spec(config, default))):
        return None
    return noise * mean_column(operator, example)


def _takes_coefficients(config: SolveConfig, operator: LinearOperator) -> bool:
    """Return whether the unknowns may be coefficients: where the pixels are measured a denoiser is a single step."""
    named = config.entry is None or config.entry.name in OF_COEFFICIENTS
    return named and config.surrogate is None and not isinstance(operator, Identity)


def _step_is_free(config: SolveConfig, operator: LinearOperator) -> bool:
    """Return whether any step size converges, as that of Douglas-Rachford does, and none was asked for.

    A prior that rounds has a guarantee with short steps only: the backward error of forward-backward.
    """
    asked = config.stepsize is not None or config.surrogate is not None
    rounds = config.prior is not None and config.prior.options.get("precision", "float32") != "float32"
    named = not rounds if config.entry is None else config.entry.free_step
    return named and not asked and isinstance(operator, HasDataResolvent)


def _prior(  # noqa: PLR0913, PLR0917  internal: what build_problem has
    config: SolveConfig,
    default: Spec,
    setting: PriorContext,
    say: Notify,
    scale: Scale,
    own: Prior | GuidedPrior | None,
    read: ReadPrior,
) -> ConfiguredPrior:
    """The prior of the configuration, or the caller's own object, on the scale of the problem."""
    if isinstance(own, GuidedPrior):
        prior = ConfiguredPrior(Spec("python", value=own.name), own.unguided, guided=own, guides_itself=True)
    elif own is not None:
        prior = ConfiguredPrior(Spec("python", value=own.name), own)
    else:
        prior = read(_prior_spec(config, default), setting)
    prior = replace(prior, prior=scale.of_prior(prior.prior, prior.spec))
    if prior.guided is not None:
        spec = prior.spec
        prior = replace(prior, guided=prior.guided.each(lambda each: scale.of_prior(each, spec)))
    if prior.note:
        say(prior.note)
    return prior


def _tip(config: SolveConfig, operator: LinearOperator, setting: PriorContext, prior: ConfiguredPrior) -> str | None:
    """What to leave out where a bounded step leaves little of a single resolvent that a free one would leave whole."""
    bounded = setting.step_noise is not None and setting.unit_noise is None
    stated = config.prior is None or "sigma" in config.prior.options
    if prior.share == 1 or stated or not bounded or not _step_is_free(replace(config, method=None), operator):
        return None
    return (
        f"{prior.spec}: a step of {config.method} leaves less noise than the network is made for, so only "
        f"{prior.share:.2g} of what it takes away is used, in many steps; leave --method out, and "
        "Douglas-Rachford uses all"
    )


def on_unit_scale(noise: Noise, image: Image) -> float:
    """A noise level on the [0, 1] scale of an image.

    Raises:
        UsageError: Its unit is not the image's.
    """
    if not noise.unit:
        return noise.sigma
    if noise.unit.casefold() != image.units.casefold():
        has = f"is in {image.units}" if image.units else "has no units"
        raise UsageError(
            f"noise is {noise}; the image {has}, so expected a number on the scale where its range "
            f"{image.value_range.low:g}:{image.value_range.high:g} is 0:1."
        )
    return noise.sigma / image.value_range.width


def _noise(config: SolveConfig, image: Image, family: OperatorFactory, default: Spec, say: Notify) -> float | None:
    if config.noise is not None:
        if family.geometry is not None:
            return _of_line_integrals(config.noise, image)
        stated = on_unit_scale(config.noise, image)
        if (warning := _noise_warning(stated, image, family, config.volume)) is not None:
            say(warning)
        return stated
    if not needs_noise(_prior_spec(config, default)):
        return None
    if (counted := ct_input.noise_of(image)) is not None:
        return counted / image.value_range.width
    if family.spec.name not in ESTIMABLE:
        raise UsageError(
            f"The noise level is not given and cannot be read off the measurement of {family.spec.name!r}; "
            "expected --noise SIGMA, or a prior with its weight, as in --prior tv:weight=0.001."
        )
    return _estimated(image, family, say, config.volume)


def _estimated(image: Image, family: OperatorFactory, say: Notify, whole: bool = False) -> float:
    """The estimate of the noise level, which is said with what it rests on.

    Raises:
        UsageError: The image is too small.
    """
    correlated = is_reconstructed(image, family)
    estimate = _estimate(image, correlated, whole)
    if math.isnan(estimate) and min(image.height, image.width) < SMALLEST_SIDE:
        raise UsageError(
            f"The image has {image.height} x {image.width} pixels, from which no noise level can be estimated; "
            "expected --noise SIGMA."
        )
    if not estimate >= _LEAST:
        say(
            f"no noise is seen in the measurement, so its level is taken to be {in_units(_LEAST, image)}; "
            "--noise SIGMA states it"
        )
        return _LEAST
    kind = "correlated noise" if correlated else "noise independent from pixel to pixel"
    say(
        f"noise level estimated from the measurement where there is signal: {in_units(estimate, image)}, as of "
        f"{kind}; --noise SIGMA states another"
    )
    return estimate


def is_reconstructed(image: Image, family: OperatorFactory) -> bool:
    """Return whether the measurement is an image in physical units, such as HU, whose noise is correlated."""
    return bool(image.units) and family.spec.name == "identity"


def _noise_warning(noise: float, image: Image, family: OperatorFactory, whole: bool = False) -> str | None:
    """Return a warning where the stated noise level disagrees with the estimate."""
    if noise >= _IMPLAUSIBLE:
        other = f"--noise {noise:g}{image.units}" if image.units else f"--noise {noise / 255:.3g} (of 255, {noise:g})"
        return (
            f"--noise says {noise:g} of the range of grey values, which leaves little of an image; perhaps {other} is "
            "meant"
        )
    if not (family.blurs and family.spec.name in ESTIMABLE):
        return None  # where no blur takes them out, fine details of an image are taken for noise
    estimate = _estimate(image, whole=whole)
    if not estimate > _FAR * noise:
        return None
    return (
        f"--noise says {noise:.3g} of the range of grey values, and the measurement looks like {estimate:.3g}; with "
        "too low a level its noise is amplified"
    )


def _of_line_integrals(noise: Noise, image: Image) -> float:
    if noise.unit:
        raise UsageError(f"noise is {noise}; expected a number without unit, as line integrals have none.")
    return noise.sigma / image.value_range.width


def in_units(sigma: float, image: Image) -> str:
    """A noise level as a part of the range of grey values, and in the units of the input."""
    of_input = sigma * image.value_range.width
    if image.source.format == "projections":
        return f"{of_input:.3g} in the line integrals"
    if image.value_range.width == 1 and not image.units:
        return f"{sigma:.3g} of the range"
    return f"{sigma:.3g} of the range ({of_input:.3g} {image.units or 'in the units of the input'})"


def say_range(image: Image, noise: float | None, say: Notify) -> None:
    """Say which grey values become 0 and 1 where that was read off the pixels, and what the noise is in their units."""
    known = image.value_range
    if (known.low, known.high) == (0, 1) or not has_robust_range(image):
        return
    units = f" {image.units}" if image.units else ""
    level = "" if noise is None else f", so the noise is {in_units(noise, image)}"
    say(
        f"the range of grey values is not stated: {known.low:.4g} to {known.high:.4g}{units}, the percentiles 0.1 and "
        f"99.9 of the input, become 0 to 1{level}; --range LO:HI states another"
    )


def has_robust_range(image: Image) -> bool:
    """Whether the range is that of the percentiles: of signed and floating-point numbers that are not in HU."""
    if image.pixels.dtype.kind not in "if" or image.units == "HU":
        return False
    seen = image.pixels if image.padding is None else image.pixels[~image.padding]
    return seen.size > 0 and image.value_range == robust_range(seen, image.units, about_one=False)


def _estimate(image: Image, correlated: bool = False, whole: bool = False) -> float:
    """The standard deviation of the noise on the [0, 1] scale; NaN where the image does not tell."""
    image = sampled(image) if whole else image
    planes = to_tensor(image, torch.float64).flatten(0, 1).numpy()
    padding = () if image.padding is None else image.padding.reshape(planes.shape)
    if image.source.format == "projections":
        planes = planes[:: max(1, len(planes) // _LOOKED_AT)]
    return estimate_noise(planes, padding, correlated)


def _check_sizes(problem: Problem) -> None:
    try:
        made = problem.operator.A(problem.example)
    except UsageError:
        raise
    except _MISFITS as error:
        raise ConsistencyError(
            f"{problem.family.spec}: A fails on an image of {_size(problem.image_shape)} pixels ({error}); "
            "expected --shape H,W, the size of the image that it takes."
        ) from error
    found, measured = tuple(made.shape[-2:]), tuple(problem.measurement.shape[-2:])
    if found != measured:
        raise ConsistencyError(
            f"{problem.family.spec}: of an image of {_size(problem.image_shape)} pixels it measures {_size(found)}; "
            f"the input is {_size(measured)}, so expected another --shape H,W or another operator."
        )
    if problem.surrogate is None or problem.surrogate_family is None:
        return
    back = problem.surrogate.A_adjoint(torch.zeros_like(made))
    if back.shape != problem.example.shape:
        raise ConsistencyError(
            f"{problem.surrogate_family.spec}: as a surrogate it gives an image of {_size(tuple(back.shape[-2:]))} "
            f"pixels; expected {_size(problem.image_shape)}, the operator's."
        )


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
