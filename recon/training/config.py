"""The configuration of a training as one frozen value, read from the tables of a TOML file.

``[network]`` names a family and its architecture; ``[data]``, ``[training]`` and the others are the tables of
:mod:`recon.training.tables`, each with defaults. Nothing that is written there is ignored: an unknown key is an error.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, final

from recon._suggest import suggestion
from recon._toml import parse_toml, read_fields, read_toml, write_value
from recon.errors import ReconError, UsageError
from recon.priors.networks import (
    BatchEnsembleConfig,
    Config,
    ConvexCriticConfig,
    ConvexRidgeConfig,
    ConvolutionalSparseCodingConfig,
    CriticConfig,
    DnCNNConfig,
    GuidedRidgeConfig,
    architecture,
)
from recon.training.tables import (
    WITHOUT_CLEAN,
    AboutConfig,
    ArtefactConfig,
    DataConfig,
    EquilibriumConfig,
    GuideConfig,
    MeasurementsConfig,
    PenaltyConfig,
    SparsityConfig,
    TrainingConfig,
    ValidationConfig,
)
from recon.training.unrolled_config import UnrolledTrainingConfig, check_unrolled, refuse_other_steps, with_steps_of

_NO_CHAINS = (ConvexRidgeConfig, ConvolutionalSparseCodingConfig)
"""Networks that are no chains of convolutions."""


@final
@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training makes of its images."""

    network: Config
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    equilibrium: EquilibriumConfig = field(default_factory=EquilibriumConfig)
    measurements: MeasurementsConfig = field(default_factory=MeasurementsConfig)
    guide: GuideConfig = field(default_factory=GuideConfig)
    artefacts: ArtefactConfig = field(default_factory=ArtefactConfig)
    unrolled: UnrolledTrainingConfig = field(default_factory=UnrolledTrainingConfig)
    sparsity: SparsityConfig = field(default_factory=SparsityConfig)
    about: AboutConfig = field(default_factory=AboutConfig)

    def __post_init__(self) -> None:
        """Fill in the noise level from the network, and refuse what does not go together."""
        object.__setattr__(self, "network", with_steps_of(self.unrolled, self.network))
        self.network.check()
        if self.training.noise == (0.0, 0.0):
            object.__setattr__(self, "training", replace(self.training, noise=self.network.noise_range))
        for part in (
            self.data,
            self.training,
            self.penalty,
            self.validation,
            self.equilibrium,
            self.measurements,
            self.guide,
            self.artefacts,
            self.sparsity,
        ):
            part.check()
        check_unrolled(self)
        free = isinstance(self.network, DnCNNConfig)
        if self.penalty.weight > 0 and not free:
            raise UsageError(
                f"penalty.weight = {self.penalty.weight!r} for a {self.network.family} network; expected 0, because it "
                "is nonexpansive by construction (and contraction = q of a Lipschitz network makes it strongly "
                "monotone)."
            )
        if self.penalty.orthogonality > 0 and isinstance(self.network, _NO_CHAINS):
            raise UsageError(
                f"penalty.orthogonality = {self.penalty.orthogonality!r} for a {self.network.family} network; "
                "expected 0, as it is no chain of convolutions."
            )
        members = self.network.members if isinstance(self.network, BatchEnsembleConfig) else 1
        if self.training.batch < members:
            raise UsageError(
                f"training.batch = {self.training.batch} for {members} members; expected at least as many patches, "
                "because in a step each member sees patches of its own."
            )
        if self.training.precision == "bfloat16" and not free:
            raise UsageError(
                f"training.precision = 'bfloat16' for a {self.network.family} network; expected 'single', because "
                "what makes it nonexpansive is derived from its weights in every step."
            )
        if self.training.inner_steps and not isinstance(self.network, ConvexRidgeConfig):
            steps = isinstance(self.network, ConvolutionalSparseCodingConfig)
            why = (
                "its number of steps is part of its architecture: network.steps"
                if steps
                else "it has no inner iteration"
            )
            raise UsageError(
                f"training.inner_steps = {self.training.inner_steps} for a {self.network.family} network; expected 0, "
                f"because {why}."
            )
        self._check_convex_critic()
        self._check_mode()
        self._check_guide()
        self._check_critic()
        self._check_sparsity()

    def _check_sparsity(self) -> None:
        network = self.network
        if self.sparsity.kind and not isinstance(network, DnCNNConfig | ConvexRidgeConfig):
            raise UsageError(
                f"sparsity.kind = {self.sparsity.kind!r} for a {network.family} network; expected a DnCNN, ConvexRidge "
                "or GuidedRidge, because the others derive what they apply from free parameters, whose zeros are none "
                "in what is applied."
            )
        if self.sparsity.kind and isinstance(network, GuidedRidgeConfig) and not self.guide.potential_rate:
            raise UsageError(
                f"sparsity.kind = {self.sparsity.kind!r} with guide.potential_rate = 0; expected more, because the "
                "kernels of the potential become sparse, and they stay as they are."
            )
        if self.sparsity.kind and isinstance(network, ConvexRidgeConfig) and len(network.widths) < 2:
            raise UsageError(
                f"sparsity.kind = {self.sparsity.kind!r} with widths = {list(network.widths)!r}; expected two or more, "
                "because the means of the first kernel are subtracted, which would fill zeros."
            )

    def _check_critic(self) -> None:
        network, training = self.network, self.training
        if not isinstance(network, CriticConfig):
            if self.artefacts != ArtefactConfig():
                raise UsageError(
                    f'the table [artefacts] with a {network.family} network; expected family = "Critic", because no '
                    "other is shown artefacts."
                )
            return
        usual = (training.mode, training.loss, training.teacher, training.balance) == ("denoise", "mse", "", 0)
        if not usual or self.penalty != PenaltyConfig() or self.validation.noise:
            raise UsageError(
                "training.mode, loss, teacher or balance, validation.noise or the table [penalty] with a Critic; "
                "expected none of them, because it denoises nothing: [artefacts] has its loss."
            )
        if (self.data.scale, self.data.range, self.data.clip) != ("file", (0.0, 0.0), False):
            raise UsageError(
                "data.scale, data.range or data.clip with a Critic; expected none of them, because an alarm judges "
                "images on the scale of their files: whole ranges of integers, or -1024 to 3071 HU."
            )
        if min(self.data.patch, self.validation.crop) < network.least_side:
            raise UsageError(
                f"data.patch = {self.data.patch}, validation.crop = {self.validation.crop}; expected at least "
                f"{network.least_side}, a window of the critic with the pixels that it depends on."
            )

    def _check_convex_critic(self) -> None:
        network, training = self.network, self.training
        if not isinstance(network, ConvexCriticConfig):
            return
        if training.mode != "single":
            raise UsageError(
                f"training.mode = {training.mode!r} with a ConvexCritic; expected 'single', and equilibrium.operator "
                "or --operator, because it learns to tell truth from what a linear inverse makes of measurements."
            )
        if (training.loss, training.teacher, training.balance) != ("mse", "", 0) or self.penalty != PenaltyConfig():
            raise UsageError(
                "training.loss, teacher or balance or the table [penalty] with a ConvexCritic; expected none of them, "
                "because its loss is the difference of two scores, and its constants are proved by construction."
            )
        if network.factor != 1:
            raise UsageError(f"network.factor = {network.factor!r}; expected none: the training fills it in.")
        if min(self.data.patch, self.validation.crop) < network.least_side:
            raise UsageError(
                f"data.patch = {self.data.patch}, validation.crop = {self.validation.crop}; expected at least "
                f"{network.least_side}, because the layers of the critic stay inside of an image."
            )

    def _check_guide(self) -> None:
        guided, training = isinstance(self.network, GuidedRidgeConfig), self.training
        if not guided and self.guide != GuideConfig():
            raise UsageError(
                f'the table [guide] with a {self.network.family} network; expected family = "GuidedRidge", because '
                "no other has a guide."
            )
        if guided and (training.mode != "denoise" or training.loss not in ("mse", "l1") or training.inner_steps):
            raise UsageError(
                f"training.mode = {training.mode!r}, loss = {training.loss!r}, inner_steps = {training.inner_steps} "
                "with a GuidedRidge network; expected 'denoise', 'mse' or 'l1', and 0, because its mask is trained "
                "through the converged second solve, on clean patches."
            )

    def _check_mode(self) -> None:
        training, solved = self.training, self.solves
        if self.data.warps and training.loss in WITHOUT_CLEAN:
            raise UsageError(
                f"{self.data.stated_warp} with training.loss = {training.loss!r}; expected 0 and 1, because the noise "
                "of an image is another one after an interpolation."
            )
        if solved and training.loss in WITHOUT_CLEAN and not self.equilibrium.operator:
            raise UsageError(
                f"training.loss = {training.loss!r} with mode = {training.mode!r}; expected equilibrium.operator, or "
                "--operator, because the data are then measurements, and what measured them must be stated."
            )
        if not self.measured and self.measurements != MeasurementsConfig():
            raise UsageError(
                f"the table [measurements] with training.mode = {training.mode!r} and loss = {training.loss!r}; "
                f"expected 'equilibrium' or 'single', and one of {', '.join(map(repr, WITHOUT_CLEAN))}."
            )
        if solved and (training.precision != "single" or training.inner_steps):
            raise UsageError(
                f"training.precision = {training.precision!r}, inner_steps = {training.inner_steps} with mode = "
                f"{training.mode!r}; expected 'single' and 0, because a fixed point is solved to an accuracy."
            )
        if not solved and self.equilibrium != EquilibriumConfig():
            raise UsageError(
                f"the table [equilibrium] with training.mode = {training.mode!r}; expected mode = 'equilibrium', "
                "because nothing is solved otherwise."
            )

    @property
    def solves(self) -> bool:
        """Whether the loss is one of reconstructions."""
        return self.training.mode in ("equilibrium", "single")

    @property
    def measured(self) -> bool:
        """Whether the data are measurements."""
        return self.solves and self.training.loss in WITHOUT_CLEAN

    @property
    def shows_clean(self) -> bool:
        """Whether the images of the validation are clean ones."""
        return self.validation.clean or self.training.loss not in WITHOUT_CLEAN

    @property
    def unrolls(self) -> bool:
        """Whether a reconstruction in a few learned steps is trained."""
        return self.training.mode == "unrolled"

    @property
    def levels(self) -> tuple[float, ...]:
        """The noise levels of the validation."""
        low, high = self.training.noise
        return self.validation.noise or ((low,) if low == high else (low, math.sqrt(low * high), high))


