"""New resolvents from old ones, each keeping the evidence of the one it is made from."""

import math

from recon.errors import UsageError
from recon.evidence import Fact
from recon.priors.resolvent import Resolvent, ResolventProperties


def conjugate(resolvent: Resolvent, sigma: float) -> Resolvent:
    """``x -> x - sigma J(x / sigma)``: the resolvent of ``sigma A^-1``, where ``J`` is that of ``A / sigma``.

    For a proximity operator this is Moreau's decomposition: ``resolvent`` is that of ``g / sigma`` and the result
    that of ``sigma g*``. The new Q is ``-sigma Q(x / sigma)``, so its Lipschitz constant, and the bound of the error
    of an inexact J, are the old ones. Attainment says nothing about the inverse, so it is not passed on.

    Args:
        resolvent: That of ``A / sigma``: for an indicator, such as a box or a ball, sigma does not enter.
        sigma: The dual step size, positive.

    Raises:
        UsageError: ``sigma`` is not a positive finite number.
    """
    _check_positive("conjugate", "sigma", sigma)
    known = resolvent.properties
    properties = ResolventProperties(
        lipschitz_Q=known.lipschitz_Q,
        proximity=_carry(known.proximity, "Moreau's decomposition keeps proximity operators"),
        error=known.error,
    )
    return Resolvent(lambda x: x - sigma * resolvent(x / sigma), properties, f"conjugate({resolvent.name}, {sigma:g})")


def scaled(resolvent: Resolvent, scale: float) -> Resolvent:
    """``J_s(x) = s J(x / s)``: a prior made for one noise level used at s times that level.

    It is the resolvent of ``s A(x / s)``: every property of J holds for J_s with the same constants.

    Raises:
        UsageError: ``scale`` is not a positive finite number.
    """
    _check_positive("scaled", "scale", scale)
    known = resolvent.properties
    properties = ResolventProperties(
        lipschitz_Q=known.lipschitz_Q,
        proximity=_carry(known.proximity, "scaling keeps proximity operators"),
        attains=_carry(known.attains, "scaling maps solutions to solutions"),
        everywhere=known.everywhere,
        bounded=known.bounded,
        error=known.error,
    )
    return Resolvent(lambda x: scale * resolvent(x / scale), properties, f"scaled({resolvent.name}, {scale:g})")


def _carry(fact: Fact | None, why: str) -> Fact | None:
    """The fact about the new resolvent, as believable as the fact about the old one."""
    return None if fact is None else Fact(fact.evidence, f"{fact.how}; {why}")


def _check_positive(function: str, argument: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise UsageError(f"{function}: {argument}={value!r}; expected a positive finite number.")
