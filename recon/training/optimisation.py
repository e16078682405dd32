"""The part of an optimisation that every kind of training shares: rates, gradients, averages, random numbers."""

import copy
import hashlib
import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from recon.errors import GuaranteeError, InputError
from recon.training.config import Recipe
from recon.training.group import Group
from recon.training.tables import TrainingConfig


@final
@dataclass(frozen=True)
class Step:
    """The figures of one step.

    Attributes:
        number: Steps done, this one included.
        loss: Of the batch, without the penalty.
        constraint: The largest ||Q'|| found on the batch; NaN where none was looked for.
        rate: The learning rate.
        orthogonality: The sum of L_orth before the step; NaN where it is not penalised.
    """

    number: int
    loss: float
    constraint: float
    rate: float
    orthogonality: float = math.nan


class Optimisation:
    """Weights, their running average, Adam and the number of the step; a subclass says what the loss is.

    The random numbers of a step follow from the seed and the number of the step, so that a state needs no generator.
    """

    recipe: Recipe
    group: Group
    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Adam
    step: int

    def _begin(self, learning_rate: float, groups: list[dict[str, Any]] | None = None) -> None:
        """Set the average, Adam and the number of the step for the network as it is; all weights share one rate."""
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        groups = groups or [{"params": list(self.network.parameters()), "share": 1.0}]
        self.optimizer = torch.optim.Adam(groups, lr=learning_rate)
        self.step = 0

    @property
    def is_finite(self) -> bool:
        """Whether all weights are numbers."""
        return all(bool(parameter.isfinite().all()) for parameter in self.network.parameters())

    def _descend(self, loss: float) -> float:
        """Sum the gradients over the processes and do the step; return the learning rate.

        Raises:
            GuaranteeError: The loss or its gradient is not finite; the weights are those before the step.
        """
        config = self.recipe.training
        gradients = self._gradients()
        self.group.sum_(gradients)
        size = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
        if not (math.isfinite(loss) and math.isfinite(size)):
            what = "loss" if not math.isfinite(loss) else "gradient"
            raise GuaranteeError(
                f"the {what} is {loss if what == 'loss' else size} at step {self.step + 1}; expected finite numbers: "
                f"training.learning_rate = {config.learning_rate:g} may be too large, or the images are not about "
                "[0, 1]."
            )
        if config.clip and size > config.clip:
            for gradient in gradients:
                gradient.mul_(config.clip / size)
        return self._update()

    def _optimizer_state(self) -> dict[str, Tensor]:
        """The weights, their average and the moments of Adam, by name."""
        found = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        found |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
        return found

    def _restore_optimizer(self, state: dict[str, Tensor]) -> None:
        self.step = int(state["step"])
        self.network.load_state_dict(under("network.", state))
        self.average.load_state_dict(under("average.", state))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in under("optimizer.", state).items():
            index, _, kind = name.partition(".")
            moments.setdefault(int(index), {})[kind] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})

    def _restore_as(self, state: dict[str, Tensor], what: str) -> None:
        """Go on from a state, which is called ``what`` where it is not one of this recipe.

        Raises:
            InputError: It is not.
        """
        try:
            self._restore_optimizer(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"the state of the training is not one of {what} as configured; expected the "
                "checkpoint of the same configuration."
            ) from error

    def _update(self) -> float:
        config = self.recipe.training
        rate = config.learning_rate * schedule(config, self.step)
        for part in self.optimizer.param_groups:
            part["lr"] = rate * part["share"]
        self.optimizer.step()
        self.step += 1
        decay = min(config.ema, self.step / (9 + self.step))
        with torch.no_grad():
            for kept, current in zip(self.average.parameters(), self.network.parameters(), strict=True):
                kept.lerp_(current, 1 - decay)
        return rate

    def _gradients(self) -> list[Tensor]:
        for parameter in self.network.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]

    def _seed(self, purpose: str, step: int | None = None) -> int:
        text = f"{self.recipe.training.seed} {self.step if step is None else step} {purpose}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")

    def _generator(self, purpose: str, step: int | None = None) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed(purpose, step))


def schedule(config: TrainingConfig, step: int) -> float:
    """The learning rate of a step, from 0, relative to the highest."""
    rise = min(1.0, (step + 1) / (config.warmup + 1))
    share = step / config.steps
    if config.schedule == "cosine":
        return rise * (config.final + (1 - config.final) * (1 + math.cos(math.pi * min(share, 1.0))) / 2)
    if config.schedule == "step":
        return rise * (1.0 if share < 0.5 else 0.1 if share < 0.75 else 0.01)
    return rise


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
