"""Learned potentials with fewer weights, the tie of analysis and synthesis kept: they stay potentials, and proved.

The prox p of a ridge potential at y satisfies ``y - p in dR(p)``, that is ``y - p = grad R(p) = w W^T f(W p)``, with
one bank of filters ``W = c K_n * ... * K_1`` used twice. To sparsify the analysis and the synthesis apart would break
the tie, and the proof with it. So the layer of the inclusion is the whole prox, and what is minimised over sparse
kernels is the squared distance of y - p to the gradient of the new potential,

    sum_k |grad R'(x_k) - grad R(x_k)|^2 / sum_k |grad R(x_k)|^2,

at the prox p of noisy images and at points between p and the image. Whatever is found is the gradient of a convex
potential again. The problem is not convex; it is solved by Adam with a hard threshold after each step, whose number of
weights falls to the one that is wanted, and the rest of the steps refit what is left. The first kernel is left as it
is: its means are subtracted, which would fill zeros.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from recon.compression.sparse import LayerReport, Watch, kept_of
from recon.errors import UsageError
from recon.operators.convolution_norms import peak_norm
from recon.priors.networks import ConvexRidge, make
from recon.priors.networks.architectures.network import NoiseLevel
from recon.priors.networks.layers.convolution import analyse, synthesise
from recon.priors.networks.layers.filter_bank import GRID
from recon.training.sparsity import keep_largest

STEPS, _FALLING = 400, 0.6
"""Of Adam, and the share of them in which the number of weights falls: proved-gray at 90 % and noise of 25 on 255 lost
0.09 dB with 300 steps and 0.07 dB with 600."""

_RATE, _BATCH = 0.03, 6
"""The step relative to the mean size of the weights of a kernel; a third of it for the strengths. And points a step."""


def points_of(network: ConvexRidge, noisy: Tensor, level: NoiseLevel, generator: torch.Generator) -> Tensor:
    """Points at which the gradient of the potential is compared: between noisy images and their prox."""
    with torch.no_grad():
        found: Tensor = network(noisy, level)
        share = torch.rand(len(noisy), 1, 1, 1, generator=generator)
        return found + share.square() * (noisy - found)


def sparse_filters(  # noqa: PLR0913, PLR0917  what, on what, and how
    network: ConvexRidge,
    points: Tensor,
    level: Tensor | None,
    sparsity: float,
    generator: torch.Generator,
    watch: Watch,
) -> tuple[ConvexRidge, list[LayerReport]]:
    """A copy of a potential with sparse kernels, but for the first.

    Args:
        network: The potential; nothing is changed in it.
        points: Where the gradients are compared, ``(batch, channels, height, width)``.
        level: The noise level of each; ``None`` for a network made for one.
        sparsity: The share of the weights of each kernel that become 0.
        generator: Draws the points of each step.
        watch: Sees the progress.

    Raises:
        UsageError: The filters are a single convolution.
    """
    twin = copy.deepcopy(network).requires_grad_(False)
    kernels = list(twin.filters.kernels)[1:]
    if not kernels:
        raise UsageError(
            f"{network.config.family}: its filters are one convolution, whose means are subtracted; expected at least "
            "two widths, because only the kernels after the first can be sparse."
        )
    with torch.no_grad():
        meant = gradients(network, points, level)
    fall = max(1, round(_FALLING * STEPS))

    def shrink(step: int) -> None:
        share = sparsity * (1 - (1 - min(1.0, (step + 1) / fall)) ** 3)
        for kernel in kernels:
            keep_largest(kernel, kept_of(kernel.numel(), share) if share else kernel.numel())

    descend(twin, [*twin.filters.kernels], points, level, meant, generator, shrink, watch)
    error = mismatch(twin, points, level, meant)
    return twin.eval(), [
        LayerReport(f"filters.kernels.{number}", kernel.numel(), int((kernel != 0).sum()), error)
        for number, kernel in enumerate(kernels, start=1)
    ]


def gradients(network: ConvexRidge, points: Tensor, level: Tensor | None) -> Tensor:
    """grad R of the unguided potential."""
    return network.ridge(level).gradient(points)


def mismatch(network: ConvexRidge, points: Tensor, level: Tensor | None, meant: Tensor) -> float:
    """The squared distance of the gradients from those that are meant, relative to these, the mean over the points."""
    with torch.no_grad():
        return float(_relative(gradients(network, points, level), meant).mean())


def _relative(found: Tensor, meant: Tensor) -> Tensor:
    size = meant.square().sum((1, 2, 3)).clamp(min=torch.finfo(meant.dtype).tiny)
    return (found - meant).square().sum((1, 2, 3)) / size


def descend(  # noqa: PLR0913, PLR0917  one minimisation, by its parts
    network: ConvexRidge,
    kernels: list[Tensor],
    points: Tensor,
    level: Tensor | None,
    meant: Tensor,
    generator: torch.Generator,
    shrink: Callable[[int], None],
    watch: Watch,
) -> None:
    """Adam on the distance of the gradients, over kernels and strengths, in place; ``shrink`` follows each step."""
    strengths = [network.log_weight, network.log_scale]
    rates = [*(_RATE * float(kernel.detach().abs().mean()) for kernel in kernels), _RATE / 3]
    for parameter in (*kernels, *strengths):
        parameter.requires_grad_()
    optimiser = torch.optim.Adam([{"params": each} for each in (*([kernel] for kernel in kernels), strengths)])
    count = min(_BATCH, len(points))
    for step in range(STEPS):
        watch(step, STEPS, "filters")
        fraction = 0.01 + (1 + math.cos(math.pi * step / STEPS)) / 2
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * fraction
        mine = torch.randperm(len(points), generator=generator)[:count]
        found = gradients(network, points[mine], None if level is None else level[mine])
        optimiser.zero_grad()
        _relative(found, meant[mine]).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        shrink(step)
    network.requires_grad_(False)


def narrow_filters(  # noqa: PLR0913, PLR0917  as of sparse_filters
    network: ConvexRidge,
    points: Tensor,
    level: Tensor | None,
    sparsity: float,
    generator: torch.Generator,
    watch: Watch,
) -> tuple[ConvexRidge, list[LayerReport], Tensor]:
    """A potential of fewer filters, those that nonnegative least squares with an l1 norm leaves, then refitted.

    ``grad R = sum_i g_i`` with one term a filter, or a group of them; ``sum_i m_i g_i`` with m >= 0 is fitted to it.
    m_i multiplies the potential of a filter: that is what ``sqrt(m_i)`` times its kernel and its scale does. The last
    result are the groups that are kept.
    """
    groups = network.config.widths[-1] // network.config.group
    kept = kept_of(groups, sparsity)
    with torch.no_grad():
        meant = gradients(network, points, level)
        factors = _nonnegative(*_normal_equations(network, points, level, meant), kept)
        chosen = factors.argsort(descending=True, stable=True)[:kept].sort().values
        twin = _with_filters(network, chosen, factors[chosen].clamp(min=1e-3))
    descend(twin, [*twin.filters.kernels], points, level, meant, generator, lambda step: None, watch)
    error, last = mismatch(twin, points, level, meant), network.filters.kernels[-1]
    name = f"filters.kernels.{len(network.filters.kernels) - 1}"
    return twin.eval(), [LayerReport(name, last.numel(), twin.filters.kernels[-1].numel(), error)], chosen


def _normal_equations(
    network: ConvexRidge, points: Tensor, level: Tensor | None, meant: Tensor
) -> tuple[Tensor, Tensor]:
    """The Gram matrix of the terms of the gradient and their products with it, each point relative to its gradient."""
    groups, group = network.config.widths[-1] // network.config.group, network.config.group
    gram, product = torch.zeros(groups, groups, dtype=torch.float64), torch.zeros(groups, dtype=torch.float64)
    for index in range(len(points)):
        ridge = network.ridge(None if level is None else level[index : index + 1])
        x = points[index : index + 1]
        responses = ridge.influence(0, analyse(x, ridge.kernel, ridge.padding))
        size = (x.shape[-2], x.shape[-1])
        terms = [
            synthesise(part, kernel, ridge.padding, size).flatten()
            for part, kernel in zip(torch.split(responses, group, 1), torch.split(ridge.kernel, group), strict=True)
        ]
        each = (float(ridge.weight.max()) * torch.stack(terms)).double()
        whole = meant[index].flatten().double()
        weight = 1 / whole.square().sum().clamp(min=1e-30)
        gram += weight * each @ each.mT
        product += weight * each @ whole
    return gram, product


def _nonnegative(gram: Tensor, product: Tensor, kept: int) -> Tensor:
    """``argmin_{m >= 0} m G m / 2 - c m`` with at most so many entries, chosen by an l1 norm of bisected weight."""
    low, high = 0.0, float(product.max())
    best = torch.ones_like(product)
    for _ in range(30):
        middle = (low + high) / 2
        found = _projected(gram, product - middle, best)
        if int((found > 0).sum()) >= kept:
            low, best = middle, found
        else:
            high = middle
    mask = torch.zeros_like(best).index_fill(0, best.argsort(descending=True, stable=True)[:kept], 1.0)
    return _projected(gram * mask * mask[:, None], product * mask, best * mask) * mask


def _projected(gram: Tensor, product: Tensor, start: Tensor, steps: int = 300) -> Tensor:
    """Projected gradients with Nesterov's momentum."""
    stepsize = 1 / float(torch.linalg.eigvalsh(gram)[-1].clamp(min=1e-30))
    x = v = start
    for step in range(steps):
        previous, x = x, (v - stepsize * (gram @ v - product)).clamp(min=0)
        v = x + step / (step + 3) * (x - previous)
    return x


