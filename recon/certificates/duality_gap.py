"""Duality gap of an image: how far its energy ||A x - y||^2 / 2 + g(x) is at most above the least one."""

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from recon.certificates.error_bounds import ROUNDINGS, norms, refusal
from recon.errors import UsageError
from recon.evidence import Evidence, finite_or_none, from_above, from_below, weakest
from recon.operators import LeastSquares, OperatorProperties, operator_properties
from recon.priors import Prior, SparseTerm
from recon.priors.closed_forms import number_of

MOST_FREE = 64
"""Free coefficients of a channel up to which A on them is written out as a matrix, for its least singular value."""

USEFUL = 10.0
"""On the scale of the solver: a distance beyond it is longer than most images, and not worth a word."""

_INNER_STEPS = 200
_NEGLIGIBLE = 1e-9
"""The part of the energy that an imperfectly feasible dual point may cost: what more conjugate gradients would win."""

_SINGULAR = 1e-8
"""Relative to the largest eigenvalue: a smaller one may be zero, and its rounding."""


@final
@dataclass(frozen=True)
class DualityGap:
    """An upper bound of F(x) - min F, F = ||A . - y||^2 / 2 + g, of one image.

    Attributes:
        value: The bound, its rounding included; infinite where nothing can be said.
        relative: The same over F(x).
        objective: F(x), on the scale of the solver.
        distance: A bound of ||x - x*|| where F is strongly convex; else infinite.
        evidence: The weakest of what entered.
        how: The formula, or why nothing can be said.
    """

    value: float
    relative: float
    objective: float
    distance: float
    evidence: Evidence
    how: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values, an infinite bound as null."""
        numbers = ("value", "relative", "objective", "distance")
        finite = {name: finite_or_none(getattr(self, name)) for name in numbers}
        return {**finite, "evidence": self.evidence.value, "how": self.how}

    def __str__(self) -> str:
        if math.isinf(self.value):
            return f"not bounded: {self.how}"
        near = f"; the image within {self.distance:.3g} of the minimiser" if self.distance < USEFUL else ""
        return (
            f"at most {self.value:.3g} above the least energy, {100 * self.relative:.2g} % of its own{near} "
            f"({self.evidence}: {self.how})"
        )


@torch.no_grad()
def duality_gap(
    data: LeastSquares, prior: Prior, x: Tensor, properties: OperatorProperties | None = None
) -> tuple[DualityGap, ...]:
    """Bounds of F(x) - min F for F = ||A . - y||^2 / 2 + g, one a batch item.

    *Theorem* (Fenchel and Rockafellar). For every u, min F >= -||u||^2 / 2 - <u, y> - g*(-A^T u), so that F(x) minus
    the right side bounds F(x) - min F. Here u is a multiple of the residual A x - y, the best one that is feasible:

    - g* finite everywhere (``w/2 ||x||^2``, a box, an elastic net): u = A x - y.
    - g = w ||W x||_1, W orthonormal: feasible is ``|W A^T u| <= w``.
    - g = w ||(W x)_P||_1 with free coefficients: feasible is besides that A^T u vanishes on the free ones. The
      projection of the residual on the complement of A V, V the space of free images, has that by conjugate gradients.
      What they leave, e = A^T u on V, lowers the bound by ||e|| R where R bounds the free part of a minimiser x*. From
      F(x*) <= F(x): ||A x* - y|| <= sqrt(2 F(x)) and the norm of the rest of x* is at most F(x)/w, so that
      R = (||y|| + sqrt(2 F(x)) + ||A|| F(x)/w) / c with c the least singular value of A on V, or
      R = (||y|| + sqrt(2 F(x))) / sqrt(m) with m the least eigenvalue of A^T A.

    Where F is m-strongly convex, ||x - x*||^2 <= 2 (F(x) - min F) / m.

    Numbers are in double precision where the operator takes it, and their rounding is added. The evidence is *proved*
    where R is, and the adjoint is; where c is not known, R is twice the norm of ``x`` and the gap *measured*.

    Args:
        data: A and y, with the exact adjoint.
        prior: g, by ``sparse`` or ``conjugate``, and ``value``.
        x: The images, (batch, ...).
        properties: Of A; ``None``: what it knows of itself, else measured.

    Raises:
        UsageError: There is a surrogate or a shift.
    """
    if data.surrogate is not None or data.shift:
        raise UsageError(
            f"duality_gap: there is a surrogate or a shift of {data.shift:g}; expected neither, because a map without "
            "an energy has no gap."
        )
    known = properties or operator_properties(data.operator, x[:1])
    reason = refusal(known)
    if prior.value is None or (prior.sparse is None and prior.conjugate is None) or prior.constraint is not None:
        reason = f"the conjugate of {prior.name} has no closed form here"
    if reason:
        return (DualityGap(math.inf, math.inf, math.inf, math.inf, Evidence.MEASURED, reason),) * x.shape[0]
    return _Gap(*_in_double(data, x), prior, known).bounds()


def _in_double(data: LeastSquares, x: Tensor) -> tuple[LeastSquares, Tensor]:
    """Data and images in double precision, where the operator takes it."""
    wide = torch.promote_types(x.dtype, torch.float64)
    doubled = LeastSquares(data.operator, data.measurement.to(torch.promote_types(data.measurement.dtype, wide)))
    try:
        rest = doubled.residual(x.to(wide))
        doubled.operator.A_adjoint(rest)
    except Exception:  # a user's own operator may be of single precision only
        return data, x
    return doubled, x.to(wide)


class _Gap:
    """The parts of a gap for a batch of images."""

    def __init__(self, data: LeastSquares, x: Tensor, prior: Prior, known: OperatorProperties) -> None:
        self.data, self.x, self.prior, self.known = data, x, prior, known
        self.rest = data.residual(x)
        self.norm = from_above(known.norm).value
        self.eps = ROUNDINGS * torch.finfo(x.dtype.to_real()).eps
        assert prior.value is not None  # noqa: S101  the caller sees to it
        self.energy = norms(self.rest) ** 2 / 2 + prior.value(x).double()

    def bounds(self) -> tuple[DualityGap, ...]:
        """The gap of each item."""
        evidence = weakest(self.known.adjoint_gap.evidence, self.known.norm.evidence)
        sparse = self.prior.sparse
        if sparse is None or self.prior.conjugate is not None:
            value, how = self._of_conjugate(), "F(x) + ||u||^2/2 + <u, y> + g*(-A^T u), u = A x - y"
        else:
            value, proved = self._of_sparse(sparse)
            how = "F(x) + ||u||^2/2 + <u, y>, u the best feasible multiple of A x - y"
            if not proved:
                evidence, how = Evidence.MEASURED, f"{how}; free coefficients of the minimiser taken as twice as large"
        return tuple(
            self._bound(*pair, evidence, how) for pair in zip(value.tolist(), self.energy.tolist(), strict=True)
        )

    def _bound(self, value: float, energy: float, evidence: Evidence, how: str) -> DualityGap:
        if not math.isfinite(value):
            return DualityGap(math.inf, math.inf, energy, math.inf, evidence, "the image, or its energy, is not finite")
        value = max(value, 0.0)
        relative = value / energy if energy else (math.inf if value else 0.0)
        strong = max(0.0, from_below(self.known.gram_min).value) * (1 - self.eps)
        if self.prior.multiple is not None:
            strong += from_below(self.prior.multiple).value
        if self.prior.strong is not None:
            strong += from_below(self.prior.strong).value
        distance = math.sqrt(2 * value / strong) if strong > 0 else math.inf
        if math.isfinite(distance) and self.known.gram_min.value > 0:
            evidence = weakest(evidence, self.known.gram_min.evidence)
        return DualityGap(value, relative, energy, distance, evidence, how)

    def _of_conjugate(self) -> Tensor:
        assert self.prior.conjugate is not None  # noqa: S101
        back = self.data.operator.A_adjoint(self.rest)
        return self._gap(self.rest, torch.ones_like(self.energy)) + self.prior.conjugate(-back).double()

    def _of_sparse(self, sparse: SparseTerm) -> tuple[Tensor, bool]:
        """The gap, and whether it is proved."""
        reach, proved = self._reach(sparse)
        u = self._feasible(sparse, reach)
        z = sparse.analyse(self.data.operator.A_adjoint(u))
        free = sparse.free(self.x.shape)
        slack = self.eps * self.norm * norms(u)
        steepest = _largest(sparse.penalised(z, self.x.shape)) + slack
        weight = number_of(sparse.weight)
        most = torch.where(steepest > 0, weight / steepest, torch.inf)
        inner, square = self._inner(u), norms(u) ** 2
        best = torch.where(square > 0, -inner / square, 0.0)
        scale = torch.minimum(best.abs(), most) * best.sign()
        value = self._gap(u, scale)
        if not free:
            return value, True
        left = norms(z[..., :free]) + slack
        return value + scale.abs() * left * reach, proved

    def _gap(self, u: Tensor, scale: Tensor) -> Tensor:
        """``F(x) + ||t u||^2 / 2 + <t u, y>`` with the rounding of its sums."""
        size, y = norms(u), norms(self.data.measurement)
        value = self.energy + (scale * size) ** 2 / 2 + scale * self._inner(u)
        terms = y + self.norm * norms(self.x)  # by which a residual may be off, times the rounding
        sums = self.energy + (scale * size) ** 2 + scale.abs() * size * terms
        return value + self.eps * (sums + norms(self.rest) * terms) + (self.eps * terms) ** 2

    def _inner(self, u: Tensor) -> Tensor:
        """``<u, y>``, the real inner product."""
        product = u.conj() * self.data.measurement if u.is_complex() else u * self.data.measurement
        return (product.real if product.is_complex() else product).flatten(1).double().sum(1)

    def _feasible(self, sparse: SparseTerm, reach: Tensor) -> Tensor:
        """The residual without its part in A V: ``u = r - A v``, ``P A^T A v = P A^T r`` by conjugate gradients."""
        free = sparse.free(self.x.shape)
        if not free:
            return self.rest
        operator, shape = self.data.operator, self.x.shape
        least = _NEGLIGIBLE * self.energy / reach.clamp(min=torch.finfo(torch.float64).tiny)

        def project(image: Tensor) -> Tensor:
            z = sparse.analyse(image)
            return sparse.synthesise(torch.cat([z[..., :free], torch.zeros_like(z[..., free:])], -1), shape)

        u = self.rest
        force = project(operator.A_adjoint(u))
        direction, square = force, norms(force) ** 2
        for _ in range(_INNER_STEPS):
            if bool((square.sqrt() <= least).all()):
                break
            image = operator.A(direction)
            curvature = norms(image) ** 2
            step = torch.where(curvature > 0, square / curvature, 0.0)
            u = u - _each(step, u) * image
            force = project(operator.A_adjoint(u))
            before, square = square, norms(force) ** 2
            ratio = torch.where(before > 0, square / before, 0.0)
            direction = force + _each(ratio, direction) * direction
        return u

    def _reach(self, sparse: SparseTerm) -> tuple[Tensor, bool]:
        """R, a bound of the free part of a minimiser, and whether it is proved."""
        y, energy = norms(self.data.measurement), self.energy
        moved = torch.sqrt(2 * energy)
        least = self.known.gram_min
        if least.evidence is Evidence.PROVED and least.value > _SINGULAR * self.norm**2:
            return (y + moved) / math.sqrt(from_below(least).value), True
        weight = number_of(sparse.weight)
        smallest = self._least_on_free(sparse) if weight > 0 else 0.0
        if smallest > 0:
            return (y + moved + self.norm * energy / weight) / smallest, True
        return 2 * norms(self.x), not sparse.free(self.x.shape)

    def _least_on_free(self, sparse: SparseTerm) -> float:
        """The least singular value of A on the free images, from the matrix written out; 0 where it is not known."""
        free = sparse.free(self.x.shape)
        if not 0 < free <= MOST_FREE or self.x.is_complex() or self.data.measurement.is_complex() or self.x.ndim != 4:
            return 0.0
        one = torch.zeros_like(self.x[:1, :1])
        count = sparse.analyse(one).shape[-1]
        units = torch.eye(free, count, dtype=one.dtype, device=one.device)[:, None]
        try:
            columns = self.data.operator.A(sparse.synthesise(units, one.shape)).flatten(1)
        except Exception:  # an operator of channels together, or one that takes no batch
            return 0.0
        if columns.shape[0] != free or self.x.dtype is not torch.float64:
            return 0.0
        values = torch.linalg.eigvalsh(columns @ columns.T)
        low, high = float(values[0]), float(values[-1])
        return math.sqrt(low - _SINGULAR * high) if low > 2 * _SINGULAR * high else 0.0


def _largest(z: Tensor) -> Tensor:
    """The largest modulus of each item."""
    flat = z.abs().flatten(1).double()
    return flat.amax(1) if flat.shape[1] else flat.new_zeros(flat.shape[0])


def _each(factor: Tensor, like: Tensor) -> Tensor:
    """A factor for each item, shaped to multiply."""
    return factor.to(like.real.dtype if like.is_complex() else like.dtype).view(-1, *[1] * (like.ndim - 1))
