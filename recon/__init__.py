"""Image reconstruction with learned priors and guarantees.

    result = recon.reconstruct(y, recon.blur(psf), noise=0.01)
    result.image, result.status, result.certificate
    denoise = recon.denoiser("proved-gray", noise=0.05)

The subpackages load on first use, so that ``recon --help`` does not wait for torch:
``recon.operators``, ``recon.priors``, ``recon.solvers``, ``recon.certificates``, ``recon.methods``, ``recon.specs``,
``recon.reconstruction``, ``recon.evaluation``, ``recon.training``, ``recon.io``, ``recon.report``, ``recon.batch``,
``recon.catalogue``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from recon._version import __version__

if TYPE_CHECKING:
    from recon.front import blur, ct, denoiser, inpaint, mri, operator, reconstruct

__all__ = [
    "__version__",
    "batch",
    "blur",
    "catalogue",
    "certificates",
    "ct",
    "denoiser",
    "errors",
    "evaluation",
    "evidence",
    "inpaint",
    "io",
    "methods",
    "mri",
    "operator",
    "operators",
    "priors",
    "reconstruct",
    "reconstruction",
    "report",
    "solvers",
    "specs",
    "training",
    "types",
]


_FRONT = ("blur", "ct", "denoiser", "inpaint", "mri", "operator", "reconstruct")


def __getattr__(name: str) -> Any:
    if name in _FRONT:
        return getattr(importlib.import_module("recon.front"), name)
    if name in __all__:
        return importlib.import_module(f"recon.{name}")
    raise AttributeError(f"module 'recon' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
