"""A linear inverse of an operator to which a network is applied once, from a whole measurement or a part of it."""

import torch
from torch import Tensor

from recon.operators.tomography import Tomography, inverse
from recon.types import LinearOperator, Map

WINDOW = "hann"
"""Of filtered back-projection, as of ``recon solve --method fbp``."""

_STEPS = 40
"""Of conjugate gradients: with damping of a per cent and more they are at rest in less."""


def share_of(seen: Tensor) -> Tensor:
    """The share of a measurement that is used, of each item, (batch, 1, 1, 1)."""
    return seen.mean((1, 2, 3), keepdim=True)


def pseudo_inverse(operator: LinearOperator, y: Tensor, damping: float, seen: Tensor | None = None) -> Tensor:
    """Filtered back-projection of a scan, else the image of least ``||A x - y||^2 + damping ||x||^2``.

    Args:
        operator: A.
        y: (batch, channels, ...), whose gradient flows through.
        damping: Positive.
        seen: 1 where a measurement is used and 0 where not; it then counts for the rest.
    """
    weights = None if seen is None else seen / share_of(seen)
    if isinstance(operator, Tomography):
        image: Tensor = inverse(operator.geometry, WINDOW)(y if weights is None else weights * y)
        return image

    def normal(x: Tensor) -> Tensor:
        measured = operator.A(x)
        return operator.A_adjoint(measured if weights is None else weights * measured) + damping * x

    return _conjugate_gradients(normal, operator.A_adjoint(y if weights is None else weights * y))


def _conjugate_gradients(normal: Map, right: Tensor) -> Tensor:
    """The solution of a positive definite equation for each item, after a fixed number of steps or at rest."""
    x, residual = torch.zeros_like(right), right
    direction, size = residual, _dot(residual, residual)
    rest = 1e-12 * size.detach()
    for _ in range(_STEPS):
        if bool((size <= rest).all()):
            break
        image = normal(direction)
        moving = size > rest
        length = torch.where(moving, size / _dot(direction, image).clamp(min=1e-30), torch.zeros_like(size))
        x, residual = x + length * direction, residual - length * image
        new = _dot(residual, residual)
        direction, size = residual + torch.where(moving, new / size.clamp(min=1e-30), 0 * new) * direction, new
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2, 3), keepdim=True)
