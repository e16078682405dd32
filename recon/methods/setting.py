"""The setting that a method is built from, and the method: an algorithm with its steps and its certificate."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from recon import solvers
from recon.certificates import BackwardError, Certificate, DualityGap, ErrorBound, Remark
from recon.methods.learned_steps import LearnedSteps
from recon.methods.operator_pair import OperatorPair
from recon.priors import Prior
from recon.solvers.driver import TOLERANCE
from recon.solvers.theorem import certified
from recon.types import LinearOperator


@dataclass(frozen=True)
class LearnedSetting:
    """What a method of learned steps is told of the run.

    Attributes:
        folder: Where the network is; ``None``: not stated.
        steps: How many are to be done; ``None``: as many as were trained.
        on: The operator for each image size.
        scale: The grey values that become 0 and 1, with their units: ``"-1000:3071 HU"``.
        prior: Of a polishing step, in words.
        shape: That of the images, (..., height, width).
        symmetries: Over how many symmetric copies of the measurement the mean is taken.
    """

    folder: str | None
    steps: int | None
    on: Callable[[tuple[int, ...]], LinearOperator]
    scale: str
    prior: str = "none"
    shape: tuple[int, ...] = ()
    symmetries: int = 1


@dataclass(frozen=True)
class Polish:
    """What is computed of an image that no theorem speaks of, on the 0..1 scale.

    Attributes:
        residual: The root mean square of A x - y.
        noise: The standard deviation of the noise; NaN where it is not known.
        distance: How far one step of forward-backward with a prior moves the image, over its norm.
        stepsize: Of that step.
        prior: Of that step, in words.
        spread: Of a mean over images from symmetric copies of the measurement: their root mean square distance from
            it. Whatever the truth, the mean square error of the mean is theirs, on average, less the square of this
            (Krogh, Vedelsby 1995). NaN where there is one image.
    """

    residual: float
    noise: float
    distance: float
    stepsize: float
    prior: str
    spread: float = math.nan

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        known = math.isfinite(self.noise)
        return {
            "residual": self.residual,
            "residual_over_noise": self.residual / self.noise if known and self.noise else None,
            "distance": self.distance,
            "stepsize": self.stepsize,
            "prior": self.prior,
            "spread": self.spread if math.isfinite(self.spread) else None,
        }

    def __str__(self) -> str:
        over = f", {self.residual / self.noise:.3g} times the noise" if self.noise > 0 else ""
        of = "of gradient descent on the data" if self.prior == "none" else f"of forward-backward with {self.prior}"
        return (
            f"root mean square {self.residual:.3g}{over}; one polishing step {of} moves the image by "
            f"{self.distance:.2g} of its norm{self._of_copies}"
        )

    @property
    def _of_copies(self) -> str:
        if math.isnan(self.spread):
            return ""
        return f"; it is the mean of images that lie {self.spread:.2g} from it, root mean square"


@dataclass(frozen=True)
class MethodSetting:
    """A problem, and what a user may say of the method.

    Attributes:
        pair: The operator, as analysed.
        prior: The prior.
        stepsize: The primal step size; ``None``: inside the theorem's interval.
        weight: Of the prior's penalty, to which the steps are balanced, where the image has the spread of a photograph
            on [0, 1]; it takes no part in the problem.
        noise: The standard deviation of the noise, by which Condat-Vu bounds the residual where the prior is a single
            resolvent.
        matched: The step size of Douglas-Rachford that the level of a single resolvent is matched to.
        window: Of filtered back-projection; ``None``: the smoothest.
        warm: Whether the first image is near the solution, as a guide is: a dual variable then begins where it belongs
            to that image.
        learned: What a method of learned steps is told; ``None``: the caller has none.
        stepsizes: The step sizes of a method of learned steps.
    """

    pair: OperatorPair
    prior: Prior
    stepsize: float | None = None
    weight: float | None = None
    noise: float | None = None
    matched: float | None = None
    window: str | None = None
    warm: bool = False
    learned: LearnedSetting | None = None
    stepsizes: LearnedSteps | None = None


@dataclass(frozen=True)
class Method:
    """An algorithm with its steps and its certificate.

    Attributes:
        name: One of the names in :mod:`recon.methods.catalogue`.
        stepsize: The primal step size; ``None`` where there is none.
        dual_stepsize: The dual one; ``None`` where there is none.
        interval: Step sizes under which the theorem holds, both ends excluded; ``None`` where any will do.
        certificate: What is guaranteed.
        solver: Measurement to the iteration, whose own theorem may know less than ``certificate``.
        relaxation: Of the algorithm.
        bound: From measurement and images to what bounds their distance to the matched solution; ``None`` where that is
            what the certificate speaks of.
        backward: From measurement and images to the problem that they solve instead, where the prior is evaluated
            inexactly; else ``None``.
        tolerance: The distance to the limit, over the scale, at which to stop unless told otherwise.
        early: The residual at which a method without a prior stops before its limit; ``None``: never.
        proved_distance: From measurement and images to bounds of their distance to the limit, where the sum is proved
            to be strongly monotone and the resolvent is evaluated exactly; else ``None``.
        rounding: The relative error of a prior in half precision, as measured; else zero.
        closed_form: Whether nothing is iterated.
        solves_sum: Whether its limit is a zero of the sum of data map and prior; else it is that of another problem.
        steps: How many it takes, whatever the tolerance, as methods of learned steps and samplers do; ``None``: as many
            as lead to the limit.
        gap: From measurement and images to the duality gaps of an energy; ``None``: nothing is said of one.
        direct: What solves the problem in place of the driver's loop; ``None``: nothing.
        polish: From measurement, images and the last state to what is computed of each image that no theorem speaks of;
            else ``None``.
        files: The files that the method was read from.
        copies: How many images it carries along for each one, as for symmetric copies of a measurement.
        guide_steps: How many of its steps make the guide of a second run; ``None``: as many as lead near the limit.
    """

    name: str
    stepsize: float | None
    dual_stepsize: float | None
    interval: tuple[float, float] | None
    certificate: Certificate
    solver: Callable[[Tensor], solvers.Algorithm[Any]]
    relaxation: float = 1.0
    bound: Callable[[Tensor, Tensor], tuple[ErrorBound, ...]] | None = None
    backward: Callable[[Tensor, Tensor], tuple[BackwardError, ...]] | None = None
    tolerance: float = TOLERANCE
    early: float | None = None
    proved_distance: Callable[[Tensor, Tensor], tuple[ErrorBound, ...]] | None = None
    rounding: float = 0.0
    closed_form: bool = False
    solves_sum: bool = True
    steps: int | None = None
    gap: Callable[[Tensor, Tensor], tuple[DualityGap, ...]] | None = None
    direct: Callable[[Tensor, solvers.DirectRun], solvers.Solution] | None = None
    polish: Callable[[Tensor, Tensor, Any], tuple[Polish, ...]] | None = None
    files: tuple[Path, ...] = ()
    copies: int = 1
    guide_steps: int | None = None

    def algorithm(self, measurement: Tensor) -> solvers.Algorithm[Any]:
        """The algorithm for a measurement, (batch, channels, ...), with the certificate of this method.

        Its operators were analysed when the method was chosen, and are not checked again.
        """
        return certified(self.solver(measurement), self.certificate)

    def remarked(self, remarks: tuple[Remark, ...]) -> "Method":
        """Return the method with remarks on its certificate."""
        return replace(self, certificate=replace(self.certificate, remarks=(*self.certificate.remarks, *remarks)))
