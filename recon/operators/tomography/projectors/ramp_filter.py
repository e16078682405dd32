"""The ramp filter of filtered back-projection as taps on the detector: band-limited, and without a bias.

Sampling |f| at the frequencies of a finite transform sets its zero frequency to nothing, and the mean of the image goes
with it. The taps here are the inverse transform of |f| W(f) over the band of the detector, |f| <= 1/2 per pixel, in
closed form (Kak and Slaney, *Principles of Computerized Tomographic Imaging*, equation 61, for W = 1), and the
convolution is a linear one. Every window below is a mean of shifts of one function, so there is nothing to integrate.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon._batches import on_any_batch
from recon._suggest import unknown_name
from recon._windows import WINDOWS

Floats = NDArray[np.float64]


def ramp(t: Floats) -> Floats:
    """The integral of ``|f| cos(2 pi f t)`` over |f| <= 1/2: 1/4 at zero, ``-1 / (pi t)^2`` at odd t, 0 at even t."""
    return np.sinc(t) / 2 - np.sinc(t / 2) ** 2 / 4


def _cosine_bell(floor: float) -> Callable[[Floats], Floats]:
    """W(f) = floor + (1 - floor) cos(2 pi f): a shift by one pixel to either side."""
    return lambda t: floor * ramp(t) + (1 - floor) / 2 * (ramp(t - 1) + ramp(t + 1))


_TAPS: dict[str, Callable[[Floats], Floats]] = {
    "ram-lak": ramp,
    "shepp-logan": lambda t: 2 / (np.pi**2 * (1 - 4 * t**2)),
    "cosine": lambda t: (ramp(t - 0.5) + ramp(t + 0.5)) / 2,
    "hamming": _cosine_bell(0.54),
    "hann": _cosine_bell(0.5),
}
"""The taps of |f| W(f): W = 1, sinc(f), cos(pi f), and the two raised cosines.

Shepp and Logan's is a mean over all shifts up to half a pixel, for whole t the formula of their paper (1974).
"""


def ramp_taps(pixels: int, window: str = "ram-lak") -> Floats:
    """The filter at the distances 0, 1, ..., ``pixels`` - 1, in detector pixels; it is even, and has the unit 1.

    Raises:
        UsageError: There is no such window.
    """
    if window not in WINDOWS:
        raise unknown_name(window, WINDOWS, "window")
    return _TAPS[window](np.arange(pixels, dtype=np.float64))


def convolve(rows: Tensor, taps: Floats) -> Tensor:
    """The linear convolution of each row (..., pixels) with an even filter; the rows are zero beside the detector.

    A symmetric matrix: it is its own transpose.

    Args:
        rows: On any device.
        taps: Of the distances 0, ..., pixels - 1.
    """
    pixels = len(taps)
    length = 1 << (2 * pixels - 1).bit_length()
    kernel = np.zeros(length)
    kernel[:pixels] = taps
    kernel[length - pixels + 1 :] = taps[:0:-1]
    response = torch.from_numpy(np.fft.rfft(kernel).real).to(rows)

    def filtered(x: Tensor) -> Tensor:
        spectrum: Any = torch.fft.rfft(x, n=length) * response
        return cast(Tensor, torch.fft.irfft(spectrum, n=length)[..., :pixels])

    return on_any_batch(filtered, rows, 1)
