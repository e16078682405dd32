"""Training of a critic: patches against the same with an artefact, and what it tells apart on whole images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.errors import UsageError
from recon.evidence import Constant
from recon.priors.networks import Critic, Model, make_critic
from recon.training.artefacts import RECONSTRUCTIONS, plant
from recon.training.config import Recipe
from recon.training.data import Source
from recon.training.group import ALONE, Group
from recon.training.optimisation import Optimisation, Step
from recon.training.own import NOTHING_OWN

Picture = NDArray[Any]

FALSE_ALARMS = 0.1
"""The largest expected share of false alarms that a threshold is chosen for, as far as the images suffice."""

_SEPARABLE = 4
"""Margins that an artefact must change a window by."""

_PLANTED, _SHOWN = 2, 4
"""Artefacts of a kind that each validation image is given, and images that are shown."""


class CriticTrainer(Optimisation):
    """A critic in training.

    Args:
        recipe: What to do.
        patches: Clean ones.
        device: Where to compute.
        group: The processes that share the work.
        reconstructions: Patches of images that have artefacts of their own, where the recipe asks for them.
    """

    network: Critic
    average: Critic
    restoration = None
    own = NOTHING_OWN

    def __init__(
        self,
        recipe: Recipe,
        patches: Source,
        device: torch.device | str = "cpu",
        group: Group = ALONE,
        reconstructions: Source | None = None,
    ) -> None:
        self.recipe, self.patches, self.device, self.group = recipe, patches, torch.device(device), group
        self.reconstructions = reconstructions
        with torch.random.fork_rng([]):
            torch.manual_seed(recipe.training.seed)
            self.network = make_critic(recipe.network).to(self.device).train()
        self._begin(recipe.training.learning_rate)

    def advance(self) -> Step:
        """Do one step.

        Raises:
            GuaranteeError: The loss or its gradient is not finite; the weights are those before the step.
        """
        batch = self.recipe.training.batch
        clean, planted = (part.to(self.device) for part in self._batch(*self.group.share(batch)))
        self.optimizer.zero_grad(set_to_none=True)
        value = hkr(self.network, clean, planted, self.recipe.artefacts.margin, self.recipe.artefacts.weight).sum()
        (value / batch).backward()  # type: ignore[no-untyped-call]
        loss = sum(self.group.gather(float(value.detach()) / batch))
        return Step(self.step + 1, loss, math.nan, self._descend(loss))

    def state(self) -> dict[str, Tensor]:
        """Everything that decides the next step, by name."""
        return self._optimizer_state() | {"step": torch.tensor([self.step])}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a state.

        Raises:
            InputError: It is not one of this recipe.
        """
        self._restore_as(state, "a critic")

    def begin_with(self, network: Model) -> None:
        """Take the weights of another critic over, before the first step.

        Raises:
            UsageError: Its architecture is another one.
        """
        if network.config != self.recipe.network:
            raise UsageError(
                f"training.start = {self.recipe.training.start!r} is of another architecture; expected a critic as the "
                "recipe has it."
            )
        for own in (self.network, self.average):
            own.load_state_dict(network.state_dict())

    def _batch(self, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """This process's part of the patches, and the same with an artefact each."""
        count, kinds = self.recipe.training.batch, self.recipe.artefacts.kinds
        drawn = self.patches.draw(2 * count, self._generator("batch"))[0]
        clean, others = drawn[:count], drawn[count:]
        planted = [
            self._artefact(kinds[(self.step * count + index) % len(kinds)], (clean[index], others[index]), index)
            for index in range(begin, end)
        ]
        return clean[begin:end], torch.stack(planted) if planted else clean[begin:end]

    def _artefact(self, kind: str, images: tuple[Tensor, Tensor], index: int) -> Tensor:
        generator = self._generator(f"artefact {index}")
        if kind == RECONSTRUCTIONS:
            assert self.reconstructions is not None  # noqa: S101  as train sees to
            return self.reconstructions.draw(1, generator)[0, 0]
        return planted_as(kind, images, self.recipe, generator)


def hkr(network: Critic, clean: Tensor, planted: Tensor, margin: float, weight: float) -> Tensor:
    """The hinge Kantorovich-Rubinstein loss of each pair (Serrurier et al. 2021), ``(batch,)``.

    The score of an image is its largest window; the loss is of a mean over windows with the weights
    ``softmax(scores / (2 margin))``, so that more than one window learns. The scores of a window without and with an
    artefact differ by no more than the artefact's norm there: of the image with it only those windows count whose
    change can separate them by twice the margin, with as much again to spare.
    """
    with network.derived_once():
        without, changed = (each.flatten(1) for each in network.scores(torch.cat([clean, planted])).chunk(2))
    seen = network.changes(planted - clean).flatten(1) > _SEPARABLE * margin
    high = _share(without, margin)
    high_changed = _share(changed.masked_fill(~seen, -math.inf), margin) * seen.any(1, keepdim=True)
    apart = (high * without).sum(1) - (high_changed * changed).sum(1)
    missed = (high_changed * (margin - changed).clamp(min=0)).sum(1)
    return apart + weight * ((high * (margin + without).clamp(min=0)).sum(1) + missed)


def _share(scores: Tensor, margin: float) -> Tensor:
    """The weights of windows, without a graph; none where no window counts."""
    return (scores.detach() / (2 * margin)).softmax(1).nan_to_num()


def planted_as(kind: str, images: tuple[Tensor, Tensor], recipe: Recipe, generator: torch.Generator) -> Tensor:
    """An image with an artefact of a recipe; the second image is where a patch of another one comes from."""
    strength = recipe.training.noise if kind == "noise" else recipe.artefacts.strength
    return plant(kind, *images, strength, generator)


@final
@dataclass(frozen=True)
class KindFigure:
    """How well a critic tells images with one kind of artefact from those without.

    Attributes:
        kind: Of the artefact.
        auroc: The probability that an image with it scores higher than one without.
        found: The share of those with it that score above the threshold.
    """

    kind: str
    auroc: float
    found: float


@final
@dataclass(frozen=True)
class CriticResult:
    """The figures of one validation of a critic.

    Attributes:
        kinds: One for each kind of artefact.
        threshold: Above which a score is an alarm.
        expected_false_alarms: A bound of the expected share of alarms among images without artefacts, if they are
            exchangeable with the validation images.
        clean: The scores of the images without artefacts.
        lipschitz: The Lipschitz constant of the score.
        sheet: Pictures with titles, a few rows.
    """

    kinds: tuple[KindFigure, ...]
    threshold: float
    expected_false_alarms: float
    clean: tuple[float, ...]
    lipschitz: Constant
    sheet: tuple[tuple[tuple[str, Picture], ...], ...]

    @property
    def auroc(self) -> float:
        """The mean over the kinds."""
        return sum(each.auroc for each in self.kinds) / len(self.kinds)

    def to_json(self, units: str) -> dict[str, object]:
        """What a card says of the critic; ``units`` are those of the training images."""
        known = self.lipschitz
        return {
            "lipschitz": {"value": known.value, "evidence": str(known.evidence), "how": known.how},
            "alarm": {
                "threshold": self.threshold,
                "units": "" if units == "no units" else units,
                "expected_false_alarms": {
                    "value": round(self.expected_false_alarms, 4),
                    "evidence": "assumed",
                    "how": f"if images are exchangeable with the {len(self.clean)} that the threshold was chosen on",
                },
            },
            "figures": [
                {"artefact": each.kind, "auroc": round(each.auroc, 4), "found": round(each.found, 4)}
                for each in self.kinds
            ],
        }


@torch.no_grad()
def judge(
    network: Critic,
    images: Sequence[Tensor],
    recipe: Recipe,
    threshold: float | None = None,
    reconstructions: Sequence[Tensor] = (),
) -> CriticResult:
    """Score images without artefacts, with planted ones, of fixed seeds, and reconstructions that have their own.

    Args:
        network: In evaluation mode.
        images: Each ``(1, channels, height, width)``.
        recipe: Which artefacts.
        threshold: Of the alarm; ``None``: chosen on these images.
        reconstructions: With artefacts, each as an image: for the kind of this name.
    """
    frozen = network.frozen(torch.float32, next(network.parameters()).device)

    def score(image: Tensor) -> float:
        return float(frozen(image.to(frozen.out.bias.device)))

    clean = [score(image) for image in images]
    chosen, bound = threshold_of(clean)
    limit = chosen if threshold is None else threshold
    found, sheet, kinds = [], [], recipe.artefacts.kinds
    for number, kind in enumerate(kinds):
        if kind == RECONSTRUCTIONS:
            shown = [(index % len(images), image) for index, image in enumerate(reconstructions)]
        else:
            shown = _all_with(number, images, recipe)
        scores = [score(image) for _, image in shown]
        for index in range(number, min(_SHOWN, len(images)), len(kinds)):
            at = next((at for at, (of, _) in enumerate(shown) if of == index), 0)
            sheet.append(_row(kind, images[index], shown[at][1], clean[index], scores[at]))
        found.append(KindFigure(kind, auroc(clean, scores), sum(each > limit for each in scores) / len(scores)))
    return CriticResult(tuple(found), limit, bound, tuple(clean), network.lipschitz(), tuple(sheet))


def threshold_of(clean: Sequence[float]) -> tuple[float, float]:
    """A threshold, and a bound of the expected share of images above it, if they are exchangeable with these.

    Of n + 1 exchangeable scores the last is above the k-th largest of the others with a probability of at most
    k/(n + 1): k is the largest for which that is at most :data:`FALSE_ALARMS`, and at least 1.
    """
    count = len(clean)
    rank = max(1, math.floor(FALSE_ALARMS * (count + 1)))
    return sorted(clean, reverse=True)[rank - 1], rank / (count + 1)


def auroc(without: Sequence[float], with_artefact: Sequence[float]) -> float:
    """The probability that one with an artefact scores higher than one without, equal scores counted half."""
    first, second = torch.tensor(without, dtype=torch.float64), torch.tensor(with_artefact, dtype=torch.float64)
    above, equal = second[:, None] > first, second[:, None] == first
    return float((above.double() + equal.double() / 2).mean())


def _all_with(number: int, images: Sequence[Tensor], recipe: Recipe) -> list[tuple[int, Tensor]]:
    """The images with artefacts of one kind of a recipe, each beside the index of that without."""
    kind, seed, found = recipe.artefacts.kinds[number], recipe.training.seed, []
    for index, image in enumerate(images):
        for turn in range(_PLANTED):
            other = images[(index + 1 + turn) % len(images)]
            found.append((index, _with(kind, image, other, recipe, 1000 * (seed + index) + 10 * number + turn)))
    return found


def _with(kind: str, image: Tensor, other: Tensor, recipe: Recipe, seed: int) -> Tensor:
    height, width = (min(a, b) for a, b in zip(image.shape[-2:], other.shape[-2:], strict=True))
    pair = (image[0, :, :height, :width], other[0, :, :height, :width])
    whole = image[0].clone()
    whole[:, :height, :width] = planted_as(kind, pair, recipe, torch.Generator().manual_seed(seed))
    return whole[None]


def _row(kind: str, image: Tensor, whole: Tensor, before: float, after: float) -> tuple[tuple[str, Picture], ...]:
    return (f"score {before:.3f}", _picture(image)), (f"{kind}: score {after:.3f}", _picture(whole))


def _picture(image: Tensor) -> Picture:
    picture: Picture = image[0].permute(1, 2, 0).numpy()
    return picture[..., 0] if picture.shape[2] == 1 else picture[..., :3]
