"""The parametric and the equivariant bootstrap: solutions of measurements that are simulated from the solution.

The solution x of the measurement takes the place of the truth: ``y* = A T x + noise`` is simulated with the operator
and the noise of the problem, solved as the measurement was, and ``e* = T^-1 x(y*) - x`` takes the place of the error.
The root mean square of e*, its bias included, is the standard deviation of the map. With T the identity this is the
parametric bootstrap (Efron 1979). With T shifts and flips, under which images are as likely as before, errors in what
the operator does not see show as well, because T moves them to where it does: the equivariant bootstrap (Tachella,
Pereyra 2024). No chain has to mix. The map has no claim of its own: its width is to be calibrated.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon import solvers
from recon.errors import GuaranteeError
from recon.methods.setting import Method
from recon.operators import Inpainting
from recon.reconstruction.plan import Plan
from recon.reconstruction.run import Result
from recon.solvers import Status
from recon.solvers.chains import block_means
from recon.uncertainty.maps import DONE, Maps
from recon.uncertainty.potential import noise_of
from recon.uncertainty.settings import Settings, stream

AT_ONCE = 2**20
"""Pixels that are solved at once."""

_CT_SHIFT = 16
"""A shift of projections is at most the side over this, so that what is seen stays within the field of view."""

_UNLIKE = 1e-6
"""The weight of a simulation that measured a pixel which the measurement did not, or the other way round."""

_BAD = (Status.DIVERGED, Status.NOT_FINITE)

Watch = Callable[[int, int], None]
"""Called with the number of solves that are done, and of all."""


@dataclass(frozen=True)
class Transform:
    """A circular shift and flips of images."""

    shift: tuple[int, int] = (0, 0)
    flips: tuple[int, ...] = ()

    def __call__(self, x: Tensor) -> Tensor:
        return torch.roll(x.flip(self.flips), self.shift, (-2, -1))

    def undo(self, x: Tensor) -> Tensor:
        """The inverse."""
        return torch.roll(x, (-self.shift[0], -self.shift[1]), (-2, -1)).flip(self.flips)


@torch.no_grad()
def bootstrap(result: Result, settings: Settings, watch: Watch | None = None) -> Maps:
    """Errors of the solutions of simulated measurements.

    Args:
        result: The solution.
        settings: How many, and whether images are shifted and flipped.
        watch: See :data:`Watch`.

    Raises:
        UsageError: The noise is not known.
        GuaranteeError: A solution diverged.
    """
    plan, x = result.plan, result.solution.x
    noise_of(plan)
    transforms = _transforms(plan, x, settings)
    each = max(1, AT_ONCE // x[..., 0, 0].numel() // (x.shape[-1] * x.shape[-2]))
    square, regions, short = torch.zeros_like(x.abs()), torch.zeros_like(block_means(x.abs())), 0
    seen, weights = _seen(plan, x), torch.zeros_like(x.abs())
    for first in range(0, len(transforms), each):
        chosen = transforms[first : first + each]
        moved = torch.cat([transform(x) for transform in chosen])
        y = _simulated(plan, moved, stream(settings.seed, "simulated noise", first))
        found = _solved(plan, y, moved, result.scale)
        short += sum(status is not Status.CONVERGED for status in found.status)
        for transform, solved in zip(chosen, torch.split(found.x, len(x)), strict=True):
            error = transform.undo(solved) - x
            alike = torch.where(transform.undo(seen) == seen, 1.0, _UNLIKE).to(square)
            square += alike * error.abs().square()
            weights += alike
            regions += block_means(error if not error.is_complex() else error.abs()).square()
        if watch is not None:
            watch(first + len(chosen), len(transforms))
    count = len(transforms)
    kind = "equivariant" if any(transform != Transform() for transform in transforms) else "parametric"
    ended = f"; {short} of the solutions had not converged" if short else ""
    sentence = f"{count} measurements were simulated from the solution and solved ({kind} bootstrap){ended}."
    details: dict[str, object] = {"samples": count, "kind": kind, "not_converged": short}
    return Maps(x, (square / weights).sqrt(), (regions / count).sqrt(), DONE, sentence, details)


def _seen(plan: Plan, x: Tensor) -> Tensor:
    """Which pixels are measured where some are not, of the shape of an image; all alike elsewhere.

    A pixel that is missing is uncertain because it is: only the simulations in which it was, too, tell how much.
    """
    operator = plan.problem.operator
    mask = operator.mask if isinstance(operator, Inpainting) else torch.ones(x.shape[-2:], dtype=torch.bool)
    return mask.to(x.device).expand(x.shape)


def _transforms(plan: Plan, x: Tensor, settings: Settings) -> list[Transform]:
    """Shifts and flips; the identity for a guided prior, whose weights belong to a place."""
    if not settings.transforms or plan.guide is not None:
        return [Transform()] * settings.samples
    generator = torch.Generator().manual_seed(stream(settings.seed, "transforms"))
    most = [side // _CT_SHIFT if plan.problem.family.geometry is not None else side - 1 for side in x.shape[-2:]]
    drawn = []
    for _ in range(settings.samples):
        shift = [int(torch.randint(-side, side + 1, (1,), generator=generator)) for side in most]
        flips = [axis for axis in (-2, -1) if torch.rand(1, generator=generator) < 0.5]
        drawn.append(Transform((shift[0], shift[1]), tuple(flips)))
    return drawn


def _simulated(plan: Plan, x: Tensor, seed: int) -> Tensor:
    problem = plan.problem
    y = problem.operator.A(x)
    generator = torch.Generator().manual_seed(seed)
    shape = (*y.shape, 2) if y.is_complex() else y.shape
    noise = torch.randn(shape, generator=generator, dtype=y.dtype.to_real()).to(y.device)
    noise = torch.view_as_complex(noise) if y.is_complex() else noise
    seen = problem.operator.A(problem.operator.A_adjoint(noise)) if problem.family.is_masked else noise
    return y + noise_of(plan) * seen


def _solved(plan: Plan, y: Tensor, start: Tensor, scale: tuple[float, ...]) -> solvers.Solution:
    method: Method = plan.method
    found = solvers.solve(
        method.algorithm(y), start, tolerance=plan.tolerance, max_steps=plan.budget, rounding=method.rounding,
        scale=list(scale) * (len(y) // len(scale)), early=method.early if plan.problem.config.stops_early else None,
    )  # fmt: skip
    if Status.INTERRUPTED in found.status:
        raise KeyboardInterrupt("in the bootstrap; nothing was written")
    if any(status in _BAD for status in found.status):
        raise GuaranteeError(f"{method.name} diverged on a simulated measurement; nothing was written.")
    constraint = plan.problem.prior.prior.constraint
    return found if constraint is None else replace(found, x=constraint(found.x))
