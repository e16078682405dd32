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
    is_complex = np.iscomplexobj(image.pixels)
    kind = np.complex128 if is_complex else np.float64
    low, width = image.value_range.low, image.value_range.width
    black = 0.0 if image.padding is None else (_black(image, image.padding) - low) / width
    tensor = torch.empty(image.pixels.shape, dtype=dtype.to_complex() if is_complex else dtype)
    for number, frame in enumerate(image.pixels):  # one by one, because a volume in double precision is large
        scaled = (frame.astype(kind) - low) / width
        if image.padding is not None:
            scaled[image.padding[number]] = black
        tensor[number] = torch.from_numpy(scaled)
    return tensor


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
    bad = tensor.numel() - sum(int(frame.isfinite().sum()) for frame in tensor)
    if bad:
        raise OutputError(f"The result has {bad} of {tensor.numel()} values that are not finite; it is not written.")
    grid = None if floating or tensor.is_complex() else image.grid
    if grid is not None and len(grid.slope) not in (1, len(tensor)):
        raise UsageError(f"with_tensor: {len(tensor)} frames; expected {len(grid.slope)}, each with its own rescale.")
    exact = tensor.dtype == torch.float64 or (not floating and image.pixels.dtype.itemsize > 4)
    kind = np.dtype(np.float64 if exact else np.float32) if grid is None else image.pixels.dtype
    if tensor.is_complex():
        kind = np.dtype(np.complex64 if tensor.dtype == torch.complex64 else np.complex128)
    pixels, clipped = np.empty(tuple(tensor.shape), kind), 0
    padding = image.padding if image.padding is not None and pixels.shape == image.pixels.shape else None
    for number, frame in enumerate(tensor.detach()):  # one by one, because a volume in double precision is large
        unscaled = frame.cpu().to(torch.complex128 if tensor.is_complex() else torch.float64).numpy()
        values = unscaled * image.value_range.width + image.value_range.low
        if grid is not None:
            if padding is not None:
                values[padding[number]] = image.pixels[number][padding[number]]  # put back, so that it is not clipped
            own = grid.of_frame(number)
            stored, beyond = own.stored(values[None])
            values, clipped = own.values(stored)[0], clipped + beyond
        pixels[number] = values.astype(kind)
        if padding is not None:
            pixels[number][padding[number]] = image.pixels[number][padding[number]]
    same = pixels.shape[2:] == image.pixels.shape[2:] and len(pixels) == len(image.pixels)
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
