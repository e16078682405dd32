"""Parts that methods with a surrogate share: the data map ``x -> K (A x - y) + shift x`` and bounds of the mismatch."""

from collections.abc import Callable

from torch import Tensor

from recon import certificates as proofs
from recon.certificates import ErrorBound
from recon.errors import GuaranteeError
from recon.methods.operator_pair import OperatorPair
from recon.operators import LeastSquares, Mismatch
from recon.priors import Resolvent


def mismatch_bound(
    pair: OperatorPair, mismatch: Mismatch, resolvent: Resolvent, stepsize: float
) -> Callable[[Tensor, Tensor], tuple[ErrorBound, ...]]:
    """From measurement and images to bounds of their distance to the matched solution."""
    return lambda y, x: proofs.mismatch_error_bound(
        mismatched_data(pair, mismatch, y), resolvent, x, stepsize, pair.properties
    )


def mismatched_data(pair: OperatorPair, mismatch: Mismatch, measurement: Tensor) -> LeastSquares:
    """The data map of a surrogate."""
    assert pair.surrogate is not None  # noqa: S101  a mismatch is of a surrogate
    return LeastSquares(pair.operator, measurement, pair.surrogate.A_adjoint, mismatch.shift)


def norm_of(mismatch: Mismatch) -> float:
    """||K A + shift Id|| from above.

    Raises:
        GuaranteeError: It is zero.
    """
    size = mismatch.norm.value + mismatch.norm.error
    if size == 0:
        raise GuaranteeError("The surrogate undoes the operator to zero: ||K A|| is 0, so no step can be taken.")
    return size
