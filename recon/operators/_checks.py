"""The refusals that all operators share: one sentence each, with the caller's own shape."""

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.operators.base import Space


def as_words(shape: tuple[int, ...]) -> str:
    """A shape as people write it: ``512 x 512``."""
    return " x ".join(str(length) for length in shape)


def require_member(owner: str, what: str, x: Tensor, space: Space) -> None:
    """Refuse a tensor that is not in the space: trailing shape, real or complex, never integers.

    Args:
        owner: The operator's name, with which the sentence begins.
        what: "image" or "measurement".
        x: The tensor, any leading dimensions.
        space: Where it must lie.

    Raises:
        UsageError: If it does not lie there.
    """
    if not isinstance(x, Tensor):
        raise UsageError(
            f"{owner}: the {what} is a {type(x).__name__}; expected a torch.Tensor, as from_numpy makes it."
        )
    rank = len(space.shape)
    if x.ndim < rank or tuple(x.shape[x.ndim - rank :]) != space.shape:
        expected = ", ".join(str(length) for length in space.shape)
        raise UsageError(
            f"{owner}: the {what} has shape {tuple(x.shape)}; expected (..., {expected}), "
            f"because the operator was built for {what}s of {as_words(space.shape)}."
        )
    if x.is_complex() != space.is_complex or not (x.is_complex() or x.is_floating_point()):
        numbers = "complex" if space.is_complex else "real floating-point"
        raise UsageError(
            f"{owner}: the {what} has dtype {x.dtype}; expected {numbers} numbers, "
            f"because the operator acts between spaces of those."
        )


def require_image_shape(owner: str, image_shape: tuple[int, ...]) -> tuple[int, int]:
    """``(height, width)`` as two positive integers.

    Raises:
        UsageError: If it is anything else.
    """
    shape = tuple(image_shape)
    if len(shape) != 2 or any(int(length) != length or length < 1 for length in shape):
        raise UsageError(
            f"{owner}: the image shape is {shape}; expected two positive integers (height, width), "
            f"because the operator acts on single slices."
        )
    return int(shape[0]), int(shape[1])


def require_stepsize(owner: str, stepsize: float) -> None:
    """Refuse a step that no resolvent has.

    Raises:
        UsageError: If it is negative, infinite or not a number.
    """
    if not 0 <= stepsize < float("inf"):
        raise UsageError(
            f"{owner}: the step size is {stepsize}; expected a finite number that is not negative, "
            f"because (Id + s A^T A)^-1 is a resolvent for such s only."
        )


def require_boolean_mask(owner: str, mask: Tensor) -> None:
    """Refuse a mask that is not a two-dimensional boolean tensor.

    Raises:
        UsageError: If it is anything else.
    """
    if mask.ndim != 2 or mask.dtype != torch.bool:
        raise UsageError(
            f"{owner}: the mask has shape {tuple(mask.shape)} and dtype {mask.dtype}; "
            f"expected (height, width) of bool, because a sample is either kept or not (for a grey mask: mask > 0.5)."
        )
