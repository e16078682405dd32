"""The sentence on what a run did not reach."""

from recon.reconstruction.run import Result
from recon.solvers import Status


def shortfall(result: Result) -> str | None:
    """Return a sentence on what a run did not reach and what to do about it; ``None`` where it did."""
    hope = "" if result.plan.method.certificate.strongest else ", but nothing guarantees that more steps help"
    if result.status is Status.OUT_OF_STEPS:
        budget, tolerance = result.plan.problem.config.budget, result.plan.tolerance
        if result.distance.relative <= tolerance:
            return (
                f"the budget of {budget} steps ran out before all variables of the method converged (the image is "
                f"{result.distance.brief} of itself from the limit); --iterations gives more{hope}"
            )
        return (
            f"the budget of {budget} steps ran out before the distance to the limit was within {tolerance:g} of the "
            f"image ({result.distance.brief}); --iterations gives more, --tolerance asks less{hope}"
        )
    if result.status is Status.STALLED and result.plan.method.rounding:
        return f"the steps stay at a relative residual of {result.residual:.1e} as the prior is rounded; " + (
            "precision=float32 goes on"
        )
    return result.status.sentence if result.status in (Status.STALLED, Status.DRIFTING) else None
