"""Priors by their specifications."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from recon import priors
from recon._suggest import unknown_name
from recon.catalogue import CONVEX_CRITIC, stated_family
from recon.errors import UsageError
from recon.evidence import Assumed
from recon.methods.regularisation_weights import (
    IN_STACKS,
    IN_VOLUMES,
    Matched,
    joint_tv_weight,
    projected_weight,
    tv_weight,
    wavelet_weight,
)
from recon.priors import Prior, Resolvent, ResolventProperties
from recon.priors.networks.batch_statistics import refuse_batch_statistics
from recon.priors.total_variation import FLAT
from recon.specs import options
from recon.specs.configured_prior import UNKNOWN, ConfiguredPrior, PriorContext
from recon.specs.grammar import Spec
from recon.specs.user_code import guarded_map, load_callable
from recon.specs.user_statements import stated_prior, stated_properties
from recon.types import Map


def read_prior(spec: Spec, setting: PriorContext = UNKNOWN) -> ConfiguredPrior:
    """The prior that a specification describes.

    Args:
        spec: The specification.
        setting: What a weight that is left out is matched to.

    Raises:
        UsageError: An unknown name or key, a value outside its range, or neither a weight nor a noise level.
    """
    spec, kind = _kind(spec)
    if kind is None:
        raise unknown_name(spec.name, (name for name in _KINDS if name != "folder"), "prior")
    chosen = kind.read(spec, setting)
    if len(setting.spacing) > len(FLAT) and chosen.guides_itself:
        raise UsageError(
            f"{spec}: a guided network for a volume; expected another prior, such as tv, because its guide is an image."
        )
    if len(setting.spacing) > len(FLAT) and kind.of_score:
        from recon.priors.networks.critic_prior import of_slices  # noqa: PLC0415  networks cost time to import

        chosen = replace(chosen, prior=of_slices(chosen.prior))
    if len(setting.spacing) > len(FLAT) and kind.of_slices:
        exact = None if chosen.exact is None else _slice_by_slice(chosen.exact)
        return replace(chosen, prior=_slice_by_slice(chosen.prior), exact=exact)
    return chosen


class PriorReader:
    """Reader of priors, :func:`read_prior`, that keeps the last network, as all images of a series have the same one.

    It is loaded again once a file in its folder has changed, and for another context. Priors of other kinds are made
    anew each time: that costs little, and a user's own may remember something.
    """

    def __init__(self) -> None:
        self._last: tuple[Spec, PriorContext, object, ConfiguredPrior] | None = None

    def __call__(self, spec: Spec, setting: PriorContext) -> ConfiguredPrior:
        if self._last is not None:
            *asked, seen, found = self._last
            if asked == [spec, setting] and seen is not None and seen == _state_of(found):
                return found
        chosen = read_prior(spec, setting)
        self._last = (spec, setting, _state_of(chosen), chosen) if chosen.model is not None else None
        return chosen


def _state_of(prior: ConfiguredPrior) -> list[tuple[Path, int, int]] | None:
    """The files beside those that were read, with their times and sizes; ``None`` where they are gone."""
    try:
        found = [(path, path.stat()) for folder in {path.parent for path in prior.files} for path in folder.iterdir()]
    except OSError:
        return None
    return sorted((path, state.st_mtime_ns, state.st_size) for path, state in found)


def _slice_by_slice(prior: Prior) -> Prior:
    """A prior of images as one of volumes, (batch, channels, slices, height, width): the same for each slice."""

    def resolvent(stepsize: float) -> Resolvent:
        of_image = prior.resolvent(stepsize)

        def apply(x: torch.Tensor) -> torch.Tensor:
            if x.ndim == 4:
                return of_image(x)
            slices = x.transpose(1, 2)
            return of_image(slices.flatten(0, 1)).reshape(slices.shape).transpose(1, 2)

        return replace(of_image, apply=apply)

    return replace(prior, resolvent=resolvent, split=None, value=None, sparse=None)


def prior_from_spec(spec: Spec, setting: PriorContext = UNKNOWN) -> Prior:
    """The prior that a specification describes; see :func:`read_prior`."""
    return read_prior(spec, setting).prior


def is_single(spec: Spec) -> bool:
    """Return whether the specification may be of a single resolvent, which is matched to the noise and the step."""
    _, kind = _kind(spec)
    return kind is not None and kind.matched == "sigma"


def require_complex(spec: Spec | None, operator: Spec) -> None:
    """Refuse a prior of real images for an operator of complex ones.

    Raises:
        UsageError: The prior takes real images only.
    """
    _, kind = (spec, None) if spec is None else _kind(spec)
    if kind is not None and kind.of_reals:
        raise UsageError(
            f"prior is {spec} and the operator {operator}; expected a prior of complex images, such as tv or wavelet, "
            "because networks and denoisers take real ones."
        )


def needs_noise(spec: Spec) -> bool:
    """Return whether something that the specification leaves out is matched to the noise."""
    _, kind = _kind(spec)
    return kind is not None and bool(kind.matched) and kind.matched not in spec.options


def has_weight(spec: Spec) -> bool:
    """Return whether the prior has a weight in units of the grey values that may be matched to the noise."""
    _, kind = _kind(spec)
    return kind is not None and kind.matched == "weight" and not kind.of_score


def follows_back_noise(spec: Spec) -> bool:
    """Return whether the weight is left out and follows what the adjoint makes of the noise."""
    _, kind = _kind(spec)
    return kind is not None and kind.of_score and "weight" not in spec.options


def grey_options(spec: Spec) -> tuple[str, ...]:
    """The options of the prior that are multiplied with the grey values."""
    _, kind = _kind(spec)
    return () if kind is None else kind.grey


def _none(spec: Spec, setting: PriorContext) -> ConfiguredPrior:
    options.expect_keys(spec, ())
    return ConfiguredPrior(spec, priors.no_prior())


def _box(spec: Spec, setting: PriorContext) -> ConfiguredPrior:
    options.expect_keys(spec, ("low", "high"))
    low = options.number(spec, "low", 0.0, low=-1e6, high=1e6)
    high = options.number(spec, "high", 1.0, low=-1e6, high=1e6)
    if not low < high:
        raise UsageError(f"{spec}: low is {low:g} and high is {high:g}; expected low below high.")
    return ConfiguredPrior(spec, priors.box_prior(low, high))


def _tikhonov(spec: Spec, setting: PriorContext) -> ConfiguredPrior:
    options.expect_keys(spec, ("weight",))
    weight = options.number(spec, "weight", low=0, high=1e6)
    return ConfiguredPrior(spec, priors.tikhonov_prior(weight))


def _l1(spec: Spec, setting: PriorContext) -> ConfiguredPrior:
    options.expect_keys(spec, ("weight",))
    weight = options.number(spec, "weight", low=0, high=1e6)
    return ConfiguredPrior(spec, priors.l1_prior(weight))


def _tv(spec: Spec, setting: PriorContext) -> ConfiguredPrior:
    options.expect_keys(spec, ("weight", "isotropic", "joint", "smoothing", "low", "high", "guide_smoothing"))
    isotropic = options.truth(spec, "isotropic", True)
    joint = options.truth(spec, "joint", False)
    spec, weight = _weight(spec, setting, joint_tv_weight if joint and setting.channels == 3 else tv_weight)
    bounds = options.bounds(spec)
    averaged = options.number(spec, "guide_smoothing", 0.0, low=0, high=100)
    if "smoothing" in spec.options:
        smoothing = options.number(spec, "smoothing", low=1e-6, high=1e6)
        rounded = priors.smoothed_total_variation_prior(
            weight, smoothing, isotropic, joint, setting.image_shape, bounds, setting.spacing
        )
        return ConfiguredPrior(spec, rounded)
    guided = priors.guided_total_variation_prior(
        weight, isotropic, joint, setting.image_shape, bounds, setting.spacing, averaged
    )
    return ConfiguredPrior(spec, guided.unguided, guided=guided)


def _wavelet(spec: Spec, setting: PriorContext) -> ConfiguredPrior:
    options.expect_keys(spec, ("weight", "wavelet", "levels", "shifts"))
    spec, weight = _weight(spec, setting, wavelet_weight)
    wavelet = spec.options.get("wavelet", priors.wavelets.WAVELET)
    levels = options.integer(spec, "levels", priors.wavelets.LEVELS, low=1, high=12)
    shifts = options.integer(spec, "shifts", 1, low=1, high=64)
    return ConfiguredPrior(spec, priors.wavelet_prior(weight, wavelet, levels, shifts))


def _weight(spec: Spec, setting: PriorContext, matched: Matched) -> tuple[Spec, float]:
    if "weight" in spec.options:
        return spec, options.number(spec, "weight", low=0, high=1e6)
    if setting.noise is None:
        raise UsageError(
            f"{spec}: neither a weight nor a noise level is given; expected {spec.name}:weight=W or --noise SIGMA."
        )
    found = matched(setting.noise, setting.blurs, setting.scale)
    if setting.column_norm is not None:
        found = projected_weight(setting.noise, setting.column_norm, matched, setting.scale)
    if len(setting.spacing) > len(FLAT) and matched is not wavelet_weight:
        found *= IN_STACKS if setting.column_norm is None else IN_VOLUMES
    weight = float(f"{found:.3g}")  # so that the record's text gives the very same weight
    return replace(spec, options={**spec.options, "weight": repr(weight)}), weight


def _deepinv(spec: Spec, setting: PriorContext) -> ConfiguredPrior:
    options.expect_keys(spec, ("sigma",), value="CLASS")
    matched = setting.noise if setting.step_noise is None else float(f"{2 * setting.step_noise:.3g}")
    sigma = matched if "sigma" not in spec.options else options.positive(spec, "sigma")
    if sigma is None:
        raise UsageError(
            f"{spec}: a denoiser needs a noise level; expected {spec.name}:CLASS,sigma=S or --noise SIGMA."
        )
    model, untrained = _deepinv_model(spec, setting.channels or 1)
    name = f"deepinv {type(model).__name__}"
    properties = ResolventProperties(
        lipschitz_Q=Assumed(1.0, f"{name} is taken to be firmly nonexpansive"),
        error=Assumed(0.0, f"{name} is taken to be exact"),
    )

    def denoise(x: torch.Tensor) -> torch.Tensor:
        model.to(x.device)
        with torch.no_grad():
            denoised: torch.Tensor = model(x, sigma)
        return denoised

    resolvent = Resolvent(denoise, properties, name)
    note = f"{name} has no trained weights here, as nothing is ever downloaded: its output means little"
    chosen = replace(spec, options={**spec.options, "sigma": repr(sigma)})
    return ConfiguredPrior(chosen, Prior(name, lambda gamma: resolvent), note=note if untrained else "")


def _deepinv_model(spec: Spec, channels: int) -> tuple[torch.nn.Module, bool]:
    """An instance of the class, on the CPU, without weights from anywhere; and whether it wants some."""
    import deepinv  # noqa: PLC0415  costs seconds

    base = deepinv.models.Denoiser
    classes: dict[str, Any] = {
        name: found
        for name, found in vars(deepinv.models).items()
        if inspect.isclass(found) and issubclass(found, base) and found is not base
    }
    if spec.value not in classes:
        raise unknown_name(spec.value or "", classes, "denoiser in deepinv.models")
    parameters = inspect.signature(classes[spec.value]).parameters
    wanted = {"pretrained": None, "in_channels": channels, "out_channels": channels}
    arguments: dict[str, Any] = {key: value for key, value in wanted.items() if key in parameters}
    try:
        model: torch.nn.Module = classes[spec.value](**arguments).eval()
    except Exception as error:  # whatever a class of another library may raise
        raise UsageError(f"{spec}: deepinv's {spec.value} cannot be made from its defaults ({error}).") from error
    return model, "pretrained" in parameters


def _python(spec: Spec, setting: PriorContext) -> ConfiguredPrior:
    path, make = load_callable(spec)
    try:
        made = make()
    except Exception as error:  # the user's own code may raise anything
        raise UsageError(
            f"{spec}: calling it without arguments raised {error!r}; expected a callable that takes nothing and "
            "returns a Prior, a Resolvent or a map from images to images."
        ) from error
    if isinstance(made, Prior):
        notes: list[str] = []
        prior = stated_prior(spec, made, lambda each: _guarded_resolvent(spec, each), notes.append)
        return ConfiguredPrior(spec, prior, (path,), note="; ".join(notes))
    if not callable(made):
        raise UsageError(
            f"{spec}: it returned a {type(made).__name__}; expected a Prior, a Resolvent or a map from image to image."
        )
    resolvent = _guarded_resolvent(spec, made)
    return ConfiguredPrior(spec, Prior(resolvent.name, lambda gamma: resolvent), (path,))


def _guarded_resolvent(spec: Spec, resolvent: Map) -> Resolvent:
    """The user's map as a resolvent that names itself where it fails; what it says of itself is assumed."""
    network = resolvent.apply if isinstance(resolvent, Resolvent) else resolvent
    if isinstance(network, torch.nn.Module):
        refuse_batch_statistics(network, str(spec))
    known = stated_properties(spec, priors.resolvent_properties(resolvent))
    if isinstance(resolvent, Resolvent):
        return replace(resolvent, apply=guarded_map(spec, resolvent.apply), properties=known)
    return Resolvent(guarded_map(spec, resolvent), known, priors.name_of(resolvent))


