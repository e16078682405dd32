"""Chains of layers with fewer weights, by subdifferential inclusion, layer by layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from recon.compression.chain import Link, at_places, draw_places
from recon.compression.inclusion import Samples, Weights, sparse
from recon.errors import UsageError

Watch = Callable[[int, int, str], None]
"""Called before each layer: how many are done, how many there are, and its name."""

MOST_SPARSE = 0.99

_PER_INPUT, _LEAST, _MOST = 30, 8192, 32768
"""Samples of a layer: so many for each of its inputs, at least and at most."""


@final
@dataclass(frozen=True)
class LayerReport:
    """What became of a layer.

    Attributes:
        name: In the network.
        weights: How many there were, biases aside.
        kept: How many are not 0.
        error: ``|y' - y|^2 / |y|^2`` on the samples, y what the layer of the dense network said and y' what this one
            says of what the compressed layers before it hand on.
    """

    name: str
    weights: int
    kept: int
    error: float


def kept_of(count: int, sparsity: float) -> int:
    """How many of a number are left."""
    return max(1, round((1 - sparsity) * count))


def check_sparsity(sparsity: float) -> None:
    """Refuse what is no share.

    Raises:
        UsageError: In one sentence.
    """
    if not 0 < sparsity <= MOST_SPARSE:
        raise UsageError(
            f"sparsity = {sparsity!r}; expected more than 0 and at most {MOST_SPARSE}, the share of the weights that "
            "become 0."
        )


def sample_count(inputs: int) -> int:
    """How many samples a layer of so many inputs is fitted to."""
    return min(max(_PER_INPUT * inputs, _LEAST), _MOST)


def fitted(link: Link, seen: Tensor, meant: Tensor, kept: int, generator: torch.Generator) -> tuple[Link, LayerReport]:
    """A layer with so many weights that says of ``seen`` what was ``meant``.

    Args:
        link: The layer of the dense network, whose weights the search begins with.
        seen: What the compressed layers before it hand on.
        meant: The output of the dense layer for the same images.
        kept: How many weights may differ from 0.
        generator: Draws the samples.
    """
    matrix = link.weight.flatten(1)
    places = draw_places(meant, sample_count(matrix.shape[1]), generator)
    samples = Samples(link.rows(seen, places), at_places(meant, places), link.activation)
    bias = matrix.new_zeros(len(matrix)) if link.bias is None else link.bias
    found, error, _ = sparse(samples, Weights(matrix, bias), kept, biased=link.bias is not None)
    return _with(link, found), LayerReport(link.name, matrix.numel(), int((found.matrix != 0).sum()), error)


def _with(link: Link, found: Weights) -> Link:
    return link.with_weights(found.matrix.view_as(link.weight), None if link.bias is None else found.bias)


@torch.no_grad()
def sparse_chain(
    links: Sequence[Link], x: Tensor, sparsity: float, seed: int = 0, watch: Watch = lambda done, count, name: None
) -> tuple[list[Link], list[LayerReport]]:
    """Each layer with a share of its weights 0.

    A layer is fitted on what the compressed layers before it hand on, to what the dense network says: it mends a part
    of their errors. Fitted on the dense network's own inputs, a DnCNN of seven layers lost 1.9 dB at 70 %, instead of
    0.2.

    Args:
        links: The layers.
        x: Inputs of the first, such as those that the network is made for; labels are not needed.
        sparsity: The share of the weights of each layer that become 0.
        seed: Of the samples that are drawn.
        watch: Sees the progress.
    """
    check_sparsity(sparsity)
    generator = torch.Generator().manual_seed(seed)
    dense = seen = x
    made, reports = [], []
    for number, link in enumerate(links):
        watch(number, len(links), link.name)
        dense = link(dense)
        small, report = fitted(link, seen, dense, kept_of(link.weight.numel(), sparsity), generator)
        seen = small(seen)
        made.append(small)
        reports.append(report)
    return made, reports
