"""Proximity operators that are evaluated in closed form; each binds its weight."""

import math

import numpy as np
import torch
from torch import Tensor

from recon._values import remembered
from recon.errors import UsageError
from recon.evidence import Evidence, Fact, Proved
from recon.operators.rounding import rounded_up
from recon.priors.resolvent import Resolvent, ResolventProperties, proximity_operator

ATTAINS_LEAST_SQUARES = Fact(Evidence.PROVED, "least squares attains its minimum in finite dimension")
ATTAINS_STRONG = Fact(Evidence.PROVED, "a strongly convex function attains its minimum")
ATTAINS_SEMINORM = Fact(
    Evidence.PROVED,
    "a convex quadratic plus a seminorm is constant in each of its directions of recession, so it attains its minimum, "
    "also over a box (Rockafellar 1970, Theorems 27.1 and 27.3)",
)


EVERYWHERE = Fact(Evidence.PROVED, "the penalty is finite everywhere")
ZERO_PENALTY = Fact(Evidence.PROVED, "there is no penalty to be scaled")
BOX_CONE = Fact(Evidence.PROVED, "the normal cone of a box is a product of cones, and a positive factor leaves a cone")
BOUNDED = Fact(Evidence.PROVED, "the values of the projection are bounded")


def number_of(weight: float | Tensor) -> float:
    """The value of a weight, which may be a tensor of one number with a gradient.

    Raises:
        UsageError: It is no number.
    """
    if isinstance(weight, Tensor) and weight.numel() == 1 and not weight.is_complex():
        return float(weight.detach())
    if isinstance(weight, int | float | np.number):
        return float(weight)
    given = tuple(weight.shape) if isinstance(weight, Tensor) else repr(weight)
    raise UsageError(f"the weight is {given}; expected a number, or a tensor of one real number.")


def as_made(weight: float | Tensor, size: float) -> float | Tensor:
    """A weight that is still the one that a prior was made with.

    Raises:
        UsageError: It is a tensor that was written to since, as by an optimiser.
    """
    if isinstance(weight, Tensor) and float(weight.detach()) != size:
        raise UsageError(
            f"the weight was {size:g} when the prior was made and is {float(weight.detach()):g} now; expected the "
            "prior to be made anew in each step, because its splitting and its constants are those of the first."
        )
    return weight


def check_weight(name: str, weight: float) -> None:
    """Refuse a weight that is not a finite number of at least zero."""
    if not (weight >= 0 and math.isfinite(weight)):
        raise UsageError(
            f"{name}: weight={weight!r}; expected a finite number of at least 0, because a negative multiple of a "
            "penalty is not convex and has no proximity operator."
        )


@remembered
def identity() -> Resolvent:
    """``J(x) = x``, the proximity operator of zero: no prior at all."""
    return proximity_operator(
        lambda x: x, "identity", attains=ATTAINS_LEAST_SQUARES, everywhere=EVERYWHERE, scale_free=ZERO_PENALTY
    )


@remembered
def box(low: float = 0.0, high: float = 1.0) -> Resolvent:
    """The projection on ``{x : low <= x <= high}``, entry by entry; a bound may be infinite.

    Args:
        low: The least value.
        high: The greatest.

    Raises:
        UsageError: The bounds are not numbers with ``low <= high``; or, when called, the image is complex.
    """
    if not (low <= high and low < math.inf and high > -math.inf):
        raise UsageError(f"box: low={low!r} and high={high!r}; expected two numbers with low <= high.")
    name = f"box({low:g}, {high:g})"

    def project(x: Tensor) -> Tensor:
        if x.is_complex():
            raise UsageError(f"{name}: the image is complex ({x.dtype}); expected real numbers, which have an order.")
        return x.clamp(low, high)

    attains = Fact(
        Evidence.PROVED,
        "a convex quadratic that is bounded below attains its minimum on a polyhedron (Frank, Wolfe 1956)",
    )
    finite = math.isfinite(low) and math.isfinite(high)
    bounded, values = (BOUNDED, (low, high)) if finite else (None, None)
    return proximity_operator(project, name, attains=attains, bounded=bounded, scale_free=BOX_CONE, values=values)


