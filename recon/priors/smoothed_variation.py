"""Total variation with a rounded corner (Huber), which has a gradient."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from recon._values import remembered
from recon.errors import UsageError
from recon.evidence import Evidence, Fact, derive
from recon.operators.rounding import rounded_up
from recon.priors.calculus import weighted_gradient
from recon.priors.closed_forms import box, check_weight, number_of
from recon.priors.finite_differences import FiniteDifferences
from recon.priors.prior import Prior
from recon.priors.resolvent import Resolvent, proximity_operator
from recon.priors.smooth import Smooth
from recon.priors.smooth_resolvent import smooth_resolvent
from recon.priors.split import Split
from recon.priors.total_variation import FLAT, Spacing, dual_ball
from recon.types import Map

ACCURACY = 1e-4

_OPERATIONS = 1024
"""More than there are on a number of the gradient, with some hundreds of joint channels. By these it is off relative to
its constant, because the differences without their signs have the norm of D (:mod:`.total_variation_gap`)."""

_ATTAINS = Fact(
    Evidence.PROVED,
    "a convex quadratic plus even convex functions of linear forms is constant in each of its directions of recession, "
    "so it attains its minimum (Rockafellar 1970, Theorem 27.1)",
)


@remembered
def smoothed_total_variation_prior(  # noqa: PLR0913, PLR0917  the options of total_variation, and the corner
    weight: float | Tensor,
    smoothing: float,
    isotropic: bool = True,
    joint: bool = False,
    image_shape: tuple[int, ...] | None = None,
    bounds: tuple[float, float] | None = None,
    spacing: Spacing = FLAT,
    accuracy: float = ACCURACY,
) -> Prior:
    """``w sum_i h(|(D x)_i|)``, with Huber's ``h(t) = t^2 / (2 c)`` for ``t <= c`` and ``t - c/2`` above.

    Its gradient is ``w D^T (D x / max(|D x|, c))``, with the Lipschitz constant ``w ||D||^2 / c``, and the proximity
    operator of the conjugate of ``w h`` is the projection on the ball of radius w after a division by
    ``1 + sigma c / w``. Unlike :func:`recon.priors.total_variation_prior` it smooths steps below c and does not flatten
    them, which leaves no stairs, and its solutions have a derivative.

    Args:
        weight: w, in the units of the image; at least zero. A tensor gets its gradient through ``smooth``.
        smoothing: c, in the units of the image, the difference of neighbours up to which the penalty is quadratic.
        isotropic: See :func:`recon.priors.total_variation_value`.
        joint: See :func:`recon.priors.total_variation_value`.
        image_shape: See :func:`recon.priors.total_variation_split`.
        bounds: Within which the image must lie; an infinite one is none.
        spacing: See :func:`recon.priors.total_variation_value`.
        accuracy: Of the proximity operator, which is iterated, relative to its input.

    Raises:
        UsageError: The weight is negative or not finite, or the smoothing is not positive and finite.
    """
    size = number_of(weight)
    check_weight("smoothed_total_variation_prior", size)
    if not (smoothing > 0 and math.isfinite(smoothing)):
        raise UsageError(f"smoothed_total_variation_prior: smoothing={smoothing!r}; expected a positive finite number.")
    if not 0 < accuracy < 1:
        raise UsageError(
            f"smoothed_total_variation_prior: accuracy={accuracy!r}; expected a number between 0 and 1, both excluded."
        )
    differences = FiniteDifferences(image_shape or (-1,) * len(spacing), spacing)
    vectors = _Vectors(isotropic, joint, len(spacing))
    norm = differences.properties.norm
    gradient = partial(weighted_gradient, partial(_gradient, differences, vectors, smoothing), weight, size)
    smooth = Smooth(
        gradient, derive(lambda value: rounded_up(size * value**2 / smoothing), norm, how=f"w ||D||^2 / c; {norm.how}")
    )
    ball = dual_ball(size, isotropic, joint, len(spacing))
    return Prior(
        f"total variation, smoothed below {smoothing:g}",
        partial(
            smooth_resolvent,
            smooth,
            f"smoothed_total_variation({size:g}, {smoothing:g})",
            accuracy,
            _ATTAINS,
            operations=_OPERATIONS,
        ),
        split=Split(differences, partial(_shrunk_projection, ball, smoothing / size if size else 0.0)),
        value=partial(_value, differences, vectors, size, smoothing),
        constraint=None if bounds is None else box(*bounds),
        smooth=smooth,
    )


@dataclass(frozen=True)
class _Vectors:
    """The differences that are one vector: those along all axes (isotropic), those of all channels (joint)."""

    isotropic: bool
    joint: bool
    rank: int

    def lengths(self, field: Tensor) -> Tensor:
        """Of the vectors of a field of differences, in a shape that divides it."""
        square = field.abs().square() if field.is_complex() else field.square()
        square = square.sum(-self.rank - 1, keepdim=True) if self.isotropic else square
        square = square.sum(1, keepdim=True) if self.joint else square
        return square.clamp(min=torch.finfo(square.dtype).tiny).sqrt()


def _gradient(differences: FiniteDifferences, vectors: _Vectors, smoothing: float, x: Tensor) -> Tensor:
    field = differences.A(x)
    return differences.A_adjoint(field / vectors.lengths(field).clamp(min=smoothing))


def _value(differences: FiniteDifferences, vectors: _Vectors, weight: float, smoothing: float, x: Tensor) -> Tensor:
    lengths = vectors.lengths(differences.A(x))
    total = torch.where(lengths <= smoothing, lengths.square() / (2 * smoothing), lengths - smoothing / 2)
    return weight * total.flatten(1).sum(1)


def _shrunk_projection(ball: Resolvent, ratio: float, stepsize: float) -> Resolvent:
    """The proximity operator of ``s g*``, ``g* = c/(2w) |.|^2`` on the ball."""
    apply = partial(_divided, ball.apply, 1 + stepsize * ratio)
    return proximity_operator(apply, f"{ball.name} / {1 + stepsize * ratio:.4g}", attains=None)


def _divided(apply: Map, factor: float, u: Tensor) -> Tensor:
    return apply(u / factor)
