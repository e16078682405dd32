"""How a run ended, as a value."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, final

from torch import Tensor

from recon.certificates.certificate import Certificate


class Status(StrEnum):
    """How the run of one batch item ended."""

    CONVERGED = "converged"
    OUT_OF_STEPS = "out of steps"
    STALLED = "stalled"
    DIVERGED = "diverged"
    NOT_FINITE = "not finite"
    INTERRUPTED = "interrupted"

    @property
    def sentence(self) -> str:
        """What it means, for a person."""
        return _SENTENCES[self]


_SENTENCES = {
    Status.CONVERGED: "The relative residual fell below the tolerance.",
    Status.OUT_OF_STEPS: "The budget of steps ran out before the residual fell below the tolerance.",
    Status.STALLED: "The steps no longer shrink, as far as the rounding of the prior lets them: more change nothing.",
    Status.DIVERGED: "The steps, or the residual, grew or never shrank: the iteration diverges.",
    Status.NOT_FINITE: "A NaN or an infinity appeared; the image is the last one that was seen to be finite.",
    Status.INTERRUPTED: "The run was interrupted; the image is the last iterate.",
}


@dataclass(frozen=True)
class Progress:
    """One look at a run.

    Attributes:
        step: The number of steps taken.
        residuals: The relative residual of each batch item, as :func:`solve` defines it.
    """

    step: int
    residuals: tuple[float, ...]


@final
@dataclass(frozen=True)
class Solution:
    """What a run gave.

    Attributes:
        x: The images, (batch, ...).
        status: How each batch item ended.
        steps: How many steps each batch item took.
        history: The residuals at each look; a finished item keeps its last one.
        certificate: What was proved, measured or assumed beforehand, if a certificate was handed in.
        state: The last state of the algorithm: hand it to ``solve`` again to go on as if nothing had happened.
    """

    x: Tensor
    status: tuple[Status, ...]
    steps: tuple[int, ...]
    history: tuple[Progress, ...]
    certificate: Certificate | None
    state: Any

    @property
    def converged(self) -> bool:
        """Whether every batch item converged."""
        return all(status is Status.CONVERGED for status in self.status)

    def sentence(self, item: int = 0) -> str:
        """How a batch item ended, for a person."""
        residual = self.history[-1].residuals[item] if self.history else float("nan")
        status = self.status[item]
        return f"{status.value} after {self.steps[item]} steps, relative residual {residual:.2e}. {status.sentence}"
