"""Sparse layers by subdifferential inclusion: few weights with which a layer still says what it said.

A layer ``y = R(W x + b)`` whose activation is a proximity operator, R = prox_f, satisfies ``W x + b - y in df(y)``
(Verma and Pesquet 2021, *Sparsifying networks via subdifferential inclusion*, PMLR 139:10542). A sparse W is sought
that nearly satisfies it on samples, without labels. The criterion is, with ``phi(u) = sup_y <u, y> - f(y) - |y|^2/2``,

    D(u) = phi(u) + phi*(y) - <u, y> = f(y) + |y|^2/2 + phi(u) - <u, y>,    u = W x + b.

*Theorem*. D is convex in u, its gradient ``R(u) - y`` is 1-Lipschitz, ``D(u) >= |R(u) - y|^2 / 2``, and D(u) = 0
exactly where the inclusion holds. *Proof*: phi is the conjugate of the 1-strongly convex ``f + |.|^2/2``, so it is
convex with the 1-Lipschitz gradient prox_f = R; ``D(u) = 0`` is equality in the inequality of Fenchel and Young,
``u in df(y) + y``. With v such that y = R(v), D is the Bregman distance of phi between u and v, which is at least half
the squared distance of the gradients (Baillon and Haddad 1977).

For a rectifier and y = 0 that is ``max(u, 0)^2 / 2``, half the squared distance of u - y to df(y), as in the paper;
for y > 0 it is ``(u - y)^2 / 2`` where u >= 0, and grows only linearly beyond, where the paper's is quadratic. Nothing
but R is needed to minimise it, so it serves every activation of :data:`recon.priors.networks.ACTIVATIONS`, also those
whose df is empty where they saturate.

``min D + l |W|_1`` is solved by FISTA with restarts; l is found by bisection, and then D alone is minimised over the
weights that are left: without that refit the l1 norm, which shrinks what it keeps, loses to magnitude pruning.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor

from recon.types import Map

_BISECTIONS, _STEPS, _REFIT = 10, 40, 150
"""Multipliers that are tried; steps of FISTA for each, which begins where the one before ended; and steps of the refit.
"""

_QUIET, _RIDGE = 0.1, 1e-3
"""Of the mean variance of the inputs, added to that of each before they are scaled; and the weight of ``|W|^2 / 2`` on
scaled inputs. Inputs that are quiet on the samples have weights that nothing else determines, and may be loud on other
images: without the first, a DnCNN with filters dropped until 40 % of the weights were left had a Lip(Q) of 183 in a
quick search, and 4.1 with it, where the dense network had 4.6; the PSNR was the same.
"""


@final
@dataclass(frozen=True)
class Samples:
    """What a layer saw and what it said.

    Attributes:
        inputs: ``(samples, inputs)``; a convolution sees unfolded patches.
        outputs: y, ``(samples, outputs)``.
        activation: R, of ``(samples, outputs)``.
    """

    inputs: Tensor
    outputs: Tensor
    activation: Map


@final
@dataclass(frozen=True)
class Weights:
    """Of a linear map: ``W`` of ``(outputs, inputs)`` and ``b`` of ``(outputs,)``."""

    matrix: Tensor
    bias: Tensor


class Inclusion:
    """The criterion on samples, in inputs centred and scaled, so that a weight counts by its effect.

    Args:
        samples: Of one layer.
        biased: Whether the layer has a bias; without one nothing is centred.
    """

    def __init__(self, samples: Samples, biased: bool = True) -> None:
        inputs = samples.inputs
        self.biased = biased
        self.mean = inputs.mean(0) if biased else torch.zeros_like(inputs[0])
        centred = inputs - self.mean
        variance = centred.square().mean(0)
        floor = _QUIET * variance.mean()
        live = variance > 1e-12 * variance.max().clamp(min=1e-30)
        self.scale = torch.where(live, (variance + floor).sqrt(), math.inf)  # a dead input has no weight
        self.inputs, self.outputs, self.activation = centred / self.scale, samples.outputs, samples.activation
        self.count = len(inputs)
        gram = self.inputs.mT @ self.inputs / self.count
        self.lipschitz = max(float(torch.linalg.eigvalsh(gram.double())[-1]), 1.0 if biased else 0.0) + _RIDGE

    def standard(self, weights: Weights) -> Weights:
        """Weights of the inputs as they are, for the centred and scaled ones."""
        scale = torch.where(self.scale.isinf(), 0.0, self.scale)
        return Weights(weights.matrix * scale, weights.bias + weights.matrix @ self.mean)

    def plain(self, weights: Weights) -> Weights:
        """The inverse of :meth:`standard`."""
        matrix = weights.matrix / self.scale
        return Weights(matrix, weights.bias - matrix @ self.mean)

    def gradient(self, weights: Weights) -> Weights:
        """Of the mean of D over the samples."""
        said = self.activation(torch.addmm(weights.bias, self.inputs, weights.matrix.mT))
        excess = (said - self.outputs) / self.count
        bias = excess.sum(0) if self.biased else torch.zeros_like(weights.bias)
        return Weights(torch.addmm(_RIDGE * weights.matrix, excess.mT, self.inputs), bias)

    def error(self, weights: Weights) -> float:
        """``|R(W x + b) - y|^2 / |y|^2``."""
        said = self.activation(torch.addmm(weights.bias, self.inputs, weights.matrix.mT))
        return float((said - self.outputs).square().sum() / self.outputs.square().sum().clamp(min=1e-30))

    def minimise(self, start: Weights, project: Map, steps: int) -> Weights:
        """FISTA with gradient restarts; ``project`` is the proximity operator of what is added, with its step."""
        x = v = start
        t = 1.0
        for _ in range(steps):
            gradient = self.gradient(v)
            matrix = project(v.matrix - gradient.matrix / self.lipschitz)
            bias = v.bias - gradient.bias / self.lipschitz
            uphill = ((v.matrix - matrix) * (matrix - x.matrix)).sum() + ((v.bias - bias) * (bias - x.bias)).sum()
            t = 1.0 if uphill > 0 else t
            momentum, t = (t - 1) / ((1 + math.sqrt(1 + 4 * t * t)) / 2), (1 + math.sqrt(1 + 4 * t * t)) / 2
            previous, x = x, Weights(matrix, bias)
            v = Weights(matrix + momentum * (matrix - previous.matrix), bias + momentum * (bias - previous.bias))
        return x


@final
@dataclass(frozen=True)
class Support:
    """Weights that are kept or go together.

    Attributes:
        sizes: From ``W`` of ``(outputs, inputs)`` to the norm of each part.
        spread: From one number a part to the shape of W.
    """

    sizes: Map
    spread: Map

    def shrunk(self, matrix: Tensor, threshold: float) -> Tensor:
        """The proximity operator of ``threshold`` times the sum of the norms."""
        sizes = self.sizes(matrix)
        return matrix * self.spread((1 - threshold / sizes.clamp(min=1e-30)).clamp(min=0))


def each_weight(shape: tuple[int, int]) -> Support:
    """Every weight by itself: the l1 norm."""
    return Support(lambda matrix: matrix.abs().flatten(), lambda part: part.view(shape))


def each_channel(shape: tuple[int, int], channels: int) -> Support:
    """The weights of all outputs for one channel of the input, whose columns are successive: the group l1 norm."""
    outputs, inputs = shape
    return Support(
        lambda matrix: matrix.view(outputs, channels, inputs // channels).square().sum((0, 2)).sqrt(),
        lambda part: part.repeat_interleave(inputs // channels).expand(outputs, inputs),
    )


def sparse(
    samples: Samples, start: Weights, kept: int, *, biased: bool = True, channels: int | None = None
) -> tuple[Weights, float, Tensor]:
    """Weights of which few differ from 0, by l1 and refitted, with their error and the parts that are kept.

    Args:
        samples: Of the layer.
        start: Its dense weights.
        kept: How many may differ from 0; with channels, how many of these.
        biased: Whether the layer has a bias.
        channels: Of the input, whose weights are kept or go together; ``None``: each weight by itself.

    Returns:
        The weights; ``|R(W x + b) - y|^2 / |y|^2``; the indices of the parts, in order.
    """
    problem = Inclusion(samples, biased)
    shape = (start.matrix.shape[0], start.matrix.shape[1])
    support = each_weight(shape) if channels is None else each_channel(shape, channels)
    dense = problem.standard(start)
    found = path(problem, dense, support, kept) if kept < len(support.sizes(dense.matrix)) else dense
    parts = support.sizes(found.matrix).argsort(descending=True, stable=True)[:kept].sort().values
    refitted = refit(problem, found, support, parts)
    return problem.plain(refitted), problem.error(refitted), parts


def path(problem: Inclusion, dense: Weights, support: Support, kept: int) -> Weights:
    """A minimiser of D + l times the sum of the norms, with at least ``kept`` parts and hardly more; l is bisected."""
    high = float(support.sizes(dense.matrix).max().clamp(min=1e-30))  # from where on little is left
    low, best, at = 1e-6 * high, dense, dense
    for _ in range(_BISECTIONS):
        threshold = math.sqrt(low * high)
        at = problem.minimise(at, partial(support.shrunk, threshold=threshold / problem.lipschitz), _STEPS)
        count = int((support.sizes(at.matrix) > 0).sum())
        if count >= kept:
            low, best = threshold, at
        else:
            high = threshold
        if kept <= count <= 1.02 * kept:
            break
    return best


def refit(problem: Inclusion, weights: Weights, support: Support, parts: Tensor) -> Weights:
    """Minimise D over some parts."""
    chosen = torch.zeros_like(support.sizes(weights.matrix)).index_fill(0, parts, 1.0)
    mask = support.spread(chosen)
    return problem.minimise(Weights(weights.matrix * mask, weights.bias), lambda matrix: matrix * mask, _REFIT)
