"""Layers that normalise by the statistics of a batch, with which no network is a map of one image."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from recon.errors import UsageError


def normalising_by_batch(network: nn.Module) -> list[str]:
    """The names of the layers of batch normalisation that are in training mode, or keep no running statistics."""
    return [
        f"{name or 'the network itself'} ({type(layer).__name__})"
        for name, layer in network.named_modules()
        if isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None)
    ]


def refuse_batch_statistics(network: nn.Module, subject: str) -> None:
    """Refuse a network with batch normalisation in training mode.

    After ``eval()`` the layer is an affine map with fixed numbers, which ``torch.nn.utils.fusion.fuse_conv_bn_eval``
    folds into the convolution before it.

    Raises:
        UsageError: It has such a layer, which is named.
    """
    layers = normalising_by_batch(network)
    if layers:
        named = ", ".join(layers[:3]) + (" ..." if len(layers) > 3 else "")
        raise UsageError(
            f"{subject}: {named} normalises by the statistics of a batch; expected evaluation mode, as network.eval() "
            "sets it, with running statistics, because else the result for an image depends on the images beside it "
            "and no Lipschitz constant holds."
        )
