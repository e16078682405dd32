"""Arrays and tensors of a caller, as the chain takes them, and back in the same kind."""

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from recon.errors import UsageError
from recon.io import Array, Image, Source
from recon.io.decoded import RefusedError, check_finite, from_axes, to_axes
from recon.io.formats.npy import layout_of
from recon.io.image import ValueRange, default_range, integer_grid

Pixels = TypeVar("Pixels", "np.ndarray", Tensor)

RGBA = 4
"""Channels of an array of which the last is opacity: it is put back as it was."""

TENSOR = "FCHW"
"""The axes of a tensor: the batch are frames."""


def as_image(given: Array | Tensor, value_range: tuple[float, float] | None, axes: str | None) -> Image:
    """A measurement as :func:`recon.io.read` would have given it, had it come in an NPY file.

    Args:
        given: A tensor (batch, channels, height, width), or an array.
        value_range: What becomes 0 and 1.
        axes: Of an array, a selection of ``FCHW`` in the order of its axes; ``None``: from its shape.

    Raises:
        UsageError: It has other axes.
    """
    array = pixels_of(given)
    layout = axes_of(given, axes)
    if len(layout) != array.ndim or not set(layout) <= set(TENSOR) or not {"H", "W"} <= set(layout):
        raise UsageError(
            f"the measurement has the shape {array.shape} and axes={layout!r}; expected one letter of FCHW (frames, "
            "channels, height, width) for each axis."
        )
    try:
        check_finite(array)
    except RefusedError as refusal:
        raise UsageError(f"the measurement: {refusal}") from None
    pixels = np.ascontiguousarray(to_axes(array, layout))
    source, alpha = Source("npy", layout, str(pixels.dtype)), None
    if pixels.shape[1] == RGBA and not isinstance(given, Tensor):
        pixels, alpha = np.ascontiguousarray(pixels[:, :3]), np.ascontiguousarray(pixels[:, 3:])
    known = default_range(pixels) if value_range is None else ValueRange(*value_range)
    return Image(pixels, known, integer_grid(pixels.dtype), alpha, source=source)


def axes_of(given: Array | Tensor, axes: str | None) -> str:
    """The letters of a measurement's axes."""
    if axes is not None:
        return axes
    if isinstance(given, Tensor):
        if given.ndim != 4:
            raise UsageError(
                f"the measurement is a tensor of shape {tuple(given.shape)}; expected (batch, channels, height, "
                "width), or axes= with a letter for each axis, such as axes='HW'."
            )
        return TENSOR
    try:
        return layout_of(given.shape)
    except RefusedError as refusal:
        raise UsageError(f"the measurement: {refusal}") from None


def pixels_of(given: Array | Tensor) -> Array:
    """The values of an array or of a tensor on any device."""
    array = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    if array.dtype.kind not in "biufc" or array.dtype == np.float16:
        raise UsageError(f"the measurement holds {array.dtype}; expected numbers, of floating point at least float32.")
    return array


def same_kind(given: Array | Tensor, image: Image) -> Array | Tensor:
    """The pixels of a result with the axes of the measurement: NumPy for NumPy, torch for torch."""
    pixels = image.pixels
    if image.alpha is not None:
        pixels = np.concatenate([pixels, image.alpha.astype(pixels.dtype)], axis=1)
    array = np.array(from_axes(pixels, image.source.layout or TENSOR), order="C")  # the caller may write to it
    return like_tensor(given, torch.from_numpy(array).to(given.device)) if isinstance(given, Tensor) else array


def like_tensor(given: Tensor, found: Tensor) -> Tensor:
    """A tensor with the metadata of the one that was given, where it has some (MONAI's MetaTensor)."""
    kind: Any = type(given)
    meta = getattr(given, "meta", None)
    return found if kind is Tensor or meta is None else kind(found, meta=meta)


def plain(x: Tensor) -> Tensor:
    """The tensor without metadata, which functions of torch would carry along."""
    return x if type(x) is Tensor else x.as_subclass(Tensor)


def as_tensor(x: Pixels, who: str) -> Tensor:
    """An image as a tensor (batch, channels, height, width) in single or double precision."""
    if isinstance(x, Tensor):
        if x.ndim != 4:
            raise UsageError(
                f"{who}: the tensor has the shape {tuple(x.shape)}; expected (batch, channels, height, width)."
            )
        return plain(x)
    array = np.asarray(x)
    if array.ndim not in (2, 3) or array.dtype.kind != "f":
        raise UsageError(
            f"{who}: the array has the shape {array.shape} and {array.dtype}; expected (height, width) or (height, "
            "width, channels) in floating point, on [0, 1]."
        )
    return torch.from_numpy(np.ascontiguousarray(to_axes(array, "HW" if array.ndim == 2 else "HWC")))


def like(x: Pixels, found: Tensor) -> Pixels:
    """A tensor of :func:`as_tensor` in the kind and shape that were given."""
    if isinstance(x, Tensor):
        return like_tensor(x, found)
    return np.ascontiguousarray(from_axes(found.cpu().numpy(), "HW" if x.ndim == 2 else "HWC")).astype(x.dtype)
