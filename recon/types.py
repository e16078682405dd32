"""The two interfaces on which everything else stands.

Tensors are batched in dimension 0. An image is ``(batch, channels, height, width)``; what is said of
norms, residuals and stopping is said of each batch item.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor

Map = Callable[[Tensor], Tensor]
"""A map between tensors: a resolvent, a gradient, a surrogate of an adjoint, a network, a lambda."""


@runtime_checkable
class LinearOperator(Protocol):
    """A linear map ``A`` between tensors, with its adjoint.

    ``A_adjoint`` *is* the adjoint for the real inner product: ``<A x, y> = <x, A_adjoint y>``, where
    ``<u, v> = Re sum(conj(u) v)``. A back-projector that is not the adjoint does not bear that name: it is
    handed to :class:`recon.operators.LeastSquares` as ``surrogate``.
    :func:`recon.operators.adjoint_gap` measures how far a pair is from the contract.

    The names are deepinv's own, so every ``deepinv.physics.LinearPhysics`` is a ``LinearOperator``.
    """

    def A(self, x: Tensor) -> Tensor: ...

    def A_adjoint(self, y: Tensor) -> Tensor: ...


Update = Callable[[Tensor, Tensor, int], Tensor]
"""From some rows of a dual variable, the same rows of ``A x`` and the first of them to these rows of the new one."""


@runtime_checkable
class Sweeps(Protocol):
    """An operator that goes through its range part by part, so that a part and what is made of it stay in the cache."""

    def sweep(self, x: Tensor, u: Tensor, update: Update) -> tuple[Tensor, Tensor]:
        """``v = update(u, A x)``, for an update that acts on each place of the range by itself, and ``A_adjoint v``."""
