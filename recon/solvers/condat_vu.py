"""The primal-dual splitting of Condat (2013) and Vu (2013)."""

from typing import NamedTuple

import torch
from torch import Tensor

from recon.solvers.algorithm import Algorithm, check_relaxation, check_stepsize
from recon.types import LinearOperator, Map


class PrimalDual(NamedTuple):
    """The image ``x`` and the dual variable ``u``, which lives in the range of the dual operator."""

    x: Tensor
    u: Tensor


def _variables(state: PrimalDual) -> tuple[Tensor, ...]:
    return (state.x, state.u)


def condat_vu(  # noqa: PLR0913, PLR0917  the problem has as many parts
    gradient: Map | None,
    resolvent: Map,
    dual_operator: LinearOperator,
    dual_resolvent: Map,
    stepsize: float,
    dual_stepsize: float,
    relaxation: float = 1.0,
    back: Map | None = None,
) -> Algorithm[PrimalDual]:
    """The iteration for 0 in ``B x + M x + L^T N(L x)``, with no inner loop for the term behind L.

    ``p = J(x - s (B x + L^T u)), q = R(u + t L(2p - x)), (x, u)+ = (x, u) + r ((p, q) - (x, u))``, where ``J`` is the
    resolvent of ``s M`` and ``R`` that of ``t N^-1`` (Condat 2013, Algorithm 3.1). With ``gradient=None`` it is the
    primal-dual method of Chambolle and Pock (2011). Conditions: :func:`recon.certificates.certify_condat_vu`.

    Args:
        gradient: The cocoercive map B, or ``None`` where there is none.
        resolvent: The map J, image to image; ``priors.identity()`` where M is zero.
        dual_operator: L, with its exact adjoint, or with any and a ``back``.
        dual_resolvent: The map R on the range of L; :func:`recon.priors.conjugate` makes it from a resolvent of N.
        stepsize: s > 0.
        dual_stepsize: t > 0.
        relaxation: r in (0, 2).
        back: A surrogate of L^T; ``None`` for the adjoint. The limit is then another, and the conditions those of
            :func:`recon.certificates.certify_mismatched_condat_vu`.

    Raises:
        UsageError: A step size or the relaxation is outside its range.
    """
    check_stepsize("condat_vu", stepsize)
    check_stepsize("condat_vu", dual_stepsize, "dual_stepsize")
    check_relaxation("condat_vu", relaxation)
    transposed = dual_operator.A_adjoint if back is None else back

    def init(x0: Tensor) -> PrimalDual:
        return PrimalDual(x0, torch.zeros_like(dual_operator.A(x0)))

    def step(state: PrimalDual) -> PrimalDual:
        x, u = state
        descent = transposed(u)
        if gradient is not None:
            descent = descent + gradient(x)
        p = resolvent(torch.add(x, descent, alpha=-stepsize))
        q = dual_resolvent(torch.add(u, dual_operator.A(torch.lerp(x, p, 2.0)), alpha=dual_stepsize))
        if relaxation == 1:
            return PrimalDual(p, q)
        return PrimalDual(torch.lerp(x, p, relaxation), torch.lerp(u, q, relaxation))

    return Algorithm("Condat-Vu", init, step, _variables)
