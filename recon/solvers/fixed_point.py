"""Fixed points of maps on images, each item of a batch by itself, to a residual that is asked for."""

import torch
from torch import Tensor

from recon.errors import GuaranteeError
from recon.types import Map

_MEMORY = 8
"""Earlier points that a step is extrapolated from."""

_GROWTH = 2.0
"""By how much a residual may exceed the least one before the extrapolation is begun anew from there."""


@torch.no_grad()
def fixed_point(step: Map, start: Tensor, goal: Tensor, max_steps: int) -> Tensor:
    """x with ``||step(x) - x|| <= goal``, by Anderson's extrapolation (Walker and Ni 2011).

    The next point is the combination of the last images, with coefficients of sum 1, whose residuals combine to the
    least one. For a nonexpansive map an extrapolation that failed costs steps, and no more: after it the iteration goes
    on by the plain step from the best point so far, whose residual is no larger.

    Args:
        step: The map, ``(batch, channels, height, width)`` to the same.
        start: Where to begin.
        goal: What the norm of the residual of each item may be, ``(batch,)``.
        max_steps: The budget.

    Raises:
        GuaranteeError: It is spent, or a residual is not finite.
    """
    x, found = start, start.clone()
    open_items = torch.ones(len(start), dtype=torch.bool, device=start.device)
    least, best = torch.full_like(goal, torch.inf), (start, start)
    images: list[Tensor] = []
    residuals: list[Tensor] = []
    for _ in range(max_steps):
        image = step(x)
        residual = image - x
        size = _norms(residual)
        reached = open_items & (size <= goal)
        found = torch.where(_over(reached), x, found)
        open_items = open_items & ~reached
        if not bool(open_items.any()):
            return found
        if not bool(size[open_items].isfinite().all()):
            break
        lost = size > _GROWTH * least
        better = size < least
        least = torch.where(better, size, least)
        best = (torch.where(_over(better), image, best[0]), torch.where(_over(better), residual, best[1]))
        images = [torch.where(_over(lost), best[0], kept) for kept in [*images, image][-_MEMORY:]]
        residuals = [torch.where(_over(lost), best[1], kept) for kept in [*residuals, residual][-_MEMORY:]]
        x = _combined(images, _coefficients(residuals))
    worst = float((size / goal)[open_items].max())
    raise GuaranteeError(f"{worst:.3g} times the residual that was asked for is left after {max_steps} steps")


def _coefficients(residuals: list[Tensor]) -> Tensor:
    """Of sum 1, that make ``||sum_k c_k r_k||`` least, ``(batch, kept)``; equal ones for residuals that are equal."""
    rows = torch.stack([residual.flatten(1) for residual in residuals], 1)
    gram = (rows @ rows.mT).double()
    unit = torch.eye(len(residuals), dtype=gram.dtype, device=gram.device)
    size = gram.diagonal(dim1=1, dim2=2).sum(1).clamp(min=torch.finfo(gram.dtype).tiny)
    damped = gram / size[:, None, None] + 10 * torch.finfo(rows.dtype).eps * unit
    found: Tensor = torch.linalg.solve(damped, torch.ones(len(gram), len(residuals), 1).to(gram)).squeeze(2)
    return (found / found.sum(1, keepdim=True)).to(rows.dtype)


def _combined(images: list[Tensor], coefficients: Tensor) -> Tensor:
    total = torch.zeros_like(images[0])
    for index, image in enumerate(images):
        total = torch.addcmul(total, coefficients[:, index].view(-1, 1, 1, 1), image)
    return total


def _over(flags: Tensor) -> Tensor:
    return flags.view(-1, 1, 1, 1)


def _norms(x: Tensor) -> Tensor:
    return x.square().sum((1, 2, 3)).sqrt()
