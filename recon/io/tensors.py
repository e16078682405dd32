"""The pixels of an image as a tensor on the [0, 1] scale, and back: the only part of reading that needs torch."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recon.errors import OutputError, UsageError
from recon.io.image import AXES, Array, Image, default_range


def to_tensor(image: Image, dtype: torch.dtype = torch.float32) -> Tensor:
    """The pixels on the [0, 1] scale, shape (frames, channels, height, width).

    Values outside of the range go outside of [0, 1]. Padding is black of the default range.
    Complex pixels become the complex type of ``dtype``.
    """
    kind = np.complex128 if np.iscomplexobj(image.pixels) else np.float64
    scaled = (image.pixels.astype(kind) - image.value_range.low) / image.value_range.width
    if image.padding is not None:
        scaled[image.padding] = (_black(image, image.padding) - image.value_range.low) / image.value_range.width
    return torch.from_numpy(scaled).to(dtype.to_complex() if np.iscomplexobj(scaled) else dtype)


def _black(image: Image, padding: Array) -> float:
    """Return what padding is taken for: the low end of the default range, whatever range is asked for."""
    seen = image.pixels[~padding]
    return default_range(seen, image.units).low if seen.size else image.value_range.low


def with_tensor(image: Image, tensor: Tensor, *, floating: bool = False) -> Image:
    """The image whose pixels are ``tensor``, shape (frames, channels, height, width), taken back to units.

    Integer files keep their type: values are rounded to the nearest that the file can hold, and those
    beyond are clipped and counted in :attr:`Image.clipped`. In float32 the way there and back is the
    identity for 8 and 16 bit. Height and width may differ from the image's (then spacing, slices,
    padding and alpha, which no longer fit, are dropped); frames may differ too.

    Raises:
        OutputError: the tensor holds values that are not finite, which no file is written with.
    """
    if tensor.ndim != 4:
        raise UsageError(f"with_tensor: the tensor has shape {tuple(tensor.shape)}; expected four axes: {AXES}.")
    unscaled = tensor.detach().cpu().to(torch.complex128 if tensor.is_complex() else torch.float64).numpy()
    bad = unscaled.size - int(np.count_nonzero(np.isfinite(unscaled)))
    if bad:
        raise OutputError(f"The result has {bad} of {unscaled.size} values that are not finite; it is not written.")
    values = unscaled * image.value_range.width + image.value_range.low
    grid, clipped = None if floating else image.grid, 0
    if np.iscomplexobj(values):
        pixels, grid = values.astype(np.complex64 if tensor.dtype == torch.complex64 else np.complex128), None
    elif grid is None:
        exact = tensor.dtype == torch.float64 or (not floating and image.pixels.dtype.itemsize > 4)
        pixels = values.astype(np.float64 if exact else np.float32)
    else:
        if len(grid.slope) not in (1, len(values)):
            raise UsageError(
                f"with_tensor: {len(values)} frames; expected {len(grid.slope)}, each with its own rescale."
            )
        if image.padding is not None and values.shape == image.pixels.shape:
            values[image.padding] = image.pixels[image.padding]  # put back, so that they are not clipped
        stored, clipped = grid.stored(values)
        pixels = grid.values(stored).astype(image.pixels.dtype)
    same = pixels.shape[2:] == image.pixels.shape[2:] and len(pixels) == len(image.pixels)
    if image.padding is not None and pixels.shape == image.pixels.shape:
        pixels[image.padding] = image.pixels[image.padding]
    return replace(
        image,
        pixels=pixels,
        grid=grid,
        alpha=image.alpha if same else None,
        spacing=image.spacing if same else None,
        padding=image.padding if same else None,
        clipped=clipped,
        slices=image.slices if same else None,
    )
