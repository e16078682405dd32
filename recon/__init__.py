"""Image reconstruction with learned priors and guarantees.

The subpackages load on first use, so that ``recon --help`` does not wait for torch:
``recon.operators``, ``recon.priors``, ``recon.solvers``, ``recon.certificates``, ``recon.methods``, ``recon.specs``,
``recon.reconstruction``, ``recon.evaluation``, ``recon.training``, ``recon.io``, ``recon.report``, ``recon.catalogue``.
"""

import importlib
from types import ModuleType

from recon._version import __version__

__all__ = [
    "__version__",
    "catalogue",
    "certificates",
    "errors",
    "evaluation",
    "evidence",
    "io",
    "methods",
    "operators",
    "priors",
    "reconstruction",
    "report",
    "solvers",
    "specs",
    "training",
    "types",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"recon.{name}")
    raise AttributeError(f"module 'recon' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
