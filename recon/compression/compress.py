"""Compression of a network: which method serves which kind, and what comes out."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast, final

import torch
from torch import Tensor, nn

from recon._suggest import suggestion
from recon.compression import dncnn, sequential
from recon.compression.blocks import BlockReport, decoupled_network
from recon.compression.chain import Link
from recon.compression.coupled import require_tensorly
from recon.compression.guided import sparse_mask
from recon.compression.ridges import narrow_filters, points_of, sparse_filters
from recon.compression.sparse import LayerReport, Watch, check_sparsity, sparse_chain
from recon.compression.structured import narrow_chain
from recon.errors import UsageError
from recon.priors.networks import ConvexRidge, Critic, DnCNN, GuidedRidge, LipschitzNetwork, Model

INCLUSION, DECOUPLE = METHODS = ("inclusion", "decouple")

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
    layers: tuple[LayerReport | BlockReport, ...]

    @property
    def sparsity(self) -> float:
        """The share of the weights of these layers that is gone."""
        return 1 - sum(each.kept for each in self.layers) / sum(each.weights for each in self.layers)


def compress(  # noqa: PLR0913  each is an independent choice of the caller
    network: Compressible,
    samples: Tensor,
    sparsity: float | None = None,
    *,
    method: str = INCLUSION,
    rank: int | None = None,
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
        sparsity: The share of the weights that goes; of ``"inclusion"`` alone.
        method: ``"inclusion"``, subdifferential inclusion layer by layer; or ``"decouple"``: of a ``Sequential``, each
            succession of matrices or convolutions of 1 x 1 becomes ``W g(V^T x)`` with a learned function for each of
            few units (extra ``decouple``), as :mod:`recon.compression.decouple` has it.
        rank: How many units each has, of ``"decouple"`` alone; ``None``: the fewest with which the squared error is at
            most 0.001 of the output on samples that were held out, the last quarter.
        noise_level: Of each sample, ``(batch,)``, for a network that is told it.
        structured: Whether whole filters go, so that what is left is a smaller dense network, which saves time.
        seed: Of what is drawn.
        watch: Sees the progress.

    Raises:
        UsageError: A layer is not understood, which is named; or a value is out of range.
    """
    check_method(method, sparsity, rank, structured)
    if samples.ndim < 2 or not samples.is_floating_point() or not bool(samples.isfinite().all()):
        raise UsageError(
            f"compress: the samples have shape {tuple(samples.shape)} and type {samples.dtype}; expected a batch of "
            "finite real numbers."
        )
    if method == DECOUPLE:
        return _decoupled(network, samples, rank, seed, watch)
    serves = _method(network)
    with torch.random.fork_rng([]):
        found, layers = serves(network, samples, sparsity, noise_level, structured, seed, watch)
    assert isinstance(found, type(network))  # noqa: S101  each method makes a network of the same kind
    return Compressed(found.eval(), tuple(layers))


def check_method(method: str, sparsity: float | None, rank: int | None, structured: bool) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: In one sentence.
    """
    if method not in METHODS:
        raise UsageError(f"method = {method!r}; {suggestion(method, METHODS)}.")
    if method == INCLUSION:
        if rank is not None:
            raise UsageError(
                f'rank = {rank!r} with method = "inclusion"; expected a sparsity: a rank is of "decouple".'
            )
        if sparsity is None:
            raise UsageError('method = "inclusion" without a sparsity; expected the share of the weights that goes.')
        check_sparsity(sparsity)
    elif sparsity is not None or structured:
        said = "structured" if sparsity is None else f"sparsity = {sparsity!r}"
        raise UsageError(f'{said} with method = "decouple"; expected a rank: how many units each block has.')


@torch.no_grad()
def _decoupled(
    network: Compressible, samples: Tensor, rank: int | None, seed: int, watch: Watch
) -> Compressed[Compressible]:
    if type(network) is not nn.Sequential:
        raise decouple_refusal(network)
    require_tensorly()
    dense = cast("nn.Sequential", copy.deepcopy(network).eval())
    with torch.random.fork_rng([]):
        found, reports = decoupled_network(dense, samples, rank, seed, watch)
    return Compressed(cast("Compressible", found.eval()), tuple(reports))


def decouple_refusal(network: nn.Module) -> UsageError:
    """Why a network has nothing to decouple."""
    name, why = type(network).__name__, "it is not understood"
    if isinstance(network, Model):
        name = network.config.family
        why = "it has no matrix and no convolution of 1 x 1 with an activation"
    if isinstance(network, ConvexRidge):
        why = "its filters are tied to their transposes, and what it is proved to be rests on that tie"
    return UsageError(
        f"decouple: {name}: {why}; expected a torch.nn.Sequential with matrices or convolutions of 1 x 1 "
        "and activations, on the command line python:FILE.py:CALLABLE that makes one."
    )


def _method(network: nn.Module) -> Callable[..., tuple[nn.Module, list[LayerReport]]]:
    if type(network) is nn.Sequential:
        return _sequential
    if isinstance(network, DnCNN):
        return _dncnn
    if isinstance(network, ConvexRidge) and not network.config.lifting:
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
    if isinstance(network, ConvexRidge):
        return UsageError(
            f"compress: lifting={network.config.lifting}: {expected} without a lifting, because the filters of one are "
            f"{network.config.widths[-1]} already, and follow from fewer weights than they have."
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
