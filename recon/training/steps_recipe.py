"""The recipe of learned step sizes: ``training.mode = "steps"`` in a configuration of ``recon train``."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, final

from recon._suggest import suggestion
from recon._toml import parse_toml, read_fields, read_toml, write_value
from recon.errors import ReconError, UsageError
from recon.specs.grammar import Spec, parse_spec
from recon.specs.learned_steps import MOST_STEPS
from recon.training.tables import AboutConfig, DataConfig

PRIORS = ("wavelet", "l1")
DICTIONARIES = ("folder", "model")


@final
@dataclass(frozen=True)
class StepsConfig:
    """The problems that step sizes are learned on: min ||A x - y||^2 / 2 + w g(x).

    Attributes:
        operator: A, as ``--operator`` takes it; of images of ``data.patch`` pixels.
        prior: g, as ``--prior`` takes it, without a weight: ``wavelet`` with its options, ``l1``, or
            a sparse coding network with ``sigma`` and ``synthesis=true``.
        weights: The least and the largest weight w, on the scale of the images; its logarithm is uniform.
        count: T, the number of step sizes.
        measured: Whether the files are measurements y themselves, of the size of the image; else y is A x with noise.
    """

    operator: str = "blur:gaussian=1"
    prior: str = "wavelet"
    weights: tuple[float, float] = (0.01, 0.1)
    count: int = 10
    measured: bool = False

    def check(self) -> None:
        """Refuse values outside their ranges.

        Raises:
            UsageError: In one sentence.
        """
        low, high = self.weights
        if not 0 < low <= high:
            raise UsageError(
                f"steps.weights = {list(self.weights)!r}; expected two positive weights, the lower one first."
            )
        if not 1 <= self.count <= MOST_STEPS:
            raise UsageError(f"steps.count = {self.count!r}; expected 1 to {MOST_STEPS}.")
        parse_spec(self.operator, "steps.operator")
        spec = self.prior_spec
        of_dictionary = spec.options.get("synthesis") == "true" and "sigma" in spec.options
        known = spec.name in PRIORS or (spec.name in DICTIONARIES and of_dictionary)
        if not known or "weight" in spec.options or spec.options.get("shifts", "1") != "1":
            raise UsageError(
                f"steps.prior = {self.prior!r}; expected wavelet or l1 without a weight and without shifts, or "
                "folder:DIR,sigma=S,synthesis=true without a weight, because steps are learned on a penalty of weights "
                "from a range."
            )

    @property
    def prior_spec(self) -> Spec:
        """The prior without its weight."""
        return parse_spec(self.prior, "steps.prior")


@final
@dataclass(frozen=True)
class StepsTraining:
    """The optimisation of step sizes: Adam on what is left of the energy after T steps, over what ISTA leaves.

    Attributes:
        mode: ``"steps"``.
        noise: The least and the largest standard deviation of the noise of simulated measurements.
        batch: Problems per step.
        pool: Problems in all, which are drawn and solved by a long run of FISTA before the first step; a multiple of
            ``batch``.
        steps: Number of steps of the optimisation.
        seed: Seed of all random numbers.
        learning_rate: Of the logarithms of the step sizes; it falls to a hundredth along a cosine.
    """

    mode: str = "steps"
    noise: tuple[float, float] = (0.01, 0.01)
    batch: int = 8
    pool: int = 64
    steps: int = 300
    seed: int = 0
    learning_rate: float = 0.03

    def check(self) -> None:
        """See :meth:`StepsConfig.check`."""
        low, high = self.noise
        if not 0 <= low <= high:
            raise UsageError(
                f"training.noise = {list(self.noise)!r}; expected standard deviations, the lower one first."
            )
        for name in ("batch", "steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"training.{name} = {getattr(self, name)!r}; expected at least 1.")
        if self.pool < self.batch or self.pool % self.batch:
            raise UsageError(
                f"training.pool = {self.pool!r}, batch = {self.batch!r}; expected a multiple of it, at least one."
            )
        if self.seed < 0:
            raise UsageError(f"training.seed = {self.seed!r}; expected at least 0.")
        if not 0 < self.learning_rate <= 1:
            raise UsageError(f"training.learning_rate = {self.learning_rate!r}; expected more than 0 and at most 1.")


@final
@dataclass(frozen=True)
class StepsRecipe:
    """Everything that decides what a training of step sizes makes of its images."""

    steps: StepsConfig = field(default_factory=StepsConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: StepsTraining = field(default_factory=StepsTraining)
    about: AboutConfig = field(default_factory=AboutConfig)

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for part in (self.steps, self.data, self.training):
            part.check()


_PARTS: dict[str, type] = {
    "steps": StepsConfig,
    "data": DataConfig,
    "training": StepsTraining,
    "about": AboutConfig,
}


def is_of_steps(table: Mapping[str, object]) -> bool:
    """Return whether the tables of a configuration are of learned steps."""
    training = table.get("training")
    return isinstance(training, Mapping) and training.get("mode") == "steps"


def steps_recipe_in(path: Path) -> StepsRecipe | None:
    """The recipe in a TOML file if it is of learned steps, else ``None``.

    Raises:
        UsageError: It cannot be read, or states what cannot be.
    """
    table = read_toml(path, "training")
    return steps_recipe_from(table, str(path)) if is_of_steps(table) else None


def parse_steps_recipe(text: str, origin: str, failure: type[ReconError] = UsageError) -> StepsRecipe:
    """The recipe that a text states."""
    return steps_recipe_from(parse_toml(text.encode(), origin, "training", failure), origin)


def steps_recipe_from(table: Mapping[str, object], origin: str) -> StepsRecipe:
    """The recipe that tables state; an error begins with ``origin``.

    Raises:
        UsageError: A key is unknown, or a value of the wrong kind or one that cannot be.
    """
    for name in sorted(table.keys() - _PARTS.keys()):
        raise UsageError(
            f'{origin}: the table {name!r} with training.mode = "steps"; {suggestion(name, _PARTS)}, because no '
            "network is trained."
        )
    parts: dict[str, Any] = {}
    for name, kind in _PARTS.items():
        stated = table.get(name, {})
        if not isinstance(stated, Mapping):
            raise UsageError(f"{origin}: {name} = {stated!r}; expected a table, [{name}].")
        values = dict(stated)
        if name == "training" and isinstance(values.get("noise"), int | float):
            values["noise"] = [values["noise"]] * 2
        parts[name] = kind(**read_fields(kind, values, f"{origin}: [{name}]"))
    try:
        return StepsRecipe(**parts)
    except UsageError as error:
        raise UsageError(f"{origin}: {error}") from error


def steps_to_toml(recipe: StepsRecipe) -> str:
    """A text that :func:`parse_steps_recipe` reads back, every value stated."""
    lines: list[str] = []
    for name in _PARTS:
        part = getattr(recipe, name)
        lines += [f"[{name}]", *(f"{each.name} = {write_value(getattr(part, each.name))}" for each in fields(part)), ""]
    return "\n".join(lines)


def steps_difference(recipe: StepsRecipe, other: StepsRecipe) -> str | None:
    """The first key in which two recipes differ, but for the number of steps; ``None`` if they are equal."""
    for name in _PARTS:
        first, second = dataclasses.asdict(getattr(recipe, name)), dataclasses.asdict(getattr(other, name))
        for key, value in first.items():
            if value != second[key] and (name, key) != ("training", "steps"):
                return f"{name}.{key}"
    return None