def _model(spec: Spec, setting: PriorContext) -> ConfiguredPrior:
    from recon.specs.networks import read_model  # noqa: PLC0415  networks cost time to import

    model = read_model(spec, setting)
    return ConfiguredPrior(
        model.spec, model.prior, model.files, model.note, model, model.exact, model.remarks, model.levels,
        model.stepsize, None if model.claim is None else model.claim.least_side, model.share, model.guided,
        model.guided is not None,
    )  # fmt: skip


def _critic(spec: Spec, setting: PriorContext) -> ConfiguredPrior:
    from recon.specs.critics import read_critic_prior  # noqa: PLC0415  networks cost time to import

    return read_critic_prior(spec, setting)


@dataclass(frozen=True)
class _Kind:
    """The meaning of a name.

    Attributes:
        read: From a specification of the name to its prior.
        matched: The key whose value is matched to the noise where it is left out, or nothing: the weight of a penalty,
            or the level of what may be a single resolvent.
        of_slices: Whether its maps take images (batch, channels, height, width): a volume goes through them slice by
            slice.
        of_reals: Whether they take real images only.
        grey: The options that are multiplied with the grey values, as a weight and a noise level are.
        of_score: Whether it is the score of a convex critic, with a weight that follows what the adjoint of the
            operator makes of the noise, and not the image.
    """

    read: Callable[[Spec, PriorContext], ConfiguredPrior]
    matched: str = ""
    of_slices: bool = False
    of_reals: bool = False
    grey: tuple[str, ...] = ()
    of_score: bool = False


