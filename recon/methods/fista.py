"""FISTA: accelerated forward-backward splitting, for proximity operators and for penalties with a gradient."""

from typing import Any

from torch import Tensor

from recon import certificates as proofs
from recon import priors, solvers
from recon.methods.data_term import EXACT_RESOLVENT
from recon.methods.energy import gap_of, has_gap
from recon.methods.inexact import backward_error_of
from recon.methods.operator_pair import OperatorPair
from recon.methods.setting import Method, MethodSetting
from recon.operators import LeastSquares
from recon.operators.base import HasDataResolvent
from recon.priors import Prior, Resolvent, Smooth


def build(setting: MethodSetting) -> Method:
    """FISTA; along the gradient of a penalty that has one."""
    pair, prior, stepsize = setting.pair, setting.prior, setting.stepsize
    if prior.smooth is not None and prior.smooth.lipschitz.value > 0:
        return _smooth(pair, prior, prior.smooth, stepsize)
    limit = 1 / pair.squared_norm
    s = stepsize or limit
    resolvent = prior.resolvent(s)
    certificate = proofs.certify_fista(pair.properties, resolvent.properties, s)
    return Method(
        "fista", s, None, (0.0, limit), certificate,
        lambda y: solvers.fista(LeastSquares(pair.operator, y), resolvent, s),
        backward=backward_error_of(pair, resolvent, s), gap=gap_of(pair, prior) if has_gap(prior) else None,
    )  # fmt: skip


def _smooth(pair: OperatorPair, prior: Prior, smooth: Smooth, stepsize: float | None) -> Method:
    """FISTA with the gradient of the penalty, the data term by its resolvent where that has a closed form.

    With bounds the projection on them takes the place of that resolvent.
    """
    implicit = isinstance(pair.operator, HasDataResolvent) and prior.constraint is None
    within = prior.constraint or priors.identity()
    limit = 1 / (smooth.lipschitz.value + (0.0 if implicit else pair.squared_norm))
    s = stepsize or limit
    certificate = proofs.certify_smooth_fista(
        pair.properties, smooth.lipschitz, s, implicit=implicit,
        attains=prior.resolvent(1.0).properties.attains,
    )  # fmt: skip

    def algorithm(y: Tensor) -> solvers.Algorithm[Any]:
        data = LeastSquares(pair.operator, y)
        if implicit:
            return solvers.fista(smooth.gradient, Resolvent(data.resolvent(s), EXACT_RESOLVENT, "the data term"), s)
        return solvers.fista(lambda x: data(x) + smooth.gradient(x), within, s)

    return Method("fista", s, None, (0.0, limit), certificate, algorithm)
