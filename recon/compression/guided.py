"""The network that makes the mask of a guided potential, with fewer weights, by inclusion layer by layer."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from recon.compression.chain import Convolution, Link
from recon.compression.sparse import LayerReport, Watch, fitted, kept_of
from recon.errors import UsageError
from recon.priors.networks import GuidedRidge
from recon.priors.networks.layers.masks import Corrector


@torch.no_grad()
def sparse_mask(  # noqa: PLR0913, PLR0917  what, on what, and how
    network: GuidedRidge,
    small: GuidedRidge,
    chosen: Tensor,
    guides: Tensor,
    level: Tensor | None,
    sparsity: float,
    generator: torch.Generator,
    watch: Watch,
) -> list[LayerReport]:
    """Make the network of a mask sparse, in place; the averages and the law, of about 100 numbers a filter, are left.

    Args:
        network: The dense one.
        small: The one that is changed, with its filters as they will be.
        chosen: The groups of filters that it has, of those of the dense one.
        guides: Images near those that are wanted.
        level: The noise level of each; ``None`` for a network made for one.
        sparsity: The share of the weights of each convolution that become 0; 0: they are refitted to the filters.
        generator: Draws the samples.
        watch: Sees the progress.
    """
    corrector, own = network.mask.corrector, small.mask.corrector
    if corrector is None or own is None:
        return []
    dense, seen = (_features(each, guides, level) for each in (network, small))
    steps, start = links_of(corrector), links_of(own)
    reports = []
    for number, (link, begin, module) in enumerate(zip(steps, start, _modules(own), strict=True)):
        watch(number, len(steps), link.name)
        last = number == len(steps) - 1
        rectified = 0 < number < len(steps) - 1
        given, met = (functional.relu(dense), functional.relu(seen)) if rectified else (dense, seen)
        meant = link(given)
        wanted = meant[:, chosen] if last else meant
        made, report = fitted(begin, met, wanted, kept_of(begin.weight.numel(), sparsity), generator)
        module.weight.copy_(made.weight)
        if module.bias is not None and made.bias is not None:
            module.bias.copy_(made.bias)
        said = made(met)
        dense, seen = (dense + meant, seen + said) if rectified else (meant, said)
        reports.append(report)
    return reports


def links_of(corrector: Corrector) -> list[Link]:
    """Its convolutions; those in the middle are rectified and added to what they were given."""
    modules = _modules(corrector)
    names = ["enter", *(f"layers.{index}" for index in range(len(corrector.layers))), "leave"]
    found = []
    for name, module in zip(names, modules, strict=True):
        padding, dilation = module.padding, (module.dilation[0], module.dilation[1])
        if isinstance(padding, str):
            raise UsageError(f"{name}: padding = {padding!r}; expected numbers.")
        bias = None if module.bias is None else module.bias.detach()
        link = Link(
            f"mask.corrector.{name}",
            module.weight.detach(),
            bias,
            Convolution((padding[0], padding[1]), dilation=dilation),
        )
        found.append(replace(link, activation=functional.relu) if name.startswith("layers") else link)
    return found


def _modules(corrector: Corrector) -> list[torch.nn.Conv2d]:
    return [
        module
        for module in (corrector.enter, *corrector.layers, corrector.leave)
        if isinstance(module, torch.nn.Conv2d)
    ]


def _features(network: GuidedRidge, guides: Tensor, level: Tensor | None) -> Tensor:
    """What the network of the mask is given."""
    seen = network.mask.seen(network.ridge(level).lengths(guides))
    return network.mask.told(seen, network.place(level))
