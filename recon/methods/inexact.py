"""The backward error of methods whose resolvent is evaluated inexactly."""

from collections.abc import Callable

from torch import Tensor

from recon import certificates as proofs
from recon.certificates import BackwardError
from recon.methods.operator_pair import OperatorPair
from recon.operators import LeastSquares
from recon.priors import Resolvent


def backward_error_of(
    pair: OperatorPair, resolvent: Resolvent, stepsize: float
) -> Callable[[Tensor, Tensor], tuple[BackwardError, ...]] | None:
    """From measurement and images to the problem that they solve instead; ``None`` of an exact resolvent."""
    if not resolvent.properties.error.value:
        return None
    return lambda y, x: proofs.backward_error(LeastSquares(pair.operator, y), resolvent, x, stepsize, pair.properties)
