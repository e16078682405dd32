"""Activations, each with the convex potential whose proximity operator it is; and those that have none.

A real function is the proximity operator of a convex function if and only if it is nondecreasing and 1-Lipschitz
(Combettes and Pesquet 2008, Proposition 2.4): then ``y - x`` is in the subdifferential of the potential at
``x = activation(y)``. The potentials are from Combettes and Pesquet (2020), *Deep neural network structures solving
variational inequalities*, or integrated by hand; the tests check each against its definition.

A :class:`VectorActivation` acts on vectors, here of the channels of a group: with the same definition, for a convex
function on R^n. Its Jacobian is symmetric, with eigenvalues in [0, 1].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from recon._suggest import suggestion
from recon.errors import UsageError
from recon.types import Map


@final
@dataclass(frozen=True)
class Activation:
    """A pointwise function with the bounds of its slopes.

    Attributes:
        name: As in :data:`ACTIVATIONS`.
        apply: The function.
        slopes: The infimum and the supremum of its slopes.
        potential: The convex function whose proximity operator it is, infinite outside of its domain.
        formula: The potential in words.
    """

    name: str
    apply: Map
    slopes: tuple[float, float]
    potential: Map
    formula: str

    def __call__(self, x: Tensor) -> Tensor:
        return self.apply(x)


def _within(inside: Callable[[Tensor], Tensor], low: float, high: float) -> Map:
    """The function on an interval, infinite outside of it."""

    def potential(x: Tensor) -> Tensor:
        middle = x.clamp(low, high)
        return torch.where((x < low) | (x > high), math.inf, inside(middle))

    return potential


def _xlogx(x: Tensor) -> Tensor:
    found: Tensor = torch.special.xlogy(x, x)
    return found


def _zero(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


def _dilogarithm(z: Tensor) -> Tensor:
    """``Li_2(z) = sum_k z^k / k^2`` on [0, 1], above 1/2 by ``Li_2(z) + Li_2(1-z) = pi^2/6 - ln z ln(1-z)``."""
    small = torch.minimum(z, 1 - z)
    series, power = torch.zeros_like(z), torch.ones_like(z)
    for k in range(1, 53):  # 2^-53 is below rounding
        power = power * small
        series = series + power / k**2
    logarithms = torch.special.xlog1py(torch.log(z), -z)
    return torch.where(z <= 0.5, series, math.pi**2 / 6 - torch.where(z < 1, logarithms, 0.0) - series)


def _tanh(x: Tensor) -> Tensor:
    return (_xlogx(1 + x) + _xlogx(1 - x) - x.square()) / 2


def _absolute(x: Tensor) -> Tensor:
    return x.abs()


def _negative_entropy(x: Tensor) -> Tensor:
    return _xlogx(x) + _xlogx(1 - x) - x.square() / 2


def _elu(x: Tensor) -> Tensor:
    return torch.where(x < 0, _xlogx(1 + x.clamp(max=0)) - x - x.square() / 2, 0.0)


LEAK = 0.01
"""The slope of the leaky rectifier for negative numbers, as in the reference networks."""

_INFINITY = math.inf

_SOFTPLUS = 40.0
"""From which softplus is the identity to the last digit: at 20, torch's own choice, it falls by 2e-9."""

