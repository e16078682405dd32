"""Oracle ISTA: steps as long as the support of the coefficients allows."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from recon._values import remembered
from recon.errors import UsageError
from recon.operators import LeastSquares
from recon.priors import SparseTerm, name_of
from recon.solvers.algorithm import Algorithm, check_stepsize, operators_of
from recon.solvers.theorem import descent_theorem

APPLICATIONS = 3
"""Of power iteration on a support that has changed, from the vector of the one before."""

GROWTH = 1.1
"""The factor by which a curvature grows that a step has refuted."""

LEAST = 1e-3
"""The least curvature on a support that is believed, as a part of ||A||^2."""


class OracleIterate(NamedTuple):
    """The image, its coefficients, the residual A x - y, and what is known of the support.

    Attributes:
        x: The image.
        z: Its coefficients, which have exact zeros.
        rest: A x - y.
        direction: Coefficients on the support, nearly those that A^T A lengthens most.
        curvature: By how much, one a batch item: at most the norm of A^T A on the support.
        support: Where ``z`` may move; all of it at first.
    """

    x: Tensor
    z: Tensor
    rest: Tensor
    direction: Tensor
    curvature: Tensor
    support: Tensor


@remembered
def oracle_ista(data: LeastSquares, sparse: SparseTerm, stepsize: float) -> Algorithm[OracleIterate]:
    """ISTA with the step 1/L_S where it is safe, L_S = ||A W_S^T||^2 on the support S of the coefficients.

    After Ablin, Moreau, Massias, Gramfort (2019), section 4: the long step is taken where its support lies within S,
    else the step ``stepsize``. Their L_S is a norm that power iteration finds from below; so besides the long step s
    has to pass the test s ||A d||^2 <= ||d||^2 for its own move d, under which the energy falls whatever L_S is.
    Conditions: :func:`recon.certificates.certify_proximal_descent`.

    A step costs one application of A and of A^T; a rejected one another A, a change of the support three of both.

    Args:
        data: A and y, with the exact adjoint.
        sparse: The penalty.
        stepsize: That of ISTA, at most 1/||A||^2.

    Raises:
        UsageError: The step size is not positive, or there is a surrogate or a shift.
    """
    check_stepsize("oracle_ista", stepsize)
    if not isinstance(data, LeastSquares) or data.surrogate is not None or data.shift:
        raise UsageError(
            f"oracle_ista: the data are {name_of(data)}; expected LeastSquares without a surrogate and a shift, "
            "because the test of a long step is about the energy."
        )
    if not isinstance(sparse, SparseTerm):
        raise UsageError(
            f"oracle_ista: the penalty is a {type(sparse).__name__}; expected a SparseTerm, as prior.sparse of l1 and "
            "of wavelet is, because other penalties leave no coefficients that are zero."
        )
    operator = data.operator

    def init(x0: Tensor) -> OracleIterate:
        z = sparse.analyse(x0)
        curvature = torch.full((x0.shape[0],), 1 / stepsize, dtype=x0.dtype.to_real(), device=x0.device)
        everything = torch.ones_like(z, dtype=torch.bool)
        return OracleIterate(x0, z, data.residual(x0), z, curvature, everything)

    def step(state: OracleIterate) -> OracleIterate:
        shape = state.x.shape
        support = _support(sparse, state.z, shape)
        direction, curvature = _curvature(state, support)
        gradient = sparse.analyse(operator.A_adjoint(state.rest))
        long = _each(1 / curvature.clamp(min=LEAST / stepsize), state.z)
        z = sparse.shrink(state.z - long * gradient, long, shape)
        x = sparse.synthesise(z, shape)
        rest = data.residual(x)
        inside = ~((z != 0) & ~support).flatten(1).any(1)
        safe = long.flatten() * _square(rest - state.rest) <= _square(z - state.z)
        taken = inside & safe
        if not bool(taken.all()):
            short_z = sparse.shrink(state.z - stepsize * gradient, stepsize, shape)
            short_x = sparse.synthesise(short_z, shape)
            z, x = _chosen(taken, z, short_z), _chosen(taken, x, short_x)
            rest = _chosen(taken, rest, data.residual(short_x))
        refuted = torch.where(inside & ~safe, (GROWTH * curvature).clamp(max=1 / stepsize), curvature)
        return OracleIterate(x, z, rest, direction, refuted, support)

    def _curvature(state: OracleIterate, support: Tensor) -> tuple[Tensor, Tensor]:
        """The direction on a support that A^T A lengthens most, and by how much."""
        changed = (support != state.support).flatten(1).any(1)
        if not bool(changed.any()):
            return state.direction, state.curvature
        shape, q = state.x.shape, _on(support, state.direction)
        q = torch.where(_each(_square(q), q) > 0, q, support.to(q.dtype))
        value = state.curvature
        for _ in range(APPLICATIONS):
            v = _on(support, sparse.analyse(operator.A_adjoint(operator.A(sparse.synthesise(q, shape)))))
            value = torch.sqrt(_square(v) / _square(q).clamp(min=torch.finfo(value.dtype).tiny))
            q = v / _each(torch.sqrt(_square(v)).clamp(min=torch.finfo(value.dtype).tiny), v)
        return _chosen(changed, q, state.direction), torch.where(changed, value, state.curvature)

    return Algorithm(
        "oracle ISTA", init, step, lambda state: (state.x,),
        theorem=partial(descent_theorem, data, sparse, stepsize), operators=operators_of(data),
    )  # fmt: skip


def _support(sparse: SparseTerm, z: Tensor, shape: torch.Size) -> Tensor:
    """Where coefficients are not zero, and the free ones."""
    support = z != 0
    free = sparse.free(shape)
    return torch.cat([torch.ones_like(support[..., :free]), support[..., free:]], -1) if free else support


def _on(support: Tensor, z: Tensor) -> Tensor:
    return torch.where(support, z, torch.zeros_like(z))


def _square(z: Tensor) -> Tensor:
    """The squared norm of each batch item."""
    parts = torch.view_as_real(z) if z.is_complex() else z
    return parts.flatten(1).square().sum(1)


def _each(value: Tensor, like: Tensor) -> Tensor:
    return value.view(-1, *[1] * (like.ndim - 1))


def _chosen(which: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``a`` for the batch items named, ``b`` for the others."""
    return torch.where(_each(which, a), a, b)
