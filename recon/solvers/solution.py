"""The outcome of a run, as a value."""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor

from recon.certificates.certificate import Certificate
from recon.evidence import Evidence, Length
from recon.solvers.algorithm import Algorithm
from recon.solvers.theorem import certify


class Status(StrEnum):
    """The outcome of the run of one batch item."""

    CONVERGED = "converged"
    COMPLETED = "completed"
    STOPPED_EARLY = "stopped early"
    OUT_OF_STEPS = "out of steps"
    STALLED = "stalled"
    DRIFTING = "drifting"
    DIVERGED = "diverged"
    NOT_FINITE = "not finite"
    INTERRUPTED = "interrupted"

    @property
    def sentence(self) -> str:
        """Return its meaning, for a person."""
        return _SENTENCES[self]


_SENTENCES = {
    Status.CONVERGED: "The estimated distance to the limit fell below the tolerance.",
    Status.COMPLETED: "All steps of the method were taken; their number is its own, and not the way to a limit.",
    Status.STOPPED_EARLY: "The run was stopped before its limit, where a method without a prior fits the noise.",
    Status.OUT_OF_STEPS: "The budget of steps ran out before the estimated distance to the limit fell below the "
    "tolerance.",
    Status.STALLED: "Steps change the image by rounding only, and the tolerance was not reached.",
    Status.DRIFTING: "No solution was found: the iterates drift. Either there is none, or convergence takes far more "
    "steps, as with an ill-conditioned problem or a small step size.",
    Status.DIVERGED: "The steps, or the residual, grew or never shrank: the iteration diverges.",
    Status.NOT_FINITE: "A NaN or an infinity appeared; the image is the last one that was seen to be finite.",
    Status.INTERRUPTED: "The run was interrupted; the image is the last iterate.",
}


@final
@dataclass(frozen=True)
class Distance(Length):
    """An estimate, or a bound, of the distance ||x - x*|| of an image from the limit of its run.

    Attributes:
        value: In the norm of images; infinite where nothing can be said.
        relative: The same over the scale of the run.
        evidence: *Measured* where it was extrapolated, *proved* where a theorem bounds it.
        how: The formula, or why nothing can be said.
    """

    @property
    def is_known(self) -> bool:
        """Whether there is a number that says something: an estimate of more than the image itself does not."""
        limit = math.inf if self.evidence is Evidence.PROVED else 1.0
        return math.isfinite(self.relative) and self.relative < limit

    @property
    def brief(self) -> str:
        """The number, or that there is none."""
        if not self.is_known:
            return "not known"
        return f"{'at most' if self.evidence is Evidence.PROVED else 'about'} {self.relative:.1e}"

    def __str__(self) -> str:
        if not math.isfinite(self.relative):
            return f"{self.brief}: {self.how}"
        if not self.is_known:
            return f"{self.brief}: the estimate, {self.relative:.1e} of the image, is larger than the image itself"
        return f"{self.brief} of the image ({self.evidence}: {self.how})"


@dataclass(frozen=True)
class Progress:
    """One look at a run.

    Attributes:
        step: The number of steps taken.
        residuals: The relative residual of each batch item, as :func:`solve` defines it.
        distances: The estimated distance of each batch item to its limit, over the same scale, as of the latest look
            that estimated it; infinite where there is no estimate.
    """

    step: int
    residuals: tuple[float, ...]
    distances: tuple[float, ...] = ()


@final
@dataclass(frozen=True, eq=False)
class Solution:
    """The result of a run.

    Attributes:
        x: The images, (batch, ...).
        status: How each batch item ended.
        steps: How many steps each batch item took.
        distance: The estimated distance of each batch item to its limit.
        history: The residuals and distances at each look; a finished item keeps its last ones.
        state: The last state of the algorithm: hand it to ``solve`` again to go on as if nothing had happened.
        algorithm: What ran.
    """

    x: Tensor
    status: tuple[Status, ...]
    steps: tuple[int, ...]
    distance: tuple[Distance, ...]
    history: tuple[Progress, ...]
    state: Any
    algorithm: Algorithm[Any] = field(repr=False)

    @cached_property
    def certificate(self) -> Certificate:
        """The guarantee of the algorithm that ran; see :func:`recon.solvers.certify`."""
        return certify(self.algorithm, torch.zeros_like(self.x[:1]))

    @property
    def converged(self) -> bool:
        """Whether every batch item converged."""
        return all(status is Status.CONVERGED for status in self.status)

    def sentence(self, item: int = 0) -> str:
        """Return how a batch item ended, for a person."""
        status = self.status[item]
        return (
            f"{status.value} after {self.steps[item]} steps, distance to the limit {self.distance[item]}. "
            f"{status.sentence}"
        )
