"""Filtered back-projection, the inverse of a scan in closed form; of a cone that of Feldkamp, Davis and Kress."""

from typing import Any

from torch import Tensor

from recon import solvers
from recon.errors import UsageError
from recon.methods.setting import Method, MethodSetting
from recon.methods.unregularised import no_guarantee
from recon.operators.tomography import Tomography, WeightedTomography, inverse
from recon.types import LinearOperator

WINDOW = "hann"
"""Of filtered back-projection: the smoothest, for noisy data."""

_FBP = no_guarantee(
    "filtered back-projection (Ramachandran and Lakshminarayanan 1971)",
    "an inversion formula for complete projections without noise",
    "the projections are complete and without noise",
)
_FDK = no_guarantee(
    "filtered back-projection of a cone (Feldkamp, Davis and Kress 1984)",
    "an inversion formula in the plane of the source, an approximation elsewhere",
    "the projections are complete and without noise, and the volume hardly changes along the axis",
)


def build(setting: MethodSetting) -> Method:
    """The inverse with a window, the smoothest unless another is stated."""
    geometry, window = _projector(setting.pair.operator).geometry, setting.window or WINDOW
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
