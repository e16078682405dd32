"""Calibration of intervals on simulated measurements of clean images, and their coverage on others."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from recon import io
from recon.certificates.risk_control import images_needed
from recon.device import Notify
from recon.errors import ConsistencyError, UsageError
from recon.evaluation.evaluate import UNIT, as_image, simulated
from recon.io import ValueRange
from recon.io.image import default_range
from recon.methods.operator_pair import OperatorPair
from recon.reconstruction.ct_input import attenuation_range
from recon.reconstruction.plan import Plan, make_plan
from recon.reconstruction.problem import has_robust_range
from recon.specs.grammar import Spec
from recon.specs.operators import OperatorFactory, read_operator
from recon.specs.solve_config import Noise, SolveConfig
from recon.uncertainty.calibration import Calibration, calibrated, pixels_hash, rule_of
from recon.uncertainty.intervals import Coverage, Factors, coverage, normal_factors, pixel_ratios, region_ratios
from recon.uncertainty.maps import NOT_MIXED, Maps
from recon.uncertainty.potential import noise_of
from recon.uncertainty.quantify import Watch, quantify, with_method
from recon.uncertainty.settings import Settings, stream

Done = Callable[[int, int, str], None]
"""Called after each image, with how many are done, of how many, and what was seen."""

MEASUREMENTS = "measurements of a calibration"
"""The stream of their noise: apart from the seeds N + k of the measurements on which intervals are tried."""


@dataclass(frozen=True)
class Covered:
    """The coverage of one image.

    Attributes:
        name: The file's name, or its number where the name may identify a patient.
        status: How its uncertainty was had: ``done``, ``mixed`` or ``not mixed``.
        coverage: The figures.
    """

    name: str
    status: str
    coverage: Coverage

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {"name": self.name, "status": self.status, **self.coverage.to_json()}


def calibrate(  # noqa: PLR0913, PLR0917  each is an independent choice of the caller
    config: SolveConfig,
    priors: Sequence[Spec],
    settings: Settings,
    files: Sequence[Path],
    level: float,
    say: Notify,
    done: Done = lambda number, total, seen: None,
    watch: Watch | None = None,
) -> Calibration:
    """Find the factors of the widths on clean images of the user's own kind.

    Args:
        config: What is solved; its noise is simulated.
        priors: Those of an ensemble; else none.
        settings: How uncertainty is had.
        files: The clean images.
        level: The share of the pixels that intervals are to cover.
        say: Where remarks go.
        done: See :data:`Done`.
        watch: Called as the work goes on.

    Raises:
        ConsistencyError: There are too few images, one is there twice, does not fit the operator, or has no scale but
            its own.
        UsageError: The noise is not stated, or there is no uncertainty by that method.
    """
    needed = images_needed(level)
    if len(files) < needed:
        raise ConsistencyError(
            f"{len(files)} calibration image(s) at level {level:g}; expected at least {needed}, because with fewer no "
            "width is known to be enough."
        )
    own = _streamed(settings, "calibration")
    pixels, regions, rule = [], [], None
    config, scale = _of_attenuation(config, say)
    seen: dict[str, str] = {}
    noise = [stream(config.seed, MEASUREMENTS, number) for number in range(len(files))]
    each = _each(config, priors, own, files, noise, say, watch, scale, claims=True)
    for number, (plans, maps, truth) in enumerate(each):
        found = rule_of(plans, with_method(plans, settings))
        rule = rule or found
        if found != rule:
            different = next(key for key in rule if rule[key] != found.get(key))
            raise ConsistencyError(
                f"{_label(files[number], number)}: its {different} is {found.get(different)}, and that of the images "
                f"before {rule[different]}; expected images of one kind."
            )
        _require_new(seen, truth, _label(files[number], number))
        pixels.append(pixel_ratios(maps, truth).flatten().cpu())
        regions.append(region_ratios(maps, truth).flatten().cpu())
        done(number + 1, len(files), maps.status)
    assert rule is not None  # noqa: S101  there is at least one image
    return calibrated(pixels, regions, level, rule, tuple(seen))


def _require_new(seen: dict[str, str], truth: Tensor, label: str) -> None:
    """Refuse an image that was there before: the proof takes images that are drawn one by one, not copies of one."""
    digest = pixels_hash(truth)
    if digest in seen:
        raise ConsistencyError(
            f"{label}: it has the pixels of {seen[digest]}; expected another image, because copies of one say nothing "
            "of the images of its kind."
        )
    seen[digest] = label


def require_fixed_scale(plan: Plan) -> None:
    """Refuse a measurement whose own values decide which grey values are 0 and 1.

    The proof takes intervals that are made by a rule that was fixed before the measurement was seen.

    Raises:
        UsageError: It is one.
    """
    problem, config = plan.problem, plan.problem.config
    if problem.family.geometry is not None and config.water is None and config.range is None:
        raise UsageError(
            "--calibrate of a scan without --water or --range; expected one of them, because the scale on which images "
            "are compared has to be fixed before the measurement is seen."
        )
    if problem.family.geometry is None and config.range is None and _follows(problem.image):
        raise UsageError(
            "--calibrate of an image of which the percentiles become 0 and 1, without --range; expected --range LO:HI, "
            "because the scale on which images are compared has to be fixed before the measurement is seen."
        )


def _follows(image: io.Image) -> bool:
    """Whether the scale of an image follows from its own pixels."""
    return (image.value_range.low, image.value_range.high) != (0, 1) and has_robust_range(image)


def config_of_clean(plan: Plan) -> SolveConfig:
    """The configuration by which clean images are measured as a measurement was, with its noise.

    Raises:
        UsageError: Its rays are weighted by their photons, which are not simulated, or its scale follows from it.
    """
    require_fixed_scale(plan)
    problem, config = plan.problem, plan.problem.config
    if problem.weighted:
        raise UsageError(
            "The rays are weighted by their photons; expected no --photons and no counts with --calibrate, because "
            "only white noise is simulated."
        )
    if problem.family.geometry is None:
        own = replace(problem.image, value_range=default_range(problem.image.pixels, problem.image.units))
        stated = config.range if _follows(own) else None  # clean images of other files have a scale
        return replace(config, noise=Noise(noise_of(plan) / problem.scale.factor), range=stated, shape=None)
    return replace(config, shape=None)


@dataclass(frozen=True)
class _Attenuation:
    """The scale of images that are projected: the attenuation in 1/mm that becomes 1, and the same in HU."""

    width: float
    hounsfield: ValueRange | None

    def of(self, image: io.Image, label: str) -> io.Image:
        """An image with the range that a reconstruction has.

        Raises:
            ConsistencyError: It is in other units.
        """
        if image.units == "HU" and self.hounsfield is not None:
            return replace(image, value_range=self.hounsfield)
        if image.units in ("", "1/mm"):
            return replace(image, value_range=ValueRange(0.0, self.width))
        expected = "HU or attenuation in 1/mm" if self.hounsfield else "attenuation in 1/mm, or --water with HU"
        raise ConsistencyError(f"{label}: the image is in {image.units}; expected {expected}.")


def _of_attenuation(config: SolveConfig, say: Notify) -> tuple[SolveConfig, _Attenuation | None]:
    """The configuration on the scale where an attenuation that ``--water`` or ``--range`` states is 1, as a run has it;
    without these, images and noise are on the [0, 1] scale.

    Raises:
        UsageError: The noise is not stated, or the range does not begin with air.
    """
    geometry = read_operator(config.operator, say).geometry
    if geometry is None or config.noise is None or (config.water is None and config.range is None):
        return config, None
    nothing = as_image(torch.zeros(1, 1, 1, 1), ValueRange(0.0, 1.0))  # the scale does not follow from a scan
    width, known = attenuation_range(config, nothing, geometry, say)
    scale = _Attenuation(width, known if config.water is not None else None)
    on_unit = replace(config, noise=Noise(config.noise.sigma / width), water=None, range=None, flat=None, dark=None)
    return on_unit, scale


def cover(  # noqa: PLR0913, PLR0917  as of calibrate
    config: SolveConfig,
    priors: Sequence[Spec],
    settings: Settings,
    files: Sequence[Path],
    level: float,
    calibration: Calibration | None,
    say: Notify,
    done: Done = lambda number, total, seen: None,
    watch: Watch | None = None,
) -> list[Covered]:
    """Compare the intervals of simulated measurements with the clean images.

    Args:
        config: What is solved.
        priors: Those of an ensemble; else none.
        settings: How uncertainty is had.
        files: The clean images, none of which the calibration has seen.
        level: The level of the intervals.
        calibration: The factors; ``None``: those of a normal law, without a claim.
        say: Where remarks go.
        done: See :data:`Done`.
        watch: Called as the work goes on.

    Raises:
        ConsistencyError: The calibration is of another rule.
    """
    factors: Factors = normal_factors(level) if calibration is None else calibration.factors
    own = _streamed(settings, "evaluation")
    covered = []
    noise = [config.seed + number for number in range(len(files))]
    each = _each(config, priors, own, files, noise, say, watch, claims=calibration is not None)
    for number, (plans, maps, truth) in enumerate(each):
        if calibration is not None:
            calibration.check(rule_of(plans, with_method(plans, settings)), level, "calibration")
        if calibration is not None and pixels_hash(truth) in calibration.seen:
            say(f"{_label(files[number], number)}: the calibration has seen this image; its coverage says nothing")
        seen = coverage(maps, truth, factors, plans[0].problem.scale.factor)
        covered.append(Covered(_label(files[number], number), maps.status, seen))
        done(number + 1, len(files), f"{seen.pixels:.3f}")
    return covered


def summary(covered: Sequence[Covered], level: float, calibration: Calibration | None) -> dict[str, object]:
    """The means of the figures, as plain values."""
    names = list(covered[0].coverage.to_json()) if covered else []
    means: dict[str, object] = {}
    for name in names:
        values = [value for each in covered if (value := each.coverage.to_json()[name]) is not None]
        means[name] = statistics.fmean(values) if values else None
    return {
        "level": level,
        "calibrated": calibration is not None,
        "statement": None if calibration is None else calibration.statement,
        "not_mixed": sum(each.status == NOT_MIXED for each in covered),
        **means,
    }


def _streamed(settings: Settings, name: str) -> Settings:
    """The settings with a stream of their own, apart from that of the image that is measured later."""
    return replace(settings, seed=stream(settings.seed, name))


def _each(  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917  internal
    config: SolveConfig, priors: Sequence[Spec], settings: Settings, files: Sequence[Path],
    noise: Sequence[int], say: Notify, watch: Watch | None, scale: _Attenuation | None = None, claims: bool = False,
):  # fmt: skip
    """The plans, the maps and the truth on the scale of the problem, of each image; ``noise`` has a seed for each.

    What ``claims`` a coverage takes images on a scale that does not follow from each.
    """
    if config.noise is None:
        raise UsageError("noise is not given; expected --noise SIGMA, the level that is simulated.")
    if config.photons is not None:
        raise UsageError("photons are not simulated here; expected --noise alone, because white noise is added.")
    family = read_operator(config.operator, say)
    pairs: dict[tuple[int, ...], OperatorPair] = {}
    for number, file in enumerate(files):
        clean, plans = _planned(config, priors, family, file, number, noise[number], pairs, say, scale, claims)
        maps: Maps = quantify(plans, replace(settings, seed=settings.seed + number), watch).maps
        yield plans, maps, _on_scale(clean, plans[0])


def _planned(  # noqa: PLR0913, PLR0917  internal
    config: SolveConfig, priors: Sequence[Spec], family: OperatorFactory, file: Path, number: int, seed: int,
    pairs: dict[tuple[int, ...], OperatorPair], say: Notify, scale: _Attenuation | None, claims: bool,
) -> tuple[Tensor, list[Plan]]:  # fmt: skip
    image = io.read(file, value_range=config.range)
    if claims and scale is None and config.range is None and _follows(image):
        raise ConsistencyError(
            f"{_label(file, number)}: the percentiles of its grey values would become 0 and 1; expected --range LO:HI, "
            "or images that have a scale, because intervals are calibrated on one that is fixed beforehand."
        )
    image = image if scale is None else scale.of(image, _label(file, number))
    if family.geometry is not None and family.geometry.image_shape != (image.height, image.width):
        raise ConsistencyError(
            f"{_label(file, number)}: the image has {image.height} x {image.width} pixels and the operator "
            f"{config.operator} takes {' x '.join(map(str, family.geometry.image_shape))}; expected the same size."
        )
    operator = family.on((image.height, image.width))
    clean, y, stated = simulated(config, family, operator, image, seed)
    measured = as_image(y, image.value_range if family.geometry is None else ValueRange(UNIT.low, UNIT.high))
    plans = []
    for prior in priors or (stated.prior,):
        plan = make_plan(replace(stated, prior=prior), measured, say, pairs.get(tuple(clean.shape[-2:])))
        pairs[tuple(clean.shape[-2:])] = plan.pair
        plans.append(plan)
    return clean, plans


def _on_scale(clean: Tensor, plan: Plan) -> Tensor:
    scale = plan.problem.scale
    return (clean * scale.factor + scale.offset).to(plan.problem.device)


def _label(file: Path, number: int) -> str:
    return f"image {number + 1:04}" if file.suffix.lower() in (".dcm", ".dicom", "") else file.name
