"""The simultaneous iterative reconstruction technique."""

from dataclasses import replace
from functools import partial

from torch import Tensor

from recon._values import remembered
from recon.operators import LeastSquares, PreconditionedLeastSquares, Weights, sirt_weights
from recon.priors import Resolvent, identity
from recon.solvers.algorithm import Algorithm
from recon.solvers.forward_backward import Iterate, forward_backward
from recon.solvers.theorem import sirt_theorem
from recon.solvers.units import refuse_other_units
from recon.types import LinearOperator


@remembered
def sirt(
    operator: LinearOperator,
    measurement: Tensor,
    relaxation: float = 1.0,
    constraint: Resolvent | None = None,
    weights: Weights | None = None,
) -> Algorithm[Iterate]:
    """The iteration ``x+ = P(x - s D A^T R (A x - y))``, with D and R the inverse column and row sums of A.

    It tends to a minimiser of ``||Ax - y||_R`` (Gregor, Benson 2008), in the box if there is one. Conditions:
    :func:`recon.certificates.certify_preconditioned_forward_backward`; for an operator without negative entries they
    are 0 < s < 2.

    Args:
        operator: A, with its exact adjoint.
        measurement: y, (batch, ...).
        relaxation: s > 0.
        constraint: The projection on a box, :func:`recon.priors.box`; ``None`` for no constraint.
        weights: D and R, from :func:`recon.operators.sirt_weights`; ``None`` computes them, which takes an operator
            that knows its domain.

    Raises:
        UsageError: The relaxation is not a positive finite number, the sums are negative, or the
            measurement is in other units than the box.
    """
    if constraint is not None:
        refuse_other_units("sirt", LeastSquares(operator, measurement), constraint)
    weights, inside = weights or sirt_weights(operator), constraint or identity()
    iteration = forward_backward(PreconditionedLeastSquares(operator, measurement, weights), inside, relaxation)
    theorem = partial(sirt_theorem, operator, weights, inside, relaxation)
    return replace(iteration, name="SIRT", theorem=theorem, operators=(operator,))
