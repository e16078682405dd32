"""Training of unrolled reconstructions: clean images are measured, and what is made of the measurements is compared."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.errors import InputError, UsageError
from recon.operators import operator_properties
from recon.operators.tomography import geometry_to_toml
from recon.priors.networks import Unrolled, UnrolledConfig, make_unrolled
from recon.priors.networks.architectures.unrolled_steps import Scaled
from recon.specs.grammar import parse_spec
from recon.specs.operators import OperatorFactory, read_operator
from recon.training.config import Recipe
from recon.training.data import Source
from recon.training.group import ALONE, Group
from recon.training.optimisation import Optimisation, Step
from recon.training.own import NOTHING_OWN
from recon.training.tables import DataConfig
from recon.types import LinearOperator

Picture = NDArray[Any]

_SHOWN = 4
_ALIKE = (
    "channels", "features", "depth", "size", "shared", "method", "dimensions", "hidden", "scales", "gradient",
    "conditioned", "stride", "shifts",
)  # fmt: skip
"""What two networks share of which one takes the weights of the other over."""

_VOLUME = 3
"""Sides of a volume."""

_FIRST = 8
"""Patches on which the unit of the convolutions is found."""

AIR_HU = -1000.0


@final
@dataclass(frozen=True)
class Measuring:
    """The operator of a recipe, on images of the size that it is trained with.

    Attributes:
        family: Where it comes from.
        shape: (height, width), or (slices, height, width) of a cone.
    """

    family: OperatorFactory
    shape: tuple[int, ...]

    @property
    def operator(self) -> LinearOperator:
        """A."""
        return self.family.on(self.shape)

    @cached_property
    def norm(self) -> float:
        """||A||, or a bound of it."""
        found = operator_properties(self.operator, torch.zeros(1, 1, *self.shape)).norm
        return found.value + found.error

    @property
    def is_volume(self) -> bool:
        """Whether volumes are measured, not images."""
        return len(self.shape) == 3

    def measure(self, image: Tensor) -> Tensor:
        """A of images, without a graph, wherever the operator runs."""
        with torch.no_grad():
            return Scaled(self.operator, 1.0).A(image)


def measuring(recipe: Recipe) -> Measuring:
    """The operator that a recipe names.

    Raises:
        InputError: A file that is named cannot be read.
        UsageError: It is no operator of real images, or takes no images of the size of a patch.
    """
    named, side = recipe.unrolled.operator, recipe.data.patch
    family = read_operator(parse_spec(named, "unrolled.operator"))
    if family.is_complex:
        raise UsageError(
            f"unrolled.operator = {named!r}; expected an operator of real images, because networks are trained on such."
        )
    if recipe.unrolled.gradient == "filtered" and family.geometry is None:
        raise UsageError(
            f"unrolled.gradient = 'filtered' with {named!r}; expected a scan, ct:GEOMETRY, because filtered "
            "back-projection inverts no other operator."
        )
    only = family.only_shape
    if only is not None and only[-2:] != (side, side):
        raise UsageError(
            f"unrolled.operator = {named!r} takes images of {' x '.join(map(str, only))} pixels and data.patch is "
            f"{side}; expected rows and columns of the operator to be those of a patch."
        )
    shape = only or (side, side)
    if isinstance(recipe.network, UnrolledConfig) and recipe.network.dimensions == _VOLUME != len(shape):
        raise UsageError(
            f"network.dimensions = {_VOLUME} with unrolled.operator = {named!r}, which takes images; expected "
            "dimensions = 2, or a cone-beam scan."
        )
    return Measuring(family, shape)


def units_of(data: DataConfig, units: str, family: OperatorFactory) -> str:
    """The grey values that become 0 and 1, as a network keeps them; empty where files say nothing of it.

    Raises:
        UsageError: Projections of CT images are made on a scale whose 0 is not air, on which none is reconstructed.
    """
    if units == "no units":
        return ""  # a result has units, which nothing relates to these
    if data.scale == "attenuation":
        low, high = (1000 * (end / data.water - 1) for end in data.range)
    elif data.range[0] < data.range[1]:
        low, high = data.range
    elif units == "HU" and data.scale == "file":
        low, high = -1024.0, 3071.0
    else:
        return ""
    if family.geometry is not None and units == "HU" and low != AIR_HU:
        raise UsageError(
            f"unrolled.operator = {str(family.spec)!r} with a scale on which 0 is {low:g} HU; expected {AIR_HU:g} HU, "
            "as data.scale = 'attenuation' with range = [0, HIGH] has it, because projections are reconstructed on a "
            "scale that begins with air."
        )
    return f"{low:.6g}:{high:.6g} {units}"


class UnrolledTrainer(Optimisation):
    """An unrolled reconstruction in training.

    Args:
        recipe: What to do.
        patches: Clean ones, or blocks of volumes.
        device: Where to compute.
        group: The processes that share the work.
    """

    network: Unrolled
    average: Unrolled
    restoration = None
    own = NOTHING_OWN

    def __init__(
        self, recipe: Recipe, patches: Source, device: torch.device | str = "cpu", group: Group = ALONE
    ) -> None:
        assert isinstance(recipe.network, UnrolledConfig)  # noqa: S101  as recipes check
        self.recipe, self.patches, self.device, self.group = recipe, patches, torch.device(device), group
        self.measuring = measuring(recipe)
        config = replace(
            recipe.network,
            noise_range=recipe.training.noise,
            dimensions=len(self.measuring.shape),
            operator=recipe.unrolled.operator,
            shape=self.measuring.shape,
            units=units_of(recipe.data, patches.units, self.measuring.family),
            unit=recipe.unrolled.unit or 1.0,
        )
        with torch.random.fork_rng([]):
            torch.manual_seed(recipe.training.seed)
            self.network = make_unrolled(config).to(self.device).train()
        self.network.settle(self.measuring.operator, self.measuring.norm)
        self.network.memory = recipe.unrolled.memory
        if not recipe.unrolled.unit:
            self._count_as_one(self._error_of_start())
        self._begin(recipe.training.learning_rate)

    def advance(self) -> Step:
        """Do one step.

        Raises:
            GuaranteeError: The loss or its gradient is not finite; the weights are those before the step.
        """
        config = self.recipe.training
        clean, measured, level = self._batch(*self.group.share(config.batch))
        self.optimizer.zero_grad(set_to_none=True)
        told = level if self.network.conditioned else None
        difference = self.network(measured, self.measuring.operator, told) - clean
        values = (difference.abs() if config.loss == "l1" else difference.square()).flatten(1).mean(1)
        shares = (level / config.noise[1]) ** -config.balance
        ((shares * values).sum() / config.batch).backward()
        loss = sum(self.group.gather(float(values.detach().sum()) / config.batch))
        return Step(self.step + 1, loss, math.nan, self._descend(loss))

    def state(self) -> dict[str, Tensor]:
        """Everything that decides the next step, by name."""
        unit = torch.tensor([self.network.config.unit], dtype=torch.float64)
        return self._optimizer_state() | {"step": torch.tensor([self.step]), "unit": unit}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a state.

        Raises:
            InputError: It is not one of this recipe, or of another operator.
        """
        probe = self.network.probe.clone()
        self._restore_as(state, "an unrolled network")
        self._count_as_one(float(state.get("unit", 1.0)))  # 1 in the checkpoints of version 0.7
        if not torch.equal(probe, self.network.probe):
            raise InputError(
                f"unrolled.operator = {self.recipe.unrolled.operator!r} is another operator than at the beginning; "
                "expected the same, because the training goes on."
            )

    def begin_with(self, network: Unrolled) -> None:
        """Take the weights of another unrolled network over, before the first step; its operator may be another.

        Where it has fewer steps, its steps are the first ones, so that steps can be added one by one.

        Raises:
            UsageError: Its architecture is another one, or it has more steps.
        """
        own, weights = self.network.config, dict(network.named_parameters())
        alike = all(getattr(network.config, name) == getattr(own, name) for name in _ALIKE)
        fewer = network.config.steps <= own.steps or own.shared
        if not (alike and fewer):
            raise UsageError(
                f"training.start = {self.recipe.training.start!r} is of another architecture; expected an unrolled "
                "network as the recipe has it, or one of fewer steps."
            )
        for each in (self.network, self.average):
            each.load_state_dict({**each.state_dict(), **weights})
        self._count_as_one(network.config.unit)

    def _count_as_one(self, unit: float) -> None:
        """Set the unit of the convolutions, which belongs to their weights."""
        for each in {self.network, getattr(self, "average", self.network)}:
            each.config = replace(each.config, unit=unit)

    def _error_of_start(self) -> float:
        """The root mean square error of what the steps start from, to three digits, on the CPU for every process."""
        generator, (low, high) = self._generator("unit", 0), self.recipe.training.noise
        clean = self.patches.draw(_FIRST, generator)[0]
        measured = self.measuring.measure(clean)
        noisy = measured + math.sqrt(low * high) * torch.randn(measured.shape, generator=generator)
        start = Scaled(self.measuring.operator, self.measuring.norm).start(noisy)
        found = float((start - clean).double().square().mean().sqrt())
        return float(f"{found:.3g}") if math.isfinite(found) and found > 0 else 1.0

    def _batch(self, begin: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
        """This process's part of the clean images, their measurements, and the levels of the noise in them."""
        config, generator = self.recipe.training, self._generator("batch")
        clean = self.patches.draw(config.batch, generator)[0]
        low, high = config.noise
        level = low * (high / low) ** torch.rand(config.batch, generator=generator)
        clean, level = clean[begin:end].to(self.device), level[begin:end]
        measured = self.measuring.measure(clean)
        noise = (
            torch.stack(
                [
                    torch.randn(measured.shape[1:], generator=self._generator(f"noise {index}"))
                    for index in range(begin, end)
                ]
            )
            if end > begin
            else torch.zeros(measured.shape)
        )
        noise = noise * level.view(-1, *[1] * (measured.ndim - 1))
        return clean, measured + noise.to(self.device), level.to(self.device)


@final
@dataclass(frozen=True)
class UnrolledFigures:
    """PSNR in dB at a noise level, the means over the validation images.

    Attributes:
        noise: The level.
        psnr: Of the reconstructions.
        start: Of what the network starts from: filtered back-projection, or the scaled back-projection.
        residual: The root mean square of ``A x - y`` over the noise level; about 1 where the measurement is explained.
    """

    noise: float
    psnr: float
    start: float
    residual: float


@final
@dataclass(frozen=True)
class UnrolledResult:
    """The figures of one validation.

    Attributes:
        figures: One for each level.
        sheet: Clean, start and reconstruction with titles, a few rows.
    """

    figures: tuple[UnrolledFigures, ...]
    sheet: tuple[tuple[tuple[str, Picture], ...], ...]

    @property
    def psnr(self) -> float:
        """The mean over the levels."""
        return sum(each.psnr for each in self.figures) / len(self.figures)


@torch.no_grad()
def try_out(network: Unrolled, images: Sequence[Tensor], recipe: Recipe, by: Measuring) -> UnrolledResult:
    """Reconstruct validation images from measurements with noise of fixed seeds.

    Args:
        network: In evaluation mode.
        images: Each ``(1, channels, ...)`` of the operator's size.
        recipe: Which levels.
        by: What measures.
    """
    device, operator, found, sheet = network.norm.device, by.operator, [], []
    scaled = Scaled(operator, float(network.norm))
    for level in recipe.levels:
        after, before, residuals = [], [], []
        for index, image in enumerate(images):
            clean = by.measure(image)
            generator = torch.Generator().manual_seed(recipe.training.seed + index)
            y = (clean + level * torch.randn(clean.shape, generator=generator)).to(device)
            x = network(y, operator, level if network.conditioned else None)
            start = scaled.start(y).cpu()
            residual = by.measure(x) - y
            after.append(_psnr(x.cpu(), image))
            before.append(_psnr(start, image))
            residuals.append(float(residual.double().square().mean().sqrt()) / level)
            if index < _SHOWN and level == recipe.levels[(len(recipe.levels) // 2 + index) % len(recipe.levels)]:
                sheet.append(
                    (
                        ("clean", _picture(image)),
                        (f"start {before[-1]:.2f} dB", _picture(start)),
                        (f"unrolled {after[-1]:.2f} dB, noise {level:.3g}", _picture(x.cpu())),
                    )
                )
        means = (sum(each) / len(each) for each in (after, before, residuals))
        found.append(UnrolledFigures(level, *means))
    return UnrolledResult(tuple(found), tuple(sheet))


def described(trainer: UnrolledTrainer, seen: UnrolledResult) -> dict[str, object]:
    """What a card says of an unrolled network."""
    config, family = trainer.network.config, trainer.measuring.family
    geometry = None if family.geometry is None else geometry_to_toml(family.geometry)
    return {
        "operator": {
            "spec": config.operator,
            "shape": list(config.shape),
            "geometry_sha256": None if geometry is None else hashlib.sha256(geometry.encode()).hexdigest(),
            "norm": float(trainer.network.norm),
        },
        "units": config.units,
        "guarantee": None,
        "figures": [
            {
                "noise": each.noise,
                "psnr": round(each.psnr, 4),
                "psnr_start": round(each.start, 4),
                "residual_over_noise": round(each.residual, 4),
            }
            for each in seen.figures
        ],
    }


def _psnr(x: Tensor, truth: Tensor) -> float:
    error = float((x - truth).double().square().mean())
    return -10 * math.log10(error) if error > 0 else math.inf


def _picture(image: Tensor) -> Picture:
    """An image, or the middle slice of a volume."""
    middle = image if image.ndim == 4 else image[:, :, image.shape[2] // 2]
    picture: Picture = middle[0].permute(1, 2, 0).numpy()
    return picture[..., 0] if picture.shape[2] == 1 else picture[..., :3]
