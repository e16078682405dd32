"""Symmetries of an operator: reflections and quarter turns of an image that only reorder what is measured of it.

For such a T there is a permutation P of the measured numbers with A T = P A: white noise stays white under it, and a
reconstruction R has the companion T^-1 R(P y), from the same measurement. The scan of a full turn has all eight
symmetries of the square where its angles begin on an axis and their number is a multiple of four.

P is found from the measurement of one random image, and tried on that image. What is linear and differs, differs on
almost every image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from recon._symmetries import COUNTS
from recon.errors import UsageError
from recon.types import LinearOperator

_GROUPS = {1: (0,), 2: (0, 4), 4: (0, 4, 2, 6), 8: (0, 4, 2, 6, 1, 3, 5, 7)}
_NAMES = (
    "the identity", "a quarter turn", "a half turn", "a quarter turn clockwise", "the reflection of left and right",
    "the reflection in one diagonal", "the reflection of top and bottom", "the reflection in the other diagonal",
)  # fmt: skip

_ALIKE = 1e-5
"""The largest relative difference of P A x and A T x: more than rounding in single precision leaves."""

_ROW_ALIKE = 1e-4
"""The same of one row, by which it is recognised."""


def turned(images: Tensor, way: int) -> Tensor:
    """One of the eight symmetries of the square, of the last two axes; 0 is none."""
    rotated = torch.rot90(images, way % 4, (-2, -1))
    return rotated.flip(-1) if way >= 4 else rotated


def turned_back(images: Tensor, way: int) -> Tensor:
    """The inverse of :func:`turned`: a reflection is its own."""
    return turned(images, way if way >= 4 else -way % 4)


@final
@dataclass(frozen=True)
class Symmetry:
    """One symmetry.

    Attributes:
        way: T, as :func:`turned` counts.
        reorder: P.
    """

    way: int
    reorder: Callable[[Tensor], Tensor]


def symmetries_of(operator: LinearOperator, example: Tensor, count: int) -> tuple[Symmetry, ...]:
    """A group of symmetries of an operator, the identity first.

    Args:
        operator: A, which measures rows and columns: an image of the same kind, or views of one.
        example: An image that it takes, (height, width), in the precision and on the device to try it with.
        count: How many: 2 are the identity and the reflection of left and right, 4 those of left and right, and of top
            and bottom, and the half turn, and 8 all of the square.

    Raises:
        UsageError: There is no such number, or the operator has not all of these.
    """
    if count not in COUNTS:
        raise UsageError(f"symmetries is {count}; expected 1, 2, 4 or 8.")
    if count == 1:
        return (Symmetry(0, lambda y: y),)
    *_, height, width = example.shape
    if count == COUNTS[-1] and height != width:
        raise UsageError(
            f"symmetries is {count} with an image of {height} x {width} pixels; expected 1, 2 or 4, because a quarter "
            "turn takes no other image to its own shape than a square."
        )
    generator = torch.Generator().manual_seed(0)
    image = torch.randn((1, 1, *example.shape), generator=generator).to(example)
    measured = operator.A(image)
    found = [_symmetry(operator, image, measured, way) for way in _GROUPS[count]]
    missing = [_NAMES[way] for way, each in zip(_GROUPS[count], found, strict=True) if each is None]
    if missing:
        also = "" if len(missing) == 1 else f" and {len(missing) - 1} more of them"
        raise UsageError(
            f"symmetries is {count}, and {missing[0]}{also} is none of this operator: it does not only reorder what is "
            f"measured; expected fewer, or none."
        )
    return tuple(each for each in found if each is not None)


def _symmetry(operator: LinearOperator, image: Tensor, measured: Tensor, way: int) -> Symmetry | None:
    """The symmetry of a way to turn an image, if the operator has it."""
    wanted = operator.A(turned(image, way))
    for reorder in (_turns(measured, way), _rows(measured, wanted)):
        if reorder is None:
            continue
        apart = torch.linalg.vector_norm((reorder(measured) - wanted).double())
        if apart <= _ALIKE * torch.linalg.vector_norm(wanted.double()):
            return Symmetry(way, reorder)
    return None


def _turns(measured: Tensor, way: int) -> Callable[[Tensor], Tensor] | None:
    """P of an operator whose measurement is turned as the image is."""
    if turned(measured, way).shape != measured.shape:
        return None
    return lambda y: turned(y, way)


def _rows(measured: Tensor, wanted: Tensor) -> Callable[[Tensor], Tensor] | None:
    """P that puts rows into another order, each backwards or not: the views of a scan; ``None``: there is none."""
    if measured.ndim != 4:
        return None
    given, asked = measured[0, 0].double().cpu(), wanted[0, 0].double().cpu()
    order = _matches(torch.cat([given, given.flip(-1)]), asked)
    if order is None:
        return None
    rows = len(given)
    chosen = torch.tensor([place % rows for place in order])
    backwards = torch.tensor([place >= rows for place in order])

    def reorder(y: Tensor) -> Tensor:
        found = y[..., chosen.to(y.device), :]
        return torch.where(backwards.to(y.device)[:, None], found.flip(-1), found)

    return reorder


def _matches(given: Tensor, asked: Tensor) -> Sequence[int] | None:
    """For each row that is asked for the place of one that is alike; each is given forwards and backwards, taken once.

    Rows that are alike are so in classes of one size, so that the first one that is left will do.
    """
    distances = torch.cdist(asked, given)
    near = distances <= _ROW_ALIKE * torch.linalg.vector_norm(asked, dim=1, keepdim=True)
    rows, left, order = len(asked), set(range(len(asked))), []
    for alike in near:
        place = next((int(at) for at in alike.nonzero()[:, 0] if int(at) % rows in left), None)
        if place is None:
            return None
        left.remove(place % rows)
        order.append(place)
    return order
