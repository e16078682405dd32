"""Everything about a method in one value, without torch: what a configuration, the help, a plan and the docs read."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from recon.methods.setting import Method, MethodSetting

    Builder = Callable[[MethodSetting], Method]


INSIDE = 0.995
"""The part of a theorem's open interval of step sizes that is used: 1.99 / ||A||^2 of 2 / ||A||^2."""

INSIDE_TSENG = 0.95
"""The same for Tseng's method, where a step of the part t leaves 1 - t + t^2 of the error where ``A^T A`` is largest.

So a step near the end of the interval converges slowly (docs/calibration.md).
"""


class Requirement(StrEnum):
    """Requirement of a method: taken, needed or refused."""

    REFUSED = "refused"
    TAKEN = "taken"
    NEEDED = "needed"


class PriorUse(StrEnum):
    """The priors that a method takes."""

    ANY = "any"
    BOX = "a box, or none"
    POLISHING = "any, for one step after it"
    NONE = "none"


@dataclass(frozen=True)
class MethodEntry:
    """One method, as far as it is known without a problem.

    A two-stage method (a guide, then the solve) runs its first stage where ``Method.algorithm`` is called with the
    measurement. A method of learned steps, or a sampler, states their number in ``Method.steps``; a sampler keeps its
    moments in the state of its algorithm, which the solution hands on.

    Attributes:
        name: As ``--method`` takes it.
        title: As people call it.
        summary: One line for help and documentation.
        builder: ``module:function`` in :mod:`recon.methods`, imported on first use, because it brings torch.
        prior: Which priors it takes.
        surrogate: Whether it takes a surrogate of the adjoint.
        bounds: Whether it keeps the bounds (``low=``, ``high=``) of a prior.
        stepsize: The step sizes that it takes, as a formula; empty: it takes none.
        closed_form: Whether nothing is iterated, so that there is no tolerance.
        options: Keys of a configuration that are its own, such as ``window``.
        longest_step: The longest step size as a part of 1 / ||A||^2, to which the level of a single resolvent is
            matched; ``None``: the step size takes no part in the solution.
        free_step: Whether any step size converges, so that a single resolvent's level may choose it.
        weighted_rays: Whether rays of projections count by their statistics.
        copies: Images of the result's size that it holds at its peak, spectra and driver included.
        volume_copies: The same for a volume, in single precision: of the volume, and of the projections. From the peaks
            of runs on 128 x 160 x 160 voxels with 60 and 180 views of 160 x 240, and one volume for the second of the
            two images that the distance is told by.
    """

    name: str
    title: str
    summary: str
    builder: str
    prior: PriorUse = PriorUse.ANY
    surrogate: Requirement = Requirement.REFUSED
    bounds: bool = False
    stepsize: str = ""
    closed_form: bool = False
    options: frozenset[str] = frozenset()
    longest_step: float | None = None
    free_step: bool = False
    weighted_rays: bool = True
    copies: int = 11
    volume_copies: tuple[int, int] = (39, 40)

    @property
    def takes_prior(self) -> bool:
        """Whether it takes priors in general."""
        return self.prior is PriorUse.ANY

    def build(self, setting: "MethodSetting") -> "Method":
        """The method with its steps and its certificate, of one problem."""
        module, _, function = self.builder.partition(":")
        made = cast("Builder", getattr(importlib.import_module(f"recon.methods.{module}"), function))
        return made(setting)
