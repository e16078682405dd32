"""The methods that take no prior: a quick look, and what others compare with."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from recon import solvers
from recon.certificates import Certificate, certify_preconditioned_forward_backward, stated
from recon.errors import UsageError
from recon.methods.method import Method, Pair
from recon.operators import sirt_weights
from recon.operators.tomography import Tomography, WeightedTomography, inverse
from recon.priors import Prior, Resolvent
from recon.types import LinearOperator

Maker = Callable[[Pair], Method]

EARLY_RESIDUAL = 1e-3
"""The residual at which least squares without a prior stop by default, before their limit: there they fit the noise.
Found for conjugate gradients.

On 60 views of CT slices of 128 x 128 with 1e4, 1e5 and 1e6 photons a ray, images are then 0.3, 0.0 and 1.1 dB below the
best of the run; at 1e-5, or after 600 steps and more, 15, 17 and 1.2 dB.
"""

WINDOW = "hann"
"""Of filtered back-projection: the smoothest, for noisy data."""


def direct_method(
    pair: Pair, name: str, prior: Prior, stepsize: float | None = None, window: str | None = None
) -> Method:
    """One of :data:`recon.specs.solve_config.DIRECT_METHODS`.

    Args:
        pair: The operator.
        name: Of the method.
        prior: None, or a box for ``sirt``.
        stepsize: Of ``sirt``; ``None``: 1.
        window: Of ``fbp``; ``None``: the smoothest.

    Raises:
        UsageError: It does not fit the operator, or takes no surrogate, or needs one.
    """
    if name in _KRYLOV and pair.surrogate is None:
        raise UsageError(f"method is {name!r} without a surrogate; expected one, as in --surrogate pixel-driven.")
    if name not in _KRYLOV and pair.surrogate is not None:
        raise UsageError(f"method is {name!r} with a surrogate; expected none, as it takes the adjoint itself.")
    if name == "sirt":
        return _sirt(pair, stepsize or 1.0, prior.resolvent(1.0))
    return _fbp(pair, window or WINDOW) if name == "fbp" else _DIRECT[name](pair)


def _fbp(pair: Pair, window: str) -> Method:
    geometry = _projector(pair.operator).geometry
    name, certificate = ("FDK", _FDK) if geometry.kind == "cone" else ("fbp", _FBP)

    def algorithm(y: Tensor) -> solvers.Algorithm[Any]:
        return solvers.constant(inverse(geometry, window)(y), "filtered back-projection")

    return Method(name, None, None, None, certificate, algorithm, closed_form=True)


def _projector(operator: LinearOperator) -> Tomography:
    if isinstance(operator, WeightedTomography):
        return operator.projector
    if not isinstance(operator, Tomography):
        raise UsageError(
            f"method is 'fbp' with {type(operator).__name__}; expected the operator ct:GEOMETRY.toml, because it "
            "inverts projections."
        )
    return operator


def _sirt(pair: Pair, stepsize: float, box: Resolvent) -> Method:
    weights = sirt_weights(pair.operator)
    certificate = certify_preconditioned_forward_backward(pair.properties, weights, box.properties, stepsize)

    def algorithm(y: Tensor) -> solvers.Algorithm[Any]:
        return solvers.sirt(pair.operator, y, stepsize, box, weights)

    return Method("sirt", stepsize, None, (0.0, 2.0), certificate, algorithm, early=EARLY_RESIDUAL)


def _cgls(pair: Pair) -> Method:
    certificate = _unproved(
        "conjugate gradients on the normal equations (Hestenes and Stiefel 1952)",
        "the iterates tend to the least-squares solution, noise and all",
        "rounding leaves the directions conjugate",
    )
    return Method("cgls", None, None, None, certificate, lambda y: solvers.cgls(pair.operator, y), early=EARLY_RESIDUAL)


def _krylov(name: str, make: Callable[..., solvers.Algorithm[Any]], conclusion: str) -> Maker:
    def method(pair: Pair) -> Method:
        certificate = _unproved(
            "restarted GMRES on least squares (Hansen, Hayami and Morikuni 2022)",
            conclusion,
            "restarts do not stagnate",
        )

        def algorithm(y: Tensor) -> solvers.Algorithm[Any]:
            return make(pair.operator, pair.surrogate, y)

        return Method(name, None, None, None, certificate, algorithm, early=EARLY_RESIDUAL)

    return method


def _unproved(theorem: str, conclusion: str, condition: str) -> Certificate:
    return Certificate(theorem, conclusion, (stated(condition, None, "not known beforehand"),))


_FBP = _unproved(
    "filtered back-projection (Ramachandran and Lakshminarayanan 1971)",
    "an inversion formula for complete projections without noise",
    "the projections are complete and without noise",
)
_FDK = _unproved(
    "filtered back-projection of a cone (Feldkamp, Davis and Kress 1984)",
    "an inversion formula in the plane of the source, an approximation elsewhere",
    "the projections are complete and without noise, and the volume hardly changes along the axis",
)
_KRYLOV: dict[str, Maker] = {
    "ab_gmres": _krylov("ab_gmres", solvers.ab_gmres, "the distance ||y - A x|| never grows"),
    "ba_gmres": _krylov("ba_gmres", solvers.ba_gmres, "||K (y - A x)|| never grows"),
}
_DIRECT: dict[str, Maker] = {"cgls": _cgls, **_KRYLOV}
