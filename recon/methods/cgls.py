"""Conjugate gradients on the normal equations."""

from recon import solvers
from recon.methods.setting import Method, MethodSetting
from recon.methods.unregularised import EARLY_RESIDUAL, no_guarantee


def build(setting: MethodSetting) -> Method:
    """CGLS."""
    certificate = no_guarantee(
        "conjugate gradients on the normal equations (Hestenes and Stiefel 1952)",
        "the iterates tend to the least-squares solution, noise and all",
        "rounding leaves the directions conjugate",
    )
    operator = setting.pair.operator
    return Method("cgls", None, None, None, certificate, lambda y: solvers.cgls(operator, y), early=EARLY_RESIDUAL)
