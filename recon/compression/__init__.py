"""Smaller networks: fewer weights or filters that say nearly the same, found layer by layer without labels.

- :func:`compress`: a network of this package, or a plain ``torch.nn.Sequential``.
- :func:`compress_folder`: a network in a folder, searched again, with its card.
"""

from recon.compression.blocks import BlockReport
from recon.compression.bounds import lipschitz_bound
from recon.compression.compress import Compressed, compress
from recon.compression.flexible import FlexibleActivation
from recon.compression.package import Listeners, Settings, compress_folder
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
    "lipschitz_bound",
]
