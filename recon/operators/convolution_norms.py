"""Sound upper bounds of the norms of convolutions, from their symbols.

The symbol of a kernel is the matrix function ``W(w) = sum_k W_k exp(-i <k, w>)``, output channels by input channels.

- *Circular* padding on an image of one size: the norm is the largest of ||W(w)|| over the frequencies of that size.
- *Zero* padding, any size: the operator is a compression P W P of the infinite convolution, whose norm is the supremum
  of ||W(w)|| over all w. The same supremum bounds circular padding at every size.
- *The supremum from a grid*: for unit vectors u, v the function Re(c <v, W(w) u>) is of exponential type d in each
  frequency, where the kernel has 2 d + 1 entries that way, so around a maximum M it stays above M cos(d t) up to
  t = pi / d (M. Riesz 1914; Duffin and Schaeffer 1938). A grid of N frequencies has one within pi / N of the maximum,
  so the supremum is at most the largest value on the grid times 1 / cos(pi d / N), once an axis.

*Reflect and replicate padding are not covered*: a 3 x 3 box with reflect padding has norm 1.045, its symbol at most 1.
"""

import itertools
import math

import torch
from torch import Tensor

from recon.errors import UsageError
from recon.evidence import Proved

ROUNDING = 1 + 1e-9
"""More than double precision can lose in a Fourier transform and in the eigenvalues of its Gram matrices."""

_ENTRY = 8 * torch.finfo(torch.float64).eps
"""What a term of a sum of products loses at most, relative to the sizes of the factors."""

POINTS_A_DEGREE = 32
_LEAST_GRID = 64
_CHUNK = 2**22
"""Complex numbers held at once while eigenvalues are taken."""


