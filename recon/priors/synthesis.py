"""Penalties of images that are written as ``D z``: the penalty is of the coefficients z, which are the unknowns."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

from torch import Tensor

from recon._values import Made, remembered
from recon.errors import UsageError
from recon.evidence import Proved
from recon.operators.composition import CharacterisedOperator
from recon.priors.closed_forms import ATTAINS_STRONG, EVERYWHERE
from recon.priors.prior import Prior
from recon.priors.resolvent import Resolvent, proximity_operator
from recon.priors.sparse import SparseTerm


@final
@dataclass(frozen=True, eq=False, repr=False)
class Synthesis(Made):
    """Images as ``D z``, and the penalty of z.

    Of several dictionaries each has coefficients of its own, one below the other in z, and the image is the mean of
    theirs. Each codes the measurement by itself.

    Attributes:
        on: From (height, width) of the images to D, which takes coefficients (batch, bands, rows, columns).
        codes: The prior of z.
        bands: Bands of z.
        lattices: The number of dictionaries; of several, D is a :class:`SeveralDictionaries`.
        first: Like ``on``, but the first dictionary alone.
    """

    on: Callable[[tuple[int, int]], CharacterisedOperator] = field(repr=False)
    codes: Prior
    bands: int
    lattices: int = 1
    first: Callable[[tuple[int, int]], CharacterisedOperator] | None = field(default=None, repr=False)

    def alone(self, shape: tuple[int, int]) -> CharacterisedOperator:
        """The first dictionary alone, for images of (height, width)."""
        return (self.first or self.on)(shape)

    def redundancy(self, shape: tuple[int, int]) -> float:
        """Numbers of coefficients over pixels of an image of (height, width)."""
        return self.bands * math.prod(self.on(shape).domain.shape) / math.prod(shape)


@runtime_checkable
class SeveralDictionaries(Protocol):
    """The mean of images in several dictionaries, which are also seen one by one."""

    @property
    def lattices(self) -> int:
        """Their number."""

    @property
    def norm_of_each(self) -> Proved:
        """A bound of the norm of :meth:`images`."""

    def images(self, z: Tensor) -> Tensor:
        """The image in each dictionary, ``(lattices * batch, channels, height, width)``, one after the other."""

    def images_adjoint(self, x: Tensor) -> Tensor:
        """The adjoint of :meth:`images`."""


@remembered
def elastic_net_prior(weight: float, thresholds: Tensor, ridge: float = 1.0) -> Prior:
    """``w g(z)``, ``g(z) = sum_ip t_i |z_ip| + r/2 z_ip^2``, of coefficients (batch, bands, rows, columns).

    It is w r-strongly convex, and ``(w g)*(c) = sum_ip (|c_ip| - w t_i)_+^2 / (2 w r)`` is finite everywhere.

    Args:
        weight: w, above 0.
        thresholds: t, not negative, ``(1, bands, 1, 1)``.
        ridge: r, above 0.

    Raises:
        UsageError: A number is outside of its range.
    """
    for name, value in (("weight", weight), ("ridge", ridge)):
        if not (value > 0 and math.isfinite(value)):
            raise UsageError(f"elastic_net_prior: {name}={value!r}; expected a number above 0.")
    if not bool(((thresholds >= 0) & thresholds.isfinite()).all()):
        raise UsageError("elastic_net_prior: a threshold is negative or not finite; expected numbers of at least 0.")
    term = SparseTerm(weight, _same, _as_they_are, _none_free, thresholds, ridge)

    def resolvent(stepsize: float) -> Resolvent:
        def apply(z: Tensor) -> Tensor:
            return term.shrink(z, stepsize, z.shape)

        name = f"{stepsize:g} times an elastic net"
        return proximity_operator(apply, name, attains=ATTAINS_STRONG, everywhere=EVERYWHERE)

    def conjugate(c: Tensor) -> Tensor:
        beyond = (c.abs() - weight * thresholds.to(c)).clamp(min=0)
        return beyond.square().flatten(1).sum(1) / (2 * weight * ridge)

    return Prior(
        "elastic net", resolvent, value=lambda z: term.value(z, z.shape), sparse=term, conjugate=conjugate,
        strong=Proved(weight * ridge, "the elastic net is w r-strongly convex"),
    )  # fmt: skip


def synthesis_prior(name: str, synthesis: Synthesis) -> Prior:
    """The prior of images ``D z``, which only methods that take the coefficients for the unknowns can use.

    Args:
        name: What a report calls it.
        synthesis: D and the penalty.
    """
    return Prior(name, _Unsolved(name), synthesis=synthesis)


@final
@dataclass(frozen=True)
class _Unsolved:
    """The resolvents of a prior whose unknowns are coefficients: known, as the penalty is convex, and not computed."""

    name: str

    def __call__(self, stepsize: float) -> Resolvent:
        def apply(x: Tensor) -> Tensor:
            raise UsageError(
                f"{self.name} is a penalty of coefficients; expected ista, fista, oista or slista, whose unknowns they "
                "are."
            )

        return proximity_operator(apply, self.name, attains=ATTAINS_STRONG, differentiable=False)


def _same(z: Tensor) -> Tensor:
    return z


def _as_they_are(z: Tensor, shape: object) -> Tensor:
    return z


def _none_free(shape: object) -> int:
    return 0