ACTIVATIONS: dict[str, Activation] = {
    known.name: known
    for known in (
        Activation("identity", lambda x: x, (1, 1), _zero, "0"),
        Activation("relu", torch.relu, (0, 1), _within(_zero, 0, _INFINITY), "the indicator of x >= 0"),
        Activation(
            "leaky_relu",
            lambda x: functional.leaky_relu(x, LEAK),
            (LEAK, 1),
            lambda x: (1 / LEAK - 1) * x.clamp(max=0).square() / 2,
            "(1/a - 1) min(x, 0)^2 / 2",
        ),
        Activation("relu6", functional.relu6, (0, 1), _within(_zero, 0, 6), "the indicator of [0, 6]"),
        Activation("hardtanh", functional.hardtanh, (0, 1), _within(_zero, -1, 1), "the indicator of [-1, 1]"),
        Activation("soft_threshold", lambda x: x - x.clamp(-1, 1), (0, 1), _absolute, "|x|"),
        Activation("tanh", torch.tanh, (0, 1), _within(_tanh, -1, 1), "x artanh x + ln(1 - x^2)/2 - x^2/2 on [-1, 1]"),
        Activation(
            "sigmoid", torch.sigmoid, (0, 0.25), _within(_negative_entropy, 0, 1), "x ln x + (1-x) ln(1-x) - x^2/2"
        ),
        Activation(
            "softsign",
            functional.softsign,
            (0, 1),
            _within(lambda x: -x.abs() - torch.log1p(-x.abs()) - x.square() / 2, -1, 1),
            "-|x| - ln(1 - |x|) - x^2/2 on (-1, 1)",
        ),
        Activation(
            "arctan",
            lambda x: 2 / math.pi * torch.atan(x),
            (0, 2 / math.pi),
            _within(lambda x: -2 / math.pi * torch.log(torch.cos(math.pi / 2 * x)) - x.square() / 2, -1, 1),
            "-(2/pi) ln cos(pi x/2) - x^2/2 on (-1, 1)",
        ),
        Activation(
            "isru",
            lambda x: x / torch.hypot(x, torch.ones_like(x)),  # the square of a large number is infinite
            (0, 1),
            _within(lambda x: -(1 - x.square()).sqrt() - x.square() / 2, -1, 1),
            "-sqrt(1 - x^2) - x^2/2 on [-1, 1]",
        ),
        Activation("elu", functional.elu, (0, 1), _within(_elu, -1, _INFINITY), "(1+x) ln(1+x) - x - x^2/2 if x < 0"),
        Activation(
            "softplus",
            lambda x: functional.softplus(x, threshold=_SOFTPLUS),
            (0, 1),
            _within(lambda x: _dilogarithm(torch.exp(-x)), 0, _INFINITY),
            "the dilogarithm of exp(-x) on x >= 0",
        ),
    )
}
"""Every activation that is a proximity operator."""

REFUSED: dict[str, tuple[Map, str]] = {
    "gelu": (functional.gelu, "its slopes run from -0.129 to 1.129"),
    "silu": (functional.silu, "its slopes run from -0.0998 to 1.0998"),
    "swish": (functional.silu, "its slopes run from -0.0998 to 1.0998"),
    "mish": (functional.mish, "its slopes run from -0.113 to 1.089"),
    "hardswish": (functional.hardswish, "its slopes run from -0.5 to 1.5"),
    "selu": (functional.selu, "its slopes reach 1.758"),
    "abs": (torch.abs, "it decreases on negative numbers"),
    "sin": (torch.sin, "its slopes run from -1 to 1"),
    "square": (torch.square, "its slopes are not bounded"),
    "exp": (torch.exp, "its slopes are not bounded"),
    "hardshrink": (functional.hardshrink, "it jumps"),
}
"""Activations that are proximity operators of nothing convex, each with the reason."""


def activation(name: str) -> Activation:
    """The activation of that name, which is a proximity operator.

    Raises:
        UsageError: It is none (GELU, SiLU, Mish and others are refused by name), or is unknown.
    """
    plain = name.lower()
    if plain in REFUSED:
        raise UsageError(
            f"activation: {name!r} is not the proximity operator of a convex function, because {REFUSED[plain][1]}; "
            f"expected slopes between 0 and 1, as of {', '.join(sorted(ACTIVATIONS))}."
        )
    if plain in VECTOR_ACTIVATIONS:
        raise UsageError(
            f"activation: {name!r} acts on vectors; expected one of numbers: {', '.join(sorted(ACTIVATIONS))}."
        )
    if plain not in ACTIVATIONS:
        raise UsageError(f"activation: {name!r} is unknown; {suggestion(name, ACTIVATIONS)}.")
    return ACTIVATIONS[plain]


@final
@dataclass(frozen=True)
class VectorActivation:
    """A map of vectors that is the proximity operator of a convex function.

    Attributes:
        name: As in :data:`VECTOR_ACTIVATIONS`.
        apply: The map of a tensor whose vectors lie along a dimension, which it is told.
        potential: The convex function of vectors in the last dimension, infinite outside of its domain.
        formula: The potential in words.
    """

    name: str
    apply: Callable[[Tensor, int], Tensor]
    potential: Map
    formula: str

    def __call__(self, x: Tensor, dim: int = -1) -> Tensor:
        return self.apply(x, dim)


MOST_SQUASHING = 8 / (3 * math.sqrt(3))
"""The largest mu for which squashing is a proximity operator."""


