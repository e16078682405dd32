"""The calibration of intervals: its file, and what it is bound to.

A calibration speaks of one rule: an operator, a prior, a noise level and a method of uncertainty, in one version of the
package. The factors come from :func:`recon.certificates.risk_control.interval_factor`, whose docstring has the theorem.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from recon._version import __version__
from recon.certificates.risk_control import images_needed, interval_factor
from recon.errors import ConsistencyError, InputError
from recon.io.atomic import replacing
from recon.reconstruction.plan import Plan
from recon.reconstruction.record import input_file, versions
from recon.specs.grammar import Spec
from recon.uncertainty.intervals import FLOOR, Factors
from recon.uncertainty.settings import Settings

KIND, SCHEMA = "recon calibration", 1

_NOISE_APART = 1e-4
"""By which part two noise levels may differ that count as one: they are rounded, and converted from units."""

_SOLVER = ("stepsize", "shift", "iterations", "tolerance", "window")
"""Keys of a configuration on which the solution depends."""

_MOST = 1e300
"""That a number of a calibration is."""

_LARGEST = 1 << 20
"""Bytes of a calibration file."""

STATEMENT = (
    "Of a further image of the same kind at most {share:.3g} of the pixels, and of the means of 8 x 8 pixels, lie "
    "outside of their intervals in expectation (proved: conformal risk control, images exchangeable). Nothing is "
    "claimed of a single image, pixel or edge."
)


@dataclass(frozen=True)
class Calibration:
    """Factors of the widths with what they are bound to.

    Attributes:
        level: The share of the pixels that intervals cover in expectation, at least.
        factors: Of pixels and of means of regions.
        images: How many calibration images there were.
        rule: What the calibration is bound to, as :func:`rule_of` gives it.
        seen: The SHA-256 of the pixels of each image, on the scale of the problem.
    """

    level: float
    factors: Factors
    images: int
    rule: dict[str, object]
    seen: tuple[str, ...] = ()

    @property
    def statement(self) -> str:
        """What is proved, and what is not."""
        return STATEMENT.format(share=1 - self.level)

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "kind": KIND,
            "schema": SCHEMA,
            "level": self.level,
            "images": self.images,
            "pixel_factor": self.factors.pixel,
            "region_factor": self.factors.region,
            "statement": self.statement,
            "rule": self.rule,
            "seen": list(self.seen),
            "versions": versions(),
        }

    @property
    def identity(self) -> str:
        """The SHA-256 of level, factors and rule."""
        said = [self.level, self.factors.pixel, self.factors.region, self.images, self.rule]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def check(self, rule: dict[str, object], level: float | None, where: str) -> None:
        """See that the calibration speaks of a rule.

        Raises:
            ConsistencyError: It speaks of another.
        """
        if level is not None and level != self.level:
            raise ConsistencyError(f"{where}: the level is {self.level:g}; expected {level:g}, as --level says.")
        for name, value in rule.items():
            known = self.rule.get(name)
            if known != value and not (name == "noise" and _near(known, value)):
                raise ConsistencyError(
                    f"{where}: the calibration is of {name} {_words(known)}, and this run of {_words(value)}; expected "
                    "the same, because its coverage is proved of that rule alone: recon calibrate makes another."
                )


def calibrated(
    pixels: Sequence[Tensor],
    regions: Sequence[Tensor],
    level: float,
    rule: dict[str, object],
    seen: Sequence[str] = (),
) -> Calibration:
    """The calibration of a rule.

    Args:
        pixels: Of each calibration image, the ratios of error and width.
        regions: The same of the means of regions.
        level: The level.
        rule: What it is bound to.
        seen: The hashes of the images.

    Raises:
        ConsistencyError: There are too few images for the level, or no finite factor is enough.
    """
    factors = Factors(interval_factor(pixels, level), interval_factor(regions, level), calibrated=True)
    if not (factors.pixel <= _MOST and factors.region <= _MOST):
        raise ConsistencyError(
            "The standard deviation is 0 where the reconstruction of calibration images is wrong, so no finite factor "
            "makes intervals of it; expected another method of uncertainty, or another prior."
        )
    return Calibration(level, factors, len(pixels), rule, tuple(seen))


def pixels_hash(image: Tensor) -> str:
    """The SHA-256 of the pixels of an image, by which copies of it are told."""
    return hashlib.sha256(image.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def rule_of(plans: Sequence[Plan], settings: Settings) -> dict[str, object]:
    """What intervals depend on, but for the measurement: plain values that can be compared."""
    problem = plans[0].problem
    noise = problem.noise
    return {
        "operator": _identity(problem.family.spec, problem.family.files),
        "prior": [_identity(_stated(plan), plan.problem.prior.files) for plan in plans],
        "noise": None if noise is None else float(f"{noise:.6g}"),
        "uncertainty": settings.to_json(),
        "method": plans[0].method.name,
        "solver": _solver(plans[0]),
        "channels": problem.measurement.shape[1],
        "floor": FLOOR,
        "version": __version__,
    }


def _solver(plan: Plan) -> dict[str, object]:
    """The stated options of the solution, beside operator, prior, noise and method."""
    config, surrogate = plan.problem.config, plan.problem.surrogate_family
    stated = {key: getattr(config, key) for key in _SOLVER if getattr(config, key) is not None}
    if config.guide is not None:
        stated["guide"] = input_file("guide", Path(config.guide)).sha256
    if plan.method.files:  # of a method with a network, or step sizes, of its own
        stated["files of the method"] = sorted(input_file("", path).sha256 for path in plan.method.files)
    if surrogate is None:
        return stated
    return stated | {"surrogate": _identity(surrogate.spec, surrogate.files)}


def _stated(plan: Plan) -> Spec:
    """The prior with the options that were stated: others follow the noise, and the image."""
    chosen, asked = plan.problem.prior.spec, plan.problem.config.prior
    stated = {} if asked is None else asked.options
    return Spec(chosen.name, {key: text for key, text in chosen.options.items() if key in stated}, chosen.value)


def _identity(spec: Spec, files: Sequence[Path]) -> list[object]:
    """Name and options of a specification, its files by their hashes."""
    hashes = sorted(input_file("", path).sha256 for path in files)
    named = {path.name for path in files}
    options = {key: text for key, text in sorted(spec.options.items()) if Path(str(text)).name not in named}
    value = spec.value if spec.name == "model" or not files else None
    if spec.name == "python":
        value = (spec.value or "").rpartition(":")[2]  # a file may hold several
    return [spec.name, value, options, hashes]


def write_calibration(path: Path, calibration: Calibration, overwrite: bool) -> None:
    """Write a calibration whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    text = json.dumps(calibration.to_json(), indent=2, allow_nan=False)
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_calibration(path: Path) -> Calibration:
    """A calibration from its file.

    Raises:
        InputError: It cannot be read, or is no calibration of this version.
    """
    try:
        with path.open("rb") as stream:
            document = json.loads(stream.read(_LARGEST + 1)[:_LARGEST])
    except OSError as error:
        raise InputError(f"{path}: the calibration cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("kind") != KIND or document.get("schema") != SCHEMA:
        raise InputError(f"{path}: the file is no calibration; expected a file that recon calibrate wrote.")
    numbers = [document.get(key) for key in ("level", "pixel_factor", "region_factor", "images")]
    rule = document.get("rule")
    sound = all(isinstance(n, int | float) and 0 <= n <= _MOST for n in numbers)
    if not sound or not isinstance(rule, dict) or not 0 < document["level"] < 1:
        raise InputError(f"{path}: the calibration is damaged; expected a file that recon calibrate wrote.")
    level, pixel, region, images = (float(number) for number in numbers if number is not None)
    needed = images_needed(level)
    if images < needed:
        raise InputError(
            f"{path}: the calibration is of {images:g} image(s) at level {level:g}; expected at least {needed}, "
            "because with fewer nothing is proved."
        )
    seen = document.get("seen", [])
    hashes = tuple(each for each in seen if isinstance(each, str)) if isinstance(seen, list) else ()
    return Calibration(level, Factors(pixel, region, calibrated=True), int(images), rule, hashes)


def _near(a: object, b: object) -> bool:
    return isinstance(a, float) and isinstance(b, float) and abs(a - b) <= _NOISE_APART * abs(b)


def _words(value: object) -> str:
    return json.dumps(value)
