"""Several resolvents side by side, for a dual variable that has several parts."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from recon._values import remembered
from recon.errors import UsageError
from recon.evidence import Constant, Fact, derive, weakest
from recon.priors.resolvent import Resolvent, ResolventProperties


class Parts(Protocol):
    """Splitting of a tensor into parts, and back: :func:`recon.operators.stack` makes one."""

    def split(self, y: Tensor) -> tuple[Tensor, ...]: ...

    def join(self, measurements: Sequence[Tensor]) -> Tensor: ...


@remembered
def separable(parts: Parts, *resolvents: Resolvent) -> Resolvent:
    """``J(y_1, y_2, ...) = (J_1 y_1, J_2 y_2, ...)``: the resolvent of the operators side by side.

    With ``parts = stack(H, D)`` and the conjugates of a data ball and of a penalty it is the dual resolvent of
    ``min g(Dx)`` subject to ``||Hx - y|| <= radius``, in one primal-dual run. The Lipschitz constant of Q, and the
    relative error, are the largest of the parts.

    Args:
        parts: Splits a tensor into as many parts as there are resolvents, and joins them.
        resolvents: One a part.

    Raises:
        UsageError: There is none; or, when called, their number is not that of the parts.
    """
    if not resolvents:
        raise UsageError("separable: there is no resolvent; expected one for each part.")

    def apply(y: Tensor) -> Tensor:
        pieces = parts.split(y)
        if len(pieces) != len(resolvents):
            raise UsageError(f"separable: {len(resolvents)} resolvents for {len(pieces)} parts; expected one for each.")
        return parts.join([resolvent(piece) for resolvent, piece in zip(resolvents, pieces, strict=True)])

    known = [resolvent.properties for resolvent in resolvents]
    properties = ResolventProperties(
        lipschitz_Q=_largest([each.lipschitz_Q for each in known]),
        proximity=_all([each.proximity for each in known]),
        error=_largest([each.error for each in known]),
        differentiable=all(each.differentiable for each in known),
    )
    return Resolvent(apply, properties, f"separable({', '.join(resolvent.name for resolvent in resolvents)})")


def _largest(constants: list[Constant]) -> Constant:
    largest = max(constants, key=lambda constant: constant.value)
    return derive(lambda *values: max(values), *constants, how=f"the largest of the parts; {largest.how}")


def _all(facts: list[Fact | None]) -> Fact | None:
    known = [fact for fact in facts if fact is not None]
    if len(known) < len(facts):
        return None
    return Fact(weakest(*(fact.evidence for fact in known)), "; ".join(dict.fromkeys(fact.how for fact in known)))
