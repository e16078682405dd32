"""Total variation: its value, its proximity operator to a proved accuracy, and its splitting."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, final

import torch
from torch import Tensor

from recon._values import remembered
from recon.errors import GuaranteeError, UsageError
from recon.evidence import Proved
from recon.operators.rounding import LEAST, gamma, norms_of
from recon.priors.closed_forms import ATTAINS_SEMINORM, EVERYWHERE, check_weight
from recon.priors.finite_differences import FiniteDifferences
from recon.priors.resolvent import Resolvent, proximity_operator
from recon.priors.split import Split
from recon.priors.total_variation_gap import distance_bound

MOMENTUM = 8.0
"""The parameter a > 2 of Chambolle and Dossal (2015); of 2 to 40 the one with the smallest gaps on photographs."""

_SQUARABLE = 1e-12
"""Weights from here to its inverse have squares, and rounding units of squares, in single precision."""

FIRST_CHECK, CHECK_FRACTION = 10, 8
"""The duality gap is evaluated every ten steps, later each time the steps have grown by an eighth."""

_ERROR = (
    "the duality gap of every call bounds its error, up to the rounding of the result; it is computed in double "
    "precision with the worst case of rounding; a call that misses the accuracy raises"
)

Spacing = tuple[float, ...]

FLAT: Spacing = (1.0, 1.0)
"""The spacing of an image of square pixels."""


@final
@dataclass(frozen=True)
class VariationTerm:
    """The penalty ``w TV`` of images or volumes, each channel by itself, and the bounds of their values.

    Attributes:
        weight: w.
        isotropic: Whether the differences of a place are one vector.
        spacing: The distance of two neighbours along each axis, by which differences are divided.
        bounds: (low, high), infinite where there is none.
    """

    weight: float
    isotropic: bool
    spacing: tuple[float, ...]
    bounds: tuple[float, float] = (-math.inf, math.inf)


def total_variation_value(
    x: Tensor, isotropic: bool = True, joint: bool = False, spacing: Spacing = FLAT, mask: Tensor | None = None
) -> Tensor:
    """The total variation of each batch item, shape ``(batch,)``.

    The sum over the pixels of the l2 norm (isotropic) or of the l1 norm (anisotropic) of the forward differences.

    Args:
        x: Images ``(batch, channels, height, width)``, real or complex (a complex difference counts by its modulus);
            with a spacing of three lengths volumes ``(batch, channels, slices, height, width)``.
        isotropic: Whether the two directions are joined in one norm.
        joint: Whether the channels are joined in one norm, so that edges favour the same place in each; else the
            total variations of the channels are added.
        spacing: The distance of two neighbours along each axis of an image, by which their difference is divided.
        mask: The weight of the norm at each pixel, ``(batch or 1, 1, height, width)``, positive; ``None``: 1.
    """
    grouped = _grouped(x, joint, spacing)
    weights = None if mask is None else _fitting(mask, x, len(spacing)).unsqueeze(1)
    return _magnitude(_differences(grouped, spacing), isotropic, weights)


@remembered
def total_variation(  # noqa: PLR0913, PLR0917  each is an independent choice of the caller
    weight: float,
    isotropic: bool = True,
    accuracy: float = 1e-4,
    max_steps: int = 10_000,
    joint: bool = False,
    spacing: Spacing = FLAT,
    mask: Tensor | None = None,
) -> Resolvent:
    """The proximity operator of ``w TV``, each call to a proved accuracy: ``||J(x) - prox(x)|| <= accuracy ||x||``.

    The dual problem, ``min ||x - w D^T p||^2`` over fields of unit balls, is solved by accelerated projected
    gradient (Beck and Teboulle 2009, with the momentum of Chambolle and Dossal 2015). Each batch item stops when the
    duality gap allows it: with ``z = x - w D^T p``, both ``P(z) - P*`` and ``D* - D(p)`` are at least
    ``||z - prox(x)||^2 / 2``, so the gap, ``w TV(z) - w <Dz, p>``, is at least ``||z - prox(x)||^2``. The gap is
    evaluated in double precision, with the worst case of its rounding (:mod:`.total_variation_gap`); the steps are
    taken in single where its rounding cannot keep the gap from closing.
    With a mask m the balls have the radius m(p) at each pixel, and the gap is that of the masked penalty.

    Nothing is kept between calls. No gradient flows through a call. An item with a pixel that is not finite is
    returned as it is, for the solver to report.

    Args:
        weight: w, in the units of the image; at least zero.
        isotropic: See :func:`total_variation_value`.
        accuracy: The bound of the error relative to the norm of the input, for each batch item.
        max_steps: The budget of dual steps of one call.
        joint: See :func:`total_variation_value`.
        spacing: See :func:`total_variation_value`.
        mask: See :func:`total_variation_value`; constant, as made from a guide.

    Raises:
        UsageError: An argument is outside its range; when called: an image has another size than the mask.
        GuaranteeError: When called: the budget is spent before the accuracy is reached.
    """
    check_weight("total_variation", weight)
    if not 0 < accuracy < 1:
        raise UsageError(f"total_variation: accuracy={accuracy!r}; expected a number between 0 and 1, both excluded.")
    if max_steps < 1:
        raise UsageError(f"total_variation: max_steps={max_steps!r}; expected at least 1.")
    check_mask("total_variation", mask, len(spacing))
    plain = _Penalty(weight, isotropic, spacing)

    def apply(x: Tensor) -> Tensor:
        with torch.no_grad():
            penalty = plain if mask is None else plain.masked(_fitting(mask, x, len(spacing)).double().unsqueeze(1))
            solution = _solve(_grouped(x, joint, spacing), penalty, accuracy, max_steps)
        return _ungrouped(solution, x, len(spacing))

    error = Proved(accuracy, _ERROR)
    kind = "isotropic" if isotropic else "anisotropic"
    shape = "" if spacing == FLAT else f", spacing={spacing}"
    given = "" if mask is None else ", given the guide"
    name = f"total_variation({weight:g}, {kind}{', joint' if joint else ''}{shape}{given})"
    return proximity_operator(
        apply, name, attains=ATTAINS_SEMINORM, everywhere=EVERYWHERE, error=error, differentiable=False
    )


@remembered
def total_variation_split(  # noqa: PLR0913, PLR0917  the options of total_variation, and the size
    weight: float,
    isotropic: bool = True,
    image_shape: tuple[int, ...] | None = None,
    joint: bool = False,
    spacing: Spacing = FLAT,
    mask: Tensor | None = None,
) -> Split:
    """``w TV`` as ``g(D x)``: the finite differences D, and the proximity operator of ``s g*``.

    That is the projection of each dual vector on the ball of radius w, with a mask of radius w m(p), whatever s;
    nothing is iterated inside.

    Args:
        weight: w, in the units of the image; at least zero.
        isotropic: See :func:`total_variation_value`.
        image_shape: ``(height, width)`` makes the norm of D exact; left out, images of every size are taken.
        joint: See :func:`total_variation_value`.
        spacing: See :func:`total_variation_value`.
        mask: See :func:`total_variation_value`.

    Raises:
        UsageError: The weight is negative or not finite, or the spacing is not that of such an image.
    """
    check_weight("total_variation_split", weight)
    differences = FiniteDifferences(image_shape or (-1,) * len(spacing), spacing)
    return Split(differences, partial(_at_any_step, dual_ball(weight, isotropic, joint, len(spacing), mask)))


def _at_any_step(projection: Resolvent, stepsize: float) -> Resolvent:
    return projection


@remembered
def dual_ball(
    weight: float, isotropic: bool = True, joint: bool = False, rank: int = 2, mask: Tensor | None = None
) -> Resolvent:
    """The projection of a field of differences on the dual ball of ``w TV``: each of its vectors on that of radius w.

    With a mask the radius is w m(p) at each pixel.

    Args:
        weight: w, at least zero.
        isotropic: Whether the differences along all axes are one vector.
        joint: Whether those of all channels are.
        rank: The number of axes.
        mask: m, see :func:`total_variation_value`; positive.
    """
    check_mask("dual_ball", mask, rank)
    unit = 1.0 if not weight or _SQUARABLE <= weight <= 1 / _SQUARABLE else weight
    radius = weight / unit
    inverse = None if mask is None or not weight else (radius * mask.double()).square_().reciprocal_().to(mask.dtype)
    smallest = max(radius**2, torch.finfo(torch.float32).tiny)  # lest 0 / 0 be met where the weight is 0

    def project(field: Tensor) -> Tensor:
        p = field if unit == 1 else field / unit
        if isotropic:
            first, *others = p.unbind(-rank - 1)
            square = _add_square(None, first)
            for other in others:
                square = _add_square(square, other)
            square = square.unsqueeze(-rank - 1)
        else:
            square = _add_square(None, p)
        if joint:
            square = square.sum(1, keepdim=True)
        if inverse is not None:
            leading = [1] * (field.ndim - rank - 1)
            places = _fitting(inverse, field, rank).view(inverse.shape[0], *leading, *inverse.shape[2:])
            if field.requires_grad:  # autograd needs what would be written over
                return field * (square * places).clamp(min=1).rsqrt()
            return field * square.mul_(places).clamp_(min=1).rsqrt_()
        if field.requires_grad:
            return field * (radius * square.clamp(min=smallest).rsqrt())
        return field * square.clamp_(min=smallest).rsqrt_().mul_(radius)

    given = "" if mask is None else " times the mask, given the guide"
    return proximity_operator(project, f"projection(radius={weight:g}{given})", attains=None)


def _add_square(total: Tensor | None, part: Tensor) -> Tensor:
    """``total + |part|^2``, in place; a new tensor where there is no total yet."""
    if part.is_complex():
        square = part.real.square().addcmul_(part.imag, part.imag)
        return square if total is None else total.add_(square)
    return part * part if total is None else total.addcmul_(part, part)


@dataclass(frozen=True)
class _Penalty:
    """``w TV`` of grouped images.

    Attributes:
        weight: w.
        isotropic: See :func:`total_variation_value`.
        spacing: Likewise.
        mask: Likewise, ``(batch or 1, 1, 1, height, width)``, in double precision; ``None``: 1.
    """

    weight: float
    isotropic: bool
    spacing: Spacing
    mask: Tensor | None = None

    @property
    def axes(self) -> tuple[int, ...]:
        """Of an image, counted from the last axis of a tensor."""
        return tuple(range(-len(self.spacing), 0))

    def along(self, v: Tensor) -> Iterator[tuple[int, int, float]]:
        """For each direction its axis, the last item along it, and the weight of its differences."""
        return ((axis, v.shape[axis] - 1, 1 / h) for axis, h in zip(self.axes, self.spacing, strict=True))

    def masked(self, mask: Tensor) -> "_Penalty":
        """It with another mask."""
        return replace(self, mask=mask)

    def of(self, items: Tensor) -> "_Penalty":
        """It for some items of the batch."""
        return self if self.mask is None or len(self.mask) == 1 else self.masked(self.mask[items])

    @property
    def largest(self) -> float:
        """Weight of any pixel."""
        return self.weight if self.mask is None or not len(self.mask) else self.weight * float(self.mask.max())

    def norm_of(self, lengths: Tensor) -> Tensor:
        """Of the mask over as many vectors as there are lengths, ``(batch or 1,)``."""
        if self.mask is None:
            return lengths.new_full((1,), math.sqrt(lengths[:1].numel()))
        return math.sqrt(lengths[:1].numel() / max(1, self.mask[:1].numel())) * norms_of(self.mask)

    def balls(self, dtype: torch.dtype) -> "_Balls | None":
        """Those of a dual field; ``None``: unit balls."""
        return None if self.mask is None else _Balls(self.mask.to(dtype), self.mask.square().reciprocal_().to(dtype))


class _Balls(NamedTuple):
    """Balls of the radius m(p) at each pixel.

    Attributes:
        radius: m.
        inverse_square: Of m.
    """

    radius: Tensor
    inverse_square: Tensor


def _solve(v: Tensor, penalty: _Penalty, accuracy: float, max_steps: int) -> Tensor:
    """The proximity operator at grouped images ``v``, in double precision."""
    exact = v.double()
    sizes = norms_of(exact)
    noise = 2 * penalty.largest * torch.finfo(torch.float32).eps * exact.abs().flatten(1).sum(1)
    fine = v.dtype == torch.float64 or bool((noise > (accuracy * sizes).square()).any())
    work = exact if fine else v.float()

    flat = _flattened(exact, penalty) & (gamma(exact[:1].numel()) <= accuracy)
    solution = torch.where(flat.view(-1, *[1] * (v.ndim - 1)), exact.mean(penalty.axes, keepdim=True), exact)
    finite = exact.isfinite().flatten(1).all(1)  # what is not stays as it is
    active = (~flat & finite).nonzero().squeeze(1)
    exact, work, sizes, penalty = exact[active], work[active], sizes[active], penalty.of(active)
    p = work.new_zeros(len(penalty.spacing), *work.shape)
    q, steps = p.clone(), 0
    while True:
        z, bounds = _certified(exact, p, penalty, sizes)
        finished = (bounds <= accuracy * sizes) & bounds.isfinite()
        if bool(finished.any()):
            kept = (~finished).nonzero().squeeze(1)
            if steps:  # at the first check p = 0 and the images are their own solutions
                solution[active[finished]] = z[finished]
            active, exact, work, sizes = active[kept], exact[kept], work[kept], sizes[kept]
            p, q = p.index_select(1, kept), q.index_select(1, kept)
            bounds, penalty = bounds[kept], penalty.of(kept)
        if not len(active):
            return solution
        if steps >= max_steps:
            raise _missed(active, bounds / sizes, accuracy, steps)
        until = min(max_steps, steps + max(FIRST_CHECK, steps // CHECK_FRACTION))
        p, q = _advance(work, p, q, penalty, range(steps, until))
        steps = until


def _flattened(v: Tensor, penalty: _Penalty) -> Tensor:
    """Return which items the weight flattens to the mean of each channel, by a dual field that proves it.

    Sums along each line, then of the lines' means along the next axis, and so on, give a field with
    ``D^T p = v - mean``. Where it fits in the balls of radius w the gap is zero. Without this, an image far below the
    weight (a solver's first iterate, say) would need a gap that floating point cannot resolve. A mean and a sum of so
    many numbers are off by at most ``g_n`` of their sizes (:func:`recon.operators.rounding.gamma`), and squares that
    underflow lose 2^-1074.
    """
    field, within = [], v.mean(penalty.axes, keepdim=True)
    longest = 0.0
    for place, (axis, h) in enumerate(zip(penalty.axes, penalty.spacing, strict=True)):
        inner = penalty.axes[place + 1 :]
        means = v.mean(inner, keepdim=True) if inner else v
        field.append(h * (means - within).cumsum(axis).expand_as(v))
        within, longest = means, max(longest, h * v.shape[axis])
    lengths = _lengths(torch.stack(field), penalty.isotropic)
    components = len(field) * v.shape[2]
    largest = v.abs().flatten(1).amax(1) if v.numel() else v.new_zeros(len(v))
    rounding = components**0.5 * (8 * gamma(v[:1].numel() + 64) * longest * largest + math.sqrt(LEAST))
    rounding = rounding.view(-1, *[1] * (lengths.ndim - 1))
    if penalty.mask is not None:
        mask = penalty.mask if penalty.isotropic else penalty.mask.unsqueeze(1)
        lengths, rounding = lengths / mask, rounding / mask
    fits: Tensor = (lengths + rounding).flatten(1).amax(1) <= penalty.weight * (1 - gamma(4))
    return fits


def _advance(v: Tensor, p: Tensor, q: Tensor, penalty: _Penalty, steps: range) -> tuple[Tensor, Tensor]:
    """Accelerated projected gradient steps on the dual fields ``p``, extrapolated to ``q``; both are overwritten."""
    norm = FiniteDifferences(tuple(v.shape[penalty.axes[0] :]), penalty.spacing).properties.norm.value
    stepsize = 1 / (penalty.weight * norm**2)
    x, scratch, balls = torch.empty_like(v), torch.empty_like(v), penalty.balls(v.dtype)
    for k in steps:
        _primal(v, q, penalty, out=x)
        for part, (axis, last, scale) in zip(q, penalty.along(v), strict=True):
            inner = part.narrow(axis, 0, last).add_(x.narrow(axis, 1, last), alpha=stepsize * scale)
            inner.sub_(x.narrow(axis, 0, last), alpha=stepsize * scale)
        _project(q, penalty.isotropic, scratch, balls)
        p.lerp_(q, 1 + k / (k + 1 + MOMENTUM))
        p, q = q, p
    return p, q


def _primal(v: Tensor, p: Tensor, penalty: _Penalty, out: Tensor) -> Tensor:
    """``v - w D^T p``; the last items of each part of ``p`` along its own axis are zero."""
    directions = [
        (part, axis, last, penalty.weight * scale)
        for part, (axis, last, scale) in zip(p, penalty.along(v), strict=True)
    ]
    into = v
    for part, _, _, alpha in directions:
        torch.add(into, part, alpha=alpha, out=out)
        into = out
    for part, axis, last, alpha in directions:
        out.narrow(axis, 1, last).sub_(part.narrow(axis, 0, last), alpha=alpha)
    return out


def _project(q: Tensor, isotropic: bool, scratch: Tensor, balls: _Balls | None = None) -> None:
    """Each dual vector, joined over directions (isotropic) and over dimension 2, to its ball, in place.

    Written without ``norm`` over a short dimension, which torch does hundreds of times slower.
    """
    joined = q.shape[3] > 1
    if not isotropic and not joined:
        if balls is None:
            q.clamp_(-1, 1)
        else:
            q.clamp_(-balls.radius, balls.radius)
        return
    for fields in [tuple(q)] if isotropic else [(part,) for part in q]:
        torch.mul(fields[0], fields[0], out=scratch)
        for other in fields[1:]:
            scratch.addcmul_(other, other)
        square = scratch.sum(2, keepdim=True) if joined else scratch
        if balls is not None:
            square.mul_(balls.inverse_square)
        shrink = square.clamp_(min=1).rsqrt_()
        for each in fields:
            each.mul_(shrink)


def _certified(v: Tensor, p: Tensor, penalty: _Penalty, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """The primal point of a dual field, and a bound of its distance from the exact one for each item."""
    if p.dtype != torch.float64:
        p = p.double()
        _project(p, penalty.isotropic, torch.empty_like(v), penalty.balls(p.dtype))  # rounding left it slightly outside
    z = _primal(v, p, penalty, out=torch.empty_like(v))
    differences, rank = _differences(z, penalty.spacing), len(penalty.spacing)
    masked = _masked(_lengths(differences, penalty.isotropic), penalty.isotropic, penalty.mask)
    inner = differences.mul_(p)
    inner = inner.sum(0) if penalty.isotropic else inner.transpose(0, 1)
    inner = inner.sum(-rank - 1)
    norm = FiniteDifferences(tuple(v.shape[penalty.axes[0] :]), penalty.spacing).properties.norm.value
    components = v.shape[2] * (rank if penalty.isotropic else 1)
    return z, distance_bound(sizes, penalty.weight, masked, inner, penalty.norm_of(masked), norm, components, rank)


def _missed(items: Tensor, bounds: Tensor, accuracy: float, steps: int) -> GuaranteeError:
    worst = int(bounds.argmax())
    return GuaranteeError(
        f"total_variation: after {steps} dual steps the relative error of item {int(items[worst])} is only known to be "
        f"below {float(bounds[worst]):.2g}; expected accuracy={accuracy:g}: raise max_steps or ask for less accuracy."
    )


def _differences(v: Tensor, spacing: Spacing) -> Tensor:
    """The forward differences of grouped images, direction first."""
    return FiniteDifferences((-1,) * len(spacing), spacing).A(v).movedim(-len(spacing) - 1, 0)


def _magnitude(differences: Tensor, isotropic: bool, mask: Tensor | None = None) -> Tensor:
    """The sum over pixels of the joint length of the differences of grouped images times a mask, for each item."""
    return _masked(_lengths(differences, isotropic), isotropic, mask).flatten(1).sum(1)


def _masked(lengths: Tensor, isotropic: bool, mask: Tensor | None) -> Tensor:
    return lengths if mask is None else lengths * (mask if isotropic else mask.unsqueeze(1))


def _lengths(field: Tensor, isotropic: bool) -> Tensor:
    """The joint length of the vectors of a field, direction first, over directions (isotropic) and joined channels.

    ``(batch, independent, 1, height, width)``; for each direction where they are not joined, after the batch.
    """
    square = field * field
    square = sum(square[1:], square[0]) if isotropic else square.transpose(0, 1)
    if isotropic:
        square = square.sum(2, keepdim=True) if square.shape[2] > 1 else square
    else:
        square = square.sum(3, keepdim=True) if square.shape[3] > 1 else square
    return square.sqrt()


def _grouped(x: Tensor, joint: bool, spacing: Spacing) -> Tensor:
    """Images as real ``(batch, independent, joined, height, width)``; volumes with their slices before the height."""
    rank = len(spacing)
    if x.ndim < rank + 1 or not (x.is_floating_point() or x.is_complex()):
        raise UsageError(
            f"total_variation: the image has shape {tuple(x.shape)} and type {x.dtype}; expected real or complex "
            f"(batch, channels, {'slices, ' * (rank == 3)}height, width)."
        )
    real = torch.view_as_real(x).movedim(-1, -rank - 1) if x.is_complex() else x.unsqueeze(-rank - 1)
    real = real.flatten(1, -rank - 2) if real.ndim > rank + 2 else real.unsqueeze(1)
    return real.flatten(1, 2).unsqueeze(1) if joint else real


def check_mask(function: str, mask: Tensor | None, rank: int) -> None:
    """Refuse a mask that is not ``(batch, 1, height, width)``, positive and finite.

    Raises:
        UsageError: It is not.
    """
    if mask is None:
        return
    if mask.ndim != rank + 2 or mask.shape[1] != 1 or mask.is_complex() or not mask.is_floating_point():
        raise UsageError(
            f"{function}: the mask has shape {tuple(mask.shape)} and type {mask.dtype}; expected real (batch, 1, "
            f"{'slices, ' * (rank == 3)}height, width), because all channels share it."
        )
    if not bool(((mask > 0) & mask.isfinite()).all()):
        raise UsageError(
            f"{function}: the mask has values from {float(mask.min()):g} to {float(mask.max()):g}; expected positive "
            "finite ones, because no other weights make a penalty of every image."
        )


def _fitting(mask: Tensor, x: Tensor, rank: int) -> Tensor:
    """The mask where images, or their differences, are; refused where they have another size."""
    if mask.shape[2:] != x.shape[-rank:] or len(mask) not in {1, len(x)}:
        raise UsageError(
            f"total_variation: the image has shape {tuple(x.shape)} and the mask {tuple(mask.shape)}; expected one "
            "size and one number of images, because the mask weighs each pixel: take a guide of the size of the image."
        )
    return mask.to(x.device)


def _ungrouped(solution: Tensor, like: Tensor, rank: int) -> Tensor:
    """Grouped images back in the shape, precision and kind of ``like``."""
    if not like.is_complex():
        return solution.reshape(like.shape).to(like.dtype)
    shape = (*like.shape[:-rank], 2, *like.shape[-rank:])
    return torch.view_as_complex(solution.reshape(shape).movedim(-rank - 1, -1).contiguous()).to(like.dtype)