def symbol(kernel: Tensor, shape: tuple[int, int]) -> Tensor:
    """``W(w)`` on the half grid of frequencies of an image of that shape, ``(frequencies, out, in)``, complex128.

    The other half is the complex conjugate. A kernel larger than the image is taken as wrapped.

    Args:
        kernel: ``(out, in, height, width)``, real.
        shape: ``(height, width)`` of the image.
    """
    _check(kernel)
    weights = kernel.detach().to(torch.complex128)
    rows = _exponentials(shape[0], shape[0], kernel.shape[2]).to(kernel.device)
    columns = _exponentials(shape[1], shape[1] // 2 + 1, kernel.shape[3]).to(kernel.device)
    partial = torch.einsum("oikl,bl->boik", weights, columns)
    return torch.einsum("boik,ak->aboi", partial, rows).flatten(0, 1)


def _exponentials(period: int, count: int, taps: int) -> Tensor:
    """``exp(-2 pi i a k / period)`` for a below ``count`` and k below ``taps``."""
    turns = torch.outer(torch.arange(count), torch.arange(taps)) % period  # exact: no argument is ever large
    return torch.exp(-2j * math.pi * turns.double() / period)


def circular_norm(kernel: Tensor, shape: tuple[int, int]) -> Proved:
    """The norm of the circular convolution of images of one size, exact up to rounding upwards.

    Args:
        kernel: ``(out, in, height, width)``, real.
        shape: ``(height, width)`` of the image.

    Raises:
        UsageError: The kernel does not have four dimensions, or is not finite.
    """
    value = _largest(symbol(kernel, shape)) * ROUNDING
    return Proved(value, f"the largest singular value of the symbol at the frequencies of {shape[0]} x {shape[1]}")


def convolution_norm(*kernels: Tensor, grid: int | None = None) -> Proved:
    """An upper bound of the norm of a convolution for zero or circular padding and every image size.

    Several kernels, the first applied first, are bounded as one: the norm of the product of their symbols. With
    circular padding that bounds the composition; with zero padding it bounds the composition of the *infinite*
    convolutions, that is without truncation in between.

    Args:
        kernels: Each ``(out, in, height, width)``, real.
        grid: Frequencies an axis; more bring the bound nearer to the norm.

    Raises:
        UsageError: There is no kernel, one does not fit the next, or the grid is too coarse to bound anything.
    """
    if not kernels:
        raise UsageError("convolution_norm: no kernel was given; expected at least one.")
    for kernel in kernels:
        _check(kernel)
    taps = [1 + sum(kernel.shape[dim] - 1 for kernel in kernels) for dim in (2, 3)]
    points = grid or grid_for(max(taps))
    product = symbol(kernels[0], (points, points))
    for before, after in itertools.pairwise(kernels):
        if before.shape[0] != after.shape[1]:
            raise UsageError(
                f"convolution_norm: a kernel with {before.shape[0]} output channels stands before one with "
                f"{after.shape[1]} input channels; expected the same number."
            )
        product = symbol(after, (points, points)) @ product
    factor = oversampling(taps[0], points) * oversampling(taps[1], points)
    value = (_largest(product) * ROUNDING + _cancelled(kernels)) * factor
    return Proved(value, f"the symbol on {points} x {points} frequencies times {factor:.6g} for what lies between them")


def _cancelled(kernels: tuple[Tensor, ...]) -> float:
    """Return what rounding leaves of a product of several symbols, relative to the product of their sizes."""
    if len(kernels) == 1:
        return 0.0
    sizes = [float(torch.linalg.vector_norm(each.detach().double().abs().sum((2, 3)))) for each in kernels]
    entries = max(each[0].numel() for each in kernels)
    return len(kernels) * entries * _ENTRY * math.prod(sizes)


def absolute_norm(*kernels: Tensor) -> Proved:
    """An upper bound of the Lipschitz constant of convolutions with 1-Lipschitz activations between them, any size.

    Entry by entry, ``|T x - T y| <= |W_m| ... |W_1| |x - y|`` whatever the pointwise 1-Lipschitz activations, and the
    norm of a nonnegative convolution is that of its symbol at frequency zero. So the bound is the norm of the product
    of the matrices ``sum_k |W_k|``, for zero and circular padding and every size. For *nonnegative* kernels and
    activations that somewhere have slope one (ReLU with a large bias) it is the Lipschitz constant of the network over
    all image sizes: a closed form. A layer ((A, B), (B, A)) with A, B >= 0 (ABBA, Neacsu et al. 2024) counts as A + B.

    Args:
        kernels: Each ``(out, in, height, width)``, the first applied first.

    Raises:
        UsageError: There is no kernel, or one does not fit the next.
    """
    if not kernels:
        raise UsageError("absolute_norm: no kernel was given; expected at least one.")
    product = torch.eye(kernels[0].shape[1], dtype=torch.float64, device=kernels[0].device)
    for kernel in kernels:
        _check(kernel)
        if kernel.shape[1] != product.shape[0]:
            raise UsageError(
                f"absolute_norm: a kernel takes {kernel.shape[1]} channels where {product.shape[0]} come in; expected "
                "the same number."
            )
        product = kernel.detach().double().abs().sum((2, 3)) @ product
    value = float(torch.linalg.matrix_norm(product, 2)) * ROUNDING
    return Proved(value, "the norm of the product of the kernels' absolute sums")


def grid_for(taps: int) -> int:
    """Frequencies an axis at which the oversampling costs less than half a per cent an axis."""
    if taps == 1:
        return 1
    wanted = POINTS_A_DEGREE * (taps - 1) // 2
    return max(_LEAST_GRID, 1 << wanted.bit_length())


def oversampling(taps: int, points: int) -> float:
    """Return the ratio of the supremum to the largest value on a grid, at most, along one axis."""
    degree = (taps - 1) / 2
    if not points > 2 * degree:
        raise UsageError(
            f"convolution_norm: a grid of {points} frequencies for a kernel of {taps} entries; expected more than "
            f"{taps - 1}, because between fewer a symbol can be arbitrarily large."
        )
    return 1 / math.cos(math.pi * degree / points)


def peak_norm(kernel: Tensor, grid: int | None = None) -> Tensor:
    """The bound of :func:`convolution_norm` for one kernel, as a tensor that can be differentiated.

    The frequency and the vector at which the symbol is largest are found without a graph; by Danskin's theorem the
    derivative of the largest value is that of the value there. In the precision of the kernel, without the margin for
    rounding.

    Args:
        kernel: ``(out, in, height, width)``, real; fast where one of the two numbers of channels is small.
        grid: As in :func:`convolution_norm`.
    """
    points = grid or grid_for(max(kernel.shape[2:]))
    if kernel.shape[0] < kernel.shape[1]:
        kernel = kernel.transpose(0, 1).flip(2, 3)
    with torch.no_grad():
        rows, columns, vector = _peak(kernel.detach(), points)
    angle = torch.outer(rows, torch.ones_like(columns)) + columns
    real = torch.einsum("oikl,kl,i->o", kernel, angle.cos().to(kernel), vector.real.to(kernel))
    real = real + torch.einsum("oikl,kl,i->o", kernel, angle.sin().to(kernel), vector.imag.to(kernel))
    imag = torch.einsum("oikl,kl,i->o", kernel, angle.cos().to(kernel), vector.imag.to(kernel))
    imag = imag - torch.einsum("oikl,kl,i->o", kernel, angle.sin().to(kernel), vector.real.to(kernel))
    factor = oversampling(kernel.shape[2], points) * oversampling(kernel.shape[3], points)
    return factor * (real.square().sum() + imag.square().sum()).sqrt()


def _peak(kernel: Tensor, points: int) -> tuple[Tensor, Tensor, Tensor]:
    """The phases along rows and columns at the peak of the symbol, and its right singular vector there."""
    gram = _gram_symbol(kernel.double(), points)
    if gram.shape[-1] == 1:
        peak = int(gram[:, 0, 0].real.argmax())
        vector = torch.ones(1, dtype=gram.dtype, device=gram.device)
    else:
        values, vectors = torch.linalg.eigh(gram)
        peak = int(values[:, -1].argmax())
        vector = vectors[peak, :, -1]
    row, column = divmod(peak, points // 2 + 1)
    taps = [torch.arange(n, device=kernel.device, dtype=torch.float64) for n in kernel.shape[2:]]
    return 2 * math.pi * row / points * taps[0], 2 * math.pi * column / points * taps[1], vector


def _gram_symbol(kernel: Tensor, points: int) -> Tensor:
    """``W(w)^* W(w)`` on the half grid, ``(frequencies, in, in)``, from the autocorrelation of the kernel."""
    height, width = kernel.shape[2:]
    swapped = kernel.transpose(0, 1)
    correlation = torch.nn.functional.conv2d(swapped, swapped, padding=(height - 1, width - 1))
    spectrum = torch.fft.fft2(correlation, s=(points, points))[..., : points // 2 + 1]
    rows = torch.exp(2j * math.pi * torch.arange(points) * (height - 1) / points)
    columns = torch.exp(2j * math.pi * torch.arange(points // 2 + 1) * (width - 1) / points)
    centred = spectrum * torch.outer(rows, columns).to(spectrum)
    ordered: Tensor = centred.permute(2, 3, 1, 0)
    return ordered.flatten(0, 1)


def _largest(symbols: Tensor) -> float:
    """The largest singular value among matrices, of numbers however small: their squares would vanish below 1e-160."""
    scale = float(symbols.abs().max())
    if not (0 < scale < math.inf):
        return scale
    return scale * _largest_of_units(symbols / scale)


def _largest_of_units(symbols: Tensor) -> float:
    if min(symbols.shape[1:]) == 1:
        return float(symbols.abs().square().sum((1, 2)).max().sqrt())
    if symbols.shape[1] < symbols.shape[2]:
        symbols = symbols.mH
    step = max(1, _CHUNK // (symbols.shape[1] * symbols.shape[2]))
    grams = ((part.mH @ part) for part in torch.split(symbols, step))
    return math.sqrt(max(float(torch.linalg.eigvalsh(gram)[:, -1].max()) for gram in grams))


def _check(kernel: Tensor) -> None:
    if kernel.ndim != 4 or min(kernel.shape) < 1:
        raise UsageError(
            f"convolution: the kernel has shape {tuple(kernel.shape)}; expected (out, in, height, width) above 0."
        )
    if not bool(kernel.isfinite().all()):
        raise UsageError("convolution: the kernel holds NaN or infinity; expected finite numbers, which have a bound.")
