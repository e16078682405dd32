"""Compression of a network: which method serves which kind, and what comes out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, final

import torch
from torch import Tensor, nn

from recon.compression import dncnn, sequential
from recon.compression.chain import Link
from recon.compression.guided import sparse_mask
from recon.compression.ridges import narrow_filters, points_of, sparse_filters
from recon.compression.sparse import LayerReport, Watch, check_sparsity, sparse_chain
from recon.compression.structured import narrow_chain
from recon.errors import UsageError
from recon.priors.networks import ConvexRidge, Critic, DnCNN, GuidedRidge, LipschitzNetwork, Model

Compressible = TypeVar("Compressible", bound=nn.Module)


@final
@dataclass(frozen=True)
class Compressed(Generic[Compressible]):
    """What compression made.

    Attributes:
        network: A new network, in evaluation mode.
        layers: What became of each layer that was compressed.
    """

    network: Compressible
    layers: tuple[LayerReport, ...]

    @property
    def sparsity(self) -> float:
        """The share of the weights of these layers that is gone."""
        return 1 - sum(each.kept for each in self.layers) / sum(each.weights for each in self.layers)


def compress(  # noqa: PLR0913  each is an independent choice of the caller
    network: Compressible,
    samples: Tensor,
    sparsity: float,
    *,
    noise_level: Tensor | None = None,
    structured: bool = False,
    seed: int = 0,
    watch: Watch = lambda done, count, name: None,
) -> Compressed[Compressible]:
    """A network with fewer weights that says nearly the same on samples; labels are not needed, and nothing is trained.

    Args:
        network: ``torch.nn.Sequential`` of convolutions, matrices and activations that are proximity operators; or a
            :class:`DnCNN`, a :class:`ConvexRidge` or a :class:`GuidedRidge`, whose ties are kept.
        samples: Inputs such as the network is made for, ``(batch, channels, height, width)``: for denoisers noisy
            images, a few dozen of 48 x 48. ``(batch, features)`` for a network of matrices.
        sparsity: The share of the weights that goes.
        noise_level: Of each sample, ``(batch,)``, for a network that is told it.
        structured: Whether whole filters go, so that what is left is a smaller dense network, which saves time.
        seed: Of what is drawn.
        watch: Sees the progress.

    Raises:
        UsageError: A layer is not understood, which is named; or a value is out of range.
    """
    check_sparsity(sparsity)
    if samples.ndim < 2 or not samples.is_floating_point() or not bool(samples.isfinite().all()):
        raise UsageError(
            f"compress: the samples have shape {tuple(samples.shape)} and type {samples.dtype}; expected a batch of "
            "finite real numbers."
        )
    method = _method(network)
    with torch.random.fork_rng([]):
        found, layers = method(network, samples, sparsity, noise_level, structured, seed, watch)
    assert isinstance(found, type(network))  # noqa: S101  each method makes a network of the same kind
    return Compressed(found.eval(), tuple(layers))


def _method(network: nn.Module) -> Callable[..., tuple[nn.Module, list[LayerReport]]]:
    if type(network) is nn.Sequential:
        return _sequential
    if isinstance(network, DnCNN):
        return _dncnn
    if isinstance(network, ConvexRidge):
        return _ridge
    raise refusal(network)


def refusal(network: nn.Module) -> UsageError:
    """Why a network is not compressed."""
    expected = "expected DnCNN, ConvexRidge, GuidedRidge or torch.nn.Sequential"
    if isinstance(network, LipschitzNetwork | Critic) and isinstance(network, Model):
        return UsageError(
            f"compress: a {network.config.family} network derives what it applies from free parameters, and a zero "
            f"among these is none in what is applied; {expected}."
        )
    return UsageError(f"compress: {type(network).__name__} is not understood; {expected}.")


def _chain(structured: bool) -> Callable[..., tuple[list[Link], list[LayerReport]]]:
    return narrow_chain if structured else sparse_chain


def _sequential(  # noqa: PLR0913, PLR0917  as of compress
    network: nn.Sequential, x: Tensor, sparsity: float, _level: Tensor | None, structured: bool, seed: int, watch: Watch
) -> tuple[nn.Module, list[LayerReport]]:
    if structured:
        sequential.require_pointwise(network)
    links, layers = _chain(structured)(sequential.links_of(network), x, sparsity, seed, watch)
    return sequential.with_links(network, links), layers


def _dncnn(  # noqa: PLR0913, PLR0917  as of compress
    network: DnCNN, x: Tensor, sparsity: float, level: Tensor | None, structured: bool, seed: int, watch: Watch
) -> tuple[nn.Module, list[LayerReport]]:
    with torch.no_grad():
        seen = network.layer_input(x, level if network.conditioned else None)
    links, layers = _chain(structured)(dncnn.links_of(network), seen, sparsity, seed, watch)
    return dncnn.with_links(network, links), layers


def _ridge(  # noqa: PLR0913, PLR0917  as of compress
    network: ConvexRidge, x: Tensor, sparsity: float, level: Tensor | None, structured: bool, seed: int, watch: Watch
) -> tuple[nn.Module, list[LayerReport]]:
    generator = torch.Generator().manual_seed(seed)
    told = level if network.conditioned else None
    plain = network.eval()
    points = points_of(plain, x, told, generator)
    chosen = torch.arange(network.config.widths[-1] // network.config.group)
    if structured:
        found, layers, chosen = narrow_filters(plain, points, told, sparsity, generator, watch)
    else:
        found, layers = sparse_filters(plain, points, told, sparsity, generator, watch)
    if isinstance(network, GuidedRidge) and isinstance(found, GuidedRidge):
        with torch.no_grad():
            guides = network.first(x, told)
        left = 0.0 if structured else sparsity
        masks = sparse_mask(network, found, chosen, guides, told, left, generator, watch)
        layers = layers if structured else [*layers, *masks]
    return found, layers
