"""The gradient of an image by forward differences."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.evidence import Proved
from recon.operators.base import EXACT_ADJOINT, OperatorProperties, Space

ANY_SIZE = (-1, -1)


@dataclass(frozen=True)
class FiniteDifferences:
    """``D x``: the differences to the next row and to the next column, zero across the last row and column.

    Images ``(..., height, width)`` become ``(..., 2, height, width)``: first the vertical, then the horizontal
    differences (Neumann boundary).

    The norm is exact where the size is known: D^T D is diagonalised by the cosine transform, and its largest
    eigenvalue is ``4 sin^2(pi (h-1) / 2h) + 4 sin^2(pi (w-1) / 2w)``. For an unknown size sqrt(8) bounds it.

    Attributes:
        image_shape: ``(height, width)``; left out, images of every size are taken, and the spaces have -1 for each
            length that is free.
    """

    image_shape: tuple[int, int] = ANY_SIZE

    def __post_init__(self) -> None:
        if self.image_shape != ANY_SIZE and (len(self.image_shape) != 2 or min(self.image_shape) < 1):
            raise UsageError(
                f"FiniteDifferences: image_shape={self.image_shape!r}; expected (height, width), positive."
            )

    @property
    def domain(self) -> Space:
        return Space(self.image_shape)

    @property
    def range(self) -> Space:
        return Space((2, *self.image_shape))

    @property
    def properties(self) -> OperatorProperties:
        if self.image_shape == ANY_SIZE:
            norm = Proved(math.sqrt(8), "a bound for images of every size: |a - b|^2 <= 2|a|^2 + 2|b|^2")
        else:
            square = sum(4 * math.sin(math.pi * (n - 1) / (2 * n)) ** 2 for n in self.image_shape)
            norm = Proved(math.sqrt(square), "exact: the cosine transform diagonalises D^T D")
        return OperatorProperties(norm=norm, adjoint_gap=EXACT_ADJOINT)

    def A(self, x: Tensor) -> Tensor:
        self._check("image", x, 2)
        difference = x.new_empty(*x.shape[:-2], 2, *x.shape[-2:])
        difference[..., 0, :-1, :].copy_(x[..., 1:, :]).sub_(x[..., :-1, :])
        difference[..., 1, :, :-1].copy_(x[..., :, 1:]).sub_(x[..., :, :-1])
        difference[..., 0, -1, :] = 0
        difference[..., 1, :, -1] = 0
        return difference

    def A_adjoint(self, y: Tensor) -> Tensor:
        self._check("field of differences", y, 3)
        vertical, horizontal = y[..., 0, :-1, :], y[..., 1, :, :-1]
        x = torch.neg(y[..., 0, :, :])
        x[..., -1, :] = 0
        x[..., 1:, :] += vertical
        x[..., :, 1:] += horizontal
        x[..., :, :-1] -= horizontal
        return x

    def _check(self, what: str, x: Tensor, trailing: int) -> None:
        wanted = (self.domain if trailing == 2 else self.range).shape
        found = tuple(x.shape[-trailing:])
        if len(found) != trailing or any(w not in (-1, f) for w, f in zip(wanted, found, strict=True)):
            raise UsageError(f"FiniteDifferences: the {what} has shape {tuple(x.shape)}; expected (..., {wanted}).")
