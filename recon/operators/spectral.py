"""Norms and extreme eigenvalues of maps that are known only by their action.

A Lanczos run gives Ritz values: numbers between the extreme eigenvalues, each within its residual of a true one.
They are lower bounds of a norm and upper bounds of a smallest eigenvalue, so they can refute a claim and never prove
one: everything here returns :class:`recon.evidence.Measured`. Sources: Lanczos (1950); Parlett, *The Symmetric
Eigenvalue Problem*, section 13 (residual bounds); Wu and Simon (2000) for the thick restart.

Starting vectors come from a generator of its own, so the global random stream is left as it was.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.evidence import Measured
from recon.types import LinearOperator, Map

BASIS = 40
"""Vectors kept at once: the memory of a run is this many images."""

_FAR = 1e-5
"""Sizes of a map from here to its inverse have fourth powers in single precision."""

SOON = 8
"""Applications after which a map that has shown nothing but negligible eigenvalues is left.

A random start in dimension N meets the largest eigenvalue after one application at about 1/sqrt(N) of its size, and
each further one brings it out: what is a thousand times above the negligible cannot stay below it for eight.
"""


@dataclass(frozen=True)
class Effort:
    """The effort of an iteration: tolerance and budget.

    Attributes:
        tolerance: The relative residual at which to stop.
        applications: The budget of applications of the symmetric map.
        seed: Of the starting vector.
        negligible: Eigenvalues up to this do not matter: a run that has met nothing larger soon stops.
    """

    tolerance: float = 1e-3
    applications: int = 400
    seed: int = 0
    negligible: float = 0.0


DEFAULT = Effort()


@dataclass(frozen=True)
class RitzPair:
    """An approximate eigenpair: some eigenvalue lies within ``residual`` of ``value``."""

    value: float
    vector: Tensor
    residual: float
    applications: int


def norm(operator: LinearOperator, example: Tensor, effort: Effort = DEFAULT) -> Measured:
    """A lower bound of ||A||, by Lanczos on A^T A, with the radius that its residual gives.

    Args:
        operator: The operator; its adjoint must be exact.
        example: A tensor of the shape, dtype and device that ``A`` takes; its values do not matter.
        effort: When to stop.
    """
    return map_norm(operator.A, operator.A_adjoint, example, effort)


def map_norm(forward: Map, transpose: Map, example: Tensor, effort: Effort = DEFAULT) -> Measured:
    """A lower bound of the norm of the linear map ``forward``, whose transpose is ``transpose``; see :func:`norm`."""
    unit = _unit_of(forward, example, effort.seed)
    scaled = replace(effort, negligible=effort.negligible / unit**2)
    pair = extreme(lambda x: transpose(forward(x) / unit) / unit, example, largest=True, effort=scaled)
    value = math.sqrt(max(pair.value, 0.0))
    # For a singular value s >= 0, |s^2 - value^2| <= r gives |s - value| <= r / value, and <= sqrt(r) in any case.
    error = min(pair.residual / value, math.sqrt(pair.residual)) if value else math.sqrt(pair.residual)
    return Measured(unit * value, f"Lanczos, {pair.applications} applications: a lower bound", unit * error)


def _unit_of(forward: Map, example: Tensor, seed: int) -> float:
    """A power of two near the size of a map that is far from 1, by which it is divided: else squares of its square
    vanish or overflow in single precision."""
    flat = _Flat(forward, example)
    x = flat.random(seed)
    with torch.no_grad():
        image = forward(flat.tensor(x))
    parts = torch.view_as_real(image) if image.is_complex() else image
    size = float(torch.linalg.vector_norm(parts.double()) / torch.linalg.vector_norm(x.double()))
    if not 0 < size < math.inf or _FAR <= size <= 1 / _FAR:
        return 1.0
    return 2.0 ** round(math.log2(size))


def extreme_eigenvalues(symmetric: Map, example: Tensor, effort: Effort = DEFAULT) -> tuple[Measured, Measured]:
    """The smallest and the largest eigenvalue of a symmetric map: an upper and a lower bound of them.

    The tolerance is relative to the larger of the two in modulus. Arguments as in :func:`norm`.
    """
    low = extreme(symmetric, example, largest=False, effort=effort)
    high = extreme(symmetric, example, largest=True, effort=effort)
    return (
        Measured(low.value, f"Lanczos, {low.applications} applications: an upper bound", low.residual),
        Measured(high.value, f"Lanczos, {high.applications} applications: a lower bound", high.residual),
    )


def extreme(
    symmetric: Map, example: Tensor, *, largest: bool, effort: Effort = DEFAULT, start: Tensor | None = None
) -> RitzPair:
    """The extreme eigenpair of a symmetric map, by thick-restart Lanczos with full re-orthogonalisation.

    All entries of ``example`` together are one vector, with the real inner product. Scale-free: the tolerance is
    relative to the largest Ritz value in modulus. The residual returned is that of the vector returned, computed by
    one application more.

    Args:
        symmetric: The map.
        example: A tensor of the shape, dtype and device that it takes.
        largest: Which end of the spectrum.
        effort: When to stop.
        start: A starting vector, instead of a random one.

    Raises:
        UsageError: The map gave NaN or infinity.
    """
    flat = _Flat(symmetric, example)
    vector = flat.random(effort.seed) if start is None else flat.vector(start)
    run = _Lanczos(flat.apply, vector / vector.norm(), largest)
    while not run.exhausted and run.applications < effort.applications:
        if run.residual <= effort.tolerance * run.scale:
            break
        if run.applications >= SOON and run.scale <= effort.negligible:
            break
        run.extend()
    best = run.ritz_vector()
    image = flat.apply(best)
    value = float(best @ image)
    return RitzPair(value, flat.tensor(best), float((image - value * best).norm()), run.applications + 1)


@dataclass(frozen=True)
class _Flat:
    """A map of tensors seen as a map of real vectors."""

    map: Map
    example: Tensor

    def vector(self, x: Tensor) -> Tensor:
        return (torch.view_as_real(x) if x.is_complex() else x).reshape(-1)

    def tensor(self, vector: Tensor) -> Tensor:
        if self.example.is_complex():
            return torch.view_as_complex(vector.reshape(*self.example.shape, 2))
        return vector.reshape(self.example.shape)

    def random(self, seed: int) -> Tensor:
        drawn = torch.randn(self.example.shape, generator=torch.Generator().manual_seed(seed), dtype=self.example.dtype)
        return self.vector(drawn.to(self.example.device))

    def apply(self, vector: Tensor) -> Tensor:
        with torch.no_grad():
            image = self.vector(self.map(self.tensor(vector)))
        if not math.isfinite(float(image.norm())):
            raise UsageError("spectral: the map gave NaN or infinity on a vector of unit norm; expected a linear map.")
        return image


class _Lanczos:
    """An orthonormal basis V, the projected matrix V^T A V, and the remainder that A V leaves outside of V.

    The projected matrix is filled from inner products, so that a restart from Ritz vectors needs no special case.
    """

    def __init__(self, apply: Map, start: Tensor, largest: bool) -> None:
        self.apply, self.pick = apply, -1 if largest else 0
        self.capacity = min(BASIS, start.numel())
        self.basis = start.new_empty(self.capacity, start.numel())
        self.projected = torch.zeros(self.capacity, self.capacity, dtype=torch.float64)
        self.size = self.applications = 0
        self._append(start)

    def extend(self) -> None:
        if self.size == self.capacity:
            self._restart()
        self._append(self.remainder / self.remainder_norm)

    def _append(self, vector: Tensor) -> None:
        k = self.size
        self.basis[k] = vector
        image = self.apply(vector)
        members = self.basis[: k + 1]
        column = members @ image
        remainder = image - column @ members
        self.remainder = remainder - (members @ remainder) @ members  # twice is enough (Parlett, section 6.9)
        self.remainder_norm = float(self.remainder.norm())
        self.projected[: k + 1, k] = self.projected[k, : k + 1] = column.double().cpu()
        self.size, self.applications = k + 1, self.applications + 1
        self.values, self.weights = torch.linalg.eigh(self.projected[: k + 1, : k + 1])

    @property
    def scale(self) -> float:
        """The largest Ritz value in modulus."""
        return float(self.values.abs().max())

    @property
    def residual(self) -> float:
        """||A y - value y|| of the wanted Ritz pair."""
        return self.remainder_norm * abs(float(self.weights[-1, self.pick]))

    @property
    def exhausted(self) -> bool:
        """Whether the basis spans an invariant subspace, up to rounding."""
        return self.remainder_norm <= 4 * torch.finfo(self.basis.dtype).eps * self.scale

    def ritz_vector(self) -> Tensor:
        weights = self.weights[:, self.pick].to(self.basis)
        vector = weights @ self.basis[: self.size]
        unit: Tensor = vector / vector.norm()
        return unit

    def _restart(self) -> None:
        """Keep the Ritz vectors of the wanted half of the spectrum (thick restart)."""
        kept = self.capacity // 2
        wanted = slice(-kept, None) if self.pick else slice(kept)
        self.basis[:kept] = self.weights[:, wanted].T.to(self.basis) @ self.basis
        self.projected = torch.zeros_like(self.projected)
        self.projected[range(kept), range(kept)] = self.values[wanted]
        self.size = kept
