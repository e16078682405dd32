"""A proved bound of the Lipschitz constant of a ``torch.nn.Sequential``, from its weights alone."""

import math

import torch
from torch import Tensor, nn

from recon.certificates.feedforward_bounds import layered_bound, sector_bound
from recon.compression.flexible import FlexibleActivation
from recon.compression.sequential import flat
from recon.evidence import Proved
from recon.operators.convolution_norms import convolution_norm

_ROUNDING = 1 + 1e-9


@torch.no_grad()
def lipschitz_bound(network: nn.Sequential) -> Proved:
    """The product of bounds of its parts, for inputs of every size.

    Parts are a matrix or a convolution of 1 x 1 before a flexible activation and one after it (``sector_bound``), those
    with other activations between them (``layered_bound``), and other convolutions, by their symbols: a stride leaves
    out rows, and a dilation only repeats the symbol. Other modules are those that :func:`recon.compression.compress`
    takes or makes, whose constant is at most 1.
    """
    modules = [module for _, module in flat(network)]
    factors: list[float] = []
    said: dict[str, None] = {}
    place = 0
    while place < len(modules):
        found, length = _part(modules[place:])
        factors.append(found.value)
        if not isinstance(modules[place], nn.Conv2d | nn.Linear | FlexibleActivation):
            said.setdefault("activations", None)
        else:
            said.setdefault(found.how, None)
        place += length
    return Proved(math.prod(factors) * _ROUNDING, "the product of: " + "; ".join(said))


def _part(modules: list[nn.Module]) -> tuple[Proved, int]:
    """The bound of the first modules, and how many they are."""
    head = modules[0]
    if isinstance(head, FlexibleActivation):
        least, most = head.slopes()
        return Proved(float(torch.maximum(least.abs(), most.abs()).max()), "the slopes of flexible activations"), 1
    matrix = _matrix(head)
    if matrix is None:
        if isinstance(head, nn.Conv2d):
            return convolution_norm(head.weight), 1
        return Proved(1.0, "an activation that is nonexpansive"), 1
    if len(modules) > 2 and isinstance(modules[1], FlexibleActivation):
        last = _matrix(modules[2])
        if last is not None:
            return sector_bound(matrix, *modules[1].slopes(), last), 3
    return _chain(modules, matrix)


def _chain(modules: list[nn.Module], matrix: Tensor) -> tuple[Proved, int]:
    """Of matrices with activations of each entry between; one before a flexible activation is left to that."""
    matrices, length = [matrix], 1
    for place, module in enumerate(modules[1:], start=1):
        following = _matrix(module)
        if following is not None:
            if place + 1 < len(modules) and isinstance(modules[place + 1], FlexibleActivation):
                break
            matrices.append(following)
            length = place + 1
        elif isinstance(module, nn.Conv2d | nn.Flatten | nn.Softmax | FlexibleActivation):
            break
    return layered_bound(matrices), length


def _matrix(module: nn.Module) -> Tensor | None:
    """Of a layer that acts on each row or pixel by itself; a stride leaves some out."""
    if isinstance(module, nn.Linear):
        return module.weight
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
        return module.weight.flatten(1)
    return None
