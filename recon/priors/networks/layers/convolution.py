"""Convolutions whose norm has a sound bound at every image size, and their exact adjoints.

``analyse`` correlates an image with a bank of filters, ``synthesise`` is its transpose. The padding is one of

- *zero*: the image is continued by zeros, and the output has its size;
- *circular*: the image is continued periodically;
- *valid*: the filters stay inside the image, and the output is smaller.

The first and the last are compressions P W P' of the infinite convolution, the second has its symbol on a grid: the
supremum of the symbol bounds all three. Reflected and replicated images are none of these, and are refused.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from recon.errors import UsageError

SAME = ("zero", "circular")
PADDINGS = (*SAME, "valid")
_UNSOUND = ("reflect", "replicate", "symmetric", "mirror", "edge", "same")


def check_padding(padding: str, known: tuple[str, ...] = SAME) -> None:
    """Refuse a padding for which the symbol bounds nothing.

    Raises:
        UsageError: It is not among the known ones.
    """
    if padding in known:
        return
    expected = " or ".join(repr(name) for name in known)
    why = ""
    if padding in _UNSOUND:
        why = (
            ", because the symbol of a convolution does not bound its norm where the image is continued by its own "
            "values: a 3 x 3 box has norm 1.045 with reflection"
        )
    raise UsageError(f"padding: {padding!r} is not covered by any bound; expected {expected}{why}.")


def convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, padding: str) -> Tensor:
    """The correlation of images with filters of odd size, at the size of the images.

    Args:
        x: ``(batch, in, height, width)``.
        kernel: ``(out, in, k, l)``, k and l odd.
        bias: ``(out,)``, or none.
        padding: ``"zero"`` or ``"circular"``.
    """
    reach = (kernel.shape[2] // 2, kernel.shape[3] // 2)
    if padding == "circular":
        return functional.conv2d(wrap(x, reach), kernel, bias)
    return functional.conv2d(x, kernel, bias, padding=reach)


def convolve_adjoint(z: Tensor, kernel: Tensor, padding: str) -> Tensor:
    """The transpose of :func:`convolve` without bias: the correlation with the reversed filters."""
    return convolve(z, reversed_kernel(kernel), None, padding)


def reversed_kernel(kernel: Tensor) -> Tensor:
    """The kernel of the transpose."""
    return kernel.transpose(0, 1).flip(2, 3)


def wrap(x: Tensor, reach: tuple[int, int]) -> Tensor:
    """The periodic continuation of images by a number of rows and columns on either side, as often as it takes."""
    if reach[0] <= x.shape[-2] and reach[1] <= x.shape[-1]:
        return functional.pad(x, (reach[1], reach[1], reach[0], reach[0]), mode="circular")
    for dim, size in ((-2, reach[0]), (-1, reach[1])):
        index = torch.arange(-size, x.shape[dim] + size, device=x.device) % x.shape[dim]
        x = x.index_select(dim, index)
    return x


def analyse(x: Tensor, kernel: Tensor, padding: str) -> Tensor:
    """The responses of images to few-channel filters of odd size, differentiable as often as one likes.

    Args:
        x: ``(batch, in, height, width)``.
        kernel: ``(filters, in, k, k)``, k odd.
        padding: One of :data:`PADDINGS`; ``"valid"`` gives nothing where the image is smaller than the filters.
    """
    reach = kernel.shape[-1] // 2
    if padding == "circular":
        x = wrap(x, (reach, reach))
    elif padding == "zero":
        x = functional.pad(x, (reach, reach, reach, reach))
    if min(x.shape[-2:]) < kernel.shape[-1]:
        return x.new_zeros(x.shape[0], kernel.shape[0], 0, 0)
    found: Tensor = _Correlate.apply(x, kernel)
    return found


def synthesise(z: Tensor, kernel: Tensor, padding: str, size: tuple[int, int]) -> Tensor:
    """The transpose of :func:`analyse`.

    Args:
        z: The responses.
        kernel: As for the analysis.
        padding: As for the analysis.
        size: ``(height, width)`` of the images.
    """
    reach = kernel.shape[-1] // 2
    if z.shape[-1] == 0:
        return z.new_zeros(z.shape[0], kernel.shape[1], *size)
    if padding == "circular":
        z = wrap(z, (reach, reach))
    spread: Tensor = _Spread.apply(z, kernel)
    margin = {"zero": reach, "circular": 2 * reach, "valid": 0}[padding]
    return spread[..., margin : margin + size[0], margin : margin + size[1]]


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The kernel of the correlation with one bank and then with another, whose sizes are odd."""
    height, width = second.shape[2:]
    padded = functional.pad(first.transpose(0, 1), (width - 1, width - 1, height - 1, height - 1))
    return functional.conv2d(padded, second.flip(2, 3)).transpose(0, 1)


class _Correlate(torch.autograd.Function):
    """The valid correlation, whose backward pass takes the fast transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(x, kernel)
        return functional.conv2d(x, packed(kernel))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, kernel = ctx.saved_tensors
        by_x = _Spread.apply(grads[0], kernel) if ctx.needs_input_grad[0] else None
        by_kernel = _kernel_gradient(x, kernel, grads[0]) if ctx.needs_input_grad[1] else None
        return by_x, by_kernel


class _Spread(torch.autograd.Function):
    """The transpose of the valid correlation."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(z, kernel)
        return functional.conv_transpose2d(z, kernel) if z.is_cuda else _spread_by_rows(z, kernel)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        z, kernel = ctx.saved_tensors
        by_z = _Correlate.apply(grads[0], kernel) if ctx.needs_input_grad[0] else None
        by_kernel = _kernel_gradient(grads[0], kernel, z) if ctx.needs_input_grad[1] else None
        return by_z, by_kernel


def _kernel_gradient(x: Tensor, kernel: Tensor, z: Tensor) -> Tensor:
    """The derivative of ``<z, correlate(x, kernel)>`` by the kernel."""
    found: Tensor = conv2d_weight(x, kernel.shape, z)  # type: ignore[no-untyped-call]
    return found


def packed(kernel: Tensor) -> Tensor:
    """The kernel in the layout that the CPU's library is fastest with; the responses take it over."""
    return kernel if kernel.is_cuda else kernel.contiguous(memory_format=torch.channels_last)


def _spread_by_rows(z: Tensor, kernel: Tensor) -> Tensor:
    """The transposed correlation as one horizontal convolution to a channel for each row of the filters, and a sum.

    With one output channel the library's own transposed convolution leaves the vector units idle: this is ten times
    faster for 32 filters of 13 x 13.
    """
    filters, channels, height, width = kernel.shape
    rows = kernel.permute(1, 2, 0, 3).flip(3).reshape(channels * height, filters, 1, width)
    lines = torch.unflatten(functional.conv2d(z, packed(rows), padding=(0, width - 1)), 1, (channels, height))
    out = z.new_zeros(z.shape[0], channels, z.shape[2] + height - 1, lines.shape[-1])
    for row in range(height):
        out[:, :, row : row + z.shape[2]] += lines[:, :, row]
    return out