@remembered
def tikhonov(weight: float | Tensor) -> Resolvent:
    """``J(x) = x / (1 + w)``, the proximity operator of ``w/2 ||x||^2``.

    Here ``Q = (1 - w)/(1 + w) Id``: a contraction for every w > 0, so that solutions are unique.

    Args:
        weight: w, at least zero; a tensor of one number gets its gradient.

    Raises:
        UsageError: The weight is negative or not finite.
    """
    given, weight = weight, number_of(weight)
    check_weight("tikhonov", weight)
    name = f"tikhonov({weight:g})"
    properties = ResolventProperties(
        lipschitz_Q=Proved(min(1.0, rounded_up(abs(1 - weight) / (1 + weight))), "Q = (1 - w)/(1 + w) Id"),
        proximity=Fact(Evidence.PROVED, f"{name} is the proximity operator of w/2 ||x||^2"),
        attains=ATTAINS_STRONG if weight else ATTAINS_LEAST_SQUARES,
        everywhere=EVERYWHERE,
    )
    return Resolvent(lambda x: x / (1 + as_made(given, weight)), properties, name)


@remembered
def soft_threshold(weight: float | Tensor) -> Resolvent:
    """``J(x) = x - x min(1, w/|x|)``, entry by entry: the proximity operator of ``w ||x||_1``, real or complex.

    Args:
        weight: w, at least zero; a tensor of one number gets its gradient.

    Raises:
        UsageError: The weight is negative or not finite.
    """
    given, weight = weight, number_of(weight)
    check_weight("soft_threshold", weight)
    attains = (
        Fact(Evidence.PROVED, "a convex quadratic plus a multiple of the l1 norm is coercive")
        if weight
        else ATTAINS_LEAST_SQUARES
    )
    name = f"soft_threshold({weight:g})"
    return proximity_operator(lambda x: shrink(x, as_made(given, weight)), name, attains=attains, everywhere=EVERYWHERE)


def shrink(x: Tensor, weight: float | Tensor) -> Tensor:
    """Each entry moved towards zero by ``weight``, and to zero where it is smaller than that."""
    if isinstance(weight, Tensor):
        modulus = x.abs().clamp(min=torch.finfo(x.dtype).tiny)
        return x * (1 - weight.to(modulus) / modulus).clamp(min=0)
    if not x.is_complex():
        return x - x.clamp(-weight, weight)
    modulus = x.abs().clamp(min=max(weight, torch.finfo(x.dtype).tiny))
    return x * (1 - weight / modulus)


@remembered
def l2_ball(center: Tensor, radius: float) -> Resolvent:
    """The projection on ``{x : ||x - center|| <= radius}``, the norm being that of each batch item.

    Args:
        center: The shape of the image or measurement; a batch of one serves every item.
        radius: At least zero, on the scale of the norm: ``noise_level * sqrt(number of entries)`` for white noise.

    Raises:
        UsageError: The radius is negative or not finite; or, when called, the shapes differ.
    """
    if not (radius >= 0 and math.isfinite(radius)):
        raise UsageError(f"l2_ball: radius={radius!r}; expected a finite number of at least 0.")

    def project(x: Tensor) -> Tensor:
        if x.shape[1:] != center.shape[1:] or center.shape[0] not in (1, x.shape[0]):
            raise UsageError(
                f"l2_ball: the point has shape {tuple(x.shape)} and the center {tuple(center.shape)}; expected the "
                "same shape, or a center with a batch of one."
            )
        offset = x - center.to(x)
        parts = torch.view_as_real(offset) if offset.is_complex() else offset
        norms = torch.linalg.vector_norm(parts.flatten(1), dim=1, dtype=torch.float64)  # squares may vanish in single
        distance = norms.to(parts.dtype).view(-1, *[1] * (x.ndim - 1))
        inside = distance <= radius
        shrunk = center.to(x) + offset * (radius / distance.masked_fill(inside, 1))
        return torch.where(inside, x, shrunk)

    attains = Fact(Evidence.PROVED, "a continuous function attains its minimum on a compact set")
    return proximity_operator(project, f"l2_ball(radius={radius:g})", attains=attains, bounded=BOUNDED)
