"""The excess of ||Q'|| over its target, by a few masked passes, and its gradient.

The largest singular value of Q'(x) of every patch, by the method of Golub and Kahan (that of Lanczos on Q'^T Q', with
one transpose fewer) with full re-orthogonalisation, all patches at once, begun with the vectors of the batch before:
six steps see what a power iteration sees in ten (Saad, *Numerical Methods for Large Eigenvalue Problems*, section 6.6).
The value is a lower bound, as that of every iteration. Its gradient with respect to the weights is that of
``||Q'(x) v||^2`` with v held fixed, which is exact where v is a singular vector, because the derivative by v vanishes
there.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from recon.certificates.ascent import Climb, Search
from recon.errors import UsageError
from recon.operators.orthogonal_convolution import orthogonality_residual
from recon.priors.networks import Derivative, DnCNN, Network

_SECANT, _PACE = 0.05, 0.03
"""The root mean square of h, that of the longer secants of :class:`recon.certificates.lipschitz_search.Search`; and
that of a step of x."""

_ROUNDING = 64
"""Rounding units of a vector below which what orthogonalisation leaves of it is nothing: the space is exhausted."""


@final
@dataclass(frozen=True)
class Steepest:
    """The largest singular value at each point.

    Attributes:
        norms: Lower bounds of ||Q'(x)||, ``(batch,)``.
        vectors: Directions of norm 1 that nearly attain them, of the shape of x.
    """

    norms: Tensor
    vectors: Tensor

    @property
    def worst(self) -> int:
        """The index of the point with the largest norm."""
        return int(self.norms.argmax())


@torch.no_grad()
def steepest(network: Network, x: Tensor, level: Tensor | None, start: Tensor, applications: int) -> Steepest:
    """The largest singular values of Q' at some points, on what it may change there.

    Args:
        network: In training or not.
        x: The points, ``(batch, channels, height, width)``.
        level: The noise level of each, for a conditioned network.
        start: Directions to begin with, of the shape of x.
        applications: Steps.
    """
    return _golub_kahan(network.changes(x, level), start, applications)


def excess(network: Network, x: Tensor, level: Tensor | None, vector: Tensor, target: float) -> Tensor:
    """``max(||Q'(x) v||^2 - target^2, 0)`` of one point and direction, with the graph to the weights.

    Args:
        network: A DnCNN: its derivative is made of convolutions with its weights.
        x: The point, ``(1, channels, height, width)``.
        level: Its noise level, for a conditioned network.
        vector: The direction, of norm 1.
        target: What the norm may be.

    Raises:
        UsageError: The derivative of the network holds no graph.
    """
    if not isinstance(network, DnCNN):
        raise UsageError(
            f"excess: {network.config.family} is no DnCNN; expected one, because its derivative is made of its weights."
        )
    return (network.changes(x, level).forward(vector).square().sum() - target**2).clamp(min=0)


def residual_of_orthogonality(network: Network) -> Tensor:
    """The sum of L_orth over the convolutions of a network as they are applied, with its graph to the weights."""
    return torch.stack([orthogonality_residual(kernel) for kernel in network.applied_kernels()]).sum()


@final
@dataclass(frozen=True)
class AdversarialPoint:
    """A point that is moved to where the network expands most, while the network learns not to.

    Attributes:
        x: The point, ``(1, channels, height, width)``.
        h: To another point: the secant, of the same shape.
        level: The noise level, ``(1,)``.
    """

    x: Tensor
    h: Tensor
    level: Tensor

    def hunted(self, network: Network) -> "AdversarialPoint":
        """After one step of gradient ascent of ``||Q(x + h) - Q(x)||`` over x, and over h of a fixed norm."""
        level = self.level if network.conditioned else None
        distance = _SECANT * self.x.numel() ** 0.5
        climb = Climb(lambda x: network.Q(x, level))
        x, h, _ = climb.ascend(self.x, self.h, distance, Search(steps=1, rate=_PACE))
        return AdversarialPoint(x, h, self.level)


def between(clean: Tensor, denoised: Tensor, shares: Tensor) -> Tensor:
    """Points between clean patches, at 0, and denoised ones, at 1 (Pesquet et al. 2021); shares ``(batch,)``."""
    share = shares.view(-1, 1, 1, 1).to(clean)
    return share * denoised + (1 - share) * clean


def without_data(shape: tuple[int, int, int, int], generator: torch.Generator) -> Tensor:
    """Constants, edges, noise, as :func:`recon.certificates.lipschitz_search.starting_images` makes them.

    Args:
        shape: ``(batch, channels, height, width)``.
        generator: Of the kind of each, its two colours, and where its edge runs, which is anywhere.
    """
    batch, channels, height, width = shape
    kind, angle, offset = torch.rand((3, batch, 1, 1, 1), generator=generator)
    colours = torch.rand((2, batch, channels, 1, 1), generator=generator)
    one, other = (2 * colours - 0.5).clamp(0, 1)  # half of the values at an end of [0, 1]
    down, right = torch.linspace(-1, 1, height).view(-1, 1), torch.linspace(-1, 1, width)
    along = torch.cos(2 * torch.pi * angle) * down + torch.sin(2 * torch.pi * angle) * right
    noise = torch.rand(shape, generator=generator)
    patterns = (torch.zeros(shape), (along > offset).expand(shape).to(noise), noise, noise.round())
    chosen = torch.stack(patterns)[(4 * kind).long().flatten(), torch.arange(batch)]
    images: Tensor = one + (other - one) * chosen
    return images


def _golub_kahan(derivative: Derivative, start: Tensor, steps: int) -> Steepest:
    """The largest singular value of Q' on the Krylov space of Q'^T Q', and where it is attained, for each batch item.

    With V the orthonormal basis of that space, ``||Q' V c||`` is largest where c is the last eigenvector of
    ``(Q' V)^T (Q' V)``. The basis needs one transpose fewer than applications of Q', and the norm comes with it.
    """
    shape, tiny = start.shape, torch.finfo(start.dtype).tiny
    basis, images = [_to_unit(start.flatten(1), tiny)], []
    for step in range(steps):
        images.append(derivative.forward(basis[-1].view(shape)).flatten(1))
        if step + 1 == steps:
            break
        pulled = derivative.transpose(images[-1].view(shape)).flatten(1)
        before = pulled.square().sum(1, keepdim=True).sqrt()
        for _ in range(2):  # twice is enough (Kahan and Parlett)
            for vector in basis:
                pulled = pulled - (pulled * vector).sum(1, keepdim=True) * vector
        left = pulled.square().sum(1, keepdim=True).sqrt()
        pulled = torch.where(left > _ROUNDING * torch.finfo(start.dtype).eps * before, pulled, 0.0)
        basis.append(_to_unit(pulled, tiny))
    rows = torch.stack(images, 1)
    values, vectors = torch.linalg.eigh((rows @ rows.mT).double())
    best = vectors[:, :, -1].to(start.dtype)
    total = torch.zeros_like(basis[0])
    for step, vector in enumerate(basis):
        total = total + best[:, step, None] * vector
    return Steepest(values[:, -1].clamp(min=0).sqrt().to(start.dtype), _to_unit(total, tiny).view(shape))


def _to_unit(v: Tensor, tiny: float) -> Tensor:
    """Rows of norm 1; a zero row stays zero."""
    return v / v.square().sum(1, keepdim=True).sqrt().clamp(min=tiny)
