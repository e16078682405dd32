"""Chains of layers with fewer channels: smaller dense layers, which save time as well as bytes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from recon.compression.chain import Link, at_places, draw_places
from recon.compression.inclusion import Samples, Weights, sparse
from recon.compression.sparse import LayerReport, Watch, check_sparsity, sample_count
from recon.errors import UsageError


def width_of(channels: int, sparsity: float) -> int:
    """How many channels leave that share fewer weights, where the channels before and after shrink alike."""
    return max(1, round(channels * math.sqrt(1 - sparsity)))


@torch.no_grad()
def narrow_chain(
    links: Sequence[Link], x: Tensor, sparsity: float, seed: int = 0, watch: Watch = lambda done, count, name: None
) -> tuple[list[Link], list[LayerReport]]:
    """A chain with fewer channels between its layers.

    Of the channels that a layer is given those are kept that the group l1 norm of its inclusion leaves, and the layer
    is refitted on them, to what the dense network says. The filters that made the others are dropped.

    Args:
        links: The layers; the channels that come in and go out stay.
        x: Inputs of the first.
        sparsity: The share of the weights that goes, as :func:`width_of` has it.
        seed: Of the samples that are drawn.
        watch: Sees the progress.

    Raises:
        UsageError: There is a single layer, which has no channels in between.
    """
    check_sparsity(sparsity)
    if len(links) < 2:
        raise UsageError(
            "structured: a single layer; expected two or more, because channels between layers are dropped."
        )
    generator = torch.Generator().manual_seed(seed)
    dense, seen, made, reports = links[0](x), links[0](x), [links[0]], []
    for number, link in enumerate(links[1:], start=1):
        watch(number, len(links), link.name)
        dense = link(dense)
        small, chosen, error = _narrowed(link, seen, dense, width_of(seen.shape[1], sparsity), generator)
        made[-1] = _only(made[-1], chosen)
        seen = small(seen[:, chosen])
        made.append(small)
        reports.append((link.name, error))
    errors = {links[0].name: 0.0, **dict(reports)}
    return made, [
        LayerReport(old.name, old.weight.numel(), new.weight.numel(), errors[old.name])
        for old, new in zip(links, made, strict=True)
    ]


def _narrowed(
    link: Link, seen: Tensor, meant: Tensor, kept: int, generator: torch.Generator
) -> tuple[Link, Tensor, float]:
    """A layer that takes some of its channels alone, these channels, and its error."""
    matrix, channels = link.weight.flatten(1), seen.shape[1]
    if matrix.shape[1] % channels:
        raise UsageError(
            f"{link.name}: {matrix.shape[1]} inputs of {channels} channels; expected a multiple, because whole "
            "channels are dropped."
        )
    places = draw_places(meant, sample_count(matrix.shape[1]), generator)
    samples = Samples(link.rows(seen, places), at_places(meant, places), link.activation)
    bias = matrix.new_zeros(len(matrix)) if link.bias is None else link.bias
    start = Weights(matrix, bias)
    found, error, chosen = sparse(samples, start, kept, biased=link.bias is not None, channels=channels)
    blocks = found.matrix.view(len(matrix), channels, -1)[:, chosen]
    weight = (
        blocks.reshape(len(matrix), -1)
        if link.convolution is None
        else blocks.reshape(len(matrix), len(chosen), *link.weight.shape[2:])
    )
    return link.with_weights(weight.contiguous(), None if link.bias is None else found.bias), chosen, error


def _only(link: Link, chosen: Tensor) -> Link:
    """A layer with some of its filters."""
    return link.with_weights(link.weight[chosen].contiguous(), None if link.bias is None else link.bias[chosen])
