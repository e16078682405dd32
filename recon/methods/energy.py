"""What the methods of proximal gradient steps share: a prior with an energy, and the gap of an image."""

from collections.abc import Callable

from torch import Tensor

from recon import certificates as proofs
from recon.certificates import DualityGap
from recon.errors import UsageError
from recon.methods.operator_pair import OperatorPair
from recon.operators import LeastSquares
from recon.priors import Prior

Gap = Callable[[Tensor, Tensor], tuple[DualityGap, ...]]


def has_gap(prior: Prior) -> bool:
    """Whether the conjugate of a penalty has a closed form, so that a duality gap can be computed."""
    return (prior.sparse is not None or prior.conjugate is not None) and prior.value is not None


def gap_of(pair: OperatorPair, prior: Prior) -> Gap:
    """From measurement and images to their duality gaps."""
    return lambda y, x: proofs.duality_gap(LeastSquares(pair.operator, y), prior, x, pair.properties)


def require_energy(method: str, prior: Prior) -> None:
    """Refuse a prior that is not known to be the proximity operator of a convex function."""
    if prior.resolvent(1.0).properties.proximity is None:
        raise UsageError(
            f"method is {method!r}, and the prior {prior.name!r} is not known to be the proximity operator of a convex "
            "function; expected forward_backward, because without an energy there is nothing that falls."
        )
