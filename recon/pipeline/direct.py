"""The methods that take no prior: a quick look, and what others compare with."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from recon import solvers
from recon.certificates import Certificate, stated
from recon.errors import UsageError
from recon.operators.tomography import Tomography, WeightedTomography, fbp
from recon.pipeline.method import Method, Pair
from recon.types import LinearOperator

WINDOW = "hann"
"""Of filtered back-projection: the smoothest, for noisy data."""

_NO_THEOREM = "no prior and no stopping rule: the number of steps is the regularisation"


def direct_method(pair: Pair, name: str) -> Method:
    """One of :data:`recon.pipeline.config.DIRECT_METHODS`.

    Raises:
        UsageError: It needs projections, or the exact adjoint, and there is none.
    """
    if pair.mismatch is not None:
        raise UsageError(f"method is {name!r} with a surrogate; expected none, as {name} is not certified with one.")
    return _DIRECT[name](pair)


def _fbp(pair: Pair) -> Method:
    projector = _projector(pair.operator)
    certificate = Certificate(
        theorem="filtered back-projection (Ramachandran and Lakshminarayanan 1971)",
        conclusion="an inversion formula for complete projections without noise",
        conditions=(stated("the projections are complete and without noise", None, "not known: nothing is fitted"),),
    )

    def algorithm(y: Tensor) -> solvers.Algorithm[Any]:
        image = fbp(projector.geometry, WINDOW)(y)
        return solvers.constant(image, "filtered back-projection")

    return Method("fbp", None, None, None, certificate, algorithm)


def _projector(operator: LinearOperator) -> Tomography:
    if isinstance(operator, WeightedTomography):
        return operator.projector
    if not isinstance(operator, Tomography):
        raise UsageError(
            f"method is 'fbp' with {type(operator).__name__}; expected the operator ct:GEOMETRY.toml, because it "
            "inverts projections."
        )
    return operator


_DIRECT: dict[str, Callable[[Pair], Method]] = {"fbp": _fbp}
