"""Descriptive statistics of a training: the tail index of the gradient noise, and the rate of scale-invariant weights.

Neither is evidence of anything: they stand in the log for those who compare trainings, and no verdict uses them.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recon.errors import GuaranteeError
from recon.training.losses import fidelity

if TYPE_CHECKING:
    from recon.training.trainer import Trainer

_FEWEST = 1000
"""Coordinates of gradients from which a tail index is read."""

_OF_TENSOR = 100
"""Coordinates of a tensor of weights from which its scale is read; smaller ones, as biases, are left out."""

_FACTOR = 1.5
_SAME = 1e-2
"""What a factor of weights may change in an output that does not depend on it, relative to what another change of the
same size does: a normalisation adds a small number to a variance."""


def tail_index(samples: Tensor) -> float:
    """An estimate of the index alpha of a symmetric stable law: 2 for a normal one, less for heavier tails.

    With X_i centred, and Y_i the sums of m successive ones, ``1/alpha = (mean log|Y| - mean log|X|) / log m``
    (Mohammadi, Mohammadpour, Ogata 2015); m is the square root of their number. Of n = 10,000 stable numbers the
    estimate has a standard deviation of about 0.1. It is biased for other laws: it reads about 1.8 for Student's t with
    three degrees of freedom, whose variance is finite, and about 1 for normal numbers that are not centred, which is
    why they are. Coordinates that depend on each other bias it too.

    Args:
        samples: Of any shape; zeros are left out, as of weights that no gradient reaches.

    Returns:
        The estimate, or NaN of fewer than 4 numbers, or of numbers that are all the same.
    """
    values = samples.detach().flatten().double()
    values = values[values != 0]
    values = values - values.mean() if len(values) else values
    values = values[values != 0]
    length = math.isqrt(len(values))
    if length < 2:
        return math.nan
    kept = values[: length * length]
    sums = kept.view(length, length).sum(1)
    ratio = float(sums[sums != 0].abs().log().mean() - kept.abs().log().mean()) / math.log(length)
    return 1 / ratio if ratio > 0 else math.nan


def pooled(noise: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """The coordinates of the noise of several tensors in a random order, those of a tensor over their median modulus.

    Without it a mixture of small and large layers would look like a heavy tail, and the coordinates of one filter,
    which move together, would be summed together.
    """
    parts = []
    for tensor in noise:
        values = tensor.detach().flatten().double().cpu()
        values = values[values != 0]
        if len(values) >= _OF_TENSOR:
            parts.append(values / values.abs().median())
    if not parts:
        return torch.zeros(0, dtype=torch.float64)
    every = torch.cat(parts)
    return every[torch.randperm(len(every), generator=generator)]


def gradient_tail_index(trainer: "Trainer", generator: torch.Generator) -> float:
    """The tail index of the noise of the gradient of the loss at the weights of now, without the penalty.

    Its noise is half of the difference of the gradients of the halves of one batch, the next one; of its law that is
    symmetric, so that the mean gradient is gone. NaN where the batch has one patch, too few weights are trained, or a
    reconstruction does not converge.
    """
    begin, end = trainer.group.share(trainer.recipe.training.batch)
    data = trainer.upcoming(begin, end)
    half = len(data.noisy) // 2
    if not half:
        return math.nan
    weights = [parameter for parameter in trainer.network.parameters() if parameter.requires_grad]
    config, gradients = trainer.recipe.training, []
    try:
        for part in (data.part(0, half), data.part(half, 2 * half)):
            values, _ = fidelity(trainer.network, part, config, trainer.restoration, trainer.own.loss)
            shares = (part.level / config.noise[1]) ** -config.balance
            gradients.append(torch.autograd.grad((shares * values).mean(), weights, allow_unused=True))
    except GuaranteeError:
        return math.nan
    noise = [(a - b) / 2 for a, b in zip(*gradients, strict=True) if a is not None and b is not None]
    samples = pooled(noise, generator)
    return tail_index(samples) if len(samples) >= _FEWEST else math.nan


def scale_invariant(network: nn.Module, apply: Callable[[nn.Module], Tensor]) -> list[str]:
    """The names of the weights whose scale the output does not depend on, as of layers that are normalised afterwards.

    Found by a trial at one input: a factor of the weights changes nothing, and another change of them does.

    Args:
        network: Which is not changed.
        apply: From the network to its output at a fixed input.
    """
    twin = copy.deepcopy(network)
    found = []
    with torch.no_grad():
        before = apply(twin)
        for name, weights in twin.named_parameters():
            if weights.ndim < 2:
                continue
            kept = weights.clone()
            direction = torch.randn(kept.shape, generator=torch.Generator().manual_seed(0)).to(kept)
            weights.mul_(_FACTOR)
            scaled = float((apply(twin) - before).abs().max())
            weights.copy_(kept + float(kept.norm() / direction.norm().clamp(min=1e-30)) * direction)
            other = float((apply(twin) - before).abs().max())
            weights.copy_(kept)
            if other > 0 and scaled <= _SAME * other:
                found.append(name)
    return found


def effective_rate(network: nn.Module, names: Sequence[str], rate: float) -> float:
    """The geometric mean of ``rate / ||w||^2`` over weights whose scale has no effect; NaN without one.

    That is the learning rate of the direction ``w / ||w||`` under gradient descent, as the gradient of such weights is
    orthogonal to them and proportional to ``1 / ||w||``. Adam divides by a scale of the gradient, so that of its steps
    it tells the trend alone.
    """
    wanted = dict(network.named_parameters())
    norms = [float(wanted[name].detach().norm()) for name in names]
    if not norms or min(norms) <= 0:
        return math.nan
    return rate * math.exp(-2 * sum(map(math.log, norms)) / len(norms))
