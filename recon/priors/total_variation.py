"""Total variation: its value, its proximity operator to a proved accuracy, and its splitting."""

import torch
from torch import Tensor

from recon.errors import GuaranteeError, UsageError
from recon.evidence import Proved
from recon.priors.closed_forms import ATTAINS_SEMINORM, EVERYWHERE, check_weight
from recon.priors.finite_differences import ANY_SIZE, FiniteDifferences
from recon.priors.resolvent import Resolvent, proximity_operator
from recon.priors.split import Split

MOMENTUM = 8.0
"""The parameter a > 2 of Chambolle and Dossal (2015); of 2 to 40 the one with the smallest gaps on photographs."""

FIRST_CHECK, CHECK_FRACTION = 10, 8
"""The duality gap is evaluated every ten steps, later each time the steps have grown by an eighth."""


def total_variation_value(x: Tensor, isotropic: bool = True, joint: bool = False) -> Tensor:
    """The total variation of each batch item, shape ``(batch,)``.

    The sum over the pixels of the l2 norm (isotropic) or of the l1 norm (anisotropic) of the forward differences.

    Args:
        x: Images ``(batch, channels, height, width)``, real or complex (a complex difference counts by its modulus).
        isotropic: Whether the two directions are joined in one norm.
        joint: Whether the channels are joined in one norm, so that edges favour the same place in each; else the
            total variations of the channels are added.
    """
    return _magnitude(_differences(_grouped(x, joint)), isotropic)


def total_variation(
    weight: float,
    isotropic: bool = True,
    accuracy: float = 1e-4,
    max_steps: int = 10_000,
    joint: bool = False,
) -> Resolvent:
    """The proximity operator of ``w TV``, each call to a proved accuracy: ``||J(x) - prox(x)|| <= accuracy ||x||``.

    The dual problem, ``min ||x - w D^T p||^2`` over fields of unit balls, is solved by accelerated projected
    gradient (Beck and Teboulle 2009, with the momentum of Chambolle and Dossal 2015). Each batch item stops when the
    duality gap allows it: with ``z = x - w D^T p``, both ``P(z) - P*`` and ``D* - D(p)`` are at least
    ``||z - prox(x)||^2 / 2``, so the gap, ``w TV(z) - w <Dz, p>``, is at least ``||z - prox(x)||^2``. The gap is
    evaluated in double precision; the steps are taken in single where its rounding cannot keep the gap from closing.

    Nothing is kept between calls. No gradient flows through a call. An item with a pixel that is not finite is
    returned as it is, for the solver to report.

    Args:
        weight: w, in the units of the image; at least zero.
        isotropic: See :func:`total_variation_value`.
        accuracy: The bound of the error relative to the norm of the input, for each batch item.
        max_steps: The budget of dual steps of one call.
        joint: See :func:`total_variation_value`.

    Raises:
        UsageError: An argument is outside its range.
        GuaranteeError: When called: the budget is spent before the accuracy is reached.
    """
    check_weight("total_variation", weight)
    if not 0 < accuracy < 1:
        raise UsageError(f"total_variation: accuracy={accuracy!r}; expected a number between 0 and 1, both excluded.")
    if max_steps < 1:
        raise UsageError(f"total_variation: max_steps={max_steps!r}; expected at least 1.")

    def apply(x: Tensor) -> Tensor:
        with torch.no_grad():
            solution = _solve(_grouped(x, joint), weight, isotropic, accuracy, max_steps)
        return _ungrouped(solution, x)

    error = Proved(accuracy, "the duality gap of every call bounds its error; a call that misses the accuracy raises")
    kind = "isotropic" if isotropic else "anisotropic"
    name = f"total_variation({weight:g}, {kind}{', joint' if joint else ''})"
    return proximity_operator(apply, name, attains=ATTAINS_SEMINORM, everywhere=EVERYWHERE, error=error)


