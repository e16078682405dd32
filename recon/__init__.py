"""Image reconstruction with learned priors and guarantees.

    result = recon.reconstruct(y, recon.blur(psf), noise=0.01)   # NumPy or torch in, the same kind out
    result.image, result.status, result.certificate, result.figure()
    denoise = recon.denoiser("proved-gray", noise=0.05)          # an nn.Module: batches, any size

    reconstruct   an image with a certificate, in one call      denoiser   a packaged or trained denoiser
    blur, ct, inpaint, mri   what the instrument does           operator   your own, or another library's

``help(recon.reconstruct)`` says what each takes. Below the front door: ``recon.operators``, ``recon.priors``,
``recon.solvers``, ``recon.certificates``, ``recon.methods``, ``recon.training``, ``recon.io``, ``recon.report``,
``recon.batch``; they load on first use. Errors are ``recon.errors.ReconError``, each a sentence.
"""

import importlib
from typing import TYPE_CHECKING, Any

from recon._version import __version__

if TYPE_CHECKING:
    from recon.front import blur as blur
    from recon.front import ct as ct
    from recon.front import denoiser as denoiser
    from recon.front import inpaint as inpaint
    from recon.front import mri as mri
    from recon.front import operator as operator
    from recon.front import reconstruct as reconstruct

__all__ = [
    "__version__",
    "batch",
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


# not in __all__, so that help(recon) fits on a screen
_FRONT = ("blur", "ct", "denoiser", "inpaint", "mri", "operator", "reconstruct")


def __getattr__(name: str) -> Any:
    if name in _FRONT:
        return getattr(importlib.import_module("recon.front"), name)
    if name in __all__:
        return importlib.import_module(f"recon.{name}")
    raise AttributeError(f"module 'recon' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_FRONT])
