"""Activations, each with the convex potential whose proximity operator it is; and those that have none.

A real function is the proximity operator of a convex function if and only if it is nondecreasing and 1-Lipschitz
(Combettes and Pesquet 2008, Proposition 2.4): then ``y - x`` is in the subdifferential of the potential at
``x = activation(y)``. The potentials are from Combettes and Pesquet (2020), *Deep neural network structures solving
variational inequalities*, or integrated by hand; the tests check each against its definition.
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
            lambda x: x * torch.rsqrt(1 + x.square()),
            (0, 1),
            _within(lambda x: -(1 - x.square()).sqrt() - x.square() / 2, -1, 1),
            "-sqrt(1 - x^2) - x^2/2 on [-1, 1]",
        ),
        Activation("elu", functional.elu, (0, 1), _within(_elu, -1, _INFINITY), "(1+x) ln(1+x) - x - x^2/2 if x < 0"),
        Activation(
            "softplus",
            functional.softplus,
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
    if plain not in ACTIVATIONS:
        raise UsageError(f"activation: {name!r} is unknown; {suggestion(name, ACTIVATIONS)}.")
    return ACTIVATIONS[plain]
