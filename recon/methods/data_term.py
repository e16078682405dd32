"""Properties of the resolvent of the data term, and step sizes of which any converges."""

from dataclasses import replace

from recon.errors import UsageError
from recon.evidence import Evidence, Fact, Proved, derive
from recon.methods.operator_pair import OperatorPair
from recon.priors import ResolventProperties

FARTHEST = 1e3
"""How many times longer, or shorter, than the package's own a step may be where any converges.

Of a box blur, Condat-Vu with the resolvent is as good after 1000 steps at 600 times its own step; at 60,000 times it
is noise, though its steps are short.
"""

RESOLVENT_RELAXATION = 1.9
"""Without a gradient the relaxation may be anything below 2; 1.9 takes half the steps of 1."""

EXACT_RESOLVENT = ResolventProperties(
    lipschitz_Q=Proved(1.0, "the data term is convex, so its proximity operator is firmly nonexpansive"),
    proximity=Fact(Evidence.PROVED, "the data term ||Ax - y||^2 / 2 is convex, and its proximity operator closed-form"),
)


def data_resolvent(pair: OperatorPair) -> ResolventProperties:
    """Return the properties of the resolvent of the data term, as believable as that the two maps are a pair."""
    known, gap = EXACT_RESOLVENT, pair.properties.adjoint_gap
    q = derive(lambda *_: 1.0, known.lipschitz_Q, gap, how=known.lipschitz_Q.how)
    error = derive(lambda *_: 0.0, known.error, gap, how=known.error.how)
    return replace(known, lipschitz_Q=q, error=error)


def free_step(asked: float | None, own: float, method: str) -> float:
    """The step size that was asked for, else the package's own.

    Raises:
        UsageError: It is so far from the package's own that no budget of steps would do.
    """
    if asked is None:
        return own
    if not own / FARTHEST <= asked <= own * FARTHEST:
        raise UsageError(
            f"stepsize is {asked:g} with method {method!r}; expected a number from {own / FARTHEST:.2g} to "
            f"{own * FARTHEST:.2g}, because any converges, but one so far from {own:.2g} not in a budget of steps."
        )
    return asked