def total_variation_split(
    weight: float, isotropic: bool = True, image_shape: tuple[int, int] = ANY_SIZE, joint: bool = False
) -> Split:
    """``w TV`` as ``g(D x)``: the finite differences D, and the proximity operator of ``s g*``.

    That is the projection of each dual vector on the ball of radius w, whatever s; nothing is iterated inside.

    Args:
        weight: w, in the units of the image; at least zero.
        isotropic: See :func:`total_variation_value`.
        image_shape: ``(height, width)`` makes the norm of D exact; left out, images of every size are taken.
        joint: See :func:`total_variation_value`.

    Raises:
        UsageError: The weight is negative or not finite.
    """
    check_weight("total_variation_split", weight)
    smallest = max(weight**2, torch.finfo(torch.float32).tiny)  # lest 0 / 0 be met where the weight is 0

    def project(p: Tensor) -> Tensor:
        if isotropic:
            square = _add_square(_add_square(None, p.select(-3, 0)), p.select(-3, 1)).unsqueeze(-3)
        else:
            square = _add_square(None, p)
        if joint:
            square = square.sum(1, keepdim=True)
        return p * square.clamp_(min=smallest).rsqrt_().mul_(weight)

    projection = proximity_operator(project, f"projection(radius={weight:g})", attains=None)
    return Split(FiniteDifferences(image_shape), lambda sigma: projection)


def _add_square(total: Tensor | None, part: Tensor) -> Tensor:
    """``total + |part|^2``, in place; a new tensor where there is no total yet."""
    if part.is_complex():
        square = part.real.square().addcmul_(part.imag, part.imag)
        return square if total is None else total.add_(square)
    return part * part if total is None else total.addcmul_(part, part)


