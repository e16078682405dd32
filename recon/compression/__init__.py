"""Smaller networks: fewer weights or filters that say nearly the same, found layer by layer without labels.

- :func:`compress`: a network of this package, or a plain ``torch.nn.Sequential``.
- :func:`compress_folder`: a network in a folder, searched again, with its card.
- :func:`compress_own`: a ``torch.nn.Sequential`` of the user's own code, its bound proved again, with its card;
  :func:`load_sequential` reads it.
"""

from recon.compression.blocks import BlockReport
from recon.compression.bounds import lipschitz_bound
from recon.compression.compress import Compressed, compress
from recon.compression.flexible import FlexibleActivation
from recon.compression.own import compress_own
from recon.compression.package import Listeners, Settings, compress_folder
from recon.compression.sequential_folder import load_sequential
from recon.compression.sparse import LayerReport

__all__ = [
    "BlockReport",
    "Compressed",
    "FlexibleActivation",
    "LayerReport",
    "Listeners",
    "Settings",
    "compress",
    "compress_folder",
    "compress_own",
    "lipschitz_bound",
    "load_sequential",
]
