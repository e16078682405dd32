"""Convergence of the linear iteration x+ = x + w (K(y - A x) - shift x), which eigenvalues decide, and not norms."""

import math
from dataclasses import dataclass

from recon.errors import UsageError
from recon.evidence import Constant, Evidence, Fact, Measured, Proved
from recon.operators import dense
from recon.operators.base import HasSymbol
from recon.operators.mismatch import (
    BY_SYMBOLS,
    eigenvalues_of,
    least_inverse,
    map_matrix,
    matrices_of,
    symbol_error,
)
from recon.types import LinearOperator

_NEARLY = 4.0
"""Errors of a symbol below which a value of it counts as zero where the product of two does."""


@dataclass(frozen=True)
class LinearIteration:
    """The constants that decide whether the iteration with B = K A + shift Id converges.

    Attributes:
        limit: The largest w with |1 - w l| < 1 for every eigenvalue l of B other than zero; 0 where there is none.
        solvable: Why B x = K y has a solution for every y to which the iteration converges, or ``None``.
        shift: Of B.
    """

    limit: Constant
    solvable: Fact | None
    shift: float


def linear_iteration_of(operator: LinearOperator, surrogate: LinearOperator, *, shift: float = 0.0) -> LinearIteration:
    """The interval of the linear iteration, for two circular convolutions or two explicit matrices.

    Args:
        operator: A.
        surrogate: The operator whose adjoint is K.
        shift: Added to K A as a multiple of the identity.

    Raises:
        UsageError: The pair is neither: eigenvalues of a map that is not symmetric cannot be had from its action.
    """
    if isinstance(operator, HasSymbol) and isinstance(surrogate, HasSymbol):
        return _circulant(operator, surrogate, shift)
    pair = matrices_of(operator, surrogate)
    if pair is not None:
        (B, rounding), back = map_matrix(pair, shift), pair.back.T
        return LinearIteration(
            dense.linear_iteration_limit(B, rounding), dense.linear_iteration_solvable(B, back, rounding), shift
        )
    raise UsageError(
        f"linear_iteration_of: {type(operator).__name__} and {type(surrogate).__name__}; expected two circular "
        "convolutions or two explicit matrices (see to_matrix), because the eigenvalues of K A cannot be had from its "
        "action; a cocoercive pair has the interval of certify_mismatched_forward_backward."
    )


def _circulant(operator: HasSymbol, surrogate: HasSymbol, shift: float) -> LinearIteration:
    eigenvalues, radii = eigenvalues_of(operator, surrogate, shift)
    clear, how = eigenvalues.abs() > radii, f"2 Re(l) / |l|^2, {BY_SYMBOLS}"
    limit = 2 * float(least_inverse(eigenvalues[clear], radii[clear])) if bool(clear.any()) else math.inf
    if bool(clear.all()):
        solvable = Fact(Evidence.PROVED, "K A is normal, and zero is no eigenvalue of K A + shift Id")
        return LinearIteration(Proved(max(limit, 0.0), how), solvable, shift)
    bound = Measured(max(limit, 0.0), f"{how}; eigenvalues that are zero up to it are left out")
    if bool((surrogate.symbol.abs()[~clear] > _NEARLY * symbol_error(surrogate)).any()):
        return LinearIteration(bound, None, shift)
    how = "K A is normal, and up to rounding K is zero wherever K A + shift Id is"
    return LinearIteration(bound, Fact(Evidence.MEASURED, how), shift)
