"""Simultaneous iterative reconstruction: gradient steps, weighted by the sums of rows and columns."""

from typing import Any

from torch import Tensor

from recon import solvers
from recon.certificates import certify_preconditioned_forward_backward
from recon.methods.setting import Method, MethodSetting
from recon.methods.unregularised import EARLY_RESIDUAL
from recon.operators import sirt_weights


def build(setting: MethodSetting) -> Method:
    """SIRT, within a box where the prior is one."""
    pair, stepsize, box = setting.pair, setting.stepsize or 1.0, setting.prior.resolvent(1.0)
    weights = sirt_weights(pair.operator)
    certificate = certify_preconditioned_forward_backward(pair.properties, weights, box.properties, stepsize)

    def algorithm(y: Tensor) -> solvers.Algorithm[Any]:
        return solvers.sirt(pair.operator, y, stepsize, box, weights)

    return Method("sirt", stepsize, None, (0.0, 2.0), certificate, algorithm, early=EARLY_RESIDUAL)
