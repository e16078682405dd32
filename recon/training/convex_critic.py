"""Training of a convex critic: truth against what a linear inverse makes of measurements, and reconstructions."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.errors import UsageError
from recon.evidence import Constant
from recon.methods.choice import choose_method
from recon.methods.operator_pair import OperatorPair, analyse_operator
from recon.methods.stepsizes import mean_column
from recon.operators.tomography import Tomography, inverse
from recon.priors.networks import ConvexCritic, Model, critic_prior, make_convex_critic
from recon.solvers import solve
from recon.training.config import Recipe
from recon.training.data import Source
from recon.training.equilibrium import Restoration, Ways, restoration
from recon.training.group import ALONE, Group
from recon.training.optimisation import Optimisation, Step
from recon.training.own import NOTHING_OWN
from recon.training.pseudo_inverse import pseudo_inverse

Picture = NDArray[Any]

_TOLERANCE, _STEPS = 2e-3, 1000
"""Of the reconstructions that validate, as of ``recon solve``: the distance to the limit, relative to the image, and
the budget. A run that ends early smooths by that, and would be best with too small a weight."""

_FACTORS = 1 / 16, 16.0
"""The least and the largest factor of the weight that is tried; the search goes on by twos."""

_SHOWN = 4


class ConvexCriticTrainer(Optimisation):
    """A convex critic in training.

    Args:
        recipe: What to do.
        patches: Clean ones.
        device: Where to compute.
        group: The processes that share the work.
    """

    network: ConvexCritic
    average: ConvexCritic
    own = NOTHING_OWN

    def __init__(
        self, recipe: Recipe, patches: Source, device: torch.device | str = "cpu", group: Group = ALONE
    ) -> None:
        self.recipe, self.patches, self.device, self.group = recipe, patches, torch.device(device), group
        ways = Ways(single=True, damping=recipe.training.noise[1] ** 2)
        self.restoration = restoration(recipe.equilibrium, (recipe.data.patch, recipe.data.patch), ways=ways)
        with torch.random.fork_rng([]):
            torch.manual_seed(recipe.training.seed)
            self.network = make_convex_critic(recipe.network).to(self.device).train()
        self._begin(recipe.training.learning_rate)

    def advance(self) -> Step:
        """Do one step.

        Raises:
            GuaranteeError: The loss or its gradient is not finite; the weights are those before the step.
        """
        batch = self.recipe.training.batch
        clean, spoilt = (part.to(self.device) for part in self._batch(*self.group.share(batch)))
        self.optimizer.zero_grad(set_to_none=True)
        value = -slope(self.network, clean, spoilt).sum()
        (value / batch).backward()  # type: ignore[no-untyped-call]
        loss = sum(self.group.gather(float(value.detach()) / batch))
        return Step(self.step + 1, loss, math.nan, self._descend(loss))

    def state(self) -> dict[str, Tensor]:
        """Everything that decides the next step, by name."""
        return self._optimizer_state() | {
            "step": torch.tensor([self.step]),
            "factor": torch.tensor([self.average.config.factor], dtype=torch.float64),
            "operator": self.restoration.fingerprint(),
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a state.

        Raises:
            InputError: It is not one of this recipe.
            UsageError: The operator is another one, as its file was changed.
        """
        self._restore_as(state, "a convex critic")
        if not torch.equal(state["operator"].cpu(), self.restoration.fingerprint().cpu()):
            raise UsageError(
                "the operator measures otherwise than when the training began; expected the same files, because what "
                "the critic went through belongs to them."
            )
        self.weigh_by(float(state["factor"]))

    def begin_with(self, network: Model) -> None:
        """Take the weights of another critic over, before the first step.

        Raises:
            UsageError: Its architecture is another one.
        """
        assert isinstance(network, ConvexCritic)  # noqa: S101  of load_convex_critic
        if replace(network.config, factor=1.0, noise_range=self.network.config.noise_range) != self.network.config:
            raise UsageError(
                f"training.start = {self.recipe.training.start!r} is of another architecture; expected a convex critic "
                "as the recipe has it."
            )
        for own in (self.network, self.average):
            own.load_state_dict(network.state_dict())

    def weigh_by(self, factor: float) -> None:
        """Set the factor of the weight, which is kept with the network."""
        self.average.config = replace(self.average.config, factor=factor)

    def _batch(self, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """This process's part of the clean images, and what the linear inverse makes of their measurements."""
        config, generator = self.recipe.training, self._generator("batch")
        clean = self.patches.draw(config.batch, generator)[0]
        low, high = config.noise
        levels = low * (high / low) ** torch.rand(config.batch, generator=generator)
        spoilt = [
            self._spoilt(clean[index : index + 1], float(levels[index]), self._generator(f"noise {index}"))
            for index in range(begin, end)
        ]
        return clean[begin:end], torch.cat(spoilt) if spoilt else clean[begin:end]

    def _spoilt(self, clean: Tensor, level: float, generator: torch.Generator) -> Tensor:
        return sharp_inverse(self.restoration, measured(self.restoration, clean, level, generator))


def slope(critic: ConvexCritic, clean: Tensor, spoilt: Tensor) -> Tensor:
    """``(s(spoilt) - s(clean)) / ||spoilt - clean||`` of each pair, ``(batch,)``, at most 1.

    Its mean is the Kantorovich-Rubinstein term of pairs, each counted alike however far they are apart.
    """
    apart = torch.linalg.vector_norm((spoilt - clean).flatten(1), dim=1).clamp(min=1e-12)
    with critic.derived_once():
        below, above = critic(torch.cat([clean, spoilt])).chunk(2)
    found: Tensor = (above - below) / apart
    return found


@torch.no_grad()
def measured(problem: Restoration, clean: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """A noisy measurement of images."""
    found = problem.operator.A(clean)
    return found + level * torch.randn(found.shape, generator=generator)


@torch.no_grad()
def sharp_inverse(problem: Restoration, y: Tensor) -> Tensor:
    """What the critic learns to tell from truth: of a scan filtered back-projection without a window.

    A window blurs, and an even convex score, which is least for constant images, cannot find an image that is blurred
    worse than the sharp one.
    """
    operator = problem.operator
    if isinstance(operator, Tomography):
        image: Tensor = inverse(operator.geometry, "ram-lak")(y)
        return image
    return pseudo_inverse(operator, y, problem.ways.damping)


@final
@dataclass(frozen=True)
class CriticFigures:
    """PSNR in dB at a noise level, the means over the validation images.

    Attributes:
        noise: The level.
        start: Of the linear inverse, of a scan with a window.
        psnr: With the critic as the penalty.
        slope: The mean of :func:`slope` of the inverse without one.
    """

    noise: float
    start: float
    psnr: float
    slope: float


@final
@dataclass(frozen=True)
class ConvexCriticResult:
    """The figures of one validation.

    Attributes:
        figures: One for each level.
        factor: Of the weight, at which the mean is highest.
        lipschitz: Of the score: a bound of the norm of its gradient.
        smoothness: Of the penalty with weight 1: the Lipschitz constant of its gradient.
        operator: That measured the validation images.
        sheet: Clean image, linear inverse and reconstruction with titles, a few rows.
    """

    figures: tuple[CriticFigures, ...]
    factor: float
    lipschitz: Constant
    smoothness: Constant
    operator: str
    sheet: tuple[tuple[tuple[str, Picture], ...], ...]

    @property
    def psnr(self) -> float:
        """The mean over the levels."""
        return sum(each.psnr for each in self.figures) / len(self.figures)

    def to_json(self) -> dict[str, object]:
        """What a card says of the critic."""

        def constant(known: Constant) -> dict[str, object]:
            return {"value": known.value, "evidence": str(known.evidence), "how": known.how}

        return {
            "lipschitz": constant(self.lipschitz),
            "lipschitz_gradient": constant(self.smoothness),
            "operator": self.operator,
            "weight_over_back_noise": self.factor,
            "figures": [
                {"noise": each.noise, "psnr_start": round(each.start, 4), "psnr": round(each.psnr, 4)}
                | {"slope": round(each.slope, 4)}
                for each in self.figures
            ],
        }


@final
@dataclass(frozen=True)
class Validation:
    """Validation images, measured with noise of fixed seeds.

    Attributes:
        images: Each ``(1, channels, height, width)``.
        recipe: Which levels.
        problem: What measures images of the first one's size.
    """

    images: Sequence[Tensor]
    recipe: Recipe
    problem: Restoration

    @torch.no_grad()
    def judge(self, critic: ConvexCritic) -> ConvexCriticResult:
        """Reconstruct them with the factor of the highest mean PSNR.

        Args:
            critic: In evaluation mode.
        """
        network = critic.frozen(torch.float32)
        network.config = critic.config
        seen = [self._measured(index, level) for level in self.recipe.levels for index in range(len(self.images))]
        pairs = self._pairs()
        tried: dict[float, list[Tensor]] = {}

        def mean(factor: float) -> float:
            begin = tried[next(reversed(tried))] if tried else [start for _, start, _ in seen]
            tried[factor] = [
                self._restored(critic, factor * back, pair, y, start)
                for (y, _, back), pair, start in zip(seen, pairs * len(self.recipe.levels), begin, strict=True)
            ]
            return sum(psnr(x, self._truth(index)) for index, x in enumerate(tried[factor])) / len(seen)

        best = highest(mean)
        figures, count = [], len(self.images)
        for number, level in enumerate(self.recipe.levels):
            part = slice(number * count, (number + 1) * count)
            starts = [start for _, start, _ in seen[part]]
            sharp = [self._sharp(index, y) for index, (y, _, _) in enumerate(seen[part])]
            figures.append(
                CriticFigures(
                    level,
                    sum(map(psnr, starts, self.images)) / count,
                    sum(map(psnr, tried[best][part], self.images)) / count,
                    sum(float(slope(network, *pair)) for pair in zip(self.images, sharp, strict=True)) / count,
                )
            )
        sheet = [self._row(index, seen[index][1], tried[best][index]) for index in range(min(_SHOWN, count))]
        stated = self.recipe.equilibrium
        operator = stated.operator or f"blur:{f'psf={stated.kernel}' if stated.kernel else f'gaussian={stated.blur:g}'}"
        return ConvexCriticResult(tuple(figures), best, critic.lipschitz(), critic.smoothness(), operator, tuple(sheet))

    def _pairs(self) -> list[OperatorPair]:
        known: dict[tuple[int, ...], OperatorPair] = {}
        for image in self.images:
            size = (image.shape[-2], image.shape[-1])
            if size not in known:
                known[size] = analyse_operator(self.problem.at(size).operator, None, torch.zeros(1, 1, *size))
        return [known[(image.shape[-2], image.shape[-1])] for image in self.images]

    def _measured(self, index: int, level: float) -> tuple[Tensor, Tensor, float]:
        image = self.images[index]
        problem = self.problem.at((image.shape[-2], image.shape[-1]))
        generator = torch.Generator().manual_seed(self.recipe.training.seed + index)
        y = measured(problem, image, level, generator)
        start = pseudo_inverse(problem.operator, y, problem.ways.damping)
        return y, start, level * mean_column(problem.operator, torch.zeros(1, 1, *image.shape[-2:]))

    def _sharp(self, index: int, y: Tensor) -> Tensor:
        return sharp_inverse(self.problem.at((self.images[index].shape[-2], self.images[index].shape[-1])), y)

    def _restored(self, critic: ConvexCritic, weight: float, pair: OperatorPair, y: Tensor, start: Tensor) -> Tensor:
        method = choose_method(pair, critic_prior(critic, weight), "fista")
        return solve(method.algorithm(y), start, tolerance=_TOLERANCE, max_steps=_STEPS).x

    def _truth(self, index: int) -> Tensor:
        return self.images[index % len(self.images)]

    def _row(self, index: int, start: Tensor, restored: Tensor) -> tuple[tuple[str, Picture], ...]:
        image = self.images[index]
        return (
            ("clean", _picture(image)),
            (f"linear {psnr(start, image):.2f} dB", _picture(start)),
            (f"critic {psnr(restored, image):.2f} dB, noise {self.recipe.levels[0]:.3g}", _picture(restored)),
        )


def highest(mean: Callable[[float], float]) -> float:
    """The factor of the highest figure among 1, 2, 4, ... or 1, 1/2, 1/4, ...: the search ends where it falls."""
    best, figure = 1.0, mean(1.0)
    for ratio in (2.0, 0.5):
        factor = best * ratio
        while _FACTORS[0] <= factor <= _FACTORS[1] and (found := mean(factor)) > figure:
            best, figure, factor = factor, found, factor * ratio
        if best != 1.0:
            break
    return best


def psnr(x: Tensor, truth: Tensor) -> float:
    """In dB, of a range of 1."""
    error = float((x - truth).double().square().mean())
    return -10 * math.log10(error) if error > 0 else math.inf


def _picture(image: Tensor) -> Picture:
    picture: Picture = image[0].permute(1, 2, 0).numpy()
    return picture[..., 0] if picture.shape[2] == 1 else picture[..., :3]