def _solve(v: Tensor, weight: float, isotropic: bool, accuracy: float, max_steps: int) -> Tensor:
    """The proximity operator at grouped images ``v``, in double precision."""
    exact = v.double()
    targets = accuracy**2 * exact.square().flatten(1).sum(1)
    noise = 2 * weight * torch.finfo(torch.float32).eps * exact.abs().flatten(1).sum(1)
    fine = v.dtype == torch.float64 or bool((noise > targets).any())
    work = exact if fine else v.float()

    flat = _flattened(exact, weight, isotropic)
    solution = torch.where(flat.view(-1, 1, 1, 1, 1), exact.mean((-2, -1), keepdim=True), exact)
    active = (~flat).nonzero().squeeze(1)
    exact, work, targets = exact[active], work[active], targets[active]
    p = work.new_zeros(2, *work.shape)
    q, steps = p.clone(), 0
    while True:
        z, gaps = _certified(exact, p, weight, isotropic)
        going = gaps > targets  # a gap that is not a number stops its item too
        finished = ~going
        if bool(finished.any()):
            kept = going.nonzero().squeeze(1)
            if steps:  # at the first check p = 0 and the images are their own solutions
                solution[active[finished]] = z[finished]
            active, exact, work, targets = active[kept], exact[kept], work[kept], targets[kept]
            p, q = p.index_select(1, kept), q.index_select(1, kept)
            gaps = gaps[kept]
        if not len(active):
            return solution
        if steps >= max_steps:
            raise _missed(active, accuracy * (gaps / targets).sqrt(), accuracy, steps)
        until = min(max_steps, steps + max(FIRST_CHECK, steps // CHECK_FRACTION))
        p, q = _advance(work, p, q, weight, isotropic, range(steps, until))
        steps = until


def _flattened(v: Tensor, weight: float, isotropic: bool) -> Tensor:
    """Which items the weight flattens to the mean of each channel, by a dual field that proves it.

    Sums along each row, then of the row means down the columns, give a field with ``D^T p = v - mean``. Where it fits
    in the balls of radius w the gap is zero. Without this, an image far below the weight (a solver's first iterate,
    say) would need a gap that floating point cannot resolve.
    """
    centred = v - v.mean((-2, -1), keepdim=True)
    rows = centred.mean(-1, keepdim=True)
    field = torch.stack([rows.cumsum(-2).expand_as(v), (centred - rows).cumsum(-1)])
    return _lengths(field, isotropic).flatten(1).amax(1) <= weight


def _advance(  # noqa: PLR0913, PLR0917  one call for many steps, so that buffers are allocated once
    v: Tensor, p: Tensor, q: Tensor, weight: float, isotropic: bool, steps: range
) -> tuple[Tensor, Tensor]:
    """Accelerated projected gradient steps on the dual fields ``p``, extrapolated to ``q``; both are overwritten."""
    height, width = v.shape[-2:]
    stepsize = 1 / (weight * FiniteDifferences((height, width)).properties.norm.value ** 2)
    x, scratch = torch.empty_like(v), torch.empty_like(v)
    for k in steps:
        _primal(v, q, weight, out=x)
        q[0, ..., :-1, :].add_(x[..., 1:, :], alpha=stepsize).sub_(x[..., :-1, :], alpha=stepsize)
        q[1, ..., :, :-1].add_(x[..., :, 1:], alpha=stepsize).sub_(x[..., :, :-1], alpha=stepsize)
        _project(q, isotropic, scratch)
        p.lerp_(q, 1 + k / (k + 1 + MOMENTUM))
        p, q = q, p
    return p, q


def _primal(v: Tensor, p: Tensor, weight: float, out: Tensor) -> Tensor:
    """``v - w D^T p``; the last row of ``p[0]`` and the last column of ``p[1]`` are zero."""
    torch.add(v, p[0], alpha=weight, out=out)
    out.add_(p[1], alpha=weight)
    out[..., 1:, :].sub_(p[0, ..., :-1, :], alpha=weight)
    out[..., :, 1:].sub_(p[1, ..., :, :-1], alpha=weight)
    return out


def _project(q: Tensor, isotropic: bool, scratch: Tensor) -> None:
    """Each dual vector, joined over directions (isotropic) and over dimension 2, to the unit ball, in place.

    Written without ``norm`` over a short dimension, which torch does hundreds of times slower.
    """
    joined = q.shape[3] > 1
    if not isotropic and not joined:
        q.clamp_(-1, 1)
        return
    for fields in [(q[0], q[1])] if isotropic else [(q[0],), (q[1],)]:
        torch.mul(fields[0], fields[0], out=scratch)
        for other in fields[1:]:
            scratch.addcmul_(other, other)
        square = scratch.sum(2, keepdim=True) if joined else scratch
        shrink = square.clamp_(min=1).rsqrt_()
        for each in fields:
            each.mul_(shrink)


def _certified(v: Tensor, p: Tensor, weight: float, isotropic: bool) -> tuple[Tensor, Tensor]:
    """The primal point of a dual field and its duality gap per item, in double precision."""
    if p.dtype != torch.float64:
        p = p.double()
        _project(p, isotropic, torch.empty_like(v))  # rounding left it slightly outside
    z = _primal(v, p, weight, out=torch.empty_like(v))
    differences = _differences(z)
    gaps = _magnitude(differences, isotropic) - (differences * p).sum((0, 2, 3, 4, 5))
    return z, weight * gaps


def _missed(items: Tensor, bounds: Tensor, accuracy: float, steps: int) -> GuaranteeError:
    worst = int(bounds.argmax())
    return GuaranteeError(
        f"total_variation: after {steps} dual steps the relative error of item {int(items[worst])} is only known to be "
        f"below {float(bounds[worst]):.2g}; expected accuracy={accuracy:g}: raise max_steps or ask for less accuracy."
    )


def _differences(v: Tensor) -> Tensor:
    """The forward differences of grouped images, direction first."""
    return FiniteDifferences().A(v).movedim(-3, 0)


def _magnitude(differences: Tensor, isotropic: bool) -> Tensor:
    """The sum over pixels of the joint length of the differences of grouped images, for each item."""
    return _lengths(differences, isotropic).flatten(1).sum(1)


def _lengths(field: Tensor, isotropic: bool) -> Tensor:
    """The joint length of the vectors of a field, direction first, over directions (isotropic) and joined channels."""
    square = field * field
    square = square[0] + square[1] if isotropic else square.transpose(0, 1)
    if isotropic:
        square = square.sum(2) if square.shape[2] > 1 else square
    else:
        square = square.sum(3) if square.shape[3] > 1 else square
    return square.sqrt()


def _grouped(x: Tensor, joint: bool) -> Tensor:
    """Images as real ``(batch, independent, joined, height, width)``."""
    if x.ndim < 3 or not (x.is_floating_point() or x.is_complex()):
        raise UsageError(
            f"total_variation: the image has shape {tuple(x.shape)} and type {x.dtype}; expected real or complex "
            "(batch, channels, height, width)."
        )
    real = torch.view_as_real(x).movedim(-1, -3) if x.is_complex() else x.unsqueeze(-3)
    real = real.flatten(1, -4) if real.ndim > 4 else real.unsqueeze(1)
    return real.flatten(1, 2).unsqueeze(1) if joint else real


def _ungrouped(solution: Tensor, like: Tensor) -> Tensor:
    """Grouped images back in the shape, precision and kind of ``like``."""
    if not like.is_complex():
        return solution.reshape(like.shape).to(like.dtype)
    shape = (*like.shape[:-2], 2, *like.shape[-2:])
    return torch.view_as_complex(solution.reshape(shape).movedim(-3, -1).contiguous()).to(like.dtype)