def squash(mu: float = MOST_SQUASHING) -> VectorActivation:
    """``x -> mu ||x|| x / (1 + ||x||^2)``, the squashing of capsules (Sabour, Frosst, Hinton 2017).

    *Theorem* (Combettes and Pesquet 2020). For ``0 < mu <= 8 / (3 sqrt(3))`` it is the proximity operator of

        phi(x) = mu arctan(sqrt(r / (mu - r))) - sqrt(r (mu - r)) - r^2 / 2,    r = ||x|| < mu,

    of ``mu (pi - mu) / 2`` where r = mu, and of infinity beyond. *Proof*: ``rho(r) = mu r^2 / (1 + r^2)`` increases,
    with the slope ``2 mu r / (1 + r^2)^2``, which is largest at r = 1 / sqrt(3) and there ``3 sqrt(3) mu / 8 <= 1``. So
    its odd continuation is the proximity operator of an even convex function on the line, whose derivative at s in [0,
    mu) is ``rho^-1(s) - s = sqrt(s / (mu - s)) - s``, and phi is its integral at the norm; the proximity operator of an
    even convex function of the norm acts on the norm alone. For a larger mu the slope exceeds 1, and so does that of
    the map along a ray: it is not even nonexpansive.

    Args:
        mu: The bound of the norm of what comes out.

    Raises:
        UsageError: It is not a proximity operator with this mu.
    """
    if not 0 < mu <= MOST_SQUASHING:
        raise UsageError(
            f"squash: mu={mu!r}; expected more than 0 and at most 8/(3 sqrt(3)) = {MOST_SQUASHING:.6g}, because with a "
            "larger one it expands vectors of norm 1/sqrt(3), and is no proximity operator."
        )
    formula = "mu arctan sqrt(r/(mu - r)) - sqrt(r (mu - r)) - r^2/2 of the norm r < mu"
    return VectorActivation("squash", lambda x, dim: squashed(x, dim, mu), lambda x: _squashing(x, mu), formula)


def squashed(x: Tensor, dim: int, mu: float) -> Tensor:
    """``mu ||x|| x / (1 + ||x||^2)`` of the vectors along a dimension, whatever mu; with two derivatives, at 0 too."""
    largest = x.detach().abs().amax(dim, keepdim=True).clamp(min=1)
    scaled = x / largest  # the square of a large number is infinite; the result does not depend on the divisor
    square = scaled.square().sum(dim, keepdim=True)
    is_zero = square <= torch.finfo(x.dtype).tiny
    length = torch.where(is_zero, 1.0, square).sqrt()  # the root has no derivative at 0, and what is made of it has
    size = length * largest
    small, inverse, unit = size.clamp(max=1), 1 / size.clamp(min=1), torch.where(size < 1, 1.0, length)
    factor = torch.where(size < 1, small / (1 + small.square()), 1 / (unit * (1 + inverse.square())))
    return mu * torch.where(is_zero, 0.0, factor) * scaled


def _squashing(x: Tensor, mu: float) -> Tensor:
    size = torch.linalg.vector_norm(x, dim=-1)
    inside = size.clamp(max=mu)
    left = mu - inside
    energy = mu * torch.atan2(inside.sqrt(), left.sqrt()) - (inside * left).sqrt() - inside.square() / 2
    return torch.where(size > mu, math.inf, energy)


_ROUNDED = 1e-9
"""By how much the entries of a vector may miss the simplex by rounding."""


def _entropy(x: Tensor) -> Tensor:
    share = x + 1 / x.shape[-1]
    outside = (share.amin(-1) < -_ROUNDED) | (x.sum(-1).abs() > _ROUNDED)
    return torch.where(outside, math.inf, _xlogx(share.clamp(min=0)).sum(-1) - share.square().sum(-1) / 2)


VECTOR_ACTIVATIONS: dict[str, VectorActivation] = {
    known.name: known
    for known in (
        squash(),
        VectorActivation(
            "softmax",
            lambda x, dim: torch.softmax(x, dim) - 1 / x.shape[dim],
            _entropy,
            "sum p_i ln p_i - p_i^2/2 of p = x + 1/n in the simplex",
        ),
    )
}
"""Every activation of vectors that is a proximity operator.

Softmax is shifted by u = (1, ..., 1)/n, as Combettes and Pesquet have it, so that 0 is mapped to 0: ``z - x`` with ``x
+ u = softmax(z)`` is ``ln p + c 1 - p + u`` with p = x + u, which is in the subdifferential of its potential, as the
multiples of 1 are normal to the simplex; and ``p ln p - p^2 / 2`` is convex on [0, 1].
"""
