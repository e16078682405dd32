"""Restarted GMRES on least squares, with a back-projection that is not the adjoint as preconditioner."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from recon import solvers
from recon.methods.setting import Method, MethodSetting
from recon.methods.unregularised import EARLY_RESIDUAL, no_guarantee


def build_ab(setting: MethodSetting) -> Method:
    """AB-GMRES: A K z = y, x = K z."""
    return _gmres("ab_gmres", setting, solvers.ab_gmres, "the distance ||y - A x|| never grows")


def build_ba(setting: MethodSetting) -> Method:
    """BA-GMRES: K A x = K y."""
    return _gmres("ba_gmres", setting, solvers.ba_gmres, "||K (y - A x)|| never grows")


def _gmres(name: str, setting: MethodSetting, make: Callable[..., solvers.Algorithm[Any]], conclusion: str) -> Method:
    theorem = "restarted GMRES on least squares (Hansen, Hayami and Morikuni 2022)"
    certificate = no_guarantee(theorem, conclusion, "restarts do not stagnate")
    pair = setting.pair

    def algorithm(y: Tensor) -> solvers.Algorithm[Any]:
        return make(pair.operator, pair.surrogate, y)

    return Method(name, None, None, None, certificate, algorithm, early=EARLY_RESIDUAL)
