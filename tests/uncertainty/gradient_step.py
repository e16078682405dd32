"""A user's resolvent, of which nothing is known."""

from torch import Tensor


def shrink():
    return _shrunk


def _shrunk(x: Tensor) -> Tensor:
    return 0.9 * x
