"""The primal-dual splitting of Condat (2013) and Vu (2013)."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from recon._values import remembered
from recon.priors.resolvent import relaxed_rows
from recon.solvers.algorithm import Algorithm, check_relaxation, check_stepsize, operators_of
from recon.solvers.maps import require_maps
from recon.solvers.theorem import condat_vu_theorem
from recon.solvers.units import refuse_other_units
from recon.types import LinearOperator, Map, Sweeps


class PrimalDual(NamedTuple):
    """The image ``x`` and the dual variable ``u``, which lives in the range of the dual operator."""

    x: Tensor
    u: Tensor
    pulled: Tensor | None = None
    """``L^T u``, where the step before has brought it along."""


def _variables(state: PrimalDual) -> tuple[Tensor, ...]:
    return (state.x, state.u)


@remembered
def condat_vu(  # noqa: PLR0913, PLR0917  the problem has as many parts
    gradient: Map | None,
    resolvent: Map,
    dual_operator: LinearOperator,
    dual_resolvent: Map,
    stepsize: float,
    dual_stepsize: float,
    relaxation: float = 1.0,
    back: Map | None = None,
    local: bool = False,
    dual_start: Map | None = None,
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
        local: Whether R acts on each place of the range of L by itself; an L that :class:`recon.types.Sweeps` then goes
            through it part by part, which takes two thirds of the time for 64 filters at 512 x 512.
        dual_start: From the first image to the first dual variable; ``None``: zero.

    Raises:
        UsageError: A step size or the relaxation is outside its range, or the data are in other units than the prior.
    """
    require_maps("condat_vu", {"gradient": gradient}, {"resolvent": resolvent, "dual_resolvent": dual_resolvent})
    check_stepsize("condat_vu", stepsize)
    check_stepsize("condat_vu", dual_stepsize, "dual_stepsize")
    check_relaxation("condat_vu", relaxation)
    refuse_other_units("condat_vu", resolvent if gradient is None else gradient, resolvent, dual_resolvent)
    transposed = dual_operator.A_adjoint if back is None else back

    def init(x0: Tensor) -> PrimalDual:
        return PrimalDual(x0, torch.zeros_like(dual_operator.A(x0)) if dual_start is None else dual_start(x0))

    def pulled_init(x0: Tensor) -> PrimalDual:
        state = init(x0)
        pulled = torch.zeros_like(x0) if dual_start is None else dual_operator.A_adjoint(state.u)
        return state._replace(pulled=pulled)

    def primal(state: PrimalDual) -> Tensor:
        descent = transposed(state.u) if state.pulled is None else state.pulled
        if gradient is not None:
            descent = descent + gradient(state.x)
        return resolvent(torch.add(state.x, descent, alpha=-stepsize))

    def dual(u: Tensor, image: Tensor, top: int = 0) -> Tensor:
        return relaxed_rows(dual_resolvent, top, u, image, dual_stepsize, relaxation)

    def step(state: PrimalDual) -> PrimalDual:
        p = primal(state)
        u = dual(state.u, dual_operator.A(torch.lerp(state.x, p, 2.0)))
        return PrimalDual(_relaxed(state.x, p, relaxation), u)

    def swept(state: PrimalDual) -> PrimalDual:
        p = primal(state)
        u, pulled = dual_operator.sweep(torch.lerp(state.x, p, 2.0), state.u, dual)  # type: ignore[attr-defined]
        return PrimalDual(_relaxed(state.x, p, relaxation), u, pulled)

    theorem = partial(
        condat_vu_theorem, gradient, resolvent, dual_operator, dual_resolvent, stepsize, dual_stepsize, relaxation, back
    )
    operators = (*operators_of(gradient, resolvent), *(() if back is not None else (dual_operator,)))
    if local and back is None and isinstance(dual_operator, Sweeps):
        return Algorithm("Condat-Vu", pulled_init, swept, _variables, theorem=theorem, operators=operators)
    return Algorithm("Condat-Vu", init, step, _variables, theorem=theorem, operators=operators)


def _relaxed(before: Tensor, after: Tensor, relaxation: float) -> Tensor:
    return after if relaxation == 1 else torch.lerp(before, after, relaxation)
