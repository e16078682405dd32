"""Shrinkage of wavelet coefficients."""

from dataclasses import dataclass

from torch import Tensor

from recon._values import remembered
from recon.errors import UsageError
from recon.priors.closed_forms import ATTAINS_SEMINORM, EVERYWHERE, check_weight, shrink
from recon.priors.resolvent import Resolvent, proximity_operator
from recon.priors.wavelet_transform import Details, WaveletTransform, orthonormal_wavelet

WAVELET = "db4"
LEVELS = 4


@remembered
def wavelet_shrinkage(weight: float, wavelet: str = WAVELET, levels: int = LEVELS, shifts: int = 1) -> Resolvent:
    """The soft-thresholding of the detail coefficients in an orthonormal wavelet basis, of images of any size.

    With one shift it is the proximity operator of ``w ||W_detail x||_1``, a seminorm: the approximation is left
    alone. With more shifts (cycle spinning, Coifman and Donoho 1995), it is the mean of the proximity operators of
    the shifted seminorms, which removes most of the block artefacts. That mean is the proximity operator of their
    proximal average, a convex function again (Bauschke, Goebel, Lucet, Wang 2008), with no simple formula.

    Args:
        weight: The threshold w, in the units of the image; at least zero.
        wavelet: An orthogonal wavelet of PyWavelets.
        levels: How often the approximation is analysed.
        shifts: How many shifts to average, in an order that spreads them: 2 is a quincunx, 4^k a full 2^k x 2^k grid.

    Raises:
        UsageError: The weight is negative, the wavelet unknown or not orthonormal, or a number is not a natural one.
    """
    check_weight("wavelet_shrinkage", weight)
    if shifts < 1 or shifts != int(shifts):
        raise UsageError(f"wavelet_shrinkage: shifts={shifts!r}; expected a whole number of at least 1.")
    shrinkage = _Shrinkage(orthonormal_wavelet(wavelet, levels), weight)
    offsets = [_offset(i) for i in range(int(shifts))]

    def apply(x: Tensor) -> Tensor:
        if shifts == 1:
            return shrinkage(x)
        mean = shrinkage(x)
        for rows, columns in offsets[1:]:
            shifted = shrinkage(x.roll((rows, columns), (-2, -1)))
            mean = mean + shifted.roll((-rows, -columns), (-2, -1))
        return mean / len(offsets)

    name = f"wavelet_shrinkage({weight:g}, {wavelet!r}, levels={levels}, shifts={shifts})"
    return proximity_operator(apply, name, attains=ATTAINS_SEMINORM, everywhere=EVERYWHERE)


def wavelet_l1_value(x: Tensor, wavelet: str = WAVELET, levels: int = LEVELS) -> Tensor:
    """``||W_detail x||_1`` of each batch item, shape ``(batch,)``: what :func:`wavelet_shrinkage` penalises."""
    _, details = orthonormal_wavelet(wavelet, levels).analyse(x)
    total = x.new_zeros(x.shape[0], dtype=x.dtype.to_real())
    for level in details:
        for band in level:
            total = total + band.abs().flatten(1).sum(1)
    return total


@dataclass(frozen=True)
class _Shrinkage:
    """``x -> W^T shrink(W x)`` on the details."""

    transform: WaveletTransform
    weight: float

    def __call__(self, x: Tensor) -> Tensor:
        approximation, details = self.transform.analyse(x)
        shrunk = [Details(*(shrink(band, self.weight) for band in level)) for level in details]
        return self.transform.synthesise(approximation, shrunk)


def _offset(i: int) -> tuple[int, int]:
    """The i-th shift: (0, 0), (1, 1), (1, 0), (0, 1), then the same at each coarser scale."""
    rows = columns = 0
    scale = 1
    while i:
        first, second = i & 1, i >> 1 & 1
        rows, columns = rows + scale * (first ^ second), columns + scale * first
        i, scale = i >> 2, 2 * scale
    return rows, columns
