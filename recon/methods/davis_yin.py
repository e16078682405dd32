"""Davis-Yin splitting of three operators: the gradient of the data, the prior, and bounds."""

from recon import certificates as proofs
from recon import priors, solvers
from recon.methods.entry import INSIDE
from recon.methods.setting import Method, MethodSetting
from recon.operators import LeastSquares


def build(setting: MethodSetting) -> Method:
    """Davis-Yin splitting, in [0, 1] where the prior states no bounds."""
    pair, prior, stepsize = setting.pair, setting.prior, setting.stepsize
    limit = 2 / pair.squared_norm
    s = stepsize or INSIDE * limit
    resolvent, constraint = prior.resolvent(s), prior.constraint or priors.box(0.0, 1.0)
    certificate = proofs.certify_davis_yin(pair.properties, resolvent.properties, constraint.properties, s)
    return Method(
        "davis_yin", s, None, (0.0, limit), certificate,
        lambda y: solvers.davis_yin(LeastSquares(pair.operator, y), resolvent, constraint, s),
        solves_sum=False,
    )  # fmt: skip
