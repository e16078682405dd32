"""Where the linear iteration x+ = x + w (K(y - A x) - shift x) converges: a matter of eigenvalues, not of norms."""

import math
from dataclasses import dataclass

from recon.errors import UsageError
from recon.evidence import Constant, Evidence, Fact, Proved
from recon.operators import dense
from recon.operators.base import HasSymbol
from recon.operators.matrix import Matrix
from recon.operators.mismatch import ZERO, map_matrix, symbol_of
from recon.types import LinearOperator


@dataclass(frozen=True)
class LinearIteration:
    """What decides whether the iteration with B = K A + shift Id converges.

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
    if isinstance(operator, Matrix) and isinstance(surrogate, Matrix):
        (B, rounding), back = map_matrix(operator, surrogate, shift), surrogate.entries.double().T
        return LinearIteration(
            dense.linear_iteration_limit(B, rounding), dense.linear_iteration_solvable(B, back, rounding), shift
        )
    raise UsageError(
        f"linear_iteration_of: {type(operator).__name__} and {type(surrogate).__name__}; expected two circular "
        "convolutions or two explicit matrices (see to_matrix), because the eigenvalues of K A cannot be had from its "
        "action; a cocoercive pair has the interval of certify_mismatched_forward_backward."
    )


def _circulant(operator: HasSymbol, surrogate: HasSymbol, shift: float) -> LinearIteration:
    eigenvalues = symbol_of(operator.symbol, surrogate.symbol, shift)
    zero = eigenvalues.abs() <= ZERO * eigenvalues.abs().max()
    kept, how = eigenvalues[~zero], "2 Re(l) / |l|^2, from the symbols: the DFT diagonalises both convolutions"
    limit = float((2 * kept.real / kept.abs().square()).min()) if kept.numel() else math.inf
    back = surrogate.symbol.abs()
    solvable = None
    if not bool((back[zero] > ZERO * back.max()).any()):
        solvable = Fact(Evidence.PROVED, "K A is normal, and K is zero wherever K A + shift Id is")
    return LinearIteration(Proved(max(limit, 0.0), how), solvable, shift)