_KINDS = {
    "none": _Kind(_none),
    "box": _Kind(_box),
    "tikhonov": _Kind(_tikhonov),
    "l1": _Kind(_l1, grey=("weight",)),
    "tv": _Kind(_tv, "weight", grey=("weight", "smoothing")),
    "wavelet": _Kind(_wavelet, "weight", of_slices=True, grey=("weight",)),
    "model": _Kind(_model, "sigma", of_slices=True, of_reals=True, grey=("sigma",)),
    "folder": _Kind(_model, "sigma", of_slices=True, of_reals=True, grey=("sigma",)),
    "deepinv": _Kind(_deepinv, "sigma", of_slices=True, of_reals=True),
    "python": _Kind(_python, of_slices=True),
}


_CRITIC = _Kind(_critic, "weight", of_slices=True, of_reals=True, of_score=True)
"""Of a folder that holds a convex critic."""


def _kind(spec: Spec) -> tuple[Spec, _Kind | None]:
    """The specification, spelt out where its name alone is a folder; and its kind, ``None`` if there is none."""
    if spec.name not in _KINDS and spec == Spec(spec.name, folder=spec.folder) and spec.path(spec.name).is_dir():
        spec = Spec("folder", value=spec.name, folder=spec.folder)
    if spec.name == "folder" and spec.value and stated_family(spec.path(spec.value)) == CONVEX_CRITIC:
        return spec, _CRITIC
    return spec, _KINDS.get(spec.name)
