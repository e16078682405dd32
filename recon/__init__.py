"""Image reconstruction with learned priors and guarantees.

The subpackages load on first use, so that ``recon --help`` does not wait for torch:
``recon.operators``, ``recon.priors``, ``recon.solvers``, ``recon.certificates``, ``recon.io``,
``recon.report`` and ``recon.pipeline``.
"""

import importlib
from types import ModuleType

from recon._version import __version__

__all__ = [
    "__version__",
    "certificates",
    "errors",
    "evidence",
    "io",
    "operators",
    "pipeline",
    "priors",
    "report",
    "solvers",
    "types",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"recon.{name}")
    raise AttributeError(f"module 'recon' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
