"""A learned metric of a sparse coding: steps that come nearer to the same code, learned on the objective itself."""

import copy
from dataclasses import replace

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.priors.networks import ConvolutionalSparseCoding
from recon.priors.networks.architectures.network import NoiseLevel


def in_steps(network: ConvolutionalSparseCoding, steps: int, metric: str = "scalar") -> ConvolutionalSparseCoding:
    """The network of a number of tied steps with the same dictionaries and thresholds.

    Args:
        network: Of a code that is solved for, or of tied steps in the scalar metric.
        steps: Their number.
        metric: ``"scalar"``, or ``"diagonal"``, which begins as the scalar one.

    Raises:
        UsageError: The network has untied steps or a metric of its own.
    """
    config = network.config
    if not config.tied or config.metric != "scalar":
        raise UsageError(
            f"in_steps: the network has tied={config.tied} and metric={config.metric!r}; expected one dictionary a "
            "layer and the scalar metric, because others are of their own steps."
        )
    found = ConvolutionalSparseCoding(replace(config, steps=steps, metric=metric))
    found.load_state_dict({**found.state_dict(), **copy.deepcopy(network.state_dict())})
    return found.to(next(network.parameters()).dtype)


def learn_metric(  # noqa: PLR0913  what, on what, and how
    network: ConvolutionalSparseCoding,
    images: Tensor,
    noise_level: NoiseLevel = None,
    *,
    layer: int = 0,
    iterations: int = 100,
    rate: float = 0.1,
) -> list[float]:
    """Learn the step sizes of the atoms on the objective P after the network's number of steps, by Adam.

    No clean images are needed, the dictionary stays, and in every metric that is found more steps tend to the same
    code, because the condition is part of its construction.

    Args:
        network: With ``metric = "diagonal"``; its metric is changed in place, to the best one that was seen.
        images: Noisy images, ``(batch, channels, height, width)``.
        noise_level: Where the network depends on it.
        layer: Whose metric it is; the images are those that come into the layer.
        iterations: Steps of Adam.
        rate: Its learning rate, of the logarithms.

    Returns:
        The mean of P over the images before each iteration, and the least, which is that of the metric that is kept.

    Raises:
        UsageError: The network has no metric to learn.
    """
    if network.config.metric != "diagonal":
        raise UsageError(
            f"learn_metric: metric={network.config.metric!r}; expected 'diagonal', which has a step size for each atom."
        )
    free = network.log_metric[layer]
    optimizer = torch.optim.Adam([free], lr=rate)
    values: list[float] = []
    best = free.detach().clone()
    with torch.no_grad():
        code = network.codes(noise_level)[layer]
    for _ in range(iterations):
        codes = network.stepped(code, images, network.config.steps, layer)
        value = code.objective(images, codes).mean()
        if not values or float(value.detach()) < min(values):
            best = free.detach().clone()
        values.append(float(value.detach()))
        optimizer.zero_grad(set_to_none=True)
        (gradient,) = torch.autograd.grad(value, free)
        free.grad = gradient
        optimizer.step()
    with torch.no_grad():
        free.copy_(best)
    return [*values, min(values)]
