"""Tseng's forward-backward-forward method, for data maps that are monotone and not cocoercive."""

from recon import certificates as proofs
from recon import solvers
from recon.methods.entry import INSIDE_TSENG
from recon.methods.inexact import backward_error_of
from recon.methods.mismatched import mismatch_bound, mismatched_data, norm_of
from recon.methods.operator_pair import OperatorPair
from recon.methods.setting import Method, MethodSetting
from recon.operators import LeastSquares, Mismatch
from recon.priors import Prior


def build(setting: MethodSetting) -> Method:
    """Tseng's method, also with a surrogate."""
    pair, prior, stepsize = setting.pair, setting.prior, setting.stepsize
    if pair.mismatch is not None:
        return _mismatched(pair, pair.mismatch, prior, stepsize)
    limit = 1 / pair.squared_norm
    s = stepsize or INSIDE_TSENG * limit
    resolvent = prior.resolvent(s)
    certificate = proofs.certify_tseng(pair.properties, resolvent.properties, s)
    return Method(
        "tseng", s, None, (0.0, limit), certificate,
        lambda y: solvers.tseng(LeastSquares(pair.operator, y), resolvent, s),
        backward=backward_error_of(pair, resolvent, s),
    )  # fmt: skip


def _mismatched(pair: OperatorPair, mismatch: Mismatch, prior: Prior, stepsize: float | None) -> Method:
    limit = 1 / norm_of(mismatch)
    s = stepsize or INSIDE_TSENG * limit
    resolvent = prior.resolvent(s)
    certificate = proofs.certify_mismatched_tseng(mismatch, resolvent.properties, s)
    return Method(
        "tseng", s, None, (0.0, limit), certificate,
        lambda y: solvers.tseng(mismatched_data(pair, mismatch, y), resolvent, s),
        bound=mismatch_bound(pair, mismatch, resolvent, s),
    )  # fmt: skip
