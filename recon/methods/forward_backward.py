"""Forward-backward splitting: a gradient step on the data, then the prior's resolvent."""

import math

from recon import certificates as proofs
from recon import operators, solvers
from recon.methods.entry import INSIDE
from recon.methods.inexact import backward_error_of
from recon.methods.mismatched import mismatch_bound, mismatched_data, norm_of
from recon.methods.operator_pair import OperatorPair
from recon.methods.setting import Method, MethodSetting
from recon.operators import LeastSquares, Mismatch
from recon.priors import Prior


def build(setting: MethodSetting) -> Method:
    """Forward-backward splitting, also with a surrogate."""
    pair, prior, stepsize = setting.pair, setting.prior, setting.stepsize
    if pair.mismatch is not None:
        return _mismatched(pair, pair.mismatch, prior, stepsize)
    limit = 2 / pair.squared_norm
    # what is measured is the pixels themselves: one step of 1 is J(y)
    s = stepsize or (1.0 if isinstance(pair.operator, operators.Identity) else INSIDE * limit)
    resolvent = prior.resolvent(s)
    certificate = proofs.certify_forward_backward(pair.properties, resolvent.properties, s)
    return Method(
        "forward_backward", s, None, (0.0, limit), certificate,
        lambda y: solvers.forward_backward(LeastSquares(pair.operator, y), resolvent, s),
        backward=backward_error_of(pair, resolvent, s),
    )  # fmt: skip


def _mismatched(pair: OperatorPair, mismatch: Mismatch, prior: Prior, stepsize: float | None) -> Method:
    limit = 2 * mismatch.cocoercivity.value
    s = stepsize or INSIDE * (limit if 0 < limit < math.inf else 2 / norm_of(mismatch))
    resolvent = prior.resolvent(s)
    certificate = proofs.certify_mismatched_forward_backward(mismatch, resolvent.properties, s)
    if not certificate.holds:
        contracting = proofs.certify_contractive_forward_backward(mismatch, resolvent.properties, s)
        certificate = contracting if contracting.holds else certificate
    return Method(
        "forward_backward", s, None, (0.0, limit), certificate,
        lambda y: solvers.forward_backward(mismatched_data(pair, mismatch, y), resolvent, s),
        bound=mismatch_bound(pair, mismatch, resolvent, s),
    )  # fmt: skip