def _with_filters(network: ConvexRidge, chosen: Tensor, factors: Tensor) -> ConvexRidge:
    """A potential of some of the groups of filters, each multiplied by a factor."""
    config = network.config
    twin = make(replace(config, widths=(*config.widths[:-1], len(chosen) * config.group)))
    assert isinstance(twin, ConvexRidge)  # noqa: S101  the architecture is one's
    rows = (chosen[:, None] * config.group + torch.arange(config.group)).flatten()
    before = float(peak_norm(network.filters.composed(), GRID))
    state = {name: _selected(name, tensor, network, chosen, rows) for name, tensor in network.state_dict().items()}
    last = f"filters.kernels.{len(network.filters.kernels) - 1}"
    state[last] = state[last] * factors.sqrt().repeat_interleave(config.group).view(-1, 1, 1, 1).to(state[last])
    twin.load_state_dict(state)
    change = math.log(float(peak_norm(twin.filters.composed(), GRID)) / before)
    twin.log_scale.add_(factors.log().to(twin.log_scale) / 2 - change)
    if not config.one_shot:
        twin.log_weight.add_(2 * change)
    twin.solver = network.solver
    return twin


def _selected(name: str, tensor: Tensor, network: ConvexRidge, chosen: Tensor, rows: Tensor) -> Tensor:
    """A parameter of the smaller network, from that of the larger one, by what its axes count."""
    groups = network.config.widths[-1] // network.config.group
    if name.startswith("filters."):
        return tensor[rows] if name.endswith(f".{len(network.filters.kernels) - 1}") else tensor
    if name == "log_scale":
        return tensor[:, chosen]
    if name.startswith("mask.corrector.enter.weight"):
        return tensor[:, torch.cat([chosen, torch.tensor([groups])])]
    if name.startswith(("profile.", "mask.before", "mask.after", "mask.law", "mask.corrector.leave")):
        return tensor[chosen]
    return tensor
