"""Douglas-Rachford splitting: the resolvents of data term and prior in turn, which any step size converges with."""

from recon import certificates as proofs
from recon import operators, solvers
from recon.errors import UsageError
from recon.methods.data_term import RESOLVENT_RELAXATION, free_step
from recon.methods.entry import INSIDE
from recon.methods.setting import Method, MethodSetting
from recon.operators import LeastSquares
from recon.operators.base import HasDataResolvent

SHRINKAGE = 0.15
"""Douglas-Rachford: the step size times the penalty's weight, on images in [0, 1].

For wavelets, noise of 0.0025, 0.01 and 0.04 and four blurs, the best of the step sizes tried (ratios of 2 to 4) is
within a factor 3 of it. It takes a fifth of the steps of FISTA.
"""


def build(setting: MethodSetting) -> Method:
    """Douglas-Rachford splitting; of a single resolvent with the step that its level is matched to."""
    pair, prior, stepsize, weight, matched = (
        setting.pair, setting.prior, setting.stepsize, setting.weight, setting.matched
    )  # fmt: skip
    if not isinstance(pair.operator, HasDataResolvent):
        raise UsageError(
            f"method is 'douglas_rachford', and {type(pair.operator).__name__} has no closed form of the resolvent of "
            "its data term; expected a method that takes the gradient, such as forward_backward."
        )
    least, r = 1 / pair.squared_norm, RESOLVENT_RELAXATION if matched else 1.0
    if prior.resolvent(1.0).properties.proximity is None:  # a single resolvent, matched to the longest step if to none
        least = matched or (1.0 if isinstance(pair.operator, operators.Identity) else 2 * INSIDE * least)
    s = free_step(stepsize, max(SHRINKAGE / weight, least) if weight else least, "douglas_rachford")
    resolvent = prior.resolvent(s)
    certificate = proofs.certify_douglas_rachford(pair.properties, resolvent.properties, r)
    return Method(
        "douglas_rachford", s, None, None, certificate,
        lambda y: solvers.douglas_rachford(LeastSquares(pair.operator, y).resolvent(s), resolvent, r), r,
    )  # fmt: skip
