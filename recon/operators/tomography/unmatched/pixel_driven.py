"""The pixel-driven back-projection: each pixel reads the sinogram at its shadow; and its exact transpose."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from recon.errors import ConsistencyError
from recon.operators.base import Space
from recon.operators.tomography.geometry.geometry import Geometry

Floats = NDArray[np.float64]

PADDING = 1, 2
"""Zeros before and after each view: a shadow beside the detector reads them."""


@final
@dataclass(frozen=True)
class PixelDriven:
    """The sum over the views of the sinogram at a pixel's shadow, linearly interpolated; zero beside the detector.

    On the CPU compiled loops; elsewhere torch, a view at a time.

    Attributes:
        geometry: Of the scan.
        power: Of a fan's weights: (source to axis / depth of the pixel) to this power, 0, 1 or 2; with an arc the
            distance from the source takes the depth's place.
        bits: To how many binary digits the position between two detector pixels is rounded; ``None`` for not at all,
            0 for the nearest detector pixel.
    """

    geometry: Geometry
    power: int = 0
    bits: int | None = None

    def back(self, y: Tensor) -> Tensor:
        """(..., views, detector pixels) -> (..., rows, columns)."""
        if y.device.type != "cpu":
            return self._back_by_views(y)
        from recon.operators.tomography.unmatched import pixel_kernels as kernels  # noqa: PLC0415  numba is slow to import

        kernel = kernels.back_project_parallel if self._is_parallel else kernels.back_project_fan
        constants, size = self._constants(y), self.geometry.image_shape
        return _each(lambda views: kernel(pad(views, PADDING).numpy(), *constants, *size), y, Space(size))

    def spread(self, x: Tensor) -> Tensor:
        """The transpose: (..., rows, columns) -> (..., views, detector pixels)."""
        if x.device.type != "cpu":
            return self._spread_by_views(x)
        from recon.operators.tomography.unmatched import pixel_kernels as kernels  # noqa: PLC0415

        kernel = kernels.spread_parallel if self._is_parallel else kernels.spread_fan
        constants, (views, width) = self._constants(x), self._padded_shape
        padded = _each(lambda image: kernel(image.contiguous().numpy(), *constants, width), x, Space((views, width)))
        return _cropped(padded)

    @property
    def _is_parallel(self) -> bool:
        return self.geometry.kind == "parallel"

    @property
    def _padded_shape(self) -> tuple[int, int]:
        views, pixels = self.geometry.sinogram_shape
        return views, pixels + sum(PADDING)

    def _constants(self, like: Tensor) -> tuple[Any, ...]:
        """Return what the loops take between the data and its size."""
        detector, steps = self.geometry.detector, self._steps
        middle = (detector.pixels - 1) / 2 - detector.offset / detector.pitch + PADDING[0]
        if self._is_parallel:
            across, down, origin = (place[0] / detector.pitch for place in self._places)
            return *(_like(place, like) for place in (across, down, origin + middle)), steps
        (axis, distance), arc = self.geometry.distances, True if detector.shape == "arc" else None
        places = (_like(place, like) for place in self._places)
        return *places, middle, distance / detector.pitch, axis, arc, self.power, steps

    @property
    def _steps(self) -> float | None:
        return None if self.bits is None else 2.0**self.bits

    @cached_property
    def _places(self) -> tuple[Floats, Floats, Floats]:
        return places(self.geometry)

    def _back_by_views(self, y: Tensor) -> Tensor:
        padded = pad(y, PADDING)
        image = y.new_zeros(*y.shape[:-2], *self.geometry.image_shape)
        for view, (ray, beyond, weight) in enumerate(self._shadows(y)):
            row = padded[..., view, :]
            image += weight * torch.lerp(row[..., ray], row[..., ray + 1], beyond)
        return image

    def _spread_by_views(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-2] * x.shape[-1])
        padded = x.new_zeros(len(flat), *self._padded_shape)
        for view, (ray, beyond, weight) in enumerate(self._shadows(x)):
            values, below = flat * weight.reshape(-1), ray.reshape(-1)
            padded[:, view].index_add_(1, below, values * (1 - beyond).reshape(-1))
            padded[:, view].index_add_(1, below + 1, values * beyond.reshape(-1))
        return _cropped(padded.reshape(*x.shape[:-2], *self._padded_shape))

    def _shadows(self, like: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For each view: the padded detector pixel below each pixel's shadow, how far beyond it, and the weight."""
        rows, columns = self.geometry.image_shape
        row = torch.arange(rows, dtype=like.dtype, device=like.device)[:, None]
        column = torch.arange(columns, dtype=like.dtype, device=like.device)
        across, down, origin = (torch.from_numpy(place).to(like)[:, :, None, None] for place in self._places)
        for view in range(len(self.geometry.angles)):
            yield self._read(*(across[:, view] * column + down[:, view] * row + origin[:, view]))

    def _read(self, aside: Tensor, depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        detector = self.geometry.detector
        u, away = aside, torch.ones_like(depth)
        if not self._is_parallel:
            axis, distance = self.geometry.distances
            is_arc = detector.shape == "arc"
            u = distance * (torch.atan2(aside, depth) if is_arc else aside / depth)
            away = (torch.hypot(aside, depth) if is_arc else depth) / axis
        middle = (detector.pixels - 1) / 2 + PADDING[0]
        shadow = ((u - detector.offset) / detector.pitch + middle).clamp(0, self._padded_shape[1] - 2)
        ray = shadow.long()
        beyond = shadow - ray
        if self._steps is not None:
            beyond = (beyond * self._steps + 0.5).floor() / self._steps
        return ray, beyond, away**-self.power


def places(geometry: Geometry) -> tuple[Floats, Floats, Floats]:
    """Return where the pixels are in the frame that turns with the scanner, each of shape (2, views), in mm.

    Two coordinates, along the detector's axis and the depth from the source (from the axis of rotation for parallel
    rays): their change from a column to the next, from a row to the next, and those of the pixel in row 0 and column 0.
    """
    angle, volume = np.deg2rad(np.asarray(geometry.angles)), geometry.volume
    x, y = np.stack((np.cos(angle), -np.sin(angle))), np.stack((np.sin(angle), np.cos(angle)))
    rows, columns = volume.pixels
    first_x = volume.offset[0] - (columns - 1) / 2 * volume.pitch
    first_y = volume.offset[1] + (rows - 1) / 2 * volume.pitch
    depth = np.array([[0.0], [geometry.source_to_axis or 0.0]])
    return x * volume.pitch, -y * volume.pitch, first_x * x + first_y * y + depth


def require_slice(owner: str, geometry: Geometry) -> None:
    """Refuse a scan that is not one of a slice.

    Raises:
        ConsistencyError: Its rays are neither parallel nor a fan.
    """
    if geometry.kind not in ("parallel", "fan"):
        raise ConsistencyError(
            f"{owner}: kind is {geometry.kind!r}; expected 'parallel' or 'fan', because it is made for one slice."
        )


def _cropped(padded: Tensor) -> Tensor:
    """Without the zeros beside the detector."""
    return padded[..., PADDING[0] : padded.shape[-1] - PADDING[1]]


def _each(one: Callable[[Tensor], Any], x: Tensor, out: Space) -> Tensor:
    """A map of matrices, applied to each of a batch."""
    leading = x.shape[:-2]
    images = x.reshape(-1, *x.shape[-2:])
    done = [torch.from_numpy(one(image)) for image in images]
    return torch.stack(done).reshape(*leading, *out.shape) if done else x.new_zeros(*leading, *out.shape)


def _like(constant: np.ndarray, x: Tensor) -> np.ndarray:
    return constant.astype(np.float32 if x.dtype == torch.float32 else np.float64)
