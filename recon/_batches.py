"""Transforms of batches that may be empty, or hold one image many times: libraries fail on both."""

from collections.abc import Callable

from torch import Tensor


def on_any_batch(transform: Callable[[Tensor], Tensor], x: Tensor, axes: int) -> Tensor:
    """``transform(x)``, also where x has no items, which MKL refuses, or repeats numbers with a stride of zero.

    Args:
        transform: A map of the last axes, which treats the others as a batch.
        x: (..., *item), of ``axes`` axes an item.
        axes: Of an item.
    """
    leading, item = x.shape[: x.ndim - axes], x.shape[x.ndim - axes :]
    if x.numel() or not item.numel():
        repeats = 0 in x.stride()  # as expanded tensors do: transforms of these were seen to fail with torch 2.6
        return transform(x.contiguous() if repeats else x)
    one = transform(x.new_zeros((1, *item)))
    nothing = (x.real if x.is_complex() else x).sum().to(one.dtype)  # keeps the result on the graph of x
    return one.new_zeros((*leading, *one.shape[1:])) + nothing
