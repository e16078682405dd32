"""Maps of uncertainty for a measurement: solve it, then find how far the solution may be from the truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from recon.certificates.mixing import Mixing
from recon.device import Notify
from recon.errors import GuaranteeError, UsageError
from recon.io import Image
from recon.reconstruction.plan import Plan, make_plan
from recon.reconstruction.run import ProgressCallback, Result, execute
from recon.solvers import Status
from recon.specs.grammar import Spec
from recon.specs.solve_config import SolveConfig
from recon.uncertainty.bootstrap import bootstrap
from recon.uncertainty.ensemble import ensemble
from recon.uncertainty.maps import Maps
from recon.uncertainty.posterior import posterior
from recon.uncertainty.potential import noise_of, potential_of
from recon.uncertainty.settings import CHAINS, Settings

_NO_SOLUTION = (Status.DIVERGED, Status.NOT_FINITE)

Watch = Callable[[str], None]
"""Called as the work goes on, with a few words."""


@dataclass(frozen=True)
class Quantified:
    """A solution with its uncertainty.

    Attributes:
        result: The solution; of an ensemble that of its first member.
        maps: Mean and standard deviation.
    """

    result: Result
    maps: Maps


def plans_of(config: SolveConfig, priors: Sequence[Spec], image: Image, say: Notify) -> list[Plan]:
    """The plan of a measurement; of an ensemble one for each prior.

    Args:
        config: What to do.
        priors: Those of an ensemble; none: that of the configuration.
        image: The measurement.
        say: Where remarks go.
    """
    plans: list[Plan] = []
    for prior in priors or (config.prior,):
        pair = plans[0].pair if plans else None
        plans.append(make_plan(replace(config, prior=prior), image, say, pair))
    return plans


def with_method(plans: Sequence[Plan], settings: Settings) -> Settings:
    """The settings with the method that follows from the plans, where none is stated.

    An ensemble of several priors; a kinetic chain for a penalty with a gradient, where the adjoint is exact and images
    are real; else the bootstrap, which takes every problem.
    """
    if settings.method is not None:
        return settings
    if len(plans) > 1:
        return replace(settings, method="ensemble")
    plan = plans[0]
    real = not (plan.problem.measurement.is_complex() or plan.problem.family.is_complex)
    smooth = plan.problem.prior.prior.smooth is not None and plan.pair.mismatch is None and real
    return replace(settings, method="kinetic" if smooth else "bootstrap")


def check_settings(plans: Sequence[Plan], settings: Settings) -> None:
    """See that uncertainty may be had from plans, before anything is run.

    Raises:
        UsageError: It may not.
    """
    plan = plans[0]
    if len(plan.problem.image_shape) == 3:
        raise UsageError(
            f"operator is {plan.problem.family.spec}, which sees a volume; expected one of images, because maps of "
            "volumes are not made yet."
        )
    if settings.method != "ensemble" and len(plans) > 1:
        raise UsageError(f"{len(plans)} priors with method {settings.method!r}; expected one, or --method ensemble.")
    if settings.method == "ensemble" and len(plans) < 2:
        raise UsageError(
            "--method ensemble with one prior; expected at least two, each with --prior, because the spread of one is "
            "0."
        )
    if plan.makes_guide and settings.method in CHAINS:
        return  # the density is that of the second run
    if settings.method == "bootstrap":
        noise_of(plan)
    if settings.method in CHAINS:
        potential_of(plan)


def quantify(plans: Sequence[Plan], settings: Settings, watch: Watch | None = None) -> Quantified:
    """Solve, and find the uncertainty of the solution.

    Args:
        plans: One; of an ensemble one for each prior.
        settings: The method.
        watch: See :data:`Watch`.

    Raises:
        UsageError: The problem has none by this method.
        GuaranteeError: A run diverged.
    """
    settings = with_method(plans, settings)
    check_settings(plans, settings)
    results = [_solved(plan, watch) for plan in plans]
    first = results[0]
    if settings.method == "ensemble":
        return Quantified(first, ensemble(results))
    if settings.method == "bootstrap":
        return Quantified(first, bootstrap(first, settings, _of_solves(watch)))
    return Quantified(first, posterior(first, settings, _of_steps(watch)))


def _solved(plan: Plan, watch: Watch | None) -> Result:
    progress: ProgressCallback | None = None
    if watch is not None:
        told = watch

        def progress(step: int, budget: int, distance: float) -> None:
            told(f"solution: step {step} of at most {budget}")

    result = execute(plan, progress)
    if result.status in _NO_SOLUTION:
        raise GuaranteeError(
            f"{plan.method.name} on {plan.problem.family.spec} ended as {result.status.value} after {result.steps} "
            f"steps; nothing was written. {result.status.sentence}"
        )
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt(f"after {result.steps} steps; nothing was written")
    return result


def _of_solves(watch: Watch | None) -> Callable[[int, int], None] | None:
    return None if watch is None else lambda done, total: watch(f"bootstrap: {done} of {total}")


def _of_steps(watch: Watch | None) -> Callable[[int, int, Mixing | None], None] | None:
    if watch is None:
        return None
    told = watch

    def look(step: int, budget: int, seen: Mixing | None) -> None:
        if step % 10 == 0:
            told(f"chains: step {step} of at most {budget}" + ("" if seen is None else f", R-hat {seen.r_hat:.3f}"))

    return look
