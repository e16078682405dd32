"""A prior is a resolvent: a firmly nonexpansive map J = (Id + Q)/2, and what is known of it."""

from dataclasses import dataclass, field, replace
from typing import Protocol, final

import torch
from torch import Tensor

from recon._values import Made
from recon.errors import UsageError
from recon.evidence import Assumed, Constant, Evidence, Fact, Measured, Proved
from recon.types import Map

CLOSED_FORM = Proved(0.0, "evaluated in closed form")

_NEAR = 0.02
"""Below 1: searches of a network differ by as much, and find lower bounds of a constant that may well be 1."""


@dataclass(frozen=True)
class ResolventProperties:
    """The properties of a map J that is used as a resolvent, each with its evidence.

    Attributes:
        lipschitz_Q: The Lipschitz constant of Q = 2J - Id; J is firmly nonexpansive if and only if it is at most 1.
        proximity: Why J is the proximity operator of a convex function; ``None`` where it is not known to be one.
        attains: Why 0 in A^T(A x - y) + M x / s has a solution for every linear A, where J is the resolvent of M;
            ``None`` where that is not known.
        attains_where_constants_are_seen: The same for every A that vanishes on no image of constant channels but zero.
        everywhere: Why M has the whole space as its domain (a penalty that is finite everywhere), or ``None``.
        bounded: Why M has a bounded domain (J has bounded values, as a projection on a box), or ``None``.
        error: A bound of ||J(x) - exact J(x)|| / ||x||: zero for a closed form, positive for an inner iteration.
        scale_free: Why J is the resolvent of D M for every positive diagonal D as well (M is zero, or the normal cone
            of a box), or ``None``; a step size that varies over the image fits no other resolvent.
        counterexample: A quotient above 1 that a search found, where ``lipschitz_Q`` is assumed to be more than that.
        values: The grey values of the images that J was made for, from the least to the greatest: of a network those
            that it was trained on, of a box its bounds; ``None`` where any will do. Solvers refuse a measurement that
            no such image explains.
        differentiable: Whether autograd passes through J to its derivative; an inner iteration detaches.
    """

    lipschitz_Q: Constant
    proximity: Fact | None = None
    attains: Fact | None = None
    attains_where_constants_are_seen: Fact | None = None
    everywhere: Fact | None = None
    bounded: Fact | None = None
    error: Constant = CLOSED_FORM
    scale_free: Fact | None = None
    counterexample: Measured | None = None
    values: tuple[float, float] | None = None
    differentiable: bool = True


class LocalMap(Protocol):
    """A map R that acts on each place of an image by itself, and differs from place to place or is fast in one pass."""

    def of_rows(self, top: int, u: Tensor, /) -> Tensor:
        """The image of the rows from ``top`` on."""

    def relaxed(self, top: int, u: Tensor, z: Tensor, step: float, relaxation: float, /) -> Tensor:
        """``(1 - r) u + r R(u + t z)`` of the rows from ``top`` on."""

    def times(self, scale: float, /) -> "LocalMap":
        """``x -> c R(x / c)``."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class Resolvent(Made):
    """A map with its name and its properties; calling it applies the map.

    It pickles, compares and prints as the call that made it; see :class:`recon._values.Made`.
    """

    apply: Map = field(repr=False)
    properties: ResolventProperties = field(repr=False)
    name: str
    local: LocalMap | None = field(default=None, repr=False)
    """The map as one that can be applied to some rows of an image; ``None`` where ``apply`` takes parts as it takes
    images."""

    def __call__(self, x: Tensor) -> Tensor:
        return self.apply(x)


def relaxed_rows(  # noqa: PLR0913, PLR0917  the numbers of one formula
    resolvent: Map, top: int, u: Tensor, z: Tensor, step: float, relaxation: float
) -> Tensor:
    """``(1 - r) u + r J(u + t z)`` of the rows from ``top`` on, of a map that acts on each place by itself."""
    local: LocalMap | None = getattr(resolvent, "local", None)
    if local is not None:
        return local.relaxed(top, u, z, step, relaxation)
    found = resolvent(torch.add(u, z, alpha=step))
    return found if relaxation == 1 else torch.lerp(u, found, relaxation)


def proximity_operator(  # noqa: PLR0913  each is known of some operators and not of others
    apply: Map,
    name: str,
    *,
    attains: Fact | None,
    everywhere: Fact | None = None,
    bounded: Fact | None = None,
    error: Constant = CLOSED_FORM,
    scale_free: Fact | None = None,
    values: tuple[float, float] | None = None,
    differentiable: bool = True,
    local: LocalMap | None = None,
) -> Resolvent:
    """The resolvent that is the proximity operator of a convex function, hence firmly nonexpansive (Moreau 1965).

    Args:
        apply: The map x -> prox(x).
        name: What a certificate calls it.
        attains: See :class:`ResolventProperties`.
        everywhere: See :class:`ResolventProperties`.
        bounded: See :class:`ResolventProperties`.
        error: See :class:`ResolventProperties`; left out for a closed form.
        scale_free: See :class:`ResolventProperties`.
        values: See :class:`ResolventProperties`.
        differentiable: See :class:`ResolventProperties`.
        local: See :class:`Resolvent`.
    """
    how = "a proximity operator of a convex function is firmly nonexpansive"
    properties = ResolventProperties(
        lipschitz_Q=Proved(1.0, how),
        proximity=Fact(Evidence.PROVED, f"{name} is the proximity operator of a convex function"),
        attains=attains,
        everywhere=everywhere,
        bounded=bounded,
        error=error,
        scale_free=scale_free,
        values=values,
        differentiable=differentiable,
    )
    return Resolvent(apply, properties, name, local)


def as_lipschitz_constant(found: Measured) -> Measured:
    """The largest quotient of Q that a search found, as it stands for Lip(Q): what comes near 1 is no contraction."""
    return replace(found, value=1.0, error=0.0) if 1 - _NEAR < found.value <= 1 else found


def resolvent_properties(resolvent: Map) -> ResolventProperties:
    """Return the properties of a map: its own, or the assumption that it is a resolvent.

    Raises:
        UsageError: It is no map, as a prior is none, which has a resolvent for each step size.
    """
    if not callable(resolvent) and hasattr(resolvent, "resolvent"):
        raise UsageError(
            f"{name_of(resolvent)} is a {type(resolvent).__name__}; expected a map from images to images, such as "
            "prior.resolvent(1.0), because that is what a solver applies."
        )
    known = getattr(resolvent, "properties", None)
    if isinstance(known, ResolventProperties):
        return known
    return ResolventProperties(
        lipschitz_Q=Assumed(1.0, "the map was handed over as a resolvent"),
        error=Assumed(0.0, "the map was handed over as exact"),
    )


def name_of(resolvent: Map) -> str:
    """Return the name of a map for a message or a certificate."""
    for attribute in ("name", "__name__"):
        name = getattr(resolvent, attribute, None)
        if isinstance(name, str):
            return name
    return type(resolvent).__name__