_PARTS: dict[str, type] = {
    "data": DataConfig,
    "training": TrainingConfig,
    "equilibrium": EquilibriumConfig,
    "measurements": MeasurementsConfig,
    "guide": GuideConfig,
    "artefacts": ArtefactConfig,
    "unrolled": UnrolledTrainingConfig,
    "sparsity": SparsityConfig,
    "penalty": PenaltyConfig,
    "validation": ValidationConfig,
    "about": AboutConfig,
}


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file.

    Raises:
        UsageError: It cannot be read, or states what cannot be.
    """
    return recipe_from(read_toml(Path(path), "training"), str(path))


def parse_recipe(text: str, origin: str, failure: type[ReconError] = UsageError) -> Recipe:
    """The recipe that a text states."""
    return recipe_from(parse_toml(text.encode(), origin, "training", failure), origin)


def recipe_from(table: Mapping[str, object], origin: str) -> Recipe:
    """The recipe that tables state; an error begins with ``origin``.

    Raises:
        UsageError: A key is unknown, or a value of the wrong kind or one that cannot be.
    """
    for name in sorted(table.keys() - {"network", *_PARTS}):
        raise UsageError(f"{origin}: the table {name!r} is unknown; {suggestion(name, ['network', *_PARTS])}.")
    network = dict(_table(table, "network", origin))
    family = network.pop("family", None)
    if not isinstance(family, str):
        raise UsageError(f'{origin}: network.family is {family!r}; expected one, as in family = "ConvexRidge".')
    config = architecture(family, network, f"{origin}: [network]")
    parts: dict[str, Any] = {}
    for name, kind in _PARTS.items():
        stated = dict(_table(table, name, origin))
        if name == "training" and isinstance(stated.get("noise"), int | float):
            stated["noise"] = [stated["noise"]] * 2
        parts[name] = kind(**read_fields(kind, stated, f"{origin}: [{name}]"))
    try:
        refuse_other_steps(parts["unrolled"], config)
        return Recipe(config, **parts)
    except UsageError as error:
        raise UsageError(f"{origin}: {error}") from error


def to_toml(recipe: Recipe) -> str:
    """A text that :func:`parse_recipe` reads back, every value stated."""
    lines = ["[network]", f'family = "{recipe.network.family}"', *_lines(recipe.network)]
    for name in _PARTS:
        lines += ["", f"[{name}]", *_lines(getattr(recipe, name))]
    return "\n".join([*lines, ""])


def to_json(recipe: Recipe) -> dict[str, object]:
    """The recipe as plain values."""
    network = {"family": recipe.network.family, **dataclasses.asdict(recipe.network)}
    return {"network": network, **{name: dataclasses.asdict(getattr(recipe, name)) for name in _PARTS}}


def difference(recipe: Recipe, other: Recipe) -> tuple[str, str, str] | None:
    """The first key in which two recipes differ, with its value in each, as TOML; ``None`` if they are equal."""
    first, second = _values(recipe), _values(other)
    for key in dict.fromkeys((*first, *second)):
        if first.get(key) != second.get(key):
            return key, first.get(key, "absent"), second.get(key, "absent")
    return None


def _values(recipe: Recipe) -> dict[str, str]:
    """Each key of each table, ``table.key``, with its value as TOML."""
    parts = {"network": recipe.network, **{name: getattr(recipe, name) for name in _PARTS}}
    values = {"network.family": write_value(recipe.network.family)}
    for table, part in parts.items():
        values |= {f"{table}.{item.name}": write_value(getattr(part, item.name)) for item in fields(part)}
    return values


def _lines(part: Any) -> Iterable[str]:
    return (f"{item.name} = {write_value(getattr(part, item.name))}" for item in fields(part))


def _table(table: Mapping[str, object], name: str, origin: str) -> Mapping[str, object]:
    found = table.get(name, {})
    if not isinstance(found, Mapping):
        raise UsageError(f"{origin}: {name} = {found!r}; expected a table, [{name}].")
    return found
