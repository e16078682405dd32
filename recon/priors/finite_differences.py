"""The gradient of an image, or of a volume, by forward differences."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.evidence import Proved
from recon.operators.base import EXACT_ADJOINT, OperatorProperties, Space
from recon.operators.rounding import rounded_up

ANY_SIZE = (-1, -1)


@dataclass(frozen=True)
class FiniteDifferences:
    """``D x``: along each axis the difference to the next item over their distance, zero across the last.

    Images ``(..., height, width)`` become ``(..., 2, height, width)``: first the vertical, then the horizontal
    differences (Neumann boundary). Volumes ``(..., slices, height, width)`` become ``(..., 3, slices, height, width)``,
    and so on for as many axes as ``image_shape`` has.

    The norm is exact where the size is known: D^T D is diagonalised by the cosine transform, and its largest
    eigenvalue is the sum over the axes of ``4 sin^2(pi (n-1) / 2n) / h^2``, with n items at the distance h. For an
    unknown size the root of the sum of ``4 / h^2`` bounds it.

    Attributes:
        image_shape: ``(height, width)``; left out, images of every size are taken, and the spaces have -1 for each
            length that is free.
        spacing: The distance h of two neighbours along each axis; 1 where it is left out.
    """

    image_shape: tuple[int, ...] = ANY_SIZE
    spacing: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        any_size = set(self.image_shape) == {-1}
        if not self.image_shape or (not any_size and min(self.image_shape) < 1):
            raise UsageError(
                f"FiniteDifferences: image_shape={self.image_shape!r}; expected (height, width), or (slices, height, "
                "width), positive."
            )
        distances = self.distances
        if len(distances) != len(self.image_shape) or not all(0 < h < math.inf for h in distances):
            raise UsageError(
                f"FiniteDifferences: spacing={self.spacing!r} with images of {len(self.image_shape)} axes; expected a "
                "positive finite distance for each."
            )

    @property
    def distances(self) -> tuple[float, ...]:
        """Of two neighbours along each axis."""
        return self.spacing or (1.0,) * len(self.image_shape)

    @property
    def domain(self) -> Space:
        return Space(self.image_shape)

    @property
    def range(self) -> Space:
        return Space((len(self.image_shape), *self.image_shape))

    @property
    def properties(self) -> OperatorProperties:
        if -1 in self.image_shape:
            bound = math.sqrt(sum(4 / h**2 for h in self.distances))
            norm = Proved(rounded_up(bound), "a bound for images of every size: |a - b|^2 <= 2|a|^2 + 2|b|^2")
        else:
            sides = zip(self.image_shape, self.distances, strict=True)
            square = sum(4 * math.sin(math.pi * (n - 1) / (2 * n)) ** 2 / h**2 for n, h in sides)
            norm = Proved(
                rounded_up(math.sqrt(square)), "exact up to rounding: the cosine transform diagonalises D^T D"
            )
        return OperatorProperties(norm=norm, adjoint_gap=EXACT_ADJOINT)

    def A(self, x: Tensor) -> Tensor:
        rank = len(self.image_shape)
        self._check("image", x, rank)
        leading, shape = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
        difference = x.new_empty(*leading, rank, *shape)
        for axis, h in enumerate(self.distances):
            part, place, last = difference.select(-rank - 1, axis), axis - rank, shape[axis] - 1
            inner = part.narrow(place, 0, last)
            inner.copy_(x.narrow(place, 1, last)).sub_(x.narrow(place, 0, last))
            if h != 1:
                inner.mul_(1 / h)
            part.select(place, last).zero_()
        return difference

    def A_adjoint(self, y: Tensor) -> Tensor:
        rank = len(self.image_shape)
        self._check("field of differences", y, rank + 1)
        x = torch.mul(y.select(-rank - 1, 0), -1 / self.distances[0])
        x.select(-rank, x.shape[-rank] - 1).zero_()
        for axis, h in enumerate(self.distances):
            place = axis - rank
            last = x.shape[place] - 1
            inner = y.select(-rank - 1, axis).narrow(place, 0, last)
            x.narrow(place, 1, last).add_(inner, alpha=1 / h)
            if axis:
                x.narrow(place, 0, last).sub_(inner, alpha=1 / h)
        return x

    def _check(self, what: str, x: Tensor, trailing: int) -> None:
        wanted = (self.domain if trailing == len(self.image_shape) else self.range).shape
        found = tuple(x.shape[-trailing:])
        if len(found) != trailing or any(w not in (-1, f) for w, f in zip(wanted, found, strict=True)):
            raise UsageError(f"FiniteDifferences: the {what} has shape {tuple(x.shape)}; expected (..., {wanted}).")
