"""The accelerated primal-dual method of Chambolle and Pock, in place, for denoising volumes by total variation."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from recon import certificates as proofs
from recon import solvers
from recon.errors import UsageError
from recon.methods.data_term import free_step
from recon.methods.operator_pair import OperatorPair
from recon.methods.setting import Method, MethodSetting
from recon.operators import Identity, operator_properties
from recon.operators.slices import SliceBySlice
from recon.priors import Prior
from recon.priors.finite_differences import FiniteDifferences
from recon.priors.total_variation import VariationTerm
from recon.solvers.volume_denoising import FIRST_STEP, dual_step

_AXES = 3


def build(setting: MethodSetting) -> Method:
    """The method that denoises one volume after the other, in the memory of six volumes or with a file."""
    pair, term = setting.pair, setting.prior.variation
    if not fits(pair, setting.prior) or term is None:
        raise UsageError(
            f"method is 'chambolle_pock' with {_name(pair)} and {setting.prior.name}; expected --operator identity, "
            "--volume and the prior tv without smoothing or joint channels, because it denoises volumes."
        )
    operator = pair.operator
    assert isinstance(operator, SliceBySlice)  # noqa: S101  fits saw to it
    differences = FiniteDifferences(operator.domain.shape, term.spacing)
    known = operator_properties(differences)
    own = FIRST_STEP / known.norm.value if known.norm.value else 1.0
    stepsize = free_step(setting.stepsize, own, "chambolle_pock")
    dual = dual_step(stepsize, known.norm.value)
    certificate = proofs.certify_accelerated_primal_dual(known, stepsize, dual)

    def direct(y: Tensor, run: solvers.DirectRun) -> solvers.Solution:
        return solvers.denoise_volumes(y, term, replace(run, first_step=stepsize))

    def algorithm(y: Tensor) -> solvers.Algorithm[Any]:
        scale = [float(part.norm()) or 1.0 for part in y]
        found = solvers.denoise_volumes(y, term, solvers.DirectRun(_TOLERANCE, _STEPS, scale, first_step=stepsize))
        return solvers.constant(found.x, "accelerated primal-dual")

    return Method("chambolle_pock", stepsize, dual, None, certificate, algorithm, tolerance=_TOLERANCE, direct=direct)


_STEPS = 1000
_TOLERANCE = 5e-3
"""The bound is three to four times the distance, so that images are then as near to the limit as by other methods."""


def fits(pair: OperatorPair, prior: Prior) -> bool:
    """Return whether a problem is the denoising of volumes by total variation."""
    operator, term = pair.operator, prior.variation
    denoises = isinstance(operator, SliceBySlice) and isinstance(operator.of_slice, Identity)
    return denoises and pair.mismatch is None and _is_of_volumes(term)


def _is_of_volumes(term: VariationTerm | None) -> bool:
    return term is not None and len(term.spacing) == _AXES


def _name(pair: OperatorPair) -> str:
    operator = pair.operator.of_slice if isinstance(pair.operator, SliceBySlice) else pair.operator
    return type(operator).__name__
