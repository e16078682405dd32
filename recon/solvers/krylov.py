"""Least squares by Krylov subspaces: CGLS with the exact adjoint, AB- and BA-GMRES with any back-projector.

None of them has a parameter, and none takes a prior. Stopped early they regularise; run on, they fit the noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from recon._values import remembered
from recon.errors import UsageError
from recon.solvers.algorithm import Algorithm
from recon.types import LinearOperator, Map


class Conjugate(NamedTuple):
    """The image, the direction, y - A x, the size of A^T(y - A x) and of what it began with, and ||A|| from below."""

    x: Tensor
    direction: Tensor
    rest: Tensor
    size: Tensor
    scale: Tensor
    norm: Tensor


@remembered
def cgls(operator: LinearOperator, measurement: Tensor) -> Algorithm[Conjugate]:
    """Conjugate gradients on ``A^T A x = A^T y`` (Hestenes, Stiefel 1952), an application of A and A^T a step.

    From a start in the range of A^T it tends to the least-squares solution of least norm. An item has converged when
    ``||A^T(y - A x)||`` is at most ``tolerance`` times ``||A^T y||`` (or what it was at the start, if that is more).
    Where only rounding is left, of y - A x or of its back-projection, an item moves no more: the recurrence would
    diverge (the tests of Paige and Saunders 1982, at the precision of the data).

    Args:
        operator: A, with its exact adjoint.
        measurement: y, (batch, ...).
    """
    size_of_data = norms(measurement)

    def init(x0: Tensor) -> Conjugate:
        rest = measurement - operator.A(x0)
        gradient = operator.A_adjoint(rest)
        size = norms(gradient)
        scale = torch.maximum(size, norms(operator.A_adjoint(measurement)))
        return Conjugate(x0, gradient, rest, size, scale, torch.zeros_like(size))

    def step(state: Conjugate) -> Conjugate:
        image = operator.A(state.direction)
        stretched = norms(image)
        length = quotient(state.size, stretched) ** 2
        norm = torch.maximum(state.norm, quotient(stretched, norms(state.direction)))
        misfit, unit = norms(state.rest), _roundings(state.x)
        spent = (state.size <= unit * norm * misfit) | (misfit <= unit * (norm * norms(state.x) + size_of_data))
        length = torch.where(spent, 0.0, length)
        x = state.x + spread(length, state.x) * state.direction
        rest = state.rest - spread(length, image) * image
        gradient = operator.A_adjoint(rest)
        size = norms(gradient)
        kept = spread(quotient(size, state.size) ** 2, gradient)
        return Conjugate(x, gradient + kept * state.direction, rest, size, state.scale, norm)

    return Algorithm(
        "CGLS", init, step, lambda state: (state.x,), lambda state: quotient(state.size, state.scale),
        operators=(operator,),
    )  # fmt: skip


class Restarted(NamedTuple):
    """The image, the residual of the system that GMRES solves, how far it is from solved, and from what that is."""

    x: Tensor
    rest: Tensor
    size: Tensor
    scale: Tensor


@remembered
def ab_gmres(
    operator: LinearOperator, surrogate: LinearOperator | Map, measurement: Tensor, restart: int = 20
) -> Algorithm[Restarted]:
    """GMRES on ``min ||y - A K z||``, ``x = K z`` (Hansen, Hayami, Morikuni 2022): each step a cycle of ``restart``.

    The distance ||y - A x|| never grows. If the range of A K is that of A it tends to the least of all, and an item has
    converged when ``||A^T(y - A x)||``, computed once a cycle, is at most ``tolerance`` times ``||A^T y||`` (or what it
    was at the start, if that is more); where restarts make it stand still it does not converge, and that is reported.
    A cycle keeps ``restart + 1`` measurements.

    Args:
        operator: A, with its exact adjoint.
        surrogate: K, as a map from measurements to images, or as the operator whose adjoint K is.
        measurement: y, (batch, ...).
        restart: Of the cycle, at least 1.

    Raises:
        UsageError: ``restart`` is less than 1.
    """
    back = _back(surrogate)
    system = _System(
        apply=lambda z: operator.A(back(z)),
        rest=lambda x: measurement - operator.A(x),
        image=back,
        size=lambda rest: norms(operator.A_adjoint(rest)),
        scale=lambda: norms(operator.A_adjoint(measurement)),
    )
    return _gmres("AB-GMRES", system, restart)


@remembered
def ba_gmres(
    operator: LinearOperator, surrogate: LinearOperator | Map, measurement: Tensor, restart: int = 20
) -> Algorithm[Restarted]:
    """GMRES on ``min ||K y - K A x||`` (Hansen, Hayami, Morikuni 2022): each step a cycle of ``restart``.

    The limit solves K A x = K y, as that of the BA iteration does, whatever the eigenvalues of K A; with a surrogate
    that is not the least-squares solution. ``||K(y - A x)||`` never grows, and an item has converged when it is at most
    ``tolerance`` times ``||K y||`` (or what it was at the start, if that is more); where restarts make it stand still,
    or K A x = K y has no solution, it does not converge, and that is reported. A cycle keeps ``restart + 1`` images.

    Args:
        operator: A; its adjoint takes no part.
        surrogate: K, as a map from measurements to images, or as the operator whose adjoint K is.
        measurement: y, (batch, ...).
        restart: Of the cycle, at least 1.

    Raises:
        UsageError: ``restart`` is less than 1.
    """
    back = _back(surrogate)
    system = _System(
        apply=lambda x: back(operator.A(x)),
        rest=lambda x: back(measurement - operator.A(x)),
        image=lambda x: x,
        size=norms,
        scale=lambda: norms(back(measurement)),
    )
    return _gmres("BA-GMRES", system, restart)


@dataclass(frozen=True)
class _System:
    """``apply(z) = rest(x0)``, ``x = x0 + image(z)``."""

    apply: Map
    rest: Map
    image: Map
    size: Callable[[Tensor], Tensor]
    scale: Callable[[], Tensor]


def _gmres(name: str, system: _System, restart: int) -> Algorithm[Restarted]:
    if restart < 1:
        raise UsageError(f"{name}: restart={restart}; expected at least 1, because a cycle takes that many steps.")

    def init(x0: Tensor) -> Restarted:
        rest = system.rest(x0)
        size = system.size(rest)
        return Restarted(x0, rest, size, torch.maximum(size, system.scale()))

    def step(state: Restarted) -> Restarted:
        x = state.x + system.image(least_residual(system.apply, state.rest, restart))
        rest = system.rest(x)
        return Restarted(x, rest, system.size(rest), state.scale)

    return Algorithm(name, init, step, lambda state: (state.x,), lambda state: quotient(state.size, state.scale))


def least_residual(apply: Map, rest: Tensor, dimension: int) -> Tensor:
    """The z in the Krylov space of ``rest`` that minimises ``||rest - apply(z)||``, for each batch item.

    Arnoldi's process with Gram-Schmidt done twice; the small problem is solved in double precision by its singular
    values, so that a space that is exhausted early, or a singular map, needs no case of its own: what cannot be reached
    gets the weight zero.

    Args:
        apply: A linear map.
        rest: (batch, ...).
        dimension: Of the space.
    """
    length, flat = norms(rest), _flat(rest)
    basis = flat.new_zeros(len(flat), dimension + 1, flat.shape[1])
    basis[:, 0] = spread(quotient(torch.ones_like(length), length), flat) * flat
    hessenberg = length.new_zeros(len(flat), dimension + 1, dimension)
    for k in range(dimension):
        image = _flat(apply(_like(basis[:, k], rest)))
        column, left = _orthogonalise(image, basis[:, : k + 1])
        size = norms(left)
        size = torch.where(size > _roundings(rest) * norms(image), size, 0.0)
        hessenberg[:, : k + 1, k], hessenberg[:, k + 1, k] = column, size
        basis[:, k + 1] = spread(quotient(torch.ones_like(size), size), left) * left
    weights = _first_column_of_inverse(hessenberg, dimension * _roundings(rest)) * length[:, None]
    return _like((weights.to(flat)[:, None] @ basis[:, :dimension])[:, 0], rest)


def _first_column_of_inverse(matrices: Tensor, tolerance: float) -> Tensor:
    """Of the pseudo-inverse of each matrix; NaN where one is not finite, which is the failure of that item alone."""
    sound = matrices.isfinite().flatten(1).all(1)
    inverses: Tensor = torch.linalg.pinv(torch.where(sound[:, None, None], matrices, 0.0), rtol=tolerance)
    return torch.where(sound[:, None], inverses[:, :, 0], torch.nan)


def _orthogonalise(image: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """The coefficients of vectors in their bases, (batch, members), and what is left of the vectors."""
    left, parts = image, []
    for _ in range(2):  # twice is enough (Giraud, Langou, Rozloznik, van den Eshof 2005)
        part = (basis @ left[:, :, None])[:, :, 0]
        left = left - (part[:, None] @ basis)[:, 0]
        parts.append(part.double())
    return parts[0] + parts[1], left


def _roundings(x: Tensor) -> float:
    return 10 * torch.finfo(x.dtype.to_real()).eps


def _back(surrogate: LinearOperator | Map) -> Map:
    return surrogate.A_adjoint if isinstance(surrogate, LinearOperator) else surrogate


def _flat(x: Tensor) -> Tensor:
    """(batch, real numbers)."""
    return (torch.view_as_real(x) if x.is_complex() else x).flatten(1)


def _like(flat: Tensor, x: Tensor) -> Tensor:
    """The inverse of ``_flat``, for a tensor of the shape of ``x``."""
    return torch.view_as_complex(flat.reshape(*x.shape, 2)) if x.is_complex() else flat.reshape(x.shape)


def norms(x: Tensor) -> Tensor:
    """The norm of each batch item, in double precision, in which no square of single precision overflows."""
    lengths: Tensor = torch.linalg.vector_norm(_flat(x), dim=1, dtype=torch.float64)
    return lengths


def quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    """``numerator / denominator``, and 0 where the denominator is 0: nothing more can be done there."""
    zero = denominator == 0
    return torch.where(zero, 0.0, numerator / denominator.masked_fill(zero, 1.0))


def spread(factor: Tensor, like: Tensor) -> Tensor:
    """One factor a batch item, (batch,), in the precision of a tensor that it is to multiply."""
    return factor.to(like.dtype.to_real()).view(-1, *[1] * (like.ndim - 1))


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Re <a, b> of each batch item, in double precision."""
    product = (a.conj() * b).real if a.is_complex() else a * b
    found: Tensor = product.flatten(1).sum(1, dtype=torch.float64)
    return found
